"""The look at arrays before a step: whether parameters and gradients are what the rows of tables were made for.

Compiled code reads the array objects of NumPy themselves, because a thousand of them would take Python a millisecond.
`numbopt._devices.objects` knows where things are in an object.
"""

import functools
from typing import Any

import numpy as np

from numbopt._devices.objects import ALIGNED, object_layout
from numbopt._kernels.cpu.intrinsics import int32_at, int64_at, store_int64
from numbopt._kernels.specialise import entry_point, specialise

AT: Any
"""The `ObjectLayout`."""

# Places in a plan, of 8 bytes each: how many rows there are of what, where they are, and two objects.
COUNT, WATCHED_COUNT, SPAN_COUNT, WATCHED, LENGTHS, STARTS, ENDS, FOUND, ADDRESSES, NDARRAY, NONE, PLAN_SIZE = range(12)

# Columns of the watched arrays: facts about an array, and where its lengths and strides are among those of all.
OBJECT, DATA, NBYTES, NDIM, DTYPE, FLAGS, FIRST_LENGTH, WATCHED_COLUMNS = range(8)

# Columns of targets: one line for each table, that says where its rows are and what belongs into their last column.
ROWS, POSITIONS, OFFSETS, ROW_COUNT, ROW_COLUMNS, TARGET_COLUMNS = range(6)

GRADIENT = 3
"""The column of the rows of a table that has the address of the gradient."""


@functools.cache
def compiled_look() -> Any:
    """Return the entry point of `look`, compiled, or None where objects of Python cannot be read."""
    from numba import types

    layout = object_layout()
    return None if layout is None else entry_point(specialise(look, {"AT": layout}), (types.int64,) * 3)


def look(plan, targets, given):
    """Take the addresses of gradients over into the rows of tables if nothing else has changed since the last step.

    Parameters
    ----------
    plan : int
        Address of `PLAN_SIZE` integers of 64 bits.
    targets : int
        Address of the number of targets, and of so many lines of `TARGET_COLUMNS` integers after it.
    given : int
        ``id`` of a tuple: for each parameter its gradient, or None.

    Returns
    -------
    bool
        True if all parameters are where and as they were, the same ones have a gradient, and each gradient lies in
        memory as its parameter does and apart from all. Otherwise nothing was written.
    """
    if int64_at(given + AT.size, 0) != int64_at(plan, COUNT):
        return False
    watched, ndarray = int64_at(plan, WATCHED), int64_at(plan, NDARRAY)
    for i in range(int64_at(plan, WATCHED_COUNT)):
        facts = watched + 8 * WATCHED_COLUMNS * i
        array = int64_at(facts, OBJECT)
        if int64_at(array + AT.data, 0) != int64_at(facts, DATA) or not _is_like(
            array, facts, int64_at(facts, FLAGS), plan
        ):
            return False
    addresses, found, none = int64_at(plan, ADDRESSES), int64_at(plan, FOUND), int64_at(plan, NONE)
    moved = False
    for i in range(int64_at(plan, COUNT)):
        facts = watched + 8 * WATCHED_COLUMNS * i
        gradient, before, now = int64_at(given + AT.items, i), int64_at(addresses, i), 0
        if (gradient == none) != (before == 0):
            return False
        if gradient != none:
            if int64_at(gradient + AT.kind, 0) != ndarray or not _is_like(gradient, facts, np.int64(ALIGNED), plan):
                return False
            now = int64_at(gradient + AT.data, 0)
            if now != before:
                if not _is_apart(now, facts, plan):
                    return False
                moved = True
        store_int64(found, i, now)
    if not moved:
        return True
    for i in range(int64_at(plan, COUNT)):
        store_int64(addresses, i, int64_at(found, i))
    for t in range(int64_at(targets, 0)):
        target = targets + 8 * (1 + TARGET_COLUMNS * t)
        positions, offsets = int64_at(target, POSITIONS), int64_at(target, OFFSETS)
        columns, gradients = int64_at(target, ROW_COLUMNS), int64_at(target, ROWS) + 8 * GRADIENT
        for r in range(int64_at(target, ROW_COUNT)):
            store_int64(gradients, columns * r, int64_at(addresses, int64_at(positions, r)) + int64_at(offsets, r))
    return True


def _is_like(array, facts, flags, plan):
    """Whether an array has the dtype, shape and strides that the facts say, and these flags."""
    ndim = int64_at(facts, NDIM)
    if int32_at(array + AT.ndim) != ndim or int64_at(array + AT.dtype, 0) != int64_at(facts, DTYPE):
        return False
    if int32_at(array + AT.flags) & flags != flags:
        return False
    shape, strides = int64_at(array + AT.shape, 0), int64_at(array + AT.strides, 0)
    lengths = int64_at(plan, LENGTHS) + 8 * int64_at(facts, FIRST_LENGTH)
    for i in range(ndim):
        if int64_at(shape, i) != int64_at(lengths, i) or int64_at(strides, i) != int64_at(lengths, ndim + i):
            return False
    return True


def _is_apart(start, facts, plan):
    """Whether memory is not that of any parameter, unless it is all of the one that the facts are about."""
    starts, ends, count = int64_at(plan, STARTS), int64_at(plan, ENDS), int64_at(plan, SPAN_COUNT)
    low, high = 0, count  # of the spans of parameters, sorted, the first one that ends after the start
    while low < high:
        middle = (low + high) // 2
        if int64_at(ends, middle) > start:
            high = middle
        else:
            low = middle + 1
    end = start + int64_at(facts, NBYTES)
    return end == start or start == int64_at(facts, DATA) or low == count or int64_at(starts, low) >= end
