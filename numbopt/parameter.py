"""Parameter: an array to optimize, its gradient and its name."""

import ctypes
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

_REAL_DTYPE: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float64): np.dtype(np.float64),
    np.dtype(np.complex64): np.dtype(np.float32),
    np.dtype(np.complex128): np.dtype(np.float64),
}


class GradientChanges:
    """Says by another ``count`` that some gradient in the process became None or another array.

    Optimizers compare ``count`` with what it was when they last looked. One count for all, because a parameter may
    belong to several optimizers; a look in vain costs them little.
    """

    def __init__(self) -> None:
        self._counter = itertools.count(1)  # `next` on it cannot be interrupted by another thread
        self.count = 0

    def new_count(self) -> int:
        """Return a count that was never there."""
        return next(self._counter)


gradient_changes = GradientChanges()


class Parameter(NDArrayOperatorsMixin):
    """An array to optimize, with its gradient.

    NumPy functions and operators take a Parameter for its `data`, `numpy.asarray` gives a view of it, and ``==`` is
    elementwise, while as a key of a dict a Parameter stands for itself.

    Parameters
    ----------
    data : array_like
        The start values, copied. Real or complex floating point of 32 or 64 bits, any shape.
    name : str, optional
        Used in messages, and to give gradients by name.

    Raises
    ------
    TypeError
        If ``data`` is of another type, for example integers or a masked array.

    Examples
    --------
    >>> import numbopt
    >>> w = numbopt.Parameter([1.0, 2.0], name="w")
    >>> w.grad = 2 * w.data
    >>> numbopt.SGD([w], lr=0.25).step()
    >>> w
    Parameter([0.5, 1. ], name='w')
    """

    __slots__ = ("__weakref__", "_address", "_axes", "_buffer", "_data", "_grad", "_grad_address", "_source", "name")

    def __init__(self, data: ArrayLike, *, name: str | None = None) -> None:
        self._set_up(_checked(data, name).copy(order="K"), name)

    @classmethod
    def sharing(cls, array: Array, name: str | None = None) -> Self:
        """Make a Parameter that works in the memory of ``array``, which must be writeable and without gaps.

        Parameters
        ----------
        array : ndarray
            C or Fortran order, or any other order of the axes that leaves no gap between elements.
        name : str, optional
            As for `Parameter`.

        Raises
        ------
        TypeError
            If the type of ``array`` cannot be optimized.
        ValueError
            If it is read-only, misaligned or strided.
        """
        self = cls.__new__(cls)
        self._set_up(_checked(array, name, in_place=True), name)
        self._source = array
        return self

    def _set_up(self, data: Array, name: str | None) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a string, got {name!r}")
        self.name = name
        axes = _memory_order(data)
        if axes is None:  # a copy that kept the gaps of its strided original cannot be: copy(order="K") closes them
            raise ValueError(
                f"{_label(name, data.shape)} is strided ({data.strides} bytes): its elements do not lie side by side "
                "in memory; pass numpy.ascontiguousarray(...) of it, or numbopt.Parameter(...), which copies"
            )
        self._axes = axes
        self._data = data
        self._source: Any = data
        self._address = address_of(data)
        self._grad: Array | None = None
        self._buffer: Array | None = None
        self._grad_address = 0

    # ---- data and gradient

    @property
    def data(self) -> Array:
        """The array itself; assigning to it copies the values into it."""
        return self._data

    @data.setter
    def data(self, value: ArrayLike) -> None:
        array = value if value is self._data else checked_values(value, self, "data")
        np.copyto(self._data, array, casting="same_kind")

    @property
    def grad(self) -> Array | None:
        """The gradient, an array of the parameter's shape, or None, which makes optimizers skip the parameter.

        Assigning an array copies its values; the memory is the parameter's own and stays the same for good.
        For complex parameters the convention is torch's, dL/dRe + i dL/dIm.
        """
        return self._grad

    @grad.setter
    def grad(self, value: ArrayLike | None) -> None:
        if value is self._grad:
            return
        if value is None:
            self._set_gradient(None, 0)
            return
        array = checked_values(value, self, "gradient")
        np.copyto(self._gradient_buffer(), array, casting="same_kind")
        self._show_gradient()

    def _gradient_buffer(self) -> Array:
        """Return the memory for the gradient, made when it is first needed."""
        if self._buffer is None:
            self._buffer = self.unflatten(np.zeros(self.flat_size, self.flat_dtype))
        return self._buffer

    def _show_gradient(self) -> None:
        """Let `grad` be the buffer."""
        if self._grad is None:
            buffer = self._gradient_buffer()
            self._set_gradient(buffer, address_of(buffer))

    def _set_gradient(self, grad: Array | None, address: int) -> None:
        """Let `grad` be another array or None, and optimizers know."""
        count = gradient_changes.new_count()
        # No call in this line: neither a keyboard interrupt nor another thread comes in between.
        self._grad, self._grad_address, gradient_changes.count = grad, address, count

    # ---- the flat view

    @property
    def flat_dtype(self) -> np.dtype[Any]:
        """The real type of the elements in memory: that of the real and imaginary parts for complex data."""
        return _REAL_DTYPE[self._data.dtype]

    @property
    def flat_size(self) -> int:
        """The number of real elements in memory, twice the size for complex data."""
        return self._data.nbytes // self.flat_dtype.itemsize

    def unflatten(self, flat: Array) -> Array:
        """View a 1-D real array as an array laid out like the parameter: same shape, type and order of axes."""
        shape = self._data.shape
        array = flat.view(self._data.dtype)
        if self._data.flags.c_contiguous:
            return array.reshape(shape)
        return array.reshape([shape[axis] for axis in self._axes]).transpose(np.argsort(self._axes))

    def flat_view(self, array: Array) -> Array:
        """View an array that is laid out like the parameter as a 1-D real array; the opposite of `unflatten`."""
        return array.transpose(self._axes).reshape(-1).view(self.flat_dtype)

    # ---- acting as an array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the data."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the data."""
        return self._data.dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._data.size

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Give NumPy the data, without a copy where none is asked for."""
        return np.array(self._data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        """Apply ``ufunc`` to the data."""
        arrays = [i._data if isinstance(i, Parameter) else i for i in inputs]
        if out is None:
            return getattr(ufunc, method)(*arrays, **kwargs)
        result = getattr(ufunc, method)(
            *arrays, out=tuple(o._data if isinstance(o, Parameter) else o for o in out), **kwargs
        )
        return out[0] if len(out) == 1 else result

    __hash__ = object.__hash__

    def __getattr__(self, attribute: str) -> Any:
        """Look ``T``, ``sum``, ``real`` and the other public attributes of arrays up on the data."""
        if attribute.startswith("_"):
            raise AttributeError(f"'Parameter' object has no attribute {attribute!r}")
        return getattr(self._data, attribute)

    def __getitem__(self, index: Any) -> Any:
        """Index the data."""
        return self._data[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        """Write into the data."""
        self._data[index] = value

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return len(self._data)

    def __iter__(self) -> Any:
        """Iterate over the first axis of the data."""
        return iter(self._data)

    def __contains__(self, value: Any) -> bool:
        """Return whether an element is equal to ``value``."""
        return value in self._data

    def __bool__(self) -> bool:
        """Return the truth of a single element."""
        return bool(self._data)

    def __int__(self) -> int:
        """Return a single element as an int."""
        return int(self._data)

    def __float__(self) -> float:
        """Return a single element as a float."""
        return float(self._data)

    def __complex__(self) -> complex:
        """Return a single element as a complex number."""
        return complex(self._data)

    def __format__(self, spec: str) -> str:
        """Format a single element by ``spec``."""
        return format(self._data, spec) if spec else str(self)

    def __repr__(self) -> str:
        """Show the data and the name."""
        text = repr(self._data).removeprefix("array(").removesuffix(")")
        return f"Parameter({text}{f', name={self.name!r}' if self.name else ''})"

    # ---- copies

    def __getstate__(self) -> dict[str, Any]:
        """Return what `copy` and `pickle` need."""
        return {"source": self._source, "grad": self._grad, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild from what `__getstate__` gave."""
        self._set_up(np.asarray(state["source"]), state["name"])  # a subclass and its plain view stay one memory
        self._source = state["source"]
        if state["grad"] is not None:
            self.grad = state["grad"]

    def __copy__(self) -> "Parameter":
        """Refuse: two Parameters over one array would be one parameter twice."""
        raise TypeError("a Parameter has no shallow copy; use copy.deepcopy(p) or numbopt.Parameter(p)")


class Pack(NamedTuple):
    """Many parameters in one contiguous vector."""

    data: Array
    """All parameters, 1-D; a Parameter that is a slice of it is in ``parameters``."""
    grad: Array
    """All gradients, 1-D, in the same order."""
    parameters: list[Parameter]


def pack(arrays: Iterable[ArrayLike] | Mapping[str, ArrayLike]) -> Pack:
    """Copy arrays into one contiguous vector and make Parameters that are views of it.

    For work that wants all parameters, or all gradients, as one vector: collectives of MPI, L-BFGS, norms, compiled
    loops of one's own.

    Parameters
    ----------
    arrays : iterable of array_like, or mapping of str to array_like
        Start values, of one dtype. The keys of a mapping become names.

    Returns
    -------
    Pack
        The vector ``data``, the vector ``grad`` (zeros) and the list ``parameters``, whose gradients are views of
        ``grad``.

    Raises
    ------
    TypeError
        If an array has a type that cannot be optimized.
    ValueError
        If the dtypes differ or there is no array.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> data, grad, (w, b) = numbopt.pack({"w": np.ones((2, 2)), "b": np.zeros(2)})
    >>> w.grad += 1
    >>> numbopt.SGD([w, b], lr=0.5).step()
    >>> data
    array([0.5, 0.5, 0.5, 0.5, 0. , 0. ])
    """
    named = arrays.items() if isinstance(arrays, Mapping) else [(None, array) for array in arrays]
    checked = [(name, _checked(array, name)) for name, array in named]
    dtypes = {array.dtype for _, array in checked}
    if len(dtypes) != 1:
        raise ValueError(f"pack needs arrays of one dtype, got {sorted(map(str, dtypes)) or 'no array'}")
    dtype = dtypes.pop()
    size = sum(array.size for _, array in checked)
    result = Pack(np.empty(size, dtype), np.zeros(size, dtype), [])
    start = 0
    for name, array in checked:
        stop = start + array.size
        view = result.data[start:stop].reshape(array.shape)
        np.copyto(view, array)
        parameter = Parameter.sharing(view, name)
        parameter._buffer = result.grad[start:stop].reshape(array.shape)
        parameter._show_gradient()
        result.parameters.append(parameter)
        start = stop
    return result


def checked_values(value: Any, parameter: Parameter, what: str, position: int | None = None) -> Array:
    """Return ``value`` as an array that may be copied into ``parameter``, or raise an error that says why not."""
    if type(value) is not np.ndarray:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{what} of {label(parameter, position)} is a masked array; pass its .filled(0) or .data")
        try:
            value = np.asarray(value)
        except Exception as error:  # a ragged list, a tensor on another device
            raise ValueError(f"{what} of {label(parameter, position)} cannot become an array: {error}") from error
    data = parameter._data
    if value.dtype is not data.dtype and (
        value.dtype.kind not in "fciub" or not np.can_cast(value.dtype, data.dtype, "same_kind")
    ):
        hint = "pass its .real if that is what you mean" if value.dtype.kind == "c" else "convert it first"
        raise TypeError(f"{what} of {label(parameter, position)} is {value.dtype}, the parameter {data.dtype}; {hint}")
    if value.shape != data.shape:
        raise ValueError(
            f"{what} of {label(parameter, position)} has shape {value.shape}, the parameter has shape {data.shape}; "
            "they must be the same"
        )
    array: Array = value
    return array


def label(parameter: Parameter, position: int | None = None) -> str:
    """Name a parameter in a message, by its position among others where it has no name."""
    return _label(parameter.name, parameter.shape, position)


def address_of(array: Array) -> int:
    """Return the address of the first element."""
    return ctypes.c_void_p.from_address(id(array) + _DATA_FIELD).value or 0


# By NumPy's C interface, the pointer to the data is the first field of an ndarray after the object header. Reading it
# takes an eighth of the time that `ndarray.ctypes` or `__array_interface__` take, at every step with new gradients.
_DATA_FIELD = object.__basicsize__


def _label(name: str | None, shape: tuple[int, ...], position: int | None = None) -> str:
    if name:
        return f"parameter {name!r}"
    return f"{'a parameter' if position is None else f'parameter {position}'} of shape {shape}"


def _checked(data: Any, name: str | None, *, in_place: bool = False) -> Array:
    """Return ``data`` as a plain ndarray of a type that can be optimized."""
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{_label(name, data.shape)} is a masked array; pass its .filled(...) or .data")
    try:
        array = np.asarray(data)
    except Exception as error:
        raise ValueError(
            f"{f'parameter {name!r}' if name else 'a parameter'} cannot become an array: {error}"
        ) from error
    who = _label(name, array.shape)
    if array.dtype not in _REAL_DTYPE:
        raise TypeError(
            f"{who} has dtype {array.dtype}; numbopt optimizes float32, float64, complex64 and complex128 in "
            "native byte order: convert it with .astype(...)"
        )
    if in_place and not array.flags.writeable:
        raise ValueError(f"{who} is read-only; pass a writeable array, or numbopt.Parameter(...), which copies")
    if in_place and not array.flags.aligned:
        raise ValueError(f"{who} is not aligned in memory; pass a copy of it")
    return array


def _memory_order(array: Array) -> tuple[int, ...] | None:
    """Return the axes from the slowest to the fastest in memory, or None if there are gaps between elements."""
    if array.flags.c_contiguous:
        return tuple(range(array.ndim))
    axes = tuple(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))
    return axes if array.transpose(axes).flags.c_contiguous else None
