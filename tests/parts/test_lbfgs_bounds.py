"""`LBFGS` within bounds."""

import copy
import pickle

import numpy as np
import pytest

import numbopt


def rosenbrock(z):
    a, b = z[1:] - z[:-1] ** 2, 1 - z[:-1]
    gradient = np.zeros_like(z)
    gradient[1:] = 200 * a
    gradient[:-1] -= 400 * a * z[:-1] + 2 * b
    return float(100 * (a @ a) + b @ b), gradient


class Run:
    """Two parameters within bounds, and a closure that refuses points outside."""

    def __init__(self, bounds=(-2, 0.8), dtype="float64", order="C", **options):
        self.x, self.y = np.full(6, -1.0, dtype), np.full((3, 2), -0.5, dtype, order=order)
        self.bounds = bounds
        self.options = {"history_size": 8, "max_iter": 4, "line_search_fn": "strong_wolfe", **options}
        self.evaluations = 0
        self.optimizer = self.new()

    def new(self):
        return numbopt.LBFGS({"x": self.x, "y": self.y}, bounds=self.bounds, **self.options)

    def closure(self):
        self.evaluations += 1
        for array in (self.x, self.y):
            for bound, is_outside in zip(self.bounds, (np.less, np.greater), strict=True):
                assert bound is None or not np.any(is_outside(array, np.asarray(bound, array.dtype)))
        value, gradient = rosenbrock(np.concatenate([self.x, self.y.ravel()]).astype(float))
        return value, {"x": gradient[:6], "y": gradient[6:].reshape(3, 2)}

    def steps(self, count):
        return [self.optimizer.step(self.closure) for _ in range(count)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reaches_the_minimum_and_never_leaves_the_bounds(dtype, order):
    run = Run(dtype=dtype, order=order)
    losses = run.steps(40)
    assert losses[-1] == pytest.approx(7.98081014, abs=1e-5)
    assert run.x.max() == np.asarray(0.8, dtype)
    assert run.optimizer.result.gradient_norm < (1e-5 if dtype == "float64" else 1e-1)


@pytest.mark.parametrize("bounds", [(None, 0.8), (-2, None), (np.full(2, -2.0), 0.8), (-1.5, np.array(0.8))])
def test_bounds_of_every_form(bounds):
    run = Run()
    run.bounds = bounds
    if isinstance(bounds[0], np.ndarray):  # fits the last axis of one parameter only
        with pytest.raises(ValueError, match=r"bounds of shape \(2,\) do not fit parameter 'x'"):
            run.new()
        return
    run.optimizer = run.new()
    losses = run.steps(60)
    assert losses[-1] < losses[0]
    expected = 7.98081014 if bounds[1] is not None else 0.0
    assert losses[-1] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("at", [1, 3, 7])
def test_a_state_dict_continues_bit_by_bit(at):
    straight, resumed = Run(), Run()
    straight.steps(10)
    resumed.steps(at)
    state = pickle.loads(pickle.dumps(resumed.optimizer.state_dict()))
    resumed.optimizer = resumed.new()
    resumed.optimizer.load_state_dict(state)
    resumed.steps(10 - at)
    assert np.array_equal(straight.x, resumed.x)
    assert np.array_equal(straight.y, resumed.y)


def test_copies_go_the_same_way():
    run = Run()
    run.steps(3)
    for copied in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        expected = copy.deepcopy(run)
        copied.x, copied.y = (parameter.data for parameter in copied.optimizer.parameters)
        expected.x, expected.y = (parameter.data for parameter in expected.optimizer.parameters)
        copied.steps(3)
        expected.steps(3)
        assert np.array_equal(copied.x, expected.x)


def test_bounds_that_are_edited_count_from_the_next_step_on():
    run = Run()
    run.steps(5)
    run.bounds = run.optimizer.param_groups[0]["bounds"] = (-2, 0.5)
    with pytest.warns(UserWarning, match="moved inside"):
        run.steps(1)
    run.steps(30)
    assert run.x.max() == 0.5


def test_a_start_outside_is_moved_inside():
    x = np.array([-5.0, 5.0])
    with pytest.warns(UserWarning, match="started outside its bounds"):
        numbopt.LBFGS([x], bounds=(0, 1), line_search_fn="strong_wolfe")
    assert list(x) == [0, 1]


def test_an_error_of_the_closure_leaves_the_point_where_the_search_was():
    run = Run()
    run.steps(2)
    before = run.x.copy()
    calls = []

    def failing():
        calls.append(1)
        if len(calls) == 2:
            raise ArithmeticError
        return run.closure()

    with pytest.raises(ArithmeticError):
        run.optimizer.step(failing)
    assert np.array_equal(run.x, before)
    run.steps(40)
    assert run.closure()[0] == pytest.approx(7.98081014, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (dict(line_search_fn=None), "bounds need line_search_fn='strong_wolfe'"),
        (dict(bounds=(1, 0)), "lower <= upper"),
        (dict(bounds=(np.zeros(4), None)), r"bounds of shape \(4,\) do not fit a parameter of shape \(3,\)$"),
    ],
)
def test_what_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        numbopt.LBFGS([np.zeros(3)], **{"bounds": (0, 1), "line_search_fn": "strong_wolfe", **arguments})


def test_complex_parameters_are_refused():
    with pytest.raises(ValueError, match="complex, have no meaning"):
        numbopt.LBFGS([np.zeros(3, complex)], bounds=(0, 1), line_search_fn="strong_wolfe")


def test_groups_without_bounds_look_as_before():
    assert "bounds" not in numbopt.LBFGS([np.zeros(3)]).param_groups[0]
