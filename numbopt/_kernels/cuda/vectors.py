"""The passes of `numbopt._kernels.vectors` on CUDA; imported only when a device is used.

Elements are computed in the dtype of the vectors, sums in float64: one for each block of threads, then one for all,
always in the same order.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import types

from numbopt._kernels.cpu import vectors
from numbopt._kernels.cuda.intrinsics import aligned, cuda, load1, load4
from numbopt._kernels.cuda.intrinsics import store1 as store1_array
from numbopt._kernels.cuda.intrinsics import store4 as store4_array
from numbopt._kernels.cuda.kernel import FLOATS, Kernel
from numbopt._kernels.cuda.reductions import add, finish, larger, over_threads

BLOCK = 4096
"""Elements that a block of threads works on."""

PASS: Any
STORE1: Any
STORE4: Any
COMBINE: Any


def vector_pass(size, out, u, v, a, b, partials):
    """Do one block of a pass; ``out``, ``u`` and ``v`` are addresses of vectors."""
    arrays = (out, u, v)
    first = BLOCK * cuda.blockIdx.x
    stop = min(first + BLOCK, size)
    thread = cuda.threadIdx.x
    total = 0.0
    vectorised = first
    if aligned(arrays):
        vectorised = stop // 4 * 4
        for i in range(first // 4 + thread, stop // 4, cuda.blockDim.x):
            lanes = load4(arrays, i, a)
            first_of_four, one = PASS(lanes[0], a, b)
            second, two = PASS(lanes[1], a, b)
            third, three = PASS(lanes[2], a, b)
            fourth, four = PASS(lanes[3], a, b)
            STORE4((out,), i, ((first_of_four,), (second,), (third,), (fourth,)))
            total = COMBINE(COMBINE(COMBINE(COMBINE(total, one), two), three), four)
    for i in range(vectorised + thread, stop, cuda.blockDim.x):
        result, term = PASS(load1(arrays, i, a)[0], a, b)
        STORE1((out,), i, ((result,),))
        total = COMBINE(total, term)
    total = over_threads(total)
    if thread == 0:
        store1_array((partials,), cuda.blockIdx.x, ((total,),))


def no_store(addresses, index, values):
    """Leave memory as it is."""


def scale(lane, a, b):
    result = a * lane[1]
    return result, np.float64(result) * np.float64(lane[2])


def update(lane, a, b):
    result = a * lane[0] + b * lane[1]
    return result, np.float64(result) * np.float64(lane[2])


def difference(lane, a, b):
    return lane[1] - lane[2], 0.0


def point_on_line(lane, a, b):
    return lane[1] + a * lane[2], 0.0


def dot(lane, a, b):
    return lane[0], np.float64(lane[1]) * np.float64(lane[2])


def magnitude(lane, a, b):
    return lane[0], abs(np.float64(lane[1]))


class Pass(NamedTuple):
    """What a pass does with an element, and with what the elements give."""

    function: Any
    writes: bool
    combine: Any = None
    """None where no number is wanted."""


PASSES: dict[Any, Pass] = {
    vectors._SCALE: Pass(scale, True, add),
    vectors._UPDATE: Pass(update, True, add),
    vectors._DIFFERENCE: Pass(difference, True),
    vectors._LINE: Pass(point_on_line, True),
    vectors._DOT: Pass(dot, False, add),
    vectors._SUM: Pass(magnitude, False, add),
    vectors._MAX: Pass(magnitude, False, larger),
}


@functools.cache
def pass_kernel(kind: int, dtype: np.dtype[Any]) -> Kernel:
    """Return the kernel of a pass: size, addresses of out, u and v, factors a and b, address of the partial results."""
    done = PASSES[kind]
    bindings = {
        "PASS": done.function,
        "STORE1": store1_array if done.writes else no_store,
        "STORE4": store4_array if done.writes else no_store,
        "COMBINE": done.combine or add,
    }
    number = FLOATS[dtype]
    return Kernel(vector_pass, bindings, (*[types.int64] * 4, number, number, types.int64))


@functools.cache
def combine_kernel(kind: int) -> Kernel:
    """Return the kernel that combines the partial results: their address, their number, where the result goes."""
    return Kernel(finish, {"COMBINE": PASSES[kind].combine}, (types.int64, types.int64, types.int64))
