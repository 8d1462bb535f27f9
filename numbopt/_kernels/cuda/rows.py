"""The loop around a rule on CUDA: all loads and stores, and what is common to all algorithms.

As on the CPU, a launch works on the rows of a table, but a row is for one block of threads, and the table lies in
columns, ``stride`` bytes apart, so that one column can be replaced: size, line, param, grad, states. All rows of a
launch share their scalars, which come by value. Memory is read and written 128 bits at a time where all arrays of a row
are aligned for it.

The functions here are templates: names in capitals are bound, and called functions compiled into them, by `Kernel`.
"""

import functools
from typing import Any

import numpy as np
from numba import types

from numbopt._kernels.cuda.intrinsics import aligned, columns_at, cuda, load1, load4, reciprocal_seed, store1, store4
from numbopt._kernels.cuda.kernel import FLOATS, Kernel
from numbopt._kernels.rule import Rule, update_lane

COLUMNS: Any
SCALARS: Any
STATE_OF: Any


def update(rows, stride, factor, scalars):
    """Apply the rule to the row of this block of threads; ``factor``, if not 0, is where one of the gradients is."""
    h = SCALARS(*scalars)
    row = rows + 8 * cuda.blockIdx.x
    size = columns_at(row, stride, (0,))[0]
    arrays = columns_at(row, stride, COLUMNS)
    targets = (arrays[0],) + STATE_OF(arrays)
    scale = h.grad_scale
    if factor != 0:
        scale = scale * load1((factor,), 0, scale)[0][0]
    thread = cuda.threadIdx.x
    vectors = size // 4 if aligned(arrays) else 0
    for i in range(thread, vectors, cuda.blockDim.x):
        store4(targets, i, update_lanes(load4(arrays, i, scale), scale, h))
    for i in range(4 * vectors + thread, size, cuda.blockDim.x):
        store1(targets, i, (update_lane(load1(arrays, i, scale)[0], scale, h),))


def update_lanes(lanes, scale, h):
    first, second = update_lane(lanes[0], scale, h), update_lane(lanes[1], scale, h)
    third, fourth = update_lane(lanes[2], scale, h), update_lane(lanes[3], scale, h)
    return first, second, third, fourth


@functools.cache
def update_kernel(rule: Rule, dtype: np.dtype[Any], bound_arrays: bool = False) -> Kernel:
    """Return the kernel that applies ``rule``: rows, stride, address of a factor or 0, all scalars."""
    bindings = rule.bindings(bound_arrays) | {"reciprocal_seed": reciprocal_seed}
    scalars = types.UniTuple(FLOATS[dtype], bindings["SCALAR_COUNT"])
    return Kernel(update, bindings, (types.int64, types.int64, types.int64, scalars))
