"""What `minimize` asks about each point of a first-order method, in one pass over it."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numbopt._kernels.specialise import entry_point, specialise


@functools.cache
def compiled_judge() -> Callable[..., Any]:
    """Return the entry point of `judge`, compiled; its arguments have to be of the types below."""
    from numba import types

    vector, number = types.float64[::1], types.float64
    return entry_point(specialise(judge, {}), (number, vector, vector, number, *[vector] * 4))


def judge(value, x, gradient, best, best_x, best_gradient, lower, upper):
    """Keep a point if it is the best one so far.

    Parameters
    ----------
    value, best : float
        At the point, and at the best one.
    x, gradient, best_x, best_gradient, lower, upper : array of float64, shape (n,)
        The two points, the gradients there, and the bounds.

    Returns
    -------
    float
        The largest element of the gradient if the point is the best one now, -1 if it is not, NaN if its value or its
        gradient is not finite. Elements that push against a bound do not count: nothing can follow them.
    """
    total = 0.0
    for i in range(gradient.size):
        total += 0.0 * gradient[i]  # NaN if an element is not finite
    if not (total == 0.0 and math.isfinite(value)):
        return np.nan
    if value > best:
        return -1.0
    largest = 0.0
    for i in range(x.size):
        best_x[i], best_gradient[i] = x[i], gradient[i]
        is_held = (x[i] <= lower[i] and gradient[i] > 0) or (x[i] >= upper[i] and gradient[i] < 0)
        if not is_held:
            largest = max(largest, abs(gradient[i]))
    return largest
