"""Launches on the CPU: one call of a kernel over rows, on one thread or on several."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from numbopt._devices.arrays import address_of
from numbopt._kernels.cpu.rows import PROGRESS_LINE, loop_around, sharing, squares_loop, sums_loop_around
from numbopt._kernels.rule import Rule
from numbopt._kernels.specialise import address, entry_point
from numbopt._launch.blocks import Integers, equal_chunks, work_of
from numbopt._launch.calls import Calls, run
from numbopt._launch.threads import HelpChoice, Job, calls_for_help, get_num_threads

BYTES_PER_THREAD = 1 << 21
"""Bytes per helper thread below which helping does not pay: waking a thread takes about as long."""


class Launch:
    """One call of a kernel over some rows, serially or with the help of other threads.

    Parameters
    ----------
    loop : dispatcher
        From `numbopt._kernels.cpu.rows`; compiled lazily, here at the latest.
    rows : array of int64, shape (r, c)
        See `numbopt._kernels.cpu.rows`; kept, so that the caller may change addresses in place.
    scalars : array, shape (lines, s)
        Kept likewise. Its dtype is that of the buffers.
    """

    def __init__(self, loop: Any, rows: Integers, scalars: np.ndarray[Any, Any]) -> None:
        self.loop = loop
        self._run: Callable[[], object] | None = None
        self._help: Job | None = None
        if not len(rows):
            return
        work = work_of(rows)
        self._work = int(work.sum())
        self._most_threads = self._work * scalars.itemsize * (rows.shape[1] - 2) // BYTES_PER_THREAD
        if self._most_threads < 2:
            self._run = functools.partial(_alone(loop, scalars.dtype), rows, scalars)
            return
        chunks = equal_chunks(work)
        shares = np.linspace(0, len(chunks) - 1, min(self._most_threads, get_num_threads()) + 1).astype(np.int64)
        # All chunks are claimed: the first helper may wake before the launching thread resets the counts.
        progress = np.full(PROGRESS_LINE * len(shares), len(chunks), np.int64)
        share_loop, start = _shared(loop, scalars.dtype)
        self._help = functools.partial(share_loop, start, rows, scalars, chunks, shares, progress)
        self._run = functools.partial(self._help, 0)
        self._choice = _choice(loop, scalars.dtype, self._work.bit_length())

    def calls(self) -> Calls:
        """Return the calls that do the launch, none where there are no rows."""
        if self._run is None:
            return []
        if self._help is None:
            return [self._run]
        help_calls = functools.partial(calls_for_help, self._help, self._most_threads)
        return self._choice.timed(help_calls, self._run, self._work)


class Update(Launch):
    """The launch of a table; see `numbopt._launch.table.Update`."""

    block: ClassVar[int | None] = None

    def __init__(self, rule: Rule, bound_arrays: bool, rows: Integers, scalars: np.ndarray[Any, Any]) -> None:
        super().__init__(loop_around(rule, bound_arrays), rows, scalars)
        self._rows, self._dtype = rows, scalars.dtype
        self._squares: SquareSum | None = None
        if rule.terms is not None:
            self._partials = np.zeros((len(rows), len(rule.sums)))
            rows[:, -1] = address_of(self._partials) + self._partials.strides[0] * np.arange(len(rows))
            self._summing = Launch(sums_loop_around(rule, bound_arrays), rows, scalars)

    @staticmethod
    def compile_ahead(rule: Rule, dtype: np.dtype[Any], bound_arrays: bool) -> None:
        """Compile whatever tables of this kind may run."""
        compile_ahead(loop_around(rule, bound_arrays), dtype)
        compile_ahead(squares_loop(), dtype)
        if rule.terms is not None:
            compile_ahead(sums_loop_around(rule, bound_arrays), dtype)

    def partial_sums(self) -> np.ndarray[Any, Any]:
        """Return the sums of the terms of the rule over each row."""
        run(self._summing.calls())
        return self._partials

    def gradients_changed(self) -> None:
        """Do nothing: the kernel reads the rows themselves."""

    def sum_of_squares(self) -> float:
        """Return the sum of squares of the gradients in the rows."""
        if self._squares is None:
            self._squares = SquareSum(self._rows[:, 0], self._dtype)
        return self._squares(self._rows[:, 3])

    def clip(self, max_norm: float) -> None:
        """Return None: the host computes the factor."""


class SquareSum:
    """The sum of squares of blocks, in float64: block by block, then in their order, whatever thread did which.

    Parameters
    ----------
    sizes : array of int, shape (b,)
        Elements of the blocks.
    dtype : dtype
        float32 or float64.
    """

    def __init__(self, sizes: Integers, dtype: np.dtype[Any]) -> None:
        self._sums = np.zeros(len(sizes))
        self._rows = np.zeros((len(sizes), 4), np.int64)
        self._rows[:, 0] = sizes
        self._rows[:, 3] = address_of(self._sums) + self._sums.itemsize * np.arange(len(sizes))
        self._launch = Launch(squares_loop(), self._rows, np.zeros((1, 1), dtype))

    def __call__(self, addresses: Integers) -> float:
        """Read the blocks at these addresses and return the sum."""
        self._rows[:, 2] = addresses
        run(self._launch.calls())
        return float(self._sums.sum())


# Compiled before `Launch.calls` runs, because nothing may interrupt these.
@functools.cache
def _alone(loop: Any, dtype: np.dtype[Any]) -> Callable[..., Any]:
    """Return the entry point of a loop for buffers of ``dtype``."""
    return entry_point(loop, _array_types(dtype))


@functools.cache
def _shared(loop: Any, dtype: np.dtype[Any]) -> tuple[Callable[..., Any], int]:
    """Return the entry point of what shares a loop among threads, and its first argument."""
    from numba import types

    arguments = types.int64, *_array_types(dtype), *[types.int64[::1]] * 3, types.int64
    return entry_point(sharing(), arguments), address(loop, _array_types(dtype))


def _array_types(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    from numba import from_dtype, types

    return types.int64[:, ::1], from_dtype(dtype)[:, ::1]


def compile_ahead(loop: Any, dtype: np.dtype[Any]) -> None:
    """Compile both ways to launch."""
    _shared(loop, dtype)


@functools.cache
def _choice(loop: Any, dtype: np.dtype[Any], magnitude: int) -> HelpChoice:
    """Return what launches of about the same work share, so that a new one profits from what others took."""
    return HelpChoice()
