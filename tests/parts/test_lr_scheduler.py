"""Schedulers without torch: values, errors, state dicts, what happens between two schedulers and to a user's edits."""

import copy
import doctest
import gc
import importlib
import itertools
import json
import math
import pickle
import pkgutil
import warnings
import weakref
from functools import partial

import numpy as np
import pytest
from cases.schedulers import ARGUMENTS, BEYOND_TORCH, EPOCHS, OTHER_ARGUMENTS, Halves

import numbopt
from numbopt import lr_scheduler, schedules
from numbopt.lr_scheduler import (
    SWALR,
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    FactorLR,
    InverseSquareRootLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    ParamScheduler,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
    WarmupCosineLR,
    WarmupStableDecayLR,
)

ALL = {**ARGUMENTS, **BEYOND_TORCH}
for_every_row = pytest.mark.parametrize("name", ALL)


def new_optimizer(cls="SGD", lr=(0.05, 0.5), **options):
    options = {"momentum": 0.7, **options} if cls == "SGD" else options
    groups = [{"params": [np.zeros(2)], "lr": rate} for rate in lr]
    return getattr(numbopt, cls)(groups, lr=0.1, **options)


def build(name, optimizer, rows=ALL, **more):
    cls, arguments = rows[name]
    return getattr(lr_scheduler, cls)(optimizer, **{**copy.deepcopy(arguments), **more})


def lrs(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def follow(optimizer, scheduler, epochs=EPOCHS):
    values = [[*lrs(optimizer), optimizer.param_groups[0]["momentum"]]]
    for _ in range(epochs):
        optimizer.step()
        scheduler.step()
        values.append([*lrs(optimizer), optimizer.param_groups[0]["momentum"]])
    return values


def first_lr(optimizer, scheduler, epochs):
    return [row[0] for row in follow(optimizer, scheduler, epochs - 1)]


# ---- properties of all of them


def test_every_public_scheduler_has_a_row():
    tested = {cls for cls, _ in ALL.values()}
    others = {"Scheduler", "LRScheduler", "FactorLR", "ParamScheduler", "ReduceLROnPlateau"}
    others |= {"SequentialLR", "ChainedScheduler"}
    assert tested | others | {"EPOCH_DEPRECATION_WARNING"} == set(lr_scheduler.__all__)


@for_every_row
def test_state_dict_is_plain_and_restores_exactly(name):
    expected = follow((optimizer := new_optimizer()), build(name, optimizer))
    follow((optimizer := new_optimizer()), (scheduler := build(name, optimizer)), 19)
    state = scheduler.state_dict()
    text = json.dumps(state)

    resumed = new_optimizer()
    other = build(name, resumed, {**OTHER_ARGUMENTS, **BEYOND_TORCH})
    resumed.load_state_dict(optimizer.state_dict())
    other.load_state_dict(json.loads(text))
    assert json.dumps(other.state_dict()) == text
    assert json.dumps(state) == text  # loading left it alone
    assert follow(resumed, other, EPOCHS - 19) == expected[19:]


@for_every_row
def test_state_dict_shares_nothing(name):
    follow((optimizer := new_optimizer()), (scheduler := build(name, optimizer)), 3)
    state = scheduler.state_dict()
    before = copy.deepcopy(state)
    follow(optimizer, scheduler, 5)
    assert state == before
    other = build(name, new_optimizer(), {**OTHER_ARGUMENTS, **BEYOND_TORCH})
    other.load_state_dict(state)
    follow(other.optimizer, other, 5)
    assert state == before


@for_every_row
def test_the_state_of_another_kind_is_refused(name):
    class Other(LRScheduler):
        def __init__(self, optimizer):
            self.unknown_to_all = 1
            super().__init__(optimizer)

        def get_lr(self):
            return self.base_lrs

    other = Other(new_optimizer())
    scheduler = build(name, new_optimizer())
    before = scheduler.state_dict()
    with pytest.raises(ValueError, match="not a state dict of Other: it lacks"):
        other.load_state_dict(before)
    with pytest.raises(ValueError, match="lacks"):
        scheduler.load_state_dict({"gamma_": 3})
    assert scheduler.state_dict() == before


@for_every_row
def test_pickle_and_deepcopy(name):
    follow((optimizer := new_optimizer()), (scheduler := build(name, optimizer)), 5)
    for copied in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
        assert copied.optimizer is not optimizer
        assert copied.state_dict() == scheduler.state_dict()
    assert follow(copied.optimizer, copied, 20) == follow(optimizer, scheduler, 20)


@for_every_row
def test_the_closed_form_equals_the_steps(name):
    stepped = follow((optimizer := new_optimizer()), build(name, optimizer))
    if ALL[name][0] in ("MultiplicativeLR", "SWALR"):
        return  # build on the value before
    optimizer = new_optimizer()
    scheduler = build(name, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for epoch in (30, 5, 6, 0, 45, 17):
            scheduler.step(epoch)
            found = [*lrs(optimizer), optimizer.param_groups[0]["momentum"]]
            np.testing.assert_allclose(found, stepped[epoch], rtol=1e-12, atol=1e-16)


@for_every_row
def test_the_same_epoch_again_changes_nothing(name):
    if ALL[name][0] in ("MultiplicativeLR", "SWALR"):
        return
    scheduler = build(name, new_optimizer())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scheduler.step(2)
        first = scheduler.get_last_lr()
        for _ in range(5):
            scheduler.step(2)
            assert scheduler.get_last_lr() == first


@for_every_row
def test_an_optimizer_is_required(name):
    for wrong in (None, 3, [np.zeros(2)]):
        with pytest.raises(TypeError, match="is not an Optimizer"):
            build(name, wrong)


@for_every_row
def test_arrays_as_learning_rates_are_filled_and_not_shared(name):
    expected = follow((optimizer := new_optimizer()), build(name, optimizer))
    arrays = [np.array(0.05), np.array([0.5])]
    optimizer = new_optimizer(lr=arrays)
    scheduler = build(name, optimizer)
    for row in expected[1:]:
        optimizer.step()
        scheduler.step()
        assert [array.item() for array in arrays] == row[:2]
    assert all(group["lr"] is array for group, array in zip(optimizer.param_groups, arrays, strict=True))
    assert {type(value) for value in scheduler.get_last_lr() + list(scheduler.base_lrs)} == {float}
    json.dumps(scheduler.state_dict())


def test_a_float32_array_keeps_its_type():
    optimizer = new_optimizer(lr=[np.array(0.5, np.float32), 0.5])
    plateau = ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    plateau.step(1.0)
    plateau.step(1.0)
    lr = optimizer.param_groups[0]["lr"]
    assert isinstance(lr, np.ndarray) and lr.dtype == np.float32 and lr == np.float32(0.25)


@for_every_row
def test_nothing_keeps_a_scheduler_alive(name):
    gc.disable()
    try:
        optimizer = new_optimizer()
        scheduler = build(name, optimizer)
        follow(optimizer, scheduler, 2)
        reference = weakref.ref(scheduler)
        del scheduler
        assert reference() is None
    finally:
        gc.enable()


@for_every_row
def test_arguments_are_not_changed_and_not_kept(name):
    cls, arguments = ALL[name]
    given = {key: copy.copy(value) if isinstance(value, list) else value for key, value in arguments.items()}
    before = {key: copy.copy(value) for key, value in given.items() if isinstance(value, list)}
    optimizer = new_optimizer()
    scheduler = getattr(lr_scheduler, cls)(optimizer, **given)
    follow(optimizer, scheduler, 9)
    assert {key: given[key] for key in before} == before
    for key in before:
        given[key].append(None)
    follow(optimizer, scheduler, 9)


@pytest.mark.parametrize("name", ["step", "multi step", "constant", "linear", "exponential", "cosine", "polynomial"])
def test_groups_that_are_added_later_are_scheduled(name):
    optimizer = new_optimizer()
    scheduler = build(name, optimizer)
    follow(optimizer, scheduler, 2)
    optimizer.add_param_group({"params": [np.zeros(3)], "lr": 0.3})
    before = lrs(optimizer)
    follow(optimizer, scheduler, 2)
    after = lrs(optimizer)
    assert after[2] / before[2] == pytest.approx(after[1] / before[1])
    assert scheduler.base_lrs == [0.05, 0.5, 0.3]


@pytest.mark.parametrize("name", ["lambda", "multiplicative", "triangular"])
def test_a_group_added_to_lists_of_arguments_is_refused_until_they_are_extended(name):
    optimizer = new_optimizer()
    scheduler = build(name, optimizer)
    optimizer.add_param_group({"params": [np.zeros(3)], "lr": 0.3})
    before = scheduler.state_dict(), lrs(optimizer)
    optimizer.step()
    with pytest.raises(ValueError, match="has 2 entries for 3 param groups; append one"):
        scheduler.step()
    assert (scheduler.state_dict(), lrs(optimizer)) == before
    for attribute in scheduler.one_per_group:
        values = getattr(scheduler, attribute)
        values.append(values[-1])
    scheduler.step()


@pytest.mark.parametrize("name", ["one cycle", "swa"])
def test_a_group_added_to_options_in_groups_is_refused(name):
    optimizer = new_optimizer()
    scheduler = build(name, optimizer)
    optimizer.add_param_group({"params": [np.zeros(3)], "lr": 0.3})
    optimizer.step()
    with pytest.raises(ValueError, match=r"param_groups\[2\] lacks"):
        scheduler.step()
    assert scheduler.last_epoch == 0


# ---- the order of calls, get_lr, resuming


@for_every_row
def test_a_step_before_that_of_the_optimizer_warns_once(name):
    scheduler = build(name, new_optimizer())
    with pytest.warns(UserWarning, match="how-to-adjust-learning-rate") as caught:
        scheduler.step()
    assert [warning.filename for warning in caught] == [__file__]
    scheduler.step()


def test_the_order_is_checked_from_the_construction_of_the_scheduler_on():
    optimizer = new_optimizer()
    optimizer.step()
    scheduler = StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()


def test_an_overridden_step_of_the_optimizer_counts():
    class Noted(numbopt.SGD):
        def step(self, *args, **kwargs):
            return super().step(*args, **kwargs)

    optimizer = Noted([np.zeros(2)], lr=0.1)
    scheduler = StepLR(optimizer, 3)
    optimizer.step()
    scheduler.step()


def test_the_epoch_argument_warns():
    optimizer = new_optimizer()
    scheduler = StepLR(optimizer, 3)
    optimizer.step()
    with pytest.warns(UserWarning) as caught:
        scheduler.step(4)
    assert [str(warning.message) for warning in caught] == [lr_scheduler.EPOCH_DEPRECATION_WARNING]
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="non-negative integer epoch"):
        scheduler.step(-1)
    assert scheduler.last_epoch == 4


@for_every_row
def test_get_lr_outside_step_warns(name):
    scheduler = build(name, new_optimizer())
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()


def test_get_lr_takes_no_epoch():
    class Old(LRScheduler):
        def get_lr(self, epoch):
            return [epoch]

    with pytest.raises(TypeError):
        Old(new_optimizer())


def test_a_scheduler_of_ones_own():
    class Harmonic(LRScheduler):
        def get_lr(self):
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    optimizer = new_optimizer()
    assert first_lr(optimizer, Harmonic(optimizer), 3) == [0.05, 0.025, 0.05 / 3]


def test_a_scheduler_of_ones_own_that_gives_too_few_or_no_numbers():
    class Wrong(LRScheduler):
        def get_lr(self):
            return [0.1] if self.last_epoch == 1 else [None] * 2 if self.last_epoch == 2 else self.base_lrs

    optimizer = new_optimizer()
    scheduler = Wrong(optimizer)
    optimizer.step()
    with pytest.raises(ValueError, match="Wrong has 1 learning rates for 2 param groups"):
        scheduler.step()
    scheduler.last_epoch = 1
    with pytest.raises(TypeError, match="lr must be a real number"):
        scheduler.step()
    assert lrs(optimizer) == [0.05, 0.5]
    with pytest.raises(NotImplementedError, match="must define get_lr"):
        LRScheduler(optimizer)
    with pytest.raises(NotImplementedError, match="must define schedule"):
        FactorLR(optimizer)


def test_resuming_needs_initial_lr():
    text = r"param 'initial_lr' is not specified in param_groups\[0\] when resuming scheduler with last_epoch >= 0"
    for name in ALL:
        if "one cycle" not in name:
            with pytest.raises(KeyError, match=text):
                build(name, new_optimizer(), last_epoch=3)


@for_every_row
def test_resumed_from_last_epoch_after_loading_the_optimizer(name):
    optimizer = new_optimizer()
    expected = follow(optimizer, build(name, optimizer))
    optimizer = new_optimizer()
    follow(optimizer, build(name, optimizer), 8)
    resumed = new_optimizer()
    resumed.load_state_dict(optimizer.state_dict())
    scheduler = build(name, resumed, last_epoch=7)
    assert scheduler.last_epoch == 8
    np.testing.assert_allclose(follow(resumed, scheduler, EPOCHS - 8), expected[8:], rtol=1e-12, atol=1e-18)


def test_initial_lr_is_what_the_first_scheduler_found():
    optimizer = new_optimizer(lr=[0.8, np.array(0.4)])
    LinearLR(optimizer, 0.5)
    second = ExponentialLR(optimizer, 0.5)
    assert second.base_lrs == [0.8, 0.4]
    assert lrs(optimizer) == [0.4, 0.2]
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.8, 0.4]


# ---- values


def test_step_lr():
    optimizer = new_optimizer()
    found = first_lr(optimizer, StepLR(optimizer, 3, 0.1), 10)
    np.testing.assert_allclose(found, [0.05] * 3 + [0.005] * 3 + [0.0005] * 3 + [0.00005], rtol=1e-14)


def test_multi_step_lr():
    optimizer = new_optimizer()
    found = first_lr(optimizer, MultiStepLR(optimizer, [5, 2, 9], 0.1), 10)
    np.testing.assert_allclose(found, [0.05] * 2 + [0.005] * 3 + [0.0005] * 4 + [0.00005], rtol=1e-14)


def test_constant_lr():
    optimizer = new_optimizer()
    np.testing.assert_allclose(first_lr(optimizer, ConstantLR(optimizer, 0.5, 5), 10), [0.025] * 5 + [0.05] * 5)


def test_constant_lr_may_start_at_zero():
    optimizer = new_optimizer()
    assert first_lr(optimizer, ConstantLR(optimizer, 0, 2), 4) == [0, 0, 0.05, 0.05]


def test_linear_lr():
    optimizer = new_optimizer()
    found = first_lr(optimizer, LinearLR(optimizer, 0.5, total_iters=4), 10)
    np.testing.assert_allclose(found, [0.025, 0.03125, 0.0375, 0.04375] + [0.05] * 6, rtol=1e-14)


def test_exponential_lr():
    optimizer = new_optimizer()
    np.testing.assert_allclose(first_lr(optimizer, ExponentialLR(optimizer, 0.9), 10), 0.05 * 0.9 ** np.arange(10))


def test_polynomial_lr():
    optimizer = new_optimizer()
    expected = [0.05 * (1 - min(epoch, 5) / 5) ** 0.9 for epoch in range(10)]
    np.testing.assert_allclose(first_lr(optimizer, PolynomialLR(optimizer, 5, 0.9), 10), expected)


def test_cosine_annealing_lr_goes_on_after_its_minimum():
    optimizer = new_optimizer()
    expected = [0.001 + 0.049 * (1 + math.cos(math.pi * epoch / 5)) / 2 for epoch in range(60)]
    np.testing.assert_allclose(first_lr(optimizer, CosineAnnealingLR(optimizer, 5, 0.001), 60), expected, rtol=1e-12)


def test_lambda_lr():
    optimizer = new_optimizer()
    scheduler = LambdaLR(optimizer, [lambda epoch: 0.9**epoch, lambda epoch: 0.8**epoch])
    np.testing.assert_allclose(
        np.array(follow(optimizer, scheduler, 9))[:, :2],
        [[0.05 * 0.9**epoch, 0.5 * 0.8**epoch] for epoch in range(10)],
    )


def test_multiplicative_lr():
    optimizer = new_optimizer()
    scheduler = MultiplicativeLR(optimizer, lambda epoch: 0.95)
    np.testing.assert_allclose(first_lr(optimizer, scheduler, 10), 0.05 * 0.95 ** np.arange(10))


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_warm_restarts(factor):
    optimizer = new_optimizer()
    scheduler = CosineAnnealingWarmRestarts(optimizer, 10, factor, eta_min=1e-4)
    position, length, expected = 0, 10, []
    for _ in range(100):
        expected.append(1e-4 + (0.05 - 1e-4) * (1 + math.cos(math.pi * position / length)) / 2)
        position += 1
        if position == length:
            position, length = 0, length * factor
    np.testing.assert_allclose(first_lr(optimizer, scheduler, 100), expected, rtol=1e-12)


def test_warm_restarts_within_epochs():
    optimizer = new_optimizer()
    scheduler = CosineAnnealingWarmRestarts(optimizer, 2, 2)
    optimizer.step()
    for epoch in np.arange(0, 13.9, 0.1):
        scheduler.step(epoch)
        assert scheduler.get_last_lr()[0] == 0.05 * schedules.cosine_warm_restarts(epoch, 2, 2)
        assert scheduler.last_epoch == math.floor(epoch)
    scheduler.step(3.25)
    assert (scheduler.T_cur, scheduler.T_i) == (1.25, 4)
    scheduler.step()
    assert (scheduler.last_epoch, scheduler.T_cur, scheduler.T_i) == (4, 2.25, 4)
    scheduler.step(1)
    assert (scheduler.T_cur, scheduler.T_i) == (1, 2)
    for epoch in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="Expected non-negative epoch"):
            scheduler.step(epoch)


CYCLE = [1, 2, 3, 4, 5, 4, 3, 2] * 2
HEIGHTS = {
    "triangular": [1] * 16,
    "triangular2": [1] * 8 + [0.5] * 8,
    "exp_range": [0.9**step for step in range(16)],
}


@pytest.mark.parametrize("mode", HEIGHTS)
@pytest.mark.parametrize("cls", ["SGD", "Adam"])
def test_cyclic_lr(mode, cls):
    optimizer = new_optimizer(cls)
    scheduler = CyclicLR(
        optimizer, [1, 2], [5, 10], 4, mode=mode, gamma=0.9, base_momentum=[0.1, 0.2], max_momentum=[0.5, 0.6]
    )
    for height, scale in zip((np.array(CYCLE) - 1) / 4, HEIGHTS[mode], strict=True):
        np.testing.assert_allclose(lrs(optimizer), [1 + 4 * height * scale, 2 + 8 * height * scale])
        momentum = [group["betas"][0] if cls == "Adam" else group["momentum"] for group in optimizer.param_groups]
        np.testing.assert_allclose(momentum, [0.5 - 0.4 * height * scale, 0.6 - 0.4 * height * scale])
        optimizer.step()
        scheduler.step()
    if cls == "Adam":
        assert all(group["betas"][1] == 0.999 for group in optimizer.param_groups)


def test_cyclic_lr_with_unequal_parts_and_without_momentum():
    optimizer = new_optimizer()
    scheduler = CyclicLR(optimizer, 1, 5, 4, 2, cycle_momentum=False)
    found = follow(optimizer, scheduler, 11)
    np.testing.assert_allclose([row[0] for row in found], [1, 2, 3, 4, 5, 3] * 2)
    assert {row[2] for row in found} == {0.7}


def test_cyclic_lr_by_a_function_of_the_user():
    by_cycle = new_optimizer()
    scheduler = CyclicLR(by_cycle, 1, 5, 4, scale_fn=lambda cycle: 1 / cycle, cycle_momentum=False)
    halves = np.repeat([1, 0.5], 8)
    np.testing.assert_allclose(first_lr(by_cycle, scheduler, 16), 1 + (np.array(CYCLE) - 1) * halves)
    by_epoch = new_optimizer()
    scheduler = CyclicLR(by_epoch, 1, 5, 4, scale_fn=lambda epoch: 0.9**epoch, scale_mode="iterations")
    np.testing.assert_allclose(first_lr(by_epoch, scheduler, 16), 1 + (np.array(CYCLE) - 1) * 0.9 ** np.arange(16))


def test_attributes_of_callable_objects_are_restored():
    scheduler = CyclicLR(new_optimizer(), 1, 5, scale_fn=Halves(7))
    state = scheduler.state_dict()
    function = Halves(1)
    CyclicLR(new_optimizer(), 1, 5, scale_fn=function).load_state_dict(state)
    assert function.every == 7
    state = LambdaLR(new_optimizer(), [Halves(5), math.cos]).state_dict()
    assert state["lr_lambdas"] == [{"every": 5}, {}]
    function.every = 1
    other = LambdaLR(new_optimizer(), [function, lambda epoch: 1])
    other.load_state_dict(state)
    assert function.every == 5
    single = LambdaLR(numbopt.SGD([np.zeros(2)]), function)
    with pytest.raises(ValueError, match="the state dict has 2 lr_lambdas for 1"):
        single.load_state_dict(state)


@pytest.mark.parametrize("cls", ["SGD", "Adam"])
def test_one_cycle_lr(cls):
    optimizer = new_optimizer(cls)
    scheduler = OneCycleLR(
        optimizer, 25, 10, pct_start=0.5, anneal_strategy="linear", base_momentum=0.1, max_momentum=0.5, div_factor=25,
        final_div_factor=2,
    )  # fmt: skip
    expected = [1, 7, 13, 19, 25, 20.1, 15.2, 10.3, 5.4, 0.5]
    momentums = [0.5, 0.4, 0.3, 0.2, 0.1, 0.18, 0.26, 0.34, 0.42, 0.5]
    for lr, momentum in zip(expected, momentums, strict=True):
        np.testing.assert_allclose(lrs(optimizer), [lr, lr])
        group = optimizer.param_groups[1]
        assert (group["betas"][0] if cls == "Adam" else group["momentum"]) == pytest.approx(momentum)
        optimizer.step()
        scheduler.step()
    assert lrs(optimizer) == [0.5, 0.5]  # the step after the last one goes nowhere
    assert {"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"} <= set(group)


def test_one_cycle_lr_ends_with_an_error_that_changes_nothing():
    optimizer = new_optimizer()
    scheduler = OneCycleLR(optimizer, 1.0, 3)
    follow(optimizer, scheduler, 3)
    before = scheduler.state_dict(), lrs(optimizer)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Tried to step 4 times\. The specified number of total steps is 3"):
            scheduler.step()
    assert (scheduler.state_dict(), lrs(optimizer)) == before


def test_momentum_is_cycled_only_where_there_is_momentum():
    for cls in ("Rprop", "Adadelta", "Adagrad"):
        optimizer = new_optimizer(cls)
        for make in (partial(CyclicLR, base_lr=1, max_lr=5), partial(OneCycleLR, max_lr=1, total_steps=9)):
            with pytest.raises(ValueError, match="optimizer must support momentum or beta1 with `cycle_momentum`"):
                make(optimizer)
            assert lrs(optimizer) == [0.05, 0.5]
            assert "initial_lr" not in optimizer.param_groups[0]
        CyclicLR(optimizer, 1, 5, cycle_momentum=False)


def test_swalr_goes_on_from_where_another_scheduler_ended():
    for strategy in ("cos", "linear"):
        optimizer = new_optimizer()
        scheduler = MultiplicativeLR(optimizer, lambda epoch: 0.9)
        swa = SWALR(optimizer, 0.01, anneal_epochs=4, anneal_strategy=strategy)
        follow(optimizer, scheduler, 4)
        start = optimizer.param_groups[0]["lr"]
        assert start == pytest.approx(0.05 * 0.9**4)
        found = [row[0] for row in follow(optimizer, swa, 8)]
        expected = [start + (0.01 - start) * schedules.ease(epoch / 4, strategy) for epoch in range(9)]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert found[4:] == [0.01] * 5
        optimizer.param_groups[0]["swa_lr"] = 0.02
        swa.step()
        assert swa.get_last_lr() == [0.02, 0.01]


def test_swalr_at_once():
    optimizer = new_optimizer()
    SWALR(optimizer, [0.01, 0.02], anneal_epochs=0)
    assert lrs(optimizer) == [0.01, 0.02]


# ---- beyond torch


def test_warmup_cosine_lr():
    optimizer = new_optimizer()
    found = first_lr(optimizer, WarmupCosineLR(optimizer, 3, 9, end_factor=0.1), 12)
    np.testing.assert_allclose(found, [0.05 * schedules.warmup_cosine(epoch, 3, 9, 0.01, 0.1) for epoch in range(12)])


def test_warmup_stable_decay_lr():
    optimizer = new_optimizer()
    found = first_lr(optimizer, WarmupStableDecayLR(optimizer, 3, 2, 4, 0.1, decay_shape="cos"), 12)
    expected = [0.05 * schedules.warmup_stable_decay(epoch, 3, 2, 4, 0.1, 0, "cos") for epoch in range(12)]
    np.testing.assert_allclose(found, expected, atol=1e-18)


def test_inverse_square_root_lr():
    optimizer = new_optimizer()
    found = first_lr(optimizer, InverseSquareRootLR(optimizer, 4), 20)
    np.testing.assert_allclose(found, [0.05 * schedules.inverse_sqrt(epoch, 4) for epoch in range(20)])


@pytest.mark.parametrize("option", ["weight_decay", "momentum", "dampening", "lr"])
def test_any_option_can_be_scheduled_relative_to_each_group(option):
    optimizer = new_optimizer(weight_decay=0.5, dampening=0.5)
    optimizer.param_groups[1][option] = 0.25
    base = [group[option] for group in optimizer.param_groups]
    schedule = partial(schedules.linear, start_factor=1, end_factor=0, total_iters=4)
    scheduler = ParamScheduler(optimizer, option, schedule)
    for epoch in range(6):
        values = [group[option] for group in optimizer.param_groups]
        assert values == scheduler.get_last_value() == [value * schedule(epoch) for value in base]
        optimizer.step(grads=[np.ones(2)] * 2)
        scheduler.step()


def test_pairs_are_scheduled_as_values():
    optimizer = new_optimizer("Adam")
    scheduler = ParamScheduler(optimizer, "betas", lambda epoch: (0.9, 1 - 0.1**epoch / 2), relative=False)
    assert optimizer.param_groups[1]["betas"] == (0.9, 0.5)
    optimizer.step(grads=[np.ones(2)] * 2)
    scheduler.step()
    assert scheduler.get_last_value() == [(0.9, 0.95)] * 2
    with pytest.raises(TypeError, match=r"betas=\(0.9, 0.95\) cannot be multiplied; give relative=False"):
        ParamScheduler(optimizer, "betas", lambda epoch: 0.5)


def test_a_scheduled_option_reaches_the_update():
    x, y = np.array([1.0]), np.array([1.0])
    scheduled, by_hand = numbopt.AdamW([x], weight_decay=0.4), numbopt.AdamW([y], weight_decay=0.4)
    scheduler = ParamScheduler(scheduled, "weight_decay", lambda epoch: 1 / (1 + epoch))
    for epoch in range(5):
        by_hand.param_groups[0]["weight_decay"] = 0.4 / (1 + epoch)
        scheduled.step(grads=[x.copy()])
        by_hand.step(grads=[y.copy()])
        scheduler.step()
    np.testing.assert_allclose(x, y, rtol=1e-14)


def test_param_scheduler_restores_and_joins_chains():
    def build_chain():
        optimizer = new_optimizer("AdamW", weight_decay=0.4)
        decay = ParamScheduler(optimizer, "weight_decay", partial(schedules.cosine_annealing, T_max=20))
        return optimizer, ChainedScheduler([CosineAnnealingLR(optimizer, 20), decay])

    optimizer, chain = build_chain()
    rows = []
    for epoch in range(30):
        if epoch == 11:
            states = optimizer.state_dict(), json.loads(json.dumps(chain.state_dict()))
            optimizer, chain = build_chain()
            optimizer.load_state_dict(states[0])
            chain.load_state_dict(states[1])
        group = optimizer.param_groups[1]
        rows.append((group["lr"] / 0.5, group["weight_decay"] / 0.4))
        optimizer.step()
        chain.step()
    expected = [[schedules.cosine_annealing(epoch, 20)] * 2 for epoch in range(30)]
    np.testing.assert_allclose(rows, expected, rtol=1e-12, atol=1e-16)


def test_param_scheduler_refuses_what_cannot_be_scheduled():
    optimizer = new_optimizer()
    for name in ("weight_deca", "betas", "params"):
        with pytest.raises(ValueError, match=f"has no option '{name}' to schedule"):
            ParamScheduler(optimizer, name, abs)
    with pytest.raises(TypeError, match="schedule should be a function, but got float"):
        ParamScheduler(optimizer, "momentum", 0.5)
    with pytest.raises(ValueError, match="Expected 2 schedules, but got 3"):
        ParamScheduler(optimizer, "momentum", [abs] * 3)
    ParamScheduler(optimizer, "momentum", lambda epoch: -1)
    with pytest.raises(ValueError, match="momentum"):
        optimizer.step()


# ---- several schedulers, and the user's hand


FACTORS = {
    "step": ("step", partial(schedules.step_decay, step_size=7, gamma=0.3)),
    "multi step": ("multi step", partial(schedules.multi_step, milestones=[4, 9, 9, 30], gamma=0.5)),
    "constant": ("constant 1/7", partial(schedules.constant, factor=1 / 7, total_iters=11)),
    "linear": ("linear", schedules.linear),
    "exponential": ("exponential", partial(schedules.exponential, gamma=0.93)),
    "inverse": ("inverse square root", partial(schedules.inverse_sqrt, warmup_steps=6)),
}


@pytest.mark.parametrize("pair", list(itertools.combinations(FACTORS, 2)), ids=" + ".join)
def test_factors_of_two_schedulers_multiply(pair):
    optimizer = new_optimizer()
    schedulers = [build(FACTORS[name][0], optimizer) for name in pair]
    first, second = (FACTORS[name][1] for name in pair)
    for epoch in range(1, 40):
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
        factor = first(epoch) * second(epoch)
        np.testing.assert_allclose(lrs(optimizer), [0.05 * factor, 0.5 * factor], rtol=1e-12)


@pytest.mark.parametrize("name", FACTORS)
def test_an_edited_learning_rate_goes_on_from_there(name):
    row, schedule = FACTORS[name]
    optimizer = new_optimizer()
    scheduler = build(row, optimizer)
    follow(optimizer, scheduler, 3)
    optimizer.param_groups[0]["lr"] = 0.7
    follow(optimizer, scheduler, 9)
    np.testing.assert_allclose(lrs(optimizer), [0.7 * schedule(12) / schedule(3), 0.5 * schedule(12)], rtol=1e-12)


def test_an_edit_is_not_even_rounded_while_the_schedule_is_constant():
    optimizer = new_optimizer()
    scheduler = CosineAnnealingLR(optimizer, 4, eta_min=0.003)
    constant = ConstantLR(new_optimizer(), 0.3, 9)
    follow(optimizer, scheduler, 3)
    constant.optimizer.param_groups[0]["lr"] = 0.1 + 0.2
    follow(constant.optimizer, constant, 6)
    assert constant.get_last_lr()[0] == 0.1 + 0.2


def test_no_learning_rate_below_zero_when_others_push_it_below_the_floor():
    optimizer = new_optimizer()
    cosine, decay = CosineAnnealingLR(optimizer, 10, eta_min=0.01), ExponentialLR(optimizer, 0.8)
    for _ in range(60):
        optimizer.step()
        cosine.step()
        decay.step()
        assert min(lrs(optimizer)) >= 0


def test_schedules_may_reach_zero_and_come_back():
    optimizer = new_optimizer()
    found = first_lr(optimizer, LambdaLR(optimizer, lambda epoch: epoch % 2), 4)
    assert found == [0, 0.05, 0, 0.05]

    class Blink(FactorLR):
        def schedule(self, epoch):
            return epoch % 2

    optimizer = new_optimizer()
    assert first_lr(optimizer, Blink(optimizer), 4) == [0, 0.05, 0, 0.05]


def test_sequential_lr():
    optimizer = new_optimizer(lr=[1.0, 1.0])
    parts = [ConstantLR(optimizer, 0.1, 2), ExponentialLR(optimizer, 0.9), ConstantLR(optimizer, 0.5, 9)]
    scheduler = SequentialLR(optimizer, parts, [2, 5])
    expected = [0.1, 0.1, 1.0, 0.9, 0.81, 0.5, 0.5]
    np.testing.assert_allclose(first_lr(optimizer, scheduler, 7), expected)
    assert scheduler.get_last_lr() == lrs(optimizer)


def test_sequential_lr_undoes_what_constructors_wrote_and_keeps_arrays_apart():
    array = np.array(1.0)
    optimizer = new_optimizer(lr=[array, 1.0])
    parts = [StepLR(optimizer, 1, 0.5), ConstantLR(optimizer, 0.1), LinearLR(optimizer, 0.25)]
    SequentialLR(optimizer, parts, [3, 5])
    assert optimizer.param_groups[0]["lr"] is array
    assert array == 1 and optimizer.param_groups[0]["initial_lr"] == 1


def test_compounds_of_compounds():
    optimizer = new_optimizer(lr=[1.0, 1.0])

    def chain():
        return ChainedScheduler([ConstantLR(optimizer, 0.5, 2), ExponentialLR(optimizer, 0.9)])

    inner = SequentialLR(optimizer, [LinearLR(optimizer, 0.5, total_iters=2), StepLR(optimizer, 2, 0.1)], [2])
    scheduler = SequentialLR(optimizer, [chain(), inner, chain()], [4, 9])
    chained = [0.5, 0.45, 0.81, 0.729]
    expected = [*chained, 0.5, 0.75, 1.0, 1.0, 0.1, *chained]
    found = first_lr(optimizer, scheduler, 13)
    np.testing.assert_allclose(found, expected)
    state = scheduler.state_dict()
    assert json.loads(json.dumps(state)) == state


def test_compounds_refuse_wrong_parts():
    optimizer, other = new_optimizer(), new_optimizer()
    step, plateau = StepLR(optimizer, 3), ReduceLROnPlateau(optimizer)
    makers = [
        ("SequentialLR", lambda parts: SequentialLR(optimizer, parts, [3] * (len(parts) - 1))),
        ("ChainedScheduler", lambda parts: ChainedScheduler(parts, optimizer)),
    ]
    for name, make in makers:
        with pytest.raises(ValueError, match=f"{name} expects at least one scheduler, but got no scheduler"):
            make([])
        with pytest.raises(TypeError, match=f"{name} at index 1 should have `optimizer` as its attribute"):
            make([step, 3])
        with pytest.raises(ValueError, match=f"{name} does not support `ReduceLROnPlateau`.*at index 1"):
            make([step, plateau])
        with pytest.raises(ValueError, match=f"{name} expects all schedulers to belong to the same optimizer"):
            make([step, StepLR(other, 3)])
    with pytest.raises(TypeError, match="expects a list of schedulers"):
        ChainedScheduler(step)
    with pytest.raises(ValueError, match="belong to the same optimizer"):
        ChainedScheduler([step, StepLR(other, 3)])
    with pytest.raises(TypeError, match="schedulers of the learning rate"):
        SequentialLR(optimizer, [step, ParamScheduler(optimizer, "momentum", abs)], [3])
    with pytest.raises(ValueError, match="one more than the number of milestone points"):
        SequentialLR(optimizer, [step, step], [3, 4])
    with pytest.raises(ValueError, match="milestones must be ascending"):
        SequentialLR(optimizer, [step, step, step], [4, 3])
    with pytest.raises(ValueError, match="load_state_dict"):
        SequentialLR(optimizer, [step, step], [3], last_epoch=4)
    with pytest.raises(ValueError, match="_schedulers"):
        ChainedScheduler([step]).load_state_dict(ChainedScheduler([step, step]).state_dict())
    with pytest.raises(NotImplementedError, match="get_last_lr"):
        ChainedScheduler([step]).get_lr()


# ---- plateau


def plateau_lrs(metrics, **arguments):
    optimizer = new_optimizer(lr=[0.5, 0.25])
    scheduler = ReduceLROnPlateau(optimizer, **arguments)
    assert scheduler.get_last_lr() == [0.5, 0.25]
    rows = []
    for metric in metrics:
        optimizer.step()
        scheduler.step(metric)
        rows.append(lrs(optimizer))
        assert rows[-1] == scheduler.get_last_lr()
    return np.array(rows)


def test_plateau_reduces_after_patience():
    found = plateau_lrs([1.0] * 20, threshold_mode="abs", threshold=0.01, patience=5, cooldown=5)[:, 0]
    np.testing.assert_allclose(found, [0.5] * 6 + [0.05] * 11 + [0.005] * 3)


def test_plateau_leaves_progress_alone():
    assert np.all(plateau_lrs(10 - np.arange(20) * 0.1, threshold=0.001, patience=5)[:, 0] == 0.5)
    assert np.all(plateau_lrs(np.arange(20.0), mode="max", threshold=0.001, patience=5)[:, 0] == 0.5)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau_needs_more_than_the_threshold(mode, threshold_mode):
    sign = 1 if mode == "max" else -1
    arguments = {"mode": mode, "threshold_mode": threshold_mode, "threshold": 0.1, "patience": 0, "factor": 0.5}
    assert plateau_lrs([1, 1 + 0.11 * sign], **arguments)[-1, 0] == 0.5
    assert plateau_lrs([1, 1 + 0.09 * sign], **arguments)[-1, 0] == 0.25


def test_plateau_stops_at_min_lr_and_makes_no_tiny_changes():
    found = plateau_lrs([1.0] * 9, patience=0, min_lr=[0.1, 0.0], factor=0.5)
    np.testing.assert_allclose(found[-1], [0.1, 0.25 * 0.5**8])
    assert plateau_lrs([1.0] * 9, patience=0, eps=0.2, factor=0.5)[-1].tolist() == [0.25, 0.25]


def test_plateau_takes_nan_for_no_improvement():
    assert plateau_lrs([1.0, math.nan, math.nan], patience=1)[-1, 0] == 0.05


def test_plateau_state_restores_into_another_mode():
    scheduler = ReduceLROnPlateau(new_optimizer(), mode="max", threshold=0.3, threshold_mode="abs", patience=3)
    for metric in (1.0, 2.0, 2.1):
        scheduler.step(metric)
    other = ReduceLROnPlateau(new_optimizer())
    other.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))
    assert other.state_dict() == scheduler.state_dict()
    assert (other.best, other.num_bad_epochs, other.mode, other.in_cooldown) == (2.0, 1, "max", False)


def test_plateau_and_another_scheduler_multiply():
    optimizer = new_optimizer()
    step, plateau = StepLR(optimizer, 3, 0.1), ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    for _ in range(4):
        optimizer.step()
        step.step()
        plateau.step(1.0)
    np.testing.assert_allclose(lrs(optimizer), [0.05 * 0.1 * 0.5**3, 0.5 * 0.1 * 0.5**3])


def test_plateau_and_added_groups():
    optimizer = new_optimizer()
    scalar = ReduceLROnPlateau(optimizer, patience=0, min_lr=0.01)
    per_group = ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.01, 0.02])
    optimizer.add_param_group({"params": [np.zeros(2)], "lr": 0.05})
    for scheduler in (scalar, per_group):
        scheduler.step(1.0)
    scalar.step(1.0)
    assert lrs(optimizer)[2] == 0.01
    with pytest.raises(RuntimeError, match="The number of param groups in the"):
        per_group.step(1.0)
    per_group.min_lrs.append(0.001)
    per_group.step(1.0)
    assert lrs(optimizer)[2] == 0.001


# ---- arguments


@pytest.mark.parametrize(
    ("cls", "arguments", "text"),
    [
        (StepLR, {"step_size": -1}, "positive integer step_size, but got -1"),
        (StepLR, {"step_size": 0}, "step_size"),
        (StepLR, {"step_size": 2.5}, "step_size"),
        (StepLR, {"step_size": True}, "step_size"),
        (StepLR, {"step_size": 3, "gamma": -0.1}, "gamma must be a finite number >= 0, got -0.1"),
        (StepLR, {"step_size": 3, "gamma": math.nan}, "gamma"),
        (StepLR, {"step_size": 3, "gamma": "fast"}, "gamma must be a real number"),
        (StepLR, {"step_size": 3, "last_epoch": -2}, "last_epoch"),
        (MultiStepLR, {"milestones": 3}, "milestones must be a list of integers, got 3"),
        (MultiStepLR, {"milestones": [3, -1]}, r"milestones\[1\]"),
        (MultiStepLR, {"milestones": [3, 1.5]}, r"milestones\[1\]"),
        (MultiStepLR, {"milestones": [3], "gamma": math.inf}, "gamma"),
        (ConstantLR, {"factor": 1.1}, "Constant multiplicative factor expected to be between 0 and 1."),
        (ConstantLR, {"factor": -0.1}, "Constant multiplicative factor expected to be between 0 and 1."),
        (ConstantLR, {"total_iters": -1}, "total_iters"),
        (LinearLR, {"start_factor": 0.0}, "Starting multiplicative factor expected to be greater than 0 and less or"),
        (LinearLR, {"start_factor": 1.1}, "Starting multiplicative factor"),
        (LinearLR, {"end_factor": 1.1}, "Ending multiplicative factor expected to be between 0 and 1."),
        (LinearLR, {"end_factor": -0.1}, "Ending multiplicative factor"),
        (LinearLR, {"total_iters": 2.5}, "total_iters"),
        (ExponentialLR, {"gamma": -1}, "gamma"),
        (PolynomialLR, {"total_iters": 0}, "total_iters"),
        (PolynomialLR, {"power": -1}, "power"),
        (CosineAnnealingLR, {"T_max": 0}, "T_max must be a finite number"),
        (CosineAnnealingLR, {"T_max": -5}, "T_max"),
        (CosineAnnealingLR, {"T_max": 5, "eta_min": -1}, "eta_min"),
        (CosineAnnealingWarmRestarts, {"T_0": 0}, "Expected positive integer T_0, but got 0"),
        (CosineAnnealingWarmRestarts, {"T_0": 1.5}, "Expected positive integer T_0, but got 1.5"),
        (CosineAnnealingWarmRestarts, {"T_0": 3, "T_mult": 0}, "Expected integer T_mult >= 1, but got 0"),
        (CosineAnnealingWarmRestarts, {"T_0": 3, "T_mult": 1.5}, "Expected integer T_mult >= 1, but got 1.5"),
        (CosineAnnealingWarmRestarts, {"T_0": 3, "eta_min": "0"}, "eta_min"),
        (CyclicLR, {"base_lr": 1, "max_lr": [1, 2, 3]}, "max_lr must have the same length as optimizer.param_groups"),
        (CyclicLR, {"base_lr": -1, "max_lr": 1}, "base_lr"),
        (CyclicLR, {"base_lr": 1, "max_lr": 2, "mode": "square"}, "mode is invalid and scale_fn is None"),
        (CyclicLR, {"base_lr": 1, "max_lr": 2, "scale_fn": 3}, "scale_fn should be a function, but got int"),
        (CyclicLR, {"base_lr": 1, "max_lr": 2, "scale_mode": "epoch"}, "scale_mode must be one of 'cycle' or"),
        (CyclicLR, {"base_lr": 1, "max_lr": 2, "step_size_up": 0}, "step_size_up"),
        (CyclicLR, {"base_lr": 1, "max_lr": 2, "step_size_down": -1}, "step_size_down"),
        (CyclicLR, {"base_lr": 1, "max_lr": 2, "base_momentum": [1]}, "base_momentum must have the same length"),
        (OneCycleLR, {"max_lr": 1}, r"You must define either total_steps OR \(epochs AND steps_per_epoch\)"),
        (OneCycleLR, {"max_lr": 1, "epochs": 3}, "You must define either"),
        (OneCycleLR, {"max_lr": 1, "total_steps": 0}, "Expected positive integer total_steps, but got 0"),
        (OneCycleLR, {"max_lr": 1, "epochs": 2.5, "steps_per_epoch": 3}, "Expected positive integer epochs"),
        (OneCycleLR, {"max_lr": 1, "epochs": 2, "steps_per_epoch": -3}, "Expected positive integer steps_per_epoch"),
        (OneCycleLR, {"max_lr": 1, "total_steps": 9, "pct_start": 1.1}, "Expected float between 0 and 1 pct_start"),
        (OneCycleLR, {"max_lr": 1, "total_steps": 9, "pct_start": "1"}, "Expected float between 0 and 1 pct_start"),
        (OneCycleLR, {"max_lr": 1, "total_steps": 9, "anneal_strategy": "log"}, "anneal_strategy must be one of"),
        (OneCycleLR, {"max_lr": 1, "total_steps": 9, "div_factor": 0}, "div_factor"),
        (OneCycleLR, {"max_lr": 1, "total_steps": 9, "final_div_factor": 0}, "final_div_factor"),
        (OneCycleLR, {"max_lr": [1], "total_steps": 9}, "max_lr must have the same length"),
        (SWALR, {"swa_lr": 0.1, "anneal_strategy": "log"}, "anneal_strategy must be one of 'cos' or 'linear', instead"),
        (SWALR, {"swa_lr": 0.1, "anneal_epochs": -1}, "anneal_epochs must be equal or greater than 0, got -1"),
        (SWALR, {"swa_lr": 0.1, "anneal_epochs": 1.7}, "anneal_epochs must be equal or greater than 0, got 1.7"),
        (SWALR, {"swa_lr": [0.1]}, "swa_lr must have the same length as optimizer.param_groups"),
        (SWALR, {"swa_lr": -1}, "swa_lr"),
        (ReduceLROnPlateau, {"factor": 1.0}, "Factor should be < 1.0."),
        (ReduceLROnPlateau, {"factor": -0.1}, "factor"),
        (ReduceLROnPlateau, {"mode": "best"}, "mode must be one of"),
        (ReduceLROnPlateau, {"threshold_mode": "both"}, "threshold_mode must be one of"),
        (ReduceLROnPlateau, {"patience": -1}, "patience"),
        (ReduceLROnPlateau, {"cooldown": -1}, "cooldown"),
        (ReduceLROnPlateau, {"threshold": -1}, "threshold"),
        (ReduceLROnPlateau, {"min_lr": [0.1]}, "min_lr must have the same length"),
        (ReduceLROnPlateau, {"eps": -1}, "eps"),
        (LambdaLR, {"lr_lambda": [abs]}, "Expected 2 lr_lambdas, but got 1"),
        (LambdaLR, {"lr_lambda": 0.9}, "lr_lambda should be a function, but got float"),
        (MultiplicativeLR, {"lr_lambda": [abs, 0.9]}, "lr_lambda should be a function, but got float"),
        (WarmupCosineLR, {"warmup_steps": -1, "total_steps": 3}, "warmup_steps"),
        (WarmupCosineLR, {"warmup_steps": 3, "total_steps": 3}, "total_steps must be larger than warmup_steps=3"),
        (WarmupCosineLR, {"warmup_steps": 1, "total_steps": 3, "end_factor": -1}, "end_factor"),
        (WarmupStableDecayLR, {"warmup_steps": 1, "stable_steps": 1, "decay_steps": -1}, "decay_steps"),
        (
            WarmupStableDecayLR,
            {"warmup_steps": 1, "stable_steps": 1, "decay_steps": 1, "decay_shape": "exp"},
            "decay_shape must be one of",
        ),
        (
            WarmupCosineLR,
            {"warmup_steps": 1, "total_steps": 3, "start_factor": 0},
            "start_factor must be a finite number",
        ),
        (InverseSquareRootLR, {"warmup_steps": 0}, "warmup_steps"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_wrong_arguments_are_refused_and_change_nothing(cls, arguments, text):
    optimizer = new_optimizer()
    before = copy.deepcopy([{key: group[key] for key in group if key != "params"} for group in optimizer.param_groups])
    with pytest.raises((ValueError, TypeError), match=text):
        cls(optimizer, **arguments)
    after = [{key: group[key] for key in group if key != "params"} for group in optimizer.param_groups]
    assert after == before


def test_integers_of_numpy_are_fine_and_become_plain():
    scheduler = StepLR(new_optimizer(), np.int32(3), np.float32(0.5))
    MultiStepLR(new_optimizer(), np.array([3, 5]))
    assert json.loads(json.dumps(scheduler.state_dict()))["step_size"] == 3


NAMES = [info.name for info in pkgutil.iter_modules(lr_scheduler.__path__)]


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_the_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"numbopt.lr_scheduler.{name}")).failed == 0
