"""Ratios of times that hold on a noisy machine: both sides interleaved, the median of the ratios."""

import gc
import statistics
import time


def ratio(ours, reference, *, seconds=1.5, rounds=25):
    """Return the median of time(ours) / time(reference), and the median time of each in seconds.

    Both are called alternately in short runs, so that whatever else the machine does meets both alike.
    """
    repeats_ours, repeats_reference = (_repeats(f, seconds / rounds / 2) for f in (ours, reference))
    gc.collect()
    times = []
    for _ in range(rounds):
        times.append((_time(ours, repeats_ours), _time(reference, repeats_reference)))
    return (
        statistics.median(a / b for a, b in times),
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
    )


def _repeats(function, seconds):
    function()
    function()
    return max(1, round(seconds / max(_time(function, 1), 1e-9)))


def _time(function, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats
