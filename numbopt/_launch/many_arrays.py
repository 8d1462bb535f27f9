"""What is done to many arrays at once: norms, copies, zeros, scaling and clipping."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from numbopt._devices.arrays import DeviceArray, address_of
from numbopt._kernels.cpu.rows import copy_loop, zero_loop
from numbopt._launch.blocks import Blocks, Integers
from numbopt._launch.calls import run
from numbopt._launch.cpu import Launch, SquareSum, compile_ahead
from numbopt._launch.cuda import DeviceLaunch, filling, scaling, squares_of


def zeroing(arrays: list[Any]) -> list[Launch | DeviceLaunch]:
    """Return the launches that fill arrays without gaps with zeros."""
    on_gpu = [array for array in arrays if isinstance(array, DeviceArray)]
    addresses, sizes = _places([array for array in arrays if not isinstance(array, DeviceArray)], _BYTE)
    rows = Blocks(sizes).rows(addresses, itemsize=1)
    launches: list[Launch | DeviceLaunch] = [Launch(zero_loop(), rows, np.zeros((1, 1), np.int8))]
    if on_gpu:
        single = np.dtype(np.float32)  # zeros are zeros in any type, and all types are multiples of this one
        launches.append(filling(*_places(on_gpu, single), single, 0.0))
    return launches


class Copying(Launch):
    """The launch that copies buffers on the host; ``sizes`` in bytes.

    Attributes
    ----------
    blocks : Blocks
        How the buffers are cut.
    rows : array of int64
        One for each block, whose last column is the source; may be changed.
    """

    def __init__(self, sources: Integers, targets: Integers, sizes: Integers) -> None:
        self.blocks = Blocks(sizes)
        self.rows = self.blocks.rows(targets, sources, itemsize=1)
        super().__init__(copy_loop(), self.rows, np.zeros((1, 1), np.int8))


def compile_zeroing_and_copying() -> None:
    """Compile what `zeroing` and `Copying` run."""
    for loop in (zero_loop(), copy_loop()):
        compile_ahead(loop, _BYTE)


_BYTE = np.dtype(np.int8)


def two_norm(arrays: Iterable[Any]) -> float:
    """Return the 2-norm of all elements of contiguous arrays, with the same bits for any number of threads."""
    squares = 0.0
    for on_gpu, members, dtype in _by_kind(arrays):
        squares += (squares_of if on_gpu else _squares_on_host)(*_places(members, dtype), dtype)
    return math.sqrt(squares)


def scale(arrays: Iterable[Any], factor: float) -> None:
    """Multiply arrays, in place."""
    for on_gpu, members, dtype in _by_kind(arrays):
        if on_gpu:
            _do(scaling(*_places(members, dtype), dtype, factor=factor))
        else:
            for array in members:
                np.multiply(array, dtype.type(factor), out=array)


def clip(arrays: Iterable[Any], limit: float) -> None:
    """Clip the elements of arrays, in place; real and imaginary parts of complex numbers each for itself."""
    for on_gpu, members, dtype in _by_kind(arrays):
        if on_gpu:
            _do(scaling(*_places(members, dtype), dtype, lower=-limit, upper=limit))
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
    sizes = np.array([array.nbytes // dtype.itemsize for array in arrays], np.int64)
    return np.array([address_of(array) for array in arrays], np.int64), sizes


def _squares_on_host(addresses: Integers, sizes: Integers, dtype: np.dtype[Any]) -> float:
    rows = Blocks(sizes).rows(addresses, itemsize=dtype.itemsize)
    return SquareSum(rows[:, 0], dtype)(rows[:, 2])


def _do(launch: DeviceLaunch) -> None:
    """Make the calls of a launch; it holds memory that has to stay until they are made."""
    run(launch.calls())
