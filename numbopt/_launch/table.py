"""The table of flat buffers: which memory a launch works on, cut into blocks."""

import functools
import operator
import struct
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from numbopt._kernels.cpu.rows import kernels_for, squares_kernels
from numbopt._kernels.rule import Rule
from numbopt._launch.blocks import Blocks, Integers
from numbopt._launch.cpu import Launch, SquareSum, _compile_ahead


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
