"""Norms of gradients and what is done with them, on the host and on a GPU."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from numbopt._device_table import scaling, squares_of
from numbopt._table import Blocks, Integers, SquareSum, run
from numbopt.device_array import DeviceArray
from numbopt.parameter import address_of


def two_norm(arrays: Iterable[Any]) -> float:
    """Return the 2-norm of all elements of contiguous arrays, with the same bits for any number of threads."""
    squares = 0.0
    for on_gpu, members, dtype in _by_kind(arrays):
        squares += (squares_of if on_gpu else _squares_on_host)(*_places(members, dtype), dtype)
    return math.sqrt(squares)


def clip_coefficient(max_norm: float, norm: float) -> float:
    """Return the factor that takes gradients of this norm to ``max_norm``, at most 1; NaN for NaN."""
    coefficient = max_norm / (norm + 1e-6)
    return 1.0 if coefficient > 1 else coefficient


def scale(arrays: Iterable[Any], factor: float) -> None:
    """Multiply arrays, in place."""
    for on_gpu, members, dtype in _by_kind(arrays):
        if on_gpu:
            _launch(scaling(*_places(members, dtype), dtype, factor=factor))
        else:
            for array in members:
                np.multiply(array, dtype.type(factor), out=array)


def clip(arrays: Iterable[Any], limit: float) -> None:
    """Clip the elements of arrays, in place; real and imaginary parts of complex numbers each for itself."""
    for on_gpu, members, dtype in _by_kind(arrays):
        if on_gpu:
            _launch(scaling(*_places(members, dtype), dtype, lower=-limit, upper=limit))
        else:
            for array in members:
                for part in (array.real, array.imag) if array.dtype.kind == "c" else (array,):
                    np.clip(part, -limit, limit, out=part)


def _by_kind(arrays: Iterable[Any]) -> Iterator[tuple[bool, list[Any], np.dtype[Any]]]:
    """Sort arrays by where they are and by the dtype of their real and imaginary parts."""
    kinds: dict[tuple[bool, np.dtype[Any]], list[Any]] = {}
    for array in arrays:
        dtype = np.empty(0, array.dtype).real.dtype
        kinds.setdefault((isinstance(array, DeviceArray), dtype), []).append(array)
    for (on_gpu, dtype), members in kinds.items():
        yield on_gpu, members, dtype


def _places(arrays: list[Any], dtype: np.dtype[Any]) -> tuple[Integers, Integers]:
    """Return the addresses of arrays and how many real numbers they hold."""
    sizes = np.array([array.nbytes // dtype.itemsize for array in arrays])
    return np.array([address_of(array) for array in arrays]), sizes


def _squares_on_host(addresses: Integers, sizes: Integers, dtype: np.dtype[Any]) -> float:
    blocks = Blocks(sizes)
    if not len(blocks.size):
        return 0.0
    return SquareSum(blocks.size, addresses[blocks.buffer] + blocks.start * dtype.itemsize, dtype)()


def _launch(launch: Any) -> None:
    if launch is not None:
        run(launch.calls())
