"""The cube root as rules use it: unlike a call of the C library, loops around it work on several numbers at once."""

from typing import Any

import numpy as np

from numbopt._kernels.cpu.intrinsics import intrinsic
from numbopt._kernels.specialise import INTRINSIC


def cube_root(x, third):
    """Return the cube root of a number that is not negative, within four units in the last place.

    ``third`` is 1/3 in the type of ``x``. Newton's method for the reciprocal needs no division.
    """
    w = reciprocal_seed(x)
    for _ in range(3):  # each step has twice the digits of the one before
        w = w + third * (w - x * w * w * (w * w))
    root = x * w * w
    return root if root == root else x  # infinity and NaN are their own roots


def reciprocal_seed(x):
    """Return ``x ** (-1 / 3)``: 1.5 digits of a float32, and 2.6 of a float64.

    It divides the bits of the number, roughly its logarithm, by -3. Compiled code calls an intrinsic, see `write_seed`.
    """
    if isinstance(x, np.float32):
        return np.uint32(0x54A22A8C - int(x.view(np.uint32)) // 3).view(np.float32)
    x = np.float64(x)
    w = np.uint64(0x553EF0FF - (int(x.view(np.uint64)) >> 32) // 3 << 32).view(np.float64)
    square = w * w
    return w + 1 / 3 * (w - x * square * square)


@intrinsic
def _compiled_seed(typingctx, x):
    return x(x), lambda context, builder, signature, arguments: write_seed(builder, arguments[0])


reciprocal_seed.__dict__[INTRINSIC] = _compiled_seed.__dict__[INTRINSIC]


def write_seed(builder: Any, x: Any) -> Any:
    """Write the instructions of LLVM that do what `reciprocal_seed` does."""
    from llvmlite import ir

    word, half = ir.IntType(64), ir.IntType(32)
    if isinstance(x.type, ir.FloatType):
        third = _third(word, builder, builder.zext(builder.bitcast(x, half), word))
        return builder.bitcast(builder.sub(half(0x54A22A8C), builder.trunc(third, half)), x.type)
    third = _third(word, builder, builder.lshr(builder.bitcast(x, word), word(32)))
    w = builder.bitcast(builder.shl(builder.sub(word(0x553EF0FF), third), word(32)), x.type)
    square = builder.fmul(w, w)
    error = builder.fsub(w, builder.fmul(builder.fmul(x, square), square))
    return builder.fadd(w, builder.fmul(x.type(1 / 3), error))


def _third(word: Any, builder: Any, number: Any) -> Any:
    """Divide a word, less than 2 ** 32, by 3 with what processors have for many words at once."""
    return builder.lshr(builder.mul(number, word(0xAAAAAAAB)), word(33))
