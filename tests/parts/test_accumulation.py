"""Gradient accumulation: what the optimizer gets, when, and what happens to it on the way."""

import copy
import pickle

import numpy as np
import pytest
from cases.optimizers import DTYPES
from numpy.testing import assert_allclose, assert_array_equal
from support.bits import assert_same_bits

import numbopt
from numbopt import checkpoint
from numbopt.wrappers.accumulate import Accumulate
from numbopt.wrappers.lookahead import Lookahead

TOLERANCE = {"f": 1e-6, "F": 1e-6, "d": 1e-14, "D": 1e-14}


def values(dtype="float32", seed=0):
    """Arrays of several shapes and memory orders."""
    rng = np.random.default_rng(seed)

    def some(*shape):
        real = rng.standard_normal(shape)
        return np.array(real + 1j * rng.standard_normal(shape) if dtype[0] == "c" else real, dtype)

    return [some(), some(5), np.asfortranarray(some(3, 7)), some(2, 3, 4).transpose(1, 2, 0).copy(order="K"), some(0)]


class Recorded(numbopt.SGD):
    """SGD that keeps the gradients it was given."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def _step(self, closure, grads):
        result = super()._step(closure, grads)
        self.seen.append([None if grad is None else grad.copy() for grad in grads])
        return result


# ---- what the optimizer gets


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_optimizer_gets_the_mean_or_the_sum(steps, reduction, dtype):
    arrays = values(dtype)
    opt = Accumulate(Recorded(arrays, lr=0.1), steps, reduction)
    for window in range(3):
        before = [array.copy() for array in arrays]
        total = [0 * array for array in arrays]
        for call in range(steps):
            assert_same_bits(arrays, before)
            assert opt.count == call
            gradients = values(dtype, 10 * window + call)
            total = [t + g for t, g in zip(total, gradients, strict=True)]
            opt.step(grads=gradients)
        assert opt.count == 0
        assert opt.step_count == len(opt.seen) == window + 1
        divisor = steps if reduction == "mean" else 1
        for gradient, expected, array, old in zip(opt.seen[-1], total, arrays, before, strict=True):
            tolerance = TOLERANCE[gradient.dtype.char]
            assert gradient.dtype == dtype
            assert_allclose(gradient, expected / divisor, rtol=tolerance, atol=tolerance)
            assert_allclose(array, old - 0.1 * expected / divisor, rtol=tolerance, atol=10 * tolerance)


def test_equals_one_step_with_the_whole_batch():
    rng = np.random.default_rng(0)
    data, target = rng.standard_normal((8, 3)), rng.standard_normal(8)
    x, y = np.zeros(3), np.zeros(3)
    whole, parts = numbopt.Adam([x], lr=0.1), Accumulate(numbopt.Adam([y], lr=0.1), steps=4)

    def gradient(w, rows):
        return data[rows].T @ (data[rows] @ w - target[rows]) / len(data[rows])

    for _ in range(5):
        whole.step(grads=[gradient(x, slice(None))])
        for start in range(0, 8, 2):
            parts.step(grads=[gradient(y, slice(start, start + 2))])
    assert_allclose(x, y, rtol=1e-12)


def test_steps_of_one_is_the_optimizer_itself():
    arrays, others = values(), values()
    plain, wrapped = numbopt.Adam(arrays, lr=0.1), Accumulate(numbopt.Adam(others, lr=0.1), 1)
    for seed in range(5):
        plain.step(grads=values(seed=seed))
        wrapped.step(grads=values(seed=seed))
    assert_same_bits(arrays, others)


# ---- where gradients come from


def test_gradients_in_the_parameters_are_added_as_they_are_and_stay():
    w = numbopt.Parameter([0.0, 0.0])
    opt = Accumulate(numbopt.SGD([w], lr=1.0), 2, "sum")
    opt.zero_grad()
    w.grad += [1, 2]
    opt.step()
    assert_array_equal(w.grad, [1, 2])
    opt.zero_grad()
    assert_array_equal(w.grad, 0)
    w.grad += [10, 20]
    opt.step()
    assert_array_equal(w.data, [-11, -22])
    assert_array_equal(w.grad, [10, 20])
    opt.step()  # what is in the parameters counts again, as for any optimizer
    opt.step()
    assert_array_equal(w.data, [-31, -62])


def test_closures_are_called_once_and_tell_their_loss():
    w = numbopt.Parameter([0.0], name="w")
    opt = Accumulate(numbopt.SGD([w], lr=1.0), 3, "sum")
    calls = []

    def filling():
        calls.append("filling")
        opt.zero_grad()
        w.grad += 1
        return 1.5

    assert opt.step(filling) == 1.5
    assert opt.step(lambda: (2.5, [np.array([10.0])])) == 2.5
    assert opt.step(grads={"w": np.array([100.0])}) is None
    assert calls == ["filling"]
    assert w.data == -111


def test_gradients_of_another_dtype_order_or_stride():
    x = np.zeros((2, 3), np.float32)
    opt = Accumulate(numbopt.SGD([x], lr=1.0), 3, "sum")
    opt.step(grads=np.ones((2, 3)))
    opt.step(grads=np.full((2, 3), 10, np.float32, order="F"))
    opt.step(grads=np.full((4, 3), 100, np.float32)[::2])
    assert_array_equal(x, -111)


def test_none_adds_nothing_and_none_throughout_skips():
    x, y, z = np.zeros(1), np.zeros(1), np.zeros(1)
    opt = Accumulate(Recorded([x, y, z], lr=1.0, momentum=0.9), 2)
    one = np.ones(1)
    opt.step(grads=[one, None, None])
    opt.step(grads=[None, one, None])
    assert opt.seen[0][2] is None
    assert (x, y, z) == (-0.5, -0.5, 0)
    assert len(opt.state) == 2
    opt.step(grads=[None, None, None])
    opt.step(grads=[None, None, one])
    assert opt.seen[1][:2] == [None, None]
    assert (x, y, z) == (-0.5, -0.5, -0.5)


def test_nothing_is_left_of_nan_after_the_update():
    x = np.zeros(2)
    opt = Accumulate(Recorded([x], lr=1.0), 2)
    opt.step(grads=[np.array([np.nan, np.inf])])
    opt.step(grads=[np.zeros(2)])
    assert not np.isfinite(opt.seen[0][0]).any()
    opt.step(grads=[np.ones(2)])
    opt.step(grads=[np.ones(2)])
    assert_array_equal(opt.seen[1][0], 1)


def test_threads_do_not_change_a_bit():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((4, 1_500_001), dtype=np.float32)
    threads = numbopt.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            numbopt.set_num_threads(count)
            x = np.zeros(gradients.shape[1], np.float32)
            opt = Accumulate(numbopt.Adam([x], lr=0.1), 2)
            for gradient in gradients:
                opt.step(grads=[gradient])
            results.append(x)
    finally:
        numbopt.set_num_threads(threads)
    assert_same_bits(results[:1] * 2, results[1:])


# ---- partial windows, changes in between


@pytest.mark.parametrize(("reduction", "expected"), [("mean", [2, 3]), ("sum", [4, 6])])
def test_flush(reduction, expected):
    x = np.zeros(2)
    opt = Accumulate(Recorded([x], lr=1.0), 4, reduction)
    assert not opt.flush()
    opt.step(grads=[np.array([1.0, 2.0])])
    opt.step(grads=[np.array([3.0, 4.0])])
    assert opt.flush()
    assert opt.count == 0
    assert_allclose(opt.seen[0][0], expected, rtol=1e-15)
    assert not opt.flush()
    assert opt.step_count == 1


def test_steps_and_reduction_may_be_changed_at_any_time():
    x = np.zeros(1)
    opt = Accumulate(Recorded([x], lr=1.0), 4)
    three = np.array([3.0])
    opt.step(grads=[three])
    opt.step(grads=[three])
    opt.steps = 3
    opt.step(grads=[three])
    opt.step(grads=[three])
    opt.reduction = "sum"
    opt.step(grads=[three])
    opt.step(grads=[three])
    assert_allclose(np.array(opt.seen).ravel(), [3, 9], rtol=1e-15)


def test_parameters_that_are_added_in_between():
    x, y = np.zeros(1), np.zeros(3, np.float32)
    opt = Accumulate(numbopt.SGD([x], lr=1.0), 2, "sum")
    opt.step(grads=[np.ones(1)])
    opt.add_param_group({"params": [y], "lr": 10.0})
    opt.step(grads=[np.ones(1), np.ones(3)])
    assert x == -2
    assert_array_equal(y, -10)


# ---- refusals


@pytest.mark.parametrize(
    ("gradients", "error", "text"),
    [
        ([np.zeros(2), np.zeros(4)], ValueError, "gradient of parameter 'b' has shape"),
        ([np.zeros(2), np.zeros(3, complex)], TypeError, "gradient of parameter 'b' is complex128"),
        ([np.zeros(2)], ValueError, "1 entries for 2"),
        ({"c": np.zeros(2)}, ValueError, "c"),
        (np.zeros(2), TypeError, "grads must be a list"),
    ],
)
def test_bad_gradients_are_refused_and_change_nothing(gradients, error, text):
    a, b = np.zeros(2), np.zeros(3)
    opt = Accumulate(numbopt.SGD([("a", a), ("b", b)], lr=1.0), 2, "sum")
    opt.step(grads=[np.ones(2), np.ones(3)])
    with pytest.raises(error, match=text):
        opt.step(grads=gradients)
    assert opt.count == 1
    opt.step(grads=[np.ones(2), np.ones(3)])
    assert_array_equal(a, -2)
    assert_array_equal(b, -2)


def test_an_update_that_is_refused_drops_the_sums():
    x = np.zeros(1)
    opt = Accumulate(numbopt.SGD([x], lr=1.0, nonfinite="raise"), 2)
    opt.step(grads=[np.array([np.inf])])
    with pytest.raises(ValueError, match="NaN or infinity"):
        opt.step(grads=[np.ones(1)])
    assert (opt.count, x, opt.step_count) == (0, 0, 0)
    opt.step(grads=[np.ones(1)])
    opt.step(grads=[np.ones(1)])
    assert x == -1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"steps": -1}, ValueError, "steps must be at least 1"),
        ({"steps": 2.0}, TypeError, "steps must be an integer"),
        ({"steps": True}, TypeError, "steps must be an integer"),
        ({"reduction": "max"}, ValueError, "reduction must be 'mean' or 'sum'"),
        ({"reduction": None}, ValueError, "reduction must be 'mean' or 'sum'"),
        ({"optimizer": [np.zeros(2)]}, TypeError, "optimizer must be one of numbopt"),
        ({"optimizer": numbopt.SGD}, TypeError, "optimizer must be one of numbopt"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        Accumulate(**{"optimizer": numbopt.SGD([np.zeros(2)], lr=0.1), "steps": 2, **arguments})


# ---- the optimizer inside


def test_everything_else_is_the_optimizers():
    arrays = values()
    inner = numbopt.Adam(arrays, lr=0.1)
    opt = Accumulate(inner, 2)
    called = []
    opt.register_step_post_hook(lambda *args: called.append(args[0]))
    for seed in range(4):
        opt.step(grads=values(seed=seed))
    assert called == [inner, inner]
    assert inner.step_count == opt.step_count == 2
    assert opt.param_groups is inner.param_groups
    assert opt.state[arrays[1]]["step"] == 2
    opt.nonfinite = "skip"
    assert inner.nonfinite == "skip"


def test_hooks_of_all_optimizers_see_updates_only():
    opt = Accumulate(numbopt.SGD([np.zeros(2)], lr=1.0), 2)
    called = []
    with numbopt.register_optimizer_step_pre_hook(lambda *args: called.append(args[0])):
        for _ in range(4):
            opt.step(grads=[np.ones(2)])
    assert called == [opt.optimizer] * 2


def test_around_lookahead():
    x = np.zeros(1)
    opt = Accumulate(Lookahead(numbopt.SGD([x], lr=1.0), k=2), steps=3)
    assert opt.k == 2
    for _ in range(6):
        opt.step(grads=[np.ones(1)])
    assert_allclose(x, -1, rtol=1e-15)
    assert opt.counter == 2
    state = opt.state_dict()
    assert {"state", "param_groups", "lookahead", "accumulate"} == set(state)
    opt.load_state_dict(state)


# ---- state


@pytest.mark.parametrize("how", ["state_dict", "deepcopy", "pickle", "checkpoint"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_resumes_bitwise_within_a_window(dtype, how, tmp_path):
    def made(seed):
        arrays = values(dtype, seed)
        return arrays, Accumulate(numbopt.Adam(arrays, lr=0.1), 3)

    def train(opt, calls):
        for call in calls:
            gradients = values(dtype, 100 + call)
            gradients[1] = None if call in (3, 4) else gradients[1]
            opt.step(grads=gradients)

    arrays, opt = made(0)
    train(opt, range(5))
    assert opt.count == 2
    if how in ("state_dict", "checkpoint"):
        others, other = made(1)
        train(other, range(4))
        for target, array in zip(others, arrays, strict=True):
            target[...] = array
        if how == "state_dict":
            other.load_state_dict(opt.state_dict())
        else:
            checkpoint.save(tmp_path / "run.npz", optimizer=opt)
            checkpoint.load(tmp_path / "run.npz", optimizer=other)
    else:
        other = copy.deepcopy(opt) if how == "deepcopy" else pickle.loads(pickle.dumps(opt))
    train(opt, range(5, 10))
    train(other, range(5, 10))
    assert other.count == opt.count == 1
    assert_same_bits([p.data for p in other._parameters], arrays)


def test_state_dict_is_a_copy_and_goes_by_name():
    x, y = np.zeros(1), np.zeros(2)
    opt = Accumulate(numbopt.SGD({"x": x, "y": y}, lr=1.0), 2, "sum")
    opt.step(grads=[np.array([1.0]), None])
    state = opt.state_dict()
    assert list(state["accumulate"]["sums"]) == ["x", "y"]
    assert state["accumulate"]["sums"]["y"] is None
    other = Accumulate(numbopt.SGD({"y": np.zeros(2), "x": np.zeros(1)}, lr=1.0), 2, "sum")
    other.load_state_dict(state)
    state["accumulate"]["sums"]["x"][:] = 100
    opt.step(grads=[np.array([1.0]), None])
    assert x == -2
    other.step(grads=[None, np.array([2.0])])
    assert [p.data.tolist() for p in other._parameters] == [[0, 0], [-3]]


def test_sums_keep_their_weight_where_the_other_side_has_other_steps():
    x, y = np.zeros(1), np.zeros(1)
    opt, other = Accumulate(numbopt.SGD([x], lr=1.0), 4), Accumulate(numbopt.SGD([y], lr=1.0), 3)
    opt.step(grads=[np.ones(1)])
    other.load_state_dict(opt.state_dict())
    other.step(grads=[np.ones(1)])
    other.step(grads=[np.full(1, 4.0)])
    assert_allclose(y, -2, rtol=1e-15)


@pytest.mark.parametrize(
    ("own", "error", "text"),
    [
        (None, ValueError, "lacks 'accumulate'"),
        ({}, ValueError, "lacks 'sums'"),
        ({"sums": [None], "count": 1, "weight": 1.0}, ValueError, "1 parameters, asked for are 2"),
        ({"sums": [None, np.zeros(4)], "count": 1, "weight": 1.0}, ValueError, "shape"),
        ({"sums": [None, None], "count": 0.5, "weight": 1.0}, TypeError, "float"),
    ],
)
def test_bad_state_is_refused_and_changes_nothing(own, error, text):
    x, y = np.zeros(2), np.zeros(3)
    opt = Accumulate(numbopt.SGD([x, y], lr=1.0), 2, "sum")
    opt.step(grads=[np.ones(2), np.ones(3)])
    state = opt.optimizer.state_dict()
    state["param_groups"][0]["lr"] = 100.0
    with pytest.raises(error, match=text):
        opt.load_state_dict(state if own is None else {**state, "accumulate": own})
    assert opt.count == 1
    opt.step(grads=[np.ones(2), np.ones(3)])
    assert_array_equal(x, -2)
