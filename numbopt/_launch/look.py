"""The look at parameters and gradients before a step, and the rows that take the addresses of gradients.

See `numbopt._kernels.cpu.look`, which does it.
"""

import functools
import mmap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from numbopt._devices.arrays import host_address_of
from numbopt._devices.objects import ALIGNED, WRITEABLE
from numbopt._kernels.cpu.look import GRADIENT, PLAN_SIZE, TARGET_COLUMNS, WATCHED_COLUMNS, compiled_look
from numbopt._launch.blocks import Integers
from numbopt.parameter import Parameter


class Target(NamedTuple):
    """The rows of a table, whose addresses of gradients change from step to step."""

    rows: Integers
    """Shape (r, c)."""
    positions: Integers
    """Of the parameter that each row belongs to, among those of the optimizer; shape (r,)."""
    offsets: Integers
    """Bytes from where the gradient begins to where the row begins; shape (r,)."""

    def take(self, addresses: Integers) -> None:
        """Take the gradients from these addresses."""
        self.rows[:, GRADIENT] = addresses[self.positions] + self.offsets


class Targets:
    """The targets of all tables of an optimizer.

    Attributes
    ----------
    address : int
        Of an array of int64, shape (count, `TARGET_COLUMNS`).
    count : int
        Of the tables.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._kept = targets
        lines = [(*map(host_address_of, target), *target.rows.shape) for target in targets]
        self._lines = np.array(lines, np.int64).reshape(-1, TARGET_COLUMNS)
        self.address, self.count = host_address_of(self._lines), len(lines)


class Look:
    """The look of one optimizer.

    Parameters
    ----------
    parameters : list of Parameter
        On the host.
    addresses : array of int, shape (n,)
        Of the gradients; kept, and written with those of each step.
    starts, ends : list of int
        Addresses of the parameters that have elements, sorted.
    """

    def __init__(self, parameters: list[Parameter], addresses: Integers, starts: list[int], ends: list[int]) -> None:
        watched, lengths = [], []
        arrays = [(p.array, p.address, p.layout, ALIGNED | WRITEABLE) for p in parameters]
        bases = {id(base): base for p in parameters for base in p.bases}.values()
        arrays += [
            (b, host_address_of(b), (b.dtype, b.shape, b.strides), 0) for b in bases if isinstance(b, np.ndarray)
        ]
        for array, address, (dtype, shape, strides), flags in arrays:
            watched.append((id(array), address, array.nbytes, len(shape), id(dtype), flags, 8 * len(lengths)))
            lengths += [*shape, *strides]
        # Compiled code knows these arrays by address; here they are kept.
        self._kept = arrays
        self._lengths, self._watched = np.array(lengths, np.int64), np.array(watched, np.int64)
        self._watched[:, WATCHED_COLUMNS - 1] += host_address_of(self._lengths)
        self._spans = np.array(starts, np.int64), np.array(ends, np.int64)
        self._found = addresses.copy(), addresses
        tables = (self._watched, *self._spans, *self._found)
        objects = id(np.ndarray), id(None)
        self._plan = np.array(
            [len(parameters), len(watched), len(starts), *map(host_address_of, tables), *objects], np.int64
        )
        assert len(self._plan) == PLAN_SIZE
        self._closable = [base for base in bases if isinstance(base, mmap.mmap)]

    @functools.cached_property
    def _look(self) -> Callable[[int, int, int], bool]:
        look = compiled_look()
        return (lambda *_: False) if look is None else functools.partial(look, host_address_of(self._plan))

    def __call__(self, given: tuple[Any, ...], targets: Targets) -> bool:
        """Take over the addresses of gradients if nothing else has changed since they were taken the last time."""
        if self._closable and any(memory.closed for memory in self._closable):
            return False
        return self._look(targets.address, targets.count, id(given))
