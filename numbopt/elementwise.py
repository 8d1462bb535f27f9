"""ElementwiseOptimizer: from a rule, the names of its state and its scalars to an optimizer."""

import bisect
import itertools
import operator
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, ClassVar

import numpy as np

from numbopt._kernels.cpu import Rule
from numbopt._state import ParameterState
from numbopt._table import Table, run
from numbopt.optimizer import GroupOptions, Optimizer
from numbopt.parameter import Array, Parameter, address_of, checked_values, gradient_changes, label

Clock = tuple[Any, ...]


class _Entry:
    """What the optimizer keeps for one parameter; the clock is in the table while there is one."""

    __slots__ = ("clock", "parameter", "place", "state")

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self.state: dict[str, Any] = {}
        self.clock: Clock | None = None
        self.place: tuple[Table, int] | None = None


class ElementwiseOptimizer(Optimizer):
    """An optimizer whose rule computes each element for itself.

    A subclass states its `rule`, its `options` with their checks, a constructor with the defaults and `advance`, and
    has groups, state, hooks, state dicts and all loops.

    Notes
    -----
    Before the rule, the loop applies what is common to all algorithms: ``maximize`` changes the sign of the gradient
    ``g``; ``weight_decay`` makes it ``g + weight_decay * p``, or, where `is_decoupled` says so, multiplies ``p`` by
    ``1 - lr * weight_decay``. Complex parameters are updated as their real and imaginary parts.
    """

    rule: ClassVar[Rule]
    """The formula; `rule_for` may choose another one by the options of a group."""

    clock_names: ClassVar[tuple[str, ...]] = ("step",)
    """Names of the scalars that each parameter keeps from step to step, in the order of a clock."""

    decoupled_weight_decay: ClassVar[bool] = False
    """Whether ``weight_decay`` shrinks the parameter instead of entering the gradient."""

    # ---- what an algorithm states

    @classmethod
    def rule_for(cls, options: Mapping[str, Any]) -> Rule:
        """Return the rule for a group with these options."""
        return cls.rule

    @classmethod
    def is_decoupled(cls, options: Mapping[str, Any]) -> bool:
        """Return whether the weight decay of a group with these options is decoupled from the gradient."""
        return bool(options.get("decoupled_weight_decay", cls.decoupled_weight_decay))

    @classmethod
    def initial_clock(cls, options: Mapping[str, Any]) -> Clock:
        """Return the clock of a parameter before its first step."""
        return (0,)

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float]:
        """Return the values that state arrays are filled with before the first step, where they are not zero."""
        return {}

    @staticmethod
    def advance(options: Mapping[str, Any], clock: Clock) -> tuple[Clock | None, tuple[float, ...]]:
        """Return the clock after a step, and the scalars of that step in the order of ``rule.scalars``.

        Parameters
        ----------
        options : dict
            The checked options of a group: floats, tuples of floats, bools.
        clock : tuple
            Before the step.
        """
        raise NotImplementedError

    @classmethod
    def clock_to_state(cls, clock: Clock) -> dict[str, Any]:
        """Return the clock as entries of a state."""
        return dict(zip(cls.clock_names, clock, strict=True))

    @classmethod
    def clock_from_state(cls, state: Mapping[str, Any], options: Mapping[str, Any]) -> Clock | None:
        """Return the clock that a state, loaded from a state dict, stands for."""
        start = zip(cls.clock_names, cls.initial_clock(options), strict=True)
        values = ((float(state.get(name, default)), default) for name, default in start)
        return tuple(round(value) if isinstance(default, int) else value for value, default in values)

    # ---- tables

    def _set_up(self) -> None:
        super()._set_up()
        self._entries: list[_Entry] = []
        self._tables: list[Table] | None = None  # None: to be made before the next step
        self._rules: list[Rule] = []
        self._gradients_seen: int | None = None  # None: the gradients in use are not those of the parameters
        self._given: list[Any] = []
        self._converted: dict[int, Array] = {}
        self._spans: list[tuple[int, int]] = []

    def _parameters_changed(self) -> None:
        self._forget_tables()
        self._entries += [_Entry(parameter) for parameter in self._parameters[len(self._entries) :]]

    def _options_changed(self) -> None:
        if [self.rule_for(group.values) for group in self._group_options] != self._rules:
            self._forget_tables()

    def _forget_tables(self) -> None:
        """Take the clocks back, so that tables can be made anew."""
        if self._tables is None:
            return
        for entry in self._entries:
            entry.clock, entry.place = self._clock_of(entry), None
        self._tables = None
        self._gradients_seen = None
        self._given = []

    def _clock_of(self, entry: _Entry) -> Clock | None:
        if entry.place is None:
            return entry.clock
        table, position = entry.place
        clock: Clock | None = table.clock_of(position)
        return clock

    def _make_tables(self) -> list[Table]:
        """Sort the parameters into tables by rule and dtype."""
        self._rules = [self.rule_for(group.values) for group in self._group_options]
        group_of = [g for g, group in enumerate(self._group_options) for _ in range(group.size)]
        members: dict[tuple[Rule, np.dtype[Any]], list[int]] = {}
        for position, entry in enumerate(self._entries):
            key = self._rules[group_of[position]], entry.parameter.flat_dtype
            members.setdefault(key, []).append(position)
        tables = []
        for (rule, dtype), positions in members.items():
            entries = [self._entries[position] for position in positions]
            _allocate(entries, rule.state, dtype)
            table = Table(
                rule,
                dtype,
                np.array(positions),
                np.array([entry.parameter.flat_size for entry in entries]),
                np.array([entry.parameter._address for entry in entries]),
                np.array([[address_of(entry.state[name]) for entry in entries] for name in rule.state], np.int64),
                [self._group_options[group_of[position]] for position in positions],
                [entry.clock for entry in entries],
            )
            tables.append(table)
            for place, entry in enumerate(entries):
                entry.place = (table, place)
        return tables

    # ---- gradients

    def _use_own_gradients(self) -> None:
        """Take the gradients from the parameters."""
        count = gradient_changes.count
        addresses = np.array([parameter._grad_address for parameter in self._parameters])
        self._given = []
        self._use(addresses, count)

    def _use(self, addresses: Any, seen: int | None) -> None:
        if self._tables is None:
            self._tables = self._make_tables()
        self._gradients_seen = None
        for table in self._tables:
            table.use_gradients(addresses)
        self._gradients_seen = seen

    def _use_given_gradients(self, grads: Any) -> None:
        """Take gradients that came with the step: as they are where they lie like their parameter, else converted."""
        arrays = self.gradients_in_order(grads)
        if len(arrays) == len(self._given) and all(map(operator.is_, arrays, self._given)):
            return
        addresses = [0] * len(arrays)
        kept: list[Any] = []
        conversions = []
        for position, (array, parameter) in enumerate(zip(arrays, self._parameters, strict=True)):
            if array is None:
                kept.append(None)
                continue
            values = checked_values(array, parameter, "gradient")
            data = parameter._data
            alike = values.dtype == data.dtype and values.strides == data.strides
            if alike and values is array and values.flags.aligned:
                addresses[position] = address_of(values)
                self._check_overlap(position, addresses[position])
                kept.append(values)
            else:
                conversions.append((position, values))
                kept.append(_CONVERTED)
        for position, values in conversions:
            parameter = self._parameters[position]
            if position not in self._converted:
                self._converted[position] = parameter.unflatten(np.empty(parameter.flat_size, parameter.flat_dtype))
            np.copyto(self._converted[position], values, casting="same_kind")
            addresses[position] = address_of(self._converted[position])
        self._given = []
        self._use(np.array(addresses), None)
        self._given = kept

    def _check_overlap(self, position: int, address: int) -> None:
        """Refuse a gradient in the memory of a parameter, unless it is all of its own parameter."""
        parameter = self._parameters[position]
        if len(self._spans) != len(self._parameters):
            spans = [(p._address, p._address + p._data.nbytes) for p in self._parameters]
            self._spans = sorted(spans, key=operator.itemgetter(1))
        if address == parameter._address:
            return
        next_one = bisect.bisect_right(self._spans, address, key=operator.itemgetter(1))
        if next_one < len(self._spans) and self._spans[next_one][0] < address + parameter._data.nbytes:
            raise ValueError(f"gradient of {label(parameter)} shares memory with a parameter; pass a copy of it")

    # ---- the step

    def _step(self, closure: Callable[[], Any] | None, grads: Any) -> Any:
        loss = None
        if closure is not None:
            loss, grads = self.evaluate(closure, grads)
        with self._lock:
            self._refresh_options()
            if grads is not None:
                self._use_given_gradients(grads)
            elif self._gradients_seen != gradient_changes.count:
                self._use_own_gradients()
            self._update()
        return loss

    def _update(self) -> None:
        """Advance the clocks and launch the kernels. Whatever can fail comes before `run`."""
        calls: list[Callable[[], object]] = []
        advance = self.advance
        for table in self._tables or ():
            lines: list[tuple[GroupOptions, Clock | None]] = []
            values: list[float] = []
            for group, clock in table.lines:
                options = group.values
                if clock is None:
                    clock = self.initial_clock(options)
                    self._fill_initial_state(table, len(lines), options)
                clock, scalars = advance(options, clock)
                lines.append((group, clock))
                values += scalars
                values += group.common
            if lines:
                table.set_scalars(values)
                calls += table.calls(lines)
        run(calls)

    def _fill_initial_state(self, table: Table, line: int, options: Mapping[str, Any]) -> None:
        """Prepare the state of parameters that get their first gradient."""
        values = self.initial_state(options)
        if values:
            for place in table.places_on(line).tolist():
                state = self._entries[table.members[place]].state
                for name, value in values.items():
                    state[name][...] = complex(value, value) if state[name].dtype.kind == "c" else value

    def _common_scalars(self, options: Mapping[str, Any]) -> tuple[float, float, float]:
        sign = -1.0 if options["maximize"] else 1.0
        decay = options.get("weight_decay", 0.0)
        if decay and self.is_decoupled(options):
            return sign, 0.0, 1.0 - options["lr"] * decay
        return sign, decay, 1.0

    # ---- state

    def _state_of(self, position: int) -> MutableMapping[str, Any]:
        entry = self._entries[position]
        clock = self._clock_of(entry)
        values = {} if clock is None else {**self.clock_to_state(clock), **entry.state}
        return ParameterState(self, position, values)

    def _replace_state(self, position: int, state: Mapping[str, Any]) -> None:
        self._forget_tables()
        entry = self._entries[position]
        arrays = {}
        for name, value in state.items():
            if isinstance(value, np.ndarray) and name not in self.clock_names:
                if name not in entry.state:
                    _allocate([entry], (name,), entry.parameter.flat_dtype)
                np.copyto(entry.state[name], value, casting="same_kind")
                arrays[name] = entry.state[name]
        entry.state = arrays
        entry.clock = self.clock_from_state(state, self._options_of(position)) if state else None

    def _options_of(self, position: int) -> dict[str, Any]:
        sizes = itertools.accumulate(group.size for group in self._group_options)
        return next(group.values for group, end in zip(self._group_options, sizes, strict=True) if position < end)


_CONVERTED = object()  # stands for a gradient whose values were copied, and must be again at the next step


def _allocate(entries: list[_Entry], names: tuple[str, ...], dtype: np.dtype[Any]) -> None:
    """Give the entries those of the named state arrays that they lack: zeros, views of one flat array per name."""
    lanes = 16 // dtype.itemsize  # each starts where 128-bit loads may
    for name in names:
        lacking = [entry for entry in entries if name not in entry.state]
        sizes = np.array([entry.parameter.flat_size for entry in lacking], np.int64)
        rooms = -(-sizes // lanes) * lanes
        starts = np.cumsum(rooms) - rooms
        flat = np.zeros(rooms.sum(), dtype)
        for entry, start, size in zip(lacking, starts.tolist(), sizes.tolist(), strict=True):
            entry.state[name] = entry.parameter.unflatten(flat[start : start + size])
