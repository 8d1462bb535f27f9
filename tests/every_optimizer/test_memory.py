"""What a step allocates, and what stays allocated."""

import tracemalloc

import numpy as np
import pytest
from cases.optimizers import CASES
from support.runs import parameters_with_gradients

import numbopt
from numbopt._launch import cpu


def peak_of(optimizer, steps):
    """The most memory, in bytes, that steps have in use at one time beyond what was in use before."""
    for step in steps:
        step(optimizer)
    tracemalloc.start()
    try:
        for step in steps:
            step(optimizer)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(3):
            for step in steps:
                step(optimizer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


@pytest.mark.parametrize("cls", sorted({case.cls for case in CASES}))
def test_step_allocates_nothing_that_grows_with_the_parameters(cls, monkeypatch):
    def peak(count, size):
        optimizer = getattr(numbopt, cls)(parameters_with_gradients(count, size))
        return peak_of(optimizer, [lambda opt: opt.step(), lambda opt: opt.zero_grad()])

    has_sums = any(case.cls == cls and case.sums_over for case in CASES)
    few = 6000 if has_sums else 4000
    small = peak(1, 10)
    assert small < few
    assert peak(1, 100_000) < small + 1000
    assert has_sums or peak(1000, 10) < small + 1000  # with sums, each parameter has numbers of its own
    monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    small = peak(1, 10)  # with the stamps that large launches take
    assert small < few
    assert peak(1, 100_000) < small + 1000


def test_step_with_given_gradients_allocates_no_arrays():
    def peak(size):
        arrays, gradients = [np.ones(size) for _ in range(2)], [np.ones(size) for _ in range(2)]
        optimizer = numbopt.Adam(arrays)
        return peak_of(optimizer, [lambda opt: opt.step(grads=gradients), lambda opt: opt.step(grads=gradients[::-1])])

    assert peak(1000) < peak(10) + 1000
    shared = peak(100_000)  # with the stamps that large launches take
    assert shared < 4000
    assert peak(200_000) < shared + 1000


STATE_ARRAYS = {
    "SGD-default": 0,
    "SGD-momentum": 1,
    "Adam-default": 2,
    "Adam-amsgrad": 3,
    "AdamW-default": 2,
    "AdamW-amsgrad": 3,
    "Adamax-default": 2,
    "NAdam-default": 2,
    "RAdam-default": 2,
    "Adagrad-default": 1,
    "Adadelta-default": 2,
    "RMSprop-default": 1,
    "RMSprop-momentum": 2,
    "RMSprop-centered": 2,
    "RMSprop-centered-momentum": 3,
    "Rprop-default": 2,
    "ASGD-default": 1,
}


@pytest.mark.parametrize("case", [case for case in CASES if case.id in STATE_ARRAYS], ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_memory_is_parameters_gradients_and_state(case, dtype):
    """All that stays allocated after the first step: the arrays of the state, a few bytes for alignment, the table."""
    size = 100_000
    array, gradient = np.ones(size, dtype), np.ones(size, dtype)
    getattr(numbopt, case.cls)([array.copy()], **case.options).step(grads=[gradient])  # now all is compiled
    tracemalloc.start()
    try:
        optimizer = getattr(numbopt, case.cls)([array], **case.options)
        optimizer.step(grads=[gradient])
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    state = [value for value in dict(optimizer.state.get(array, {})).values() if isinstance(value, np.ndarray)]
    assert sum(value.nbytes for value in state) == STATE_ARRAYS[case.id] * array.nbytes
    assert 0 <= used - STATE_ARRAYS[case.id] * array.nbytes < 50_000
