"""Where CPython and NumPy keep what compiled code reads of tuples and arrays: offsets in the objects themselves."""

import ctypes
import functools
from typing import Any, NamedTuple

import numpy as np


class ObjectLayout(NamedTuple):
    """Offsets in bytes from the address of an object, ``id(object)``."""

    kind: int
    """The address of its type."""
    size: int
    """The number of items of a tuple."""
    items: int
    """The addresses of these, one after the other."""
    data: int
    """Of an array, this and the following: the address of the first element."""
    ndim: int
    """An int32."""
    shape: int
    """The address of the lengths."""
    strides: int
    """The address of the strides."""
    dtype: int
    """The address of the dtype."""
    flags: int
    """An int32, ``array.flags.num``."""


ALIGNED, WRITEABLE = 0x100, 0x400
"""Bits of the flags of an array."""


@functools.cache
def object_layout() -> ObjectLayout | None:
    """Return the layout, or None where known objects do not have it: compiled code must not read objects then.

    The order of the fields is part of NumPy's C interface. Where they begin depends on how Python was built.
    """
    header, word = object.__basicsize__, np.dtype(np.intp).itemsize
    layout = ObjectLayout(
        kind=header - word,
        size=header,
        items=tuple.__basicsize__,
        data=header,
        ndim=header + word,
        shape=header + 2 * word,
        strides=header + 3 * word,
        dtype=header + 5 * word,
        flags=header + 6 * word,
    )
    array: Any = np.zeros((3, 7), np.float32)[:, 1:6]
    pair = (array, None)
    end = layout.flags + 4
    if word != 8 or np.ndarray.__basicsize__ < end or pair.__sizeof__() < layout.items + 2 * word:
        return None
    found = (
        _integer(id(array) + layout.kind),
        _integer(id(pair) + layout.size),
        _integer(id(pair) + layout.items),
        _integer(id(pair) + layout.items + word),
        _integer(id(array) + layout.data),
        ctypes.c_int32.from_address(id(array) + layout.ndim).value,
        _integer(id(array) + layout.strides) - _integer(id(array) + layout.shape),
        _integer(id(array) + layout.dtype),
        ctypes.c_int32.from_address(id(array) + layout.flags).value,
    )
    expected = (
        id(np.ndarray),
        2,
        id(array),
        id(None),
        array.ctypes.data,
        2,
        2 * word,
        id(array.dtype),
        array.flags.num,
    )
    if found != expected:
        return None
    shape = _integer(id(array) + layout.shape)  # lengths and strides are in one piece of memory
    return layout if [_integer(shape + word * i) for i in range(4)] == [*array.shape, *array.strides] else None


def _integer(address: int) -> int:
    return ctypes.c_int64.from_address(address).value
