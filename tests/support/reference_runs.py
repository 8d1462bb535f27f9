"""Runs of the reference implementations of algorithms that torch does not have.

Needs `lion-pytorch prodigyopt schedulefree pytorch_optimizer optax` (and torch), in the versions of `VERSIONS`. An
algorithm that treats each parameter for itself runs once for each parameter, so that a gradient of None skips it;
complex parameters run as their real and imaginary parts.
"""

import importlib
from dataclasses import dataclass, field

import numpy as np
from cases import problem

VERSIONS = {
    "lion-pytorch": "0.2.5",
    "prodigyopt": "1.1.2",
    "schedulefree": "1.4.1",
    "pytorch_optimizer": "4.1.0",
    "optax": "0.2.8",
}


@dataclass(frozen=True)
class Reference:
    """The class of a package whose optimizers are torch's."""

    module: str
    cls: str
    states: tuple[str, ...]
    """Names of state arrays that are numbopt's, too."""
    renamed: dict[str, str] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    """What makes the reference compute what numbopt does."""


_MORE = "pytorch_optimizer"
_DECOUPLED = {"weight_decouple": True}
_LOOP = {"foreach": False}
REFERENCES = {
    "Lion": Reference("lion_pytorch", "Lion", ("exp_avg",)),
    "AdaBelief": Reference(_MORE, "AdaBelief", ("exp_avg", "exp_avg_var"), options={**_DECOUPLED, "rectify": False}),
    "Yogi": Reference(
        _MORE, "Yogi", ("exp_avg", "exp_avg_sq"), {"initial_accumulator_value": "initial_accumulator"}, _DECOUPLED
    ),
    "AdEMAMix": Reference(_MORE, "AdEMAMix", ("exp_avg", "exp_avg_slow", "exp_avg_sq"), options=_DECOUPLED),
    "Adan": Reference(_MORE, "Adan", ("exp_avg", "exp_avg_diff", "exp_avg_sq"), options={"weight_decouple": False}),
    "MADGRAD": Reference(_MORE, "MADGRAD", ("grad_sum_sq", "s", "x0"), options={"lr": 0.01}),
    "AdamWScheduleFree": Reference(
        "schedulefree", "AdamWScheduleFree", ("z", "exp_avg_sq"), options={"foreach": False}
    ),
    "SGDScheduleFree": Reference("schedulefree", "SGDScheduleFree", ("z",), options=_LOOP),
}


def reference_run(case, dtype, grouping):
    """Return the run of the implementation that a case is compared with."""
    runs = {"Prodigy": ProdigyRun, "DoG": WrittenOut, "ClipUp": WrittenOut}
    return runs.get(case.cls, ReferenceRun)(case, dtype, grouping)


class ReferenceRun:
    """A run of one of the `REFERENCES`, or of optax."""

    def __init__(self, case, dtype, grouping):
        start = problem.starting_parameters(dtype)
        self._dtype = dtype
        options = _options_of_each(case, grouping)
        runs = {True: _TorchLike, False: _Optax}
        self._runs = [
            runs[case.cls in REFERENCES](case.cls, _real(array), dict(own))
            for array, own in zip(start, options, strict=True)
        ]
        self._signs = [-1 if own.get("maximize") else 1 for own in options]

    def step(self, gradients):
        for run, sign, gradient in zip(self._runs, self._signs, gradients, strict=True):
            if gradient is not None:
                run.step(sign * _real(gradient))

    def values(self):
        return [self._as_before(run.value(), i) for i, run in enumerate(self._runs)]

    def states(self):
        return [
            {name: self._as_before(array, i) for name, array in run.state().items()} for i, run in enumerate(self._runs)
        ]

    def _as_before(self, array, index):
        array = np.ascontiguousarray(array)
        return array.view(self._dtype).reshape(problem.SHAPES[index])


def _options_of_each(case, grouping):
    """The options of each parameter, a dictionary of its own."""
    later = case.second_group if grouping == "two groups" else {}
    return [{**case.options, **(later if index else {})} for index in range(len(problem.SHAPES))]


def _real(array):
    return array if array.dtype.kind != "c" else array.reshape(*array.shape, 1).view(array.real.dtype)


class _TorchLike:
    def __init__(self, cls, array, options):
        import torch

        reference = REFERENCES[cls]
        options.pop("maximize", None)
        options = {reference.renamed.get(name, name): value for name, value in options.items()}
        if not options.get("t_alpha_beta3", True):
            del options["t_alpha_beta3"]
        make = getattr(importlib.import_module(reference.module), reference.cls)
        self._torch, self._names = torch, reference.states
        self._parameter = torch.nn.Parameter(torch.tensor(array))
        self._optimizer = make([self._parameter], **{**reference.options, **options})
        if hasattr(self._optimizer, "train"):
            self._optimizer.train()

    def step(self, gradient):
        self._parameter.grad = self._torch.tensor(gradient)
        self._optimizer.step()

    def value(self):
        return self._parameter.detach().numpy().copy()

    def state(self):
        state = self._optimizer.state[self._parameter]
        return {name: state[name].numpy().copy() for name in self._names}


class _Optax:
    def __init__(self, cls, array, options):
        import jax

        jax.config.update("jax_enable_x64", True)
        import optax

        options.pop("maximize", None)
        make = {"ADOPT": self._adopt, "LAMB": self._lamb, "LARS": self._lars}[cls]
        self._optax, self._values, self._steps, self._decay = optax, jax.numpy.asarray(array), 0, 0.0
        self._optimizer = make(**options)
        self._state = self._optimizer.init(self._values)

    def _lamb(self, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
        return self._optax.lamb(lr, *betas, eps, weight_decay=weight_decay)

    def _lars(self, lr=1e-3, momentum=0.9, weight_decay=0.0, trust_coefficient=1e-3, nesterov=False):
        return self._optax.lars(lr, weight_decay, True, trust_coefficient, 0.0, True, momentum, nesterov)

    def _adopt(self, lr=1e-3, betas=(0.9, 0.9999), eps=1e-6, weight_decay=0.0):
        self._decay = lr * weight_decay  # which optax leaves to the user, and the paper to the steps after the first
        return self._optax.contrib.adopt(lr, *betas, eps)

    def step(self, gradient):
        self._values = self._values * (1 - self._decay * (self._steps > 0))
        self._steps += 1
        updates, self._state = self._optimizer.update(gradient, self._state, self._values)
        self._values = self._optax.apply_updates(self._values, updates)

    def value(self):
        return np.array(self._values)

    def state(self):
        return {}


class _Together:
    """A run in which all parameters matter for each of them."""

    def __init__(self, case, dtype, grouping):
        self._dtype, self._start = dtype, [_real(array) for array in problem.starting_parameters(dtype)]
        self._options = _options_of_each(case, grouping)
        self._sign = -1 if case.options.get("maximize") else 1

    def _shaped(self, arrays):
        return [
            np.ascontiguousarray(array).view(self._dtype).reshape(shape)
            for array, shape in zip(arrays, problem.SHAPES, strict=True)
        ]


class ProdigyRun(_Together):
    """A run of prodigyopt."""

    def __init__(self, case, dtype, grouping):
        super().__init__(case, dtype, grouping)
        import torch
        from prodigyopt import Prodigy

        self._torch = torch
        self._parameters = [torch.nn.Parameter(torch.tensor(array)) for array in self._start]
        groups = [{"params": [p], **o} for p, o in zip(self._parameters, self._options, strict=True)]
        for group in groups:
            group.pop("maximize", None)
        self._optimizer = Prodigy(groups)
        for group, options in zip(self._optimizer.param_groups, self._options, strict=True):
            group["d"] = group["d_max"] = options["d0"]

    def step(self, gradients):
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else self._torch.tensor(self._sign * _real(gradient))
        self._optimizer.step()

    def values(self):
        return self._shaped(parameter.detach().numpy().copy() for parameter in self._parameters)

    def states(self):
        states = [self._optimizer.state[parameter] for parameter in self._parameters]
        names = ("exp_avg", "exp_avg_sq", "s", "p0")
        arrays = {name: self._shaped(state[name].numpy().copy() for state in states) for name in names}
        return [{name: arrays[name][i] for name in names} for i in range(len(states))]


class WrittenOut(_Together):
    """DoG and ClipUp in NumPy: of one the packages differ, of the other there is none."""

    def __init__(self, case, dtype, grouping):
        super().__init__(case, dtype, grouping)
        self._values = [array.copy() for array in self._start]
        self._velocities = [np.zeros_like(array) for array in self._start]
        self._largest, self._squares = None, 0.0
        self._step = {"DoG": self._dog, "ClipUp": self._clipup}[case.cls]

    def step(self, gradients):
        given = [
            (i, self._sign * _real(gradient).astype(np.float64))
            for i, gradient in enumerate(gradients)
            if gradient is not None
        ]
        if given:
            self._step(given)

    def _dog(self, given):
        def norm(arrays):
            return np.sqrt(sum(np.sum(array.astype(np.float64) ** 2) for array in arrays))

        gone = norm([self._values[i] - self._start[i] for i, _ in given])
        first = self._options[0].get("reps_rel", 1e-6) * (1 + norm([self._values[i] for i, _ in given]))
        self._largest = max(first if self._largest is None else self._largest, gone)
        self._squares += norm([gradient for _, gradient in given]) ** 2
        for i, gradient in given:
            lr = self._options[i].get("lr", 1.0)
            self._values[i] -= (lr * self._largest / np.sqrt(self._squares + 1e-8) * gradient).astype(
                self._values[i].dtype
            )

    def _clipup(self, given):
        for i, gradient in given:
            options, velocity = self._options[i], self._velocities[i].astype(np.float64)
            size = np.sqrt(np.sum(gradient**2))
            velocity = options.get("momentum", 0.9) * velocity + (options["lr"] / size * gradient if size else 0)
            speed = np.sqrt(np.sum(velocity**2))
            velocity *= min(1, options["max_speed"] / speed) if speed else 1
            self._velocities[i] = velocity.astype(self._velocities[i].dtype)
            self._values[i] -= self._velocities[i]

    def values(self):
        return self._shaped(array.copy() for array in self._values)

    def states(self):
        return [{} for _ in self._values]
