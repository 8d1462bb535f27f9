"""Launches on the CPU: one call of a kernel over rows, on one thread or on several."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import from_dtype, types

from numbopt._devices.arrays import address_of
from numbopt._kernels.cpu.rows import PROGRESS_LINE, Kernels, squares_kernels
from numbopt._launch.blocks import _ROW_OVERHEAD, Integers, _equal_chunks
from numbopt._launch.calls import run
from numbopt._launch.threads import HelpChoice, Job, calls_for_help, get_num_threads

BYTES_PER_THREAD = 1 << 21
"""What a launch has to have for each thread that helps: another thread needs about as long to wake."""


class Launch:
    """One call of a kernel over some rows, serially or with the help of other threads.

    Parameters
    ----------
    kernels : Kernels
        Compiled lazily, here at the latest.
    rows : array of int64, shape (r, c)
        See `numbopt._kernels.cpu`; kept, so that the caller may change addresses in place.
    scalars : array, shape (lines, s)
        Kept likewise. Its dtype is that of the buffers.
    """

    def __init__(self, kernels: Kernels, rows: Integers, scalars: np.ndarray[Any, Any]) -> None:
        work = rows[:, 0] + _ROW_OVERHEAD
        self._help: Job | None = None
        self._work = int(work.sum())
        self._most_threads = self._work * scalars.itemsize * (rows.shape[1] - 2) // BYTES_PER_THREAD
        if self._most_threads < 2:
            self._run = functools.partial(_serial(kernels, scalars.dtype), rows, scalars)
            return
        kernel = _shared(kernels, scalars.dtype)
        chunks = _equal_chunks(work)
        shares = np.linspace(0, len(chunks) - 1, min(self._most_threads, get_num_threads()) + 1).astype(np.int64)
        # All chunks are claimed: the first helper may wake before the launching thread resets the counts.
        progress = np.full(PROGRESS_LINE * len(shares), len(chunks), np.int64)
        self._help = functools.partial(kernel, rows, scalars, chunks, shares, progress)
        self._run = functools.partial(self._help, 0)
        self._choice = _choice(kernel, scalars.dtype, self._work.bit_length())

    def calls(self) -> list[Callable[[], object]]:
        """Return what is to be called, in this order, to do the launch; all are functions written in C."""
        if self._help is None:
            return [self._run]
        help_calls = functools.partial(calls_for_help, self._help, self._most_threads)
        return self._choice.timed(help_calls, self._run, self._work)


@functools.cache
def _compiled(kernel: Any, dtype: np.dtype[Any], *more: Any) -> Any:
    """Return ``kernel`` after compiling it: what runs in `Launch.calls` must not be interrupted."""
    kernel.compile((types.int64[:, ::1], from_dtype(dtype)[:, ::1], *more))
    return kernel


def _serial(kernels: Kernels, dtype: np.dtype[Any]) -> Any:
    return _compiled(kernels.serial, dtype)


def _shared(kernels: Kernels, dtype: np.dtype[Any]) -> Any:
    return _compiled(kernels.shared, dtype, *[types.int64[::1]] * 3, types.int64)


def _compile_ahead(kernels: Kernels, dtype: np.dtype[Any]) -> None:
    _serial(kernels, dtype)
    _shared(kernels, dtype)


@functools.cache
def _choice(kernel: Any, dtype: np.dtype[Any], magnitude: int) -> HelpChoice:
    """Return what launches of about the same work share, so that a new one profits from what others took."""
    return HelpChoice()


class SquareSum:
    """The sum of squares of blocks, in float64: block by block, then in their order, whatever thread did which.

    Parameters
    ----------
    sizes, addresses : array of int, shape (b,)
        Elements and addresses of the blocks.
    dtype : dtype
        float32 or float64.
    """

    def __init__(self, sizes: Integers, addresses: Integers, dtype: np.dtype[Any]) -> None:
        self._sums = np.zeros(len(sizes))
        rows = np.zeros((len(sizes), 4), np.int64)
        rows[:, 0], rows[:, 2] = sizes, addresses
        rows[:, 3] = address_of(self._sums) + self._sums.itemsize * np.arange(len(sizes))
        self._launch = Launch(squares_kernels(), rows, np.zeros((1, 1), dtype))

    def __call__(self) -> float:
        """Read the blocks and return the sum."""
        run(self._launch.calls())
        return float(self._sums.sum())
