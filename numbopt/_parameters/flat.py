"""All parameters, and all their gradients, as one vector each, for algorithms that work on vectors."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numbopt._devices.arrays import Array, address_of, clear, copy_values, to_host, zeros
from numbopt._launch.blocks import Integers
from numbopt._launch.calls import run
from numbopt._launch.cuda import copying as copying_on_gpu
from numbopt._launch.look import Target, Targets
from numbopt._launch.many_arrays import Copying
from numbopt._launch.tables import arrays_like
from numbopt._parameters.gradients import Given, Gradients
from numbopt.parameter import Parameter


def dtype_and_device(parameters: list[Parameter]) -> tuple[np.dtype[Any], str]:
    """Return dtype and device of vectors of all parameters; see `FlatVectors`."""
    dtype: np.dtype[Any] = np.result_type(*(parameter.flat_dtype for parameter in parameters))
    devices = {parameter.device for parameter in parameters}
    same = len(devices) == 1 and all(parameter.flat_dtype == dtype for parameter in parameters)
    return dtype, devices.pop() if same else "cpu"


class FlatVectors:
    """A vector of all parameters and one of all gradients; complex numbers as real and imaginary parts.

    Parameters
    ----------
    parameters : list of Parameter
        Their data are copied to and from the vectors.

    Attributes
    ----------
    data, grad : array, shape (n,)
        float64 if one of the parameters is float64 or complex128, else float32. On a GPU if all parameters are there
        and have this dtype.
    device : {"cpu", "cuda"}
        Where they are.
    """

    def __init__(self, parameters: list[Parameter]) -> None:
        self._parameters, self._gradients = parameters, Gradients(parameters)
        dtype, self.device = dtype_and_device(parameters)
        ends = np.cumsum([parameter.flat_size for parameter in parameters]).tolist()
        self.data, self.grad = zeros(ends[-1], dtype, self.device), zeros(ends[-1], dtype, self.device)
        self._slices = [slice(end - p.flat_size, end) for p, end in zip(parameters, ends, strict=True)]
        # Compiled copies, all in one launch, of what has the vectors' dtype and stays where it is; the rest by NumPy.
        self._alike = np.array([p.flat_dtype == dtype and p.device == self.device for p in parameters])
        self._others = np.flatnonzero(~self._alike).tolist()
        self._starts = np.array([part.start for part in self._slices]) * dtype.itemsize
        own = np.array([parameter.address for parameter in parameters])
        self._gather = self._copying(own, address_of(self.data) + self._starts, self._alike)
        self._scatter = self._copying(address_of(self.data) + self._starts, own, self._alike)
        self._gather_grad: Any = None
        self._targets: Targets | None = None
        self._with_gradient = b""

    def _copying(self, sources: Integers, targets: Integers, chosen: Array) -> Any:
        sizes = np.array([end - start for start, end in (p.span for p in self._parameters)])[chosen]
        sources, targets = sources[chosen], targets[chosen]
        if self.device == "cuda":
            return copying_on_gpu(sources, targets, sizes // self.data.dtype.itemsize, self.data.dtype)
        return Copying(sources, targets, sizes)

    def flat_bounds(self, bounds: tuple[Any, Any]) -> tuple[Array, Array]:
        """Return bounds, numbers or arrays that fit each parameter, as vectors."""
        lower, upper = np.empty((2, self.data.size), self.data.dtype)
        for parameter, part in zip(self._parameters, self._slices, strict=True):
            lower[part], upper[part] = map(parameter.flat_view, arrays_like(parameter, bounds))
        return lower, upper

    def gather_data(self) -> None:
        """Copy the parameters into ``data``."""
        run(self._gather.calls())
        for position in self._others:
            parameter = self._parameters[position]
            self.data[self._slices[position]] = parameter.flat_view(to_host(parameter.array))

    def scatter_data(self) -> None:
        """Copy ``data`` into the parameters."""
        run(self._scatter.calls())
        for position in self._others:
            parameter = self._parameters[position]
            copy_values(parameter.flat_view(parameter.array), self.data[self._slices[position]])

    def take_back(self, vector: Any) -> None:
        """Copy a vector into the parameters after a failure: only where memory is, as arrays may be anything now."""
        copy_values(self.data, vector)
        if all(parameter.memory_problem() is None for parameter in self._parameters):
            self.scatter_data()
            return
        for parameter, part in zip(self._parameters, self._slices, strict=True):
            if parameter.device == "cuda":
                copy_values(parameter.flat_view(parameter.array), self.data[part])
            elif parameter.has_memory():
                values = self.data[part].astype(parameter.flat_dtype)
                places = ([address_of(values)], [parameter.address], [values.nbytes])
                run(Copying(*(np.array(place, np.int64) for place in places)).calls())

    def gather_grad(self, grads: Any, in_order: Callable[[Any], Given]) -> None:
        """Copy gradients, by default the parameters' own, into ``grad``; zeros where there is none."""
        gradients = self._gradients
        given = gradients.own() if grads is None else gradients.given(grads, in_order)
        if not gradients.retake(given, self._targets):
            if grads is not None:
                given = in_order(grads)
            elif all(gradient is None for gradient in given):
                raise ValueError("the closure gave no gradient to any parameter; let it return (loss, grads)")
            self._targets = None  # until the copies agree with the gradients; see `calls`
            gradients.take(given)
            self._gather_from(gradients.addresses)
        run(self._gather_grad.calls())
        for position in self._others:
            if gradients.addresses[position]:
                gradient = self._parameters[position].flat_view(to_host(gradients.array(position, given)))
                self.grad[self._slices[position]] = gradient

    def _gather_from(self, addresses: Integers) -> None:
        has_gradient = addresses != 0
        chosen = self._alike & has_gradient
        with_gradient = has_gradient.tobytes()
        if with_gradient != self._with_gradient:
            self._with_gradient = b""  # invalid until all is done; see `calls`
            clear(self.grad)
        self._gather_grad = self._copying(addresses, address_of(self.grad) + self._starts, chosen)
        targets = []
        if self.device == "cpu":
            copying = self._gather_grad
            targets = [Target(copying.rows, np.flatnonzero(chosen)[copying.blocks.buffer], copying.blocks.start)]
        self._targets = Targets(targets)
        self._with_gradient = with_gradient

    def scatter_grad(self, vector: Any) -> None:
        """Copy a vector into the gradients of the parameters that have one of their own."""
        for parameter, part in zip(self._parameters, self._slices, strict=True):
            if parameter.grad_array is not None:
                copy_values(parameter.flat_view(parameter.grad_array), vector[part])
