"""Flat buffers cut into blocks, the rows of tables, and the runs of rows that threads claim."""

from typing import Any

import numpy as np

BLOCK = 8192
"""Most elements of a block: its arrays fit into the second-level cache."""

Integers = np.ndarray[Any, np.dtype[np.int64]]


class Blocks:
    """How flat buffers of given sizes are cut into blocks.

    Parameters
    ----------
    sizes : array of int, shape (n,)
        Elements of each buffer.
    block : int, optional
        Most elements of a block; `BLOCK` unless given.

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

    def rows(self, *addresses: Integers, itemsize: int) -> Integers:
        """Return rows ``[size, line 0, address, address, ...]`` of a table, one for each block.

        Parameters
        ----------
        *addresses : array of int, shape (n,)
            Of buffers that are cut in the same way.
        itemsize : int
            Bytes of an element.
        """
        rows = np.zeros((len(self.size), 2 + len(addresses)), np.int64)
        rows[:, 0] = self.size
        for column, of_buffers in enumerate(addresses, 2):
            rows[:, column] = of_buffers[self.buffer] + self.start * itemsize
        return rows


_ROW_OVERHEAD = 64  # elements that take as long as starting on a row does


def work_of(rows: Integers) -> Integers:
    """Return the work in each row, in elements."""
    return rows[:, 0] + _ROW_OVERHEAD


def equal_chunks(work: Integers) -> Integers:
    """Cut rows into runs of about `BLOCK` work each; return where runs begin, and the end."""
    done = np.cumsum(work)
    last = np.flatnonzero(np.diff(done // BLOCK, append=np.iinfo(np.int64).max))
    return np.concatenate([np.zeros(1, np.int64), last + 1])
