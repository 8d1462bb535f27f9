"""Optimizers do what a naive NumPy model does, whatever is asked of them in whatever order.

A few examples, the same at each run; ``NUMBOPT_FUZZ_EXAMPLES=2000 pytest tests/every_optimizer/test_fuzz.py``
looks for new ones.
"""

import copy
import os
import pickle

import numpy as np
import pytest

import numbopt
from numbopt import Parameter
from numbopt._launch import blocks, cpu, threads

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

EXAMPLES = int(os.environ.get("NUMBOPT_FUZZ_EXAMPLES", "0"))
DTYPES = ("float32", "float64", "complex64", "complex128")
SHAPES = ((), (1,), (0,), (5,), (2, 3), (3, 1, 2), (37,))

# ---- the model: each algorithm in plain NumPy, in double precision, on real numbers

# A function takes parameter, gradient, state and options, changes the state and returns the new parameter.


def sgd(p, g, s, o):
    if not o["momentum"]:
        return p - o["lr"] * g
    if "momentum_buffer" in s:
        s["momentum_buffer"] = o["momentum"] * s["momentum_buffer"] + (1 - o["dampening"]) * g
    else:
        s["momentum_buffer"] = g
    return p - o["lr"] * (g + o["momentum"] * s["momentum_buffer"] if o["nesterov"] else s["momentum_buffer"])


def means(p, g, s, o):
    """Update the means of Adam and its kin; return them without their bias."""
    s["step"] = s.get("step", 0) + 1
    beta1, beta2 = o["betas"]
    s["exp_avg"] = beta1 * s.get("exp_avg", 0 * p) + (1 - beta1) * g
    s["exp_avg_sq"] = beta2 * s.get("exp_avg_sq", 0 * p) + (1 - beta2) * g**2
    return s["exp_avg"] / (1 - beta1 ** s["step"]), s["exp_avg_sq"] / (1 - beta2 ** s["step"])


def adam(p, g, s, o):
    m, v = means(p, g, s, o)
    if o["amsgrad"]:
        s["max_exp_avg_sq"] = np.maximum(s.get("max_exp_avg_sq", 0 * p), s["exp_avg_sq"])
        v = s["max_exp_avg_sq"] / (1 - o["betas"][1] ** s["step"])
    return p - o["lr"] * m / (np.sqrt(v) + o["eps"])


def nadam(p, g, s, o):
    _, v = means(p, g, s, o)
    now, ahead = (o["betas"][0] * (1 - 0.5 * 0.96 ** (t * o["momentum_decay"])) for t in (s["step"], s["step"] + 1))
    s["mu_product"] = s.get("mu_product", 1.0) * now
    direction = (1 - now) * g / (1 - s["mu_product"]) + ahead * s["exp_avg"] / (1 - s["mu_product"] * ahead)
    return p - o["lr"] * direction / (np.sqrt(v) + o["eps"])


def rmsprop(p, g, s, o):
    s["step"] = s.get("step", 0) + 1
    s["square_avg"] = o["alpha"] * s.get("square_avg", 0 * p) + (1 - o["alpha"]) * g**2
    variance = s["square_avg"]
    if o["centered"]:
        s["grad_avg"] = o["alpha"] * s.get("grad_avg", 0 * p) + (1 - o["alpha"]) * g
        variance = variance - s["grad_avg"] ** 2
        variance = np.where(variance < 0.01 * s["square_avg"], np.nan, variance)  # more error than value is left
    direction = g / (np.sqrt(variance) + o["eps"])
    if o["momentum"]:
        direction = s["momentum_buffer"] = o["momentum"] * s.get("momentum_buffer", 0 * p) + direction
    return p - o["lr"] * direction


def adagrad(p, g, s, o):
    s["step"] = s.get("step", 0) + 1
    s["sum"] = s.get("sum", 0 * p + o["initial_accumulator_value"]) + g**2
    return p - o["lr"] / (1 + (s["step"] - 1) * o["lr_decay"]) * g / (np.sqrt(s["sum"]) + o["eps"])


def rprop(p, g, s, o):
    s["step"] = s.get("step", 0) + 1
    agreement = np.sign(g) * np.sign(s.get("prev", 0 * p))
    factor = np.where(agreement > 0, o["etas"][1], np.where(agreement < 0, o["etas"][0], 1.0))
    s["step_size"] = np.clip(s.get("step_size", 0 * p + o["lr"]) * factor, *o["step_sizes"])
    s["prev"] = np.where(agreement < 0, 0.0, g)
    return p - np.sign(s["prev"]) * s["step_size"]


number = st.floats(0.0, 0.95).map(lambda x: round(x, 2))
rate = st.sampled_from([0.0, 0.001, 0.1, 0.5])
flag = st.booleans()
betas = st.tuples(st.sampled_from([0, 0.5, 0.9]), st.sampled_from([0.5, 0.99, 0.999]))
eps = st.sampled_from([1e-8, 1e-3])
COMMON = {"lr": rate, "maximize": flag}
DECAY = {**COMMON, "weight_decay": rate}
DECOUPLED = {**DECAY, "decoupled_weight_decay": flag}
ALGORITHMS = {
    "SGD": (sgd, {**DECAY, "momentum": number, "dampening": number, "nesterov": flag}),
    "Adam": (adam, {**DECOUPLED, "betas": betas, "eps": eps, "amsgrad": flag}),
    "AdamW": (adam, {**DECAY, "betas": betas, "eps": eps, "amsgrad": flag}),
    "NAdam": (nadam, {**DECOUPLED, "betas": betas, "eps": eps, "momentum_decay": rate}),
    "RMSprop": (
        rmsprop,
        {**DECAY, "alpha": st.sampled_from([0.5, 0.99]), "eps": eps, "momentum": number, "centered": flag},
    ),
    "Adagrad": (adagrad, {**DECAY, "lr_decay": rate, "initial_accumulator_value": rate, "eps": eps}),
    "Rprop": (
        rprop,
        {**COMMON, "etas": st.sampled_from([(0.5, 1.2), (0.25, 2.0)]), "step_sizes": st.just((0.01, 1.0))},
    ),
}


def can_be(options):
    """Make options agree with each other."""
    if options.get("nesterov"):
        options["dampening"] = 0
        options["nesterov"] = options["momentum"] > 0
    return options


def as_real(array):
    """In double precision; the parts of complex numbers side by side."""
    array = np.asarray(array)
    parts = [array.real, array.imag] if array.dtype.kind == "c" else [array]
    return np.stack(parts, -1).astype(float)


class Model:
    """What is expected of one parameter."""

    def __init__(self, group, array):
        self.group = group  # number of its group
        self.dtype = array.dtype
        self.data = as_real(array)
        self.grad = None
        self.state = {}

    def step(self, function, options, gradient, scale):
        """Compute the next values; return those now for `assert_close`."""
        g = as_real(gradient) * (-scale if options["maximize"] else scale)
        p, decay = self.data, options.get("weight_decay", 0)
        before = {"data": self.data, **self.state}
        self.size = 1 + np.abs(g) + np.abs(p)
        if options.get("decoupled_weight_decay"):
            p = p * (1 - options["lr"] * decay)
        else:
            g = g + decay * p
            # Where the two cancel, more error than value is left, which the root of a mean square makes large.
            cancelled = np.abs(g) < 1e4 * np.finfo(self.dtype).eps * decay * np.abs(p)
            g = np.where(cancelled, np.nan, g)
        p = function(p, g, self.state, options)
        if options["bounds"] is not None:
            lower, upper = (np.expand_dims(bound, -1) for bound in options["bounds"])
            p = np.minimum(np.maximum(p, lower), upper)  # which let NaN through
        self.data = p
        self.before = before

    def assert_same_names(self, state):
        """Compare names; rows of an option that was switched on are there, as zeros, before a gradient needs them."""
        for name in set(state) - set(self.state):
            assert name in ("max_exp_avg_sq", "grad_avg", "momentum_buffer")
            assert not state[name].any()
            self.state[name] = as_real(state[name])
        assert set(state) == set(self.state)

    def assert_close_and_take(self, parameter, state):
        """Compare with what came, and go on from there, so that errors do not add up."""
        self.assert_same_names(state)
        for name, now in {"data": parameter.data, **state}.items():
            expected = self.data if name == "data" else self.state[name]
            if name == "step":
                assert type(now) is int
                assert now == expected
                continue
            if name == "mu_product":
                assert now == pytest.approx(expected, rel=1e-12)
                continue
            assert now.shape == parameter.shape
            assert now.dtype == self.dtype
            actual = as_real(now)
            size = self.size + np.abs(expected) + np.abs(self.before.get(name, 0))
            size = size**2 if "sq" in name or name == "sum" else size
            wrong = np.abs(actual - expected) > 100 * np.finfo(self.dtype).eps * size  # False for the model's NaN
            assert not wrong.any(), f"{name} is {now}, expected {expected}"
            if name == "data":
                self.data = actual
            else:
                self.state[name] = actual


# ---- the machine

arrays_of = st.tuples(st.sampled_from(SHAPES), st.sampled_from(DTYPES), st.sampled_from("CFT"), flag)


class Optimizing(RuleBasedStateMachine):
    """An optimizer, and what is expected of it."""

    def __init__(self):
        super().__init__()
        self.patched = blocks.BLOCK, cpu.BYTES_PER_THREAD, threads._thread_count

    def teardown(self):
        blocks.BLOCK, cpu.BYTES_PER_THREAD, threads._thread_count = self.patched

    # ---- what is drawn

    def draw_options(self, data, real):
        options = can_be({name: data.draw(values, name) for name, values in self.strategies.items()})
        bounds = data.draw(st.sampled_from([None, None, (-2.0, 0.5)]), "bounds") if real else None
        if bounds and self.cls == "SGD" and data.draw(flag, "bounds of each element"):
            bounds = np.float64(-2), np.float64([0.5])  # broadcasts to any shape but ()
        return {**options, "bounds": bounds}

    def draw_array(self, seed, shape, dtype, order):
        """An array from one of a few orders in memory, its values easy to read in a message."""
        random = np.random.default_rng(seed)
        numbers = np.round(random.uniform(-4, 4, (2, *shape)), 2)
        numbers[random.uniform(size=numbers.shape) < 0.2] = 0
        array = np.asarray(numbers[0] + 1j * numbers[1] if dtype.startswith("c") else numbers[0], dtype)
        return np.array(array, order="F") if order == "F" else array.T.copy().T if order == "T" else array

    def draw_group(self, data):
        kinds = data.draw(st.lists(arrays_of, min_size=1, max_size=3), "parameters")
        options = self.draw_options(data, not any(dtype.startswith("c") for _, dtype, _, _ in kinds))
        if any(shape == () for shape, *_ in kinds) and isinstance(options["bounds"], tuple):
            options["bounds"] = (-2.0, 0.5)
        params = []
        for shape, dtype, order, plain in kinds:
            array = self.draw_array(self.next_seed(), shape, dtype, order)
            if options["bounds"] is not None:
                np.clip(array, -2, 0.5, out=array)
            params.append(array if plain else Parameter(array))
            self.models.append(Model(len(self.options), array))
        self.options.append(options)
        if self.named:
            first = len(self.models) - len(params)
            params = [(f"p{number}", param) for number, param in enumerate(params, first)]
        return {**options, "params": params}

    def next_seed(self):
        self.seed += 1
        return self.seed

    def draw_gradients(self, data, none=True):
        """A gradient for each parameter in some form, and the same as arrays of the parameters' types."""
        given, exact = [], []
        for model, parameter in zip(self.models, self.params, strict=True):
            form = data.draw(st.sampled_from(["same", "same", "order", "wider", "list", "none"]), "gradient")
            if form == "none" and none:
                given.append(None)
                exact.append(None)
                continue
            gradient = np.empty_like(parameter.data)
            gradient[...] = self.draw_array(self.next_seed(), parameter.shape, model.dtype.name, "C")
            exact.append(gradient.copy())
            if form == "order":
                gradient = np.array(gradient, order="F")
            elif form == "wider":
                gradient = gradient.astype("complex128" if model.dtype.kind == "c" else "float64")
            elif form == "list" and gradient.size:
                gradient = gradient.tolist()
            given.append(gradient)
        return given, exact

    # ---- what happens

    @initialize(data=st.data(), cls=st.sampled_from(sorted(ALGORITHMS)), named=flag, parallel=flag)
    def make(self, data, cls, named, parallel):
        if parallel:
            blocks.BLOCK, cpu.BYTES_PER_THREAD, threads._thread_count = 16, 1, 2
        self.cls, self.named = cls, named
        self.function, self.strategies = ALGORITHMS[cls]
        self.seed = data.draw(st.integers(0, 1000), "seed")
        self.models, self.options = [], []
        self.max_grad_norm = data.draw(st.sampled_from([None, None, 1.0, 100.0]), "max_grad_norm")
        nonfinite = data.draw(st.sampled_from(["propagate", "raise", "skip"]), "nonfinite")
        self.guards = {"max_grad_norm": self.max_grad_norm, "nonfinite": nonfinite}
        groups = [self.draw_group(data) for _ in range(data.draw(st.integers(1, 2), "groups"))]
        self.optimizer = getattr(numbopt, cls)(groups, **self.guards)
        self.steps = 0

    @property
    def params(self):
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def took_step(self, gradients):
        """Let the model do what the optimizer did."""
        self.steps += 1
        scale = 1.0
        if self.max_grad_norm is not None:
            norm = np.sqrt(sum(np.sum(as_real(g) ** 2) for g in gradients if g is not None))
            scale = min(1.0, self.max_grad_norm / (norm + 1e-6))
        for model, parameter, gradient in zip(self.models, self.params, gradients, strict=True):
            if gradient is not None:
                options = self.options[model.group]
                decoupled = {"decoupled_weight_decay": True} if self.cls == "AdamW" else {}
                model.step(self.function, {**options, **decoupled}, gradient, scale)
                model.assert_close_and_take(parameter, self.optimizer.state.get(parameter, {}))

    @rule(data=st.data(), how=st.sampled_from(["list", "tuple", "dict", "closure"]))
    def step_with_given_gradients(self, data, how):
        given, exact = self.draw_gradients(data)
        if how == "dict" and self.named:
            names = [f"p{number}" for number in range(len(given))]
            given = {name: gradient for name, gradient in zip(names, given, strict=True) if gradient is not None}
        elif how == "tuple":
            given = tuple(given)
        if how == "closure":
            assert self.optimizer.step(lambda: (0.5, given)) == 0.5
        else:
            assert self.optimizer.step(grads=given) is None
            if data.draw(flag, "again"):
                self.took_step(exact)
                self.optimizer.step(grads=given)
        self.took_step(exact)

    @rule(data=st.data())
    def assign_gradients(self, data):
        given, exact = self.draw_gradients(data)
        for model, parameter, gradient, values in zip(self.models, self.params, given, exact, strict=True):
            parameter.grad = gradient
            model.grad = values

    @rule(data=st.data())
    def accumulate_gradients(self, data):
        _, exact = self.draw_gradients(data, none=False)
        for model, parameter, gradient in zip(self.models, self.params, exact, strict=True):
            if model.grad is not None:
                parameter.grad += gradient
                model.grad = model.grad + gradient

    @rule()
    def step(self):
        self.optimizer.step()
        self.took_step([model.grad for model in self.models])

    @rule(to_none=flag)
    def zero_grad(self, to_none):
        self.optimizer.zero_grad(set_to_none=to_none)
        for model, parameter in zip(self.models, self.params, strict=True):
            model.grad = None if to_none else np.zeros_like(parameter.data)

    @precondition(lambda self: len(self.models) < 8)
    @rule(data=st.data())
    def add_param_group(self, data):
        self.optimizer.add_param_group(self.draw_group(data))

    @rule(data=st.data())
    def edit_options(self, data):
        number = data.draw(st.integers(0, len(self.options) - 1), "group")
        name = data.draw(st.sampled_from(sorted(self.strategies)), "option")
        options = self.options[number]
        can_be(options | {})
        options[name] = data.draw(self.strategies[name], name)
        self.optimizer.param_groups[number].update(can_be(options))

    @rule(new=flag)
    def state_round_trip(self, new):
        state_dict = self.optimizer.state_dict()
        if new:
            groups = [
                {**o, "params": g["params"]} for o, g in zip(self.options, self.optimizer.param_groups, strict=True)
            ]
            if self.named:
                for group, old in zip(groups, self.optimizer.param_groups, strict=True):
                    group["param_names"] = old["param_names"]
            steps = self.optimizer.step_count
            self.optimizer = type(self.optimizer)(groups, **self.guards)
            self.optimizer.step_count = steps  # not part of a state dict
        self.optimizer.load_state_dict(state_dict)

    @rule(how=st.sampled_from([copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))]))
    def copy(self, how):
        self.optimizer = how(self.optimizer)

    @rule(to_none=flag)
    def another_optimizer_of_the_same_parameters(self, to_none):
        other = numbopt.SGD(self.params, lr=0.0)
        other.zero_grad(to_none)
        other.step()
        for model, parameter in zip(self.models, self.params, strict=True):
            model.grad = None if to_none else np.zeros_like(parameter.data)

    # ---- what cannot be

    @precondition(lambda self: self.guards["nonfinite"] != "propagate" and self.params[-1].size)
    @rule(bad=st.sampled_from([np.nan, np.inf]))
    def step_with_a_number_that_is_not_finite(self, bad):
        gradients = [np.ones_like(parameter.data) for parameter in self.params]
        gradients[-1][...] = bad
        # The zeros that an option just switched on starts from are there with the next step, whatever becomes of it.
        self.optimizer.step(grads=[None] * len(gradients))
        self.steps += 1
        before = self.everything()[:-1]
        if self.guards["nonfinite"] == "raise":
            with pytest.raises(ValueError, match="NaN or infinity"):
                self.optimizer.step(grads=gradients)
        else:
            self.optimizer.step(grads=gradients)
            self.steps += 1
        assert self.everything()[:-1] == before

    def wrong(self, kind):
        """Ask for something that cannot be."""
        optimizer, parameter = self.optimizer, self.params[-1]
        gradients = [np.zeros_like(p.data) for p in self.params]
        group = optimizer.param_groups[-1]
        lr = group["lr"]
        try:
            match kind:
                case "number of gradients":
                    optimizer.step(grads=[*gradients, np.zeros(3)])
                case "shape":
                    optimizer.step(grads=[*gradients[:-1], np.zeros((*parameter.shape, 2))])
                case "type":
                    optimizer.step(grads=[*gradients[:-1], np.full(parameter.shape, "x")])
                case "masked":
                    optimizer.step(grads=[*gradients[:-1], np.ma.masked_array(gradients[-1])])
                case "name":
                    optimizer.step(grads={"nobody": np.zeros(3)})
                case "closure":
                    optimizer.step(lambda: (0.0, gradients, None))
                case "lr":
                    group["lr"] = -1.0
                    optimizer.step(grads=gradients)
                case "key":
                    group["larning_rate"] = 1.0
                    optimizer.step(grads=gradients)
                case "grad":
                    parameter.grad = np.zeros((*parameter.shape, 2))
                case "again":
                    optimizer.add_param_group({"params": [np.zeros(2), parameter]})
                case "strided":
                    optimizer.add_param_group({"params": [np.zeros(2), np.zeros(9)[::3]]})
                case "integers":
                    optimizer.add_param_group({"params": [np.zeros(2), np.zeros(9, int)]})
                case "lr of a group":
                    optimizer.add_param_group({"params": [("new", np.zeros(2))], "lr": np.nan})
                case "bounds of a group":
                    optimizer.add_param_group({"params": [("new", np.zeros(2))], "bounds": (np.zeros(3), 9)})
                case "loaded groups":
                    optimizer.load_state_dict({**optimizer.state_dict(), "param_groups": []})
                case "loaded state":
                    state_dict = optimizer.state_dict()
                    state_dict["param_groups"][0]["lr"] = 0.123
                    state_dict["state"][len(self.params) - 1] = {"exp_avg": np.zeros((*parameter.shape, 2))}
                    optimizer.load_state_dict(state_dict)
                case "loaded option":
                    state_dict = optimizer.state_dict()
                    state_dict["param_groups"][0]["lr"] = 0.123
                    state_dict["param_groups"][-1]["maximize"] = "up"
                    optimizer.load_state_dict(state_dict)
        finally:
            group["lr"] = lr
            group.pop("larning_rate", None)

    KINDS = (
        "number of gradients", "shape", "type", "masked", "name", "closure", "lr", "key", "grad", "again", "strided",
        "integers", "lr of a group", "bounds of a group", "loaded groups", "loaded state", "loaded option",
    )  # fmt: skip

    @rule(kind=st.sampled_from(KINDS))
    def bad_input_changes_nothing(self, kind):
        before = self.everything()
        with pytest.raises((TypeError, ValueError)):
            self.wrong(kind)
        assert self.everything() == before

    def everything(self):
        optimizer = self.optimizer
        groups = [{**group, "params": list(map(id, group["params"]))} for group in optimizer.param_groups]
        arrays = [(p.data.tobytes(), None if p.grad is None else p.grad.tobytes()) for p in self.params]
        return arrays, repr(groups), repr(optimizer.state_dict()), optimizer.step_count

    # ---- what always holds

    @invariant()
    def agrees_with_the_model(self):
        if not hasattr(self, "optimizer"):
            return
        assert len(self.params) == len(self.models)
        assert self.optimizer.step_count == self.steps
        for model, parameter in zip(self.models, self.params, strict=True):
            np.testing.assert_array_equal(as_real(parameter.data), model.data)
            state = self.optimizer.state.get(parameter, {})
            model.assert_same_names(state)
            for name, value in model.state.items():
                actual = as_real(state[name]) if isinstance(state[name], np.ndarray) else state[name]
                np.testing.assert_array_equal(actual, value)
            assert (parameter.grad is None) == (model.grad is None)
            if model.grad is not None:
                np.testing.assert_array_equal(parameter.grad, model.grad)


TestOptimizing = Optimizing.TestCase
TestOptimizing.settings = settings(
    max_examples=EXAMPLES or 50,
    stateful_step_count=30 if EXAMPLES else 20,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
