"""Steps whose parameters come with every call: the numbers of steps in place, trees, keys, and what is refused."""

import pickle
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from cases import problem
from cases.optimizers import CASES, DTYPES

import numbopt

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


class Layer(NamedTuple):
    w: np.ndarray
    b: float


@dataclass
class Model:
    layers: list
    scale: np.ndarray


def functional(case):
    return getattr(numbopt, case.cls)(**case.options)


@each_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_are_those_of_steps_in_place(case, dtype):
    start = problem.starting_parameters(dtype)
    inplace, values = [numbopt.Parameter(array) for array in start], [array.copy() for array in start]
    optimizer, applying = getattr(numbopt, case.cls)(inplace, **case.options), functional(case)
    for step in problem.STEPS[:6]:
        gradients = problem.gradients(step, dtype, "every gradient")
        given = [value.copy() for value in values]
        optimizer.step(grads=gradients)
        new = applying.apply_gradients(gradients, values)
        assert all(np.array_equal(a, b) for a, b in zip(values, given, strict=True))  # these stay as they are
        values = new
        for parameter, value in zip(inplace, values, strict=True):
            assert type(value) is np.ndarray
            assert value.dtype == parameter.dtype
            assert np.array_equal(parameter.data, value, equal_nan=True)


@each_case
def test_a_pickle_and_a_state_dict_go_the_same_way(case):
    gradients = [np.linspace(-1, 1, 7) * k for k in (1.0, 0.5, -2.0, 0.25)]
    x, optimizer = np.ones(7), functional(case)
    for gradient in gradients[:2]:
        x = optimizer.apply_gradients(gradient, x)
    copy, loaded = pickle.loads(pickle.dumps(optimizer)), functional(case)
    loaded.init(x)
    loaded.load_state_dict(optimizer.state_dict())
    ends = []
    for each in (optimizer, copy, loaded):
        value = x
        for gradient in gradients[2:]:
            value = each.apply_gradients(gradient, value)
        ends.append(value)
    assert np.array_equal(ends[0], ends[1])
    assert np.array_equal(ends[0], ends[2])


def model(value, gradient=False):
    w = np.full((2, 3), value)
    tree = {
        "layers": [Layer(w, value), Layer(w.T.copy(), value)],
        "head": (np.full(4, value)[::2], np.float32(value)),
        "model": Model([np.full(2, value)], np.asfortranarray(w)),
    }
    return {**tree, "head": (np.full(2, value), np.float32(value))} if gradient else tree


def test_trees_keep_their_types():
    optimizer = numbopt.SGD(lr=0.5)
    new = optimizer.apply_gradients(model(2.0, gradient=True), model(3.0))
    assert [type(part) for part in (new["layers"][0], new["layers"][0].b, new["head"], new["head"][1])] == [
        Layer,
        float,
        tuple,
        np.float32,
    ]
    assert isinstance(new["model"], Model)
    assert new["model"].scale.flags.f_contiguous
    leaves = [new["layers"][0].w, new["layers"][1].b, *new["head"], new["model"].layers[0], new["model"].scale]
    assert all(np.all(np.asarray(leaf) == 2.0) for leaf in leaves)
    assert optimizer.names[:4] == ["layers[0].w", "layers[0].b", "layers[1].w", "layers[1].b"]


@pytest.mark.parametrize("start", [1.0, np.float64(1.0), np.array(1.0), np.array([1.0]), 1.0 + 2.0j])
def test_single_values_of_any_type(start):
    new = numbopt.SGD(lr=0.5).apply_gradients(start, start)
    assert type(new) is type(start)
    assert new == start / 2


def test_none_skips_a_leaf_or_a_branch():
    optimizer = numbopt.Adam(lr=0.5)
    parameters = {"a": [np.ones(2), np.ones(3)], "b": np.ones(2)}
    new = optimizer.apply_gradients({"a": None, "b": np.ones(2)}, parameters)
    assert np.all(new["a"][0] == 1)
    assert np.all(new["b"] < 1)
    new = optimizer.apply_gradients({"a": [None, np.ones(3)], "b": None}, new)
    assert np.all(new["a"][1] < 1)


def test_keys_tell_parameters_apart():
    optimizer, alone = numbopt.Adam(lr=0.5), numbopt.Adam(lr=0.5)
    w, b, expected = np.ones(3), 1.0, np.ones(3)
    for gradient in (np.arange(3.0), np.ones(3), -np.ones(3)):
        w = optimizer.apply_gradients(gradient, w, key=("linear", "W"))
        b = optimizer.apply_gradients(float(gradient[1]), b, key=("linear", "b"))
        expected = alone.apply_gradients(gradient, expected)
    assert np.array_equal(w, expected)


def test_options_and_number_of_one_step():
    optimizer, reference = numbopt.Adam(lr=0.5), numbopt.Adam([x := np.ones(3)], lr=0.5)
    gradient = np.arange(1.0, 4)
    once = optimizer.apply_gradients(gradient, np.ones(3), lr=0.25, betas=(0.5, 0.75))
    assert optimizer.param_groups[0]["lr"] == 0.5
    reference.param_groups[0].update(lr=0.25, betas=(0.5, 0.75))
    reference.step(grads=[gradient])
    assert np.array_equal(once, x)
    reference.param_groups[0].update(lr=0.5, betas=(0.9, 0.999))
    reference.state[x]["step"] = 9
    reference.step(grads=[gradient])
    assert np.array_equal(optimizer.apply_gradients(gradient, once, step=10), x)
    assert numbopt.Adam(lr=0.5).apply_gradients(gradient, np.ones(3), step=10)[0] != once[0]


def test_schedulers_write_into_the_groups_that_come_later():
    optimizer = numbopt.SGD(lr=1.0)
    scheduler = numbopt.lr_scheduler.ExponentialLR(optimizer, 0.5)
    x = optimizer.apply_gradients(1.0, 8.0)
    scheduler.step()
    assert [x, optimizer.apply_gradients(1.0, x)] == [7.0, 6.5]


@each_case
def test_updates_are_what_a_step_adds(case):
    gradient, start = np.linspace(-1, 1, 5), np.linspace(1, 2, 5)
    one, other = functional(case), functional(case)
    np.testing.assert_array_equal(
        one.updates(gradient, start), other.apply_gradients(gradient, start) - start, strict=True
    )


def test_updates_without_parameters():
    assert np.array_equal(numbopt.SGD(lr=0.5).updates({"a": np.ones(2)})["a"], [-0.5, -0.5])
    for options in ({"weight_decay": 0.1}, {"bounds": (0, 1)}, {"project": abs}):
        with pytest.raises(ValueError, match=f"depends on them by {next(iter(options))}"):
            numbopt.SGD(**options).updates(np.ones(2))


def refusals():
    x = np.ones(3)
    built = numbopt.Adam(lr=0.1)
    built.init({"layers": [{"w": x}, {"w": x}]})
    two = {"layers": [{"w": x}, {"w": x}]}
    yield (
        "other structure",
        ValueError,
        r"layers\[1\]\.v",
        lambda: built.apply_gradients(two, {"layers": [{"w": x}, {"v": x}]}),
    )
    yield (
        "gradients lack a leaf",
        ValueError,
        r"layers\[1\] must have.*\['w'\], got \['v'\]",
        lambda: built.apply_gradients({"layers": [{"w": x}, {"v": x}]}, two),
    )
    yield (
        "shape",
        ValueError,
        r"layers\[1\]\.w.*shape \(4,\)",
        lambda: built.apply_gradients(two, {"layers": [{"w": x}, {"w": np.ones(4)}]}),
    )
    yield (
        "gradient's shape",
        ValueError,
        r"layers\[0\]\.w",
        lambda: built.apply_gradients({"layers": [{"w": np.ones(4)}, {"w": x}]}, two),
    )
    yield (
        "no array",
        TypeError,
        r"parameters at a must be arrays or floats, got str",
        lambda: numbopt.Adam().apply_gradients({"a": x}, {"a": "x"}),
    )
    yield "integer", TypeError, r"got int; convert", lambda: numbopt.Adam().apply_gradients(1, 1)
    yield "integers", TypeError, "int64", lambda: numbopt.Adam().apply_gradients(x, np.ones(3, int))
    yield "option", TypeError, "has no option 'learning_rate'", lambda: built.apply_gradients(two, two, learning_rate=1)
    yield "bad option", ValueError, "Invalid learning rate", lambda: built.apply_gradients(two, two, lr=-1.0)
    yield "bad step", ValueError, "step must be at least 1", lambda: built.apply_gradients(two, two, step=0)
    yield "step", RuntimeError, "call x = opt.apply_gradients", lambda: built.step(grads=[x, x])
    yield "step of an empty one", RuntimeError, "without parameters", lambda: numbopt.SGD().step()
    yield "in place", RuntimeError, r"make one without, Adam\(lr=", lambda: numbopt.Adam([x]).apply_gradients(x, x)
    yield "nothing", ValueError, "no arrays", lambda: numbopt.Adam().apply_gradients({}, {})


@pytest.mark.parametrize("refusal", list(refusals()), ids=lambda refusal: refusal[0])
def test_what_is_refused(refusal):
    _, error, text, call = refusal
    with pytest.raises(error, match=text):
        call()


def test_what_is_refused_changes_nothing():
    optimizer, x = numbopt.Adam(lr=0.1), np.ones(3)
    x = optimizer.apply_gradients(x, x)
    before, rate = repr(optimizer.state_dict()["state"]), optimizer.param_groups[0]["lr"]
    for gradients, parameters, options in ((np.ones(4), x, {}), (x, np.ones(4), {}), (x, x, {"lr": -1.0})):
        with pytest.raises(ValueError):
            optimizer.apply_gradients(gradients, parameters, **options)
        assert repr(optimizer.state_dict()["state"]) == before
        assert optimizer.param_groups[0]["lr"] == rate
