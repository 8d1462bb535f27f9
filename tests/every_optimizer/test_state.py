"""The state of an optimizer: `opt.state`, state dicts, what is refused, and changes in the middle of the work."""

import copy

import numpy as np
import pytest
from cases import problem
from cases.optimizers import CASES, DTYPES
from support.runs import ArrayRun, ParameterRun
from support.trajectory import follow

import numbopt
from numbopt import Parameter

for_every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
apart = pytest.mark.parametrize("case", [case for case in CASES if case.sums_over != "all"], ids=lambda case: case.id)
for_every_class = pytest.mark.parametrize("cls", sorted({case.cls for case in CASES}))
for_both_runs = pytest.mark.parametrize("run_class", (ParameterRun, ArrayRun), ids=lambda run: run.__name__)


def stepped_adam(shape=(2, 3), steps=1, **options):
    x = np.ones(shape)
    optimizer = numbopt.Adam([x], **options)
    for step in range(steps):
        optimizer.step(grads=[np.full(shape, step + 1.0)])
    return x, optimizer


def snapshot(optimizer):
    """Everything that a refused call must leave as it was, as bytes and numbers."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = [
        {key: (np.array(value).tobytes(), type(value)) for key, value in optimizer.state.get(parameter, {}).items()}
        for parameter in parameters
    ]
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return [parameter.data.tobytes() for parameter in parameters], states, copy.deepcopy(groups)


# ---- the mapping


def test_state_is_found_by_parameter_and_by_wrapped_array():
    x = np.zeros(3)
    p = Parameter(np.zeros(2))
    optimizer = numbopt.Adam([x, p])
    optimizer.step(grads=[np.ones(3), np.ones(2)])
    wrapped = optimizer.param_groups[0]["params"][0]
    assert np.shares_memory(wrapped.data, x)
    for key in (x, wrapped, p):
        assert key in optimizer.state
        assert list(optimizer.state[key]) == ["step", "exp_avg", "exp_avg_sq"]
    assert np.shares_memory(optimizer.state[x]["exp_avg"], optimizer.state[wrapped]["exp_avg"])
    assert [key is expected for key, expected in zip(optimizer.state, (wrapped, p), strict=True)] == [True, True]
    assert len(optimizer.state) == 2

    # An equal array is not the parameter, and a copy of a Parameter neither.
    for other in (x.copy(), x[:], Parameter(p), 0, None):
        assert other not in optimizer.state
        assert optimizer.state.get(other, "nothing") == "nothing"
        with pytest.raises(KeyError, match="not a parameter of this optimizer"):
            optimizer.state[other]


def test_entries_appear_with_the_first_gradient():
    x, y = np.zeros(3), np.zeros(2)
    optimizer = numbopt.Adam([x, y])
    assert len(optimizer.state) == 0
    assert not optimizer.state
    with pytest.raises(KeyError, match="no gradient yet"):
        optimizer.state[x]
    optimizer.step(grads=[None, np.ones(2)])
    assert x not in optimizer.state
    assert optimizer.state[y]["step"] == 1
    assert list(optimizer.state_dict()["state"]) == [1]
    optimizer.step(grads=[np.ones(3), None])
    assert optimizer.state[x]["step"] == optimizer.state[y]["step"] == 1
    assert list(optimizer.state_dict()["state"]) == [0, 1]


@for_every_case
def test_state_arrays_are_views_with_shape_dtype_and_order_of_the_parameter(case):
    for dtype in DTYPES:
        values = np.arange(24).astype(dtype).reshape(2, 3, 4)
        layouts = [values, np.asfortranarray(values), values.transpose(1, 2, 0), values[:0], np.ones((), dtype)]
        layouts = [array.copy(order="K") for array in layouts]
        optimizer = getattr(numbopt, case.cls)(layouts, **case.options)
        optimizer.step(grads=[np.ones(array.shape) for array in layouts])
        for array in layouts:
            state = optimizer.state.get(array, {})
            arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
            for key, value in arrays.items():
                assert value.shape == array.shape, key
                assert value.dtype == array.dtype, key
                assert array.size == 0 or value.strides == array.strides, key
                assert value.flags.writeable, key
                # The view shows what later steps make of it.
                assert array.size == 0 or np.shares_memory(value, optimizer.state[array][key])
            assert type(state.get("step", 0)) is int
            clock = [value for key, value in state.items() if key not in arrays and key != "step"]
            assert all(type(value) is float for value in clock)


def test_state_of_a_parameter_stays_up_to_date():
    x, optimizer = stepped_adam()
    state = optimizer.state[x]
    average = state["exp_avg"]
    optimizer.step(grads=[np.ones((2, 3))])
    assert state["step"] == 2
    assert average is state["exp_avg"]
    assert np.array_equal(average, optimizer.state_dict()["state"][0]["exp_avg"])
    # Assigning one entry does not bring back old values of the others.
    state["exp_avg"] = np.zeros((2, 3))
    assert optimizer.state[x]["step"] == 2
    optimizer.step(grads=[np.ones((2, 3))])
    assert state["step"] == optimizer.state[x]["step"] == 3


def test_views_stay_valid_when_groups_and_options_change():
    x, optimizer = stepped_adam()
    average = optimizer.state[x]["exp_avg"]
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step(grads=[np.ones((2, 3))])
    optimizer.add_param_group({"params": [np.zeros(4)]})
    optimizer.step(grads=[np.ones((2, 3)), np.ones(4)])
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step(grads=[np.ones((2, 3)), None])
    assert average is optimizer.state[x]["exp_avg"]
    assert np.allclose(average, 1 - 0.9**4)


def test_assigning_copies():
    x, optimizer = stepped_adam()
    mine = np.full((2, 3), 5.0)
    state = optimizer.state[x]
    view = state["exp_avg"]
    state["exp_avg"] = mine
    state["step"] = 10
    assert np.array_equal(view, mine)
    assert not np.shares_memory(state["exp_avg"], mine)
    optimizer.step(grads=[np.zeros((2, 3))])
    assert np.all(mine == 5)
    assert np.allclose(view, 4.5)
    assert state["step"] == 11

    # A whole state at once: what is not given starts anew.
    optimizer.state[x] = {"step": 3, "exp_avg": mine}
    assert optimizer.state[x]["step"] == 3
    assert np.array_equal(optimizer.state[x]["exp_avg"], mine)
    optimizer.step(grads=[np.zeros((2, 3))])
    assert optimizer.state[x]["step"] == 4
    assert np.all(optimizer.state[x]["exp_avg_sq"] == 0)
    assert np.all(mine == 5)


def test_assigning_to_a_0d_parameter_copies_scalars():
    x, optimizer = stepped_adam(())
    for number in (2.0, 2, np.float64(2), np.float32(2), np.array(2.0)):
        optimizer.state[x]["exp_avg"] = number
        assert optimizer.state[x]["exp_avg"].shape == ()
        assert optimizer.state[x]["exp_avg"] == 2
        optimizer.state[x]["step"] = number
        assert type(optimizer.state[x]["step"]) is int
        optimizer.step(grads=[0.0])
        assert optimizer.state[x]["exp_avg"] == 1.8
        assert optimizer.state[x]["step"] == 3


def test_editing_a_view_counts():
    x, optimizer = stepped_adam()
    optimizer.state[x]["exp_avg"][...] = 0
    optimizer.state[x]["exp_avg_sq"] *= 0
    optimizer.step(grads=[np.zeros((2, 3))])
    assert np.all(optimizer.state[x]["exp_avg"] == 0)
    assert np.all(optimizer.state[x]["exp_avg_sq"] == 0)


@apart
def test_deleting_the_state_starts_anew(case):
    for dtype, run_class in (("float32", ParameterRun), ("complex128", ArrayRun)):
        start = problem.starting_parameters(dtype)
        run = run_class(case, "two groups", start)
        expected = follow(run_class(case, "two groups", start), dtype, "every gradient", steps=problem.STEPS[:6])
        follow(run, dtype, "every gradient", steps=problem.STEPS[:3], kept_steps=(1,))
        for parameter, values in zip(run.parameters, start, strict=True):
            if parameter in run.optimizer.state:
                del run.optimizer.state[parameter]
            assert parameter not in run.optimizer.state
            np.asarray(parameter)[...] = values
        assert len(run.optimizer.state) == 0
        actual = follow(run, dtype, "every gradient", steps=problem.STEPS[:6])
        assert actual.tobytes() == expected.tobytes()


def test_deleting_one_entry_starts_it_anew():
    x, optimizer = stepped_adam(steps=2)
    del optimizer.state[x]["exp_avg"]
    assert list(optimizer.state[x]) == ["step", "exp_avg_sq"]
    with pytest.raises(KeyError):
        del optimizer.state[x]["exp_avg"]
    optimizer.step(grads=[np.ones((2, 3))])
    assert optimizer.state[x]["step"] == 3
    assert np.allclose(optimizer.state[x]["exp_avg"], 0.1)


def test_clearing_the_state_forgets_everything():
    _, optimizer = stepped_adam()
    optimizer.state["note"] = 1
    optimizer.state.clear()
    assert len(optimizer.state) == 0
    assert optimizer.state_dict()["state"] == {}


def test_strings_are_keys_of_the_user():
    x, optimizer = stepped_adam()
    note = {"loss": [1.0]}
    optimizer.state["history"] = note
    assert optimizer.state["history"] is note
    assert "history" in optimizer.state
    assert [key for key in optimizer.state if isinstance(key, str)] == ["history"]
    assert len(optimizer.state) == 2
    with pytest.raises(KeyError):
        optimizer.state["unknown"]

    state_dict = optimizer.state_dict()
    note["loss"].append(2.0)
    assert state_dict["state"]["history"] == {"loss": [1.0]}
    optimizer.load_state_dict(state_dict)
    assert optimizer.state["history"] == {"loss": [1.0]}
    assert optimizer.state["history"] is not state_dict["state"]["history"]
    assert copy.deepcopy(optimizer).state["history"] == {"loss": [1.0]}
    del optimizer.state["history"]
    assert "history" not in optimizer.state
    assert x in optimizer.state
    assert "exp_avg" in repr(optimizer.state)


BAD_STATES = (
    (ValueError, "exp_avg", np.zeros(3)),
    (ValueError, "exp_avg", np.zeros((3, 2))),
    (ValueError, "exp_avg", 0.0),
    (TypeError, "exp_avg", np.zeros((2, 3), complex)),
    (TypeError, "exp_avg", np.ma.zeros((2, 3))),
    (TypeError, "exp_avg", np.full((2, 3), None)),
    (TypeError, "exp_avg", np.full((2, 3), "1")),
    (ValueError, "step", np.nan),
    (ValueError, "step", -1),
    (ValueError, "step", np.inf),
    (ValueError, "step", np.ones((2, 3))),
    (TypeError, "step", "three"),
    (TypeError, "step", 1 + 2j),
)


@pytest.mark.parametrize(("error", "key", "value"), BAD_STATES)
def test_wrong_state_is_refused_and_nothing_changes(error, key, value):
    y = np.zeros(2)
    x = np.ones((2, 3))
    optimizer = numbopt.Adam([("y", y), ("x", x)])
    optimizer.step(grads=[np.ones(2), np.ones((2, 3))])
    state_dict = optimizer.state_dict()
    state_dict["state"][0] = {"step": 7, "exp_avg": np.full(2, 7.0), "exp_avg_sq": np.full(2, 7.0)}
    state_dict["state"][1][key] = value
    state_dict["param_groups"][0]["lr"] = 7.0
    before = snapshot(optimizer)
    with pytest.raises(error, match=f"state '{key}' of parameter 'x'"):
        optimizer.load_state_dict(state_dict)
    assert snapshot(optimizer) == before
    with pytest.raises(error):
        optimizer.state[x][key] = value
    with pytest.raises(error):
        optimizer.state[x] = {"step": 2, "exp_avg": np.zeros((2, 3)), key: value}
    assert snapshot(optimizer) == before


# ---- state dicts


@for_every_case
def test_state_dict_shares_no_memory_with_the_optimizer(case):
    lr = np.array(0.5)
    parameters = [np.ones((2, 3)), np.asfortranarray(np.ones((3, 2), "complex64")), np.ones(())]
    options = {**case.options, "lr": lr}
    optimizer = getattr(numbopt, case.cls)(parameters, **options)
    grads = [np.ones(array.shape) for array in parameters]
    optimizer.step(grads=grads)
    state_dict = optimizer.state_dict()
    untouched = copy.deepcopy(state_dict)

    # What the optimizer does is not seen in the dict, ...
    optimizer.step(grads=grads)
    lr[...] = 0.25
    assert repr(state_dict) == repr(untouched)
    # ... nor what is done to the dict it came from, or was loaded from, in the optimizer.
    optimizer.load_state_dict(state_dict)
    assert optimizer.param_groups[0]["lr"] == 0.5
    before = snapshot(optimizer)
    for state in state_dict["state"].values():
        for value in state.values():
            if isinstance(value, np.ndarray):
                value[...] = 99
        state.clear()
    state_dict["param_groups"][0]["lr"][...] = 99
    state_dict["param_groups"][0]["params"].clear()
    assert snapshot(optimizer) == before
    optimizer.load_state_dict(untouched)
    assert snapshot(optimizer) == before


def test_layout_of_state_dict_is_that_of_torch():
    w, b, c = np.zeros((2, 2)), np.zeros(2), np.zeros(())
    optimizer = numbopt.SGD([{"params": [("w", w)]}, {"params": [("b", b), ("c", c)], "lr": 0.5}], momentum=0.9)
    optimizer.step(grads={"b": np.ones(2), "w": np.ones((2, 2))})
    state_dict = optimizer.state_dict()
    assert state_dict.keys() == {"state", "param_groups"}
    assert [group["params"] for group in state_dict["param_groups"]] == [[0], [1, 2]]
    assert [group["param_names"] for group in state_dict["param_groups"]] == [["w"], ["b", "c"]]
    assert state_dict["param_groups"][1]["lr"] == 0.5
    assert type(state_dict["state"]) is dict
    assert {key: list(state) for key, state in state_dict["state"].items()} == {
        0: ["momentum_buffer"],
        1: ["momentum_buffer"],
    }
    assert type(state_dict["state"][0]) is dict


@for_every_case
def test_resumes_with_the_same_bits(case):
    for dtype, pattern in zip(DTYPES, problem.PATTERNS * 2, strict=True):
        start = problem.starting_parameters(dtype)
        run = ParameterRun(case, "two groups", start)
        for step in problem.STEPS[:7]:
            run.step(problem.gradients(step, dtype, pattern))
        resumed = ArrayRun(case, "two groups", run.values())
        resumed.optimizer.load_state_dict(run.optimizer.state_dict())
        rest = {"steps": problem.STEPS[7:12], "kept_steps": problem.STEPS[7:12]}
        assert follow(resumed, dtype, pattern, **rest).tobytes() == follow(run, dtype, pattern, **rest).tobytes()


def test_loading_replaces_all_of_the_state():
    x, y = np.zeros(2), np.zeros(3)
    optimizer = numbopt.Adam([x, y])
    empty = optimizer.state_dict()
    optimizer.step(grads=[np.ones(2), np.ones(3)])
    half = optimizer.state_dict()
    del half["state"][1]
    optimizer.load_state_dict(half)
    assert x in optimizer.state
    assert y not in optimizer.state
    optimizer.load_state_dict(empty)
    assert len(optimizer.state) == 0
    optimizer.step(grads=[np.ones(2), np.ones(3)])
    assert optimizer.state[y]["step"] == 1


def _named(order, cls=numbopt.Adam, values=None):
    values = {name: np.full(size, float(size)) for size, name in enumerate("abc", 2)} if values is None else values
    return cls([(name, values[name]) for name in order])


def test_parameters_are_matched_by_name_in_any_order():
    optimizer = _named("abc")
    for _ in range(2):
        optimizer.step(grads={name: np.full(size, float(size)) for size, name in enumerate("abc", 2)})
    optimizer.step(grads={"b": np.ones(3)})
    state_dict = optimizer.state_dict()

    other = _named("cab")
    other.load_state_dict(state_dict)
    assert other.param_groups[0]["param_names"] == ["c", "a", "b"]
    of = {name: parameter for name, parameter in zip("cab", other.param_groups[0]["params"], strict=True)}
    for number, name in enumerate("abc"):
        expected = state_dict["state"][number]
        assert other.state[of[name]]["step"] == expected["step"] == (3 if name == "b" else 2)
        assert np.array_equal(other.state[of[name]]["exp_avg"], expected["exp_avg"])
    # And back again: nothing has lost its name on the way.
    again = _named("bca")
    again.load_state_dict(other.state_dict())
    back = _named("abc")
    back.load_state_dict(again.state_dict())
    assert repr(back.state_dict()) == repr(state_dict)


def test_names_of_parameters_are_names_too():
    optimizer = _named("ab")
    optimizer.step(grads={"a": np.ones(2)})
    other = numbopt.Adam([Parameter(np.zeros(3), name="b"), Parameter(np.zeros(2), name="a")])
    other.load_state_dict(optimizer.state_dict())
    b, a = other.param_groups[0]["params"]
    assert a in other.state
    assert b not in other.state
    assert other.state_dict()["param_groups"][0]["param_names"] == ["b", "a"]
    third = _named("ab")
    third.load_state_dict(other.state_dict())
    assert repr(third.state_dict()) == repr(optimizer.state_dict())
    other.add_param_group({"params": [Parameter(np.zeros(1), name="c")]})
    assert other.state_dict()["param_groups"][1]["param_names"] == ["c"]


@pytest.mark.parametrize("names", [("a", None), ("a", "a"), (None, None)])
def test_parameters_without_names_of_their_own_are_matched_by_order(names):
    def make():
        return numbopt.Adam([Parameter(np.zeros(size), name=name) for size, name in enumerate(names, 2)])

    optimizer, other = make(), make()
    optimizer.step(grads=[None, np.ones(3)])
    state_dict = optimizer.state_dict()
    assert "param_names" not in state_dict["param_groups"][0]
    other.load_state_dict(state_dict)
    assert repr(other.state_dict()) == repr(state_dict)


def test_without_names_on_both_sides_parameters_are_matched_by_order():
    optimizer = _named("ab")
    optimizer.step(grads={"a": np.ones(2)})
    x, y = np.zeros(2), np.zeros(3)
    other = numbopt.Adam([x, y])
    other.load_state_dict(optimizer.state_dict())
    assert x in other.state
    assert y not in other.state


def _wrong(state_dict, how):
    groups = state_dict["param_groups"]
    match how:
        case "no groups":
            del state_dict["param_groups"]
        case "no state":
            del state_dict["state"]
        case "fewer groups":
            groups.pop()
        case "more groups":
            groups.append(copy.deepcopy(groups[0]))
        case "fewer parameters":
            groups[1]["params"].pop()
        case "no parameters":
            del groups[1]["params"]
        case "other names":
            groups[0]["param_names"] = ["d"]
        case "fewer names":
            groups[1]["param_names"].pop()
        case "unknown option":
            groups[1]["momentum"] = 0.9
        case "wrong option":
            groups[1]["betas"] = (0.9, 1.5)
        case "nan":
            groups[1]["lr"] = np.nan
        case "wrong shape":
            state_dict["state"][2]["exp_avg"] = np.zeros(1)
    return state_dict


MESSAGES = {
    "no groups": "lacks 'state' or 'param_groups'",
    "no state": "lacks 'state' or 'param_groups'",
    "fewer groups": "loaded state dict has a different number of parameter groups",
    "more groups": "loaded state dict has a different number of parameter groups",
    "fewer parameters": "a parameter group that doesn't match the size of optimizer's group",
    "no parameters": "a parameter group that doesn't match the size of optimizer's group",
    "other names": "other names: .*; it lacks \\['a'\\]",
    "fewer names": "name",
    "unknown option": "unknown option 'momentum'",
    "wrong option": "Invalid beta parameter at index 1: 1.5",
    "nan": "Invalid learning rate: nan",
    "wrong shape": "state 'exp_avg' of parameter 'c' has shape \\(1,\\)",
}


@pytest.mark.parametrize("how", MESSAGES)
def test_state_dict_that_does_not_fit_is_refused_and_nothing_changes(how):
    values = {name: np.full(size, float(size)) for size, name in enumerate("abc", 2)}
    groups = [{"params": [("a", values["a"])]}, {"params": [("b", values["b"]), ("c", values["c"])], "lr": 0.01}]
    optimizer = numbopt.Adam(groups)
    gradients = {name: np.ones(size) for size, name in enumerate("abc", 2)}
    optimizer.step(grads=gradients)
    loaded = optimizer.state_dict()
    for state in loaded["state"].values():
        state["step"] = 50
        state["exp_avg"] += 1
    loaded["param_groups"][0]["lr"] = 0.5
    optimizer.step(grads=gradients)
    before = snapshot(optimizer)
    expected = copy.deepcopy(optimizer)
    with pytest.raises(ValueError, match=MESSAGES[how]):
        optimizer.load_state_dict(_wrong(loaded, how))
    assert snapshot(optimizer) == before
    # It goes on as if nothing had been tried.
    optimizer.step(grads=gradients)
    expected.step(grads=gradients)
    assert snapshot(optimizer) == snapshot(expected)


def test_state_in_other_precision_is_converted():
    x, optimizer = stepped_adam(steps=3)
    single = np.ones((2, 3), "float32")
    other = numbopt.Adam([single])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[single]["exp_avg"].dtype == np.float32
    assert np.allclose(other.state[single]["exp_avg"], optimizer.state[x]["exp_avg"], rtol=1e-6)
    back = numbopt.Adam([x])
    back.load_state_dict(other.state_dict())
    assert back.state[x]["exp_avg"].dtype == np.float64
    assert back.state[x]["step"] == 3


# ---- changes in the middle


def test_amsgrad_switched_on_later_starts_from_a_zero_row():
    x, optimizer = stepped_adam(steps=3)
    before = optimizer.state[x]["exp_avg_sq"].copy()
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step(grads=[np.zeros((2, 3))])
    state = optimizer.state[x]
    assert state["step"] == 4
    # The largest mean square from now on, not that of before.
    assert np.array_equal(state["exp_avg_sq"], 0.999 * before)
    assert np.array_equal(state["max_exp_avg_sq"], state["exp_avg_sq"])

    # Switched off, the row rests; on again, it goes on.
    optimizer.param_groups[0]["amsgrad"] = False
    optimizer.step(grads=[np.full((2, 3), 10.0)])
    largest = state["max_exp_avg_sq"].copy()
    assert np.array_equal(largest, 0.999 * before)
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step(grads=[np.zeros((2, 3))])
    assert np.all(state["max_exp_avg_sq"] > largest)


def test_momentum_switched_on_later_starts_from_a_zero_row():
    x = np.zeros(2)
    optimizer = numbopt.SGD([x], lr=1.0, dampening=0.5)
    optimizer.step(grads=[np.ones(2)])
    assert x not in optimizer.state
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step(grads=[np.ones(2)])  # the first gradient is not damped
    assert np.all(optimizer.state[x]["momentum_buffer"] == 1)
    optimizer.step(grads=[np.ones(2)])
    assert np.all(optimizer.state[x]["momentum_buffer"] == 1)
    assert np.all(x == -3)
    # Off, the buffer rests.
    optimizer.param_groups[0]["momentum"] = 0
    optimizer.step(grads=[np.full(2, 4.0)])
    assert np.all(x == -7)
    assert np.all(optimizer.state[x]["momentum_buffer"] == 1)
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step(grads=[np.full(2, 4.0)])
    assert np.all(optimizer.state[x]["momentum_buffer"] == 2.5)

    x = np.zeros(2)
    optimizer = numbopt.RMSprop([x], lr=1.0)
    optimizer.step(grads=[np.ones(2)])
    optimizer.param_groups[0].update(momentum=0.9, centered=True)
    optimizer.step(grads=[np.ones(2)])
    assert np.allclose(optimizer.state[x]["grad_avg"], 0.01)
    assert np.all(optimizer.state[x]["momentum_buffer"] > 0)
    assert optimizer.state[x]["step"] == 2


@for_every_case
def test_group_added_in_the_middle_equals_one_that_had_no_gradient_before(case):
    for dtype, run_class in (("float32", ParameterRun), ("complex128", ArrayRun)):
        start = problem.starting_parameters(dtype)
        whole, growing = run_class(case, "two groups", start), run_class(case, "two groups", start)
        growing.optimizer = getattr(numbopt, case.cls)(growing.parameters[:1], **case.options)
        for step in problem.STEPS[:8]:
            gradients = problem.gradients(step, dtype, "every gradient")
            if step == 4:
                growing.optimizer.add_param_group({"params": growing.parameters[1:], **case.second_group})
            if step >= 4:
                whole.step(gradients)
                growing.step(gradients)
            else:
                whole.step([gradients[0], None, None])
                for parameter, gradient in zip(growing.parameters[:1], gradients, strict=False):
                    if run_class is ParameterRun:
                        parameter.grad = gradient
                growing.optimizer.step(grads=gradients[:1])
        for one, other in zip(growing.values(), whole.values(), strict=True):
            assert one.tobytes() == other.tobytes()
        assert repr(growing.states()) == repr(whole.states())


def test_group_that_cannot_be_added_changes_nothing():
    x, optimizer = stepped_adam()
    before = snapshot(optimizer)
    for error, group in (
        (TypeError, [np.zeros(2)]),
        (ValueError, {"lr": 0.1}),
        (ValueError, {"params": [x]}),
        (ValueError, {"params": [x[:1]]}),
        (TypeError, {"params": [np.zeros(2, int)]}),
        (ValueError, {"params": [np.zeros(2)], "lr": -1}),
        (ValueError, {"params": [np.zeros(2)], "momentum": 0.9}),
        (ValueError, {"params": [("name", np.zeros(2))]}),
    ):
        with pytest.raises(error):
            optimizer.add_param_group(group)
        assert snapshot(optimizer) == before

    # Nor where another group was edited to something wrong.
    optimizer.param_groups[0]["lr"] = -1
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        optimizer.add_param_group({"params": [np.zeros(2)]})
    optimizer.param_groups[0]["lr"] = 0.001
    assert snapshot(optimizer) == before
    y = np.zeros(2)
    optimizer.add_param_group({"params": [y]})
    optimizer.step(grads=[np.ones((2, 3)), np.ones(2)])
    assert optimizer.state[x]["step"] == 2
    assert optimizer.state[y]["step"] == 1


def test_names_that_do_not_fit_the_group_are_refused():
    for names in (["a"], ["a", "b", "c"], ["a", "a"]):
        with pytest.raises(ValueError, match="name"):
            numbopt.SGD([{"params": [np.zeros(1), np.zeros(1)], "param_names": names}])
    optimizer = numbopt.SGD([{"params": [np.zeros(1), np.zeros(1)], "param_names": ["a", "b"]}])
    optimizer.step(grads={"b": np.ones(1)})
    with pytest.raises(ValueError, match="distinct"):
        optimizer.add_param_group({"params": [("a", np.zeros(1))]})


@for_every_class
def test_edited_options_count_from_the_next_step_on(cls):
    def moved(options):
        x = np.ones(3)
        optimizer = getattr(numbopt, cls)([x], lr=0.01)
        optimizer.step(grads=[np.ones(3)])
        optimizer.param_groups[0].update(options)
        for _ in range(3):  # a sign that changes, as that of a momentum does or does not
            optimizer.step(grads=[np.array([-0.08, 0.5, -2.0])])
        return x

    unchanged = moved({})
    changes = [{"maximize": True}]
    # The first step has taken `lr` as the step size to start from.
    changes += [{"etas": (0.5, 3.0)}, {"step_sizes": (0.1, 1)}] if cls == "Rprop" else [{"lr": 0.5}]
    if "betas" in getattr(numbopt, cls).options:
        changes.append({"betas": (0.5, 0.9, 0.9)[: len(getattr(numbopt, cls).options["betas"].checks)]})
    for options in changes:
        assert not np.array_equal(moved(options), unchanged), options


def test_edited_lr_is_that_of_the_next_step():
    x = np.zeros(2)
    optimizer = numbopt.SGD([{"params": [x]}], lr=1.0)
    for lr in (1.0, 0.5, np.float64(0.25), np.array(0.125), 0):
        optimizer.param_groups[0]["lr"] = lr
        before = x.copy()
        optimizer.step(grads=[np.ones(2)])
        assert np.all(x == before - lr)


def test_arrays_and_lists_edited_in_place_count():
    x, lr, decay = np.zeros(2), np.array([1.0]), np.array(0.0)
    optimizer = numbopt.SGD([x], lr=lr, weight_decay=decay)
    optimizer.step(grads=[np.ones(2)])
    lr *= 0.5
    optimizer.step(grads=[np.ones(2)])
    assert np.all(x == -1.5)
    decay[...] = 1
    optimizer.step(grads=[np.zeros(2)])
    assert np.all(x == -0.75)

    # Inside a pair too.
    for betas in ((np.array(0.9), np.array([0.99])), [0.9, 0.99]):
        x = np.zeros(2)
        optimizer = numbopt.Adam([x], betas=betas)
        optimizer.step(grads=[np.ones(2)])
        if isinstance(betas, list):
            betas[0] = 0.5
        else:
            betas[0][...] = 0.5
        optimizer.step(grads=[np.ones(2)])
        assert np.allclose(optimizer.state[x]["exp_avg"], 0.55)


@for_both_runs
def test_wrong_options_are_refused_at_the_step_and_nothing_changes(run_class):
    case = next(case for case in CASES if case.id == "Adam-amsgrad")
    run = run_class(case, "two groups", problem.starting_parameters("float64"))
    gradients = problem.gradients(1, "float64", "every gradient")
    run.step(gradients)
    for key, value, error, message in (
        ("lr", -0.1, ValueError, "Invalid learning rate: -0.1"),
        ("lr", np.nan, ValueError, "Invalid learning rate: nan"),
        ("lr", np.inf, ValueError, "Invalid learning rate: inf"),
        ("lr", "0.1", TypeError, "lr must be a real number"),
        ("lr", None, TypeError, "lr must be a real number"),
        ("lr", np.array([0.1, 0.2]), ValueError, "Tensor lr must be 1-element"),
        ("betas", (2, 0.9), ValueError, "Invalid beta parameter at index 0: 2"),
        ("betas", (0.9,), TypeError, "betas must be a pair"),
        ("betas", 0.9, TypeError, "betas must be a pair"),
        ("eps", -1, ValueError, "Invalid epsilon value: -1"),
        ("weight_decay", -1, ValueError, "Invalid weight_decay value: -1"),
        ("amsgrad", None, TypeError, "amsgrad must be True or False"),
        ("maximize", "yes", TypeError, "maximize must be True or False"),
        ("differentiable", True, ValueError, "differentiable=True is not supported"),
        ("weigth_decay", 0.1, ValueError, "unknown option 'weigth_decay'.*did you mean 'weight_decay'"),
        ("momentum", 0.9, ValueError, "unknown option 'momentum' in a param group; known are "),
    ):
        group = run.optimizer.param_groups[1]
        kept = dict(group)
        group[key] = value
        before = snapshot(run.optimizer)[:2]
        for _ in range(2):  # it stays wrong
            with pytest.raises(error, match=message):
                run.step(gradients)
            assert snapshot(run.optimizer)[:2] == before
        group.clear()
        group.update(kept)
    for key in ("lr", "params"):
        kept = run.optimizer.param_groups[1].pop(key)
        with pytest.raises(ValueError, match=key):
            run.step(gradients)
        run.optimizer.param_groups[1][key] = kept
    run.step(gradients)
    assert [state["step"] for state in run.states()] == [2, 2, 2]


def test_parameters_exchanged_in_a_group_are_not_silently_ignored():
    # The new ones would not be updated, and the old ones would.
    for values in ([1.0, 1.0], [1.0], [2.0]):
        optimizer = numbopt.SGD([Parameter(np.ones(len(values)))])
        optimizer.step(grads=[np.ones(len(values))])
        optimizer.param_groups[0]["params"] = (Parameter(values),)
        with pytest.raises(ValueError, match="add_param_group"):
            optimizer.step(grads=[np.ones(len(values))])


def test_keys_of_schedulers_and_users_are_known():
    x, optimizer = stepped_adam()
    notes = {"initial_lr": 0.1, "name": "body", "max_lr": 1.0, "min_lr": 0.0, "swa_lr": 0.1}
    notes |= {"base_momentum": 0.8, "max_momentum": 0.9, "use_beta1": True}
    optimizer.param_groups[0].update(notes)
    optimizer.step(grads=[np.ones((2, 3))])
    state_dict = optimizer.state_dict()
    assert notes.items() <= state_dict["param_groups"][0].items()
    other = numbopt.Adam([x.copy()])
    other.load_state_dict(state_dict)
    assert notes.items() <= other.param_groups[0].items()


# ---- unequal step counts


@apart
def test_each_parameter_counts_its_own_steps(case):
    count = 5
    for dtype in ("float32", "complex128"):
        random = np.random.default_rng(7)
        arrays = [random.standard_normal(3).astype(dtype) for _ in range(count)]
        alone = [array.copy() for array in arrays]
        optimizer = getattr(numbopt, case.cls)(arrays, **case.options)
        single = [getattr(numbopt, case.cls)([array], **case.options) for array in alone]
        counts = [0] * count
        for step in range(12):
            # Some are always there, some come late, some come and go, and all are away once.
            given = [
                step != 5 and (i == 0 or (step >= 4 if i == 1 else (step * i) % (i + 1) != 0)) for i in range(count)
            ]
            gradients = [random.standard_normal(3) if is_given else None for is_given in given]
            optimizer.step(grads=gradients)
            for i, gradient in enumerate(gradients):
                counts[i] += gradient is not None
                single[i].step(grads=[gradient])
            if step in (3, 8):  # and it goes on so after a round trip
                optimizer.load_state_dict(optimizer.state_dict())
        assert len(set(counts)) > 2
        for i in range(count):
            assert arrays[i].tobytes() == alone[i].tobytes()
            state, expected = optimizer.state.get(arrays[i], {}), single[i].state.get(alone[i], {})
            assert state.get("step", counts[i]) == counts[i]
            assert repr(dict(state)) == repr(dict(expected))


def test_step_counts_stay_exact():
    x, optimizer = stepped_adam()
    optimizer.state[x]["step"] = 2**24 + 1  # the next number that float32 does not have
    optimizer.step(grads=[np.ones((2, 3))])
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step(grads=[np.ones((2, 3))])
    assert optimizer.state[x]["step"] == 2**24 + 3
