"""Arrays on the host and on a GPU: where they are, how they lie in memory, and copies between them."""

import ctypes
import functools
import itertools
import math
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from numbopt._devices import compiler, driver, streams

Array = np.ndarray[Any, np.dtype[Any]]


class DeviceArray:
    """An array in the memory of a GPU, for other libraries to work with.

    It has no arithmetic of its own: CuPy (``cupy.asarray(a)``), torch (``torch.as_tensor(a)``) and kernels of Numba
    take it as it is, without a copy, by ``__cuda_array_interface__``.

    Attributes
    ----------
    shape, strides : tuple of int
        Strides in bytes.
    dtype : dtype
        Of the elements.
    address : int
        Of the first element.
    ndim, size, nbytes : int
        As those of NumPy's arrays.
    """

    __slots__ = ("__weakref__", "_owner", "address", "dtype", "read_only", "shape", "strides")
    __array_ufunc__ = None  # operators with NumPy's arrays are a TypeError

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        dtype: Any,
        owner: Any,
        strides: tuple[int, ...] | None = None,
        read_only: bool = False,
    ) -> None:
        self.address, self.shape, self.dtype = address, shape, np.dtype(dtype)
        self.strides = _normal_strides(shape, strides, self.dtype.itemsize)
        self._owner = owner
        self.read_only = read_only

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return int(self.size * self.dtype.itemsize)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """What other libraries read."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, self.read_only),
            "strides": self.strides,
            "version": 3,
            "stream": None,
        }

    def copy_to_host(self) -> Array:
        """Return a copy in the memory of the host, when what was launched before is done."""
        host = _host_array_like(self)
        driver.device().download(host, self.address)
        return host

    def copy(self, order: str = "K") -> "DeviceArray":
        """Return a copy on the GPU, laid out in memory like this array."""
        copied = like(self, zeros(self.size, self.dtype, "cuda"))
        copy_values(copied, self)
        return copied

    @property
    def memory_order(self) -> tuple[int, ...] | None:
        """The axes from the slowest to the fastest in memory, or None if there are gaps between elements."""
        order = tuple(sorted(range(self.ndim), key=lambda axis: -self.strides[axis]))
        lengths = [axis for axis in order if self.shape[axis] != 1]
        expected = self.dtype.itemsize
        for axis in reversed(lengths):
            if self.strides[axis] != expected and self.size:
                return None
            expected *= self.shape[axis]
        return order

    def __getitem__(self, part: slice) -> "DeviceArray":
        """View neighbouring elements of a 1-D array."""
        if not isinstance(part, slice) or part.step is not None or self.memory_order != (0,):
            raise TypeError("an array on a GPU has no indexing of its own; use CuPy, or copy it with .copy_to_host()")
        start, stop, _ = part.indices(self.size)
        return DeviceArray(self.address + start * self.dtype.itemsize, (stop - start,), self.dtype, self._owner)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Refuse a silent conversion to an array of NumPy: what is written into that copy would be lost."""
        raise TypeError("an array on a GPU is not an array of NumPy; copy it with .copy_to_host()")

    def __len__(self) -> int:
        """Return the length of the first axis."""
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """Refuse to be looked at element by element."""
        raise TypeError("an array on a GPU has no elements to iterate over; copy it with .copy_to_host()")

    def __repr__(self) -> str:
        """Show the values."""
        return f"DeviceArray({np.array2string(self.copy_to_host(), separator=', ')}, dtype={self.dtype})"


def is_device_array(value: Any) -> bool:
    """Whether a value is an array on a GPU, of whatever library."""
    if isinstance(value, np.ndarray):
        return False
    return isinstance(value, DeviceArray) or _interface_of(value) is not None or _is_on_gpu_by_dlpack(value)


def as_device_array(value: Any) -> DeviceArray:
    """View an array on a GPU, of whatever library, without a copy.

    Raises
    ------
    ValueError
        If it is on another GPU than the one in use, or has a mask.
    """
    if isinstance(value, DeviceArray):
        return value
    interface = _interface_of(value)
    if interface is None or (interface["version"] < 3 and hasattr(value, "__dlpack__")):
        # The library has our stream wait for what it still computes; JAX works on streams that nothing else waits for.
        from cuda.core.utils import StridedMemoryView

        view = StridedMemoryView.from_dlpack(value, stream_ptr=streams.current_stream() or _DLPACK_DEFAULT_STREAM)
        dtype = np.dtype(view.dtype)
        strides = None if view.strides is None else tuple(stride * dtype.itemsize for stride in view.strides)
        read_only = view.readonly or (interface is not None and interface["data"][1])  # not all DLPack can say it
        array = DeviceArray(view.ptr, tuple(view.shape), dtype, view, strides, read_only)
    else:
        if interface.get("mask") is not None:
            raise ValueError("the array has a mask; pass an array without one")
        address, read_only = interface["data"]
        array = DeviceArray(
            address, tuple(interface["shape"]), interface["typestr"], value, interface.get("strides"), read_only
        )
    gpu = driver.device()
    if array.size and (ordinal := gpu.ordinal_of(array.address)) != gpu.ordinal:
        raise ValueError(f"the array is on GPU {ordinal}, numbopt works on GPU {gpu.ordinal}; move it there")
    return array


def _interface_of(value: Any) -> dict[str, Any] | None:
    try:
        interface: dict[str, Any] | None = getattr(value, "__cuda_array_interface__", None)
    except RuntimeError as error:  # torch, of a tensor that records what is done to it
        raise TypeError(f"{error}; pass .detach() of it") from None
    return interface


def _is_on_gpu_by_dlpack(value: Any) -> bool:
    return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) == _DLPACK_CUDA


_DLPACK_CUDA = 2
_DLPACK_DEFAULT_STREAM = 1


def zeros(size: int, dtype: Any, device: str) -> Any:
    """Return a 1-D array of zeros on ``"cpu"`` or ``"cuda"``."""
    if device == "cpu":
        return np.zeros(size, dtype)
    gpu = driver.device()
    array_type = np.dtype(dtype)
    memory = gpu.allocate(size * array_type.itemsize)
    gpu.zero(memory.address, size * array_type.itemsize)
    return DeviceArray(memory.address, (size,), array_type, memory)


def like(array: DeviceArray, flat: DeviceArray) -> DeviceArray:
    """View the memory of ``flat`` as an array laid out like ``array``: same shape, type and order of axes."""
    return DeviceArray(flat.address, array.shape, array.dtype, flat._owner, array.strides)


def shown_like(source: Any, array: DeviceArray) -> Any:
    """View an array as one of the library that ``source`` is of: CuPy, torch or Numba; else as it is."""
    library = type(source).__module__.partition(".")[0]
    if library == "cupy":
        return sys.modules["cupy"].asarray(array)
    if library == "torch":
        return sys.modules["torch"].as_tensor(array, device="cuda")
    if library == "numba":
        return compiler.compiler().as_cuda_array(array)
    return array


def copy_values(target: Any, source: Any) -> None:
    """Copy values into an array, from the host or from a GPU, either of them; see `copying`."""
    driver.check_launches([copying(target, source)()])


def copying(target: Any, source: Any) -> Callable[[], object]:
    """Return a function, written in C, that copies values into an array.

    Parameters
    ----------
    target : ndarray or DeviceArray
        On a GPU without gaps between its elements.
    source : ndarray or DeviceArray
        From GPU to GPU with the target's dtype and layout; else of a dtype that can be cast to the target's.
    """
    if not isinstance(target, DeviceArray):
        values = to_host(source).astype(target.dtype, copy=False)  # here, so that no warning comes later
        return functools.partial(operator.setitem, target, ..., values)
    gpu = driver.device()
    if isinstance(source, DeviceArray):
        return gpu.copying(target.address, source.address, target.nbytes)
    host = _host_array_like(target)
    host[...] = source
    return gpu.uploading(target.address, host)


def clear(array: Any) -> None:
    """Fill an array without gaps with zeros."""
    if isinstance(array, DeviceArray):
        driver.device().zero(array.address, array.nbytes)
    else:
        array.fill(0)


def host_copy(array: Any) -> Array:
    """Return a copy of an array on the host."""
    result: Array = array.copy_to_host() if isinstance(array, DeviceArray) else array.copy()
    return result


def to_host(array: Any) -> Array:
    """Return an array of NumPy: a copy of one on a GPU, others as they are."""
    result: Array = array.copy_to_host() if hasattr(array, "copy_to_host") else array
    return result


def address_of(array: Any) -> int:
    """Return the address of the first element of an array on the host or on a GPU."""
    return array.address if isinstance(array, DeviceArray) else host_address_of(array)


def host_address_of(array: Array) -> int:
    """Return the address of the first element of an array of NumPy."""
    return ctypes.c_void_p.from_address(id(array) + _DATA_FIELD).value or 0


# By NumPy's C interface, the pointer to the data is the first field of an ndarray after the object header. Reading it
# takes an eighth of the time that `ndarray.ctypes` or `__array_interface__` take, at every step with new gradients.
_DATA_FIELD = object.__basicsize__


def memory_order(array: Any) -> tuple[int, ...] | None:
    """Return the axes from the slowest to the fastest in memory, or None if there are gaps between elements."""
    if isinstance(array, DeviceArray):
        return array.memory_order
    if array.flags.c_contiguous:
        return tuple(range(array.ndim))
    axes = tuple(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))
    return axes if array.transpose(axes).flags.c_contiguous else None


def _host_array_like(array: DeviceArray) -> Array:
    """Return an array on the host that lies in memory like an array without gaps on a GPU."""
    return np.ndarray(array.shape, array.dtype, np.empty(array.nbytes, np.uint8), 0, array.strides)


def _normal_strides(shape: tuple[int, ...], strides: tuple[int, ...] | None, itemsize: int) -> tuple[int, ...]:
    """Return strides that are equal where arrays are laid out alike: those of axes without length say nothing."""
    if strides is None or 0 in shape:
        lengths = (max(length, 1) for length in reversed(shape[1:]))
        strides = tuple(itertools.accumulate(lengths, operator.mul, initial=itemsize))[: len(shape)][::-1]
    return tuple(itemsize if length == 1 else stride for length, stride in zip(shape, strides, strict=True))
