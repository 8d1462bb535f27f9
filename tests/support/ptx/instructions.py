"""What an instruction does, to the registers and to memory, in the threads that execute it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from support.ptx.arithmetic import convert, operation
from support.ptx.parser import TYPES, Address, Fault, Instruction, Operand

if TYPE_CHECKING:
    from support.ptx.interpreter import Machine

Action = Callable[["Machine", Instruction, np.ndarray], None]


def execute(machine: Machine, instruction: Instruction, lanes: np.ndarray) -> None:
    """Execute anything but branches in the threads ``lanes``."""
    _ACTIONS.get(instruction.parts[0], _compute)(machine, instruction, lanes)


def _compute(machine, instruction, lanes):
    """Write one register, computed from the other operands."""
    known = operation(instruction.opcode)
    if known is None:
        raise Fault("an unknown instruction")
    function, (result, *dtypes) = known
    target, *operands = instruction.operands
    values = [machine.registers.read(*one, lanes) for one in zip(operands, dtypes, strict=True)]
    machine.registers.write(target, function(*values).astype(result, copy=False), lanes)


def _convert(machine, instruction, lanes):
    *modifiers, to, from_ = instruction.parts[1:]
    target, source = instruction.operands
    values = convert(machine.registers.read(source, TYPES[from_], lanes), TYPES[to], tuple(modifiers))
    if values is None:
        raise Fault("an unknown conversion")
    machine.registers.write(target, values, lanes)


def _move(machine, instruction, lanes):
    """Copy; registers in braces make one number together, the lowest bits first."""
    target, source = instruction.operands
    dtype = TYPES[instruction.parts[-1]]
    targets, sources = _several(target), _several(source)
    values = _read_columns(machine, sources, _part(dtype, sources), lanes).view(dtype)
    _write_columns(machine, targets, values.view(_part(dtype, targets)), lanes)


def _part(dtype, operands):
    return dtype if len(operands) == 1 else np.dtype(f"u{dtype.itemsize // len(operands)}")


def _several(operand: Operand) -> tuple:
    return operand if isinstance(operand, tuple) else (operand,)


def _read_columns(machine, operands, dtype, lanes):
    return np.stack([machine.registers.read(operand, dtype, lanes) for operand in operands], axis=1)


def _write_columns(machine, operands, values, lanes):
    for operand, column in zip(operands, values.T, strict=True):
        machine.registers.write(operand, column, lanes)


# ---- memory

_SPACES = {"global", "const", "shared", "local", "param"}
_HINTS = {
    "v2",
    "v4",
    "nc",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "volatile",
    "weak",
    "relaxed",
    "sys",
    "gpu",
    "cta",
}


def _place(machine, parts, operand: Address, lanes):
    """The state space, None if it takes the address to tell, and the addresses; hints about caches change nothing."""
    unknown = [part for part in parts if part not in _SPACES | _HINTS and "::" not in part]
    if unknown:
        raise Fault(f"an unknown modifier, {unknown[0]}")
    space = next((part for part in parts if part in _SPACES), None)
    return space, machine.registers.address(operand.base, lanes) + np.uint64(operand.offset % (1 << 64))


def _load(machine, instruction, lanes):
    target, source = instruction.operands
    _, *parts, type_ = instruction.parts
    size = TYPES[type_].itemsize * len(_several(target))
    values = machine.spaces.load(*_place(machine, parts, source, lanes), size, lanes, instruction.index)
    _write_columns(machine, _several(target), values.view(TYPES[type_]), lanes)


def _store(machine, instruction, lanes):
    target, source = instruction.operands
    _, *parts, type_ = instruction.parts
    values = _read_columns(machine, _several(source), TYPES[type_], lanes).view(np.uint8)
    machine.spaces.store(*_place(machine, parts, target, lanes), values, lanes, instruction.index)


_ATOMIC = {
    "add": lambda old, a: old + a,
    "and": lambda old, a: old & a,
    "or": lambda old, a: old | a,
    "exch": lambda old, a: a,
    "min": lambda old, a: np.minimum(old, a),
    "max": lambda old, a: np.maximum(old, a),
    "cas": lambda old, a, b: np.where(old == a, b, old),
}


def _atomic(machine, instruction, lanes):
    """Read, compute and write in one: ``red`` is ``atom`` with no use for what was there."""
    kind, *parts, name, type_ = instruction.parts
    target, address, *operands = instruction.operands if kind == "atom" else (None, *instruction.operands)
    if name not in _ATOMIC:
        raise Fault("an unknown atomic")
    dtype = TYPES[type_]
    values = [machine.registers.read(operand, dtype, lanes) for operand in operands]

    def update(one, old):
        return _ATOMIC[name](old.view(dtype)[:, 0], *(value[one] for value in values))[:, None].view(np.uint8)

    old = machine.spaces.exchange(*_place(machine, parts, address, lanes), dtype.itemsize, lanes, update)
    if target:
        machine.registers.write(target, old.view(dtype)[:, 0], lanes)


def _nothing(machine, instruction, lanes):
    """Accesses are in the order of the program anyway."""


# ---- between threads: executed when all that take part are there


def _barrier(machine, instruction, lanes):
    machine.spaces.pass_barrier(lanes)


def _vote(machine, instruction, lanes):
    mode = instruction.parts[2]
    target, source, _ = instruction.operands
    members = machine.members(instruction, lanes)
    chosen = np.zeros(machine.first_of_warp.size, np.uint32)
    np.bitwise_or.at(
        chosen,
        machine.first_of_warp[lanes],
        machine.lane_bit[lanes] * machine.registers.read(source, TYPES["pred"], lanes),
    )
    ballot = chosen[machine.first_of_warp[lanes]] & members
    results = {"ballot": ballot, "any": ballot != 0, "all": ballot == members}
    if mode not in results:
        raise Fault("an unknown vote")
    machine.registers.write(target, results[mode], lanes)


def _shuffle(machine, instruction, lanes):
    """Take the value of another thread in the warp, one's own where there is no other inside the limits."""
    target, source, by, limits, _ = instruction.operands
    value, by, limits = (machine.registers.read(one, TYPES["u32"], lanes) for one in (source, by, limits))
    own = machine.laneid[lanes]
    by, segment, clamp = (number.astype(int) & 31 for number in (by, limits >> 8, limits))
    first = own & segment
    last = first | clamp & ~segment
    mode = instruction.parts[2]
    other = {"up": own - by, "down": own + by, "bfly": own ^ by, "idx": first | by & ~segment}[mode]
    inside = other >= last if mode == "up" else other <= last
    origin = machine.first_of_warp[lanes] + np.where(inside, other, own)
    if not (np.isin(origin, lanes) & (machine.members(instruction, lanes) & machine.lane_bit[origin] != 0)).all():
        raise Fault("reads from a thread that does not take part")
    values = np.zeros(machine.laneid.size, np.uint32)
    values[lanes] = value
    target, *predicate = _several(target)
    machine.registers.write(target, values[origin], lanes)
    for one in predicate:
        machine.registers.write(one, inside, lanes)


_ACTIONS: dict[str, Action] = {
    "mov": _move,
    "cvta": _move,  # an address is the same in all state spaces here
    "cvt": _convert,
    "ld": _load,
    "st": _store,
    "atom": _atomic,
    "red": _atomic,
    "membar": _nothing,
    "fence": _nothing,
    "bar": _barrier,
    "barrier": _barrier,
    "shfl": _shuffle,
    "vote": _vote,
}
