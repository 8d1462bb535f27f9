"""Reductions on CUDA: one number for each row or block, then one for all, always in the same order."""

import functools
import math
from typing import Any

import numpy as np
from numba import types

from numbopt._kernels.cuda.intrinsics import aligned, columns_at, cuda, load1, load4, reciprocal_seed, store1
from numbopt._kernels.cuda.kernel import FLOATS, Kernel
from numbopt._kernels.norms import clip_coefficient, square
from numbopt._kernels.passes import sum_of
from numbopt._kernels.rule import Rule, terms_of_lane

COMBINE: Any
NUMBER: Any
COLUMNS: Any
SCALARS: Any
ADDED: Any
ZEROS: Any
SUM_COUNT: Any
PARTIAL_COLUMN: Any

THREADS = 256
"""Threads of a block."""


NORM = np.dtype([("norm", np.float64), ("factor64", np.float64), ("factor32", np.float32)], align=True)
"""What `norm_and_factor` writes: the norm, then the factor that clips by it, in both dtypes that gradients may have."""
_FIELDS: Any = NORM.fields
NORM_AT, FACTOR64_AT, FACTOR32_AT = (_FIELDS[name][1] for name in ("norm", "factor64", "factor32"))


def row_squares(rows, stride, partials):
    """Sum the squares of the gradient in the row of this block of threads, in double precision."""
    row = rows + 8 * cuda.blockIdx.x
    size, gradient = columns_at(row, stride, (0, 3))
    thread = cuda.threadIdx.x
    like = NUMBER(0)
    total = 0.0
    vectors = size // 4 if aligned((gradient,)) else 0
    for i in range(thread, vectors, cuda.blockDim.x):
        for lane in load4((gradient,), i, like):
            total += square(lane[0])
    for i in range(4 * vectors + thread, size, cuda.blockDim.x):
        total += square(load1((gradient,), i, like)[0][0])
    total = over_threads(total)
    if thread == 0:
        store1((partials,), cuda.blockIdx.x, ((total,),))


def sum_terms(rows, stride, factor, scalars):
    """Sum the terms of a rule over the row of this block of threads; the arguments are those of `rows.update`."""
    h = SCALARS(*scalars)
    row = rows + 8 * cuda.blockIdx.x
    size, partial = columns_at(row, stride, (0, PARTIAL_COLUMN))
    arrays = columns_at(row, stride, COLUMNS)
    scale = h.grad_scale
    if factor != 0:
        scale = scale * load1((factor,), 0, scale)[0][0]
    thread = cuda.threadIdx.x
    total = ZEROS
    vectors = size // 4 if aligned(arrays) else 0
    for i in range(thread, vectors, cuda.blockDim.x):
        for lane in load4(arrays, i, scale):
            total = ADDED(total, terms_of_lane(lane, scale, h))
    for i in range(4 * vectors + thread, size, cuda.blockDim.x):
        total = ADDED(total, terms_of_lane(load1(arrays, i, scale)[0], scale, h))
    for k in range(SUM_COUNT):
        value = over_threads(total[k])
        if thread == 0:
            store1((partial,), k, ((value,),))
        cuda.syncthreads()  # all have read the value before the next one takes its place


def norm_and_factor(partials, count, max_norm, result):
    """Write the root of the sum of ``partials``, and what clips gradients of that norm, to a `NORM` at ``result``.

    One block of threads.
    """
    norm = math.sqrt(reduced(partials, count))
    if cuda.threadIdx.x == 0:
        factor = clip_coefficient(max_norm, norm)
        store1((result + NORM_AT,), 0, ((norm,),))
        store1((result + FACTOR64_AT,), 0, ((factor,),))
        store1((result + FACTOR32_AT,), 0, ((np.float32(factor),),))


def combine_partials(partials, count, result):
    """Write what ``partials`` combine to into ``result``. One block of threads."""
    total = reduced(partials, count)
    if cuda.threadIdx.x == 0:
        store1((result,), 0, ((total,),))


def reduced(partials, count):
    """Combine numbers in memory, by one block of threads."""
    total = 0.0
    for i in range(cuda.threadIdx.x, count, cuda.blockDim.x):
        total = COMBINE(total, load1((partials,), i, total)[0][0])
    return over_threads(total)


def over_threads(value):
    """Combine one number of each thread of a block; all of them get the result."""
    shared = cuda.shared.array(THREADS, np.float64)
    thread = cuda.threadIdx.x
    shared[thread] = value
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            shared[thread] = COMBINE(shared[thread], shared[thread + half])
        cuda.syncthreads()
        half //= 2
    return shared[0]


@functools.cache
def squares_kernel(dtype: np.dtype[Any]) -> Kernel:
    """Return the kernel that sums the squares of gradients: rows, stride, address of a float64 for each row."""
    return Kernel(row_squares, {"COMBINE": sum_of, "NUMBER": dtype.type}, (types.int64, types.int64, types.int64))


@functools.cache
def terms_kernel(rule: Rule, dtype: np.dtype[Any], bound_arrays: bool = False) -> Kernel:
    """Return the kernel that sums the terms of ``rule``; its arguments are those of `update_kernel`."""
    bindings = rule.bindings(bound_arrays) | {"reciprocal_seed": reciprocal_seed, "COMBINE": sum_of}
    scalars = types.UniTuple(FLOATS[dtype], bindings["SCALAR_COUNT"])
    return Kernel(sum_terms, bindings, (types.int64, types.int64, types.int64, scalars))


@functools.cache
def clip_kernel() -> Kernel:
    """Return the kernel of the second pass: partials, their number, the largest norm, where a `NORM` goes."""
    return Kernel(norm_and_factor, {"COMBINE": sum_of}, (types.int64, types.int64, types.float64, types.int64))


@functools.cache
def sum_kernel() -> Kernel:
    """Return the kernel of the second pass of a sum: partials, their number, where the result goes."""
    return Kernel(combine_partials, {"COMBINE": sum_of}, (types.int64, types.int64, types.int64))
