"""Where the gradients of a step are, and whether the parameters are still where they were."""

import bisect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from numbopt._devices.arrays import Array, as_device_array, host_address_of
from numbopt._launch.blocks import Integers
from numbopt._launch.look import Plan, Targets
from numbopt.parameter import Parameter, checked_gradient, checked_values, gradient_changes, label

Given = tuple[Any, ...]
"""An array for each parameter, or None."""


class Gradients:
    """The gradients in use for some parameters.

    Parameters
    ----------
    parameters : list of Parameter
        In the order of the gradients.

    Attributes
    ----------
    addresses : array of int, shape (n,)
        Of the gradients, 0 where a parameter has none.
    """

    def __init__(self, parameters: list[Parameter]) -> None:
        self.addresses: Integers = np.zeros(len(parameters), np.int64)
        self._parameters = parameters
        self._own: Given = ()
        self._own_seen: int | None = None  # the count of changes at which they were collected
        self._converted: dict[int, Array] = {}
        self._on_gpu = [position for position, p in enumerate(parameters) if p.device == "cuda"]
        self._spans = [parameter.span for parameter in parameters]
        occupied = sorted((start, end) for start, end in self._spans if end > start)  # parameters do not overlap
        self._starts, self._ends = [start for start, _ in occupied], [end for _, end in occupied]
        self._plan = None if self._on_gpu else Plan(parameters, self.addresses, self._starts, self._ends)
        self._seen_on_gpu: Given = ()

    def own(self) -> Given:
        """Return the gradients of the parameters themselves."""
        if self._own_seen != gradient_changes.count:
            seen = gradient_changes.count
            self._own = tuple(parameter.grad_array for parameter in self._parameters)
            self._own_seen = seen
        return self._own

    def given(self, grads: Any, in_order: Callable[[Any], Given]) -> Given:
        """Return what `retake` looks at, from what a step got; ``in_order`` is `Optimizer.gradients_in_order`."""
        return tuple(grads) if type(grads) is list else in_order(grads)  # most are lists that need no other check

    def array(self, position: int, given: Given) -> Any:
        """Return the gradient in use of one parameter, an array or None, where ``given`` were taken."""
        converted = self._converted.get(position)
        if converted is not None and self.addresses[position] == host_address_of(converted):
            return converted
        array = given[position]
        return as_device_array(array) if position in self._on_gpu and array is not None else array

    def retake(self, given: Given, targets: Targets | None) -> bool:
        """Take the given gradients over into ``targets`` if nothing but their addresses has changed.

        Returns
        -------
        bool
            Whether that is so; if not, nothing has changed and `take` finds out what is the matter.
        """
        if targets is None:
            return False
        if self._plan is not None:
            return self._plan.look(targets.address, id(given))
        return len(given) == len(self._seen_on_gpu) and all(map(operator.is_, given, self._seen_on_gpu))

    def take(self, given: Given) -> None:
        """Use the given gradients: as they are where they lie in memory like their parameter, converted elsewhere.

        Raises
        ------
        TypeError, ValueError
            If one does not fit its parameter, or shares memory with one, or if a parameter was moved or locked; nothing
            has changed then.
        """
        addresses = [0] * len(given)
        conversions = []
        on_gpu = self._checked_on_gpu(given)
        for position, (array, parameter) in enumerate(zip(given, self._parameters, strict=True)):
            parameter.check_memory(position)
            if array is None or position in on_gpu:
                continue
            alike = type(array) is np.ndarray and (array.dtype, array.shape, array.strides) == parameter.layout
            if alike and array.flags.aligned:
                addresses[position] = host_address_of(array)
                self._check_overlap(position, addresses[position])
            else:
                conversions.append((position, checked_values(array, parameter, "gradient", position)))
        for position, values in conversions:
            if position not in self._converted:
                parameter = self._parameters[position]
                self._converted[position] = parameter.unflatten(np.empty(parameter.flat_size, parameter.flat_dtype))
            np.copyto(self._converted[position], values, casting="same_kind")
            addresses[position] = host_address_of(self._converted[position])
        for position, address in on_gpu.items():
            addresses[position] = address
        self.addresses[:] = addresses
        if self._on_gpu:
            self._seen_on_gpu = given if not conversions else ()

    def _checked_on_gpu(self, given: Given) -> dict[int, int]:
        """Return the addresses of the gradients for parameters on a GPU, which are used as they are, by position."""
        addresses = {}
        for position in self._on_gpu:
            if given[position] is not None:
                array = checked_gradient(given[position], self._parameters[position], position)
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
