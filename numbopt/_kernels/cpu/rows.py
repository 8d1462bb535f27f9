"""The loops around a rule on the CPU: all loads and stores, and what is common to all algorithms.

A launch works on a table. Its rows say where things are, one block of a flat buffer per row: ``[size, line, param,
grad, state 0, state 1, ...]``, addresses all but the first two; ``line`` picks a row of ``scalars``. The functions here
are templates: `kernels_for` binds the names in capitals and compiles them.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from numbopt._kernels.cpu.intrinsics import (
    array_at,
    atomic_add,
    atomic_exchange,
    flush_denormals,
    load,
    pointers_in,
    restore_denormals,
    store,
    yield_processor,
)
from numbopt._kernels.norms import square
from numbopt._kernels.rule import Rule, update_lane
from numbopt._kernels.specialise import compiled_with, specialise

SCALARS: Any
SCALAR_COUNT: Any
TO_FIXED_TUPLE: Any
COLUMNS: Any
STATE_OF: Any
RUN_ROWS: Any


PROGRESS_LINE = 16
"""Counters are so far apart that threads do not wait for each other's lines of cache."""


class Kernels(NamedTuple):
    """The two ways to launch the same block body."""

    serial: Any
    shared: Any


@functools.cache
def kernels_for(rule: Rule, bound_arrays: bool = False) -> Kernels:
    """Compile the loops around ``rule``; the work is done when they are first needed for a dtype.

    With ``bound_arrays``, each element has bounds of its own, and the last two addresses of a row are theirs.
    """
    from numba.np.unsafe.ndarray import to_fixed_tuple

    bindings = rule.bindings(bound_arrays) | {"TO_FIXED_TUPLE": to_fixed_tuple, "RUN_ROWS": update_rows}
    return Kernels(specialise(serial, bindings), specialise(shared, bindings, nogil=True))


@functools.cache
def zero_kernels() -> Kernels:
    """Compile the loops that fill blocks of memory with zeros; sizes in ``rows`` are bytes."""
    bindings = {"RUN_ROWS": zero_rows}
    return Kernels(specialise(serial, bindings), specialise(shared, bindings, nogil=True))


@functools.cache
def copy_kernels() -> Kernels:
    """Compile the loops that copy memory; a row is ``[size, 0, target, source]``, sizes in bytes."""
    bindings = {"RUN_ROWS": copy_rows}
    return Kernels(specialise(serial, bindings), specialise(shared, bindings, nogil=True))


@functools.cache
def squares_kernels() -> Kernels:
    """Compile the loops that sum squares; a row is ``[size, 0, array, partial]``, the address of a float64 last."""
    bindings = {"RUN_ROWS": sum_squares}
    return Kernels(specialise(serial, bindings), specialise(shared, bindings, nogil=True))


def serial(rows, scalars):
    """Run all rows on this thread."""
    mode = flush_denormals()
    RUN_ROWS(rows, scalars, 0, rows.shape[0])
    restore_denormals(mode)


def shared(rows, scalars, chunks, shares, progress, number):
    """Run chunks of rows, ``chunks[i]`` to ``chunks[i + 1]``, as long as there are unclaimed ones.

    Thread ``number`` begins with its share of them, ``shares[number]`` to ``shares[number + 1]``, so that it meets the
    memory that its caches know from the last launch, and goes on with what others have left of theirs. ``progress``
    counts in its first line the chunks that are done, then those claimed of each share. The launching thread, number
    0, resets it, and waits for all chunks to be done. A helper that comes late touches nothing but ``progress``.
    """
    share_count = shares.size - 1
    if number == 0:
        atomic_exchange(progress, 0, 0)
        for share in range(share_count):
            atomic_exchange(progress, PROGRESS_LINE * (share + 1), shares[share])
    mode = flush_denormals()
    for turn in range(share_count):
        share = (number + turn) % share_count
        done = 0
        chunk = atomic_add(progress, PROGRESS_LINE * (share + 1), 1)
        while chunk < shares[share + 1]:
            RUN_ROWS(rows, scalars, chunks[chunk], chunks[chunk + 1])
            done += 1
            chunk = atomic_add(progress, PROGRESS_LINE * (share + 1), 1)
        atomic_add(progress, 0, done)
    restore_denormals(mode)
    while number == 0 and atomic_add(progress, 0, 0) < chunks.size - 1:
        yield_processor()


def update_rows(rows, scalars, start, stop):
    """Apply the rule to some blocks."""
    for r in range(start, stop):
        h = SCALARS(*TO_FIXED_TUPLE(scalars[rows[r, 1]], SCALAR_COUNT))
        arrays = pointers_in(rows, r, COLUMNS, scalars.dtype)
        targets = (arrays[0],) + STATE_OF(arrays)
        for i in range(rows[r, 0]):
            store(targets, i, update_lane(load(arrays, i), h.grad_scale, h))


def zero_rows(rows, scalars, start, stop):
    """Fill some blocks with zeros."""
    for r in range(start, stop):
        block = array_at(rows[r, 2], rows[r, 0], np.uint8)
        for i in range(block.size):
            block[i] = 0


def copy_rows(rows, scalars, start, stop):
    """Copy some blocks."""
    for r in range(start, stop):
        target, source = array_at(rows[r, 2], rows[r, 0], np.uint8), array_at(rows[r, 3], rows[r, 0], np.uint8)
        for i in range(target.size):  # assigning a slice would do the same and takes two seconds to compile
            target[i] = source[i]


# Reassociated, so that several elements are summed at once; within a block the order is fixed when this is compiled.
@compiled_with(fastmath={"reassoc", "contract"})
def sum_squares(rows, scalars, start, stop):
    """Sum the squares of some blocks."""
    for r in range(start, stop):
        total = 0.0
        for value in array_at(rows[r, 2], rows[r, 0], scalars.dtype):
            total += square(value)
        array_at(rows[r, 3], 1, np.float64)[0] = total
