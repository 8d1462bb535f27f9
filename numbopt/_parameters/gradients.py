"""Where the gradients of a step are: in the parameters, or in arrays that came with the step."""

import bisect
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from numbopt._devices.arrays import Array, as_device_array, host_address_of
from numbopt._launch.blocks import Integers
from numbopt.parameter import Parameter, checked_gradient, checked_values, gradient_changes, label


class Gradients:
    """The gradients in use for some parameters.

    Parameters
    ----------
    parameters : list of Parameter
        In the order of the gradients.

    Attributes
    ----------
    addresses : array of int, shape (n,)
        Of the gradients, 0 where a parameter has none. Replaced, never changed, when anything changes.
    """

    def __init__(self, parameters: list[Parameter]) -> None:
        self.addresses: Integers = np.zeros(len(parameters), np.int64)
        self._parameters = parameters
        self._own_seen: int | None = None  # the count of changes at which the parameters' own gradients were taken
        self._given: list[Any] = []
        self._converted: dict[int, Array] = {}
        self._on_gpu = [position for position, p in enumerate(parameters) if p.device == "cuda"]
        self._layouts = [(p.array.dtype, p.array.shape, p.array.strides) for p in parameters]
        self._spans = [parameter.span for parameter in parameters]
        occupied = sorted((start, end) for start, end in self._spans if end > start)  # parameters do not overlap
        self._starts, self._ends = [start for start, _ in occupied], [end for _, end in occupied]

    def __getitem__(self, position: int) -> Any:
        """Return the gradient in use of one parameter, an array or None."""
        if self.are_own:
            return self._parameters[position].grad_array
        given = self._given[position]
        if given is _CONVERTED:
            return self._converted[position]
        return as_device_array(given) if position in self._on_gpu and given is not None else given

    @property
    def are_own(self) -> bool:
        """Whether they are those of the parameters, which stay where they are."""
        return self._own_seen is not None

    def take_own(self) -> None:
        """Use the gradients of the parameters."""
        if self._own_seen != gradient_changes.count:
            seen = gradient_changes.count
            self.addresses = np.array([parameter.grad_address for parameter in self._parameters])
            self._own_seen, self._given = seen, []

    def take(self, arrays: Sequence[Any]) -> None:
        """Use the given gradients: as they are where they lie in memory like their parameter, converted elsewhere.

        Raises
        ------
        TypeError, ValueError
            If one does not fit its parameter, or shares memory with one; nothing has changed then.
        """
        if len(arrays) == len(self._given) and all(map(operator.is_, arrays, self._given)):
            return
        addresses = [0] * len(arrays)
        kept: list[Any] = []
        conversions = []
        on_gpu = self._checked_on_gpu(arrays)
        for position, (array, parameter) in enumerate(zip(arrays, self._parameters, strict=True)):
            if array is None or position in on_gpu:
                kept.append(array)
                continue
            alike = type(array) is np.ndarray and (array.dtype, array.shape, array.strides) == self._layouts[position]
            if alike and array.flags.aligned:
                addresses[position] = host_address_of(array)
                self._check_overlap(position, addresses[position])
                kept.append(array)
            else:
                conversions.append((position, checked_values(array, parameter, "gradient", position)))
                kept.append(_CONVERTED)
        for position, values in conversions:
            if position not in self._converted:
                parameter = self._parameters[position]
                self._converted[position] = parameter.unflatten(np.empty(parameter.flat_size, parameter.flat_dtype))
            np.copyto(self._converted[position], values, casting="same_kind")
            addresses[position] = host_address_of(self._converted[position])
        for position, address in on_gpu.items():
            addresses[position] = address
        self.addresses = np.array(addresses)
        self._own_seen, self._given = None, kept

    def _checked_on_gpu(self, arrays: Sequence[Any]) -> dict[int, int]:
        """Return the addresses of the gradients for parameters on a GPU, which are used as they are, by position."""
        addresses = {}
        for position in self._on_gpu:
            if arrays[position] is not None:
                array = checked_gradient(arrays[position], self._parameters[position], position)
                self._check_overlap(position, array.address)
                addresses[position] = array.address
        return addresses

    def _check_overlap(self, position: int, address: int) -> None:
        """Refuse a gradient in the memory of a parameter, unless it is all of its own parameter."""
        start, end = self._spans[position]
        next_one = bisect.bisect_right(self._ends, address)
        if next_one == len(self._starts) or self._starts[next_one] >= address + end - start:
            return
        if address != start and end > start:
            who = label(self._parameters[position], position)
            raise ValueError(f"gradient of {who} shares memory with a parameter; pass a copy")


_CONVERTED = object()  # stands for a gradient whose values were copied, and must be again at the next step
