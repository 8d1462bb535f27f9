"""LBFGS and NonlinearCG as classes: what a step does to parameters, gradients, state and result."""

import copy
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
from cases.functions import FUNCTIONS, STEPS, least_squares, quadratic, rosenbrock, starting_point
from cases.optimizers import CLOSURE_CASES

import numbopt
import numbopt.checkpoint

SEARCHING = tuple(case for case in CLOSURE_CASES if case.searches)
GOLDEN = Path(__file__).parents[1] / "cases" / "golden" / "LBFGS.npz"


def for_every_case(test):
    return pytest.mark.parametrize("case", CLOSURE_CASES, ids=lambda case: case.id)(test)


def for_every_searching_case(test):
    return pytest.mark.parametrize("case", SEARCHING, ids=lambda case: case.id)(test)


def make(case, parameters, **options):
    return getattr(numbopt, case.cls)(parameters, **{**case.options, **options})


def closure_of(function, parameters):
    """A closure over parameters that together are the point of ``function``; it counts its calls in ``calls``."""

    def closure():
        x = np.concatenate([np.ravel(p.data) for p in parameters])
        loss, gradient = function(x)
        closure.calls += 1
        start = 0
        for p in parameters:
            p.grad = gradient[start : start + p.size].reshape(p.shape)
            start += p.size
        return loss

    closure.calls = 0
    return closure


def pair_closure(function, x):
    """A closure that returns the loss and the gradient at a plain array."""

    def closure():
        closure.calls += 1
        loss, gradient = function(x)
        return loss, [gradient]

    closure.calls = 0
    return closure


def steps(optimizer, closure, count):
    return [optimizer.step(closure) for _ in range(count)]


# --- what it solves --------------------------------------------------------------------------------------------------


@for_every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [quadratic, least_squares], ids=lambda function: function.__name__)
def test_solves(case, function, dtype):
    parameter = numbopt.Parameter(starting_point(dtype))
    closure = closure_of(function, [parameter])
    optimizer = make(case, [parameter], tolerance_grad=1e-3, max_iter=500)
    optimizer.step(closure)
    assert optimizer.result.message == "no element of the gradient exceeds tolerance_grad"
    assert np.max(np.abs(function(parameter.data)[1])) <= 1e-3
    assert parameter.dtype == dtype


@for_every_searching_case
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-3), ("float64", 1e-8)])
def test_solves_rosenbrock(case, dtype, tolerance):
    parameter = numbopt.Parameter(np.array([-1.2, 1], dtype))
    optimizer = make(case, [parameter], tolerance_grad=tolerance, tolerance_change=0, max_iter=1000)
    optimizer.step(closure_of(rosenbrock, [parameter]))
    assert optimizer.result.message == "no element of the gradient exceeds tolerance_grad"
    np.testing.assert_allclose(parameter, 1, atol=0.02 if dtype == "float32" else 1e-6)


@for_every_case
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_solves_a_complex_problem(case, dtype):
    target = np.array([1 + 2j, -3j, 2], dtype)
    parameter = numbopt.Parameter(np.zeros(3, dtype))

    def closure():
        parameter.grad = 2 * (parameter.data - target)
        return float(np.sum(np.abs(parameter.data - target) ** 2))

    make(case, [parameter], max_iter=100).step(closure)
    np.testing.assert_allclose(parameter, target, atol=1e-4)


@for_every_case
def test_zero_dimensions(case):
    x = np.array(3.0)
    make(case, [x], max_iter=100).step(lambda: (float((x - 1) ** 2), [2 * (x - 1)]))
    np.testing.assert_allclose(x, 1, atol=1e-4)


def layouts():
    start = starting_point("float64")
    whole = numbopt.Parameter(start)
    several = [numbopt.Parameter(start[:2]), numbopt.Parameter(start[2]), numbopt.Parameter(start[3:])]
    packed = numbopt.pack([start[:2], start[2:]])
    return {"whole": [whole], "several": several, "packed": packed.parameters}


@for_every_case
@pytest.mark.parametrize("layout", layouts())
def test_layout_of_the_parameters_changes_no_bit(case, layout):
    results = []
    for name in ("whole", layout):
        parameters = layouts()[name]
        optimizer = make(case, parameters, max_iter=7)
        losses = steps(optimizer, closure_of(quadratic, parameters), 3)
        results.append((np.concatenate([np.ravel(p.data) for p in parameters]).tobytes(), losses, optimizer.result))
    assert results[0] == results[1]


@for_every_case
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_arrays_are_updated_in_place_in_any_order_of_memory(case, order):
    x = np.zeros((2, 3), order=order)
    eigenvalues = np.arange(1.0, 7).reshape(2, 3)
    closure = pair_closure(lambda x: (float(np.sum(eigenvalues * (x - 1) ** 2)), 2 * eigenvalues * (x - 1)), x)
    make(case, [x], max_iter=200, lr=min(1, case.options.get("lr", 1))).step(closure)
    np.testing.assert_allclose(x, 1, atol=1e-4)
    assert x.flags.c_contiguous == (order == "C")


@for_every_searching_case
def test_many_elements_are_worked_on_by_several_threads(case):
    x = np.zeros(100_001)
    make(case, [x], max_iter=30).step(lambda: (float((x - 1) @ (x - 1)), [2 * (x - 1)]))
    np.testing.assert_allclose(x, 1, atol=1e-4)


@for_every_case
def test_parameters_of_unlike_types(case):
    single, double = numbopt.Parameter(np.float32([3, 4])), numbopt.Parameter(np.array([1 + 1j, 5]))

    def closure():
        single.grad, double.grad = 2 * single.data, 2 * double.data
        return float(np.sum(single.data**2) + np.sum(np.abs(double.data) ** 2))

    make(case, [single, double], max_iter=100).step(closure)
    np.testing.assert_allclose(single, 0, atol=1e-4)
    np.testing.assert_allclose(double, 0, atol=1e-4)
    assert (single.dtype, double.dtype) == (np.float32, np.complex128)


@for_every_case
def test_gradient_of_none_counts_as_zero(case):
    first, second = numbopt.Parameter(np.ones(3)), numbopt.Parameter(np.ones(2))
    optimizer = make(case, [first, second], max_iter=50)

    def closure():
        first.grad = 2 * first.data
        return float(np.sum(first.data**2))

    optimizer.step(closure)
    np.testing.assert_allclose(first, 0, atol=1e-4)
    np.testing.assert_array_equal(second, 1)
    assert second.grad is None

    def other():
        first.grad = None
        second.grad = 2 * second.data
        return float(np.sum(second.data**2))

    before = first.data.copy()
    make(case, [first, second], max_iter=50).step(other)
    np.testing.assert_array_equal(first, before)
    np.testing.assert_allclose(second, 0, atol=1e-4)


@for_every_case
def test_gradients_by_name(case):
    weight, bias = numbopt.Parameter(np.ones(3)), numbopt.Parameter(np.ones(2))
    optimizer = make(case, {"weight": weight, "bias": bias}, max_iter=50)
    optimizer.step(lambda: (float(weight.data @ weight.data), {"weight": 2 * weight.data}))
    np.testing.assert_allclose(weight, 0, atol=1e-4)
    np.testing.assert_array_equal(bias, 1)


@for_every_case
def test_returned_gradients_in_any_form_give_the_same_bits_as_those_in_place(case):
    def parameters():
        return [numbopt.Parameter(part) for part in np.split(starting_point("float64"), [3, 4])]

    def function(x):  # of all but the last two elements
        loss, gradient = rosenbrock(x[:4])
        return loss, np.append(gradient, [0.0, 0.0])

    in_place, returned = parameters(), parameters()
    forms = itertools.cycle([list, lambda parts: [part.tolist() for part in parts], lambda parts: [*parts[:2], None]])

    def closure():
        loss, gradient = function(np.concatenate([p.data for p in returned]))
        return loss, next(forms)(np.split(gradient, [3, 4]))

    make(case, in_place, max_iter=20).step(closure_of(function, in_place))
    make(case, returned, max_iter=20).step(closure)
    np.testing.assert_array_equal(np.concatenate(returned), np.concatenate(in_place))
    assert not np.array_equal(np.concatenate(returned), starting_point("float64"))


# --- what a step promises --------------------------------------------------------------------------------------------


@for_every_case
@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.array, lambda loss: np.array([[loss]])])
def test_step_returns_the_loss_at_entry_as_it_came(case, kind):
    x = starting_point("float64")
    expected = kind(quadratic(x)[0])

    def closure():
        loss, gradient = quadratic(x)
        return kind(loss), [gradient]

    loss = make(case, [x]).step(closure)
    assert type(loss) is type(expected)
    np.testing.assert_array_equal(loss, expected)


@for_every_searching_case
@pytest.mark.parametrize("limits", [{"max_iter": 3}, {"max_eval": 4}, {"max_eval": 7}, {"max_iter": 60}, {"lr": 1e3}])
def test_parameters_loss_and_gradients_belong_to_the_best_point(case, limits):
    parameter = numbopt.Parameter(np.array([-1.2, 1, 0.5, -0.3]))
    closure = closure_of(rosenbrock, [parameter])
    seen = []

    def recorded():
        loss = closure()
        seen.append(loss)
        return loss

    optimizer = make(case, [parameter], **limits)
    for _ in range(4):
        seen.clear()
        entry = optimizer.step(recorded)
        loss, gradient = rosenbrock(parameter.data)
        assert entry == seen[0]
        assert optimizer.result.loss == loss == min(seen)
        np.testing.assert_array_equal(parameter.grad, gradient)
        assert optimizer.result.gradient_norm == np.max(np.abs(gradient))
        assert optimizer.result.evaluations == len(seen)


@for_every_case
@pytest.mark.parametrize("max_eval", [1, 2, 3, 5, 20])
def test_max_eval_is_a_hard_limit(case, max_eval):
    x = np.full(4, -1.0)
    closure = pair_closure(rosenbrock, x)
    optimizer = make(case, [x], max_eval=max_eval, lr=1e-3)
    for _ in range(3):
        closure.calls = 0
        optimizer.step(closure)
        assert closure.calls == optimizer.result.evaluations <= max_eval


@for_every_case
@pytest.mark.parametrize("max_iter", [1, 2, 3])
def test_few_iterations_make_progress(case, max_iter):
    x = np.full(4, -1.0)
    closure = pair_closure(rosenbrock, x)
    optimizer = make(case, [x], max_iter=max_iter, lr=1e-3)
    losses = steps(optimizer, closure, 5)
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 5


@for_every_case
def test_counts(case):
    x = starting_point("float64")
    closure = pair_closure(quadratic, x)
    optimizer = make(case, [x], max_iter=5)
    iterations = 0
    for _ in range(3):
        optimizer.step(closure)
        iterations += optimizer.result.iterations
    state = optimizer.state[x]
    assert (state["func_evals"], state["n_iter"], optimizer.step_count) == (closure.calls, iterations, 3)


@for_every_case
def test_result_says_why_the_step_ended(case):
    x = starting_point("float64")
    optimizer = make(case, [x], max_iter=2, max_eval=20)
    assert optimizer.result is None
    optimizer.step(pair_closure(quadratic, x))
    assert optimizer.result.message == "max_iter iterations were done"
    assert optimizer.result.iterations == 2
    x[:] = 1
    optimizer.step(pair_closure(quadratic, x))
    assert optimizer.result == ("no element of the gradient exceeds tolerance_grad", 0.0, 0.0, 0, 1)


@for_every_case
def test_options_edited_between_steps_count(case):
    x = starting_point("float64")
    optimizer = make(case, [x], max_iter=3)
    closure = pair_closure(quadratic, x)
    optimizer.step(closure)
    group = optimizer.param_groups[0]
    group["max_iter"] = 1
    optimizer.step(closure)
    assert optimizer.result.iterations == 1
    group.update(tolerance_grad=1e6)
    optimizer.step(closure)
    assert (optimizer.result.iterations, optimizer.result.evaluations) == (0, 1)
    group["tolerance_grad"] = -1
    with pytest.raises(ValueError, match="tolerance_grad"):
        optimizer.step(closure)


def test_edited_history_size_keeps_what_is_remembered():
    x, y = np.full(6, -1.0), np.full(6, -1.0)
    edited, constant = (numbopt.LBFGS([p], history_size=20, line_search_fn="strong_wolfe", max_iter=5) for p in (x, y))
    for size in (20, 30, 40):
        edited.param_groups[0]["history_size"] = size
        edited.step(pair_closure(rosenbrock, x))
        constant.step(pair_closure(rosenbrock, y))
    np.testing.assert_array_equal(x, y)
    edited.param_groups[0]["history_size"] = 4
    edited.step(pair_closure(rosenbrock, x))
    assert len(edited.state[x]["ro"]) == 4


def test_edited_line_search_goes_on():
    x = np.full(6, -1.0)
    optimizer = numbopt.LBFGS([x], line_search_fn="strong_wolfe", max_iter=5, tolerance_change=0)
    for line_search in ("strong_wolfe", None, "strong_wolfe"):
        optimizer.param_groups[0].update(line_search_fn=line_search, max_iter=5 if line_search else 1)
        before = rosenbrock(x)[0]
        optimizer.step(pair_closure(rosenbrock, x))
        assert rosenbrock(x)[0] < before


@for_every_case
def test_closure_may_change_between_steps(case):
    """Mini-batches: the steps come near to what the batches have in common."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((120, 5))
    target = matrix @ np.arange(5.0)
    x = np.zeros(5)
    optimizer = make(case, [x], max_iter=4)
    for step in range(60):
        rows = slice(step % 3 * 40, step % 3 * 40 + 40)

        def batch(rows=rows):
            r = matrix[rows] @ x - target[rows]
            return float(r @ r) / 40, [matrix[rows].T @ r / 20]

        optimizer.step(batch)
    np.testing.assert_allclose(x, np.arange(5), atol=1e-2)


@for_every_case
def test_hooks_and_zero_grad(case):
    parameter = numbopt.Parameter(np.ones(3))
    optimizer = make(case, [parameter], max_iter=50)
    seen = []
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append("before"))
    optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append("after"))

    def closure():
        optimizer.zero_grad()
        parameter.grad += 2 * parameter.data
        return float(parameter.data @ parameter.data)

    optimizer.step(closure)
    assert seen == ["before", "after"]
    np.testing.assert_allclose(parameter, 0, atol=1e-4)


# --- what is refused -------------------------------------------------------------------------------------------------


def optimizers():
    return pytest.mark.parametrize("cls", [numbopt.LBFGS, numbopt.NonlinearCG])


@optimizers()
def test_second_group_is_refused(cls):
    groups = [{"params": [np.ones(2)]}, {"params": [np.ones(2)]}]
    message = rf"{cls.__name__} doesn't support per-parameter options \(parameter groups\)"
    with pytest.raises(ValueError, match=message):
        cls(groups)
    optimizer = cls(groups[:1])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group(groups[1])


WRONG_OPTIONS = [
    ("lr", -1),
    ("lr", np.nan),
    ("max_iter", 0),
    ("max_iter", 1.5),
    ("max_eval", 0),
    ("tolerance_grad", -1e-5),
    ("tolerance_grad", np.nan),
    ("tolerance_change", -1e-9),
    ("tolerance_change", np.nan),
    ("history_size", 0),
    ("line_search_fn", "armijo"),
    ("direction", "up"),
]


@pytest.mark.parametrize(
    ("cls", "option", "value"),
    [
        (cls, *wrong)
        for cls in (numbopt.LBFGS, numbopt.NonlinearCG)
        for wrong in WRONG_OPTIONS
        if wrong[0] in cls.options
    ],
)
def test_wrong_options_are_named(cls, option, value):
    name = "learning rate" if option == "lr" else option
    with pytest.raises(ValueError, match=name):
        cls([np.ones(2)], **{option: value})
    optimizer = cls([np.ones(2)])
    optimizer.param_groups[0][option] = value
    with pytest.raises(ValueError, match=name):
        optimizer.step(lambda: (1.0, [np.ones(2)]))


@for_every_case
@pytest.mark.parametrize(
    ("closure", "error", "match"),
    [
        (None, TypeError, "give step a closure"),
        (3, TypeError, "callable"),
        (lambda: None, TypeError, "must return the loss"),
        (lambda: np.ones(2), TypeError, "must return the loss"),
        (lambda: 1j, TypeError, "must return the loss"),
        (lambda: True, TypeError, "must return the loss"),
        (lambda: (1.0, [np.ones(2)], 3), ValueError, "tuple of 3"),
        (lambda: (1.0, [np.ones(3)]), ValueError, "shape"),
        (lambda: (1.0, [np.ones(2), np.ones(2)]), ValueError, "2"),
    ],
)
def test_wrong_closures_are_refused(case, closure, error, match):
    x = np.ones(2)
    optimizer = make(case, [x])
    with pytest.raises(error, match=match):
        optimizer.step(closure)
    np.testing.assert_array_equal(x, 1)
    assert not optimizer.state_dict()["state"]
    optimizer.step(lambda: (float(x @ x), [2 * x]))
    assert x @ x < 1e-8


@optimizers()
def test_gradients_without_closure_are_refused(cls):
    with pytest.raises(TypeError, match="closure"):
        cls([np.ones(2)]).step(grads=[np.ones(2)])


@optimizers()
def test_step_within_its_own_closure_is_refused(cls):
    x = np.ones(2)
    optimizer = cls([x])

    def closure():
        optimizer.step(closure)

    with pytest.raises(RuntimeError, match="own closure"):
        optimizer.step(closure)
    optimizer.step(lambda: (float(x @ x), [2 * x]))
    assert x @ x < 1e-8


class Mine(Exception):
    pass


@for_every_case
@pytest.mark.parametrize("failing_call", [1, 2, 3, 5])
@pytest.mark.parametrize("failure", ["raises", "returns None"])
def test_failure_of_the_closure_takes_the_parameters_back(case, failing_call, failure):
    """To the base of the search, a point that was evaluated; the next step works as if nothing had been."""
    x = np.full(4, -1.0)
    optimizer = make(case, [x], max_iter=50, lr=min(1e-2, case.options.get("lr", 1)))
    evaluated = []

    def closure():
        evaluated.append(x.copy())
        if len(evaluated) == failing_call:
            if failure == "raises":
                raise Mine
            return None
        loss, gradient = rosenbrock(x)
        return loss, [gradient]

    with pytest.raises(Mine if failure == "raises" else TypeError):
        optimizer.step(closure)
    if failing_call == 1:
        np.testing.assert_array_equal(x, -1)
        assert not optimizer.state_dict()["state"]
    else:
        assert any(x.tobytes() == point.tobytes() for point in evaluated[: failing_call - 1])
        assert rosenbrock(x)[0] <= rosenbrock(evaluated[0])[0] or not case.searches
        assert optimizer.state[x]["func_evals"] == failing_call - 1
    before = rosenbrock(x)[0]
    optimizer.step(pair_closure(rosenbrock, x))
    assert np.all(np.isfinite(x))
    if case.searches:
        assert rosenbrock(x)[0] < before


# --- what is not finite ----------------------------------------------------------------------------------------------


@for_every_case
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_start_that_is_not_finite(case, bad, where):
    x = np.array([1.0, 2.0])
    optimizer = make(case, [x])
    broken = (bad, [np.ones(2)]) if where == "loss" else (1.0, [np.array([1, bad])])
    optimizer.step(lambda: broken)
    np.testing.assert_array_equal(x, [1, 2])
    assert "not finite where the step began" in optimizer.result.message
    assert optimizer.result.evaluations == 1
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step(lambda: (float(x @ x), [2 * x]))
    assert x @ x < 1e-8


@for_every_case
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_points_that_are_not_finite_never_reach_the_parameters(case, bad, where):
    x = np.array([1.0, 2.0])

    def closure():
        assert np.all(np.isfinite(x))
        closure.calls += 1
        if np.array_equal(x, [1, 2]):
            return 5.0, [np.array([2.0, 4.0])]
        return (bad, [np.ones(2)]) if where == "loss" else (1.0, [np.array([1, bad])])

    closure.calls = 0
    optimizer = make(case, [x], max_eval=1000)
    optimizer.step(closure)
    np.testing.assert_array_equal(x, [1, 2])
    assert "not finite" in optimizer.result.message
    assert optimizer.result.loss == 5
    assert closure.calls < 200


def test_last_step_of_fixed_length_is_taken_back_when_the_next_one_finds_it_not_finite():
    x = np.array([1.0, 2.0])
    parameter = numbopt.Parameter(x)
    optimizer = numbopt.LBFGS([parameter], lr=100, max_iter=1)

    def closure():
        finite = np.max(np.abs(parameter.data)) < 10
        parameter.grad = 2 * parameter.data if finite else parameter.data * np.nan
        return float(parameter.data @ parameter.data) if finite else np.nan

    optimizer.step(closure)
    assert np.max(np.abs(parameter.data)) > 10
    optimizer.step(closure)
    np.testing.assert_array_equal(parameter, [1, 2])
    np.testing.assert_array_equal(parameter.grad, [2, 4])
    assert optimizer.result.loss == 5
    assert "taken back" in optimizer.result.message


@for_every_searching_case
def test_domain_with_an_edge(case):
    x = np.array([0.1, 5.0])

    def closure():
        with np.errstate(all="ignore"):
            return float(np.sum(x - np.log(x))), [1 - 1 / x]

    make(case, [x], max_iter=100).step(closure)
    np.testing.assert_allclose(x, 1, rtol=1e-4)


@for_every_searching_case
def test_wrong_gradient_is_named(case):
    x = np.full(4, -1.0)
    optimizer = make(case, [x], max_eval=200)
    optimizer.step(lambda: (rosenbrock(x)[0], [-rosenbrock(x)[1]]))
    np.testing.assert_array_equal(x, -1)
    assert "gradient disagrees" in optimizer.result.message


# --- state -----------------------------------------------------------------------------------------------------------


def through_state_dict(case, optimizer, parameter, path):
    copied = numbopt.Parameter(parameter.data)
    resumed = make(case, [copied], max_iter=17)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return resumed


def through_checkpoint(case, optimizer, parameter, path):
    numbopt.checkpoint.save(path / "run.npz", optimizer=optimizer, parameters=[parameter])
    copied = numbopt.Parameter(np.zeros_like(parameter.data))
    resumed = make(case, [copied], max_iter=17)
    numbopt.checkpoint.load(path / "run.npz", optimizer=resumed, parameters=[copied])
    return resumed


def through_pickle(case, optimizer, parameter, path):
    return pickle.loads(pickle.dumps(optimizer))


def through_deepcopy(case, optimizer, parameter, path):
    return copy.deepcopy(optimizer)


@for_every_case
@pytest.mark.parametrize("way", [through_state_dict, through_checkpoint, through_pickle, through_deepcopy])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("before", [1, 3])
def test_resumes_bitwise(case, way, dtype, before, tmp_path):
    parameter = numbopt.Parameter(starting_point(dtype))
    options = {"history_size": 4} if case.cls == "LBFGS" else {}
    optimizer = make(case, [parameter], max_iter=3, tolerance_change=0, **options)
    steps(optimizer, closure_of(quadratic, [parameter]), before)
    resumed = way(case, optimizer, parameter, tmp_path)
    (other,) = resumed.param_groups[0]["params"]
    assert other is not parameter
    for _ in range(4):
        optimizer.step(closure_of(quadratic, [parameter]))
        resumed.step(closure_of(quadratic, [other]))
        assert other.data.tobytes() == parameter.data.tobytes()
        assert resumed.result == optimizer.result
    ours, theirs = (opt.state_dict()["state"][0] for opt in (optimizer, resumed))
    assert ours.keys() == theirs.keys()
    for key in ours:
        np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)


@for_every_case
def test_state_dict_holds_copies(case):
    parameter = numbopt.Parameter(starting_point("float64"))
    optimizer = make(case, [parameter], max_iter=3)
    closure = closure_of(quadratic, [parameter])
    optimizer.step(closure)
    saved = optimizer.state_dict()
    expected = copy.deepcopy(saved)
    optimizer.step(closure)
    for key, value in expected["state"][0].items():
        np.testing.assert_array_equal(saved["state"][0][key], value)


@for_every_case
def test_forgotten_state_starts_anew(case):
    x, y = starting_point("float64"), starting_point("float64")
    first, second = make(case, [x], max_iter=3), make(case, [y], max_iter=3)
    first.step(pair_closure(quadratic, x))
    x[:] = y
    del first.state[x]
    first.step(pair_closure(quadratic, x))
    second.step(pair_closure(quadratic, y))
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("d", np.zeros(5), ValueError),
        ("d", np.zeros(6) * 1j, TypeError),
        ("ro", np.zeros(2), ValueError),
        ("old_stps", np.zeros((3, 5)), ValueError),
        ("func_evals", -1, ValueError),
        ("H_diag", "one", TypeError),
    ],
)
def test_state_that_does_not_fit_is_refused(key, value, error):
    x = np.full(6, -1.0)
    optimizer = numbopt.LBFGS([x], line_search_fn="strong_wolfe", max_iter=3)
    optimizer.step(pair_closure(rosenbrock, x))
    broken = optimizer.state_dict()
    broken["state"][0][key] = value
    before = optimizer.state_dict()["state"][0]
    with pytest.raises(error, match=key):
        optimizer.load_state_dict(broken)
    for name, values in optimizer.state_dict()["state"][0].items():
        np.testing.assert_array_equal(values, before[name])


# --- golden values of torch, without a line search --------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_follows_the_golden_trajectories_of_torch(golden, name, dtype):
    function, options = FUNCTIONS[name]
    x = starting_point(dtype)
    optimizer = numbopt.LBFGS([x], **options)
    tolerance = {"rtol": 1.3e-6, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-7, "atol": 1e-7}
    for step in range(STEPS[dtype]):
        optimizer.step(pair_closure(lambda x, step=step: function(x, step), x))
        np.testing.assert_allclose(x, golden[f"{name}/{dtype}"][step], **tolerance)
        counts = optimizer.state[x]["func_evals"], optimizer.state[x]["n_iter"]
        assert counts == tuple(golden[f"{name}/{dtype}/counts"][step])
