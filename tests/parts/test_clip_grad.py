"""Clipping: the functions, and the option that does it within the step."""

import math

import numpy as np
import pytest
from cases.optimizers import CASES
from numpy.testing import assert_allclose, assert_array_equal

import numbopt

SHAPES = [(3, 4), (5,), (), (0,), (20_000,)]


def gradients(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    result = []
    for shape in SHAPES:
        values = rng.standard_normal((2, *shape))
        gradient = (values[0] + 1j * values[1] if np.dtype(dtype).kind == "c" else values[0]).astype(dtype)
        result.append(np.asarray(gradient))
    return result


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3, math.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_norm_is_that_of_all_elements_together(norm_type, dtype):
    arrays = gradients(dtype)
    everything = np.concatenate([array.ravel() for array in arrays]).astype(complex)
    assert_allclose(numbopt.get_total_norm(arrays, norm_type), np.linalg.norm(everything, norm_type), rtol=2e-6)


def test_norm_does_not_depend_on_threads_and_mixes_dtypes():
    arrays = [*gradients("float32"), *gradients("float64", 1), np.random.default_rng(2).standard_normal(3_000_000)]
    before = numbopt.get_num_threads()
    norms = []
    for threads in (1, 2, 5):
        numbopt.set_num_threads(threads)
        norms.append(numbopt.get_total_norm(arrays))
    numbopt.set_num_threads(before)
    assert norms[0] == norms[1] == norms[2]


@pytest.mark.parametrize("max_norm", [0.0, 1.0, 1e9])
def test_clip_grad_norm_scales_in_place(max_norm):
    arrays = gradients()
    expected = [array.copy() for array in arrays]
    norm = np.linalg.norm(np.concatenate([array.ravel() for array in arrays]))
    assert_allclose(numbopt.clip_grad_norm_(arrays, max_norm), norm)
    for array, original in zip(arrays, expected, strict=True):
        assert_allclose(array, original * min(1, max_norm / (norm + 1e-6)))


def test_clip_takes_parameters_and_leaves_those_without_gradient():
    parameters = [numbopt.Parameter(array) for array in gradients()]
    parameters[0].grad = np.full((3, 4), 10.0)
    assert_allclose(numbopt.clip_grad_norm_(parameters, 1.0), 10 * math.sqrt(12))
    assert_allclose(np.linalg.norm(parameters[0].grad), 1.0, rtol=1e-6)
    assert parameters[1].grad is None


def test_clip_grad_value():
    real, imaginary = np.array([-3.0, 0.5, np.nan]), np.array([-3 + 0.1j, 0.2 + 7j])
    numbopt.clip_grad_value_([real, imaginary], 1.0)
    assert_array_equal(real, [-1, 0.5, np.nan])
    assert_array_equal(imaginary, [-1 + 0.1j, 0.2 + 1j])


def test_nonfinite_norm():
    bad = np.array([1.0, np.inf])
    with pytest.raises(RuntimeError, match=r"total norm of order 2\.0 .* is non-finite"):
        numbopt.clip_grad_norm_([bad], 1.0, error_if_nonfinite=True)
    assert_array_equal(bad, [1, np.inf])
    with np.errstate(invalid="ignore"):
        assert numbopt.clip_grad_norm_([bad], 1.0) == math.inf
    assert_array_equal(bad, [0, np.nan])


def test_no_gradients():
    with pytest.warns(UserWarning, match="no gradient clipping will occur"):
        assert numbopt.get_total_norm([]) == 0


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda g: numbopt.clip_grad_norm_(g, -1.0), ValueError, "max_norm must be a number >= 0"),
        (lambda g: numbopt.clip_grad_norm_(g, math.nan), ValueError, "max_norm must be a number >= 0"),
        (lambda g: numbopt.clip_grad_norm_(g, "1"), TypeError, "max_norm must be a real number"),
        (lambda g: numbopt.clip_grad_value_(g, -1.0), ValueError, "clip_value must be a number >= 0"),
        (lambda g: numbopt.clip_grad_norm_(3, 1.0), TypeError, "parameters must be Parameters or gradient arrays"),
        (lambda g: numbopt.clip_grad_norm_([[1.0]], 1.0), TypeError, "parameters must be Parameters or arrays"),
        (lambda g: numbopt.clip_grad_norm_([np.arange(3)], 1.0), TypeError, "arrays of real or complex"),
        (lambda g: numbopt.get_total_norm(g, "two"), TypeError, "norm_type must be a real number"),
    ],
)
def test_bad_input(call, error, text):
    gradient = np.ones(3)
    with pytest.raises(error, match=text):
        call([gradient])
    assert_array_equal(gradient, 1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_max_grad_norm_is_clipping_before_the_step(case, max_norm):
    start = gradients(np.float32, 3)
    fused, clipped = ([array.copy() for array in start] for _ in range(2))
    one = getattr(numbopt, case.cls)(fused, **case.options, max_grad_norm=max_norm)
    other = getattr(numbopt, case.cls)(clipped, **case.options)
    for step in range(3):
        grads = gradients(np.float32, step)
        one.step(grads=grads)
        assert_array_equal(grads[0], gradients(np.float32, step)[0])  # never rewritten
        assert one.grad_norm == numbopt.clip_grad_norm_(grads, max_norm)
        other.step(grads=grads)
    for a, b in zip(fused, clipped, strict=True):
        assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_max_grad_norm_counts_gradients_in_use_only():
    a, b = numbopt.Parameter(np.zeros(2)), numbopt.Parameter(np.zeros(2, np.float32))
    opt = numbopt.SGD([a, b], lr=1.0, max_grad_norm=1.0)
    a.grad = [3.0, 4.0]
    opt.step()
    assert opt.grad_norm == 5
    b.grad = [12.0, 0.0]
    opt.step()
    assert opt.grad_norm == 13
    opt.step(grads=[None, np.array([0.0, 2.0])])
    assert opt.grad_norm == 2
    opt.max_grad_norm = None
    before = a.data.copy()
    opt.step()
    assert_array_equal(a.data, before - [3.0, 4.0])


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_max_grad_norm_is_checked(value):
    x = np.zeros(2)
    with pytest.raises(ValueError, match="max_grad_norm must be None or a number >= 0"):
        numbopt.SGD([x], max_grad_norm=value)
    opt = numbopt.SGD([x])
    opt.max_grad_norm = value
    with pytest.raises(ValueError, match="max_grad_norm"):
        opt.step(grads=[np.ones(2)])
    assert_array_equal(x, 0)


class TestNonfinite:
    def optimizer(self, policy):
        self.a, self.b = np.ones(3), np.ones((2, 2), np.float32)
        return numbopt.Adam([("first", self.a), ("second", self.b)], nonfinite=policy)

    def bad(self, value):
        grads = [np.ones(3), np.ones((2, 2), np.float32)]
        grads[1][1, 0] = value
        return grads

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_propagate_is_the_default(self, value):
        opt = self.optimizer("propagate")
        opt.step(grads=self.bad(value))
        assert np.isnan(self.b[1, 0])
        assert np.isfinite(self.a).all()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_raise_names_the_parameter_and_changes_nothing(self, value):
        opt = self.optimizer("raise")
        with pytest.raises(ValueError, match="gradient of parameter 'second' has NaN or infinity"):
            opt.step(grads=self.bad(value))
        assert_array_equal(self.a, 1)
        assert len(opt.state) == 0
        opt.step(grads=[np.ones(3), np.ones((2, 2), np.float32)])
        assert opt.state[self.a]["step"] == 1

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_skip_skips_the_whole_step_and_counts(self, value):
        opt = self.optimizer("skip")
        opt.step(grads=self.bad(value))
        assert_array_equal(self.a, 1)
        assert len(opt.state) == 0
        assert opt.skipped_steps == 1
        opt.step(grads=[np.ones(3), None])
        assert opt.state[self.a]["step"] == 1
        assert opt.skipped_steps == 1

    def test_squares_that_overflow_are_no_infinities(self):
        x = np.zeros(2)
        opt = numbopt.SGD([x], lr=1.0, nonfinite="raise")
        opt.step(grads=[np.array([1e200, 1.0])])
        assert_array_equal(x, [-1e200, -1])

    def test_works_on_parameters_with_gradients(self):
        p = numbopt.Parameter(np.ones(2), name="p")
        p.grad = [1.0, np.nan]
        with pytest.raises(ValueError, match="parameter 'p'"):
            numbopt.SGD([p], nonfinite="raise").step()

    def test_policy_is_checked(self):
        with pytest.raises(ValueError, match="nonfinite must be 'propagate', 'raise' or 'skip'"):
            numbopt.SGD([np.zeros(2)], nonfinite="ignore")
