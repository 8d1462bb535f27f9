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

import math
from typing import Any

from numbopt._kernels.cpu.intrinsics import borrowed, never_inline
from numbopt._kernels.cpu.vectors import (
    close_team,
    copy,
    dot,
    max_magnitude,
    open_team,
    point_on_line,
    scaled_dot,
    sum_magnitude,
    update_dot,
)
from numbopt._kernels.quasi_newton.bounded import bounded_direction, move_inside, projected_norm
from numbopt._kernels.quasi_newton.line_search import ACCEPTED, SEARCHING, begin, contradicts, next_trial
from numbopt._kernels.quasi_newton.memory import FIXED_STEP_CURVATURE, remember_pair, two_loop
from numbopt._kernels.quasi_newton.state import (
    BASE_G,
    BASE_X,
    BEST_G,
    BOUNDED,
    CHANGE_SMALL,
    DIRECTION,
    EVALUATE,
    FIXED_STEP,
    GRADIENT_SMALL,
    GRADIENT_WRONG,
    HAGER_ZHANG,
    LBFGS,
    MAX_EVALUATIONS,
    MAX_ITERATIONS,
    NO_LOWER_POINT,
    NOT_FINITE_AHEAD,
    POLAK_RIBIERE,
    SLOPE_SMALL,
    START_NOT_FINITE,
    STEP_NOT_FINITE,
    STEP_SMALL,
)

RULE: Any  # bound by `kernel`, so that a kernel holds, and compiles, one rule only
ADVANCE: Any  # the compiled core, bound by `kernel_in_team` and `driver`
FUNCTION: Any  # bound by `driver`
_ROUNDINGS = 32  # error of a value, in units of its last digit: values are sums of many terms
_STALLED = 1e-9  # relative change of the value, below which steps that no search could make better count as failures


def advance(vectors, products, states, x, g, f, team=None):
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


def advance_in_team(vectors, products, states, x, g, f, team):
    open_team(team)
    answer = ADVANCE(vectors, products, states, x, g, f, team)
    close_team(team)
    return answer


def _enter(x, g, f, vectors, products, state, team):
    _rebase(x, g, f, vectors, products, state, team)
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


def _rebase(x, g, f, vectors, products, state, team):
    copy(vectors[BASE_X], x, team)
    copy(vectors[BASE_G], g, team)
    state.value = f
    if RULE == BOUNDED:
        state.gradient_norm = projected_norm(x, g, vectors, products)
    else:
        state.gradient_norm = max_magnitude(g, team)


def _move(x, step, vectors, products, team):
    """Move ``x`` to a point along the direction."""
    point_on_line(x, vectors[BASE_X], step, vectors[DIRECTION], team)
    if RULE == BOUNDED:
        move_inside(x, vectors, products)


def _begin_search(x, vectors, products, state, team):
    """Choose a direction and the first trial along it."""
    never_inline()
    if RULE == BOUNDED:
        return _begin_bounded_search(x, vectors, products, state, team)
    step = 0.0
    if state.memory > 0:
        if RULE == LBFGS:
            state.slope = two_loop(vectors, products, state, team)
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
    _move(x, state.search.step, vectors, products, team)
    return EVALUATE


def _begin_bounded_search(x, vectors, products, state, team):
    """Do the same within bounds."""
    state.slope, limit = bounded_direction(vectors, products, state, team)
    if not (state.slope < 0 and math.isfinite(state.slope)):
        return NO_LOWER_POINT
    state.search.noise = _ROUNDINGS * state.epsilon * abs(state.value)
    begin(state.search, state.value, state.slope, 1.0, state.lowest)
    state.search.limit = limit
    _move(x, state.search.step, vectors, products, team)
    return EVALUATE


def _trial(x, g, f, vectors, products, state, team):
    search = state.search
    best_step = search.best_step
    slope = dot(g, vectors[DIRECTION], team)
    answer = next_trial(search, f, slope)
    if answer == ACCEPTED:
        return _accept(x, g, f, slope, vectors, products, state, team)
    if search.best_step != best_step:
        copy(vectors[BEST_G], g, team)
    if answer == SEARCHING and state.evaluations < state.max_evaluations:
        _move(x, search.step, vectors, products, team)
        return EVALUATE
    if search.best_step > 0:
        _move(x, search.best_step, vectors, products, team)
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
    threshold = -state.epsilon * state.slope * state.step
    if RULE == LBFGS:  # noqa: SIM114 -- with `or`, Numba would compile `_conjugate`, too
        remember_pair(x, g, slope, threshold, vectors, products, state, team)
    elif RULE == BOUNDED:
        remember_pair(x, g, slope, threshold, vectors, products, state, team)
    else:
        _conjugate(g, slope, vectors, state, team)
    largest_step = math.inf
    if state.tolerance_change > 0:
        largest_step = abs(state.step) * max_magnitude(vectors[DIRECTION], team)
    _rebase(x, g, f, vectors, products, state, team)
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
        remember_pair(x, g, slope, FIXED_STEP_CURVATURE, vectors, products, state, team)
    _rebase(x, g, f, vectors, products, state, team)
    state.iterations += 1
    state.step = state.learning_rate
    if state.memory > 0:
        state.slope = two_loop(vectors, products, state, team)
    else:
        state.slope = scaled_dot(vectors[DIRECTION], -1.0, vectors[BASE_G], vectors[BASE_G], team)
    if first:
        state.step *= min(1.0, 1 / sum_magnitude(g, team))
    if state.slope > -state.tolerance_change:
        return SLOPE_SMALL
    point_on_line(x, vectors[BASE_X], state.step, vectors[DIRECTION], team)
    return MAX_ITERATIONS if state.iterations >= state.max_iterations else EVALUATE


def drive(vectors, products, states, team, x, gradient, like, args, most):
    """Evaluate a compiled function and advance until the core stops, or until there were so many evaluations.

    The function gets a copy of ``x`` in the shape of ``like``, which it may keep or change. What it returns as gradient
    may have any real type.
    """
    answer = EVALUATE
    while answer == EVALUATE and most > 0:
        f, g = FUNCTION(x.copy().reshape(like.shape), *args)
        if g.size != x.size or (g.ndim == like.ndim and g.shape != like.shape):
            raise ValueError("the gradient must have the shape of x0, or be flat")
        gradient[:] = g.ravel()
        answer = ADVANCE(vectors, products, states, x, gradient, float(f), team)
        most -= 1
    return answer
