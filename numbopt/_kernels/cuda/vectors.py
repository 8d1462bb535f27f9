"""Passes over vectors on CUDA.

What a pass does with an element is in `numbopt._kernels.passes`. A sum is one number for each block of threads, then
one for all, always in the same order.
"""

import functools
from typing import Any

import numpy as np
from numba import types

from numbopt._kernels.cuda.intrinsics import aligned, cuda, load1, load4, store1, store4
from numbopt._kernels.cuda.kernel import Kernel
from numbopt._kernels.cuda.reductions import combine_partials, over_threads
from numbopt._kernels.passes import PASSES

BLOCK = 4096
"""Elements that a block of threads works on."""

NUMBER: Any
VALUE: Any
TERM: Any
COMBINE: Any
STORE1: Any
STORE4: Any


def vector_pass(size, out, u, v, a, b, partials):
    """Do one block of a pass; ``out``, ``u`` and ``v`` are addresses of vectors."""
    arrays = (out, u, v)
    first = BLOCK * cuda.blockIdx.x
    stop = min(first + BLOCK, size)
    thread = cuda.threadIdx.x
    like = NUMBER(0)
    total = 0.0
    vectorised = first
    if aligned(arrays):
        vectorised = stop // 4 * 4
        for i in range(first // 4 + thread, stop // 4, cuda.blockDim.x):
            lanes = load4(arrays, i, like)
            one, two = new_value(lanes[0], a, b), new_value(lanes[1], a, b)
            three, four = new_value(lanes[2], a, b), new_value(lanes[3], a, b)
            STORE4((out,), i, ((one,), (two,), (three,), (four,)))
            total = COMBINE(total, TERM(one, lanes[0][2]))
            total = COMBINE(total, TERM(two, lanes[1][2]))
            total = COMBINE(total, TERM(three, lanes[2][2]))
            total = COMBINE(total, TERM(four, lanes[3][2]))
    for i in range(vectorised + thread, stop, cuda.blockDim.x):
        lane = load1(arrays, i, like)[0]
        value = new_value(lane, a, b)
        STORE1((out,), i, ((value,),))
        total = COMBINE(total, TERM(value, lane[2]))
    total = over_threads(total)
    if thread == 0:
        store1((partials,), cuda.blockIdx.x, ((total,),))


def multiply_add(a, b, c):
    """Return ``a * b + c``, rounded once."""
    return cuda.fma(a, b, c)


def new_value(lane, a, b):
    """Return what the pass writes, rounded to the dtype of the vectors."""
    return NUMBER(VALUE(lane[0], lane[1], lane[2], a, b))


def no_store(addresses, index, values):
    """Leave memory as it is."""


def same_value(out, u, v, a, b):
    """Stand for the value of a pass that only reads."""
    return out


def no_term(out, v):
    """Stand for the term of a pass that returns no number."""
    return 0.0


@functools.cache
def pass_kernel(kind: int, dtype: np.dtype[Any]) -> Kernel:
    """Return the kernel of a pass: size, addresses of out, u and v, factors a and b, address of the partial results."""
    value, term, combine = PASSES[kind]
    bindings = {
        "NUMBER": dtype.type,
        "VALUE": value or same_value,
        "TERM": term or no_term,
        "COMBINE": combine,
        "STORE1": store1 if value else no_store,
        "STORE4": store4 if value else no_store,
        "MULTIPLY_ADD": multiply_add,
    }
    words, factors = [types.int64] * 4, [types.float64] * 2
    return Kernel(vector_pass, bindings, (*words, *factors, types.int64))


@functools.cache
def combine_kernel(kind: int) -> Kernel:
    """Return the kernel that combines the partial results: their address, their number, where the result goes."""
    return Kernel(combine_partials, {"COMBINE": PASSES[kind].combine}, (types.int64, types.int64, types.int64))
