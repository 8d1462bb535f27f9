"""The look at arrays before a step: whether parameters and gradients are what the rows of tables were made for.

Compiled code reads the array objects of NumPy themselves, because a thousand of them would take Python a millisecond.
`numbopt._devices.objects` knows where things are in an object.
"""

import functools
from typing import Any

import numpy as np
from numba import types

from numbopt._devices.objects import ALIGNED, object_layout
from numbopt._kernels.cpu.intrinsics import array_at
from numbopt._kernels.specialise import compiled_with, specialise

AT: Any
"""The `ObjectLayout`."""

# A plan: how long the arrays are that `look` works on, and the addresses of these and of two objects.
COUNT, WATCHED_COUNT, SPAN_COUNT, WATCHED, LENGTHS, STARTS, ENDS, FOUND, ADDRESSES, NDARRAY, NONE, PLAN_SIZE = range(12)

# Columns of the watched arrays: facts about an array, and where its lengths and strides are among those of all.
OBJECT, DATA, NBYTES, NDIM, DTYPE, FLAGS, FIRST_LENGTH, WATCHED_COLUMNS = range(8)

# Columns of targets: one line for each table, that says where its rows are and what belongs into their last column.
ROWS, POSITIONS, OFFSETS, ROW_COUNT, ROW_COLUMNS, TARGET_COLUMNS = range(6)

GRADIENT = 3
"""The column of the rows of a table that has the address of the gradient."""

_inlined = compiled_with(inline="always")


@functools.cache
def compiled_look() -> Any:
    """Return the entry point of `look`, compiled, or None where objects of Python cannot be read."""
    layout = object_layout()
    return None if layout is None else specialise(look, {"AT": layout}).compile((types.int64,) * 3)


def look(plan_address, targets_address, given):
    """Take the addresses of gradients over into the rows of tables if nothing else has changed since the last step.

    Parameters
    ----------
    plan_address : int
        Of an array of int64, the plan.
    targets_address : int
        Of an int64, the number of targets, and of lines of `TARGET_COLUMNS` after it.
    given : int
        ``id`` of a tuple: for each parameter its gradient, or None.

    Returns
    -------
    bool
        True if all parameters are where and as they were, the same ones have a gradient, and each gradient lies in
        memory as its parameter does and apart from all. Otherwise nothing was written.
    """
    plan = array_at(plan_address, PLAN_SIZE, np.int64)
    count = plan[COUNT]
    if _word(given + AT.size) != count:
        return False
    for i in range(plan[WATCHED_COUNT]):
        facts = array_at(plan[WATCHED] + 8 * WATCHED_COLUMNS * i, WATCHED_COLUMNS, np.int64)
        array = facts[OBJECT]
        if _word(array + AT.data) != facts[DATA] or not _is_like(array, facts, facts[FLAGS], plan):
            return False
    addresses, found = array_at(plan[ADDRESSES], count, np.int64), array_at(plan[FOUND], count, np.int64)
    for i in range(count):
        facts = array_at(plan[WATCHED] + 8 * WATCHED_COLUMNS * i, WATCHED_COLUMNS, np.int64)
        gradient = _word(given + AT.items + 8 * i)
        if (gradient == plan[NONE]) != (addresses[i] == 0):
            return False
        found[i] = 0
        if gradient != plan[NONE]:
            if _word(gradient + AT.kind) != plan[NDARRAY] or not _is_like(gradient, facts, ALIGNED, plan):
                return False
            found[i] = _word(gradient + AT.data)
            if found[i] != addresses[i] and not _is_apart(found[i], facts, plan):
                return False
    for i in range(count):
        addresses[i] = found[i]
    for t in range(_word(targets_address)):
        target = array_at(targets_address + 8 * (1 + TARGET_COLUMNS * t), TARGET_COLUMNS, np.int64)
        positions = array_at(target[POSITIONS], target[ROW_COUNT], np.int64)
        offsets = array_at(target[OFFSETS], target[ROW_COUNT], np.int64)
        rows = array_at(target[ROWS], target[ROW_COUNT] * target[ROW_COLUMNS], np.int64)
        for r in range(positions.size):
            rows[target[ROW_COLUMNS] * r + GRADIENT] = addresses[positions[r]] + offsets[r]
    return True


@_inlined
def _word(address):
    return array_at(address, 1, np.int64)[0]


def _is_like(array, facts, flags, plan):
    """Whether an array has the dtype, shape and strides that the facts say, and these flags."""
    ndim = facts[NDIM]
    if array_at(array + AT.ndim, 1, np.int32)[0] != ndim or _word(array + AT.dtype) != facts[DTYPE]:
        return False
    if array_at(array + AT.flags, 1, np.int32)[0] & flags != flags:
        return False
    shape, strides = _word(array + AT.shape), _word(array + AT.strides)
    lengths = plan[LENGTHS] + 8 * facts[FIRST_LENGTH]
    for i in range(ndim):
        if _word(shape + 8 * i) != _word(lengths + 8 * i):
            return False
        if _word(strides + 8 * i) != _word(lengths + 8 * (ndim + i)):
            return False
    return True


def _is_apart(start, facts, plan):
    """Whether memory is not that of any parameter, unless it is all of the one that the facts are about."""
    starts = array_at(plan[STARTS], plan[SPAN_COUNT], np.int64)
    ends = array_at(plan[ENDS], plan[SPAN_COUNT], np.int64)
    low, high = 0, ends.size  # of the spans of parameters, sorted, the first one that ends after the start
    while low < high:
        middle = (low + high) // 2
        if ends[middle] > start:
            high = middle
        else:
            low = middle + 1
    end = start + facts[NBYTES]
    return end == start or start == facts[DATA] or low == ends.size or starts[low] >= end
