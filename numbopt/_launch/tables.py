"""The parameters of an optimizer, sorted into tables; their state, bounds and clocks."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from numbopt._devices.arrays import Array, address_of, copy_values, copying, zeros
from numbopt._kernels.rule import CommonScalars, Rule
from numbopt._launch import cpu, cuda
from numbopt._launch.blocks import Integers
from numbopt._launch.calls import Calls, run, setting
from numbopt._launch.look import Targets
from numbopt._launch.table import Kind, Member, Table
from numbopt.parameter import Parameter

Clock = tuple[Any, ...]
Bounds = tuple[Any, Any]
Advanced = tuple[Table, list[tuple[Any, Clock]], list[float]]
"""A table, its lines after a step, and the scalars of all lines."""


class Group(Protocol):
    """What tables need to know of a param group; one object for each group, whose options may be replaced."""

    options: Any
    """As `Algorithm.advance` takes them."""
    common: CommonScalars
    bounds: Bounds


class Algorithm(Protocol):
    """What tables need to know of an algorithm; see `numbopt.ElementwiseOptimizer`."""

    def rule_for(self, options: Any, /) -> Rule:
        """Return the rule for these options."""

    def initial_clock(self, options: Any, /) -> Clock:
        """Return the clock of a parameter before its first step."""

    def initial_state(self, options: Any, /) -> Mapping[str, float | str]:
        """Return what state arrays begin with where that is not zero; "parameter" stands for a copy of it."""

    def advance(self, options: Any, clock: Any, /) -> tuple[Any, tuple[float, ...]]:
        """Return the clock after a step and the scalars of that step."""

    def over_all(self, options: Any, sums: Any, /) -> dict[str, float]:
        """Return options that change with a step, from those of a group and the sums over all parameters."""

    def changing(self, changed: dict[str, float], /) -> Calls:
        """Return the calls that change options of all groups."""

    def combine(self, options: Any, clock: Any, sums: Any, changed: Any, /) -> tuple[float, ...]:
        """Return the scalars of a parameter that follow from its sums."""


class Entry:
    """The record of one parameter. While tables exist they hold the clocks, and ``clock`` here is stale."""

    __slots__ = ("bounds", "clock", "parameter", "place", "state")

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self.state: dict[str, Any] = {}
        self.bounds: tuple[Array, ...] = ()
        self.clock: Clock | None = None
        self.place: tuple[Table, int] | None = None


class Tables:
    """Parameters in tables by rule, kind of bounds, dtype and device.

    The tables are made when they are first needed, and again after `forget`.

    Attributes
    ----------
    targets : Targets or None
        Where the tables take the addresses of gradients from; None where these have to be given (again) to `use`.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._tables: list[Table] | None = None
        self.targets: Targets | None = None

    def __iter__(self) -> Iterator[Table]:
        """Iterate over the tables that there are."""
        return iter(self._tables or ())

    def adding(self, parameters: Iterable[Parameter]) -> Calls:
        """Return the calls that add parameters."""
        self.forget()
        return setting(self, _entries=[*self._entries, *map(Entry, parameters)])

    def forget(self) -> None:
        """Take the clocks back, so that tables are made anew before the next step."""
        if self._tables is None:
            return
        for position, entry in enumerate(self._entries):
            entry.clock = self.clock_of(position)
        self.targets = None
        self._tables = None  # last: until then the clocks in the tables count; see `calls`

    def use(self, addresses: Integers, algorithm: Algorithm, groups: Sequence[Group]) -> None:
        """Take the gradients from these addresses, 0 for none; ``groups`` has the group of each parameter."""
        if self._tables is None:
            self._tables = self._make_tables(algorithm, groups)
        for table in self._tables:
            table.use_gradients(addresses)
        self.targets = Targets([table.target for table in self._tables])

    def _make_tables(self, algorithm: Algorithm, groups: Sequence[Group]) -> list[Table]:
        positions_of: dict[Kind, list[int]] = {}
        for position, (entry, group) in enumerate(zip(self._entries, groups, strict=True)):
            kind = kind_of(entry.parameter, algorithm, group)
            positions_of.setdefault(kind, []).append(position)
            entry.bounds = arrays_like(entry.parameter, group.bounds) if kind.bound_arrays else ()
        tables = []
        calls: Calls = []
        for kind, positions in positions_of.items():
            entries = [self._entries[position] for position in positions]
            states = _with_arrays(entries, kind.rule.state)
            members = []
            for position, entry, state in zip(positions, entries, states, strict=True):
                arrays = [*(state[name] for name in kind.rule.state), *entry.bounds]
                addresses = tuple(address_of(array) for array in arrays)
                parameter = entry.parameter
                members.append(
                    Member(position, parameter.flat_size, parameter.address, addresses, groups[position], entry.clock)
                )
            table = Table(kind, members)
            tables.append(table)
            for place, (entry, state) in enumerate(zip(entries, states, strict=True)):
                calls += setting(entry, state=state, place=(table, place))
        run(calls)  # all memory was there
        return tables

    # ---- a step

    def advancing(self, algorithm: Algorithm, grad_scale: float) -> Calls:
        """Return the calls of a step, which advance the clocks, too; whatever can fail has happened before.

        Parameters
        ----------
        algorithm : Algorithm
            Whose ``advance`` gives clocks and scalars.
        grad_scale : float
            Further factor of all gradients.
        """
        calls: Calls = []
        summing: list[Advanced] = []
        advance = algorithm.advance
        for table in self._tables or ():
            lines: list[tuple[Group, Clock]] = []
            values: list[float] = []
            for group, clock in table.lines:
                if clock is None:
                    clock = algorithm.initial_clock(group.options)
                    if start := algorithm.initial_state(group.options):
                        self._fill(table.positions_on(len(lines)), start)
                try:
                    clock, scalars = advance(group.options, clock)
                except ArithmeticError as error:
                    name = type(algorithm).__name__
                    raise ValueError(f"{error}, computed by {name} from the options {group.options}") from None
                lines.append((group, clock))
                values += scalars
                values += table.not_found
                values += (
                    group.common
                    if grad_scale == 1
                    else group.common._replace(grad_scale=grad_scale * group.common.grad_scale)
                )
            if lines:
                if table.kind.rule.terms is None:
                    calls += table.calls(lines, values)
                else:
                    summing.append((table, lines, values))
        if summing:
            calls = self._combining(algorithm, summing)
            calls += [call for table, lines, values in summing for call in table.calls(lines, values)]
        return calls

    def _combining(self, algorithm: Algorithm, summing: list[Advanced]) -> Calls:
        """Put the scalars that follow from sums among those of tables; return the calls that change options."""
        sums = [table.sums(values) for table, _, values in summing]
        total = type(sums[0][0])(*map(sum, zip(*itertools.chain(*sums), strict=True)))
        options = summing[0][1][0][0].options
        try:
            changed = algorithm.over_all(options, total)
            for (table, lines, values), of_lines in zip(summing, sums, strict=True):
                rule = table.kind.rule
                for number, ((group, clock), of_line) in enumerate(zip(lines, of_lines, strict=True)):
                    place = number * len(rule.scalar_names) + len(rule.scalars)
                    found = algorithm.combine(group.options, clock, of_line, changed)
                    values[place : place + len(rule.found)] = found
        except ArithmeticError as error:
            raise ValueError(f"{error}, computed by {type(algorithm).__name__} from the options {options}") from None
        return algorithm.changing(changed)

    def _fill(self, positions: list[int], values: Mapping[str, float | str]) -> None:
        """Prepare the state of parameters that get their first gradient."""
        for position in positions:
            state = self._entries[position].state
            for name, value in values.items():
                if isinstance(value, str):
                    copy_values(state[name], self._entries[position].parameter.array)
                    continue
                start = complex(value, value) if state[name].dtype.kind == "c" else value
                copy_values(state[name], np.full(state[name].shape, start, state[name].dtype))

    def sum_of_squares(self) -> float:
        """Return the sum of squares of the gradients in use."""
        return float(sum(table.launch.sum_of_squares() for table in self))

    def clip(self, max_norm: float) -> Callable[[], float] | None:
        """Let the next step scale all gradients down to a norm, without waiting for a GPU.

        Returns
        -------
        callable or None
            Returns the norm before. None where the caller has to compute the factor: on the CPU, and where several
            tables have one norm together.
        """
        tables = list(self)
        return tables[0].launch.clip(max_norm) if len(tables) == 1 else None

    # ---- state

    def clock_of(self, position: int) -> Clock | None:
        """Return the clock of a parameter, None before its first step."""
        entry = self._entries[position]
        if self._tables is None or entry.place is None:
            return entry.clock
        table, place = entry.place
        clock: Clock | None = table.clock_of(place)
        return clock

    def set_clock(self, position: int, clock: Clock) -> None:
        """Set the clock of a parameter that has made steps."""
        entry = self._entries[position]
        if self._tables is None or entry.place is None:
            entry.clock = clock
            return
        table, place = entry.place
        targets, self.targets = self.targets, None  # see `calls`
        if table.set_clock(place, clock):
            self.targets = targets

    def arrays_of(self, position: int) -> dict[str, Any]:
        """Return the state arrays of a parameter, by name."""
        return self._entries[position].state

    def replacing(self, position: int, values: Mapping[str, Any], clock: Clock | None) -> Calls:
        """Return the calls that give a parameter this clock, and state arrays with these values and no others."""
        self.forget()
        entry = self._entries[position]
        (present,) = _with_arrays([entry], tuple(values))
        arrays = {name: present[name] for name in values}
        copies = [copying(arrays[name], value) for name, value in values.items()]
        return [*copies, *setting(entry, state=arrays, clock=clock)]


def kind_of(parameter: Parameter, algorithm: Algorithm, group: Group) -> Kind:
    """Return the kind of table that a parameter belongs to."""
    update = cpu.Update if parameter.device == "cpu" else cuda.Update
    return Kind(update, algorithm.rule_for(group.options), parameter.flat_dtype, are_arrays(group.bounds))


def are_arrays(bounds: Bounds) -> bool:
    """Whether each element has bounds of its own."""
    return isinstance(bounds[0], np.ndarray) or isinstance(bounds[1], np.ndarray)


def arrays_like(parameter: Parameter, bounds: Bounds) -> tuple[Array, Array]:
    """Return copies of bounds that lie in memory as ``parameter`` does."""
    lower, upper = (parameter.unflatten(parameter.flat_zeros()) for _ in bounds)
    for array, bound in zip((lower, upper), bounds, strict=True):
        copy_values(array, np.broadcast_to(bound, parameter.shape))
    return lower, upper


def _with_arrays(entries: list[Entry], names: tuple[str, ...]) -> list[dict[str, Array]]:
    """Return the states of entries of one dtype and device, with the named arrays that they lack added.

    New arrays are zeros, views of one flat array for each name.
    """
    dtype, device = entries[0].parameter.flat_dtype, entries[0].parameter.device
    lanes = 16 // dtype.itemsize  # each starts where 128-bit loads may
    states = [dict(entry.state) for entry in entries]
    for name in names:
        lacking = [number for number, state in enumerate(states) if name not in state]
        sizes = np.array([entries[number].parameter.flat_size for number in lacking], np.int64)
        rooms = -(-sizes // lanes) * lanes
        starts = np.cumsum(rooms) - rooms
        flat = zeros(int(rooms.sum()), dtype, device)
        for number, start, size in zip(lacking, starts.tolist(), sizes.tolist(), strict=True):
            states[number][name] = entries[number].parameter.unflatten(flat[start : start + size])
    return states
