"""Other ways for an update to read and write memory on a GPU, to measure the one in use against."""

from typing import Any

from numba import types

from numbopt._kernels.cuda.intrinsics import columns_at, load1, load4, store1, store4
from numbopt._kernels.cuda.kernel import FLOATS, Kernel
from numbopt._kernels.cuda.rows import cuda, update_lanes
from numbopt._kernels.rule import update_lane
from numbopt._launch.cuda import DeviceLaunch

COLUMNS: Any
SCALARS: Any
STATE_OF: Any


def four_numbers_ahead(rows, stride, factor, scalars):
    """Load four numbers of each array, a block's width apart, before the first is stored."""
    h = SCALARS(*scalars)
    row = rows + 8 * cuda.blockIdx.x
    size = columns_at(row, stride, (0,))[0]
    arrays = columns_at(row, stride, COLUMNS)
    targets = (arrays[0],) + STATE_OF(arrays)
    scale = h.grad_scale
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    whole = size // (4 * threads) * (4 * threads)
    for i in range(thread, whole, 4 * threads):
        first, second = load1(arrays, i, scale)[0], load1(arrays, i + threads, scale)[0]
        third, fourth = load1(arrays, i + 2 * threads, scale)[0], load1(arrays, i + 3 * threads, scale)[0]
        store1(targets, i, (update_lane(first, scale, h),))
        store1(targets, i + threads, (update_lane(second, scale, h),))
        store1(targets, i + 2 * threads, (update_lane(third, scale, h),))
        store1(targets, i + 3 * threads, (update_lane(fourth, scale, h),))
    for i in range(whole + thread, size, threads):
        store1(targets, i, (update_lane(load1(arrays, i, scale)[0], scale, h),))


def two_vectors_ahead(rows, stride, factor, scalars):
    """Load 128 bits of each array twice, a block's width apart, before the first are stored; whole vectors only."""
    h = SCALARS(*scalars)
    row = rows + 8 * cuda.blockIdx.x
    vectors = columns_at(row, stride, (0,))[0] // 4
    arrays = columns_at(row, stride, COLUMNS)
    targets = (arrays[0],) + STATE_OF(arrays)
    scale = h.grad_scale
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    whole = vectors // (2 * threads) * (2 * threads)
    for i in range(thread, whole, 2 * threads):
        first, second = load4(arrays, i, scale), load4(arrays, i + threads, scale)
        store4(targets, i, update_lanes(first, scale, h))
        store4(targets, i + threads, update_lanes(second, scale, h))
    for i in range(whole + thread, vectors, threads):
        store4(targets, i, update_lanes(load4(arrays, i, scale), scale, h))


def launch(optimizer, template):
    """Return the launch of a template here that does what the last one of an optimizer with one table did."""
    (table,), rule = optimizer._tables, optimizer.rule_for(optimizer.param_groups[0])
    bindings = rule.bindings()
    scalars = types.UniTuple(FLOATS[table.kind.dtype], bindings["SCALAR_COUNT"])
    kernel = Kernel(template, bindings, (types.int64, types.int64, types.int64, scalars))
    return DeviceLaunch(kernel, table.target.rows, table.scalars)
