"""The places that kernels load from and store to, and the accesses that depend on luck.

Addresses are made up, as a GPU's would be. Global memory lies far above the windows of the other state spaces, so that
an address alone says which space it belongs to; below the first window is nothing, and null pointers are found.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from support.ptx.parser import Fault, Variable

_WINDOWS = {"param": 0x1000_0000, "shared": 0x2000_0000, "local": 0x3000_0000}
_WINDOW_SIZE = 0x1000_0000
_GLOBAL = 0x7000_0000_0000
_ALIGNMENT = 256  # of what CUDA allocates
_GAP = 4096  # between arrays, for accesses that miss them to fall into


class Memory:
    """Global memory: NumPy arrays of the host, at addresses of the device.

    Attributes
    ----------
    loaded, stored : Counter
        Bytes moved so far in each array, by its address.
    """

    def __init__(self) -> None:
        self.loaded: Counter[int] = Counter()
        self.stored: Counter[int] = Counter()
        self._arrays: dict[int, np.ndarray] = {}
        self._addresses: list[int] = []
        self._next = _GLOBAL

    def add(self, array: np.ndarray, *, misaligned: int = 0) -> int:
        """Let kernels work on a contiguous array, read-only if it is, and return its address.

        The address is a multiple of 256, plus ``misaligned`` bytes.
        """
        address = self._next + misaligned
        self._arrays[address] = array.reshape(-1, copy=False).view(np.uint8)
        insort(self._addresses, address)
        end = address + array.nbytes + _GAP
        self._next = end + -end % _ALIGNMENT
        return address

    def remove(self, address: int) -> None:
        """Let kernels no longer work on the array at an address, which is not used again."""
        del self._arrays[address]
        self._addresses.remove(address)

    def load(self, addresses: np.ndarray, size: int, lanes: np.ndarray) -> np.ndarray:
        """Return the ``size`` bytes from each address on, as rows."""
        values = np.empty((addresses.size, size), np.uint8)
        for base, chosen, positions in self._locate(addresses, size):
            values[chosen] = self._arrays[base][positions]
            self.loaded[base] += positions.size
        return values

    def store(self, addresses: np.ndarray, values: np.ndarray, lanes: np.ndarray) -> None:
        """Put the bytes in the rows of ``values`` from each address on."""
        for base, chosen, positions in self._locate(addresses, values.shape[1]):
            if not self._arrays[base].flags.writeable:
                raise Fault("stores to a read-only array")
            self._arrays[base][positions] = values[chosen]
            self.stored[base] += positions.size

    def keys(self, addresses: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """Return numbers that are the same where the bytes are."""
        return addresses

    def _locate(self, addresses: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        bases = np.array([0, *self._addresses], np.uint64)
        found = bases[np.searchsorted(bases, addresses, "right") - 1]
        for base in np.unique(found).tolist():
            chosen = np.flatnonzero(found == base)
            offsets = (addresses[chosen] - np.uint64(base)).astype(np.int64)
            length = self._arrays[base].size if base else 0
            _check_bounds(offsets, size, length, base)
            yield base, chosen, offsets[:, None] + np.arange(size)


class Scratch:
    """Memory that lives as long as a launch, in several copies: one for each thread, say, or each block.

    Reading what was not written before is a fault.
    """

    def __init__(self, space: str, variables: Sequence[Variable], copy_of_lane: np.ndarray) -> None:
        self.addresses: dict[str, int] = {}
        end = _WINDOWS[space]
        for variable in variables:
            start = end + -end % variable.align
            self.addresses[variable.name] = start
            end = start + variable.nbytes
        self._base = _WINDOWS[space]
        self._copy_of_lane = copy_of_lane
        self._bytes = np.zeros((copy_of_lane.max() + 1, end - self._base), np.uint8)
        self._written = np.zeros(self._bytes.shape, bool)

    def initialise(self, name: str, content: bytes) -> None:
        """Give a variable its content, in all copies."""
        start = self.addresses[name] - self._base
        self._bytes[:, start : start + len(content)] = np.frombuffer(content, np.uint8)
        self._written[:, start : start + len(content)] = True

    def load(self, addresses: np.ndarray, size: int, lanes: np.ndarray) -> np.ndarray:
        """Return the ``size`` bytes from each address on, as rows."""
        where = self._locate(addresses, size, lanes)
        if not self._written[where].all():
            raise Fault("reads memory before it is written")
        return self._bytes[where]

    def store(self, addresses: np.ndarray, values: np.ndarray, lanes: np.ndarray) -> None:
        """Put the bytes in the rows of ``values`` from each address on."""
        where = self._locate(addresses, values.shape[1], lanes)
        self._bytes[where] = values
        self._written[where] = True

    def keys(self, addresses: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """Return numbers that are the same where the bytes are."""
        return addresses + (self._copy_of_lane[lanes].astype(np.uint64) << np.uint64(32))

    def _locate(self, addresses: np.ndarray, size: int, lanes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offsets = addresses.astype(np.int64) - self._base
        _check_bounds(offsets, size, self._bytes.shape[1], self._base)
        return self._copy_of_lane[lanes][:, None], offsets[:, None] + np.arange(size)


def _check_bounds(offsets: np.ndarray, size: int, length: int, base: int) -> None:
    outside = offsets[(offsets < 0) | (offsets + size > length)]
    if outside.size:
        raise Fault(f"out of bounds: {size} bytes at {base:#x} {outside[0]:+d}, where {length} bytes are")


class Spaces:
    """The memories of a launch by state space, with a watch on what its threads do there."""

    def __init__(self, memory: Memory, scratch: Mapping[str, Scratch], block_of_lane: np.ndarray) -> None:
        self._memory, self._scratch = memory, scratch
        self._block_of_lane = block_of_lane
        self._barriers = np.zeros_like(block_of_lane)  # that each thread has passed
        self._log: list[np.ndarray] = []

    def load(
        self, space: str | None, addresses: np.ndarray, size: int, lanes: np.ndarray, instruction: int
    ) -> np.ndarray:
        """Return the ``size`` bytes from each address on, as rows; the address alone tells the space if it is None."""
        space, memory = self._place(space, addresses, size)
        self._record(space, addresses, size, lanes, instruction, writes=False)
        return memory.load(addresses, size, lanes)

    def store(
        self, space: str | None, addresses: np.ndarray, values: np.ndarray, lanes: np.ndarray, instruction: int
    ) -> None:
        """Put the bytes in the rows of ``values`` from each address on."""
        space, memory = self._place(space, addresses, values.shape[1])
        self._record(space, addresses, values.shape[1], lanes, instruction, writes=True)
        memory.store(addresses, values, lanes)

    def exchange(self, space, addresses, size, lanes, function) -> np.ndarray:
        """Put ``function(index, old)`` in the place of the ``old`` bytes, one thread after the other; return those."""
        _, memory = self._place(space, addresses, size)
        old = np.empty((lanes.size, size), np.uint8)
        for i in range(lanes.size):
            one = slice(i, i + 1)
            old[one] = memory.load(addresses[one], size, lanes[one])
            memory.store(addresses[one], function(one, old[one]), lanes[one])
        return old

    def pass_barrier(self, lanes: np.ndarray) -> None:
        """What these threads did before now comes before what they do from now on."""
        self._barriers[lanes] += 1

    def _place(self, space: str | None, addresses: np.ndarray, size: int) -> tuple[str, Memory | Scratch]:
        misaligned = addresses[addresses % np.uint64(size) != 0]
        if misaligned.size:
            raise Fault(f"misaligned: {int(misaligned[0]):#x} is no multiple of {size}")
        space = space or _space_of(addresses)
        return space, self._scratch.get(space, self._memory)

    def _record(self, space: str, addresses, size: int, lanes: np.ndarray, instruction: int, *, writes: bool) -> None:
        if space not in ("global", "shared"):
            return  # no two threads can meet there
        columns = np.broadcast_arrays(
            self._scratch.get(space, self._memory).keys(addresses, lanes).astype(np.int64)[:, None] + np.arange(size),
            lanes[:, None],
            self._block_of_lane[lanes][:, None],
            self._barriers[lanes][:, None],
            writes,
            instruction,
        )
        self._log.append(np.stack(columns).reshape(len(columns), -1))

    def race(self) -> tuple[int, int] | None:
        """Return two instructions, a write and an access to the same byte by another thread; None if there are none.

        Between the threads of a block a barrier gives an order; between those of different blocks nothing does.
        Atomic accesses are left out.
        """
        if not self._log:
            return None
        log = np.concatenate(self._log, axis=1)
        keys, lanes, blocks, barriers, writes, instructions = log[:, np.lexsort((log[3], log[2], log[0]))]
        for same, actors in (((keys, blocks, barriers), lanes), ((keys,), blocks)):
            changes = np.any([np.diff(column) != 0 for column in same], axis=0)
            starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
            several = np.minimum.reduceat(actors, starts) != np.maximum.reduceat(actors, starts)
            racing = np.flatnonzero(several & (np.maximum.reduceat(writes, starts) > 0))
            if racing.size:
                group = slice(starts[racing[0]], (*starts, keys.size)[racing[0] + 1])
                writer = np.argmax(writes[group])
                other = np.argmax(actors[group] != actors[group][writer])
                return int(instructions[group][writer]), int(instructions[group][other])
        return None


def _space_of(addresses: np.ndarray) -> str:
    for space, start in _WINDOWS.items():
        inside = (addresses >= start) & (addresses < start + _WINDOW_SIZE)
        if inside.all():
            return space
        if inside.any():
            raise Fault("threads access different state spaces")
    return "global"
