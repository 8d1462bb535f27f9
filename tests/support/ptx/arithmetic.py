"""What single instructions compute: functions of NumPy arrays, an element for each thread.

Reference: NVIDIA, "Parallel Thread Execution ISA", chapter 9.7. Numbers are rounded to nearest; every NaN is as good as
another. What is not in the tables here, approximations and ``.ftz`` among it, is unknown to the interpreter.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
from numba.extending import intrinsic

from support.ptx.parser import TYPES, Fault


class Operation(NamedTuple):
    """What an instruction computes, and the types of its result and its operands, a letter each.

    ``T`` is the type in the opcode, ``W`` the one twice as wide, ``I`` u32 and ``P`` a predicate.
    """

    letters: str
    function: Callable[..., np.ndarray]


def operation(opcode: str) -> tuple[Callable[..., np.ndarray], list[np.dtype]] | None:
    """Return the function and the dtypes, the result's first, of what ``opcode`` computes; None if it is not known."""
    name, _, type_ = opcode.rpartition(".")
    if type_ not in TYPES or type_ == "f16":
        return None
    dtype = TYPES[type_]
    known = (_FLOAT if dtype.kind == "f" else _INTEGER).get(name) or _ANY.get(name)
    if known is None:
        return None
    dtypes = {"T": dtype, "I": TYPES["u32"], "P": TYPES["pred"]}
    if "W" in known.letters:
        dtypes["W"] = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")
    return known.function, [dtypes[letter] for letter in known.letters]


# ---- integers


def _wide_product(a, b):
    wide = f"{a.dtype.kind}{2 * a.dtype.itemsize}"
    return a.astype(wide) * b.astype(wide)


def _high_product(a, b):
    product = a.astype(object) * b.astype(object)
    return (product >> 8 * a.dtype.itemsize).astype(a.dtype)


def _quotient(a, b):
    """Divide, rounded toward zero."""
    if not b.all():
        raise Fault("divides an integer by zero")
    unsigned = f"u{a.dtype.itemsize}"
    magnitude = np.abs(a).view(unsigned) // np.abs(b).view(unsigned)  # right for the lowest number, too
    return np.where((a < 0) != (b < 0), -magnitude, magnitude).view(a.dtype)


def _shift(function):
    """Shift by an amount that may be more than the width."""

    def shifted(x, amount):
        last = 8 * x.dtype.itemsize - 1
        by_last = function(x, np.minimum(amount, last).astype(x.dtype))
        return np.where(amount > last, function(by_last, x.dtype.type(1)), by_last)

    return shifted


def _bits(x):
    """Zeros and ones in the columns of a matrix, the lowest bit first."""
    unsigned = x.view(f"u{x.dtype.itemsize}")
    return unsigned[:, None] >> np.arange(8 * x.dtype.itemsize, dtype=unsigned.dtype) & 1


def _from_bits(bits, dtype):
    powers = np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)
    return (bits * powers).sum(axis=1).astype(f"u{dtype.itemsize}").view(dtype)


def _bit_field(x, start, count):
    """Return ``count`` bits from ``start`` on; the sign fills up what lies above, where the type has one."""
    bits = _bits(x)
    width = bits.shape[1]
    start, count = ((number & 0xFF).astype(int)[:, None] for number in (start, count))
    place = np.arange(width)
    taken = np.take_along_axis(bits, np.minimum(start + place, width - 1), axis=1)
    sign = np.take_along_axis(bits, np.clip(start + count - 1, 0, width - 1), axis=1)
    above = np.where((count > 0) & (x.dtype.kind == "i"), sign, 0)
    return _from_bits(np.where((place < count) & (start + place < width), taken, above), x.dtype)


def _insert_bit_field(field, x, start, count):
    """Return ``x`` with ``count`` bits from ``start`` on replaced by the lowest of ``field``."""
    start, count = ((number & 0xFF).astype(int)[:, None] for number in (start, count))
    place = np.arange(8 * x.dtype.itemsize) - start
    moved = np.take_along_axis(_bits(field), np.maximum(place, 0), axis=1)
    return _from_bits(np.where((place >= 0) & (place < count), moved, _bits(x)), x.dtype)


def _permute_bytes(a, b, selector):
    """Pick four of eight bytes; a selector of 8 and more repeats the sign of the byte."""
    source = np.stack([a, b], axis=1).astype("<u4").view(np.uint8)
    selectors = selector[:, None] >> np.arange(0, 16, 4, dtype=np.uint32) & 0xF
    picked = np.take_along_axis(source, (selectors & 7).astype(int), axis=1)
    signs = np.where(picked >> 7, 0xFF, 0).astype(np.uint8)
    return np.where(selectors & 8, signs, picked).view("<u4")[:, 0]


# ---- floats


@intrinsic
def _fma(typingctx, a, b, c):
    def codegen(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, a, a), codegen


# With its types: compiled for doubles only, it would take floats for doubles, too.
@numba.vectorize([f"{t}({t}, {t}, {t})" for t in ("float32", "float64")])
def _fused_multiply_add(a, b, c):
    return _fma(a, b, c)


def _maximum(a, b):
    return np.where(a == b, np.where(np.signbit(a), b, a), np.fmax(a, b))


def _minimum(a, b):
    return np.where(a == b, np.where(np.signbit(a), a, b), np.fmin(a, b))


def _not_a_number(a, b):
    return np.isnan(a) | np.isnan(b)


def _nan_through(function):
    return lambda a, b: np.where(_not_a_number(a, b), a.dtype.type(np.nan), function(a, b))


_ORDERED = {"eq": np.equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}

_ANY = {
    "add": Operation("TTT", np.add),
    "sub": Operation("TTT", np.subtract),
    "neg": Operation("TT", np.negative),
    "abs": Operation("TT", np.abs),
    "selp": Operation("TTTP", lambda a, b, chosen: np.where(chosen, a, b)),
    **{f"setp.{name}": Operation("PTT", function) for name, function in _ORDERED.items()},
}

_INTEGER = {
    "mul.lo": Operation("TTT", np.multiply),
    "mul.hi": Operation("TTT", _high_product),
    "mul.wide": Operation("WTT", _wide_product),
    "mad.lo": Operation("TTTT", lambda a, b, c: a * b + c),
    "mad.hi": Operation("TTTT", lambda a, b, c: _high_product(a, b) + c),
    "mad.wide": Operation("WTTW", lambda a, b, c: _wide_product(a, b) + c),
    "div": Operation("TTT", _quotient),
    "rem": Operation("TTT", lambda a, b: a - _quotient(a, b) * b),
    "min": Operation("TTT", np.minimum),
    "max": Operation("TTT", np.maximum),
    "and": Operation("TTT", np.bitwise_and),
    "or": Operation("TTT", np.bitwise_or),
    "xor": Operation("TTT", np.bitwise_xor),
    "not": Operation("TT", np.bitwise_not),
    "shl": Operation("TTI", _shift(np.left_shift)),
    "shr": Operation("TTI", _shift(np.right_shift)),
    "popc": Operation("IT", lambda x: _bits(x).sum(axis=1)),
    "clz": Operation("IT", lambda x: (_bits(x)[:, ::-1].cumsum(axis=1) == 0).sum(axis=1)),
    "bfe": Operation("TTII", _bit_field),
    "bfi": Operation("TTTII", _insert_bit_field),
    "prmt": Operation("TTTT", _permute_bytes),
    "setp.ne": Operation("PTT", np.not_equal),
    "setp.lo": Operation("PTT", np.less),
    "setp.ls": Operation("PTT", np.less_equal),
    "setp.hi": Operation("PTT", np.greater),
    "setp.hs": Operation("PTT", np.greater_equal),
}


def _or_unordered(function):
    return lambda a, b: function(a, b) | _not_a_number(a, b)


_FLOAT = {
    "add.rn": Operation("TTT", np.add),
    "sub.rn": Operation("TTT", np.subtract),
    "mul": Operation("TTT", np.multiply),
    "mul.rn": Operation("TTT", np.multiply),
    "fma.rn": Operation("TTTT", _fused_multiply_add),
    "div.rn": Operation("TTT", np.divide),
    "rcp.rn": Operation("TT", lambda x: np.divide(x.dtype.type(1), x)),
    "sqrt.rn": Operation("TT", np.sqrt),
    "min": Operation("TTT", _minimum),
    "max": Operation("TTT", _maximum),
    "min.NaN": Operation("TTT", _nan_through(_minimum)),
    "max.NaN": Operation("TTT", _nan_through(_maximum)),
    "copysign": Operation("TTT", lambda sign, x: np.copysign(x, sign)),
    "setp.ne": Operation("PTT", lambda a, b: (a != b) & ~_not_a_number(a, b)),
    "setp.neu": Operation("PTT", np.not_equal),
    "setp.num": Operation("PTT", lambda a, b: ~_not_a_number(a, b)),
    "setp.nan": Operation("PTT", _not_a_number),
    **{f"setp.{name}u": Operation("PTT", _or_unordered(function)) for name, function in _ORDERED.items()},
}


# ---- conversions

_TO_INTEGRAL = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def convert(x: np.ndarray, dtype: np.dtype, modifiers: tuple[str, ...]) -> np.ndarray | None:
    """Return the numbers in another type, None where these modifiers are not known."""
    from_float, to_float = x.dtype.kind == "f", dtype.kind == "f"
    if from_float and len(modifiers) == 1 and modifiers[0] in _TO_INTEGRAL:
        x = _TO_INTEGRAL[modifiers[0]](x)
        return x.astype(dtype) if to_float else _saturated(x, dtype)
    if modifiers == ("sat",) and from_float and to_float:
        return np.where(np.isnan(x), 0, np.clip(x, 0, 1)).astype(dtype)
    rounds = to_float and (not from_float or x.dtype.itemsize > dtype.itemsize)
    if modifiers == (("rn",) if rounds else ()) and (to_float or not from_float):
        return x.astype(dtype)
    return None


def _saturated(x, dtype):
    """Integral numbers as integers, the nearest one where there is none."""
    limits = np.iinfo(dtype)
    nan = 0 if x.dtype.itemsize < 8 > dtype.itemsize else 1 << (limits.bits - 1)
    result = np.full(x.shape, limits.max, dtype)
    result[x < limits.min] = limits.min
    result[np.isnan(x)] = np.array(nan, f"u{dtype.itemsize}").view(dtype)
    inside = (x >= limits.min) & (x < 2.0 * (limits.max // 2 + 1))
    result[inside] = x[inside].astype(dtype)
    return result
