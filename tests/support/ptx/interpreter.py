"""Run a kernel of PTX on NumPy arrays: all threads of a grid at once, one instruction after the other.

>>> kernel = parse(text).kernel
>>> memory = Memory()
>>> address = memory.add(array)
>>> executed = run(kernel, grid=2, block=64, args=[address, array.size], memory=memory)

What a GPU would let pass, or get wrong only at times, is a `Fault` here: accesses out of bounds or not aligned, reading
a register or shared memory before it is written, races between threads, barriers that not all threads reach.

Not shown are the speed, and what the assembler makes of the PTX: it may still fuse ``mul`` and ``add`` without ``.rn``.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import prod

import numpy as np

from support.ptx.instructions import execute
from support.ptx.memory import Memory, Scratch, Spaces
from support.ptx.parser import TYPES, Constant, Fault, Instruction, Kernel, Register, Variable, parse
from support.ptx.registers import Registers

__all__ = ["Fault", "Memory", "array_args", "parse", "run"]

_WARP = 32
_MAX_STEPS = 200_000


def run(
    kernel: Kernel,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[int | float | bytes | np.generic],
    memory: Memory,
) -> Counter[str]:
    """Run ``kernel`` and return how many threads executed each opcode.

    Parameters
    ----------
    kernel : Kernel
        From `parse`.
    grid, block : int or up to three of them
        Number of blocks, and of threads in a block.
    args : sequence
        A value for each parameter: a number, or its bytes.
    memory : Memory
        The arrays that the kernel may touch.

    Raises
    ------
    Fault
        Where the kernel does what it may not, or what the interpreter does not know; the message says in which line.
    """
    with np.errstate(all="ignore"):
        return Machine(kernel, _extent(grid), _extent(block), args, memory).run()


def array_args(array: np.ndarray, address: int) -> list[int]:
    """Return the parameters that Numba makes of an array: two of its own, size, itemsize, address, shape, strides."""
    return [0, 0, array.size, array.itemsize, address, *array.shape, *array.strides]


def _extent(size: int | Sequence[int]) -> tuple[int, ...]:
    return (size, 1, 1) if isinstance(size, int) else (*size, 1, 1)[:3]


class Machine:
    """The threads of a launch, their registers and memories, and where in the program they are.

    Threads in front of the same instruction go on together, those that are furthest behind in the text first, so that
    paths that parted meet again. Where an instruction takes several threads, those that are there wait for the others.

    Attributes
    ----------
    registers, spaces
        What the instructions work on.
    laneid, first_of_warp, lane_bit : array
        For each thread its place in its warp, the thread that is first there, and its bit in a mask.
    """

    def __init__(
        self,
        kernel: Kernel,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[int | float | bytes | np.generic],
        memory: Memory,
    ) -> None:
        self._kernel = kernel
        self._block_size = prod(block)
        lanes = np.arange(self._block_size * prod(grid))
        self._block, in_block = np.divmod(lanes, self._block_size)
        self.laneid = in_block % _WARP
        self.first_of_warp = lanes - self.laneid
        self.lane_bit = np.uint32(1) << self.laneid.astype(np.uint32)
        scratch = {
            "param": Scratch("param", kernel.parameters, np.zeros_like(lanes)),
            "shared": Scratch("shared", _in_space("shared", kernel.variables), self._block),
            "local": Scratch("local", _in_space("local", kernel.variables), lanes),
        }
        for parameter, content in zip(kernel.parameters, _contents(kernel.parameters, args), strict=True):
            scratch["param"].initialise(parameter.name, content)
        symbols = {name: address for space in scratch.values() for name, address in space.addresses.items()}
        for variable in _in_space("global", kernel.variables) + _in_space("const", kernel.variables):
            symbols[variable.name] = memory.add(variable.content())
        special = {
            "%laneid": self.laneid,
            "%warpid": in_block // _WARP,
            **_coordinates("tid", "ntid", in_block, block),
            **_coordinates("ctaid", "nctaid", self._block, grid),
        }
        self.registers = Registers(kernel.registers, special, symbols)
        self.spaces = Spaces(memory, scratch, self._block)
        self._ready = {0: lanes}  # the threads in front of an instruction, by its index
        self._waiting: dict[int, np.ndarray] = {}
        self._executed: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        """Go on until all threads have ended."""
        for _ in range(_MAX_STEPS):
            if self._ready:
                index = min(self._ready)
                self._step(index, self._ready.pop(index))
            elif self._waiting:
                self._release()
            else:
                self._check_races()
                return self._executed
        raise Fault(f"no end in {_MAX_STEPS} steps")

    def members(self, instruction: Instruction, lanes: np.ndarray) -> np.ndarray:
        """Return the masks of the threads in a warp that take part: the last operand of such an instruction."""
        return self.registers.read(instruction.operands[-1], TYPES["u32"], lanes)

    def _step(self, index: int, lanes: np.ndarray) -> None:
        instruction = self._kernel.instructions[index]
        try:
            if instruction.guard:
                chosen = self.registers.read(Register(instruction.guard), TYPES["pred"], lanes) ^ instruction.negated
                _put(self._ready, index + 1, lanes[~chosen])
                lanes = lanes[chosen]
            if instruction.parts[0] in _COMPLETE:
                _put(self._waiting, index, lanes)
            elif lanes.size:
                self._execute(index, lanes)
        except Fault as fault:
            raise instruction.fault(fault) from None

    def _execute(self, index: int, lanes: np.ndarray) -> None:
        instruction = self._kernel.instructions[index]
        self._executed[instruction.opcode] += lanes.size
        name = instruction.parts[0]
        if name == "bra":
            (label,) = instruction.operands
            _put(self._ready, self._kernel.labels[label.name], lanes)
        elif name not in ("ret", "exit"):
            execute(self, instruction, lanes)
            _put(self._ready, index + 1, lanes)

    def _release(self) -> None:
        """Let threads go on that have waited for each other and are all there."""
        for index, lanes in sorted(self._waiting.items()):
            instruction = self._kernel.instructions[index]
            try:
                complete = _COMPLETE[instruction.parts[0]](self, instruction, lanes)
                if complete.any():
                    del self._waiting[index]
                    _put(self._waiting, index, lanes[~complete])
                    self._execute(index, lanes[complete])
                    return
            except Fault as fault:
                raise instruction.fault(fault) from None
        raise instruction.fault("threads wait for others that never get here")

    def _block_is_complete(self, instruction: Instruction, lanes: np.ndarray) -> np.ndarray:
        if instruction.opcode not in ("bar.sync", "barrier.sync") or instruction.operands != (Constant(0),):
            raise Fault("an unknown barrier")
        blocks = self._block[lanes]
        return np.bincount(blocks)[blocks] == self._block_size

    def _warp_is_complete(self, instruction: Instruction, lanes: np.ndarray) -> np.ndarray:
        members = self.members(instruction, lanes)
        if not (members & self.lane_bit[lanes]).all():
            raise Fault("a thread is not in its own mask")
        present = np.zeros(self.laneid.size, np.uint32)
        np.bitwise_or.at(present, self.first_of_warp[lanes], self.lane_bit[lanes])
        return members & ~present[self.first_of_warp[lanes]] == 0

    def _check_races(self) -> None:
        race = self.spaces.race()
        if race:
            first, second = (self._kernel.instructions[index] for index in race)
            raise first.fault(f"a race with line {second.line}, {second.text!r}, in another thread")


_COMPLETE = {
    "bar": Machine._block_is_complete,
    "barrier": Machine._block_is_complete,
    "shfl": Machine._warp_is_complete,
    "vote": Machine._warp_is_complete,
}


def _put(places: dict[int, np.ndarray], index: int, lanes: np.ndarray) -> None:
    if lanes.size:
        places[index] = np.sort(np.concatenate([places[index], lanes])) if index in places else lanes


def _in_space(space: str, variables: Iterable[Variable]) -> list[Variable]:
    return [variable for variable in variables if variable.space == space]


def _contents(parameters: Sequence[Variable], args: Sequence[int | float | bytes | np.generic]) -> list[bytes]:
    if len(args) != len(parameters):
        raise ValueError(f"the kernel has {len(parameters)} parameters, got {len(args)}")
    contents = []
    for parameter, value in zip(parameters, args, strict=True):
        if not isinstance(value, bytes):
            number = np.asarray(value)
            if number.dtype.kind == "f" != parameter.dtype.kind:
                raise ValueError(f"{parameter.name} is {parameter.dtype}, got {value}")
            value = number.astype(parameter.dtype).tobytes()
        if len(value) != parameter.nbytes:
            raise ValueError(f"{parameter.name} has {parameter.nbytes} bytes, got {len(value)}")
        contents.append(value)
    return contents


def _coordinates(name: str, size_name: str, linear: np.ndarray, extent: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The special registers for a place in up to three dimensions, the first of them fastest."""
    places = np.unravel_index(linear, extent, order="F")
    return {f"%{name}.{axis}": place for axis, place in zip("xyz", places, strict=True)} | {
        f"%{size_name}.{axis}": np.full_like(linear, size) for axis, size in zip("xyz", extent, strict=True)
    }
