"""`minimize` from gradients alone, and with what code that was written for SciPy passes."""

import json
import math
import warnings

import numpy as np
import pytest

import numbopt

optimize = pytest.importorskip("scipy.optimize")
TARGET = np.array([1.0, -2.0, 3.0])


def gradient(x):
    return 2 * (x - TARGET)


@pytest.mark.parametrize("name", ["sgd", "Adam", "rmsprop"])
def test_the_steps_are_those_of_the_optimizer(name):
    result = numbopt.minimize(None, np.zeros(3), jac=gradient, method=name, options={"lr": 0.1, "maxiter": 30})
    x = np.zeros(3)
    optimizer = {"sgd": numbopt.SGD, "Adam": numbopt.Adam, "rmsprop": numbopt.RMSprop}[name]([x], lr=0.1)
    for _ in range(30):
        optimizer.step(grads=[gradient(x)])
    assert np.array_equal(result.x, x)
    assert (result.nit, result.njev, result.nfev, result.success) == (30, 30, 30, False)
    assert math.isnan(result.fun)


def test_gradients_and_callbacks_get_what_they_have_parameters_for():
    calls = []

    def noisy(x, i):
        calls.append(("gradient", i))
        x += 1e6  # a copy, which may be changed
        return gradient(x - 1e6)

    for callback in (
        lambda x: calls.append(("x", x.shape)),
        lambda x, i: calls.append(("xi", x.shape, i)),
        lambda x, i, g: calls.append(("xig", x.shape, i, g.shape)),
        lambda *all_of_it: calls.append(("all", len(all_of_it))),
    ):
        result = numbopt.minimize(
            None, np.zeros((3, 1)).T, jac=noisy, method="sgd", callback=callback, options={"maxiter": 2}
        )
        assert result.x.shape == (1, 3)
    assert [call for call in calls if call[0] != "gradient"] == [
        *[("x", (1, 3))] * 2,
        *[("xi", (1, 3), i) for i in range(2)],
        *[("xig", (1, 3), i, (1, 3)) for i in range(2)],
        *[("all", 3)] * 2,
    ]
    assert [call[1] for call in calls if call[0] == "gradient"] == [0, 1] * 4


def test_stops():
    def run(callback=None, jac=gradient, **options):
        return numbopt.minimize(
            None, np.zeros(3), jac=jac, method="sgd", callback=callback, options={"lr": 0.1, **options}
        )

    short = run(xtol=1e-6)
    assert short.success
    assert "xtol" in short.message
    np.testing.assert_allclose(short.x, TARGET, atol=1e-5)
    assert run(gtol=1e-3).message == "Converged: no element of the gradient exceeds gtol."
    assert run(maxtime=0.0).nit == 1
    assert "not finite in iteration 2" in run(jac=lambda x, i: gradient(x) * (math.nan if i == 2 else 1)).message

    def stop(x, i):
        if i == 3:
            raise StopIteration

    assert (run(stop).status, run(stop).nit) == (99, 3)


def test_rates_by_iteration_bounds_and_arguments():
    result = numbopt.minimize(
        None,
        np.zeros(3),
        (2.0,),
        "sgd",
        lambda x, i, factor: factor * (x - TARGET),
        [(None, 0.5)] * 3,
        options={"lr": lambda i: 0.5 / (1 + i), "maxiter": 1},
    )
    np.testing.assert_allclose(result.x, [0.5, -2, 0.5])


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (dict(jac=None), TypeError, "jac must be callable"),
        (dict(jac=gradient, method="lbfgs"), ValueError, "needs the values of fun"),
        (dict(jac=gradient, options={"ftol": 1}), ValueError, "unknown options"),
        (dict(jac=lambda x: x[:2]), ValueError, "the shape of x0"),
        (dict(jac=gradient, options={"lr": lambda i: "fast"}), TypeError, "lr must be a real number"),
    ],
)
def test_what_is_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        numbopt.minimize(None, np.zeros(3), **{"method": "adam", **arguments})


# ---- what code for SciPy passes


def pair(x):
    return float((x - TARGET[: x.size]) @ (x - TARGET[: x.size])), gradient(x) if x.size == 3 else 2 * (x - 1)


@pytest.mark.parametrize("method", ["L-BFGS-B", "l-bfgs-b", "BFGS", "CG", "Nelder"])
def test_names_of_methods(method):
    if method == "Nelder":
        with pytest.raises(ValueError, match="unknown method 'Nelder'"):
            numbopt.minimize(pair, np.zeros(3), jac=True, method=method)
        return
    result = numbopt.minimize(pair, np.zeros(3), jac=True, method=method, hess=None, hessp=None, constraints=())
    np.testing.assert_allclose(result.x, TARGET, atol=1e-4)


def test_a_number_as_start():
    result = numbopt.minimize(lambda x: float((x[0] - 1) ** 2), 3.0)
    assert result.x.shape == (1,)
    np.testing.assert_allclose(result.x, 1, atol=1e-6)


def test_what_has_no_counterpart_is_said_as_scipy_says_it():
    with pytest.warns(optimize.OptimizeWarning, match="Unknown solver options: eps, iprint"):
        numbopt.minimize(pair, np.zeros(3), jac=True, options={"eps": 1e-8, "iprint": 3})
    with pytest.warns(RuntimeWarning, match=r"does not use Hessian information \(hess\)"):
        numbopt.minimize(pair, np.zeros(3), jac=True, hess=lambda x: np.eye(3))
    with pytest.raises(ValueError, match="takes no constraints"):
        numbopt.minimize(pair, np.zeros(3), jac=True, constraints=[{"type": "eq", "fun": sum}])
    with pytest.raises(TypeError, match="returned a pair; say jac=True"):
        numbopt.minimize(pair, np.zeros(3))


# ---- state dicts from elsewhere


def test_a_state_dict_that_went_through_json():
    arrays = [np.ones(3), np.ones((2, 2))]
    optimizer, other = (numbopt.Adam([array.copy() for array in arrays], lr=0.5) for _ in range(2))
    optimizer.step(grads=arrays)
    optimizer.state["epoch"] = 3
    other.load_state_dict(json.loads(json.dumps(optimizer.state_dict(), default=lambda array: array.tolist())))
    for ours, theirs in zip(optimizer.parameters, other.parameters, strict=True):
        theirs.data = ours.data
    with warnings.catch_warnings():
        for each in (optimizer, other):
            each.step(grads=arrays)
    assert other.state["epoch"] == 3
    for ours, theirs in zip(optimizer.parameters, other.parameters, strict=True):
        assert np.array_equal(ours.data, theirs.data)


def test_states_of_parameters_that_no_group_has():
    optimizer = numbopt.Adam([np.ones(3)])
    optimizer.step(grads=[np.ones(3)])
    state = optimizer.state_dict()
    state["state"][7] = state["state"].pop(0)
    with pytest.raises(ValueError, match=r"states of the parameters \[7\], its groups have \[0\]"):
        optimizer.load_state_dict(state)


# ---- what finite differences can reach


@pytest.mark.parametrize("method", ["lbfgs", "cg"])
@pytest.mark.parametrize("bounds", [None, [(-2.0, 2.0)] * 5])
def test_the_end_of_finite_differences_is_a_success(method, bounds):
    calls = [0]

    def steep(x):
        calls[0] += 1
        return float(np.sum(np.log(np.cosh(100 * (x - 0.3)))))

    result = numbopt.minimize(steep, np.ones(5), method=method, bounds=bounds)
    assert result.success, result.message
    np.testing.assert_allclose(result.x, 0.3, atol=1e-6)
    assert result.nfev == calls[0]


def test_a_wrong_gradient_is_blamed_as_before():
    result = numbopt.minimize(lambda x: (float(x @ x), -2 * x), np.ones(3), jac=True)
    assert not result.success
    assert "disagrees" in result.message


def test_rough_functions_are_no_success():
    noise = np.random.default_rng(0)
    result = numbopt.minimize(lambda x: float(x @ x + 1e-3 * noise.random()), np.full(3, 10.0))
    assert not result.success or abs(result.x).max() < 1
