"""A rule is a plain function: what is compiled from it computes what Python computes with it."""

import copy
import functools
import pickle
from collections import namedtuple

import numba
import numpy as np
import pytest
from cases import problem
from cases.optimizers import CASES, DTYPES
from support.rules import RULES, InPython, OfFourStates, each_rule, options_of

import numbopt
from numbopt.options import named

STEPS = range(1, 6)


def flat(arrays, dtype):
    real = np.zeros(0, dtype).real.dtype
    return np.concatenate([np.ravel(array) for array in arrays]).astype(dtype).view(real)


@each_rule
def test_a_rule_is_pickled_by_its_name(rule):
    assert pickle.loads(pickle.dumps(rule)) is rule
    other = numbopt.Rule(flat, rule.state, rule.scalars)
    assert pickle.loads(pickle.dumps(other)) == copy.deepcopy(other) == other


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_bit_equals_the_rule_run_by_python(case, dtype):
    cls, options = options_of(case)
    start = problem.starting_parameters(dtype)
    expected = InPython(cls, options, flat(start, dtype))
    assert_equal, arrays = np.testing.assert_array_equal, [array.copy() for array in start]
    if case.sums_over:  # the order of a sum shows in its last digits
        arrays = [np.concatenate(list(map(np.ravel, start)))]
        tolerance = 1e-5 if np.finfo(dtype).eps > 1e-10 else 1e-12
        assert_equal = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    optimizer = cls(arrays, **case.options)
    for step in STEPS:
        gradients = problem.gradients(step, dtype, "every gradient")
        optimizer.step(grads=[np.concatenate(list(map(np.ravel, gradients)))] if case.sums_over else gradients)
        expected.step(flat(gradients, dtype))
        assert_equal(flat(arrays, dtype), expected.values, err_msg=f"step {step}")
        for name, values in expected.states.items():
            actual = flat([optimizer.state[array][name] for array in arrays], dtype)
            assert_equal(actual, values, err_msg=f"step {step}, {name}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_rule_may_have_four_state_arrays(dtype):
    values = np.random.default_rng(0).standard_normal(1001).astype(dtype)
    optimizer = OfFourStates([values])
    expected = InPython(OfFourStates, named(OfFourStates.options, optimizer.param_groups[0]), values)
    for step in STEPS:
        gradient = np.random.default_rng(step).standard_normal(values.size).astype(dtype)
        optimizer.step(grads=[gradient])
        expected.step(gradient)
    np.testing.assert_array_equal(values, expected.values)
    for name, state in expected.states.items():
        np.testing.assert_array_equal(optimizer.state[values][name], state, err_msg=name)


@each_rule
def test_compiled_function_equals_the_plain_one(rule):
    cls, options = RULES[rule]
    _, scalars = cls.advance(options, cls.initial_clock(options))
    names = (*rule.scalars, *rule.found)
    h = namedtuple("Scalars", names)(*map(float, scalars), *[0.25] * len(rule.found))
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
