"""Minimizing with the first-order optimizers through SciPy's front."""

import numpy as np
import pytest

import numbopt
from numbopt.optimizer import optimizers

scipy_optimize = pytest.importorskip("scipy.optimize")
minimize = numbopt.minimize
NAMES = ("sgd", "adam", "adamw", "adamax", "nadam", "radam", "adagrad", "adadelta", "rmsprop", "rprop", "asgd")
NAMES += ("lion", "adabelief", "yogi", "ademamix", "adopt", "adan", "madgrad", "adamwschedulefree", "sgdschedulefree")
# What lets each of them solve a quadratic in few thousand steps.
OPTIONS = {"adadelta": {"lr": 1.0}, "adagrad": {"lr": 1.0}, "adamw": {"lr": 0.1, "weight_decay": 0}}
OPTIONS["asgd"] = {"lr": 0.1, "lambd": 0}
# These two swing for a while.
OPTIONS["ademamix"] = {"lr": 0.1, "betas": (0.9, 0.999, 0.99)}
OPTIONS["adamwschedulefree"] = {"lr": 0.1, "window": 1000}
NAMES += ("lamb", "lars", "clipup", "dog", "prodigy")
OPTIONS |= {"lamb": {"lr": 0.01, "maxiter": 3000, "ftol": 0.0, "gtol": 1e-2}, "clipup": {"lr": 0.01, "max_speed": 0.02}}
OPTIONS["lamb"] = {"lr": 0.01, "maxiter": 3000, "ftol": 0.0, "gtol": 1e-2}
OPTIONS["lars"] = {"lr": 0.05, "trust_coefficient": 0.1, "ftol": 0.0, "gtol": 1e-2}
OPTIONS |= {"clipup": {"lr": 0.01, "max_speed": 0.02}, "dog": {"lr": 1.0}, "prodigy": {"lr": 1.0}}
AVERAGING = ("adamwschedulefree", "sgdschedulefree")  # which look at the average in the end
TARGET = np.array([1.0, -2.0, 3.0])


def quadratic(x):
    curvatures = np.array([1.0, 2.0, 4.0]).reshape(x.shape)
    difference = x - TARGET.reshape(x.shape)
    return float(np.sum(curvatures * difference**2) / 2), curvatures * difference


def options_of(name, **others):
    return {**OPTIONS.get(name, {"lr": 0.1}), **others}


def test_every_optimizer_of_the_library_has_a_name():
    public = {
        name.lower()
        for name in numbopt.__all__
        if isinstance(cls := getattr(numbopt, name), type) and issubclass(cls, numbopt.ElementwiseOptimizer)
    } - {"elementwiseoptimizer", "muon"}
    assert public == set(NAMES) <= optimizers(numbopt.ElementwiseOptimizer).keys()


@pytest.mark.parametrize("name", NAMES)
def test_solves_a_quadratic(name):
    result = minimize(quadratic, np.zeros(3), jac=True, method=name, options=options_of(name))
    assert (result.success, result.status) == (True, 0), result.message
    assert "Converged" in result.message
    np.testing.assert_allclose(result.x, TARGET, atol=1e-2)
    value, gradient = quadratic(result.x)
    assert result.fun == value
    np.testing.assert_array_equal(result.jac, gradient)
    assert result.nfev == result.njev == result.nit + 1 + (name in AVERAGING)


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_best_point(name):
    seen = []

    def recorded(x):
        seen.append(quadratic(x)[0])
        return quadratic(x)

    for lr in (0.1, 0.9):  # the larger one makes some of them overshoot
        seen.clear()
        options = options_of(name, lr=lr, maxiter=20, gtol=0)
        result = minimize(recorded, np.zeros(3), jac=True, method=name, options=options)
        assert result.fun == quadratic(result.x)[0] == min(seen)
        assert (result.nit, len(seen)) == (20, 21 + (name in AVERAGING))


def test_gtol_is_judged_at_the_point_that_is_returned():
    """A run that stands where the gradient vanishes does not return a lower point with a large one as converged."""

    def function(x):
        (t,) = x
        return float(np.cos(t)), -np.sin(x)

    # The first step goes from near the bottom of the valley to the top of the next hill.
    result = minimize(function, [np.pi - 0.5], jac=True, method="sgd", options={"lr": (np.pi + 0.5) / np.sin(0.5)})
    assert "gtol" not in result.message


def test_stops():
    def run(**options):
        return minimize(quadratic, np.zeros(3), jac=True, method="adam", options={"lr": 0.1, **options})

    loose = run(gtol=0.5)
    assert np.max(np.abs(loose.jac)) <= 0.5
    assert loose.nit < run().nit
    assert "gtol" in loose.message
    window = run(gtol=0, ftol=1e-3, window=20)
    assert window.success
    assert "20 iterations" in window.message
    assert window.nit < run(gtol=0, ftol=1e-9, window=20).nit
    for option in ("maxiter", "maxfun"):
        limited = run(**{option: 7})
        assert (limited.success, limited.status) == (False, 1)
        assert (limited.nit if option == "maxiter" else limited.nfev) == 7
        assert option in limited.message
    assert run(maxiter=0).nit == 0
    timed = run(maxtime=0)
    assert (timed.success, timed.status, timed.nit) == (False, 1, 0)
    assert "maxtime" in timed.message
    target = run(target=0.5)
    assert target.success
    assert target.fun <= 0.5
    assert "target" in target.message


def test_ftol_of_zero_is_off():
    def flat(x):
        return 1.0, np.ones(3)

    for ftol, status, iterations in ((0, 1, 300), (1e-9, 0, 100)):
        result = minimize(flat, np.zeros(3), jac=True, method="adam", options={"ftol": ftol, "maxiter": 300})
        assert (result.status, result.nit) == (status, iterations)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "bounds",
    [
        scipy_optimize.Bounds(-1, 2),
        [(-1, 2)] * 3,
        scipy_optimize.Bounds([-1, -1, -np.inf], [np.inf, np.inf, 2]),
        [(-1, None), (-1, None), (None, 2)],
    ],
)
def test_bounds_are_kept_and_an_active_one_counts_as_converged(name, bounds):
    def function(x):
        assert np.all(x[:2] >= -1)
        assert x[2] <= 2
        return quadratic(x)

    start = np.array([0.0, -5, 5])  # outside, as SciPy allows
    result = minimize(function, start, jac=True, method=name, bounds=bounds, options=options_of(name))
    assert result.success, result.message
    np.testing.assert_allclose(result.x, [1, -1, 2], atol=1e-2)
    np.testing.assert_array_equal(result.x[1:], [-1, 2])


@pytest.mark.parametrize("shape", [(), (1,), (3,), (3, 1), (1, 3)])
@pytest.mark.parametrize("bounds", [None, scipy_optimize.Bounds(-9, 9), "of its shape"])
def test_start_of_any_shape(shape, bounds):
    if isinstance(bounds, str):
        bounds = scipy_optimize.Bounds(np.full(shape, -9), np.full(shape, 9))
    start = np.zeros(shape)
    shape = shape or (1,)  # as in SciPy

    def fun(x):
        assert x.shape == shape
        return float(np.sum((x - 2) ** 2)), 2 * (x - 2)

    result = minimize(fun, start, jac=True, method="adam", bounds=bounds, options={"lr": 0.1})
    assert result.x.shape == result.jac.shape == shape
    np.testing.assert_allclose(result.x, 2, atol=1e-4)


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_bounds_may_have_the_shape_of_the_start_and_no_other(name):
    options = {} if name == "lbfgs" else {"lr": 0.1}

    def run(bounds):
        return minimize(quadratic, np.zeros((3, 1)), jac=True, method=name, bounds=bounds, options=options)

    for lower in (np.full((3, 1), -1.0), np.full(3, -1.0), -1, [-1]):
        result = run(scipy_optimize.Bounds(lower, 2))
        assert result.success
        np.testing.assert_allclose(result.x, [[1], [-1], [2]], atol=1e-4)
    with pytest.raises(ValueError, match="bounds must be numbers or have the shape of x0"):
        run(scipy_optimize.Bounds(np.zeros(2), np.ones(2)))


def test_start_is_not_changed_and_every_form_of_gradient_is_taken():
    start = np.zeros(3)
    options = {"lr": 0.1}
    expected = minimize(quadratic, start, jac=True, method="adam", options=options)
    np.testing.assert_array_equal(start, 0)
    by_jac = minimize(lambda x: quadratic(x)[0], start, jac=lambda x: quadratic(x)[1], method="adam", options=options)
    np.testing.assert_array_equal(by_jac.x, expected.x)
    differences = minimize(lambda x: quadratic(x)[0], start, method="adam", options=options)
    np.testing.assert_allclose(differences.x, TARGET, atol=1e-4)
    reused = np.empty(3)

    def writes_into_one_array(x):
        value, reused[:] = quadratic(x)
        return value, reused

    np.testing.assert_array_equal(
        minimize(writes_into_one_array, start, jac=True, method="adam", options=options).x, expected.x
    )


def test_callback_gets_the_best_point_after_every_iteration():
    points, values = [], []

    def by_keyword(intermediate_result):
        points.append(intermediate_result.x)
        values.append(intermediate_result.fun)

    options = {"lr": 0.5, "maxiter": 30}
    result = minimize(quadratic, np.zeros(3), jac=True, method="adam", callback=by_keyword, options=options)
    assert len(points) == result.nit == 30
    assert values == [quadratic(x)[0] for x in points] == sorted(values, reverse=True)
    assert values[-1] == result.fun
    seen = []
    minimize(quadratic, np.zeros(3), jac=True, method="adam", callback=seen.append, options=options)
    np.testing.assert_array_equal(seen, points)


def test_callback_stops_the_run():
    def stop(xk):
        raise StopIteration

    result = minimize(quadratic, np.zeros(3), jac=True, method="adam", callback=stop, options={"lr": 0.1})
    assert (result.status, result.success, result.nit, result.nfev) == (99, False, 1, 2)
    assert "StopIteration" in result.message
    assert result.fun < quadratic(np.zeros(3))[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["value", "gradient"])
def test_what_is_not_finite_ends_the_run_at_the_best_finite_point(name, bad, where):
    seen = []

    def function(x):
        assert np.all(np.isfinite(x))
        value, gradient = quadratic(x)
        seen.append(value)
        if len(seen) < 5:
            return value, gradient
        return (bad, gradient) if where == "value" else (value, np.full(3, bad))

    result = minimize(function, np.zeros(3), jac=True, method=name, options=options_of(name))
    assert (result.success, result.status, len(seen)) == (False, 2, 5)
    assert "not finite" in result.message
    assert result.fun == quadratic(result.x)[0] == min(seen[:4])


@pytest.mark.parametrize("answer", [(np.nan, np.ones(3)), (1.0, np.array([1, np.nan, 1]))])
def test_start_that_is_not_finite(answer):
    result = minimize(lambda x: answer, np.ones(3), jac=True, method="adam")
    assert (result.success, result.status, result.nfev, result.nit) == (False, 2, 1, 0)
    assert "not finite at x0" in result.message
    np.testing.assert_array_equal(result.x, 1)
    np.testing.assert_array_equal(result.fun, answer[0])


def test_hyper_parameters_are_options():
    def steps(method, options):
        points = []
        minimize(quadratic, np.zeros(3), jac=True, method=method, callback=points.append, options=options)
        return points

    x = np.zeros(3)
    optimizer = numbopt.SGD([x], lr=0.05, momentum=0.5, nesterov=True)
    for point in steps("SGD", {"lr": 0.05, "momentum": 0.5, "nesterov": True, "maxiter": 10}):
        optimizer.step(grads=[quadratic(x)[1]])
        np.testing.assert_array_equal(point, x)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"momentum": 0.9}, "unknown options.*momentum"),
        ({"maximize": True}, "unknown options.*maximize"),
        ({"maxcor": 3}, "unknown options.*maxcor"),
        ({"bounds": (0, 1)}, "unknown options.*bounds"),
        ({"lr": -1}, "learning rate"),
        ({"betas": (0.9, 1.5)}, "beta"),
        ({"window": 0}, "window"),
        ({"maxiter": 1.5}, "maxiter"),
        ({"maxfun": np.nan}, "maxfun"),
        ({"ftol": -1}, "ftol"),
    ],
)
def test_options_that_cannot_be_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        minimize(quadratic, np.zeros(3), jac=True, method="adam", options=options)


def test_an_optimizer_of_ones_own_has_a_name():
    class SignDescent(numbopt.SGD):
        pass

    result = minimize(quadratic, np.zeros(3), jac=True, method="signdescent", options={"lr": 0.1})
    assert result.success
    del SignDescent


def test_scipy_calls_them():
    bounds = scipy_optimize.Bounds([-1, -1, -1], [2, 2, 2])
    points = []
    result = scipy_optimize.minimize(
        quadratic,
        np.zeros(3),
        jac=True,
        method=numbopt.scipy_method("adam", lr=0.1, betas=(0.8, 0.9)),
        bounds=bounds,
        tol=1e-6,
        callback=lambda xk: points.append(xk),
        options={"maxiter": 5000},
    )
    assert result.success
    np.testing.assert_allclose(result.x, [1, -1, 2], atol=1e-5)
    assert len(points) == result.nit
    with pytest.raises(ValueError, match="unknown options"):
        numbopt.scipy_method("adam", momentum=0.9)
