"""Flat buffers cut into blocks, and blocks into the shares of threads."""

from typing import Any

import numpy as np

BLOCK = 8192
"""Elements of a block at most: its arrays fit into the second-level cache."""
Integers = np.ndarray[Any, np.dtype[np.int64]]


class Blocks:
    """How flat buffers of given sizes are cut into blocks.

    Parameters
    ----------
    sizes : array of int, shape (n,)
        Elements of each buffer.
    block : int, optional
        Elements of a block at most; `BLOCK` unless given.

    Attributes
    ----------
    buffer : array of int, shape (b,)
        The buffer that each block belongs to.
    start, size : array of int, shape (b,)
        First element and number of elements of each block.
    """

    def __init__(self, sizes: Integers, block: int | None = None) -> None:
        block = block or BLOCK
        counts = -(-sizes // block)
        self.buffer = np.repeat(np.arange(len(sizes)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        self.start = (np.arange(len(self.buffer)) - first) * block
        self.size = np.minimum(sizes[self.buffer] - self.start, block)


_ROW_OVERHEAD = 64  # elements that take as long as starting on a row does


def _equal_chunks(work: Integers) -> Integers:
    """Cut rows into runs of about `BLOCK` work each; return where runs begin, and the end."""
    done = np.cumsum(work)
    last = np.flatnonzero(np.diff(done // BLOCK, append=np.iinfo(np.int64).max))
    return np.concatenate([np.zeros(1, np.int64), last + 1])
