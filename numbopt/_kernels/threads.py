"""Threads that help with a large launch.

The thread that launches never depends on the others. Work is cut into chunks, and whoever is free claims the next one
by an atomic counter (`cpu.shared`); the launching thread does so itself from the first moment and waits only for chunks
that another thread has begun. A helper that wakes late, because its core is busy with a spinning BLAS pool or another
program, finds the counter exhausted and goes back to sleep: the launch took as long as one thread takes, not longer.
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

import numba

Calls = list[Callable[[], object]]
_jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
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
    return _thread_count or min(numba.config.NUMBA_NUM_THREADS, _processors())


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
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a positive integer, got {n!r}")
    _thread_count = n


def calls_for_help(job: Callable[[], object], chunks: int) -> Calls:
    """Return functions, one for each helper worth waking for so many chunks, that hand ``job`` to a free helper."""
    wanted = min(get_num_threads(), chunks // _CHUNKS_PER_THREAD) - 1
    if wanted < 1 or _jobs.qsize() >= wanted:  # they have not even come to the last launch: their cores are busy
        return []
    with _lock:
        while len(_helpers) < wanted:
            helper = threading.Thread(target=_help, args=[_jobs], name=f"numbopt-{len(_helpers)}", daemon=True)
            helper.start()
            _helpers.append(helper)
    return [functools.partial(_jobs.put, job)] * wanted


_CHUNKS_PER_THREAD = 4  # with fewer, a thread would be woken for less work than waking it costs


class HelpChoice:
    """Chooses between one thread and all of them by what the last launches took.

    What is better depends on more than the size: on whether other programs, or the pool of a BLAS that still spins,
    have the other processors. So launches are timed. The way that was faster of late is taken, and every
    fiftieth launch tries the other one. A single slow launch changes little, several in a row do.
    """

    def __init__(self) -> None:
        self._stamps: collections.deque[float] = collections.deque(maxlen=2)
        self._times = [0.0, 0.0]  # of one thread and of all, in seconds; 0 before the first
        self._helped = False
        self._launches = 0

    def timed(self, help_calls: Callable[[], Calls], run: Callable[[], object]) -> Calls:
        """Return what is to be called for a launch, with help or without, and so that it is timed."""
        stamped = tuple(self._stamps)  # at once: another thread may be here, too
        if len(stamped) == 2:
            took, known = stamped[1] - stamped[0], self._times[self._helped]
            self._times[self._helped] = min(took, 1.1 * known) if known else took
        self._stamps.clear()
        self._launches += 1
        alone, helped = self._times
        self._helped = (helped < alone) != (self._launches % _TRY_OTHER_EVERY == 0)
        # All in C, as `numbopt._table.run` wants it: an iterator of one reading of the clock, which `extend` takes.
        stamps = [functools.partial(self._stamps.extend, itertools.islice(_clock, 1)) for _ in range(2)]
        return [stamps[0], *(help_calls() if self._helped else ()), run, stamps[1]]


_TRY_OTHER_EVERY = 50
_clock = iter(time.perf_counter, None)


def _help(jobs: queue.SimpleQueue[Callable[[], object]]) -> None:
    while True:
        jobs.get()()


def _processors() -> int:
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
