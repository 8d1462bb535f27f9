"""Passes over vectors on the CPU: fused updates and dots whose results depend on nothing but the data.

What a pass does with an element is in `numbopt._kernels.passes`; here are the loops.

A pass goes through the vectors in blocks of fixed size and adds up what the blocks give in their order, so that its
result has the same bits for any number of threads. The vectors of a pass have one dtype.

Every pass takes a `team`: None, or the arrays from `new_team`, through which other threads help. They are called once
for many passes, because the passes of an iteration are many and short: between `open_team` and `close_team`, a helper
in `help_team` takes blocks of whatever pass the launching thread has announced. That thread takes blocks as well and
waits only for those that a helper has begun.
"""

import math
from typing import Any

import numpy as np

from numbopt._kernels.cpu.intrinsics import atomic_add, atomic_exchange, never_inline, pointer_to, yield_processor
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

# Fields of the board of a team. Blocks are claimed downwards, so that 0 and less mean that none is left.
_UNCLAIMED, _DONE, _OPEN, _PASS, _SIZE, _OUT, _U, _V, _FIELDS = range(9)

# LLVM optimises a function together with all it calls, anew for each function that Numba compiles. Those that only name
# a pass are therefore no functions of their own: `_block` would be compiled once more for each of them.
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


def new_team(n: int) -> tuple[Array, Array, Array]:
    """Return the arrays through which threads share passes over vectors of ``n`` elements."""
    return np.zeros(_FIELDS, np.int64), np.zeros(2), np.zeros(math.ceil(n / BLOCK))


def open_team(team):
    """Let helpers come."""
    if team is not None:
        atomic_exchange(team[0], _UNCLAIMED, 0)
        atomic_exchange(team[0], _OPEN, 1)


def close_team(team):
    """Send helpers home. One that has not noticed touches nothing but the board."""
    if team is not None:
        atomic_exchange(team[0], _OPEN, 0)


def help_team(vectors, board, factors, parts, number):
    """Take blocks of announced passes until the team is closed; ``vectors`` gives the dtype.

    The number of the helper does not matter: the vectors are seldom those that it has just seen.
    """
    while atomic_add(board, _OPEN, 0) == 1:
        if not _take_block(vectors, board, factors, parts):
            yield_processor()


@_inlined
def run_pass(kind, out, a, b, u, v, team):
    if out.size <= BLOCK:
        return _part(0, kind, a, b, out.ctypes.data, u.ctypes.data, v.ctypes.data, out.size, out)
    return _run_blocks(kind, out, a, b, u, v, team)


def _run_blocks(kind, out, a, b, u, v, team):
    never_inline()
    if team is None:
        total = 0.0
        for place in range(math.ceil(out.size / BLOCK)):
            part = _part(place, kind, a, b, out.ctypes.data, u.ctypes.data, v.ctypes.data, out.size, out)
            total = _combine(kind, total, part)
        return total
    board, factors, parts = team
    board[_PASS] = kind
    board[_SIZE] = out.size
    board[_OUT], board[_U], board[_V] = out.ctypes.data, u.ctypes.data, v.ctypes.data
    board[_DONE] = 0
    factors[0], factors[1] = a, b
    atomic_exchange(board, _UNCLAIMED, parts.size)
    while _take_block(out, board, factors, parts):
        pass
    while atomic_add(board, _DONE, 0) < parts.size:
        yield_processor()
    total = 0.0
    for part in parts:
        total = _combine(kind, total, part)
    return total


def _take_block(like, board, factors, parts):
    """Claim a block and run it; False if there is none."""
    place = atomic_add(board, _UNCLAIMED, -1) - 1
    if place < 0:
        return False
    parts[place] = _part(
        place, board[_PASS], factors[0], factors[1], board[_OUT], board[_U], board[_V], board[_SIZE], like
    )
    atomic_add(board, _DONE, 1)
    return True


def _combine(kind, total, part):
    return larger_of(total, part) if kind == MAX_MAGNITUDE else sum_of(total, part)


@_inlined
def _part(place, kind, a, b, out, u, v, size, like):
    """Run a pass over one block of vectors of ``size`` elements, which are given by their addresses."""
    offset = place * BLOCK * like.itemsize
    out, u, v = (
        pointer_to(out + offset, like.dtype),
        pointer_to(u + offset, like.dtype),
        pointer_to(v + offset, like.dtype),
    )
    return _block(kind, a, b, out, u, v, min(BLOCK, size - place * BLOCK))


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
