"""The rules of all cases, and an optimizer in plain Python that runs them."""

import math
from types import FunctionType, SimpleNamespace

import numpy as np
import pytest
from cases.optimizers import CASES

import numbopt
from numbopt._kernels.rule import CommonScalars
from numbopt._launch.table import sums_type
from numbopt.options import named


def options_of(case):
    """The options of a case as the plain, checked values that rules and scalars are made from."""
    optimizer = getattr(numbopt, case.cls)([np.zeros(1)], **case.options)
    return type(optimizer), named(optimizer.options, optimizer._checked_options(optimizer.param_groups[0]))


RULES = {cls.rule_for(options): (cls, options) for cls, options in map(options_of, CASES)}


def each_rule(test):
    ids = [rule.function.__name__ for rule in RULES]
    return pytest.mark.parametrize("rule", RULES, ids=ids)(test)


def careless(p, g, state, h):
    """A rule with a literal, which turns float32 into float64."""
    return p - 0.1 * g, state


@numbopt.rule(state="last slope curve squares", scalars="beta lr")
def of_four_states(p, g, state, h):
    """A rule with as many state arrays as there may be; all of them matter."""
    last, slope, curve, squares = state
    curve = h.beta * curve + (g - last - slope)
    squares = h.beta * squares + curve * curve
    return p - h.lr * (g + curve) / math.sqrt(squares), (g, g - last, curve, squares)


class OfFourStates(numbopt.ElementwiseOptimizer):
    rule = of_four_states
    options = {"lr": numbopt.options.LR}  # noqa: RUF012
    torch_flags = ("maximize",)

    def __init__(self, params, lr=0.25, **common):
        super().__init__(params, {"lr": lr}, **common)

    @classmethod
    def initial_state(cls, options):
        return {"squares": 0.5}

    @staticmethod
    def advance(o, clock):
        return (clock[0] + 1,), (0.75, o.lr)


def beginning(value, values):
    """What a state array begins with for a parameter with these values."""
    return values.copy() if isinstance(value, str) else np.full_like(values, value)


class InPython:
    """An optimizer of one flat array, written out: one element after the other, with NumPy's scalars."""

    def __init__(self, cls, options, values):
        self.cls, self.options, self.rule = cls, options, cls.rule_for(options)
        # `math.sqrt` makes a Python float of a float32, and a quotient of two of these would not be rounded to float32.
        function = self.rule.function
        self.function = FunctionType(function.__code__, {**function.__globals__, "math": SimpleNamespace(sqrt=np.sqrt)})
        self.values = values.copy()
        self.optimizer = cls([np.zeros(1)])
        start = cls.initial_state(options)
        self.states = {name: beginning(start.get(name, 0), values) for name in self.rule.state}
        self.clock = None

    def step(self, gradient):
        clock = self.clock or self.cls.initial_clock(self.options)
        self.clock, scalars = self.cls.advance(self.options, clock)
        self.found = (0.0,) * len(self.rule.found)
        if self.rule.terms is not None:
            h = self.scalars(scalars)
            states = zip(*self.states.values(), strict=True)
            lanes = zip(self.values, gradient, states, strict=True)
            terms = [self.rule.terms(h.shrink * p, self.gradient(p, g, h), state, h) for p, g, state in lanes]
            sums = np.sum(np.array(terms, np.float64), axis=0).tolist()
            sums = sums_type(self.rule.sums)(self.values.size, *sums)
            changed = self.optimizer.over_all(self.options, sums)
            self.found = self.cls.combine(self.options, self.clock, sums, changed)
            self.options = named(self.cls.options, {**self.options.by_name, **changed})
        h = self.scalars(scalars)
        for i in range(self.values.size):
            state = tuple(array[i] for array in self.states.values())
            p, state = self.update(self.values[i], gradient[i], state, h)
            assert {type(number) for number in (p, *state)} == {self.values.dtype.type}
            self.values[i] = p
            for array, value in zip(self.states.values(), state, strict=True):
                array[i] = value

    def common_scalars(self):
        sign = -1.0 if self.options["maximize"] else 1.0
        decay, named = self.options.get("weight_decay", 0.0), self.options.get("decoupled_weight_decay")
        if self.cls.weight_decay_in_rule or self.options.get("decouple"):
            return sign, 0.0, 1.0
        if self.cls.__name__ == "AdamW" or self.cls.decoupled_weight_decay or named:
            return sign, 0.0, 1.0 - self.options["lr"] * decay
        return sign, decay, 1.0

    def scalars(self, scalars):
        names = (*self.rule.scalar_names[: -len(CommonScalars._fields)], "grad_scale", "l2", "shrink")
        values = map(self.values.dtype.type, (*scalars, *self.found, *self.common_scalars()))
        return SimpleNamespace(**dict(zip(names, values, strict=True)))

    def gradient(self, p, g, h):
        return h.grad_scale * g + h.l2 * p if h.l2 else h.grad_scale * g

    def update(self, p, g, state, h):
        return self.function(h.shrink * p, self.gradient(p, g, h), state, h)
