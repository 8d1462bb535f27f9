"""Hooks: functions of the user around steps and state dicts, in torch's order and with its arguments."""

import copy
import pickle

import numpy as np
import pytest

import numbopt
from numbopt import Parameter

CLASSES = (numbopt.SGD, numbopt.Adam, numbopt.ASGD)
REGISTERING = (
    "register_step_pre_hook",
    "register_step_post_hook",
    "register_state_dict_pre_hook",
    "register_state_dict_post_hook",
    "register_load_state_dict_pre_hook",
    "register_load_state_dict_post_hook",
)
WITH_PREPEND = REGISTERING[2:]


@pytest.fixture
def x():
    return np.array([1.0, -2.0])


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def optimizer(request, x):
    return request.param([x], lr=0.1)


class Calls(list):
    """Makes hooks that note their names here."""

    def hook(self, name):
        return lambda *arguments: self.append(name)


def step(optimizer, **options):
    return optimizer.step(grads=[np.ones(2)], **options)


def use_all(optimizer):
    step(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())


# ---- steps


def test_step_hooks_are_called_once_for_each_step_until_they_are_removed(optimizer):
    calls = Calls()
    before = optimizer.register_step_pre_hook(calls.hook("before"))
    after = optimizer.register_step_post_hook(calls.hook("after"))
    step(optimizer)
    step(optimizer)
    assert calls == ["before", "after"] * 2
    before.remove()
    step(optimizer)
    assert calls[4:] == ["after"]
    after.remove()
    step(optimizer)
    assert len(calls) == 5


def test_step_hooks_see_the_step_from_before_and_after(optimizer, x):
    seen = []

    def look(*arguments):
        seen.append((x.copy(), *arguments))

    optimizer.register_step_pre_hook(look)
    optimizer.register_step_post_hook(look)
    start, gradients = x.copy(), [np.ones(2)]

    def closure():
        return 2.5

    assert optimizer.step(closure, grads=gradients) == 2.5
    (x_before, *arguments_before), (x_after, *arguments_after) = seen
    assert np.array_equal(x_before, start)
    assert np.array_equal(x_after, x)
    assert not np.array_equal(x_before, x_after)
    for who, args, kwargs in (arguments_before, arguments_after):
        assert who is optimizer
        assert args[0] is optimizer
        assert args[1] is closure
        assert kwargs.keys() == {"grads"}
        assert kwargs["grads"] is gradients

    seen.clear()
    optimizer.step()
    assert seen[0][1:] == (optimizer, (optimizer,), {})


def test_global_hooks_surround_those_of_each_optimizer():
    calls = Calls()
    first, second = numbopt.SGD([np.zeros(2)]), numbopt.Adam([np.zeros(2)])
    handles = [
        numbopt.register_optimizer_step_pre_hook(calls.hook("global pre")),
        numbopt.register_optimizer_step_post_hook(calls.hook("global post")),
        first.register_step_pre_hook(calls.hook("first pre")),
        first.register_step_post_hook(calls.hook("first post")),
        second.register_step_pre_hook(calls.hook("second pre")),
        second.register_step_post_hook(calls.hook("second post")),
    ]
    try:
        step(first)
        step(second)
        assert calls == [
            *("global pre", "first pre", "first post", "global post"),
            *("global pre", "second pre", "second post", "global post"),
        ]
    finally:
        for handle in handles:
            handle.remove()
    step(first)
    step(second)
    assert len(calls) == 8


def test_hooks_of_one_kind_are_called_in_the_order_of_registering(optimizer):
    calls = Calls()
    for name in "abc":
        optimizer.register_step_pre_hook(calls.hook(f"pre {name}"))
        optimizer.register_step_post_hook(calls.hook(f"post {name}"))
    step(optimizer)
    assert calls == ["pre a", "pre b", "pre c", "post a", "post b", "post c"]


def test_pre_hook_may_change_the_arguments(optimizer, x):
    expected = copy.deepcopy(optimizer)
    expected.step(grads=[np.full(2, 6.0)])

    optimizer.register_step_pre_hook(lambda who, args, kwargs: (args, {"grads": [3 * g for g in kwargs["grads"]]}))
    # The next hook sees what the one before made of them.
    optimizer.register_step_pre_hook(lambda who, args, kwargs: (args, {"grads": [2 * g for g in kwargs["grads"]]}))
    seen = []
    optimizer.register_step_post_hook(lambda who, args, kwargs: seen.append(kwargs["grads"][0].tolist()))
    step(optimizer)
    assert np.array_equal(x, expected.param_groups[0]["params"][0])
    assert seen == [[6.0, 6.0]]


def test_pre_hook_may_put_a_closure_in():
    parameter = Parameter([1.0])
    optimizer = numbopt.SGD([parameter], lr=0.5)
    with optimizer.register_step_pre_hook(lambda who, args, kwargs: ((who, lambda: (7.0, [[2.0]])), kwargs)):
        assert optimizer.step() == 7.0
    with optimizer.register_step_pre_hook(lambda who, args, kwargs: (args, {"closure": lambda: (8.0, [[0.0]])})):
        assert optimizer.step() == 8.0
    assert parameter.data == [0.0]


def test_pre_hook_may_change_gradients_and_options_in_place():
    parameter = Parameter([1.0])
    parameter.grad = [100.0]
    optimizer = numbopt.SGD([parameter], lr=0.5)

    def clip(who, args, kwargs):
        np.clip(parameter.grad, -1, 1, out=parameter.grad)
        who.param_groups[0]["lr"] = 0.25

    optimizer.register_step_pre_hook(clip)
    optimizer.step()
    assert parameter.data == [0.75]


@pytest.mark.parametrize("result", [True, 0, [], ("args",), ((), {}, ()), {"grads": None}], ids=repr)
def test_pre_hook_with_a_wrong_result_is_refused_before_the_step(optimizer, x, result):
    start, calls = x.copy(), Calls()
    optimizer.register_step_pre_hook(lambda who, args, kwargs: result)
    optimizer.register_step_post_hook(calls.hook("after"))
    with pytest.raises(RuntimeError, match="must return None or a tuple of \\(new_args, new_kwargs\\), but got"):
        step(optimizer)
    assert np.array_equal(x, start)
    assert len(optimizer.state) == 0
    assert optimizer.step_count == 0
    assert calls == []


def test_hook_that_raises_stops_the_step(optimizer, x):
    def fail(*arguments):
        raise ArithmeticError("stop")

    start = x.copy()
    with optimizer.register_step_pre_hook(fail), pytest.raises(ArithmeticError, match="stop"):
        step(optimizer)
    assert np.array_equal(x, start)
    assert len(optimizer.state) == 0
    step(optimizer)
    assert not np.array_equal(x, start)


def test_result_of_a_post_hook_is_ignored(optimizer):
    optimizer.register_step_post_hook(lambda *arguments: "ignored")
    assert optimizer.step(lambda: (1.5, [np.ones(2)])) == 1.5


def test_step_with_hooks_equals_a_step_without(optimizer, x):
    without = copy.deepcopy(optimizer)
    optimizer.register_step_pre_hook(lambda *arguments: None)
    for _ in range(3):
        step(optimizer)
        step(without)
    assert np.array_equal(x, without.param_groups[0]["params"][0])
    assert optimizer.step_count == without.step_count == 3


# ---- state dicts


def test_state_dict_pre_hook_may_add_to_the_state(optimizer):
    optimizer.register_state_dict_pre_hook(lambda who: who.state.__setitem__("test", 1))
    assert "test" not in optimizer.state
    state_dict = optimizer.state_dict()
    assert state_dict["state"]["test"] == 1
    assert optimizer.state["test"] == 1


def test_state_dict_post_hook_may_edit_or_replace_the_state_dict(optimizer):
    step(optimizer)

    def edit(who, state_dict):
        assert who is optimizer
        state_dict["edited"] = True

    with optimizer.register_state_dict_post_hook(edit):
        assert optimizer.state_dict()["edited"]
        with optimizer.register_state_dict_post_hook(lambda who, state_dict: {"replaced": state_dict["edited"]}):
            assert optimizer.state_dict() == {"replaced": True}
    assert "edited" not in optimizer.state_dict()


def test_state_dict_post_hook_sees_what_the_pre_hook_did(optimizer):
    def pop(who, state_dict):
        state_dict["found"] = state_dict["state"].pop("test", None) is not None
        return state_dict

    optimizer.register_state_dict_post_hook(pop)
    assert not optimizer.state_dict()["found"]
    optimizer.register_state_dict_pre_hook(lambda who: who.state.__setitem__("test", 1))
    state_dict = optimizer.state_dict()
    assert state_dict["found"]
    assert "test" not in state_dict["state"]


def test_load_pre_hook_may_edit_or_replace_and_prepend_puts_it_first(optimizer):
    def edit(who, state_dict):
        assert who is optimizer
        state_dict["param_groups"][0]["lr"] = 0.002

    def replace(who, state_dict):
        other = copy.deepcopy(state_dict)
        other["param_groups"][0]["lr"] = 0.003
        return other

    def loaded_lr():
        state_dict = optimizer.state_dict()
        optimizer.load_state_dict(state_dict)
        return optimizer.param_groups[0]["lr"]

    optimizer.register_load_state_dict_pre_hook(edit)
    assert loaded_lr() == 0.002
    with optimizer.register_load_state_dict_pre_hook(replace, prepend=True):
        assert loaded_lr() == 0.002  # the later one has the last word
    with optimizer.register_load_state_dict_pre_hook(replace):
        assert loaded_lr() == 0.003


def test_load_post_hook_sees_what_was_loaded(optimizer):
    def look(who):
        who.state["seen lr"] = who.param_groups[0]["lr"]

    optimizer.register_load_state_dict_post_hook(look)
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state["seen lr"] == 0.1

    def edit(who, state_dict):
        state_dict["param_groups"][0]["lr"] = 0.003

    optimizer.register_load_state_dict_pre_hook(edit)
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state["seen lr"] == 0.003


def test_refused_load_calls_no_post_hook(optimizer):
    calls = Calls()
    optimizer.register_load_state_dict_post_hook(calls.hook("after"))
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
    assert calls == []


# ---- all kinds


@pytest.mark.parametrize("register", WITH_PREPEND)
def test_prepended_hooks_come_first(optimizer, register):
    calls = Calls()
    for name, prepend in (("a", False), ("b", False), ("c", True), ("d", True)):
        getattr(optimizer, register)(calls.hook(name), prepend=prepend)
    use_all(optimizer)
    assert calls == ["d", "c", "a", "b"]


@pytest.mark.parametrize("register", REGISTERING)
def test_handles_remove_only_their_own_hook(optimizer, register):
    calls = Calls()
    same = calls.hook("same")
    first, second, third = (getattr(optimizer, register)(hook) for hook in (same, calls.hook("other"), same))
    assert len({first.id, second.id, third.id}) == 3
    use_all(optimizer)
    assert calls == ["same", "other", "same"]
    first.remove()
    first.remove()  # a second time does nothing
    use_all(optimizer)
    assert calls[3:] == ["other", "same"]
    second.remove()
    third.remove()
    use_all(optimizer)
    assert len(calls) == 5


@pytest.mark.parametrize("register", REGISTERING)
def test_handles_are_context_managers(optimizer, register):
    calls = Calls()
    with getattr(optimizer, register)(calls.hook("inside")) as handle:
        assert handle.id is not None
        use_all(optimizer)
    use_all(optimizer)
    with pytest.raises(KeyError), getattr(optimizer, register)(calls.hook("until an error")):
        raise KeyError
    use_all(optimizer)
    assert calls == ["inside"]


@pytest.mark.parametrize("register", REGISTERING)
def test_hook_may_remove_itself(optimizer, register):
    calls = Calls()

    def once(*arguments):
        calls.append("once")
        handle.remove()

    handle = getattr(optimizer, register)(once)
    getattr(optimizer, register)(calls.hook("always"))
    use_all(optimizer)
    use_all(optimizer)
    assert calls == ["once", "always", "always"]


def test_global_handles_are_context_managers_too():
    calls = Calls()
    optimizer = numbopt.SGD([np.zeros(2)])
    with (
        numbopt.register_optimizer_step_pre_hook(calls.hook("pre")),
        numbopt.register_optimizer_step_post_hook(calls.hook("post")),
    ):
        step(optimizer)
    step(optimizer)
    assert calls == ["pre", "post"]


@pytest.mark.parametrize("register", REGISTERING)
def test_what_cannot_be_called_is_no_hook(optimizer, register):
    with pytest.raises(TypeError, match="hook must be callable"):
        getattr(optimizer, register)("not a function")
    use_all(optimizer)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_have_no_hooks(optimizer, copied):
    calls = Calls()
    # A local function cannot be pickled, and need not be.
    for register in REGISTERING:
        getattr(optimizer, register)(calls.hook(register))
    other = copied(optimizer)
    use_all(other)
    assert calls == []
    use_all(optimizer)
    assert sorted(calls) == sorted(REGISTERING)

    # The copy takes hooks of its own, and the original does not have them.
    other.register_step_pre_hook(calls.hook("of the copy"))
    step(optimizer)
    assert "of the copy" not in calls
    step(other)
    assert calls[-1] == "of the copy"
