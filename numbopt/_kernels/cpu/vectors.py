"""Passes over vectors on the CPU: fused updates and dots whose results depend on nothing but the data.

What a pass does with an element is in `numbopt._kernels.passes`; here are the loops.

A pass goes through the vectors in blocks of fixed size and adds up what the blocks give in their order, so that its
result has the same bits for any number of threads. The vectors of a pass have one dtype.

Every pass takes a `team`. The array from `new_team` begins with two addresses of machine code: of `run_blocks`,
compiled once for everything, and of `block_at`, compiled once for a dtype. A core for which `run_pass` is bound to
`run_pass_at` calls them, and compiles in two thirds of the time. Without that binding, passes are compiled into the
core, and ``team`` is None.

The rest of the array, if there is more, is a board through which other threads help. They are called once for many
passes, because the passes of an iteration are many and short: between `open_team` and `close_team`, a helper in
`help_team` takes blocks of whatever pass the launching thread has announced. That thread takes blocks as well and waits
only for those that a helper has begun.
"""

import math
from typing import Any

import numpy as np

from numbopt._kernels.cpu.intrinsics import (
    array_at,
    atomic_add,
    atomic_exchange,
    call_block,
    call_pass,
    never_inline,
    pointer_to,
    yield_processor,
)
from numbopt._kernels.passes import (
    COPY,
    DIFFERENCE,
    DOT,
    LINE,
    MAX_MAGNITUDE,
    SCALE,
    SUM_MAGNITUDE,
    WEIGHTED_SUM,
    larger_of,
    magnitude,
    moved_along,
    product,
    scaled,
    subtracted,
    sum_of,
    weighted_sum,
)
from numbopt._kernels.specialise import compiled_with

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 8192

# Fields of a team. Blocks are claimed downwards, so that 0 and less mean that none is left. Behind the fields is what
# the blocks give. That and the two factors are float64.
_RUN_AT, _BLOCK_AT, _UNCLAIMED, _DONE, _OPEN, _PASS, _SIZE, _BYTES, _OUT, _U, _V, _FACTORS, _, _PARTS = range(14)
_ALONE = 2  # the size of a team of one thread

# Functions that only name a pass are no functions of their own: each would have to be compiled.
_inlined = compiled_with(inline="always")


@_inlined
def copy(out, u, team):
    """Set ``out = u``."""
    run_pass(COPY, out, 0.0, 0.0, u, u, team)


@_inlined
def difference(out, u, v, team):
    """Set ``out = u - v``."""
    run_pass(DIFFERENCE, out, 0.0, 0.0, u, v, team)


@_inlined
def point_on_line(out, start, step, direction, team):
    """Set ``out = start + step direction``."""
    run_pass(LINE, out, step, 0.0, start, direction, team)


@_inlined
def scaled_dot(out, a, u, v, team):
    """Set ``out = a u`` and return ``out . v``."""
    return run_pass(SCALE, out, a, 0.0, u, v, team)


@_inlined
def update_dot(out, a, b, u, v, team):
    """Set ``out = a out + b u`` and return ``out . v``."""
    return run_pass(WEIGHTED_SUM, out, a, b, u, v, team)


@_inlined
def dot(u, v, team):
    """Return ``u . v``."""
    return run_pass(DOT, u, 0.0, 0.0, u, v, team)


@_inlined
def sum_magnitude(u, team):
    """Return the sum of ``|u|``: not finite if an element is not."""
    return run_pass(SUM_MAGNITUDE, u, 0.0, 0.0, u, u, team)


@_inlined
def max_magnitude(u, team):
    """Return the largest ``|u|``, leaving out NaN."""
    return run_pass(MAX_MAGNITUDE, u, 0.0, 0.0, u, u, team)


def new_team(run_at: int, block_at: int, n: int = 0) -> Array:
    """Return the array through which threads share passes over vectors of ``n`` elements, or which one thread needs.

    Parameters
    ----------
    run_at, block_at : int
        Addresses of `run_blocks` and, for the dtype of the vectors, of `block_at`.
    """
    team = np.zeros(_PARTS + math.ceil(n / BLOCK) if n else _ALONE, np.int64)
    team[_RUN_AT], team[_BLOCK_AT] = run_at, block_at
    return team


def open_team(team):
    """Let helpers come."""
    atomic_exchange(team, _UNCLAIMED, 0)
    atomic_exchange(team, _OPEN, 1)


def close_team(team):
    """Send helpers home. One that has not noticed touches nothing but the board."""
    atomic_exchange(team, _OPEN, 0)


def help_team(team, number):
    """Take blocks of announced passes until the team is closed.

    The number of the helper does not matter: the vectors are seldom those that it has just seen.
    """
    while atomic_add(team, _OPEN, 0) == 1:
        if not _take_block(team):
            yield_processor()


def _address(array):
    return np.int64(array.ctypes.data)  # which is unsigned: the sum with an int64 would be a float64


def run_pass(kind, out, a, b, u, v, team):
    return _run_alone(0, kind, a, b, _address(out), _address(u), _address(v), out.size, out.itemsize * BLOCK, out.dtype)


def run_pass_at(kind, out, a, b, u, v, team):
    addresses = _address(out), _address(u), _address(v)
    if out.size <= BLOCK:
        return call_block(team[_BLOCK_AT], kind, a, b, *addresses, out.size)
    return call_pass(team[_RUN_AT], kind, a, b, *addresses, out.size, out.itemsize * BLOCK, team)


def run_blocks(kind, a, b, out, u, v, size, bytes_per_block, team):
    """Run a pass over vectors, which are given by their addresses."""
    if team.size == _ALONE:
        return _run_alone(team[_BLOCK_AT], kind, a, b, out, u, v, size, bytes_per_block, None)
    team[_PASS], team[_SIZE], team[_BYTES] = kind, size, bytes_per_block
    team[_OUT], team[_U], team[_V] = out, u, v
    team[_DONE] = 0
    factors, parts = _factors_and_parts(team)
    factors[0], factors[1] = a, b
    atomic_exchange(team, _UNCLAIMED, parts.size)
    while _take_block(team):
        pass
    while atomic_add(team, _DONE, 0) < parts.size:
        yield_processor()
    total = 0.0
    for part in parts:
        total = _combine(kind, total, part)
    return total


def _run_alone(block, kind, a, b, out, u, v, size, bytes_per_block, dtype):
    total = run_block(block, kind, a, b, out, u, v, min(BLOCK, size), dtype)
    for start in range(BLOCK, size, BLOCK):
        out, u, v = out + bytes_per_block, u + bytes_per_block, v + bytes_per_block
        part = run_block(block, kind, a, b, out, u, v, min(BLOCK, size - start), dtype)
        total = _combine(kind, total, part)
    return total


def _take_block(team):
    """Claim a block and run it; False if there is none."""
    place = atomic_add(team, _UNCLAIMED, -1) - 1
    if place < 0:
        return False
    factors, parts = _factors_and_parts(team)
    offset = place * team[_BYTES]
    size = min(BLOCK, team[_SIZE] - place * BLOCK)
    out, u, v = team[_OUT] + offset, team[_U] + offset, team[_V] + offset
    parts[place] = call_block(team[_BLOCK_AT], team[_PASS], factors[0], factors[1], out, u, v, size)
    atomic_add(team, _DONE, 1)
    return True


def _factors_and_parts(team):
    start = _address(team)
    factors = array_at(start + _FACTORS * team.itemsize, 2, np.float64)
    return factors, array_at(start + _PARTS * team.itemsize, team.size - _PARTS, np.float64)


def _combine(kind, total, part):
    return larger_of(total, part) if kind == MAX_MAGNITUDE else sum_of(total, part)


def run_block(block, kind, a, b, out, u, v, size, dtype):
    """Run a pass over one block of vectors of ``dtype``, which are given by their addresses."""
    return _block(kind, a, b, pointer_to(out, dtype), pointer_to(u, dtype), pointer_to(v, dtype), size)


def run_block_at(block, kind, a, b, out, u, v, size, dtype):
    """Do the same by the machine code of `block_at`."""
    return call_block(block, kind, a, b, out, u, v, size)


DTYPE: Any  # bound for `block_at`


def block_at(kind, a, b, out, u, v, size):
    return _block(kind, a, b, pointer_to(out, DTYPE), pointer_to(u, DTYPE), pointer_to(v, DTYPE), size)


# Reassociation lets a sum run in vector registers; NaN and infinity keep their meaning.
@compiled_with(fastmath={"reassoc", "contract"})
def _block(kind, a, b, out, u, v, size):
    # On pointers, as an array would be seven arguments.
    never_inline()  # so that its sums have the same bits on all threads
    total = 0.0
    if kind == WEIGHTED_SUM:
        for i in range(size):
            out[i] = weighted_sum(out[i], u[i], v[i], a, b)
            total += product(out[i], v[i])
    elif kind == SCALE:
        for i in range(size):
            out[i] = scaled(out[i], u[i], v[i], a, b)
            total += product(out[i], v[i])
    elif kind == DOT:
        for i in range(size):
            total += product(out[i], v[i])
    elif kind == SUM_MAGNITUDE:
        for i in range(size):
            total += magnitude(out[i], v[i])
    elif kind == MAX_MAGNITUDE:
        for i in range(size):
            total = larger_of(total, magnitude(out[i], v[i]))
    elif kind == COPY:
        for i in range(size):
            out[i] = u[i]
    elif kind == DIFFERENCE:
        for i in range(size):
            out[i] = subtracted(out[i], u[i], v[i], a, b)
    elif kind == LINE:
        for i in range(size):
            out[i] = moved_along(out[i], u[i], v[i], a, b)
    return total
