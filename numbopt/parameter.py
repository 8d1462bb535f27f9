"""Parameter: an array to optimize, its gradient and its name."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from numbopt._devices.arrays import (
    Array,
    DeviceArray,
    address_of,
    as_device_array,
    copy_values,
    is_device_array,
    like,
    memory_order,
    shown_like,
    to_host,
    zeros,
)
from numbopt._devices.interruptions import raised_by_handler
from numbopt.options import check_is_plain

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_REAL_DTYPE: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float64): np.dtype(np.float64),
    np.dtype(np.complex64): np.dtype(np.float32),
    np.dtype(np.complex128): np.dtype(np.float64),
}


class GradientChanges:
    """Counts changes: ``count`` is new whenever any gradient in the process became None or another array.

    Optimizers compare ``count`` with the one they saw last, to skip collecting the gradients again. All parameters
    share one count, because a parameter may belong to several optimizers. To collect in vain costs little.
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
    device : {"cpu", "cuda"}, optional
        Where it is to be; by default where ``data`` is. Arrays on a GPU, of CuPy, torch, JAX, Numba or any other
        library with ``__cuda_array_interface__`` or DLPack, are taken as well.

    Raises
    ------
    TypeError
        If ``data`` is of another type, for example integers or a masked array.
    RuntimeError
        If there is no GPU for ``device="cuda"``, or a package is missing.

    Notes
    -----
    On a GPU, `data` and `grad` are arrays of the library whose array the Parameter was made from, CuPy, torch or Numba;
    else they are of `numbopt.cuda.DeviceArray`, which these take without a copy.

    Examples
    --------
    >>> import numbopt
    >>> w = numbopt.Parameter([1.0, 2.0], name="w")
    >>> w.grad = 2 * w.data
    >>> numbopt.SGD([w], lr=0.25).step()
    >>> w
    Parameter([0.5, 1. ], name='w')
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_axes",
        "_bases",
        "_buffer",
        "_data",
        "_grad",
        "_grad_address",
        "_layout",
        "_nbytes",
        "_shown",
        "_shown_grad",
        "_source",
        "is_implicit",
        "name",
    )

    def __init__(self, data: Any, *, name: str | None = None, device: str | None = None) -> None:
        if isinstance(data, Parameter):
            data = data.data
        array = _checked(data, name)
        if _on_gpu(device, array) == isinstance(array, DeviceArray):
            self._set_up(array.copy(order="K"), name, data)
        else:
            self._set_up(_moved(array), name)

    @classmethod
    def sharing(cls, array: Array, name: str | None = None) -> Self:
        """Make a Parameter that works in the memory of ``array``, which must be writeable and without gaps.

        Parameters
        ----------
        array : ndarray, or an array on a GPU
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
        self._set_up(_checked(array, name, in_place=True), name, array)
        self._source = array
        if isinstance(self._data, DeviceArray):
            self._shown = array
        return self

    def _set_up(self, data: Any, name: str | None, made_from: Any = None) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a string, got {name!r}")
        self.name = name
        self.is_implicit = False  # whether an optimizer made it of a plain array, which is all that the user knows
        axes = memory_order(data)
        if axes is None:  # a copy that kept the gaps of its strided original cannot be: copy(order="K") closes them
            raise ValueError(
                f"{_label(name, data.shape)} is strided ({data.strides} bytes): its elements do not lie side by side "
                "in memory; pass numpy.ascontiguousarray(...) of it, or numbopt.Parameter(...), which copies"
            )
        self._axes = axes
        self._data: Array = data  # or a DeviceArray, which has what is used here of an array's attributes
        # `_shown` is what `data` returns: on a GPU an array of the user's library. `_source` is what the user passed.
        self._shown: Any = made_from
        self._shown = self._source = self.shown(data)
        self._address = address_of(data)
        self._layout = layout_of(data)  # this and the next, as users may edit the array itself
        self._nbytes: int = data.nbytes
        self._bases = tuple(_bases_of(data))
        self._grad: Any = None
        self._shown_grad: Any = None
        self._buffer: Any = None
        self._grad_address = 0

    # ---- data and gradient

    @property
    def data(self) -> Any:
        """The array itself; assigning to it copies the values into it, from the host or from a GPU."""
        return self._shown

    @data.setter
    def data(self, value: Any) -> None:
        if value is self._shown:
            return
        if self.device == "cpu" and is_device_array(value):
            value = as_device_array(value).copy_to_host()
        copy_values(self._data, checked_values(value, self, "data"))

    @property
    def grad(self) -> Any:
        """The gradient, an array of the parameter's shape, or None, which makes optimizers skip the parameter.

        Assigning an array copies its values; the memory belongs to the parameter and never changes. The array
        has to be where the parameter is.
        For complex parameters the convention is torch's, dL/dRe + i dL/dIm.
        """
        return self._shown_grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is self._shown_grad:
            return
        if value is None:
            self._set_gradient(None, 0)
            return
        copy_values(self._gradient_buffer(), checked_gradient(value, self))
        self._show_gradient()

    def _gradient_buffer(self) -> Any:
        """Return the memory for the gradient, made when it is first needed."""
        if self._buffer is None:
            self._buffer = self.unflatten(self.flat_zeros())
        return self._buffer

    def _show_gradient(self) -> None:
        """Let `grad` be the buffer."""
        if self._grad is None:
            buffer = self._gradient_buffer()
            self._set_gradient(buffer, address_of(buffer))

    def _set_gradient(self, grad: Any, address: int) -> None:
        """Let `grad` be another array or None, and optimizers know."""
        count = gradient_changes.new_count()
        shown = self.shown(grad)
        # There is no call in this line, so that neither Ctrl-C nor another thread can come in between.
        self._grad, self._shown_grad, self._grad_address, gradient_changes.count = grad, shown, address, count

    # ---- what kernels work on

    @property
    def array(self) -> Any:
        """The memory of the data, an ndarray or a DeviceArray; `data` shows it as the user's library does."""
        return self._data

    @property
    def address(self) -> int:
        """Address of the data."""
        return self._address

    @property
    def layout(self) -> "Layout":
        """Dtype, shape and strides of the data."""
        return self._layout

    @property
    def bases(self) -> tuple[Any, ...]:
        """The objects that the memory of the data belongs to, if it is not the array's own."""
        return tuple(base for base, _ in self._bases)

    def check_memory(self, position: int | None = None) -> None:
        """Refuse to work on an array that is no longer where and as it was, or must not be written.

        Raises
        ------
        ValueError
            If it was resized, reshaped or locked, or its memory was given back.
        """
        problem = self.memory_problem()
        if problem is not None:
            raise ValueError(
                f"the array of {label(self, position)} {problem}, or optimize a numbopt.Parameter(...) of it"
            )

    def memory_problem(self) -> str | None:
        """Return what `check_memory` finds, or None."""
        data = self._data
        if isinstance(data, DeviceArray):
            return None
        if address_of(data) != self._address or layout_of(data) != self._layout:
            dtype, shape, strides = self._layout
            return (
                f"has changed since it became a parameter: it was resized, or had shape {shape}, strides {strides} and "
                f"dtype {dtype}; make a new optimizer"
            )
        if not data.flags.writeable:
            return "is read-only now; unlock it by x.setflags(write=True)"
        for base, place in self._bases:
            if place != place_of(base):
                kind = type(base).__name__
                return f"has lost its memory, which was that of {kind} since resized or closed; make a new one"
        return None

    def has_memory(self) -> bool:
        """Whether the memory is still where it was, whatever else was done to the array."""
        data = self._data
        if isinstance(data, DeviceArray):
            return True
        is_there = address_of(data) == self._address and data.nbytes >= self._nbytes
        return is_there and all(place == place_of(base) for base, place in self._bases)

    @property
    def span(self) -> tuple[int, int]:
        """Addresses of the first byte of the data and of the end."""
        return self._address, self._address + self._nbytes

    @property
    def grad_array(self) -> Any:
        """The memory of the gradient, or None; `grad` shows it as the user's library does."""
        return self._grad

    @property
    def grad_address(self) -> int:
        """Address of the gradient, 0 where there is none."""
        return self._grad_address

    # ---- where it is

    def shown(self, array: Any) -> Any:
        """View an array on a GPU as one of the library of this Parameter's `data`; others are what they are."""
        return shown_like(self._shown, array) if isinstance(array, DeviceArray) else array

    @property
    def device(self) -> str:
        """``"cpu"`` or ``"cuda"``."""
        return "cuda" if isinstance(self._data, DeviceArray) else "cpu"

    def to(self, device: str) -> "Parameter":
        """Return this Parameter if it is on a device, else a copy there, with a copy of the gradient.

        Parameters
        ----------
        device : {"cpu", "cuda"}
            Where it is to be.

        Raises
        ------
        RuntimeError
            If there is no GPU for ``"cuda"``, or a package is missing.
        """
        if _on_gpu(device, self._data) == isinstance(self._data, DeviceArray):
            return self
        moved = Parameter(self._data, name=self.name, device=device)
        if self._grad is not None:
            copy_values(moved._gradient_buffer(), self._grad)
            moved._show_gradient()
        return moved

    # ---- the flat view

    @property
    def flat_dtype(self) -> np.dtype[Any]:
        """The real type of the elements in memory: that of the real and imaginary parts for complex data."""
        return _REAL_DTYPE[self._layout[0]]

    @property
    def flat_size(self) -> int:
        """The number of real elements in memory, twice the size for complex data."""
        return self._nbytes // self.flat_dtype.itemsize

    def flat_zeros(self) -> Any:
        """Return a 1-D real array of zeros, of the parameter's size and where it is."""
        return zeros(self.flat_size, self.flat_dtype, self.device)

    def unflatten(self, flat: Any) -> Any:
        """View a 1-D real array as an array laid out like the parameter: same shape, type and order of axes."""
        if isinstance(flat, DeviceArray):
            return like(cast(DeviceArray, self._data), flat)
        dtype, shape, _ = self._layout
        array = flat.view(dtype)
        if self._axes == tuple(range(len(shape))):
            return array.reshape(shape)
        return array.reshape([shape[axis] for axis in self._axes]).transpose(np.argsort(self._axes))

    def flat_view(self, array: Any) -> Any:
        """View an array that is laid out like the parameter as a 1-D real array; the opposite of `unflatten`."""
        if isinstance(array, DeviceArray):
            return DeviceArray(array.address, (self.flat_size,), self.flat_dtype, array)
        return array.transpose(self._axes).reshape(-1).view(self.flat_dtype)

    # ---- acting as an array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the data."""
        shape: tuple[int, ...] = self._data.shape
        return shape

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
        if isinstance(self._data, DeviceArray):
            return self._data.__array__()
        return np.array(self._data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        """Apply ``ufunc`` to the data."""
        arrays = [i._shown if isinstance(i, Parameter) else i for i in inputs]
        if out is None:
            return getattr(ufunc, method)(*arrays, **kwargs)
        result = getattr(ufunc, method)(
            *arrays, out=tuple(o._shown if isinstance(o, Parameter) else o for o in out), **kwargs
        )
        return out[0] if len(out) == 1 else result

    __hash__ = object.__hash__

    def __getattr__(self, attribute: str) -> Any:
        """Look ``T``, ``sum``, ``real`` and the other public attributes of arrays up on the data."""
        if attribute.startswith("_"):
            raise AttributeError(f"'Parameter' object has no attribute {attribute!r}")
        return getattr(self._shown, attribute)

    def __getitem__(self, index: Any) -> Any:
        """Index the data."""
        return self._shown[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        """Write into the data."""
        self._shown[index] = value

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return len(self._shown)

    def __iter__(self) -> Any:
        """Iterate over the first axis of the data."""
        return iter(self._shown)

    def __contains__(self, value: Any) -> bool:
        """Return whether an element is equal to ``value``."""
        return value in self._shown

    def __bool__(self) -> bool:
        """Return the truth of a single element."""
        return bool(self._shown)

    def __int__(self) -> int:
        """Return a single element as an int."""
        return int(self._shown)

    def __float__(self) -> float:
        """Return a single element as a float."""
        return float(self._shown)

    def __complex__(self) -> complex:
        """Return a single element as a complex number."""
        return complex(self._shown)

    def __format__(self, spec: str) -> str:
        """Format a single element by ``spec``."""
        return format(self._shown, spec) if spec else str(self)

    def __repr__(self) -> str:
        """Show the data and the name."""
        text = repr(to_host(self._data)).removeprefix("array(").removesuffix(")")
        name = f", name={self.name!r}" if self.name else ""
        device = "" if self.device == "cpu" else f", device={self.device!r}"
        return f"Parameter({text}{name}{device})"

    # ---- copies

    def __getstate__(self) -> dict[str, Any]:
        """Return what `copy` and `pickle` need."""
        source = self._source if self.device == "cpu" else to_host(self._data)
        grad = None if self._grad is None else to_host(self._grad)
        return {"source": source, "grad": grad, "name": self.name, "device": self.device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild from what `__getstate__` gave."""
        source = np.asarray(state["source"])  # a subclass and its plain view stay one memory
        if state["device"] == "cpu" and source.flags.writeable:
            self._set_up(source, state["name"])
            self._source = state["source"]
        elif state["device"] == "cpu":  # in a file or in bytes, from where a pickle may take the memory of its arrays
            self._set_up(source.copy(order="K"), state["name"])
        else:
            self._set_up(_moved(source), state["name"])
        if state["grad"] is not None:
            copy_values(self._gradient_buffer(), state["grad"])
            self._show_gradient()

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


def pack(arrays: "Iterable[ArrayLike] | Mapping[str, ArrayLike]") -> Pack:
    """Copy arrays into one contiguous vector and make Parameters that are views of it.

    For work that wants all parameters, or all gradients, as one vector: collectives of MPI, L-BFGS, norms, compiled
    loops that you write.

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


def checked_gradient(value: Any, parameter: Parameter, position: int | None = None) -> Any:
    """Return ``value`` as a gradient of ``parameter``, where that is, or raise an error that says why not."""
    if parameter.device == "cpu":
        return checked_values(value, parameter, "gradient", position)
    if not is_device_array(value):
        raise TypeError(f"gradient of {label(parameter, position)} is on cpu, the parameter on cuda; move one of them")
    return _checked_on_device(value, parameter, "gradient", position)


def checked_values(value: Any, parameter: Parameter, what: str, position: int | None = None) -> Any:
    """Return ``value`` as an array that may be copied into ``parameter``, or raise an error that says why not."""
    if type(value) is not np.ndarray:
        if is_device_array(value):
            return _checked_on_device(value, parameter, what, position)
        check_is_plain(f"{what} of {label(parameter, position)}", value)
        try:
            value = np.asarray(value)
        except Exception as error:  # a ragged list, a tensor on another device
            if raised_by_handler(error):
                raise
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
    return value


def _checked_on_device(value: Any, parameter: Parameter, what: str, position: int | None) -> Any:
    """Do the same for an array on a GPU: where the parameter is, too, only one that is laid out like it."""
    who = label(parameter, position)
    try:
        array = as_device_array(value)
    except ValueError as error:
        raise ValueError(f"{what} of {who}: {error}") from None
    data = parameter._data
    if not isinstance(data, DeviceArray):
        raise TypeError(f"{what} of {who} is on cuda, the parameter on cpu; move one of them")
    if array.dtype != data.dtype:
        raise TypeError(f"{what} of {who} is {array.dtype}, the parameter {data.dtype}; convert it with .astype(...)")
    if array.shape != data.shape:
        raise ValueError(f"{what} of {who} has shape {array.shape}, the parameter {data.shape}; they must be the same")
    if array.strides != data.strides or array.address % _itemsize(array.dtype):
        raise ValueError(
            f"{what} of {who} does not lie in memory as the parameter does (strides {array.strides} and "
            f"{data.strides}); pass a copy of it in the parameter's order"
        )
    return array


def _itemsize(dtype: np.dtype[Any]) -> int:
    return _REAL_DTYPE[dtype].itemsize


def label(parameter: Parameter, position: int | None = None) -> str:
    """Name a parameter in a message, by its position among others where it has no name."""
    return _label(parameter.name, parameter.shape, position)


def _label(name: str | None, shape: tuple[int, ...], position: int | None = None) -> str:
    if name:
        return f"parameter {name!r}"
    return f"{'a parameter' if position is None else f'parameter {position}'} of shape {shape}"


Layout = tuple[np.dtype[Any], tuple[int, ...], tuple[int, ...]]


def layout_of(array: Any) -> Layout:
    """Return dtype, shape and strides of an array."""
    return array.dtype, array.shape, array.strides


def _bases_of(array: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over the objects that the memory of an array belongs to, and where it is."""
    base = getattr(array, "base", None)
    while base is not None:
        yield base, place_of(base)
        base = base.base if isinstance(base, np.ndarray) else None


def place_of(base: Any) -> tuple[int, int] | None:
    """Return address and size of the memory of an object, or None where there is none or that cannot be told."""
    if not isinstance(base, np.ndarray):
        try:
            base = np.frombuffer(base, np.uint8)
        except (
            TypeError,
            ValueError,
            BufferError,
            AttributeError,
        ) as error:  # a capsule; a mapped file that was closed
            if raised_by_handler(error):
                raise
            return None
    return address_of(base), base.nbytes


def _on_gpu(device: str | None, array: Any) -> bool:
    """Whether ``device``, or where ``array`` is if that is None, is a GPU."""
    if device is None:
        return isinstance(array, DeviceArray)
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")
    return device == "cuda"


def _moved(array: Any) -> Any:
    """Return a copy of an array without gaps on the other device, laid out as it is."""
    if isinstance(array, DeviceArray):
        return array.copy_to_host()
    array = np.array(array, order="K", copy=True)
    memory = zeros(array.size, array.dtype, "cuda")
    moved = DeviceArray(memory.address, array.shape, array.dtype, memory, array.strides)
    copy_values(moved, array)
    return moved


def _checked(data: Any, name: str | None, *, in_place: bool = False) -> Any:
    """Return ``data`` as a plain ndarray, or DeviceArray, of a type that can be optimized."""
    if is_device_array(data):
        return _checked_device_array(data, name, in_place)
    if type(data) is not np.ndarray:
        check_is_plain(_label(name, getattr(data, "shape", ())), data)
    try:
        array = np.asarray(data)
    except Exception as error:
        if raised_by_handler(error):
            raise
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


def _checked_device_array(data: Any, name: str | None, in_place: bool) -> DeviceArray:
    array = as_device_array(data)
    who = _label(name, array.shape)
    if array.dtype not in _REAL_DTYPE:
        raise TypeError(
            f"{who} has dtype {array.dtype}; numbopt optimizes float32, float64, complex64 and complex128: convert it "
            "with .astype(...)"
        )
    if in_place and array.read_only:
        raise ValueError(f"{who} is read-only; use numbopt.Parameter(...), which copies")
    if array.address % _itemsize(array.dtype):
        raise ValueError(f"{who} is not aligned in memory; pass a copy of it")
    if array.memory_order is None:
        raise ValueError(
            f"{who} is strided ({array.strides} bytes): its elements do not lie side by side in memory; pass a "
            "contiguous copy of it"
        )
    return array
