"""Norms of gradients and what follows from them."""

import math
from collections.abc import Iterable

import numpy as np

from numbopt._table import Blocks, SquareSum
from numbopt.parameter import Array, address_of


def two_norm(arrays: Iterable[Array]) -> float:
    """Return the 2-norm of all elements of contiguous arrays, with the same bits for any number of threads."""
    by_dtype: dict[np.dtype[np.floating], list[Array]] = {}
    for array in arrays:
        by_dtype.setdefault(array.real.dtype, []).append(array)
    squares = 0.0
    for dtype, members in by_dtype.items():
        blocks = Blocks(np.array([array.nbytes // dtype.itemsize for array in members]))
        if len(blocks.size):
            starts = np.array([address_of(array) for array in members])[blocks.buffer]
            squares += SquareSum(blocks.size, starts + blocks.start * dtype.itemsize, dtype)()
    return math.sqrt(squares)


def clip_coefficient(max_norm: float, norm: float) -> float:
    """Return the factor that takes gradients of this norm to ``max_norm``, at most 1; NaN for NaN."""
    coefficient = max_norm / (norm + 1e-6)
    return 1.0 if coefficient > 1 else coefficient
