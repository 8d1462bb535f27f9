"""numbopt's schedulers against the installed torch: alone, together, edited, jumping and resumed."""

import copy
import itertools
import warnings

import numpy as np
import pytest
from cases.schedulers import ARGUMENTS, EPOCHS, OTHER_ARGUMENTS

import numbopt
import numbopt.lr_scheduler

torch = pytest.importorskip("torch")

# Imports torch, so only after its presence is known.
from support.torch_runs import SUPPORTED_TORCH  # noqa: E402

pytestmark = pytest.mark.skipif(
    not torch.__version__.startswith(SUPPORTED_TORCH),
    reason=f"compared with torch {SUPPORTED_TORCH}, found {torch.__version__}",
)

OPTIMIZERS = {"SGD": {"momentum": 0.7}, "Adam": {}}


# torch keeps a Counter of milestones, lengths of cycles as sizes and ratios, and of one cycle its phases.
OTHER_STATE = {"MultiStepLR", "CyclicLR", "OneCycleLR"}


class Side:
    """An optimizer with two groups, of torch or of numbopt, and schedulers on it."""

    def __init__(self, library, optimizer="SGD", lr=(0.05, 0.5)):
        new = torch.zeros if library is torch else np.zeros
        self.parameters = [new(3), new(2)]
        self.library = library
        self.of_torch = library is torch
        optimizers = torch.optim if self.of_torch else numbopt
        groups = [{"params": [parameter], "lr": rate} for parameter, rate in zip(self.parameters, lr, strict=True)]
        self.optimizer = getattr(optimizers, optimizer)(groups, lr=0.1, **OPTIMIZERS[optimizer])
        self.schedulers = []

    def new(self, cls, arguments):
        module = torch.optim.lr_scheduler if self.of_torch else numbopt.lr_scheduler
        if self.of_torch and cls == "SWALR":
            module = torch.optim.swa_utils
        return getattr(module, cls)(self.optimizer, **arguments)

    def add(self, name, rows=ARGUMENTS, **more):
        cls, arguments = rows[name]
        self.schedulers.append(self.new(cls, {**copy.deepcopy(arguments), **more}))
        return self

    def values(self):
        rows = []
        for group in self.optimizer.param_groups:
            momentum = group["betas"][0] if "betas" in group else group["momentum"]
            rows += [float(np.asarray(group["lr"]).item()), momentum]
        return rows

    def step(self, *epoch):
        self.optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if epoch else "error")
            for scheduler in self.schedulers:
                scheduler.step(*epoch)

    def follow(self, epochs):
        values = [self.values()]
        for _ in range(epochs):
            self.step()
            values.append(self.values())
        return values

    def states(self):
        return self.optimizer.state_dict(), [scheduler.state_dict() for scheduler in self.schedulers]

    def load(self, states):
        optimizer, schedulers = states
        self.optimizer.load_state_dict(optimizer)
        for scheduler, state in zip(self.schedulers, schedulers, strict=True):
            scheduler.load_state_dict(state)


def sides(optimizer="SGD"):
    return Side(torch, optimizer), Side(numbopt, optimizer)


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-16)


def assert_same_while_positive(expected, actual):
    """Compare until torch's learning rate, pushed below eta_min by another scheduler, goes below zero."""
    expected, actual = np.array(expected), np.array(actual)
    until = len(expected)
    if expected.min() < 0:
        until = np.flatnonzero(expected.min(axis=1) < 0)[0]
        assert until > 10
        assert actual.min() >= 0
    assert_same(actual[:until], expected[:until])


for_every_row = pytest.mark.parametrize("name", ARGUMENTS)
for_every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


@for_every_optimizer
@for_every_row
def test_every_epoch_equals_torch(name, optimizer):
    theirs, ours = (side.add(name) for side in sides(optimizer))
    assert_same(ours.follow(EPOCHS), theirs.follow(EPOCHS))
    assert_same(ours.schedulers[0].get_last_lr(), theirs.schedulers[0].get_last_lr())
    assert ours.schedulers[0].last_epoch == theirs.schedulers[0].last_epoch


@for_every_optimizer
@for_every_row
def test_goes_on_from_state_dicts(name, optimizer):
    theirs, first = (side.add(name) for side in sides(optimizer))
    expected = theirs.follow(EPOCHS)
    first.follow(19)
    ours = Side(numbopt, optimizer).add(name, OTHER_ARGUMENTS)
    ours.load(first.states())
    assert_same(ours.follow(EPOCHS - 19), expected[19:])


@pytest.mark.parametrize("name", [name for name, (cls, _) in ARGUMENTS.items() if cls not in OTHER_STATE])
def test_goes_on_from_a_state_dict_of_torch(name):
    theirs = Side(torch).add(name)
    theirs.follow(19)
    ours = Side(numbopt).add(name, OTHER_ARGUMENTS)
    ours.load(theirs.states())
    assert_same(ours.follow(20), theirs.follow(20))


# Resumed, torch forgets restarts before the last one and anneals to swa_lr anew.
RESUMABLE = [name for name in ARGUMENTS if name.split()[0] not in ("restarts", "swa")] + ["restarts"]


@pytest.mark.parametrize("name", RESUMABLE)
def test_goes_on_from_last_epoch(name):
    before, resumed = [], []
    for side in sides():
        side.add(name)
        side.follow(2)
        other = Side(side.library)
        other.optimizer.load_state_dict(side.optimizer.state_dict())
        other.add(name, last_epoch=1)
        before.append(side.values())
        resumed.append(other.follow(EPOCHS - 2))
    if name == "step every epoch":
        assert_same(resumed[1][0], before[1])
    else:
        assert_same(resumed[1], resumed[0])


CHAINABLE = ["step", "multi step", "constant 1/7", "linear", "exponential", "cosine eta_min", "multiplicative"]
ABSOLUTE = ["lambda", "restarts x2", "triangular", "one cycle", "swa", "swa linear"]
PAIRS = [
    *itertools.permutations(CHAINABLE, 2),
    *itertools.product(CHAINABLE, ABSOLUTE),
    ("polynomial", "constant 1/7"),
    ("linear down", "exponential"),
]


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_two_schedulers_stepped_together(pair):
    results = []
    for side in sides():
        for name in pair:
            side.add(name)
        # The first values of a cycle made after another scheduler are compared in the next test.
        results.append(side.follow(EPOCHS)[1:])
    assert_same_while_positive(*results)


def test_a_cycle_starts_at_base_lr_also_after_another_scheduler():
    side = Side(numbopt).add("cosine").add("triangular")
    assert side.schedulers[1].get_last_lr() == [0.01, 0.01]


@pytest.mark.parametrize("name", [*CHAINABLE, "lambda", "polynomial", "restarts", "triangular", "one cycle", "swa"])
@pytest.mark.parametrize("epoch", [0, 8, 21])
def test_an_edit_between_steps_counts_as_in_torch(name, epoch):
    results = []
    for side in sides():
        side.add(name)
        values = side.follow(epoch)
        side.optimizer.param_groups[1]["lr"] *= 3
        side.optimizer.param_groups[0]["lr"] = 0.123
        results.append(values + side.follow(EPOCHS - epoch))
    assert_same(results[1], results[0])


@for_every_row
def test_jumps_between_epochs(name):
    results = []
    for side in sides():
        side.add(name)
        results.append([])
        for epoch in (5, 6, 2, 30, 12, 0):
            side.step(epoch)
            results[-1].append(side.values())
    if name.startswith("swa"):
        return  # torch goes on by one there, whatever the epoch
    assert_same(results[1], results[0])


def test_warm_restarts_at_fractions_of_epochs():
    for name in ("restarts", "restarts x2", "restarts x3"):
        results = []
        for side in sides():
            side.add(name)
            results.append([])
            # Between jumps with fractions, steps of one epoch.
            for epoch in (0.3, 0.7, 5.9, None, None, 2.5, None, 31.25, None, 3.0, 20, None, 44.5):
                side.step(*[] if epoch is None else [epoch])
                results[-1].append([*side.values(), side.schedulers[0].T_cur, side.schedulers[0].T_i])
        np.testing.assert_allclose(results[1], results[0], rtol=1e-9)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 2},
        {"patience": 0, "cooldown": 3, "factor": 0.6},
        {"patience": 1, "min_lr": [0.01, 0.2], "eps": 1e-3},
    ],
    ids=str,
)
@pytest.mark.parametrize("other", [None, "exponential"])
def test_plateau(mode, threshold_mode, arguments, other):
    metrics = np.random.default_rng(3).normal(size=60).cumsum()
    metrics[20] = np.nan
    arguments = {**arguments, "mode": mode, "threshold_mode": threshold_mode, "threshold": 0.05}
    results = []
    for side in sides():
        plateau = side.new("ReduceLROnPlateau", arguments)
        if other:
            side.add(other)
        results.append([])
        for i, metric in enumerate(metrics):
            if i == 30:
                state = plateau.state_dict()
                plateau = side.new("ReduceLROnPlateau", {"patience": 40})
                plateau.load_state_dict(state)
            side.step()
            plateau.step(metric)
            counts = [plateau.num_bad_epochs, plateau.cooldown_counter, plateau.best]
            results[-1].append(side.values() + counts + list(plateau.get_last_lr()))
    assert_same(results[1], results[0])


SEQUENCES = {
    "two": (["constant", "exponential"], [4]),
    "three": (["linear", "cosine", "step"], [5, 20]),
    "with restarts": (["linear", "restarts x2", "polynomial"], [3, 24]),
    "with cycles": (["exponential", "triangular", "multi step"], [6, 26]),
    "with functions": (["multiplicative", "lambda", "multiplicative"], [6, 26]),
    "to swa": (["cosine", "swa"], [20]),
    "first skipped": (["linear", "constant"], [0]),
}


@for_every_optimizer
@pytest.mark.parametrize("names", SEQUENCES)
def test_sequences(names, optimizer):
    parts, milestones = SEQUENCES[names]
    results, states = [], []

    def build(side, rows=ARGUMENTS):
        schedulers = [side.new(*rows[name]) for name in parts]
        side.schedulers = [side.new("SequentialLR", {"schedulers": schedulers, "milestones": milestones})]
        return side

    for side in sides(optimizer):
        results.append(build(side).follow(EPOCHS))
        states.append(build(Side(side.library, optimizer)))
    assert_same(results[1], results[0])

    states[1].follow(23)
    resumed = build(Side(numbopt, optimizer), OTHER_ARGUMENTS)
    resumed.load(states[1].states())
    assert_same(resumed.follow(EPOCHS - 23), results[0][23:])


CHAINS = list(itertools.combinations([*CHAINABLE, "triangular", "polynomial"], 2))


@pytest.mark.parametrize("names", CHAINS, ids=" + ".join)
def test_chains(names):
    results = []
    for side in sides():
        parts = [side.new(*ARGUMENTS[name]) for name in names]
        library = torch.optim.lr_scheduler if side.of_torch else numbopt.lr_scheduler
        side.schedulers = [library.ChainedScheduler(parts, optimizer=side.optimizer)]
        results.append(side.follow(EPOCHS)[1:])
        assert list(side.schedulers[0].get_last_lr()) == side.values()[::2]
    assert_same_while_positive(*results)


@for_every_row
def test_an_array_as_learning_rate_is_filled_in_place(name):
    lrs = [torch.tensor(0.05, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)]
    theirs = Side(torch, lr=lrs).add(name)
    arrays = [np.array(0.05), np.array([0.5])]
    ours = Side(numbopt, lr=arrays).add(name)
    expected = [[float(lr) for lr in row] for row in theirs.follow(EPOCHS)]
    actual = [[float(array.item()) for array in arrays]]
    for _ in range(EPOCHS):
        ours.step()
        actual.append([float(array.item()) for array in arrays])
    assert_same(actual, np.array(expected)[:, ::2])
    assert [group["lr"] is array for group, array in zip(ours.optimizer.param_groups, arrays, strict=True)] == [
        True
    ] * 2
