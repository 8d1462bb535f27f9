"""The table of flat buffers: which memory a launch works on, cut into blocks."""

import functools
import math
import operator
import struct
from collections import namedtuple
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from numbopt._kernels.rule import Rule
from numbopt._launch.blocks import Blocks, Integers
from numbopt._launch.calls import Calls
from numbopt._launch.look import Target


class Update(Protocol):
    """The launch that applies a rule to the rows of a table, on one kind of device.

    Parameters
    ----------
    rule : Rule
        What is computed.
    bound_arrays : bool
        Whether each element has bounds of its own: the last two columns.
    rows : array of int64, shape (r, c)
        ``[size, line, param, grad, state, ..., lower, upper]``, sorted by line. Kept: the table writes other gradients.
    scalars : array, shape (lines, s)
        Kept: the table writes them before each launch. Its dtype is that of the buffers.
    """

    block: ClassVar[int | None]
    """Most elements of a row; None for `numbopt._launch.blocks.BLOCK`."""

    def __init__(self, rule: Rule, bound_arrays: bool, rows: Integers, scalars: np.ndarray[Any, Any]) -> None: ...

    @staticmethod
    def compile_ahead(rule: Rule, dtype: np.dtype[Any], bound_arrays: bool) -> None:
        """Compile whatever tables of this kind may run."""

    def calls(self) -> Calls:
        """Return the calls that do the launch."""

    def partial_sums(self) -> np.ndarray[Any, Any]:
        """Return the sums of the terms of the rule over each row, shape (r, sums); for rules that have terms."""

    def gradients_changed(self) -> None:
        """Take notice of other gradients in the rows."""

    def sum_of_squares(self) -> float:
        """Return the sum of squares of the gradients in the rows."""

    def clip(self, max_norm: float) -> Callable[[], float] | None:
        """Let the next launch scale all gradients down to a norm, and return what returns the norm before.

        None where the host has to compute the factor.
        """


class Kind(NamedTuple):
    """What the parameters in one table have in common."""

    update: type[Update]
    rule: Rule
    dtype: np.dtype[Any]
    """float32 or float64."""
    bound_arrays: bool
    """Whether each element has bounds of its own."""


class Member(NamedTuple):
    """A parameter in a table."""

    position: int
    """Among the parameters of the optimizer."""
    size: int
    """In elements."""
    param: int
    """Address."""
    arrays: tuple[int, ...]
    """Addresses of the state arrays, then those of the arrays of lower and upper bounds if there are any."""
    group: Any
    """Stands for the group of the parameter."""
    clock: Any
    """Its clock, None before its first step."""


class Table:
    """All parameters that share a rule, a dtype and a device.

    Parameters
    ----------
    kind : Kind
        What they share.
    members : list of Member
        The parameters.

    Notes
    -----
    Parameters of one group whose clocks are equal are on one *line*: they share their scalars and step together.

    Attributes
    ----------
    lines : list of (object, object)
        Group and clock of each line whose parameters have a gradient.
    not_found : tuple of float
        What stands for the scalars that follow from sums.
    positions : array of int
        Of the members among the parameters of the optimizer.
    launch : Update
        The launch over the rows of `target`, those of the members that have a gradient.
    target : Target
        Its rows are those of the launch.
    scalars : array, shape (lines, s)
        Those of the launch, likewise.
    """

    launch: Update
    target: Target

    def __init__(self, kind: Kind, members: list[Member]) -> None:
        self.kind = kind
        self.positions = np.array([member.position for member in members])
        self._blocks = Blocks(np.array([member.size for member in members]), kind.update.block)
        self._starts = self._blocks.start * kind.dtype.itemsize
        params = np.array([member.param for member in members])
        arrays = np.array([member.arrays for member in members], np.int64).reshape(len(members), -1)
        self._all_rows = self._blocks.rows(params, np.zeros_like(params), *arrays.T, itemsize=kind.dtype.itemsize)
        self.not_found = (0.0,) * len(kind.rule.found)
        if kind.rule.terms is not None:  # one column more, for the addresses of partial sums
            self._all_rows = np.pad(self._all_rows, ((0, 0), (0, 1)))
        self._line_of = np.arange(len(members))
        self.lines: list[tuple[Any, Any]] = []
        self._next_lines: list[tuple[Any, Any]] = []
        self._idle_lines = [(member.group, member.clock) for member in members]
        self._selection = b""

    def clock_of(self, place: int) -> Any:
        """Return the clock of the parameter at ``place`` among the members."""
        line = self._line_of[place]
        active = len(self.lines)
        return (self.lines[line] if line < active else self._idle_lines[line - active])[1]

    def set_clock(self, place: int, clock: Any) -> bool:
        """Set the clock of one member; return False if it left its line, so that gradients have to be taken again."""
        line = int(self._line_of[place])
        active = len(self.lines)
        lines, index = (self.lines, line) if line < active else (self._idle_lines, line - active)
        group, _ = lines[index]
        if self._selection and (len(self._line_of) == 1 or np.count_nonzero(self._line_of == line) == 1):
            lines[index] = (group, clock)
            return True
        self._selection = b""
        self._idle_lines.append((group, clock))
        self._line_of[place] = active + len(self._idle_lines) - 1
        return False

    def positions_on(self, line: int) -> list[int]:
        """Return the positions among the parameters of the optimizer of those on a line."""
        positions: list[int] = self.positions[self._line_of == line].tolist()
        return positions

    def use_gradients(self, addresses: Integers) -> None:
        """Take the gradients of the optimizer's parameters from ``addresses``; 0 means that there is none."""
        has_gradient = addresses[self.positions] != 0
        selection = has_gradient.tobytes()
        if selection != self._selection:
            self._selection = b""  # invalid until all is done; see `calls`
            self._select(has_gradient)
            self._selection = selection
        self.target.take(addresses)
        self.launch.gradients_changed()

    def _select(self, has_gradient: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Make rows and lines for the parameters that have a gradient."""
        # A line splits where only some of its parameters have a gradient. Lines merge where their clocks have met.
        old = self.lines + self._idle_lines
        key_of = self._line_of + len(old) * ~has_gradient
        # Parameters that have scalars of their own are not on one line.
        apart = self.kind.rule.terms is not None
        lines: dict[tuple[bool, Any, Any, int], int] = {}
        new_of_key = np.zeros(2 * len(old), np.int64)
        for key in np.flatnonzero(np.bincount(key_of)).tolist():  # in order: lines with gradients come first
            idle, line = divmod(key, len(old))
            new_of_key[key] = lines.setdefault((bool(idle), *old[line], apart * line), len(lines))
        active_lines = [(group, clock) for idle, group, clock, _ in lines if not idle]
        idle_lines = [(group, clock) for idle, group, clock, _ in lines if idle]
        following: list[tuple[Any, Any]] = []
        replace, line_of = functools.partial(operator.setitem, active_lines, _ALL, following), new_of_key[key_of]
        # No call in these lines: Ctrl-C cannot make the lines disagree with who is on them.
        self.lines, self._next_lines, self._replace_lines = active_lines, following, replace
        self._idle_lines, self._line_of = idle_lines, line_of
        chosen = np.flatnonzero(has_gradient[self._blocks.buffer])
        line_of_row = self._line_of[self._blocks.buffer[chosen]]
        if len(self.lines) > 1:
            order = np.argsort(line_of_row, kind="stable")
            chosen, line_of_row = chosen[order], line_of_row[order]
        rows = self._all_rows[chosen]
        rows[:, 1] = line_of_row
        self.target = Target(rows, self.positions[self._blocks.buffer[chosen]], self._starts[chosen])
        if apart:
            self._first_rows = np.flatnonzero(np.diff(rows[:, 1], prepend=-1))  # of each line that has rows
            self._line_sizes = np.bincount(rows[:, 1], rows[:, 0], len(self.lines)).tolist()
        shape, dtype = (len(self.lines), len(self.kind.rule.scalar_names)), self.kind.dtype
        form = struct.Struct(f"={math.prod(shape)}{dtype.char}")
        memory = bytearray(form.size)
        self._write_scalars = functools.partial(form.pack_into, memory, 0)
        self.scalars: np.ndarray[Any, Any] = np.ndarray(shape, dtype, memory)
        self.launch = self.kind.update(self.kind.rule, self.kind.bound_arrays, rows, self.scalars)

    def sums(self, values: list[float]) -> list[Any]:
        """Return the sums of the terms of the rule for each line, with these scalars of all lines."""
        self._write(values)
        partial, make = self.launch.partial_sums(), sums_type(self.kind.rule.sums)
        sums = np.zeros((len(self.lines), len(self.kind.rule.sums)))
        if self._first_rows.size:
            sums[self.target.rows[self._first_rows, 1]] = np.add.reduceat(partial, self._first_rows, axis=0)
        return [make(size, *of_line) for size, of_line in zip(self._line_sizes, sums.tolist(), strict=True)]

    def calls(self, lines: list[tuple[Any, Any]], values: list[float]) -> Calls:
        """Return the calls that update all parameters that have a gradient, and replace `lines`.

        Parameters
        ----------
        lines : list of (object, object)
            With the clocks after the step.
        values : list of float
            The scalars of all lines, one line after the other; written at once.
        """
        try:
            self._write_scalars(*values)
        except (OverflowError, struct.error):
            self._write(values)  # which says what is wrong
        self._next_lines[:] = lines
        return [*self.launch.calls(), self._replace_lines]

    def _write(self, values: list[float]) -> None:
        try:
            self._write_scalars(*values)
        except OverflowError:
            raise ValueError(f"the options give a scalar too large for {self.kind.dtype}, one of {values}") from None
        except struct.error:
            raise ValueError(f"advance must return as many scalars as the rule names, got {values} in all") from None


@functools.cache
def sums_type(names: tuple[str, ...]) -> Any:
    """Return the type of the sums over a parameter, or over all of them: its size in real numbers, and the sums."""
    return namedtuple("Sums", ("size", *names))


_ALL = slice(None)
