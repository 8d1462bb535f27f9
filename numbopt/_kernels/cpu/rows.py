"""The loops around a rule on the CPU: all loads and stores, and what is common to all algorithms.

A launch works on a table. Its rows say where things are, one block of a flat buffer per row: ``[size, line, param,
grad, state 0, state 1, ...]``, addresses all but the first two; ``line`` picks a row of ``scalars``. A loop goes
through all rows, or through those that a thread has claimed: `shared` calls it by the address of its machine code.
"""

import functools
from typing import Any

import numpy as np

from numbopt._kernels.cpu.intrinsics import (
    array_at,
    atomic_add,
    atomic_exchange,
    call_loop,
    flush_denormals,
    load,
    pointers_in,
    restore_denormals,
    store,
    yield_processor,
)
from numbopt._kernels.norms import square
from numbopt._kernels.rule import Rule, terms_of_lane, update_lane
from numbopt._kernels.specialise import specialise

SCALARS: Any
SCALAR_COUNT: Any
TO_FIXED_TUPLE: Any
COLUMNS: Any
STATE_OF: Any
ADDED: Any
ZEROS: Any
SUM_COUNT: Any
PARTIAL_COLUMN: Any

PROGRESS_LINE = 16
"""Counters are so far apart that threads do not wait for each other's lines of cache."""


@functools.cache
def loop_around(rule: Rule, bound_arrays: bool = False) -> Any:
    """Compile the loop around ``rule``; the work is done when it is first needed for a dtype.

    With ``bound_arrays``, each element has bounds of its own, and the last two addresses of a row are theirs.
    """
    from numba.np.unsafe.ndarray import to_fixed_tuple

    return specialise(update_rows, rule.bindings(bound_arrays) | {"TO_FIXED_TUPLE": to_fixed_tuple})


@functools.cache
def sums_loop_around(rule: Rule, bound_arrays: bool = False) -> Any:
    """Compile the loop that sums the terms of ``rule`` over each row; the last column says where the sums go."""
    from numba.np.unsafe.ndarray import to_fixed_tuple

    bindings = rule.bindings(bound_arrays) | {"TO_FIXED_TUPLE": to_fixed_tuple}
    return specialise(sum_terms, bindings, fastmath={"reassoc", "contract"})  # as in `squares_loop`


@functools.cache
def zero_loop() -> Any:
    """Compile the loop that fills blocks of memory with zeros; sizes in ``rows`` are bytes."""
    return specialise(zero_rows, {})


@functools.cache
def copy_loop() -> Any:
    """Compile the loop that copies memory; a row is ``[size, 0, target, source]``, sizes in bytes."""
    return specialise(copy_rows, {})


@functools.cache
def squares_loop() -> Any:
    """Compile the loop that sums squares; a row is ``[size, 0, array, partial]``, the address of a float64 last."""
    # Reassociated, so that several elements are summed at once; the order within a block is fixed by the machine code.
    return specialise(sum_squares, {}, fastmath={"reassoc", "contract"})


@functools.cache
def sharing() -> Any:
    """Compile `shared`, for all loops."""
    return specialise(shared, {}, nogil=True)


def shared(loop, rows, scalars, chunks, shares, progress, number):
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
    for turn in range(share_count):
        share = (number + turn) % share_count
        done = 0
        chunk = atomic_add(progress, PROGRESS_LINE * (share + 1), 1)
        while chunk < shares[share + 1]:
            call_loop(loop, rows[chunks[chunk] : chunks[chunk + 1]], scalars)
            done += 1
            chunk = atomic_add(progress, PROGRESS_LINE * (share + 1), 1)
        atomic_add(progress, 0, done)
    while number == 0 and atomic_add(progress, 0, 0) < chunks.size - 1:
        yield_processor()


def update_rows(rows, scalars):
    """Apply the rule to blocks."""
    mode = flush_denormals()
    for r in range(rows.shape[0]):
        h = SCALARS(*TO_FIXED_TUPLE(scalars[rows[r, 1]], SCALAR_COUNT))
        arrays = pointers_in(rows, r, COLUMNS, scalars.dtype)
        targets = (arrays[0],) + STATE_OF(arrays)
        for i in range(rows[r, 0]):
            store(targets, i, update_lane(load(arrays, i), h.grad_scale, h))
    restore_denormals(mode)


def sum_terms(rows, scalars):
    """Sum the terms of the rule over blocks, in double precision."""
    mode = flush_denormals()
    for r in range(rows.shape[0]):
        h = SCALARS(*TO_FIXED_TUPLE(scalars[rows[r, 1]], SCALAR_COUNT))
        arrays = pointers_in(rows, r, COLUMNS, scalars.dtype)
        total = ZEROS
        for i in range(rows[r, 0]):
            total = ADDED(total, terms_of_lane(load(arrays, i), h.grad_scale, h))
        partial = array_at(rows[r, PARTIAL_COLUMN], SUM_COUNT, np.float64)
        for k in range(SUM_COUNT):
            partial[k] = total[k]
    restore_denormals(mode)


def zero_rows(rows, scalars):
    """Fill blocks with zeros."""
    for r in range(rows.shape[0]):
        block = array_at(rows[r, 2], rows[r, 0], np.uint8)
        for i in range(block.size):
            block[i] = 0


def copy_rows(rows, scalars):
    """Copy blocks."""
    for r in range(rows.shape[0]):
        target, source = array_at(rows[r, 2], rows[r, 0], np.uint8), array_at(rows[r, 3], rows[r, 0], np.uint8)
        for i in range(target.size):  # assigning a slice would do the same and takes two seconds to compile
            target[i] = source[i]


def sum_squares(rows, scalars):
    """Sum the squares of blocks."""
    mode = flush_denormals()
    for r in range(rows.shape[0]):
        total = 0.0
        for value in array_at(rows[r, 2], rows[r, 0], scalars.dtype):
            total += square(value)
        array_at(rows[r, 3], 1, np.float64)[0] = total
    restore_denormals(mode)
