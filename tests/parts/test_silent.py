"""What would change nothing, or something else than meant: each says so."""

import gc
import itertools
import warnings

import numpy as np
import pytest

import numbopt


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("closure", "text"),
    [
        (None, "step(grads=[...])"),
        (lambda: None, "returned None"),
        (lambda: 1.0, "returned only the loss"),
        (lambda: np.ones(3), "returned gradients without a loss"),
    ],
    ids=["no closure", "None", "loss", "gradients"],
)
def test_a_step_without_any_gradient(closure, text):
    optimizer = numbopt.Adam([np.ones(3)])
    with pytest.warns(UserWarning, match="no parameter has a gradient") as caught:
        optimizer.step(closure)
    assert text in str(caught[0].message)
    assert caught[0].filename == __file__
    optimizer.step(closure)  # once is enough


@pytest.mark.filterwarnings("error")
def test_gradients_that_are_left_out_on_purpose():
    numbopt.Adam([np.ones(3)]).step(grads=[None])
    parameter = numbopt.Parameter(np.ones(3))
    parameter.grad = np.ones(3)
    numbopt.Adam([parameter, numbopt.Parameter(np.ones(2))]).step(lambda: 1.0)


@pytest.mark.parametrize("cls", [numbopt.LBFGS, numbopt.NonlinearCG])
def test_a_search_without_any_gradient(cls):
    x = np.ones(3)
    with pytest.raises(ValueError, match="gave no gradient to any parameter; let it return"):
        cls([x]).step(lambda: float(x @ x))


@pytest.mark.parametrize("name", ["lr", "betas", "bounds", "maximize"])
def test_an_option_set_as_an_attribute(name):
    optimizer = numbopt.Adam([np.ones(3)])
    assert not hasattr(optimizer, name)
    with pytest.warns(UserWarning, match=rf"write opt.param_groups\[0\]\['{name}'\] = 0.5"):
        setattr(optimizer, name, 0.5)
    assert getattr(optimizer, name) == 0.5
    with pytest.raises(AttributeError, match="it is an option of groups"):
        getattr(numbopt.Adam([np.ones(3)]), name)


# ---- arrays that are rebound


def train(x, rebind, steps=4):
    optimizer = numbopt.SGD([x], lr=0.5)
    for _ in range(steps):
        optimizer.step(grads=[2 * x])
        x = rebind(x)
    return optimizer


def test_an_array_that_is_rebound_after_a_step():
    with pytest.warns(UserWarning, match=r"x was optimized, and it is another array now.*x\[:\] = ") as caught:
        train(np.ones(3), lambda x: np.clip(x, 0, 1))
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_one_of_several_arrays_that_is_rebound():
    x, y = np.ones(3), np.ones(2)
    optimizer = numbopt.SGD({"x": x, "y": y}, lr=0.5)
    optimizer.step(grads=[x, y])
    y = y * 0.5
    with pytest.warns(UserWarning, match="y was optimized"):
        optimizer.step(grads=[x, y])


def closure_over(x):
    return lambda: (float(x @ x), [2 * x])


@pytest.mark.filterwarnings("error")
def test_loops_that_are_right():
    train(np.ones(3), lambda x: np.clip(x, 0, 1, out=x))
    train(np.ones(3), lambda x: x)
    never_held = numbopt.SGD([np.ones(3)])
    for _ in range(4):
        never_held.step(grads=[never_held.parameters[0].data.copy()])
    parameter = numbopt.Parameter(np.ones(3))
    seen = parameter.data
    optimizer = numbopt.SGD([parameter])
    optimizer.step(grads=[seen])
    del seen
    optimizer.step(grads=[np.ones(3)])
    for cls in (numbopt.LBFGS, numbopt.NonlinearCG):
        closure = closure_over(x := np.ones(3))
        searching = cls([x])
        del x
        for _ in range(3):
            searching.step(closure)
    gc.collect()


# ---- masks, units and shapes


class Length(np.ndarray):
    unit = "cm"


def masked(*shape):
    return np.ma.array(np.ones(shape), mask=np.ones(shape, bool))


def value_and_gradient(x):
    return float((x * x).sum()), 2 * x


MEANINGS = {"masked": (masked(3), "masked array"), "unit": (np.ones(3).view(Length), "has the unit cm")}


@pytest.mark.parametrize("meaning", MEANINGS)
@pytest.mark.parametrize(
    "use",
    {
        "parameter": lambda a: numbopt.Adam([a]),
        "gradient": lambda a: numbopt.Adam([np.ones(3)]).step(grads=[a]),
        "gradient of a closure": lambda a: numbopt.LBFGS([np.ones(3)]).step(lambda: (1.0, [a])),
        "loss": lambda a: numbopt.LBFGS([np.ones(3)]).step(lambda: (a[:1], [np.ones(3)])),
        "bounds": lambda a: numbopt.Adam([np.ones(3)], bounds=(a, None)),
        "rate": lambda a: numbopt.Adam([np.ones(3)], lr=a[:1]),
        "clipped": lambda a: numbopt.clip_grad_norm_([a], 1.0),
    }.items(),
    ids=lambda use: use[0],
)
def test_what_numpy_would_drop_is_refused(meaning, use):
    array, text = MEANINGS[meaning]
    with pytest.raises(TypeError, match=text):
        use[1](array)


@pytest.mark.parametrize("meaning", MEANINGS)
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
@pytest.mark.parametrize("where", ["x0", "value", "gradient", "bounds"])
def test_minimize_refuses_what_numpy_would_drop(meaning, method, where):
    pytest.importorskip("scipy")
    array, text = MEANINGS[meaning]

    def fun(x):
        value, gradient = value_and_gradient(x)
        return array[0:1] if where == "value" else value, array if where == "gradient" else gradient

    x0 = array if where == "x0" else np.ones(3)
    bounds = array.reshape(1, 3).repeat(2, 0).T if where == "bounds" else None
    with pytest.raises(TypeError, match=text):
        numbopt.minimize(fun, x0, jac=True, method=method, bounds=bounds)


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_minimize_refuses_a_transposed_gradient(method):
    pytest.importorskip("scipy")
    with pytest.raises(ValueError, match="the shape of x0"):
        numbopt.minimize(lambda x: (float((x * x).sum()), 2 * x.T), np.ones((2, 3)), jac=True, method=method)


def test_minimize_refuses_a_transposed_gradient_of_a_compiled_function():
    pytest.importorskip("scipy")
    numba = pytest.importorskip("numba")

    @numba.njit
    def fun(x):
        return (x * x).sum(), (2 * x).T.copy()

    with pytest.raises(ValueError, match="the shape of x0"):
        numbopt.minimize(fun, np.ones((2, 3)), jac=True)


def test_bounds_are_copies_that_nobody_can_edit():
    lower, x = np.zeros(3), np.ones(3)
    optimizer = numbopt.SGD([x], lr=1.0, bounds=(lower, None))
    lower[:] = 0.5
    optimizer.step(grads=[np.full(3, 0.8)])
    np.testing.assert_allclose(x, 0.2)
    held = optimizer.param_groups[0]["bounds"][0]
    with pytest.raises(ValueError, match="read-only"):
        held[:] = 0.5
    optimizer.param_groups[0]["bounds"] = (lower, None)
    optimizer.step(grads=[np.full(3, 0.8)])
    np.testing.assert_allclose(x, 0.5)


def test_a_history_takes_losses_of_one_element():
    x = np.ones(3)
    optimizer = numbopt.SGD([x], lr=np.array([0.5]))
    history = numbopt.History(optimizer)
    optimizer.step(lambda: (np.ones(1), [x]))
    history.record(validation=np.array([2.0]))
    assert [list(history[name]) for name in ("loss", "lr", "validation")] == [[1.0], [0.5], [2.0]]
    with warnings.catch_warnings(), pytest.raises(TypeError, match="masked"):
        history.record(np.ma.masked)


def test_a_state_is_cleared_but_not_replaced():
    x, gradient = np.ones(3), np.ones(3)
    optimizer, fresh = numbopt.Adam([x], lr=0.5), numbopt.Adam([y := np.ones(3)], lr=0.5)
    optimizer.step(grads=[gradient])
    optimizer.state[x].clear()
    assert not optimizer.state
    x[:] = 1
    optimizer.step(grads=[gradient])
    fresh.step(grads=[gradient])
    assert np.array_equal(x, y)
    with pytest.raises(AttributeError, match="cannot be replaced"):
        optimizer.state = {}


@pytest.mark.parametrize(("mode", "best"), [("min", -5.0), ("min", 5.0), ("max", -5.0), ("max", 5.0)])
def test_a_metric_that_stands_still_is_no_progress(mode, best):
    optimizer = numbopt.SGD([np.ones(3)], lr=1.0)
    scheduler = numbopt.lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, patience=2, factor=0.5)
    better = best - 1 if mode == "min" else best + 1
    for metric in (best, better, better, better, better):
        scheduler.step(metric)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("cls", [numbopt.LBFGS, numbopt.NonlinearCG])
def test_searches_of_one_iteration_move(cls):
    options = {"line_search_fn": "strong_wolfe"} if cls is numbopt.LBFGS else {}
    x = np.array([-1.2, 1.0])
    optimizer = cls([x], max_iter=1, **options)

    def closure():
        a, b = 1 - x[0], x[1] - x[0] ** 2
        return float(a * a + 100 * b * b), [np.array([-2 * a - 400 * b * x[0], 200 * b])]

    losses = [optimizer.step(closure) for _ in range(60)]
    assert all(after < before for before, after in itertools.pairwise(losses) if before > 1e-8)
    assert losses[-1] < 1e-8
