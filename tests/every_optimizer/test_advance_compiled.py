"""`advance` of every algorithm, compiled by Numba as it stands: the numbers are those of plain Python."""

import functools

import numba
import numpy as np
import pytest
from cases.optimizers import CASES
from support.rules import options_of


@functools.cache
def compiled(advance):
    return numba.njit(advance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_advance_compiles_and_gives_the_same_numbers(case):
    cls, options = options_of(case)
    clock = other_clock = cls.initial_clock(options)
    for _ in range(12):
        clock, scalars = cls.advance(options, clock)
        other_clock, other_scalars = compiled(cls.advance)(options, other_clock)
        assert type(other_clock) is type(clock)
        # Libraries differ in the last bit of a power.
        np.testing.assert_array_max_ulp(np.array(other_clock, float), np.array(clock, float), 2)
        np.testing.assert_array_max_ulp(np.array(other_scalars, float), np.array(scalars, float), 4)
