"""Limited-memory BFGS and nonlinear conjugate gradients in reverse communication.

`advance_function` makes a function that is told the point ``x`` with value ``f`` and gradient ``g``, writes the next
point to evaluate into ``x`` and answers `EVALUATE`, or restores the best point into ``x`` and answers why it stopped.
It never calls the objective. All it remembers is in three arrays from `new_state`, so a copy of them resumes with the
same bits, at any moment. What there is to know after a stop stands in the fields of ``states[0]`` and in the rows
`BASE_X` and `BASE_G` of ``vectors``.

The first call after a stop enters anew: it takes the given point as its base, starts counting again and keeps the
memory of curvature. Pairs are made of points of one such run only, except under `FIXED_STEP`, whose rule is torch's.

References
----------
J. Nocedal, "Updating quasi-Newton matrices with limited storage", Math. Comp. 35 (1980) 773-782.
W. W. Hager, H. Zhang, "A survey of nonlinear conjugate gradient methods", Pacific J. Optim. 2 (2006) 35-58.
Y.-H. Dai, C.-X. Kou, "A nonlinear conjugate gradient algorithm with an optimal property and an improved Wolfe line
search", SIAM J. Optim. 23 (2013) 296-320.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numbopt._kernels.intrinsics import borrowed, never_inline
from numbopt._kernels.specialise import specialise
from numbopt._kernels.threads import calls_for_help
from numbopt._kernels.vectors import (
    close_team,
    copy,
    difference,
    dot,
    help_team,
    max_magnitude,
    new_team,
    open_team,
    point_on_line,
    scaled_dot,
    sum_magnitude,
    update_dot,
)
from numbopt.device_array import to_host
from numbopt.line_search import ACCEPTED, SEARCH, SEARCHING, begin, contradicts, update

Array = np.ndarray[Any, np.dtype[Any]]
State = tuple[Array, Array, Array]
"""``(vectors, products, states)``."""

(
    EVALUATE,  # not a stop: evaluate at x and come back
    GRADIENT_SMALL,
    CHANGE_SMALL,
    STEP_SMALL,
    SLOPE_SMALL,
    MAX_ITERATIONS,
    MAX_EVALUATIONS,
    NO_LOWER_POINT,
    GRADIENT_WRONG,  # the search found no lower point, and values and slopes contradict each other
    START_NOT_FINITE,
    NOT_FINITE_AHEAD,  # shortened for trials without a finite value, the search led nowhere
    STEP_NOT_FINITE,  # a fixed step, taken back
) = range(12)
"""Answers of `advance`."""

LBFGS, FIXED_STEP, POLAK_RIBIERE, HAGER_ZHANG, DAI_KOU = range(5)
"""Rules: L-BFGS with a line search, L-BFGS with steps of fixed length (torch's default), conjugate gradients."""

CONJUGATE = {"dai-kou": DAI_KOU, "hager-zhang": HAGER_ZHANG, "polak-ribiere": POLAK_RIBIERE}
"""The conjugate gradients by name."""

STATE = np.dtype(
    [
        # what the caller sets
        ("rule", np.int64),
        ("learning_rate", np.float64),  # first trial step along an L-BFGS direction
        ("tolerance_gradient", np.float64),  # on the largest element
        ("tolerance_change", np.float64),  # on value and largest element of a step, absolute
        ("tolerance_relative", np.float64),  # on the value, relative to max(|f|, 1), `patience` times in a row
        ("patience", np.int64),
        ("max_iterations", np.int64),
        ("max_evaluations", np.int64),
        # what it reads
        ("value", np.float64),  # at the base
        ("gradient_norm", np.float64),  # the largest element
        ("iterations", np.int64),  # of this run
        ("evaluations", np.int64),
        # what is remembered
        ("searching", np.bool_),  # the next evaluation is a trial, not an entry
        ("epsilon", np.float64),  # of the vectors' dtype
        ("slope", np.float64),  # along the direction, at the base
        ("step", np.float64),  # the last one; NaN before the first
        ("lowest", np.float64),  # value of this run
        ("patient", np.int64),  # iterations in a row with a small relative change
        ("memory", np.int64),  # pairs in the ring; for conjugate gradients 1 if the last direction counts
        ("newest", np.int64),  # its place in the ring
        ("scale", np.float64),  # of the inverse Hessian: s.y / y.y; for conjugate gradients |s| / |y|
        ("beta", np.float64),  # weight of the last direction in the next one
        ("search", SEARCH),
    ]
)

RULE: Any  # bound by `kernel`, so that a kernel holds, and compiles, one rule only

BASE_X, BASE_G, DIRECTION, BEST_G, PAIRS = range(5)
"""Rows of ``vectors``: the point where the search started, its gradient, the direction of the search, the gradient at
the best trial that was not accepted; then all s and all y of the pairs."""

PARALLEL_FROM = 100_000
"""Elements of a vector from which waking other threads pays."""

_BLOCKS_PER_THREAD = 4  # with fewer, a thread would be woken for less work than waking it costs

_ROUNDINGS = 32  # error of a value, in units of its last digit: values are sums of many terms
_STALLED = 1e-9  # relative change of the value, below which steps that no search could make better count as failures
_FIXED_STEP_CURVATURE = 1e-10  # torch's absolute threshold for s . y


def new_state(
    n: int,
    dtype: Any,
    rule: int = LBFGS,
    history_size: int = 100,
    new_vectors: Callable[..., Any] = np.zeros,
    max_trials: int = 20,
    **options: float,
) -> State:
    """Return the arrays ``(vectors, products, states)`` of a fresh state for `advance`.

    The options are fields of ``states[0]``, to be given here or set later; without them there are no limits and no
    tolerances. The vectors are what ``new_vectors((count, n), dtype)`` returns.
    """
    pairs = 0 if rule in CONJUGATE.values() else history_size
    vectors = new_vectors((PAIRS + 2 * pairs, n), dtype)
    products = np.zeros((2, pairs))  # 1 / s.y of every pair; coefficients of the recursion
    states = np.ndarray(1, STATE, bytearray(_fresh_states(rule, np.dtype(dtype), max_trials, **options)))
    return vectors, products, states


@functools.lru_cache
def _fresh_states(rule: int, dtype: np.dtype[Any], max_trials: int, **options: float) -> bytes:
    """Return ``states`` as bytes, because NumPy copies records field by field."""
    states = np.zeros(1, STATE)
    fields = {
        "rule": rule,
        "learning_rate": 1.0,
        "step": math.nan,
        "tolerance_relative": -1.0,
        "patience": 3,
        "max_iterations": np.iinfo(np.int64).max,
        "max_evaluations": np.iinfo(np.int64).max,
        "epsilon": np.finfo(dtype).eps,
        "newest": -1,
        **options,
    }
    for name, value in fields.items():
        states[name] = value
    search = states["search"]
    search["sufficient_decrease"] = 1e-4
    search["curvature"] = 0.4 if rule in CONJUGATE.values() else 0.9
    search["max_trials"] = max_trials
    return states.tobytes()


def _advance(vectors, products, states, x, g, f, team=None):
    vectors, x, g, state = borrowed(vectors), borrowed(x), borrowed(g), states[0]
    if not state.searching:
        state.iterations = state.evaluations = state.patient = 0
    state.evaluations += 1
    if RULE == FIXED_STEP:
        answer = _fixed_step(x, g, f, vectors, products, state, team)
    elif state.searching:
        answer = _trial(x, g, f, vectors, products, state, team)
    else:
        answer = _enter(x, g, f, vectors, products, state, team)
    state.searching = answer == EVALUATE
    return answer


def _advance_in_team(vectors, products, states, board, factors, parts, x, g, f):
    team = (board, factors, parts)
    open_team(team)
    answer = _advance(vectors, products, states, x, g, f, team)
    close_team(team)
    return answer


def _enter(x, g, f, vectors, products, state, team):
    _rebase(x, g, f, vectors, state, team)
    if not (math.isfinite(f) and math.isfinite(sum_magnitude(g, team))):
        return START_NOT_FINITE
    state.lowest = f
    if state.gradient_norm <= state.tolerance_gradient:
        return GRADIENT_SMALL
    if state.max_iterations <= 0:
        return MAX_ITERATIONS
    if state.evaluations >= state.max_evaluations:
        return MAX_EVALUATIONS
    return _begin_search(x, vectors, products, state, team)


def _rebase(x, g, f, vectors, state, team):
    copy(vectors[BASE_X], x, team)
    copy(vectors[BASE_G], g, team)
    state.value = f
    state.gradient_norm = max_magnitude(g, team)


def _begin_search(x, vectors, products, state, team):
    """Choose a direction and the first trial along it."""
    never_inline()
    step = 0.0
    if state.memory > 0:
        if RULE == LBFGS:
            state.slope = _two_loop(vectors, products, state, team)
            step = state.learning_rate
        else:
            state.slope = update_dot(vectors[DIRECTION], state.beta, -1.0, vectors[BASE_G], vectors[BASE_G], team)
            step = state.scale
    if not (state.slope < 0 and math.isfinite(state.slope) and step > 0 and math.isfinite(step)):
        # Scaled by the largest element, the slope neither overflows nor underflows.
        state.memory = 0
        scale = -1 / state.gradient_norm
        state.slope = scaled_dot(vectors[DIRECTION], scale, vectors[BASE_G], vectors[BASE_G], team)
        step = state.learning_rate / math.sqrt(-state.slope / state.gradient_norm)
    if not (state.slope < 0 and step > 0 and math.isfinite(step)):
        return NO_LOWER_POINT
    state.search.noise = _ROUNDINGS * state.epsilon * abs(state.value)
    begin(state.search, state.value, state.slope, step, state.lowest)
    point_on_line(x, vectors[BASE_X], state.search.step, vectors[DIRECTION], team)
    return EVALUATE


def _trial(x, g, f, vectors, products, state, team):
    search = state.search
    best_step = search.best_step
    slope = dot(g, vectors[DIRECTION], team)
    answer = update(search, f, slope)
    if answer == ACCEPTED:
        return _accept(x, g, f, slope, vectors, products, state, team)
    if search.best_step != best_step:
        copy(vectors[BEST_G], g, team)
    if answer == SEARCHING and state.evaluations < state.max_evaluations:
        point_on_line(x, vectors[BASE_X], search.step, vectors[DIRECTION], team)
        return EVALUATE
    if search.best_step > 0:
        point_on_line(x, vectors[BASE_X], search.best_step, vectors[DIRECTION], team)
        search.step = search.best_step
        slope = dot(vectors[BEST_G], vectors[DIRECTION], team)
        return _accept(x, vectors[BEST_G], search.best_value, slope, vectors, products, state, team)
    if answer != SEARCHING and state.memory > 0:
        state.memory = 0
        return _begin_search(x, vectors, products, state, team)
    copy(x, vectors[BASE_X], team)
    if answer == SEARCHING:
        return MAX_EVALUATIONS
    return _failure(vectors, state, team)


def _failure(vectors, state, team):
    """Name what kept a search from success."""
    search = state.search
    if search.infinite_trials > 0:
        return NOT_FINITE_AHEAD
    distance = search.near_step * max_magnitude(vectors[DIRECTION], team)
    if distance > 1000 * state.epsilon * max_magnitude(vectors[BASE_X], team) and contradicts(search):
        return GRADIENT_WRONG
    return NO_LOWER_POINT


def _accept(x, g, f, slope, vectors, products, state, team):
    """Make the accepted trial the new base, learn from the step, and stop or search on."""
    never_inline()
    change = abs(f - state.value)
    regular = abs(slope) <= -state.search.curvature * state.slope  # and not just the best that could be had
    size = max(abs(f), abs(state.value), 1.0)
    state.step = state.search.step
    if RULE == LBFGS:
        _remember(x, g, slope, -state.epsilon * state.slope * state.step, vectors, products, state, team)
    else:
        _conjugate(g, slope, vectors, state, team)
    largest_step = math.inf
    if state.tolerance_change > 0:
        largest_step = abs(state.step) * max_magnitude(vectors[DIRECTION], team)
    _rebase(x, g, f, vectors, state, team)
    state.lowest = min(state.lowest, f)
    state.iterations += 1
    negligible = state.tolerance_relative if regular else max(state.tolerance_relative, _STALLED)
    state.patient = state.patient + 1 if change <= negligible * size else 0
    if state.gradient_norm <= state.tolerance_gradient:
        return GRADIENT_SMALL
    if state.patient >= state.patience or change < state.tolerance_change:
        return CHANGE_SMALL if regular else _failure(vectors, state, team)
    if largest_step <= state.tolerance_change:
        return STEP_SMALL
    if state.iterations >= state.max_iterations:
        return MAX_ITERATIONS
    if state.evaluations >= state.max_evaluations:
        return MAX_EVALUATIONS
    return _begin_search(x, vectors, products, state, team)


def _remember(x, g, slope, threshold, vectors, products, state, team):
    """Put the pair of the last step into the ring if its curvature ``s . y`` exceeds ``threshold``."""
    capacity = products.shape[1]
    if not (state.step * (slope - state.slope) > threshold and capacity > 0):
        return
    place = (state.newest + 1) % capacity
    s, y = vectors[PAIRS + place], vectors[PAIRS + capacity + place]
    if RULE == FIXED_STEP:
        scaled_dot(s, state.step, vectors[DIRECTION], vectors[DIRECTION], team)
    else:
        difference(s, x, vectors[BASE_X], team)
    difference(y, g, vectors[BASE_G], team)
    curvature, square = dot(s, y, team), dot(y, y, team)
    state.memory = min(state.memory, capacity - 1)  # the oldest pair has been overwritten
    if curvature > 0 and math.isfinite(1 / curvature) and math.isfinite(square):
        products[0, place] = 1 / curvature
        state.scale = curvature / square
        state.newest = place
        state.memory += 1


def _two_loop(vectors, products, state, team):
    """Set the direction to minus the inverse Hessian times the gradient, and return its slope (Nocedal 1980, p. 779).

    Every pass updates the direction by one pair and takes the dot that the next pair needs.
    """
    capacity = products.shape[1]
    rho, alpha = products[0], products[1]
    direction = vectors[DIRECTION]
    place = state.newest
    overlap = scaled_dot(direction, -1.0, vectors[BASE_G], vectors[PAIRS + place], team)
    for k in range(state.memory):
        alpha[place] = rho[place] * overlap
        previous = (place - 1) % capacity
        last = k == state.memory - 1
        probe = vectors[PAIRS + capacity + place] if last else vectors[PAIRS + previous]
        overlap = update_dot(direction, 1.0, -alpha[place], vectors[PAIRS + capacity + place], probe, team)
        if not last:
            place = previous
    scale = state.scale
    overlap *= scale
    for k in range(state.memory):
        following = (place + 1) % capacity
        last = k == state.memory - 1
        probe = vectors[BASE_G] if last else vectors[PAIRS + capacity + following]
        weight = alpha[place] - rho[place] * overlap
        overlap = update_dot(direction, scale, weight, vectors[PAIRS + place], probe, team)
        scale = 1.0
        place = following
    return overlap


def _conjugate(g, slope, vectors, state, team):
    """Choose the weight of the last direction in the next one, and the next first trial."""
    square_before = dot(vectors[BASE_G], vectors[BASE_G], team)
    square = dot(g, g, team)
    overlap = dot(g, vectors[BASE_G], team)
    change = square - 2 * overlap + square_before  # y . y
    curvature = slope - state.slope  # d . y
    direction_norm = math.sqrt(dot(vectors[DIRECTION], vectors[DIRECTION], team))
    if RULE == POLAK_RIBIERE:
        state.beta = max((square - overlap) / square_before, 0.0)
    else:
        # The family of Hager and Zhang (2006), eq. (7.4), with their bound (7.6); Dai and Kou found the weight 1.
        weight = 2.0 if RULE == HAGER_ZHANG else 1.0
        bound = -1 / (direction_norm * min(0.01, math.sqrt(square_before)))
        state.beta = max((square - overlap - weight * change * slope / curvature) / curvature, bound)
    state.scale = state.step * direction_norm / math.sqrt(change)
    state.memory = 1


def _fixed_step(x, g, f, vectors, products, state, team):
    """Follow torch's rule without a line search: same iterates, same stops, no evaluation after the last step."""
    if not (math.isfinite(f) and math.isfinite(sum_magnitude(g, team))):
        if math.isnan(state.step):
            return START_NOT_FINITE
        copy(x, vectors[BASE_X], team)
        state.memory = 0
        state.step = math.nan
        return STEP_NOT_FINITE
    state.gradient_norm = max_magnitude(g, team)
    if state.searching and state.evaluations >= state.max_evaluations:
        return MAX_EVALUATIONS
    if state.gradient_norm <= state.tolerance_gradient:
        return GRADIENT_SMALL
    if state.searching:
        if abs(state.step) * max_magnitude(vectors[DIRECTION], team) <= state.tolerance_change:
            return STEP_SMALL
        if abs(f - state.value) < state.tolerance_change:
            return CHANGE_SMALL
    if state.iterations >= state.max_iterations:
        return MAX_ITERATIONS
    first = math.isnan(state.step)
    if not first:
        slope = dot(g, vectors[DIRECTION], team)
        _remember(x, g, slope, _FIXED_STEP_CURVATURE, vectors, products, state, team)
    _rebase(x, g, f, vectors, state, team)
    state.iterations += 1
    state.step = state.learning_rate
    if state.memory > 0:
        state.slope = _two_loop(vectors, products, state, team)
    else:
        state.slope = scaled_dot(vectors[DIRECTION], -1.0, vectors[BASE_G], vectors[BASE_G], team)
    if first:
        state.step *= min(1.0, 1 / sum_magnitude(g, team))
    if state.slope > -state.tolerance_change:
        return SLOPE_SMALL
    point_on_line(x, vectors[BASE_X], state.step, vectors[DIRECTION], team)
    return MAX_ITERATIONS if state.iterations >= state.max_iterations else EVALUATE


@functools.cache
def kernel(rule: int, template: Callable[..., Any] = _advance) -> Any:
    """Return a function compiled for one rule: the core itself, or one of those that share its work among threads."""
    return specialise(template, {"RULE": rule}, nogil=template is not _advance)


def compile_ahead(rule: int, dtype: Any) -> None:
    """Compile what `advance_function` may return for vectors of ``dtype``, by a call that has nothing to do."""
    state, team, vector = new_state(1, dtype, rule, 1), new_team(1), np.zeros(1, dtype)
    kernel(rule)(*state, vector, vector, 0.0)
    kernel(rule, _advance_in_team)(*state, *team, vector, vector, 0.0)
    kernel(rule, help_team)(state[0], *team, 1)


def advance_function(state: State) -> Callable[[Array, Array, float], int]:
    """Return the function ``advance(x, g, f)`` that works on ``state``, with the help of threads where n is large.

    It takes in value ``f`` and gradient ``g`` at ``x``, all vectors contiguous and of the state's dtype, and answers
    `EVALUATE` with the next point in ``x``, or why it stopped with the best point in ``x``.
    """
    vectors, rule = state[0], state[2]["rule"].item()
    n = vectors.shape[1]
    if n < PARALLEL_FROM:
        return functools.partial(kernel(rule), *state)
    team = new_team(n)
    work = functools.partial(kernel(rule, _advance_in_team), *state, *team)
    help_with_it = functools.partial(kernel(rule, help_team), vectors, *team)
    most_threads = len(team[2]) // _BLOCKS_PER_THREAD

    def advance_with_help(x: Array, g: Array, f: float) -> int:
        for call in calls_for_help(help_with_it, most_threads):
            call()
        return int(work(x, g, f))

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


@functools.cache
def driver() -> Any:
    """Return `drive`, compiled; not from the disk cache, which never finds a function that is an argument again."""
    return specialise(drive, {}, cached=False)


def drive(advance, vectors, products, states, x, point, function, args):
    """Evaluate a compiled function and advance until the core stops; ``point`` is ``x`` in the shape that it takes."""
    answer = EVALUATE
    while answer == EVALUATE:
        f, g = function(point, *args)
        if g.size != x.size:
            raise ValueError("the gradient must have as many elements as x0")
        answer = advance(vectors, products, states, x, g.ravel(), float(f))
    return answer
