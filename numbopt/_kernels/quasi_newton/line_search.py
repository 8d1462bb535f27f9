"""How far to go along a direction: the search of Moré and Thuente, with an acceptance that rounding cannot defeat.

Everything here knows a scalar function of the step length, its value and its slope, and nothing else. The search works
in reverse communication: `begin` sets up a record of dtype `SEARCH`, whose field ``step`` is the first trial.
`next_trial` is told value and slope there, and answers whether to stop or to evaluate at the new ``step``. `search`
drives both for a Python function. The functions are plain Python and are compiled where they are used.

References
----------
J. J. Moré, D. J. Thuente, "Line search algorithms with guaranteed sufficient decrease", ACM TOMS 20 (1994) 286-307.
W. W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent and an efficient line search",
SIAM J. Optim. 16 (2005) 170-192.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

SEARCH = np.dtype(
    [
        ("sufficient_decrease", np.float64),  # mu of Moré-Thuente, delta of Hager-Zhang, c1 elsewhere
        ("curvature", np.float64),  # eta, sigma, c2
        ("noise", np.float64),  # values that differ by less are taken as equal
        ("max_trials", np.int64),  # with finite value and slope
        ("value", np.float64),  # at step 0
        ("slope", np.float64),
        ("ceiling", np.float64),  # a value up to here is as good as the start, for rounding
        ("step", np.float64),  # the trial
        ("limit", np.float64),  # no trial beyond
        ("low_step", np.float64),  # the end of the interval with the lowest value
        ("low_value", np.float64),
        ("low_slope", np.float64),
        ("high_step", np.float64),  # the other end, once there is one
        ("high_value", np.float64),
        ("high_slope", np.float64),
        ("width", np.float64),  # of the interval, now and one trial ago
        ("width_before", np.float64),
        ("bracketed", np.bool_),  # the interval holds an acceptable step
        ("decrease_seen", np.bool_),  # the second stage of the paper: no auxiliary function any more
        ("best_step", np.float64),  # the trial with the lowest value
        ("best_value", np.float64),
        ("near_step", np.float64),  # the shortest trial whose value differs from the start's by more than rounding
        ("near_value", np.float64),
        ("near_slope", np.float64),
        ("trials", np.int64),
        ("infinite_trials", np.int64),
    ]
)

SEARCHING, ACCEPTED, EXHAUSTED = range(3)
"""Answers of `next_trial`; after the last, ``best_step`` (0 where nothing was lower) is all there is to have."""

_SIGNIFICANT = 125  # times the noise
_MAX_INFINITE_TRIALS = 60  # each shortens the step ten times
_SHRINK_INFINITE = 0.1
_SHRINK_INTERVAL = 0.66  # an interval that shrinks less in two trials is bisected
_EXTRAPOLATE_LEAST, _EXTRAPOLATE_MOST = (
    1.1,
    10.0,
)  # the paper says 4; 10 saves 1 % of evaluations, 5 % in conjugate gradients


def begin(search: Any, value: float, slope: float, step: float, ceiling: float) -> None:
    """Start a search from ``value`` and ``slope < 0`` at 0 with the trial ``step > 0``.

    ``ceiling`` is the value up to which a trial counts as no worse than the start when rounding hides any decrease.
    """
    search.value = search.low_value = search.best_value = value
    search.slope = search.low_slope = slope
    search.ceiling = ceiling
    search.low_step = search.best_step = search.near_step = 0.0
    search.step = step
    search.limit = math.inf
    search.width = search.width_before = math.inf
    search.bracketed = search.decrease_seen = False
    search.trials = search.infinite_trials = 0


def next_trial(search: Any, value: float, slope: float) -> int:
    """Take in ``value`` and ``slope`` at ``search.step``: accept it, give up, or propose the next ``search.step``."""
    if not (math.isfinite(value) and math.isfinite(slope)):
        return _shorten(search)
    search.trials += 1
    if value < search.best_value:
        search.best_step, search.best_value = search.step, value
    if abs(value - search.value) > _SIGNIFICANT * search.noise and not 0 < search.near_step <= search.step:
        search.near_step, search.near_value, search.near_slope = search.step, value, slope
    if _acceptable(search, value, slope):
        return ACCEPTED
    if search.trials >= search.max_trials:
        return EXHAUSTED
    step = search.step
    _narrow(search, value, slope)
    if search.step in (step, search.low_step, 0.0) or not math.isfinite(search.step):
        return EXHAUSTED  # the interval is as narrow as rounding allows
    return SEARCHING


def contradicts(search: Any) -> bool:
    """Whether values and slopes cannot belong to the same function, judged by the trapezoidal rule on a short trial."""
    change = search.near_value - search.value
    expected = (search.slope + search.near_slope) / 2 * search.near_step
    return bool(abs(change - expected) > max(abs(search.slope), abs(search.near_slope)) * search.near_step / 2)


def search(
    function: Callable[[float], tuple[float, float]],
    value: float,
    slope: float,
    step: float = 1.0,
    *,
    sufficient_decrease: float = 1e-4,
    curvature: float = 0.9,
    noise: float = 0.0,
    max_trials: int = 20,
) -> tuple[float, int]:
    """Search an acceptable step length of a scalar function.

    A step is acceptable if it satisfies the strong Wolfe conditions or the approximate ones [2]_, eq. (2.9)-(2.10).

    Parameters
    ----------
    function : callable
        Returns value and slope at a step length.
    value, slope : float
        Those at 0; the slope is negative.
    step : float
        First trial.
    sufficient_decrease, curvature : float
        The constants of the Wolfe conditions.
    noise : float
        Rounding error to expect in values.
    max_trials : int
        Evaluations allowed, not counting those that give no finite value.

    Returns
    -------
    step : float
        The accepted step, else the one with the lowest value, which is 0 if none was lower.
    evaluations : int
        Calls of ``function``.

    References
    ----------
    .. [1] J. J. Moré, D. J. Thuente, ACM TOMS 20 (1994) 286-307.
    .. [2] W. W. Hager, H. Zhang, SIAM J. Optim. 16 (2005) 170-192.

    Examples
    --------
    >>> search(lambda t: ((t - 3) ** 2, 2 * (t - 3)), 9.0, -6.0)
    (1.0, 1)
    """
    if not slope < 0:
        raise ValueError(f"slope must be negative, got {slope}")
    record: Any = np.zeros(1, SEARCH).view(np.recarray)[0]
    record.sufficient_decrease, record.curvature, record.noise = sufficient_decrease, curvature, noise
    record.max_trials = max_trials
    begin(record, value, slope, step, value)
    answer = SEARCHING
    while answer == SEARCHING:
        trial = float(record.step)
        answer = next_trial(record, *function(trial))
    evaluations = int(record.trials + record.infinite_trials)
    return (trial if answer == ACCEPTED else float(record.best_step)), evaluations


def _acceptable(search: Any, value: float, slope: float) -> bool:
    steep = search.curvature * search.slope
    line = search.value + search.sufficient_decrease * search.step * search.slope
    if value <= line and (abs(slope) <= -steep or (search.step >= search.limit and value < search.value)):
        return True
    # Near a minimum values agree to all their digits and only slopes tell: the approximate Wolfe conditions.
    return bool(value <= search.ceiling + search.noise and steep <= slope <= min(0.8, search.curvature) * -search.slope)


def _shorten(search: Any) -> int:
    """Step back from where the function is not finite; such a trial never enters interpolation."""
    search.infinite_trials += 1
    shorter = search.low_step + _SHRINK_INFINITE * (search.step - search.low_step)
    if search.infinite_trials >= _MAX_INFINITE_TRIALS or shorter == search.low_step:
        return EXHAUSTED
    search.step = search.limit = shorter
    return SEARCHING


def _narrow(search: Any, value: float, slope: float) -> None:
    """Update the interval by the trial (section 3 of the paper) and choose the next trial in it (section 4)."""
    tilt = search.sufficient_decrease * search.slope
    if value <= search.value + tilt * search.step and slope >= min(tilt, search.curvature * search.slope):
        search.decrease_seen = True
    if search.decrease_seen:
        tilt = 0.0
    # In the first stage the interval is that of the auxiliary function psi(t) = phi(t) - phi(0) - mu phi'(0) t.
    step = search.step
    height, incline = value - tilt * step, slope - tilt
    low_height, low_incline = search.low_value - tilt * search.low_step, search.low_slope - tilt
    high_height, high_incline = search.high_value - tilt * search.high_step, search.high_slope - tilt
    toward_low = search.low_step - step
    lower = height <= low_height

    if lower and incline * toward_low >= 0 and not search.bracketed:  # the minimum is further out
        proposal = math.inf
        if abs(incline) < abs(low_incline):
            proposal = _secant(search.low_step, low_incline, step, incline)
            cubic = _cubic(search.low_step, low_height, low_incline, step, height, incline)
            proposal = max(proposal, cubic)
        least, most = step - _EXTRAPOLATE_LEAST * toward_low, step - _EXTRAPOLATE_MOST * toward_low
        search.low_step, search.low_value, search.low_slope = step, value, slope
        search.step = min(max(least, min(proposal, most)), search.limit)
        return

    if not lower:
        proposal = _parabola(search.low_step, low_height, low_incline, step, height)
        cubic = _cubic(search.low_step, low_height, low_incline, step, height, incline)
        if abs(cubic - search.low_step) >= abs(proposal - search.low_step):
            proposal = cubic + (proposal - cubic) / 2
        else:
            proposal = cubic
    elif incline * low_incline < 0:
        proposal = _secant(search.low_step, low_incline, step, incline)
        cubic = _cubic(search.low_step, low_height, low_incline, step, height, incline)
        if abs(cubic - step) >= abs(proposal - step):
            proposal = cubic
    elif abs(incline) <= abs(low_incline):
        proposal = _secant(search.low_step, low_incline, step, incline)
        cubic = _cubic(search.low_step, low_height, low_incline, step, height, incline)
        if (cubic - step) * toward_low < 0 and abs(cubic - step) < abs(proposal - step):
            proposal = cubic
        bound = step + _SHRINK_INTERVAL * (search.high_step - step)
        proposal = min(bound, proposal) if step > search.low_step else max(bound, proposal)
    else:
        proposal = _cubic(step, height, incline, search.high_step, high_height, high_incline)

    if not lower:
        search.high_step, search.high_value, search.high_slope = step, value, slope
    else:
        if incline * toward_low < 0:
            search.high_step, search.high_value, search.high_slope = (
                search.low_step,
                search.low_value,
                search.low_slope,
            )
        search.low_step, search.low_value, search.low_slope = step, value, slope
    search.bracketed = True

    width = abs(search.high_step - search.low_step)
    inside = min(search.low_step, search.high_step) <= proposal <= max(search.low_step, search.high_step)
    if not inside or width >= _SHRINK_INTERVAL * search.width_before:
        proposal = search.low_step + (search.high_step - search.low_step) / 2
    search.width_before, search.width = search.width, width
    search.step = proposal


def _parabola(a: float, value_a: float, slope_a: float, b: float, value_b: float) -> float:
    """Return the minimiser of the parabola with the given values and the slope at ``a``."""
    return a + (b - a) * slope_a / (slope_a - (value_b - value_a) / (b - a)) / 2


def _secant(a: float, slope_a: float, b: float, slope_b: float) -> float:
    """Return the minimiser of the parabola with the given slopes."""
    return b + slope_b * (b - a) / (slope_a - slope_b)


def _cubic(a: float, value_a: float, slope_a: float, b: float, value_b: float, slope_b: float) -> float:
    """Return the minimiser of the cubic with the given values and slopes, or its turning point if it has none."""
    theta = 3 * (value_a - value_b) / (b - a) + slope_a + slope_b
    scale = max(abs(theta), abs(slope_a), abs(slope_b))
    root = scale * math.sqrt(max((theta / scale) ** 2 - (slope_a / scale) * (slope_b / scale), 0.0))
    if b < a:
        root = -root
    return b - (b - a) * (slope_b + root - theta) / (slope_b - slope_a + 2 * root)
