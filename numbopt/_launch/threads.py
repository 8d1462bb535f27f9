"""Threads that help with a large launch.

The thread that launches never depends on the others. Work is cut into chunks, and whoever is free claims the next one
by atomic counters (`rows.shared`); the launching thread does so itself from the first moment and waits only for chunks
that another thread has begun. A helper that wakes late, because its core is busy with a spinning BLAS pool or another
program, finds the counters exhausted and goes back to sleep: the launch took as long as one thread takes, not longer.
Helpers sleep on a queue between launches and never spin, so they take no core away from BLAS either.

This is why these are threads of our own and not Numba's parallel loops: those wait for every thread of their pool,
kill a forked child under OpenMP and abort under the ``workqueue`` layer when two Python threads launch at once.
"""

import collections
import functools
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable

from numbopt.options import as_integer

Calls = list[Callable[[], object]]
Job = Callable[[int], object]
"""What a helper calls with its number: 1, 2, ..."""

Stamps = collections.deque[float]
_jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
_helpers: list[threading.Thread] = []
_lock = threading.Lock()
_thread_count = 0


def get_num_threads() -> int:
    """Return the number of threads that work on a large step.

    Returns
    -------
    int
        What `set_num_threads` set, else the number of processors this process may use, or less where the environment
        variable ``NUMBA_NUM_THREADS`` says so.
    """
    if _thread_count:
        return _thread_count
    import numba  # at the first large launch it is there

    return int(min(numba.config.NUMBA_NUM_THREADS, processors()))


def set_num_threads(n: int) -> None:
    """Set the number of threads that work on a large step. Results do not depend on it.

    Parameters
    ----------
    n : int
        At least 1. With 1, all work is done by the thread that calls.

    Raises
    ------
    ValueError
        If ``n`` is not a positive integer.
    """
    global _thread_count
    _thread_count = as_integer("n", n, 1, f"n must be a positive integer, got {n!r}")


def calls_for_help(job: Job, most: int) -> Calls:
    """Return functions that each hand ``job`` to a free helper, so that all threads work, or ``most`` of them."""
    wanted = min(get_num_threads(), most) - 1
    if wanted < 1 or _jobs.qsize() >= wanted:  # they have not even come to the last launch: their cores are busy
        return []
    with _lock:
        for number in range(len(_helpers) + 1, wanted + 1):
            helper = threading.Thread(target=_help, args=[_jobs, number], name=f"numbopt-{number}", daemon=True)
            helper.start()
            _helpers.append(helper)
    return [functools.partial(_jobs.put, job)] * wanted


class HelpChoice:
    """Chooses between one thread and all of them by what the last launches of about the same work took.

    What is better depends on more than the work: on whether other programs, or the pool of a BLAS that still spins,
    have the other processors, and on how deeply they sleep. So launches are timed. Each way counts by the median of its
    last three launches, for a single one says little: the first launches take turns until there are three of each. Then
    the way that was faster of late is taken, and now and then the other one is tried: after fifty launches, and then
    less and less often, until trying costs one percent.
    """

    def __init__(self) -> None:
        self._last: tuple[Stamps, bool, int] | None = None
        # What one thread took and what all took, in seconds for a unit of work.
        self._took = tuple(collections.deque[float](maxlen=_SAMPLES) for _ in range(2))
        self._launches = 0  # since the other way was tried
        self._tries = 0  # that are left
        self._patience: float = _PATIENCE  # launches before it is tried again

    def timed(self, help_calls: Callable[[], Calls], run: Callable[[], object], work: int) -> Calls:
        """Return what is to be called for a launch of so much work, with help or without, and so that it is timed."""
        if self._last is None:  # the first one meets cold memory and says little
            self._last = collections.deque(), True, work
            return [*help_calls(), run]
        stamps, helped, last_work = self._last
        if len(stamps) == 2:  # else it has not ended
            self._took[helped].append((stamps[1] - stamps[0]) / last_work)
        helped = self._next_is_helped()
        stamps = collections.deque(maxlen=2)
        self._last = stamps, helped, work
        # All in C, as `run` of `calls` wants it: an iterator of one reading of the clock, which `extend` takes.
        stamp, last_stamp = (functools.partial(stamps.extend, itertools.islice(_clock, 1)) for _ in range(2))
        return [stamp, *(help_calls() if helped else ()), run, last_stamp]

    def _next_is_helped(self) -> bool:
        alone, with_help = self._took
        if len(alone) < _SAMPLES or len(with_help) < _SAMPLES:
            return len(with_help) <= len(alone)
        times = [sorted(took)[_SAMPLES // 2] for took in self._took]
        helped = times[True] < times[False]
        self._launches += 1
        if self._launches > self._patience:
            self._launches, self._tries = 0, _SAMPLES - 1  # as many as a median takes to change
            faster, slower = sorted(times)
            costs = 100 * self._tries * (slower / faster - 1) if faster else 0
            self._patience = max(_PATIENCE, min(2 * self._patience, costs))
        if self._tries:
            self._tries -= 1
            return not helped
        return helped


_SAMPLES = 3
_PATIENCE = 50
_clock = iter(time.perf_counter, None)


def _help(jobs: queue.SimpleQueue[Job], number: int) -> None:
    while True:
        jobs.get()(number)


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _forget_helpers() -> None:
    """Start anew in a forked child: threads are not inherited, and locks are as they were."""
    global _jobs, _lock
    _jobs, _lock = queue.SimpleQueue(), threading.Lock()
    _helpers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
