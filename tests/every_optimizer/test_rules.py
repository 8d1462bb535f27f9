"""A rule is a plain function: what is compiled from it computes what Python computes with it."""

from collections import namedtuple
from types import FunctionType, SimpleNamespace

import numba
import numpy as np
from cases import problem
import pytest
from cases.optimizers import CASES, DTYPES

import numbopt
from numbopt.options import named

STEPS = range(1, 6)


def options_of(case):
    """The options of a case as the plain, checked values that rules and scalars are made from."""
    optimizer = getattr(numbopt, case.cls)([np.zeros(1)], **case.options)
    return type(optimizer), named(optimizer.options, optimizer._checked_options(optimizer.param_groups[0]))


RULES = {cls.rule_for(options): (cls, options) for cls, options in map(options_of, CASES)}


def each_rule(test):
    ids = [rule.function.__name__ for rule in RULES]
    return pytest.mark.parametrize("rule", RULES, ids=ids)(test)


class InPython:
    """An optimizer of one flat array, written out: one element after the other, with NumPy's scalars."""

    def __init__(self, cls, options, values):
        self.cls, self.options, self.rule = cls, options, cls.rule_for(options)
        # `math.sqrt` makes a Python float of a float32, and a quotient of two of these would not be rounded to float32.
        function = self.rule.function
        self.function = FunctionType(function.__code__, {**function.__globals__, "math": SimpleNamespace(sqrt=np.sqrt)})
        self.values = values.copy()
        start = cls.initial_state(options)
        self.states = {name: np.full_like(values, start.get(name, 0)) for name in self.rule.state}
        self.clock = None

    def step(self, gradient):
        clock = self.clock or self.cls.initial_clock(self.options)
        self.clock, scalars = self.cls.advance(self.options, clock)
        names = (*self.rule.scalars, "grad_scale", "l2", "shrink")
        number = self.values.dtype.type
        h = SimpleNamespace(**dict(zip(names, map(number, (*scalars, *self.common_scalars())), strict=True)))
        for i in range(self.values.size):
            state = tuple(array[i] for array in self.states.values())
            p, state = self.update(self.values[i], gradient[i], state, h)
            assert {type(number) for number in (p, *state)} == {self.values.dtype.type}
            self.values[i] = p
            for array, value in zip(self.states.values(), state, strict=True):
                array[i] = value

    def common_scalars(self):
        sign = -1.0 if self.options["maximize"] else 1.0
        decay = self.options.get("weight_decay", 0.0)
        if self.cls.__name__ == "AdamW" or self.options.get("decoupled_weight_decay"):
            return sign, 0.0, 1.0 - self.options["lr"] * decay
        return sign, decay, 1.0

    def update(self, p, g, state, h):
        g = h.grad_scale * g
        if h.l2:
            g = g + h.l2 * p
        return self.function(h.shrink * p, g, state, h)


def flat(arrays, dtype):
    real = np.zeros(0, dtype).real.dtype
    return np.concatenate([np.ravel(array) for array in arrays]).astype(dtype).view(real)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_bit_equals_the_rule_run_by_python(case, dtype):
    cls, options = options_of(case)
    start = problem.starting_parameters(dtype)
    expected = InPython(cls, options, flat(start, dtype))
    arrays = [array.copy() for array in start]
    optimizer = cls(arrays, **case.options)
    for step in STEPS:
        gradients = problem.gradients(step, dtype, "every gradient")
        optimizer.step(grads=gradients)
        expected.step(flat(gradients, dtype))
        np.testing.assert_array_equal(flat(arrays, dtype), expected.values, err_msg=f"step {step}")
        for name, values in expected.states.items():
            actual = flat([optimizer.state[array][name] for array in arrays], dtype)
            np.testing.assert_array_equal(actual, values, err_msg=f"step {step}, {name}")


@each_rule
def test_compiled_function_equals_the_plain_one(rule):
    cls, options = RULES[rule]
    _, scalars = cls.advance(options, cls.initial_clock(options))
    h = namedtuple("Scalars", rule.scalars)(*map(float, scalars))
    arguments = (0.5, -0.25, tuple(0.125 * (i + 1) for i in range(len(rule.state))), h)
    assert rule.compiled()(*arguments) == rule.function(*arguments)


Scalars = namedtuple("Scalars", numbopt.Adam.rule_for({"amsgrad": False}).scalars)


def test_rule_runs_in_a_compiled_loop_of_the_user():
    rule = numbopt.Adam.rule_for({"amsgrad": False})
    adam = rule.compiled()

    @numba.njit
    def minimize(p, scalars):
        state = (0.0, 0.0)
        for h in scalars:
            p, state = adam(p, 2 * p, state, h)
        return p

    x = np.array([2.0])
    optimizer = numbopt.Adam([x], lr=0.1)
    options = named(numbopt.Adam.options, optimizer.param_groups[0])
    clock, scalars = (0,), []
    for _ in range(20):
        clock, values = numbopt.Adam.advance(options, clock)
        scalars.append(Scalars(*values))
        optimizer.step(grads=[2 * x])
    assert minimize(2.0, tuple(scalars)) == x[0]
