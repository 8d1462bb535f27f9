"""The core of quasi-Newton methods, compiled, on vectors in memory of the host."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numbopt._devices.arrays import Array, to_host
from numbopt._kernels.cpu.intrinsics import multiply_add
from numbopt._kernels.cpu.vectors import BLOCK, block_at, help_team, new_team, run_block_at, run_blocks, run_pass_at
from numbopt._kernels.quasi_newton.bounded import restore_products
from numbopt._kernels.quasi_newton.core import advance, advance_in_team, drive
from numbopt._kernels.quasi_newton.state import BOUNDED, PAIRS, State, new_state
from numbopt._kernels.specialise import address, entry_point, specialise
from numbopt._launch.threads import calls_for_help

PARALLEL_FROM = 100_000
"""Elements of a vector from which waking other threads pays."""
_BLOCKS_PER_THREAD = 4  # with fewer, a thread would be woken for less work than waking it costs


@functools.cache
def kernel(rule: int) -> Any:
    """Return the core compiled for one rule."""
    return specialise(advance, {"RULE": rule, "run_pass": run_pass_at})


@functools.cache
def kernel_in_team(rule: int) -> Any:
    """Return a function that shares the work of the core among threads."""
    return specialise(advance_in_team, {"ADVANCE": kernel(rule)}, nogil=True)


@functools.cache
def helper() -> Any:
    """Return what other threads run, for all rules."""
    return specialise(help_team, {}, nogil=True)


@functools.cache
def _restoring() -> Any:
    return specialise(restore_products, {"run_pass": run_pass_at})


@functools.cache
def _run_address() -> int:
    from numba import float64, int64

    compiled = specialise(run_blocks, {"run_block": run_block_at})
    return address(compiled, (int64, float64, float64, int64, int64, int64, int64, int64, int64[::1]))


@functools.cache
def _block_address(dtype: np.dtype[Any]) -> int:
    from numba import float64, int64

    compiled = specialise(block_at, {"DTYPE": dtype, "MULTIPLY_ADD": multiply_add})
    return address(compiled, (int64, float64, float64, int64, int64, int64, int64))


def team_for(dtype: np.dtype[Any], n: int = 0) -> Array:
    """Return what passes over vectors of ``dtype`` need, for the threads that share ``n`` elements or for one."""
    return new_team(_run_address(), _block_address(dtype), n)


@functools.cache
def _entry_points(rule: int, dtype: np.dtype[Any], shared: bool) -> tuple[Callable[..., Any], ...]:
    """Return the entry points of what `advance_function` runs, compiled; see `numbopt._launch.cpu`."""
    state, team, vector = new_state(1, dtype, rule, 1), team_for(dtype), np.zeros(1, dtype)
    alone = entry_point_for(kernel(rule), *state, vector, vector, 0.0, team)
    if not shared:
        return (alone,)
    return entry_point_for(kernel_in_team(rule), *state, vector, vector, 0.0, team), entry_point_for(helper(), team, 1)


def entry_point_for(compiled: Any, *arguments: Any) -> Callable[..., Any]:
    """Return the entry point of a function for arguments of the types that these have."""
    from numba import typeof

    return entry_point(compiled, tuple(map(typeof, arguments)))


def compile_ahead(rule: int, dtype: Any) -> None:
    """Compile what `advance_function` may return for vectors of ``dtype``."""
    for shared in (False, True):
        _entry_points(rule, np.dtype(dtype), shared)


def advance_function(state: State) -> Callable[[Array, Array, float], int]:
    """Return the function ``advance(x, g, f)`` that works on ``state``, with the help of threads where n is large.

    It takes in value ``f`` and gradient ``g`` at ``x``, all vectors contiguous and of the state's dtype, and answers
    `EVALUATE` with the next point in ``x``, or why it stopped with the best point in ``x``.
    """
    vectors, products, records = state
    n, rule = vectors.shape[1], records["rule"].item()
    is_shared = n >= PARALLEL_FROM
    team = team_for(vectors.dtype, n if is_shared else 0)
    entry_points = _entry_points(rule, vectors.dtype, is_shared)
    advance = entry_points[0]
    if not is_shared:
        return lambda x, g, f: advance(vectors, products, records, x, g, f, team)
    help_with_it = functools.partial(entry_points[1], team)
    most_threads = math.ceil(n / BLOCK) // _BLOCKS_PER_THREAD

    def advance_with_help(x: Array, g: Array, f: float) -> int:
        for call in calls_for_help(help_with_it, most_threads):
            call()
        return int(advance(vectors, products, records, x, g, f, team))

    return advance_with_help


def pairs(state: State) -> tuple[Array, Array, Array]:
    """Return copies of all s, y and 1 / s.y that ``state`` remembers, in the order in which they were made."""
    vectors, products, states = state
    capacity, newest = products.shape[1], states["newest"].item()
    memory = min(states["memory"].item(), capacity)  # conjugate gradients have none
    ring = to_host(vectors)[PAIRS:]
    rows = ring, ring[capacity:], products[0]
    oldest = newest - memory + 1
    if oldest >= 0:
        s, y, rho = (row[oldest : newest + 1].copy() for row in rows)
    else:
        places = np.arange(oldest, newest + 1) % capacity
        s, y, rho = (row[places] for row in rows)
    return s, y, rho


def remember(state: State, s: Array, y: Array, rho: Array) -> None:
    """Put what `pairs` returned into a fresh state, the newest ones if it has less room."""
    vectors, products, states = state
    capacity = products.shape[1]
    count = min(len(rho), capacity)
    if count:
        for k in range(count):
            vectors[PAIRS + k], vectors[PAIRS + capacity + k] = s[k - count], y[k - count]
        products[0, :count] = rho[-count:]
        states[0]["memory"], states[0]["newest"] = count, count - 1
    if count and states[0]["rule"] == BOUNDED:
        arguments = vectors, products, state.records.view(np.recarray), team_for(vectors.dtype)
        entry_point_for(_restoring(), *arguments)(*arguments)


@functools.lru_cache(maxsize=64)
def driver(rule: int, function: Any) -> Any:
    """Return `drive`, compiled around a function that Numba has decorated and the core for a rule.

    The core is compiled once for all functions. `specialise` names the rest by its content, so that the disk cache
    finds also closures and functions of ``__main__`` again.
    """
    _entry_points(rule, np.dtype(np.float64), shared=False)
    bindings = {"FUNCTION": function, "ADVANCE": kernel(rule)}
    return specialise(drive, bindings, cached="parallel" not in function.targetoptions)
