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
    restore_denormals,
    yield_processor,
)
from numbopt._kernels.norms import square
from numbopt._kernels.rule import Rule, update_element
from numbopt._kernels.specialise import compiled_with, specialise

SCALARS: Any
SCALAR_COUNT: Any
TO_FIXED_TUPLE: Any
STATE_ARRAYS: Any
LOAD_STATE: Any
STORE_STATE: Any
BOUND_ARRAYS: Any
BOUNDS: Any
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

    bindings = rule.bindings() | {"TO_FIXED_TUPLE": to_fixed_tuple}
    arrays, load, store = _STATE_ACCESS[len(rule.state)]
    bindings |= {
        "STATE_ARRAYS": arrays,
        "LOAD_STATE": load,
        "STORE_STATE": store,
        "BOUND_ARRAYS": _bound_arrays if bound_arrays else _no_bound_arrays,
        "BOUNDS": _bounds_of_element if bound_arrays else _bounds_of_all,
        "RUN_ROWS": update_rows,
    }
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
    dtype = scalars.dtype
    for r in range(start, stop):
        size = rows[r, 0]
        h = SCALARS(*TO_FIXED_TUPLE(scalars[rows[r, 1]], SCALAR_COUNT))
        param = array_at(rows[r, 2], size, dtype)
        grad = array_at(rows[r, 3], size, dtype)
        states = STATE_ARRAYS(rows, r, size, dtype)
        bounds = BOUND_ARRAYS(rows, r, size, dtype)
        for i in range(size):
            lower, upper = BOUNDS(bounds, i, h)
            g = h.grad_scale * grad[i]
            param[i], state = update_element(param[i], g, LOAD_STATE(states, i), lower, upper, h)
            STORE_STATE(states, i, state)


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


def _no_bound_arrays(rows, r, size, dtype):
    return ()


def _bounds_of_all(bounds, i, h):
    return h.lower, h.upper


def _bound_arrays(rows, r, size, dtype):
    last = rows.shape[1] - 1
    return array_at(rows[r, last - 1], size, dtype), array_at(rows[r, last], size, dtype)


def _bounds_of_element(bounds, i, h):
    return bounds[0][i], bounds[1][i]


# Arrays, loads and stores by the number of state arrays: written out, they inline and vectorise; recursion does not.


def _arrays0(rows, r, size, dtype):
    return ()


def _load0(states, i):
    return ()


def _store0(states, i, values):
    pass


def _arrays1(rows, r, size, dtype):
    return (array_at(rows[r, 4], size, dtype),)


def _load1(states, i):
    return (states[0][i],)


def _store1(states, i, values):
    states[0][i] = values[0]


def _arrays2(rows, r, size, dtype):
    return array_at(rows[r, 4], size, dtype), array_at(rows[r, 5], size, dtype)


def _load2(states, i):
    return states[0][i], states[1][i]


def _store2(states, i, values):
    states[0][i] = values[0]
    states[1][i] = values[1]


def _arrays3(rows, r, size, dtype):
    return array_at(rows[r, 4], size, dtype), array_at(rows[r, 5], size, dtype), array_at(rows[r, 6], size, dtype)


def _load3(states, i):
    return states[0][i], states[1][i], states[2][i]


def _store3(states, i, values):
    states[0][i] = values[0]
    states[1][i] = values[1]
    states[2][i] = values[2]


_STATE_ACCESS = {
    0: (_arrays0, _load0, _store0),
    1: (_arrays1, _load1, _store1),
    2: (_arrays2, _load2, _store2),
    3: (_arrays3, _load3, _store3),
}
