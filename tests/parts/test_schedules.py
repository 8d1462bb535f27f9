"""The schedules as pure functions: their values against the recurrences and sums that define them."""

import doctest
import functools
import inspect
import math
import pickle

import numba
import numpy as np
import pytest

from numbopt import schedules

STEPS = range(60)


def along(schedule, *args, **kwargs):
    return [schedule(step, *args, **kwargs) for step in STEPS]


def repeated(first, change):
    """Values that follow from one another: ``value[t] = change(t, value[t - 1])``."""
    values = [first]
    for step in STEPS[1:]:
        values.append(change(step, values[-1]))
    return values


def test_examples_in_the_docstrings():
    assert doctest.testmod(schedules).failed == 0


def test_step_decay_is_repeated_decay():
    expected = repeated(1.0, lambda t, value: value * (0.3 if t % 7 == 0 else 1))
    np.testing.assert_allclose(along(schedules.step_decay, 7, 0.3), expected, rtol=1e-13)


def test_multi_step_is_repeated_decay_in_any_order_and_twice_for_twice():
    expected = repeated(1.0, lambda t, value: value * 0.3 ** [9, 4, 9, 30].count(t))
    np.testing.assert_allclose(along(schedules.multi_step, [9, 4, 9, 30], 0.3), expected, rtol=1e-13)


def test_exponential_is_repeated_decay():
    expected = repeated(1.0, lambda t, value: value * 0.9)
    np.testing.assert_allclose(along(schedules.exponential, 0.9), expected, rtol=1e-13)


def test_linear_takes_equal_steps():
    expected = repeated(0.2, lambda t, value: value + (0.7 - 0.2) / 13 * (t <= 13))
    np.testing.assert_allclose(along(schedules.linear, 0.2, 0.7, 13), expected, rtol=1e-13)
    assert schedules.linear(0, 0.2, 0.7, 0) == 0.7


def test_polynomial_follows_the_recurrence():
    expected = repeated(1.0, lambda t, value: value * ((1 - t / 61) / (1 - (t - 1) / 61)) ** 2.5)
    np.testing.assert_allclose(along(schedules.polynomial, 61, 2.5), expected, rtol=1e-12)
    assert schedules.polynomial(61, 61) == schedules.polynomial(100, 61) == 0


def test_cosine_follows_the_recurrence_of_chebyshev():
    # cos((t + 1) x) = 2 cos(x) cos(t x) - cos((t - 1) x)
    x = math.pi / 11
    values = [1.0, math.cos(x)]
    while len(values) < len(STEPS):
        values.append(2 * math.cos(x) * values[-1] - values[-2])
    np.testing.assert_allclose(along(schedules.cosine_annealing, 11), (1 + np.array(values)) / 2, atol=1e-12)


def test_cosine_is_exactly_zero_and_one_at_the_ends_of_its_periods():
    for length in (3, 7, 10, 1000):
        for period in range(0, 200, 2):
            assert schedules.cosine_annealing(period * length, length) == 1
            assert schedules.cosine_annealing((period + 1) * length, length) == 0


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_warm_restarts_walk_through_their_periods(factor):
    position, length = 0, 3
    for step in STEPS:
        assert schedules.position_in_period(step, 3, factor) == (position, length)
        assert schedules.cosine_warm_restarts(step, 3, factor) == schedules.cosine_annealing(position, length)
        position += 1
        if position == length:
            position, length = 0, length * factor


def test_triangle_takes_equal_steps_up_and_down():
    expected = repeated(0.0, lambda t, value: value + 1 / 4 if (t - 1) % 10 < 4 else value - 1 / 6)
    np.testing.assert_allclose(along(schedules.cyclic, 4, 6), expected, atol=1e-14)


def test_heights_of_cycles():
    plain = np.array(along(schedules.cyclic, 4, 6))
    halved = plain * np.repeat(0.5 ** np.arange(6), 10)
    np.testing.assert_allclose(along(schedules.cyclic, 4, 6, "triangular2"), halved, rtol=1e-14)
    shrunk = plain * 0.9 ** np.arange(60)
    np.testing.assert_allclose(along(schedules.cyclic, 4, 6, "exp_range", 0.9), shrunk, rtol=1e-14)


@pytest.mark.parametrize("shape", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_rises_to_one_and_falls_to_the_end(shape, three_phase):
    values = along(schedules.one_cycle, 50, 0.3, shape, 20.0, 100.0, three_phase)
    assert values[0] == 1 / 20
    assert values[14] == 1  # 0.3 * 50 - 1
    assert values[49] == values[59] == pytest.approx(1 / 2000)
    assert np.all(np.diff(values[:15]) > 0)
    assert np.all(np.diff(values[14:50]) < 0)
    if three_phase:
        assert values[28] == pytest.approx(1 / 20)


@pytest.mark.parametrize("total_steps", [1, 2, 3, 10])
@pytest.mark.parametrize("pct_start", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_with_phases_of_no_length(total_steps, pct_start, three_phase):
    for step in range(total_steps + 1):
        phase, fraction = schedules.one_cycle_phase(step, total_steps, pct_start, three_phase)
        assert 0 <= phase < 2 + three_phase
        assert 0 <= fraction <= 1


def test_warmup_then_cosine():
    values = along(schedules.warmup_cosine, 8, 50, 0.2, 0.1)
    np.testing.assert_allclose(values[:9], np.linspace(0.2, 1, 9), rtol=1e-14)
    cosine = 0.1 + 0.9 * np.array([schedules.cosine_annealing(step, 42) for step in range(43)])
    np.testing.assert_allclose(values[8:51], cosine, rtol=1e-13)
    assert set(values[50:]) == {0.1}
    assert schedules.warmup_cosine(0, 0, 10) == 1


@pytest.mark.parametrize("shape", ["cos", "linear", "sqrt"])
def test_warmup_stable_decay(shape):
    values = along(schedules.warmup_stable_decay, 5, 20, 16, 0.0, 0.25, shape)
    np.testing.assert_allclose(values[:6], np.linspace(0, 1, 6), rtol=1e-14)
    assert set(values[5:26]) == {1.0}
    assert np.all(np.diff(values[25:42]) < 0)
    assert set(values[41:]) == {0.25}
    middle = {"cos": 0.5, "linear": 0.5, "sqrt": math.sqrt(0.5)}[shape]
    assert values[33] == pytest.approx(1 - 0.75 * middle)


def test_inverse_sqrt_is_continuous_and_halves_in_four_times_the_steps():
    values = along(schedules.inverse_sqrt, 7, 0.0)
    np.testing.assert_allclose(values[:8], np.linspace(0, 1, 8), rtol=1e-14)
    assert values[28] == pytest.approx(0.5)


def test_ease_keeps_the_ends_and_what_is_outside():
    for shape in ("cos", "linear", "sqrt"):
        assert [schedules.ease(fraction, shape) for fraction in (-1, 0, 1, 2)] == [0, 0, 1, 1]


def test_partial_schedules_can_be_pickled():
    schedule = functools.partial(schedules.cosine_annealing, T_max=7)
    assert pickle.loads(pickle.dumps(schedule))(3) == schedule(3)


def test_compiled_loops_can_call_them():
    @numba.njit
    def total(steps):
        result = 0.0
        for step in range(steps):
            result += schedules.warmup_cosine(step, 5, 40) + schedules.multi_step(step, (3, 9))
            result += schedules.one_cycle(step, 50) + schedules.cosine_warm_restarts(step, 3, 2)
            result += schedules.cyclic(step, 4) + schedules.inverse_sqrt(step, 4) + schedules.polynomial(step, 20)
        return result

    assert total(50) == pytest.approx(total.py_func(50), rel=1e-12)


def test_every_schedule_is_pure_and_gives_floats():
    given = {"step_size": 3, "milestones": (4, 9), "gamma": 0.5, "warmup_steps": 3, "T_max": 7, "T_0": 3}
    given |= {"stable_steps": 4, "decay_steps": 9, "total_steps": 70}
    for name, schedule in inspect.getmembers(schedules, inspect.isfunction):
        parameters = inspect.signature(schedule).parameters
        if "step" not in parameters or name in ("position_in_period", "triangle", "one_cycle_phase"):
            continue
        arguments = {key: given[key] for key in parameters if key in given}
        forward = along(schedule, **arguments)
        assert forward == [schedule(step, **arguments) for step in reversed(STEPS)][::-1], name
        assert {type(value) for value in forward} == {float}, name
        assert min(forward) >= 0, name
