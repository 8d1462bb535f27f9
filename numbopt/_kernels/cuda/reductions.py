"""Reductions on CUDA: one number for each row or block, then one for all, always in the same order."""

import functools
import math
from typing import Any

import numpy as np
from numba import types

from numbopt._kernels.cuda.intrinsics import aligned, columns_at, cuda, load1, load4, store1
from numbopt._kernels.cuda.kernel import FLOATS, Kernel

COMBINE: Any

THREADS = 256
"""Threads of a block."""


def row_squares(rows, stride, partials, like):
    """Sum the squares of the gradient in the row of this block of threads, in double precision."""
    row = rows + 8 * cuda.blockIdx.x
    size, gradient = columns_at(row, stride, (0, 3))
    thread = cuda.threadIdx.x
    total = 0.0
    vectors = size // 4 if aligned((gradient,)) else 0
    for i in range(thread, vectors, cuda.blockDim.x):
        for lane in load4((gradient,), i, like):
            total += np.float64(lane[0]) * np.float64(lane[0])
    for i in range(4 * vectors + thread, size, cuda.blockDim.x):
        value = np.float64(load1((gradient,), i, like)[0][0])
        total += value * value
    total = over_threads(total)
    if thread == 0:
        store1((partials,), cuda.blockIdx.x, ((total,),))


def clip_coefficient(partials, count, max_norm, result):
    """Write the root of the sum of ``partials``, and what takes a gradient of that norm to ``max_norm``, to ``result``.

    There are float64 of the norm and of the coefficient, then the coefficient as a float32. One block of threads.
    """
    norm = math.sqrt(reduced(partials, count))
    if cuda.threadIdx.x == 0:
        coefficient = max_norm / (norm + 1e-6)
        coefficient = 1.0 if coefficient > 1.0 else coefficient
        store1((result,), 0, ((norm,),))
        store1((result,), 1, ((coefficient,),))
        store1((result,), 4, ((np.float32(coefficient),),))


def finish(partials, count, result):
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


def add(total, part):
    return total + part


def larger(total, part):
    return part if part > total else total


@functools.cache
def squares_kernel(dtype: np.dtype[Any]) -> Kernel:
    """Return the kernel that sums the squares of gradients: rows, stride, address of a float64 for each row, any."""
    return Kernel(row_squares, {"COMBINE": add}, (types.int64, types.int64, types.int64, FLOATS[dtype]))


@functools.cache
def clip_kernel() -> Kernel:
    """Return the kernel of the second pass: partials, their number, the largest norm, where the result goes."""
    return Kernel(clip_coefficient, {"COMBINE": add}, (types.int64, types.int64, types.float64, types.int64))


@functools.cache
def sum_kernel() -> Kernel:
    """Return the kernel of the second pass of a sum: partials, their number, where the result goes."""
    return Kernel(finish, {"COMBINE": add}, (types.int64, types.int64, types.int64))
