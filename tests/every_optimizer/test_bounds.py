"""Bounds and projections of every algorithm."""

import copy

import numpy as np
import pytest
from cases.optimizers import CASES
from numpy.testing import assert_allclose, assert_array_equal

import numbopt

LOWER, UPPER = -0.01, 0.02
DTYPES = ("float32", "float64")


def steps(opt, arrays, count=4):
    for step in range(count):
        rng = np.random.default_rng(step)
        opt.step(grads=[rng.standard_normal(x.shape).astype(x.dtype) for x in arrays])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_step_ends_within_the_bounds(case, dtype):
    free, bounded, elementwise = ([np.zeros((3, 7), dtype), np.zeros(5, dtype)] for _ in range(3))
    cls = getattr(numbopt, case.cls)
    one = cls(bounded, **case.options, bounds=(LOWER, UPPER))
    many = cls(
        [{"params": [x], "bounds": (np.full(x.shape, LOWER), np.full(x.shape, UPPER))} for x in elementwise],
        **case.options,
    )
    plain = cls(free, **case.options)
    steps(plain, free, 1)
    steps(one, bounded, 1)
    for x, y in zip(free, bounded, strict=True):
        assert_array_equal(y, np.clip(x, x.dtype.type(LOWER), x.dtype.type(UPPER)))
    steps(one, bounded)
    steps(many, elementwise, 1)
    steps(many, elementwise)
    for x, y in zip(bounded, elementwise, strict=True):
        assert_array_equal(x, y)


def test_bounds_of_groups_and_of_one_side():
    x, y, z = np.zeros(3), np.zeros(3), np.zeros(3)
    opt = numbopt.SGD(
        [{"params": [x]}, {"params": [y], "bounds": (None, 0.5)}, {"params": [z], "bounds": None}],
        lr=1.0,
        bounds=(-0.25, 0.25),
    )
    opt.step(grads=[np.array([1.0, -1.0, 0.0])] * 3)
    assert_array_equal(x, [-0.25, 0.25, 0])
    assert_array_equal(y, [-1, 0.5, 0])
    assert_array_equal(z, [-1, 1, 0])


def test_array_bounds_follow_the_memory_order_and_broadcast():
    x = np.zeros((3, 4), order="F")
    lower = -np.arange(4.0)
    opt = numbopt.SGD([x], lr=100.0, bounds=(lower, np.inf))
    opt.step(grads=[np.ones((3, 4))])
    assert_array_equal(x, np.broadcast_to(lower, (3, 4)))


def test_bounds_may_be_edited():
    x = np.zeros(2)
    opt = numbopt.SGD([x], lr=1.0, momentum=0.5)
    opt.step(grads=[np.ones(2)])
    opt.param_groups[0]["bounds"] = (-1.5, 0)
    opt.step(grads=[np.ones(2)])
    assert_array_equal(x, -1.5)
    opt.param_groups[0]["bounds"] = (np.array([-2.0, -9.0]), np.array([0.0, 0.0]))
    opt.step(grads=[np.ones(2)])
    assert_array_equal(x, [-2, -1.5 - 1.75])


def test_nan_stays():
    x = np.zeros(40, np.float32)
    gradient = np.ones(40, np.float32)
    gradient[[3, 37]] = np.nan
    numbopt.SGD([x], lr=1.0, bounds=(-0.5, 0.5)).step(grads=[gradient])
    assert np.isnan(x[[3, 37]]).all()
    assert (np.delete(x, [3, 37]) == -0.5).all()


def test_starting_points_outside_are_moved_with_a_warning():
    x, y = np.array([-2.0, 0.0, 2.0]), np.zeros(2)
    with pytest.warns(UserWarning, match="'x' started outside its bounds"):
        numbopt.SGD([("x", x), ("y", y)], bounds=(-1, 1))
    assert_array_equal(x, [-1, 0, 1])


@pytest.mark.parametrize(
    ("bounds", "error", "text"),
    [
        ((1, 0), ValueError, "lower <= upper"),
        ((np.zeros(3), [0, -1, 0]), ValueError, "lower <= upper"),
        ((np.nan, 1), ValueError, "NaN"),
        ((0, np.array([1, np.nan, 1])), ValueError, "NaN"),
        ((0,), TypeError, "must be a pair"),
        (5, TypeError, "must be a pair"),
        (("a", 1), TypeError, "real numbers"),
        ((0, 1j), TypeError, "real numbers"),
        ((np.zeros(2), 1), ValueError, "do not fit"),
        ((np.zeros((2, 3)), 1), ValueError, "do not fit"),
    ],
)
def test_bad_bounds_are_refused(bounds, error, text):
    x = np.full(3, 7.0)
    with pytest.raises(error, match=text):
        numbopt.Adam([x], bounds=bounds)
    opt = numbopt.Adam([x])
    opt.param_groups[0]["bounds"] = bounds
    with pytest.raises(error, match=text):
        opt.step(grads=[np.ones(3)])
    assert_array_equal(x, 7)
    assert len(opt.state) == 0


def test_complex_parameters_have_no_bounds():
    with pytest.raises(ValueError, match="complex, have no meaning"):
        numbopt.Adam([np.zeros(3, complex)], bounds=(0, 1))


def test_project_is_called_for_parameters_that_were_updated():
    x, y = np.array([3.0, 4.0]), np.array([3.0, 4.0])
    seen = []

    def onto_the_circle(data):
        seen.append(data)
        return data / np.linalg.norm(data)

    opt = numbopt.SGD([x, y], lr=1.0, project=onto_the_circle)
    opt.step(grads=[np.zeros(2), None])
    assert seen[0] is x
    assert len(seen) == 1
    assert_array_equal(x, [0.6, 0.8])
    assert_array_equal(y, [3, 4])


def test_project_may_work_in_place():
    z = np.array([3 + 4j, 0.5])

    def into_the_disc(data):
        data /= np.maximum(1, np.abs(data))

    opt = numbopt.Adam([{"params": [z], "project": into_the_disc}], lr=0.0)
    opt.step(grads=[np.zeros(2, complex)])
    assert_allclose(z, [0.6 + 0.8j, 0.5])
    with pytest.raises(TypeError, match="project must be None or a function"):
        numbopt.Adam([z], project=3)


def test_bounds_survive_copies_and_stay_out_of_the_way_of_state_dicts():
    x = np.zeros(3)
    opt = numbopt.Adam([x], lr=1.0, bounds=(np.full(3, -0.5), 0.5))
    opt.step(grads=[np.ones(3)])
    twin = copy.deepcopy(opt)
    twin.step(grads=[np.ones(3)])
    assert_array_equal(twin.param_groups[0]["params"][0].data, -0.5)
    other = numbopt.Adam([np.zeros(3)], bounds=(-0.1, 0.1))
    other.load_state_dict(opt.state_dict())
    other.step(grads=[np.ones(3)])
    assert_array_equal(other.param_groups[0]["params"][0].data, -0.1)
