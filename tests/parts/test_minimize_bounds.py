"""L-BFGS within bounds: published problems beside SciPy's L-BFGS-B, and what surrounds a method with bounds."""

import functools
import math

import numpy as np
import pytest

import numbopt

optimize = pytest.importorskip("scipy.optimize")
INF = np.inf


def chained_rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def extended_rosenbrock(x):
    return np.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)


def beale(x):
    return sum((c - x[0] * (1 - x[1] ** power)) ** 2 for power, c in enumerate((1.5, 2.25, 2.625), 1))


def powell_singular(x):
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    return np.sum((a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4)


def wood(x):
    first = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + 90 * (x[3] - x[2] ** 2) ** 2 + (1 - x[2]) ** 2
    return first + 10.1 * ((x[1] - 1) ** 2 + (x[3] - 1) ** 2) + 19.8 * (x[1] - 1) * (x[3] - 1)


def variably_dimensioned(x):
    total = np.sum(np.arange(1, x.size + 1) * (x - 1))
    return np.sum((x - 1) ** 2) + total**2 + total**4


def trigonometric(x):
    n, i = x.size, np.arange(1, x.size + 1)
    return np.sum((n - np.sum(np.cos(x)) + i * (1 - np.cos(x)) - np.sin(x)) ** 2)


def penalty(x):
    return 1e-5 * np.sum((x - 1) ** 2) + (np.sum(x**2) - 0.25) ** 2


def broyden_tridiagonal(x):
    z = np.concatenate([[0], x, [0]])
    return np.sum(((3 - 2 * z[1:-1]) * z[1:-1] - z[:-2] - 2 * z[2:] + 1) ** 2)


def brown_badly_scaled(x):
    return (x[0] - 1e6) ** 2 + (x[1] - 2e-6) ** 2 + (x[0] * x[1] - 2) ** 2


def mccormick(x):
    return np.sum(-1.5 * x[:-1] + 2.5 * x[1:] + 1 + (x[:-1] - x[1:]) ** 2 + np.sin(x[:-1] + x[1:]))


def convex_quadratic(x):
    n, i = x.size, np.arange(1, x.size + 1)
    return np.sum(i * (x + x[(2 * i - 1) % n] + x[(3 * i - 1) % n]) ** 2) / 2


def entropy(x):
    return np.sum(x * np.log(x)) + np.sum(np.linspace(-3, 3, x.size) * x) + 5 * (np.sum(x) - 1) ** 2


def log_barrier(x):
    return -np.sum(np.log(1 - x**2)) + np.sum(np.arange(1, x.size + 1) * x)


def every_other(n, even, odd):
    return np.where(np.arange(n) % 2 == 0, even, odd)


# From Moré, Garbow and Hillstrom, ACM TOMS 7 (1981), with bounds of Gay, ACM TOMS 9 (1983), from Hock and Schittkowski
# (1981) and from CUTEst: function, start, bounds.
PROBLEMS = {
    "extended Rosenbrock": (extended_rosenbrock, np.tile([-1.2, 1], 5), -1.5, 0.5),
    "chained Rosenbrock": (chained_rosenbrock, np.tile([-1.2, 1], 25), -2, 0.9),
    "chained Rosenbrock, lower": (chained_rosenbrock, np.tile([-1.2, 1], 20), every_other(40, 0.3, -5), 5),
    "Beale": (beale, np.ones(2), [0.6, 0.5], [10, 100]),
    "Beale, active": (beale, np.ones(2), [0.6, 0.5], [2, 100]),
    "Powell singular": (powell_singular, [3, -1, 0, 1], [0.1, -20, -1, -1], [100, 20, 1, 50]),
    "Wood": (wood, [-3, -1, -3, -1], -10, 10),
    "Wood, active": (wood, [-3, -1, -3, -1], -100, [0, 10, 100, 100]),
    "variably dimensioned": (variably_dimensioned, 1 - np.arange(1, 11) / 10, 0, every_other(10, 10, 0.5)),
    "trigonometric": (trigonometric, np.full(10, 0.1), 0.05, 10),
    "penalty": (penalty, np.arange(1.0, 11), every_other(10, 0.1, -100), 100),
    "Broyden tridiagonal": (broyden_tridiagonal, -np.ones(50), -0.6, INF),
    "Brown badly scaled": (brown_badly_scaled, np.ones(2), [0, 3e-5], [1e6, 100]),
    "Hock-Schittkowski 1": (chained_rosenbrock, [-2, 1], [-INF, -1.5], INF),
    "Hock-Schittkowski 2": (chained_rosenbrock, [-2, 1], [-INF, 1.5], INF),
    "Hock-Schittkowski 3": (lambda x: x[1] + 1e-5 * (x[1] - x[0]) ** 2, [10, 1], [-INF, 0], INF),
    "Hock-Schittkowski 4": (lambda x: (x[0] + 1) ** 3 / 3 + x[1], [1.125, 0.125], [1, 0], INF),
    "Hock-Schittkowski 45": (lambda x: 2 - np.prod(x) / 120, np.full(5, 2.0), 0, np.arange(1, 6)),
    "McCormick": (mccormick, np.zeros(50), -1.5, 3),
    "convex quadratic": (convex_quadratic, np.full(60, 0.5), 0.1, 10),
    "not finite on a bound": (lambda x: np.sum(x - np.log(x)), np.logspace(-2, 3, 30), 0, INF),
    "entropy": (entropy, np.full(50, 0.5), 0, 1),
    "not finite between the bounds": (log_barrier, np.zeros(20), -5, every_other(20, 5, -0.2)),
}
# SciPy's L-BFGS-B evaluates on the bound and stops there, also where it says success.
SCIPY_FAILS = {"not finite on a bound", "entropy", "not finite between the bounds"}


class Within:
    """A function with its gradient, by complex steps and so exact, that must not be called outside its bounds."""

    def __init__(self, name):
        self.function, start, lower, upper = PROBLEMS[name]
        self.start = np.array(start, float)
        self.lower, self.upper = (np.broadcast_to(np.asarray(b, float), self.start.shape) for b in (lower, upper))
        self.bounds = optimize.Bounds(self.lower, self.upper)
        self.calls = 0

    def value(self, x):
        assert np.all(self.lower <= x) and np.all(x <= self.upper)
        self.calls += 1
        with np.errstate(all="ignore"):
            return float(self.function(x))

    def __call__(self, x):
        steps = x + 1e-30j * np.eye(x.size)
        with np.errstate(all="ignore"):
            return self.value(x), np.array([self.function(step).imag for step in steps]) / 1e-30

    def projected(self, x, gradient):
        return np.abs(np.clip(gradient, x - self.upper, x - self.lower)).max()


@pytest.mark.parametrize("name", PROBLEMS)
def test_published_problems(name):
    problem = Within(name)
    options = {"ftol": 0, "gtol": 1e-7}
    result = numbopt.minimize(problem, problem.start, jac=True, bounds=problem.bounds, options=options)
    assert result.success, result.message
    assert problem.projected(result.x, result.jac) <= 1e-7
    assert result.nfev == problem.calls
    assert result.fun == problem.value(result.x)
    if name not in SCIPY_FAILS:
        theirs = optimize.minimize(
            problem, problem.start, jac=True, method="L-BFGS-B", bounds=problem.bounds, options=options
        )
        assert result.fun <= theirs.fun + 1e-6 * max(1, abs(theirs.fun))


def test_evaluations_beside_scipy():
    ratios = []
    for name in PROBLEMS.keys() - SCIPY_FAILS:
        ours, theirs = Within(name), Within(name)
        numbopt.minimize(ours, ours.start, jac=True, bounds=ours.bounds)
        optimize.minimize(theirs, theirs.start, jac=True, method="L-BFGS-B", bounds=theirs.bounds)
        ratios.append(ours.calls / theirs.calls)
    assert math.exp(np.mean(np.log(ratios))) < 1.15


@pytest.mark.parametrize("method", ["lbfgs", "cg"])
@pytest.mark.parametrize("jac", ["2-point", "3-point", None])
def test_finite_differences_stay_within_the_bounds(method, jac):
    for name in ("Beale, active", "Hock-Schittkowski 4", "entropy"):
        problem = Within(name)
        value = problem.value
        result = numbopt.minimize(value, problem.start, jac=jac, method=method, bounds=problem.bounds)
        exact = numbopt.minimize(problem, problem.start, jac=True, bounds=problem.bounds)
        assert result.fun == pytest.approx(exact.fun, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("method", ["lbfgs", "cg", "adam"])
def test_all_variables_fixed(method):
    result = numbopt.minimize(
        optimize.rosen, [1.0, 2.0], jac=optimize.rosen_der, method=method, bounds=[(1, 1), (2, 2)]
    )
    assert result.success
    assert list(result.x) == [1, 2]


def test_some_variables_fixed():
    seen = []

    def fun(x):
        seen.append(x[1])
        return float(np.sum((x - 3) ** 2))

    result = numbopt.minimize(fun, [0.0, 5.0, 0.0], bounds=[(None, None), (5, 5), (None, 2)])
    np.testing.assert_allclose(result.x, [3, 5, 2], atol=1e-6)
    assert set(seen) == {5.0}


def test_a_start_outside_is_moved_inside_before_anything_is_called():
    problem = Within("Beale")
    result = numbopt.minimize(problem, [-50.0, 1000.0], jac=True, bounds=problem.bounds)
    assert result.success


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_function_that_is_nowhere_finite(bad):
    result = numbopt.minimize(lambda x: (bad, np.ones(2)), [0.5, 0.5], jac=True, bounds=[(0, 1)] * 2)
    assert not result.success
    assert "not finite at x0" in result.message


def test_a_wrong_gradient_is_no_success():
    result = numbopt.minimize(lambda x: (float(x @ x), -2 * x), [0.5, 0.7], jac=True, bounds=[(-1, 1)] * 2)
    assert not result.success


def test_gradients_that_overflow_a_square():
    result = numbopt.minimize(
        lambda x: (1e200 * float(np.sum((x - 0.3) ** 2)), 2e200 * (x - 0.3)),
        np.full(4, 0.9),
        jac=True,
        bounds=[(0, None)] * 4,
    )
    assert result.success
    np.testing.assert_allclose(result.x, 0.3, atol=1e-9)


def test_a_compiled_function_gives_the_same():
    numba = pytest.importorskip("numba")

    def fun(x):
        gradient = np.empty_like(x)
        value = 0.0
        for i in range(x.size):
            away = x[i] - i
            value += away * away * away * away / 4
            gradient[i] = away * away * away
        return value, gradient

    bounds = [(0.5, 3.5)] * 8
    ours, compiled = (
        numbopt.minimize(f, np.ones(8), jac=True, bounds=bounds, options={"ftol": 0}) for f in (fun, numba.njit(fun))
    )
    assert ours.success
    assert np.array_equal(ours.x, compiled.x)
    assert (ours.nfev, ours.message) == (compiled.nfev, compiled.message)


def test_a_callback_sees_points_within_the_bounds_and_can_stop():
    problem, seen = Within("chained Rosenbrock"), []

    def callback(x):
        seen.append(x.copy())
        assert np.all(x <= problem.upper) and np.all(x >= problem.lower)
        if len(seen) == 5:
            raise StopIteration

    result = numbopt.minimize(problem, problem.start, jac=True, bounds=problem.bounds, callback=callback)
    assert result.status == 99
    assert np.array_equal(result.x, seen[-1])


def test_the_best_point_is_returned_where_an_evaluation_limit_ends_the_run():
    problem = Within("chained Rosenbrock")
    result = numbopt.minimize(problem, problem.start, jac=True, bounds=problem.bounds, options={"maxfun": 20})
    assert not result.success
    assert problem.calls == result.nfev == 20


@pytest.mark.parametrize("method", ["lbfgs", "cg", "adam"])
@pytest.mark.parametrize("bounds", [None, [(-5, 5)] * 30])
def test_maxfun_counts_the_calls_for_differences(method, bounds):
    calls = [0]

    def fun(x):
        calls[0] += 1
        return float(np.sum((x - np.arange(30)) ** 4))

    result = numbopt.minimize(fun, np.zeros(30), method=method, bounds=bounds, options={"maxfun": 500})
    assert result.nfev == calls[0] <= 500 + 31


@functools.cache
def exact_memory():
    """Iterates with all pairs remembered."""
    problem = Within("Wood, active")
    return numbopt.minimize(problem, problem.start, jac=True, bounds=problem.bounds, options={"maxcor": 100})


@pytest.mark.parametrize("maxcor", [1, 2, 5, 20, 100])
def test_any_memory_reaches_the_minimum(maxcor):
    problem = Within("Wood, active")
    options = {"maxcor": maxcor, "ftol": 0, "gtol": 1e-6}
    result = numbopt.minimize(problem, problem.start, jac=True, bounds=problem.bounds, options=options)
    assert result.success
    assert result.fun == pytest.approx(exact_memory().fun, abs=1e-6)
