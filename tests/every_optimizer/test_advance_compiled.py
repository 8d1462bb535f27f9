"""`advance` of every algorithm, compiled by Numba as it stands: the numbers are those of plain Python."""

import functools

import pytest
from cases.optimizers import CASES
from support.rules import options_of

from numbopt._kernels.specialise import specialise


@functools.cache
def compiled(advance):
    return specialise(advance, {}, cached=False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_advance_compiles_and_gives_the_same_numbers(case):
    """Bit by bit: a power is that of the C library for both, and all else is rounded as IEEE 754 says."""
    cls, options = options_of(case)
    function = compiled(cls.advance)
    clock = other_clock = cls.initial_clock(options)
    for step in range(1, 1001):
        clock, scalars = cls.advance(options, clock)
        other_clock, other_scalars = function(options, other_clock)
        if step in (1, 2, 10, 1000):
            for values, others in ((clock, other_clock), (scalars, other_scalars)):
                assert others == values
                assert list(map(type, others)) == list(map(type, values))
    # Types stay the same from step to step, from case to case, and through a state dict.
    state = dict.fromkeys(cls.rule_for(options).state) | (cls.clock_to_state(clock) or {})
    function(options, cls.clock_from_state(state, options) or clock)
    assert len(function.signatures) == 1
