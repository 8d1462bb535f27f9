"""Ratios of times that hold on a noisy machine: both sides interleaved, the median of the ratios."""

import gc
import statistics
import time
from typing import NamedTuple


class Measured(NamedTuple):
    """The median of time(ours) / time(reference), and the median time of each in seconds."""

    ratio: float
    ours: float
    reference: float


def ratio(ours, reference, *, seconds=1.5, rounds=25):
    """Compare the times of two functions, which are called alternately in short runs.

    So whatever else the machine does meets both alike.
    """
    runs = [_run(function, seconds / rounds / 2) for function in (ours, reference)]
    gc.collect()
    return interleaved(*runs, rounds=rounds)


def interleaved(ours, reference, *, rounds=25):
    """Compare two functions that measure themselves: they return how many seconds something took."""
    times = [(ours(), reference()) for _ in range(rounds)]
    return Measured(
        statistics.median(a / b for a, b in times),
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
    )


def median(function, *, seconds=0.75):
    """Return the median time of a function in seconds."""
    return ratio(function, lambda: None, seconds=2 * seconds).ours


def _run(function, seconds):
    """Return a function that calls ``function`` for so many seconds and returns the time of one call."""
    function()
    function()
    repeats = max(1, round(seconds / max(_time(function, 1), 1e-9)))

    def run():
        time.sleep(_SPINNING)
        function()
        return _time(function, repeats)

    return run


_SPINNING = 0.02  # seconds for which a pool of threads may spin after its work, on a processor that others need now


def _time(function, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats
