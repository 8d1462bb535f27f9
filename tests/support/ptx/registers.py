"""The values of operands: registers, constants and addresses of variables, for some of the threads at a time."""

import numpy as np

from support.ptx.parser import Constant, Fault, Operand, Register, Symbol


class Registers:
    """Registers hold bits; the type of an instruction says what they mean.

    Parameters
    ----------
    declared : dict of str to dtype
        Types of the registers.
    special : dict of str to array
        The values of those that nobody writes, for all threads.
    symbols : dict of str to int
        Addresses of variables.
    """

    def __init__(self, declared: dict[str, np.dtype], special: dict[str, np.ndarray], symbols: dict[str, int]) -> None:
        self._declared, self._special, self._symbols = declared, special, symbols
        self._bits: dict[str, np.ndarray] = {}
        self._written: dict[str, np.ndarray] = {}
        self._threads = special["%laneid"].size

    def read(self, operand: Operand, dtype: np.dtype, lanes: np.ndarray) -> np.ndarray:
        """Return the values of an operand; of a register that is wider than the type, the low bits."""
        if isinstance(operand, Constant):
            mask = (1 << 8 * dtype.itemsize) - 1
            return np.full(lanes.size, operand.bits & mask, _unsigned(dtype)).view(dtype)
        if isinstance(operand, Symbol):
            if operand.name not in self._symbols:
                raise Fault(f"there is no variable {operand.name}")
            return np.full(lanes.size, self._symbols[operand.name] + operand.offset, dtype)
        if operand.name in self._special:
            return self._special[operand.name][lanes].astype(dtype)
        if operand.name not in self._bits or not self._written[operand.name][lanes].all():
            raise Fault(f"reads {operand.name} before it is written")
        bits = self._bits[operand.name][lanes]
        if bits.dtype.itemsize < dtype.itemsize:
            raise Fault(f"{operand.name} is too narrow")
        return bits.astype(_unsigned(dtype), copy=False).view(dtype)

    def address(self, operand: Operand, lanes: np.ndarray) -> np.ndarray:
        """Return the values of an operand that is an address, of 64 bits or, in a window, of 32."""
        is_narrow = isinstance(operand, Register) and self._declared[operand.name].itemsize == 4
        return self.read(operand, np.dtype(np.uint32 if is_narrow else np.uint64), lanes).astype(np.uint64)

    def write(self, register: Register, values: np.ndarray, lanes: np.ndarray) -> None:
        """Put values into a register; where it is wider, the sign or zeros fill it up."""
        name = register.name
        if name == "_":  # what nobody wants
            return
        if name not in self._bits:
            self._bits[name] = np.zeros(self._threads, _unsigned(self._declared[name]))
            self._written[name] = np.zeros(self._threads, bool)
        if values.dtype.itemsize > self._bits[name].dtype.itemsize:
            raise Fault(f"{name} is too narrow")
        if values.dtype.kind == "f":
            values = values.view(_unsigned(values.dtype))
        self._bits[name][lanes] = values.astype(self._bits[name].dtype)
        self._written[name][lanes] = True


def _unsigned(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.kind == "b" else np.dtype(f"u{dtype.itemsize}")
