"""The look at parameters and gradients before a step, and the rows that take the addresses of gradients.

See `numbopt._kernels.cpu.look`, which does it.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from numbopt._devices.arrays import host_address_of
from numbopt._devices.objects import ALIGNED, WRITEABLE
from numbopt._kernels.cpu.look import GRADIENT, PLAN_SIZE
from numbopt._kernels.cpu.look import compiled_look as compiled_look
from numbopt._launch.blocks import Integers
from numbopt.parameter import Parameter, layout_of, place_of


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
        Of their number as an int64, and of that many lines of `TARGET_COLUMNS` after it.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._kept = targets
        lines = [(*map(host_address_of, target), *target.rows.shape) for target in targets]
        self._words = np.array([len(lines), *itertools.chain.from_iterable(lines)], np.int64)
        self.address = host_address_of(self._words)


class Plan:
    """What the look of one optimizer compares arrays with.

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
        arrays = [(p.array, p.address, p.layout, ALIGNED | WRITEABLE) for p in parameters]
        bases = {id(base): base for p in parameters for base in p.bases}.values()
        arrays += [(b, host_address_of(b), layout_of(b), 0) for b in bases if isinstance(b, np.ndarray)]
        watched: list[int] = []
        lengths: list[int] = []
        for array, address, (dtype, shape, strides), flags in arrays:
            watched += (id(array), address, array.nbytes, len(shape), id(dtype), flags, len(lengths))
            lengths += (*shape, *strides)
        counts = len(parameters), len(arrays), len(starts)
        tables = [np.array(values, np.int64) for values in (watched, lengths, starts, ends)]
        tables += addresses.copy(), addresses
        words = np.array([*counts, *map(host_address_of, tables), id(np.ndarray), id(None)], np.int64)
        assert len(words) == PLAN_SIZE
        self._kept = arrays, tables, words  # compiled code knows these by address
        self._address = host_address_of(words)
        others = [(base, place_of(base)) for base in bases if not isinstance(base, np.ndarray)]
        self._places = [(base, place) for base, place in others if place is not None]

    @functools.cached_property
    def look(self) -> Callable[[int, int], bool]:
        """The function of the address of targets and the ``id`` of a tuple of gradients; see `Gradients.retake`."""
        look = compiled_look()
        if look is None:
            return lambda targets, given: False
        compared: Callable[[int, int], bool] = functools.partial(look, self._address)
        if not self._places:
            return compared
        return lambda targets, given: (
            all(place == place_of(base) for base, place in self._places) and compared(targets, given)
        )
