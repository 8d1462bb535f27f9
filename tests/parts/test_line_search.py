"""The line search: it knows a scalar function and nothing else."""

import math

import numpy as np
import pytest

from numbopt._kernels.quasi_newton.line_search import search


def polynomial(coefficients):
    p = np.polynomial.Polynomial(coefficients)
    return lambda t: (float(p(t)), float(p.deriv()(t)))


def satisfies_wolfe(function, step, sufficient_decrease=1e-4, curvature=0.9):
    """Whether the strong Wolfe conditions hold, or the approximate ones of Hager and Zhang."""
    value, slope = function(0.0)
    new_value, new_slope = function(step)
    decrease = new_value <= value + sufficient_decrease * step * slope
    approximate = new_value <= value and new_slope <= -0.8 * slope
    return abs(new_slope) <= -curvature * slope and (decrease or approximate)


# The functions of Moré and Thuente, section 5, with the tolerances of their tables and steps from far too short to far
# too long.
def more_thuente_1(t, beta=2.0):
    return -t / (t**2 + beta), (t**2 - beta) / (t**2 + beta) ** 2


def more_thuente_2(t, beta=0.004):
    return (t + beta) ** 5 - 2 * (t + beta) ** 4, 5 * (t + beta) ** 4 - 8 * (t + beta) ** 3


def more_thuente_3(t, beta=0.01, waves=39):
    if t <= 1 - beta:
        base, slope = 1 - t, -1.0
    elif t >= 1 + beta:
        base, slope = t - 1, 1.0
    else:
        base, slope = (t - 1) ** 2 / (2 * beta) + beta / 2, (t - 1) / beta
    angle = waves * math.pi / 2 * t
    return (
        base + 2 * (1 - beta) / (waves * math.pi) * math.sin(angle),
        slope + (1 - beta) * math.cos(angle),
    )


def yanai(t, beta_1, beta_2):
    def gamma(beta):
        return math.sqrt(1 + beta**2) - beta

    first, second = math.sqrt((1 - t) ** 2 + beta_2**2), math.sqrt(t**2 + beta_1**2)
    return (
        gamma(beta_1) * first + gamma(beta_2) * second,
        -gamma(beta_1) * (1 - t) / first + gamma(beta_2) * t / second,
    )


CASES = [
    (more_thuente_1, 1e-3, 1e-1),
    (more_thuente_2, 1e-1, 1e-1),
    (more_thuente_3, 1e-1, 1e-1),
    (lambda t: yanai(t, 1e-3, 1e-3), 1e-3, 1e-3),
    (lambda t: yanai(t, 1e-2, 1e-3), 1e-3, 1e-3),
    (lambda t: yanai(t, 1e-3, 1e-2), 1e-3, 1e-3),
]


@pytest.mark.parametrize("first", [1e-3, 1e-1, 1e1, 1e3])
@pytest.mark.parametrize(("function", "sufficient_decrease", "curvature"), CASES)
def test_functions_of_the_paper(function, sufficient_decrease, curvature, first):
    step, _ = search(function, *function(0.0), first, sufficient_decrease=sufficient_decrease, curvature=curvature)
    assert satisfies_wolfe(function, step, sufficient_decrease, curvature)


def test_quadratic_minimum_is_found_by_one_interpolation():
    function = polynomial([0, -1, 0.5 / 30])  # minimum at 30
    step, evaluations = search(function, *function(0.0), 100.0, curvature=1e-2)
    assert step == pytest.approx(30, rel=1e-3)
    assert evaluations == 2


def test_values_that_are_not_finite_are_stepped_back_from():
    def function(t):
        return (-t - math.log(1 - t) * 0.5, -1 + 0.5 / (1 - t)) if t < 1 else (math.nan, math.inf)

    step, evaluations = search(function, *function(0.0), 1e6)
    assert 0 < step < 1
    assert satisfies_wolfe(function, step)
    assert evaluations < 15


def test_nowhere_finite_gives_zero():
    step, evaluations = search(lambda t: (math.nan, math.nan), 1.0, -1.0)
    assert step == 0
    assert evaluations <= 60


def test_edge_of_the_domain_is_approached():
    def function(t):
        return (-t, -1.0) if t < 0.3 else (math.inf, 0.0)

    step, _ = search(function, 0.0, -1.0)
    assert 0 < step < 0.3


def test_rounding_is_no_obstacle():
    """Near its minimum 1 + t^2 is constant to all digits: only slopes tell."""

    def function(t):
        return 1.0 + (t - 1e-9) ** 2, 2 * (t - 1e-9)

    step, evaluations = search(function, *function(0.0), 1.5e-9, noise=4e-16)
    assert step == 1.5e-9
    assert evaluations == 1


def test_wrong_slope_gives_zero():
    step, evaluations = search(lambda t: (t, -1.0), 0.0, -1.0)
    assert step == 0
    assert evaluations <= 20


def test_rising_start_is_refused():
    with pytest.raises(ValueError, match="slope must be negative"):
        search(polynomial([0, 1]), 0.0, 1.0)
