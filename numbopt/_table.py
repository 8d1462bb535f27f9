"""The table of flat buffers: which memory a launch works on, cut into blocks; the only place with raw addresses."""

import functools
import operator
import struct
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numba import from_dtype, types

from numbopt._device import check_launches
from numbopt._kernels.cpu import PROGRESS_LINE, Kernels, copy_kernels, kernels_for, squares_kernels, zero_kernels
from numbopt._kernels.rule import Rule
from numbopt._kernels.threads import HelpChoice, Job, calls_for_help, get_num_threads
from numbopt.parameter import address_of

BLOCK = 8192
"""Elements of a block at most: its arrays fit into the second-level cache."""

BYTES_PER_THREAD = 1 << 21
"""What a launch has to have for each thread that helps: another thread needs about as long to wake."""

Integers = np.ndarray[Any, np.dtype[np.int64]]


class Blocks:
    """How flat buffers of given sizes are cut into blocks.

    Parameters
    ----------
    sizes : array of int, shape (n,)
        Elements of each buffer.
    block : int, optional
        Elements of a block at most; `BLOCK` unless given.

    Attributes
    ----------
    buffer : array of int, shape (b,)
        The buffer that each block belongs to.
    start, size : array of int, shape (b,)
        First element and number of elements of each block.
    """

    def __init__(self, sizes: Integers, block: int | None = None) -> None:
        block = block or BLOCK
        counts = -(-sizes // block)
        self.buffer = np.repeat(np.arange(len(sizes)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        self.start = (np.arange(len(self.buffer)) - first) * block
        self.size = np.minimum(sizes[self.buffer] - self.start, block)


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


_ROW_OVERHEAD = 64  # elements that take as long as starting on a row does


def _equal_chunks(work: Integers) -> Integers:
    """Cut rows into runs of about `BLOCK` work each; return where runs begin, and the end."""
    done = np.cumsum(work)
    last = np.flatnonzero(np.diff(done // BLOCK, append=np.iinfo(np.int64).max))
    return np.concatenate([np.zeros(1, np.int64), last + 1])


class Table:
    """All parameters in memory of the host that share a rule and a dtype.

    Parameters
    ----------
    rule : Rule
        What is computed.
    dtype : dtype
        float32 or float64.
    members : array of int, shape (n,)
        Positions of the parameters among those of the optimizer.
    sizes, params : array of int, shape (n,)
        Elements and addresses of the parameters.
    states : array of int, shape (k, n)
        Addresses of their state arrays, and of the arrays of their lower and upper bounds where ``bound_arrays``.
    bound_arrays : bool
        Whether each element has bounds of its own.
    groups : list, length n
        An object for the group of each parameter.
    clocks : list, length n
        The clock of each parameter, None before its first step.

    Notes
    -----
    Parameters of one group whose clocks are equal are on one *line*: they share their scalars and step together.

    Attributes
    ----------
    lines : list of (object, object)
        Group and clock of each line whose parameters have a gradient.
    """

    block: ClassVar[int | None] = None
    """Elements of a row at most; `BLOCK` unless given."""

    def __init__(
        self,
        rule: Rule,
        dtype: np.dtype[Any],
        members: Integers,
        sizes: Integers,
        params: Integers,
        states: Integers,
        bound_arrays: bool,
        groups: list[Any],
        clocks: list[Any],
    ) -> None:
        self.members = members
        self._dtype = dtype
        self._kernels = self._new_kernels(rule, bound_arrays)
        self._scalar_count = len(rule.scalar_names)
        self._blocks = Blocks(sizes, self.block)
        self._starts = self._blocks.start * dtype.itemsize
        self._all_rows = np.zeros((len(self._blocks.size), 4 + len(states)), np.int64)
        self._all_rows[:, 0] = self._blocks.size
        self._all_rows[:, 2] = params[self._blocks.buffer] + self._starts
        for column, addresses in enumerate(states, 4):
            self._all_rows[:, column] = addresses[self._blocks.buffer] + self._starts
        self._line_of = np.arange(len(members))
        self.lines: list[tuple[Any, Any]] = []
        self._idle_lines = list(zip(groups, clocks, strict=True))
        self._gradients_seen = self._selection = b""
        self._launch: Any = None
        self._squares: SquareSum | None = None

    @classmethod
    def compile_ahead(cls, rule: Rule, dtype: np.dtype[Any], bound_arrays: bool) -> None:
        """Compile what tables of this kind may run."""
        _compile_ahead(kernels_for(rule, bound_arrays), dtype)
        _compile_ahead(squares_kernels(), dtype)

    def clock_of(self, place: int) -> Any:
        """Return the clock of the parameter at ``place`` among the members."""
        line = self._line_of[place]
        active = len(self.lines)
        return (self.lines[line] if line < active else self._idle_lines[line - active])[1]

    def places_on(self, line: int) -> Integers:
        """Return the places among the members of the parameters on a line."""
        return np.flatnonzero(self._line_of == line)

    def use_gradients(self, addresses: Integers) -> None:
        """Take the gradients of the optimizer's parameters from ``addresses``; 0 means that there is none."""
        gradients = addresses[self.members]
        seen = gradients.tobytes()
        if seen == self._gradients_seen:
            return
        has_gradient = gradients != 0
        selection = has_gradient.tobytes()
        self._gradients_seen = b""  # until all is done, should a keyboard interrupt come
        if selection != self._selection:
            self._selection = b""
            self._select(has_gradient)
            self._selection = selection
        self._squares = None
        self._rows[:, 3] = gradients[self._row_buffer] + self._row_start
        self._gradients_changed()
        self._gradients_seen = seen

    def _select(self, has_gradient: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Make rows and lines for the parameters that have a gradient."""
        # A line splits where only some of its parameters have a gradient; lines merge where their clocks have met.
        old = self.lines + self._idle_lines
        key_of = self._line_of + len(old) * ~has_gradient
        lines: dict[tuple[bool, Any, Any], int] = {}
        new_of_key = np.zeros(2 * len(old), np.int64)
        for key in np.flatnonzero(np.bincount(key_of)).tolist():  # in order: lines with gradients come first
            idle, line = divmod(key, len(old))
            new_of_key[key] = lines.setdefault((bool(idle), *old[line]), len(lines))
        active_lines = [(group, clock) for idle, group, clock in lines if not idle]
        idle_lines = [(group, clock) for idle, group, clock in lines if idle]
        # No call in this line: lines and who is on them never disagree, should a keyboard interrupt come.
        self.lines, self._idle_lines, self._line_of = active_lines, idle_lines, new_of_key[key_of]
        chosen = self._chosen_rows(has_gradient[self._blocks.buffer])
        self._row_buffer = self._blocks.buffer[chosen]
        self._row_start = self._starts[chosen]
        self._rows = self._all_rows[chosen]
        self._rows[:, 1] = self._line_of[self._row_buffer]
        self._scalars = np.zeros((len(self.lines), self._scalar_count), self._dtype)
        self._pack = struct.Struct(f"={self._scalars.size}{self._dtype.char}").pack_into
        self._launch = self._new_launch() if len(self._rows) else None

    def _chosen_rows(self, has_gradient: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:
        """Return the index of the rows to work on."""
        return has_gradient

    def _new_kernels(self, rule: Rule, bound_arrays: bool) -> Any:
        """Return what a launch runs; compiled when it is first needed."""
        return kernels_for(rule, bound_arrays)

    def _new_launch(self) -> Any:
        """Return the launch over `_rows` with `_scalars`."""
        return Launch(self._kernels, self._rows, self._scalars)

    def _gradients_changed(self) -> None:
        """Take notice of other addresses in `_rows`."""

    def sum_of_squares(self) -> float:
        """Return the sum of squares of the gradients in use."""
        if self._launch is None:
            return 0.0
        if self._squares is None:
            self._squares = SquareSum(self._rows[:, 0], self._rows[:, 3], self._dtype)
        return self._squares()

    def set_scalars(self, values: list[float]) -> None:
        """Write the scalars of all lines, one line after the other."""
        try:
            self._pack(self._scalars, 0, *values)  # type: ignore[arg-type]  # an array is a buffer
        except OverflowError:
            raise ValueError(f"the options give a scalar too large for {self._dtype}, one of {values}") from None
        except struct.error:
            raise ValueError(f"advance must return as many scalars as the rule names, got {values} in all") from None

    def calls(self, lines: list[tuple[Any, Any]]) -> list[Callable[[], object]]:
        """Return what is to be called to update all parameters that have a gradient, and to replace `lines`."""
        calls = self._launch.calls() if self._launch is not None else []
        calls.append(functools.partial(operator.setitem, self.lines, _ALL, lines))
        return calls


_ALL = slice(None)


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


def zeroing(addresses: Integers, sizes: Integers) -> Launch | None:
    """Return the launch that fills buffers with zeros; ``sizes`` in bytes."""
    blocks = Blocks(sizes)
    rows = np.zeros((len(blocks.size), 3), np.int64)
    rows[:, 0] = blocks.size
    rows[:, 2] = addresses[blocks.buffer] + blocks.start
    return Launch(zero_kernels(), rows, np.zeros((1, 1), np.int8)) if len(rows) else None


class Copying(Launch):
    """The launch that copies buffers; ``sizes`` in bytes."""

    def __init__(self, sources: Integers, targets: Integers, sizes: Integers) -> None:
        self._blocks = Blocks(sizes)
        self._rows = np.zeros((len(self._blocks.size), 4), np.int64)
        self._rows[:, 0] = self._blocks.size
        self._rows[:, 2] = targets[self._blocks.buffer] + self._blocks.start
        self.take_from(sources)
        super().__init__(copy_kernels(), self._rows, np.zeros((1, 1), np.int8))

    def take_from(self, sources: Integers) -> None:
        """Copy from other addresses."""
        self._rows[:, 3] = sources[self._blocks.buffer] + self._blocks.start


def compile_zeroing_and_copying() -> None:
    """Compile what `zeroing` and `Copying` run."""
    for kernels in (zero_kernels(), copy_kernels()):
        _compile_ahead(kernels, np.dtype(np.int8))


def run(calls: list[Callable[[], object]]) -> None:
    """Call all functions; a keyboard interrupt comes before or after, never in between.

    Python looks for signals between bytecodes, and here there are none: this loop is written in C, as are the functions
    that `Launch` and `Table` give it.
    """
    results = list(map(operator.call, calls))
    if any(results):  # launches on a GPU answer
        check_launches(results)


def setting(target: Any, **values: Any) -> list[Callable[[], object]]:
    """Return what `run` is to call so that attributes of ``target`` have these values."""
    return [functools.partial(setattr, target, name, value) for name, value in values.items()]
