"""SciPy's front."""

import signal
import time

import numba
import numpy as np
import pytest

from numbopt._minimize.front import minimize, scipy_method

scipy_optimize = pytest.importorskip("scipy.optimize")
rosen, rosen_der = scipy_optimize.rosen, scipy_optimize.rosen_der
START = np.array([-1.2, 1.0, 0.5, -0.3])
METHODS = ["lbfgs", "cg"]


def pair(x):
    return rosen(x), rosen_der(x)


@numba.njit
def compiled_pair(x, scale):
    flat = x.ravel()
    f = 0.0
    g = np.zeros(flat.size)
    for i in range(flat.size - 1):
        u = flat[i + 1] - flat[i] ** 2
        f += scale * (100 * u**2 + (1 - flat[i]) ** 2)
        g[i] -= scale * (400 * flat[i] * u + 2 * (1 - flat[i]))
        g[i + 1] += scale * 200 * u
    return f, g.reshape(x.shape)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("jac", [True, rosen_der, None, "2-point", "3-point", "cs"])
def test_gradient_comes_in_every_way_that_scipy_knows(method, jac):
    calls = []

    def fun(x):
        calls.append(x)
        return pair(x) if jac is True else rosen(x)

    result = minimize(fun, START, jac=jac, method=method, tol=1e-9 if jac is True or callable(jac) else None)
    assert result.success
    assert result.status == 0
    np.testing.assert_allclose(result.x, 1, rtol=1e-3)
    assert result.nfev == len(calls)
    assert result.njev <= result.nfev
    assert result.fun == rosen(result.x)
    assert isinstance(result, scipy_optimize.OptimizeResult)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(), (4,), (2, 2), (2, 1, 2)])
def test_start_of_any_shape(method, shape):
    start = START[0].reshape(()) if shape == () else START.reshape(shape)
    shape = shape or (1,)  # as in SciPy

    def fun(x):
        assert x.shape == shape
        return float(np.sum((x - 2) ** 2)), 2 * (x - 2)

    result = minimize(fun, start, jac=True, method=method)
    assert result.x.shape == result.jac.shape == shape
    np.testing.assert_allclose(result.x, 2)


def test_start_and_the_arrays_given_to_the_function_belong_to_the_user():
    start = START.copy()

    def fun(x):
        value = pair(x.copy())
        x[:] = np.nan
        return value

    assert minimize(fun, start, jac=True).success
    np.testing.assert_array_equal(start, START)


def test_list_of_integers_is_a_start():
    np.testing.assert_allclose(minimize(pair, [3, 2], jac=True, tol=1e-10).x, 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("jac", [True, None])
@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_compiled_function_gives_the_same_without_python_in_between(method, jac, shape):
    start = START.reshape(shape)
    compiled = minimize(compiled_pair, start, (2.0,), method, jac)
    plain = minimize(lambda x, scale: compiled_pair(x, scale), start, (2.0,), method, True)
    np.testing.assert_array_equal(compiled.x, plain.x)
    assert (compiled.nfev, compiled.nit, compiled.fun) == (plain.nfev, plain.nit, plain.fun)
    calls = []
    with_callback = minimize(compiled_pair, start, (2.0,), method, jac, callback=calls.append)
    np.testing.assert_array_equal(with_callback.x, plain.x)
    assert len(calls) == plain.nit


@pytest.mark.parametrize("method", METHODS)
def test_callbacks(method):
    points, values = [], []

    def by_keyword(intermediate_result):
        points.append(intermediate_result.x)
        values.append(intermediate_result.fun)

    result = minimize(pair, START, jac=True, method=method, callback=by_keyword)
    assert len(points) == result.nit
    assert values == [rosen(x) for x in points]
    seen = []
    minimize(pair, START, jac=True, method=method, callback=seen.append)
    np.testing.assert_array_equal(seen, points)

    def stop(xk):
        raise StopIteration

    result = minimize(pair, START, jac=True, method=method, callback=stop)
    assert (result.status, result.success, result.nit) == (99, False, 1)
    assert "StopIteration" in result.message
    np.testing.assert_array_equal(result.x, points[0])
    np.testing.assert_array_equal(result.jac, rosen_der(result.x))


@pytest.mark.parametrize(("option", "limit", "field"), [("maxiter", 3, "nit"), ("maxfun", 4, "nfev")])
@pytest.mark.parametrize("method", METHODS)
def test_limits(method, option, limit, field):
    result = minimize(pair, START, jac=True, method=method, options={option: limit})
    assert (result.status, result.success, result[field]) == (1, False, limit)
    assert option in result.message
    assert result.fun == rosen(result.x) <= rosen(START)


def test_display(capsys):
    minimize(pair, START, jac=True, options={"disp": True})
    assert "Converged" in capsys.readouterr().out


def test_callbacks_and_bounds():
    bounds = [(None, 0.5)] + [(None, None)] * 3
    points = []
    result = minimize(pair, START, jac=True, bounds=bounds, callback=points.append)
    assert result.success
    assert result.x[0] <= 0.5
    assert len(points) == result.nit
    assert max(minimize(pair, START, jac=True, bounds=scipy_optimize.Bounds(-5, 0.5)).x) <= 0.5


@pytest.mark.parametrize("bounds", [[(None, None)] * 4, [(-np.inf, np.inf)] * 4, scipy_optimize.Bounds()])
def test_infinite_bounds_are_none(bounds):
    result = minimize(pair, START, jac=True, bounds=bounds)
    np.testing.assert_array_equal(result.x, minimize(pair, START, jac=True).x)


def test_inverse_hessian_satisfies_the_secant_equation_of_the_newest_pair():
    result = minimize(pair, np.full(20, -1.0), jac=True, options={"maxcor": 10, "maxiter": 50, "gtol": 0})
    assert result.nit == 50
    s, y = result.hess_inv.sk[-1], result.hess_inv.yk[-1]
    assert len(result.hess_inv.sk) == 10
    assert np.max(np.abs(result.hess_inv @ y - s)) <= 1e-8 * np.max(np.abs(s))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tol", [None, 1e-8])
def test_scipy_calls_the_method_with_everything_it_has(method, tol):
    points = []
    expected = minimize(lambda x, a: (a * rosen(x), a * rosen_der(x)), START, (2.0,), method, True, tol=tol)
    for fun, jac in (
        (lambda x, a: (a * rosen(x), a * rosen_der(x)), True),
        (lambda x, a: a * rosen(x), lambda x, a: a * rosen_der(x)),
    ):
        result = scipy_optimize.minimize(
            fun, START, args=(2.0,), jac=jac, method=scipy_method(method), tol=tol, callback=points.append
        )
        np.testing.assert_array_equal(result.x, expected.x)
        assert result.nfev == expected.nfev
    assert len(points) == 2 * expected.nit
    limited = scipy_optimize.minimize(
        pair, START, jac=True, method=scipy_method(method, maxiter=7), options={"gtol": 1e-3}
    )
    assert limited.nit == 7
    bounded = scipy_optimize.minimize(
        pair, START, jac=True, method=scipy_method(method), bounds=scipy_optimize.Bounds(-2, 0.5)
    )
    assert np.max(bounded.x) <= 0.5


def test_scipy_hands_a_compiled_function_through():
    result = scipy_optimize.minimize(compiled_pair, START, args=(2.0,), jac=True, method=scipy_method("lbfgs"))
    np.testing.assert_array_equal(result.x, minimize(compiled_pair, START, (2.0,)).x)


# --- what is not finite, not smooth or not right ---------------------------------------------------------------------


def quietly(function):
    def wrapped(x):
        with np.errstate(all="ignore"):
            return function(x)

    return wrapped


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("function", "start", "solution"),
    [
        (lambda x: (np.sum(x - np.log(x)), 1 - 1 / x), [0.1, 5], 1),
        (lambda x: (np.sum(x - np.log(x)), 1 - 1 / x), [30, 30], 1),
        (lambda x: (np.sum(x - 2 * np.sqrt(x)), 1 - 1 / np.sqrt(x)), [0.01, 40], 1),
        (lambda x: (np.sum(1 / x + x) if np.all(x > 0) else np.inf, 1 - 1 / x**2), [0.01, 100], 1),
        (lambda x: (np.sum(np.exp(x) - 3 * x), np.exp(x) - 3), [20, 700], np.log(3)),
    ],
    ids=["log", "log far away", "square root", "division", "overflow"],
)
def test_domains_with_edges(method, function, start, solution):
    result = minimize(quietly(function), start, jac=True, method=method)
    assert result.success
    np.testing.assert_allclose(result.x, solution, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (lambda x: (rosen(x), -rosen_der(x)), "gradient disagrees"),
        (lambda x: (rosen(x), rosen_der(x)[::-1].copy()), "gradient disagrees"),
        (lambda x: (rosen(x), rosen_der(x) + 5), "gradient disagrees"),
        (lambda x: (1.0, np.full(2, 0.1)), "no lower point"),
        (lambda x: (np.nan, np.ones(2)), "not finite at x0"),
        (lambda x: (1.0, np.array([1, np.inf])), "not finite at x0"),
        (lambda x: (1.0 if x[0] == -1.2 else np.nan, np.ones(2)), "not finite at the points ahead"),
        (lambda x: (np.sum(x**2), np.where(x < 0.5, np.nan, 2 * x) if x[0] > 0 else 2 * x), None),
    ],
)
def test_failures_name_their_cause_and_leave_the_best_point(method, function, cause):
    start = np.array([-1.2, 1.0])
    evaluations = []

    def recorded(x):
        with np.errstate(all="ignore"):
            value, gradient = function(x)
        evaluations.append(value)
        return value, gradient

    result = minimize(recorded, start, jac=True, method=method)
    assert np.all(np.isfinite(result.x))
    assert len(evaluations) < 2000
    if cause is not None:
        assert not result.success
        assert result.status == 2
        assert cause in result.message
        assert not result.fun > np.nanmin([np.inf, *evaluations])


@pytest.mark.parametrize("method", METHODS)
def test_flat_start_is_a_solution(method):
    result = minimize(lambda x: (1.0, np.zeros(3)), np.ones(3), jac=True, method=method)
    assert (result.success, result.nfev, result.nit) == (True, 1, 0)


@pytest.mark.parametrize("method", METHODS)
def test_function_computed_in_float32(method):
    def function(x):
        a, b = x.astype(np.float32)
        u = b - a * a
        return 100 * u * u + (1 - a) ** 2, np.array([-400 * a * u - 2 * (1 - a), 200 * u])

    result = minimize(function, [-1.2, 1], jac=True, method=method)
    assert result.nfev < 300
    np.testing.assert_allclose(result.x, 1, atol=1e-3)
    assert "disagrees" not in result.message


def test_exception_of_the_function_arrives():
    def function(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        minimize(function, START, jac=True)


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "NaN or infinity", dict(x0=[1.0, np.nan])),
        (ValueError, "empty", dict(x0=[])),
        (TypeError, "real numbers", dict(x0=["a"])),
        (TypeError, "real numbers", dict(x0=[1j])),
        (TypeError, "must be callable", dict(fun=3)),
        (ValueError, "unknown method 'newton'", dict(method="newton")),
        (ValueError, "unknown options", dict(options={"maxit": 3})),
        (ValueError, "maxiter must be", dict(options={"maxiter": -1})),
        (ValueError, "maxcor must be", dict(options={"maxcor": 0})),
        (ValueError, "gtol must be", dict(options={"gtol": np.nan})),
        (ValueError, "direction must be", dict(method="cg", options={"direction": "up"})),
        (ValueError, "jac must be", dict(jac="4-point")),
        (ValueError, "one \\(low, high\\)", dict(bounds=[(0, 1)])),
        (TypeError, "callback must be", dict(callback=3)),
        (ValueError, "the shape of x0", dict(fun=lambda x: (1.0, np.zeros(3)))),
        (ValueError, "scalar", dict(fun=lambda x: (np.zeros(3), np.zeros(4)))),
        (TypeError, "real", dict(fun=lambda x: (1.0, np.zeros(4) * 1j))),
        (TypeError, "real", dict(fun=lambda x: (1j, np.zeros(4)))),
        (TypeError, "must return \\(value, gradient\\)", dict(fun=lambda x: 1.0)),
        (TypeError, "must return \\(value, gradient\\)", dict(fun=lambda x: None)),
        (TypeError, "returned None", dict(fun=lambda x: None, jac=rosen_der)),
    ],
)
def test_bad_input(error, match, arguments):
    with pytest.raises(error, match=match):
        minimize(**{"fun": pair, "x0": START, "jac": True, **arguments})


def test_constraints_are_refused():
    with pytest.raises(ValueError, match="constraints"):
        scipy_optimize.minimize(
            pair, START, jac=True, method=scipy_method("lbfgs"), constraints={"type": "eq", "fun": np.sum}
        )
    with pytest.raises(ValueError, match="unknown method"):
        scipy_method("newton")


@numba.njit
def single_gradient(x):
    return ((x - 1) ** 2).sum(), (2 * (x - 1)).astype(np.float32)


@numba.njit
def integer_gradient(x):
    return ((x - 1) ** 2).sum(), (2 * (x - 1)).astype(np.int64)


@numba.njit
def careless_gradient(x):
    value, gradient = ((x - 1) ** 2).sum(), 2 * (x - 1)
    x[:] = 7.0  # its own business
    return value, gradient


@numba.njit
def transposed_gradient(x):
    return ((x - 1) ** 2).sum(), (2 * (x - 1)).T.copy().T


@pytest.mark.parametrize(
    "function", [single_gradient, integer_gradient, careless_gradient, transposed_gradient], ids=lambda f: f.__name__
)
def test_compiled_functions_may_return_and_do_what_python_may(function):
    start = np.full((3, 2), 5.0)
    expected = minimize(function.py_func, start, jac=True)
    result = minimize(function, start)
    assert (result.status, result.nfev) == (expected.status, expected.nfev)
    np.testing.assert_array_equal(result.x, expected.x)
    np.testing.assert_array_equal(start, 5.0)


def test_compiled_closures_are_told_apart():
    def target(value):
        @numba.njit
        def function(x):
            return ((x - value) ** 2).sum(), 2 * (x - value)

        return function

    for value in (1.0, 2.0, 1.0):
        np.testing.assert_allclose(minimize(target(value), np.zeros(3)).x, value)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer on this system")
def test_signals_interrupt_a_compiled_minimization():
    @numba.njit
    def slow(x):
        total = 0.0
        for i in range(200_000):
            total += np.sin(x[0] * i)
        return x[0] + 1e-9 * total, np.array([1.0])  # goes down for ever

    class Elapsed(Exception):
        pass

    def handler(number, frame):
        raise Elapsed

    slow(np.zeros(1))
    options = {"maxiter": 10**8, "maxfun": 10**8, "gtol": 0.0, "ftol": 0.0}
    minimize(slow, np.zeros(1), options={**options, "maxiter": 1})  # compiles
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        start = time.monotonic()
        with pytest.raises(Elapsed):
            while True:
                minimize(slow, np.zeros(1), options=options)
        assert time.monotonic() - start < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
