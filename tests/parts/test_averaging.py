"""Averages of parameters and Lookahead: their formulas, their state, and that they leave alone what is not theirs."""

import copy
import pickle

import numpy as np
import pytest
from cases.optimizers import DTYPES
from numpy.testing import assert_allclose, assert_array_equal
from support.bits import assert_same_bits

import numbopt
from numbopt import checkpoint
from numbopt.wrappers.averages import AveragedParameters, get_ema_avg_fn, get_swa_avg_fn
from numbopt.wrappers.lookahead import Lookahead

TOLERANCE = {"f": 1e-6, "F": 1e-6, "d": 1e-14, "D": 1e-14}


def values(dtype, seed=0):
    """Arrays of several shapes and memory orders."""
    rng = np.random.default_rng(seed)

    def some(*shape):
        real = rng.standard_normal(shape)
        return np.array(real + 1j * rng.standard_normal(shape) if dtype[0] == "c" else real, dtype)

    arrays = [some(), some(5), np.asfortranarray(some(3, 7)), some(2, 3, 4).transpose(1, 2, 0).copy(order="K"), some(0)]
    return [*arrays, some(3, 1)[:, :1]]


def move(arrays, seed):
    for array, new in zip(arrays, values(arrays[0].dtype.name, seed), strict=True):
        array[...] = new


def data(averages):
    return [parameter.data for parameter in averages.parameters]


def copies(arrays):
    return [array.copy(order="K") for array in arrays]


# ---- formulas


def mixed(averaged, parameter, n_averaged):
    return 0.75 * averaged + 0.25 * parameter


FORMULAS = {
    "default": (None, lambda a, p, n: a + (p - a) / (n + 1)),
    "swa": (get_swa_avg_fn(), lambda a, p, n: a + (p - a) / (n + 1)),
    "ema": (get_ema_avg_fn(0.9), lambda a, p, n: 0.9 * a + (1 - 0.9) * p),
    "ema default": (get_ema_avg_fn(), lambda a, p, n: 0.999 * a + (1 - 0.999) * p),
    "own": (mixed, mixed),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name, dtype):
    avg_fn, formula = FORMULAS[name]
    arrays = values(dtype)
    averages = AveragedParameters(arrays, avg_fn)
    assert averages.n_averaged == 0
    expected = None
    for n in range(6):
        move(arrays, n)
        averages.update_parameters()
        expected = copies(arrays) if n == 0 else [formula(a, p, n) for a, p in zip(expected, arrays, strict=True)]
        assert averages.n_averaged == n + 1
        for average, array in zip(data(averages), expected, strict=True):
            assert average.dtype == dtype
            assert_allclose(average, array, rtol=TOLERANCE[average.dtype.char], atol=TOLERANCE[average.dtype.char])


@pytest.mark.parametrize("dtype", DTYPES)
def test_swa_is_the_mean(dtype):
    arrays = values(dtype)
    averages = AveragedParameters(arrays)
    seen = []
    for n in range(7):
        move(arrays, n)
        seen.append(copies(arrays))
        averages.update_parameters()
    for average, history in zip(data(averages), zip(*seen, strict=True), strict=True):
        assert_allclose(average, np.mean(history, axis=0), rtol=0, atol=2 * TOLERANCE[average.dtype.char])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_equals_torch(kind, dtype):
    torch = pytest.importorskip("torch")
    swa_utils = torch.optim.swa_utils
    make = {"ema": "get_ema_avg_fn", "swa": "get_swa_avg_fn"}[kind]
    arguments = [0.9] if kind == "ema" else []
    arrays = values(dtype)
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.from_numpy(np.array(array))) for array in arrays])
    theirs = swa_utils.AveragedModel(model, avg_fn=getattr(swa_utils, make)(*arguments))
    ours = AveragedParameters(arrays, globals()[make](*arguments))
    for seed in range(6):
        move(arrays, seed)
        with torch.no_grad():
            for parameter, array in zip(model, arrays, strict=True):
                parameter.copy_(torch.from_numpy(np.array(array)))
        ours.update_parameters()
        theirs.update_parameters(model)
        assert ours.n_averaged == theirs.n_averaged.item()
        for average, tensor in zip(data(ours), theirs.module, strict=True):
            tolerance = TOLERANCE[average.dtype.char]
            assert_allclose(average, tensor.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("avg_fn", [get_ema_avg_fn(0.9), get_swa_avg_fn()])
def test_what_is_compiled_can_be_called_with_arrays_and_numbers(avg_fn):
    x, y = np.float32([1, 2]), np.float32([3, 5])
    averages = AveragedParameters([x], avg_fn)
    averages.update_parameters()
    expected = avg_fn(x.copy(), y, 1)
    x[:] = y
    averages.update_parameters()
    assert expected.dtype == np.float32
    assert_allclose(data(averages)[0], expected, rtol=2e-7)
    assert isinstance(avg_fn(1.0, 3.0, 1), float)


def test_first_update_is_an_exact_copy():
    x = np.float32([0.0, -0.0, 1e-42, np.inf, np.nan])  # 1e-42 is denormal
    averages = AveragedParameters([x])
    averages.update_parameters()
    assert_same_bits(data(averages), [x])


@pytest.mark.parametrize("decay", [0, 1])
def test_limits_of_ema(decay):
    x = np.array([1.0, 2.0])
    averages = AveragedParameters([x], get_ema_avg_fn(decay))
    averages.update_parameters()
    x[:] = [5.0, 7.0]
    averages.update_parameters()
    assert_array_equal(data(averages)[0], [1.0, 2.0] if decay else [5.0, 7.0])


def test_nan_stays_visible():
    x = np.zeros(40, np.float32)
    averages = AveragedParameters([x], get_ema_avg_fn(0.5))
    averages.update_parameters()
    x[[3, 37]] = np.nan
    averages.update_parameters()
    assert_array_equal(np.flatnonzero(np.isnan(data(averages)[0])), [3, 37])


def test_threads_do_not_change_a_bit():
    rng = np.random.default_rng(0)
    start, moved = rng.standard_normal((2, 1_500_001), dtype=np.float32)
    threads = numbopt.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            numbopt.set_num_threads(count)
            x = start.copy()
            averages = [AveragedParameters([x], avg_fn) for avg_fn in (get_ema_avg_fn(0.9), get_swa_avg_fn())]
            for value in (start, moved, start):
                x[:] = value
                for average in averages:
                    average.update_parameters()
            results.append([data(average)[0] for average in averages])
    finally:
        numbopt.set_num_threads(threads)
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def test_parameters_of_mixed_dtypes():
    arrays = [np.ones(3, np.float32), np.ones(3), np.ones(2, np.complex64)]
    averages = AveragedParameters(arrays, get_ema_avg_fn(0.5))
    averages.update_parameters()
    for array in arrays:
        array += 2
    averages.update_parameters()
    for average, array in zip(data(averages), arrays, strict=True):
        assert average.dtype == array.dtype
        assert_array_equal(average, 2)


# ---- around an optimizer


def trained(kind=numbopt.Adam):
    arrays = values("float32")
    return arrays, kind([(f"p{i}", array) for i, array in enumerate(arrays)], lr=0.1)


def steps(opt, arrays, seeds):
    for seed in seeds:
        opt.step(grads=values(arrays[0].dtype.name, 100 + seed))
        yield seed


def test_does_not_touch_the_optimizer_nor_call_hooks_of_all_optimizers():
    plain, opt = trained()
    averaged, other = trained()
    averages = AveragedParameters(other)
    called = []
    for _ in steps(opt, plain, range(4)):
        pass
    for _ in steps(other, averaged, range(4)):
        with numbopt.register_optimizer_step_post_hook(lambda *args: called.append(args)):
            averages.update_parameters()
    assert_same_bits(plain, averaged)
    assert not called
    assert other.step_count == 4
    assert [p.name for p in averages.parameters] == [f"p{i}" for i in range(len(plain))]


def test_parameters_that_are_added_later_are_averaged_from_then_on():
    x, y = np.array([1.0]), np.array([10.0])
    opt = numbopt.SGD([x], lr=0.1)
    averages = AveragedParameters(opt, get_ema_avg_fn(0.5))
    averages.update_parameters()
    opt.add_param_group({"params": [y]})
    x += 2
    with averages.swapped():
        assert_array_equal(y, 10)
    averages.update_parameters()
    assert [p.item() for p in data(averages)] == [2, 10]
    y += 10
    averages.update_parameters()
    assert [p.item() for p in data(averages)] == [2.5, 15]


# ---- swapping and copying


@pytest.mark.parametrize("dtype", DTYPES)
def test_swapped_and_back(dtype):
    arrays = values(dtype)
    arrays[1][:2] = np.nan, 1e-310 if dtype in ("float64", "complex128") else 1e-42
    averages = AveragedParameters(arrays)
    averages.update_parameters()
    averages_before = copies(data(averages))
    move(arrays, 1)
    arrays[1][:3] = -0.0, np.nan, 1e-310 if dtype in ("float64", "complex128") else 1e-42
    before = copies(arrays)
    with averages.swapped():
        assert_same_bits(arrays, averages_before)
        arrays[1][:] = 7  # whatever the block does
    assert_same_bits(arrays, before)
    assert_same_bits(data(averages), averages_before)


def test_swapped_restores_after_an_exception():
    arrays = values("float32")
    averages = AveragedParameters(arrays)
    move(arrays, 1)
    before = copies(arrays)
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), averages.swapped():
            assert_array_equal(arrays[1], data(averages)[1])
            raise error
        assert_same_bits(arrays, before)


def test_swapped_twice():
    x = np.array([1.0])
    averages = AveragedParameters([x])
    x[:] = 2
    with averages.swapped():
        with averages.swapped():
            assert x == 1
        assert x == 1
    assert x == 2


def test_copy_to():
    arrays, others = values("float32"), values("float64", 1)
    averages = AveragedParameters(arrays)
    start = copies(arrays)
    move(arrays, 2)
    averages.copy_to(others)
    for other, value in zip(others, start, strict=True):
        assert_array_equal(other, value)
    averages.copy_to(numbopt.SGD(others, lr=0.1))
    averages.copy_to()
    assert_same_bits(arrays, start)


@pytest.mark.parametrize(
    ("others", "error", "text"),
    [
        ([np.zeros(2)], ValueError, "1 parameters for 2 averages"),
        ([np.zeros(2), np.zeros(4, complex)], ValueError, "shape"),
        ([np.zeros(2), np.zeros(3)], TypeError, "complex128"),
        (np.zeros(2), TypeError, "put it in a list"),
    ],
)
def test_copy_to_refuses_and_changes_nothing(others, error, text):
    averages = AveragedParameters([np.ones(2), np.ones(3, complex)])
    with pytest.raises(error, match=text):
        averages.copy_to(others)
    for other in others:
        assert_array_equal(other, 0)


# ---- state


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_resumes_bitwise(name, dtype):
    avg_fn = FORMULAS[name][0]
    arrays = values(dtype)
    straight = AveragedParameters(arrays, avg_fn)
    for n in range(3):
        move(arrays, n)
        straight.update_parameters()
    state = straight.state_dict()
    others = values(dtype, 50)
    resumed = AveragedParameters(others, avg_fn)
    resumed.load_state_dict(state)
    for n in range(3, 6):
        move(arrays, n)
        straight.update_parameters()
        move(others, n)
        resumed.update_parameters()
    assert_same_bits(data(straight), data(resumed))
    assert resumed.n_averaged == 6


def test_state_dict_is_a_copy_and_goes_by_name():
    x, y = np.array([1.0]), np.array([2.0, 3.0])
    averages = AveragedParameters({"x": x, "y": y})
    state = averages.state_dict()
    assert list(state["averages"]) == ["x", "y"]
    state["averages"]["x"][:] = 9
    assert data(averages)[0] == 1
    other = AveragedParameters({"y": np.zeros(2), "x": np.zeros(1)})
    other.load_state_dict(averages.state_dict())
    assert_array_equal(data(other)[0], [2, 3])
    assert_array_equal(data(other)[1], [1])
    unnamed = AveragedParameters([np.zeros(1), np.zeros(2)])
    unnamed.load_state_dict(averages.state_dict())
    assert_array_equal(data(unnamed)[1], [2, 3])


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        ({}, ValueError, "not a state dict of AveragedParameters"),
        ({"n_averaged": 1, "averages": [np.ones(2)]}, ValueError, "1 parameters, asked for are 2"),
        ({"n_averaged": 1, "averages": [np.ones(2), np.ones(4)]}, ValueError, "shape"),
        ({"n_averaged": 1, "averages": [np.ones(2), None]}, ValueError, "None"),
        ({"n_averaged": 1, "averages": [np.ones(2), np.ones(3, complex)]}, TypeError, "complex"),
        ({"n_averaged": 1, "averages": {"a": np.ones(2), "c": np.ones(3)}}, ValueError, "other names"),
        ({"n_averaged": 1.5, "averages": [np.ones(2), np.ones(3)]}, TypeError, "float"),
    ],
)
def test_bad_state_is_refused_and_changes_nothing(state, error, text):
    averages = AveragedParameters({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(error, match=text):
        averages.load_state_dict(state)
    assert averages.n_averaged == 0
    for average in data(averages):
        assert_array_equal(average, 0)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
@pytest.mark.parametrize("avg_fn", [get_ema_avg_fn(0.9), get_swa_avg_fn(), mixed])
def test_copies_are_independent_and_continue(avg_fn, copied):
    arrays, opt = trained()
    averages = AveragedParameters(opt, avg_fn)
    for _ in steps(opt, arrays, range(3)):
        averages.update_parameters()
    other_opt, other = copied((opt, averages))
    for _ in steps(other_opt, arrays, range(3, 6)):
        other.update_parameters()
    untouched = copies(data(averages))
    for _ in steps(opt, arrays, range(3, 6)):
        averages.update_parameters()
    assert_same_bits(data(averages), data(other))
    assert any((a != b).any() for a, b in zip(untouched, data(averages), strict=True))


# ---- bad input


@pytest.mark.parametrize("decay", [-0.1, 1.1, np.nan, np.inf])
def test_bad_decay(decay):
    with pytest.raises(ValueError, match=r"Invalid decay value .* Please provide a value in \[0,1\] range"):
        get_ema_avg_fn(decay)


def test_bad_arguments():
    with pytest.raises(TypeError, match="decay must be a real number"):
        get_ema_avg_fn("0.9")
    with pytest.raises(TypeError, match="avg_fn must be a function"):
        AveragedParameters([np.zeros(2)], 0.999)
    with pytest.raises(TypeError, match="put it in a list"):
        AveragedParameters(np.zeros(2))
    with pytest.raises(ValueError, match="empty"):
        AveragedParameters([])


@pytest.mark.parametrize(
    ("result", "error"), [(None, TypeError), (np.zeros(4), ValueError), (np.zeros(3, complex), TypeError)]
)
def test_function_that_returns_what_does_not_fit(result, error):
    x, y = np.zeros(2), np.zeros(3)
    averages = AveragedParameters([x, y], lambda a, p, n: p if p.size == 2 else result)
    averages.update_parameters()
    x += 1
    with pytest.raises(error, match="what avg_fn returned of parameter 1"):
        averages.update_parameters()
    assert_array_equal(data(averages)[0], 0)
    assert averages.n_averaged == 1


# ---- Lookahead


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("k", "alpha"), [(1, 0.5), (3, 0.25), (5, 0.8), (2, 0), (2, 1)])
def test_lookahead_by_its_formula(k, alpha, dtype):
    arrays, plain = values(dtype), values(dtype)
    opt = Lookahead(numbopt.SGD(arrays, lr=0.1), k=k, alpha=alpha)
    slow = copies(plain)
    for step in range(1, 11):
        gradients = values(dtype, step)
        opt.step(grads=gradients)
        plain = [p - 0.1 * g for p, g in zip(plain, gradients, strict=True)]
        if step % k == 0:
            slow = [s + alpha * (p - s) for s, p in zip(slow, plain, strict=True)]
            plain = copies(slow)
        for array, expected in zip(arrays, plain, strict=True):
            tolerance = 10 * TOLERANCE[array.dtype.char]
            assert_allclose(array, expected, rtol=tolerance, atol=tolerance)
    assert opt.counter == opt.step_count == 10


def test_lookahead_is_the_optimizer_in_all_else():
    arrays = values("float32")
    inner = numbopt.Adam(arrays, lr=0.1)
    opt = Lookahead(inner, k=2)
    assert opt.param_groups is inner.param_groups
    assert opt.defaults is inner.defaults
    called = []
    opt.register_step_post_hook(lambda *args: called.append(args[0]))
    assert opt.step(lambda: (3.0, values("float32", 1))) == 3.0
    assert called == [inner]
    assert opt.state[arrays[1]]["step"] == 1
    opt.zero_grad()
    assert_array_equal(inner.param_groups[0]["params"][1].grad, 0)
    opt.max_grad_norm = 0.5
    assert inner.max_grad_norm == 0.5
    assert (opt.k, opt.alpha) == (2, 0.5)
    with pytest.raises(AttributeError):
        opt.alpha = 0.9
    with pytest.raises(AttributeError, match="nothing"):
        _ = opt.nothing
    assert "Lookahead of Adam" in repr(opt)


def test_slow_weights_begin_where_the_first_step_does():
    x, y = np.zeros(1), np.zeros(1)
    opt = Lookahead(numbopt.SGD([x], lr=1.0), k=2)
    x[:] = 8  # loaded after the optimizer was made
    opt.step(grads=[np.ones(1)])
    y[:] = 4
    opt.add_param_group({"params": [y]})
    y[:] = 6
    opt.step(grads=[np.ones(1), np.ones(1)])
    assert (x, y) == (7, 5.5)


def test_a_refused_step_is_not_counted():
    x = np.zeros(2)
    opt = Lookahead(numbopt.SGD([x], lr=1.0), k=1)
    with pytest.raises(ValueError, match="shape"):
        opt.step(grads=[np.zeros(3)])
    assert opt.counter == 0


@pytest.mark.parametrize("how", ["state_dict", "deepcopy", "pickle", "checkpoint"])
def test_lookahead_resumes_bitwise(how, tmp_path):
    arrays, inner = trained()
    opt = Lookahead(inner, k=3)
    for _ in steps(opt, arrays, range(7)):
        pass
    if how in ("state_dict", "checkpoint"):
        others, inner = trained()
        other = Lookahead(inner, k=3)
        for _ in steps(other, others, range(2)):
            pass
        for target, array in zip(others, arrays, strict=True):
            target[...] = array
        if how == "state_dict":
            other.load_state_dict(opt.state_dict())
        else:
            checkpoint.save(tmp_path / "run.npz", optimizer=opt)
            checkpoint.load(tmp_path / "run.npz", optimizer=other)
    else:
        other = copy.deepcopy(opt) if how == "deepcopy" else pickle.loads(pickle.dumps(opt))
    for _ in steps(opt, arrays, range(7, 14)):
        pass
    for _ in steps(other, arrays, range(7, 14)):
        pass
    assert other.counter == 14
    assert_same_bits([p.data for p in other._parameters], arrays)
    assert_same_bits(data(other.slow), data(opt.slow))


def test_state_dict_of_the_optimizer_alone_is_refused():
    _, inner = trained()
    opt = Lookahead(inner)
    with pytest.raises(ValueError, match="lacks 'lookahead'"):
        opt.load_state_dict(inner.state_dict())
    with pytest.raises(ValueError, match="'lookahead' in the state dict lacks 'slow'"):
        opt.load_state_dict({**inner.state_dict(), "lookahead": {"counter": 1}})
    inner.load_state_dict(opt.state_dict())  # what the wrapper adds does not disturb


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"k": 0}, ValueError, "k must be at least 1"),
        ({"k": 2.0}, TypeError, "k must be an integer"),
        ({"k": True}, TypeError, "k must be an integer"),
        ({"alpha": 1.5}, ValueError, "alpha must be between 0 and 1"),
        ({"alpha": np.nan}, ValueError, "alpha must be between 0 and 1"),
        ({"alpha": "a"}, TypeError, "alpha must be a real number"),
        ({"optimizer": [np.zeros(2)]}, TypeError, "optimizer must be one of numbopt"),
    ],
)
def test_lookahead_refuses(arguments, error, text):
    with pytest.raises(error, match=text):
        Lookahead(**{"optimizer": numbopt.SGD([np.zeros(2)], lr=0.1), **arguments})
