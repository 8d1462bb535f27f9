"""What the passes over vectors of quasi-Newton methods do with an element, for the CPU and CUDA alike.

A pass computes what it writes in float64 and rounds it once to the dtype of the vectors. The factors are float64. Only
`MULTIPLY_ADD` fuses a multiplication with an addition. So what a pass writes has the same bits on a GPU and on every
CPU that can fuse the two.

A sum adds up products of the dtype of the vectors in float64. The order of these additions depends on the device, and
so does whether they are fused with products of float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numbopt._kernels.specialise import compiled_with

MULTIPLY_ADD: Any  # of float64, rounded once where the processor can; bound for each device

# Of int64 and not int, for which Numba would compile everything that takes a pass once per value.
COPY, SCALE, WEIGHTED_SUM, DIFFERENCE, LINE, DOT, SUM_MAGNITUDE, MAX_MAGNITUDE = np.arange(8)

_inlined = compiled_with(inline="always")


@_inlined
def scaled(out, u, v, a, b):
    return a * u


@_inlined
def weighted_sum(out, u, v, a, b):
    return MULTIPLY_ADD(a, out, b * u)


@_inlined
def subtracted(out, u, v, a, b):
    return u - v  # in float64 or not, the bits are the same


@_inlined
def moved_along(out, u, v, a, b):
    return MULTIPLY_ADD(a, v, u)


@_inlined
def product(out, v):
    return out * v


@_inlined
def magnitude(out, v):
    return abs(out)


@_inlined
def sum_of(total, part):
    return total + part


@_inlined
def larger_of(total, part):
    return part if part > total else total  # NaN is left out


class Pass(NamedTuple):
    """What a pass does with an element of each of the vectors ``out``, ``u`` and ``v``."""

    value: Callable[..., Any] | None = None
    """``value(out, u, v, a, b)``: the new ``out``; None for a pass that only reads."""
    term: Callable[..., Any] | None = None
    """``term(out, v)``: what the element gives after that; None for a pass that returns no number."""
    combine: Callable[..., Any] = sum_of
    """``combine(total, term)``, from 0 on."""


PASSES: dict[Any, Pass] = {
    SCALE: Pass(scaled, product),
    WEIGHTED_SUM: Pass(weighted_sum, product),
    DIFFERENCE: Pass(subtracted),
    LINE: Pass(moved_along),
    DOT: Pass(None, product),
    SUM_MAGNITUDE: Pass(None, magnitude),
    MAX_MAGNITUDE: Pass(None, magnitude, larger_of),
}
"""The passes by number, but for `COPY`, which computes nothing."""
