"""What an earlier version wrote, pickles, state dicts and checkpoints, is read and continued as that version did."""

import gzip
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from cases import written_before
from cases.written_before import AFTER, FOLDER, RUNS, WITH_SUMS, parameters_of, plain, restorable, take_steps
from support import bits

import numbopt

KEPT = pickle.loads(gzip.decompress((FOLDER / "plain.pickle.gz").read_bytes()))
NAMES = pickle.loads(gzip.decompress((FOLDER / "names.pickle.gz").read_bytes()))
VALUES = (FOLDER / "values.pickle").read_bytes()
for_every_run = pytest.mark.parametrize("run", RUNS)


def sorted_keys(value):
    """The order of keys, such as that of options in a group, says nothing."""
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value, key=str)}
    return type(value)(map(sorted_keys, value)) if type(value) in (list, tuple) else value


def assert_same_bits(actual, expected, where="value"):
    bits.assert_same_bits(sorted_keys(actual), sorted_keys(expected), where)


def assert_continues(run, objects):
    """The rest of a run ends where it did for the version that wrote the files."""
    expected = KEPT[run]["expected"]
    losses = take_steps(objects, AFTER)
    actual = plain(objects)
    if run in WITH_SUMS:
        np.testing.assert_allclose(losses, KEPT[run]["losses"], rtol=1e-9)
        for array, other in zip(actual["parameters"], expected["parameters"], strict=True):
            np.testing.assert_allclose(array, other, rtol=1e-9)
        counts, others = (kept["states"]["optimizer"]["state"][0]["n_iter"] for kept in (actual, expected))
        assert counts == others
    else:
        assert_same_bits(actual["parameters"], expected["parameters"])
        assert_same_bits(actual["states"], expected["states"])


def new_objects(run):
    """The objects of a run as they are before its first step, but for the parameters, which are at its middle."""
    objects = RUNS[run]()
    for parameter, array in zip(parameters_of(objects["optimizer"]), KEPT[run]["saved"]["parameters"], strict=True):
        parameter.data = array
    return objects


@for_every_run
def test_pickles_continue(run):
    objects = pickle.loads((FOLDER / f"{run}.pickle").read_bytes())
    assert_same_bits(plain(objects), KEPT[run]["saved"])
    if "history" in objects:  # pickles leave out hooks, and with them who listens
        history = numbopt.History(objects["optimizer"])
        history.load_state_dict(objects["history"].state_dict())
        objects["history"] = history
    assert_continues(run, objects)
    if "arrays" in objects:  # they are still what is updated
        assert_same_bits(objects["arrays"], plain(objects)["parameters"])


@for_every_run
def test_state_dicts_continue(run):
    objects = new_objects(run)
    saved = KEPT[run]["saved"]["states"]
    for key, state in saved.items():
        objects[key].load_state_dict(state)
    assert_same_bits(plain(objects)["states"], saved)
    assert_continues(run, objects)


@for_every_run
def test_checkpoints_continue(run):
    objects, saved = RUNS[run](), KEPT[run]["saved"]
    entries = numbopt.load(FOLDER / f"{run}.npz", **restorable(objects))
    parameters = entries["parameters"]
    assert_same_bits(list(parameters.values()) if isinstance(parameters, dict) else parameters, saved["parameters"])
    assert_same_bits({key: entries[key] for key in saved["states"]}, saved["states"])
    assert_same_bits(plain(objects)["parameters"], saved["parameters"])
    assert_same_bits(plain(objects)["states"], saved["states"])
    assert_continues(run, objects)


def test_plain_values_in_a_checkpoint():
    entries = numbopt.load(FOLDER / "everything.npz")
    assert_same_bits({key: entries[key] for key in written_before.PLAIN_VALUES}, written_before.PLAIN_VALUES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_pickles_name_the_same_classes_and_functions(name):
    module_name, _, attribute = name.rpartition(".")
    module = getattr(numbopt, module_name) if module_name else numbopt
    assert pickle.loads(NAMES[name]) is getattr(module, attribute)
    assert callable(numbopt.minimize) and callable(numbopt.warmup)  # still the functions


def test_pickled_parameters():
    values, expected = pickle.loads(VALUES), written_before.values()
    for key in ("parameter", "parameter without a name", "shared"):
        assert type(values[key]) is numbopt.Parameter
        for attribute in ("data", "grad", "name", "device"):
            assert_same_bits(getattr(values[key], attribute), getattr(expected[key], attribute), key)
    w = values["parameter"]
    assert w.data.flags.f_contiguous
    start, gradient = w.data.copy(), w.grad.copy()
    numbopt.SGD([w], lr=0.5).step()
    assert_same_bits(w.data, start - np.float32(0.5) * gradient)
    assert type(values["pack"]) is numbopt.Pack
    assert [parameter.name for parameter in values["pack"].parameters] == ["a", "b"]


def test_pickled_functions_of_averages():
    values = pickle.loads(VALUES)
    x, y = np.array([0.5, -0.25]), np.array([1.0, 0.75])
    for key, function in (("ema", numbopt.get_ema_avg_fn(0.9)), ("swa", numbopt.get_swa_avg_fn())):
        assert values[key] == function
        assert_same_bits(values[key](x, y, 3), function(x, y, 3))
        averages = numbopt.AveragedParameters([x.copy()], values[key])
        averages.update_parameters()
        averages.update_parameters()
        assert averages.n_averaged == 2


def test_other_pickled_objects():
    values, expected = pickle.loads(VALUES), written_before.values()
    assert type(values["result"]) is type(expected["result"])
    assert values["result"].message == expected["result"].message
    np.testing.assert_allclose(values["result"][1:], expected["result"][1:], rtol=1e-9)
    h = SimpleNamespace(**dict.fromkeys(expected["rule"].scalars, 0.5))
    arguments = (0.5, -0.25, (0.125, 0.25), h)
    assert values["rule"].function(*arguments) == expected["rule"].function(*arguments)
    assert type(values["error"]) is numbopt.CheckpointError
    assert values["error"].args == ("a message",)
    assert type(values["required"]) is type(numbopt.required)


def test_there_are_files_of_every_run():
    names = {f"{run}{extension}" for run in RUNS for extension in (".pickle", ".npz")}
    names |= {"plain.pickle.gz", "values.pickle", "names.pickle.gz"}
    assert {path.name for path in FOLDER.iterdir()} == names
    assert list(KEPT) == list(RUNS)
