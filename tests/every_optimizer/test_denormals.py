"""Denormal numbers do not slow steps down, and the floating-point mode of the caller stays as it is."""

import platform
import threading

import numpy as np
import pytest
from support.runs import parameters_with_gradients

import numbopt
from numbopt._launch import blocks, cpu

FLUSHES = platform.machine().lower() in ("x86_64", "amd64", "aarch64", "arm64")
TINY = np.finfo(np.float32).tiny


def denormals(array):
    return np.count_nonzero((array != 0) & (np.abs(array) < TINY))


def test_how_denormal_numbers_are_counted():
    assert denormals(np.array([0, 1, 1e-40, -1e-44, TINY], np.float32)) == 2


@pytest.mark.skipif(not FLUSHES, reason="numbopt leaves the floating-point mode of this processor alone")
@pytest.mark.parametrize("parallel", [False, True], ids=["serial", "shared"])
@pytest.mark.parametrize(
    ("cls", "options"),
    [("SGD", {"momentum": 0.9}), ("Adam", {"betas": (0.9, 0.95)}), ("RMSprop", {"alpha": 0.9, "momentum": 0.9})],
)
def test_state_does_not_end_in_denormal_numbers(cls, options, parallel, monkeypatch):
    """Each step on these would take thirty times as long."""
    if parallel:
        monkeypatch.setattr(blocks, "BLOCK", 16)
        monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    x = np.ones(100, np.float32)
    optimizer = getattr(numbopt, cls)([x], **options)
    optimizer.step(grads=[np.linspace(-1, 1, 100, dtype=np.float32)])
    zeros = np.zeros(100, np.float32)
    for _ in range(2500):
        optimizer.step(grads=[zeros])
    state = [value for value in optimizer.state[x].values() if isinstance(value, np.ndarray)]
    assert state
    for array in state:
        assert denormals(array) == 0
        assert (array == 0).any()  # it decayed past them


def computes_with_denormals():
    """Whether this thread's own arithmetic takes and gives denormal numbers."""
    taken = np.full(9, 1e-40, np.float32) * np.full(9, 2, np.float32)
    given = np.full(9, 2e-38, np.float32) * np.full(9, 0.01, np.float32)
    return bool((taken != 0).all() and (given != 0).all())


@pytest.mark.parametrize("parallel", [False, True], ids=["serial", "shared"])
def test_floating_point_mode_of_the_caller_is_as_before(parallel, monkeypatch):
    if parallel:
        monkeypatch.setattr(blocks, "BLOCK", 16)
        monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    results = []

    def work():
        results.append(computes_with_denormals())
        parameters = parameters_with_gradients(3, 100)
        optimizer = numbopt.Adam(parameters)
        for _ in range(3):
            optimizer.step()
            results.append(computes_with_denormals())
            optimizer.zero_grad()
            results.append(computes_with_denormals())

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [True] * 14
