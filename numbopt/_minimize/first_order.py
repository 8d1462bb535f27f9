"""Minimising with the first-order optimizers: the loop around `step`, its stops, and the best point kept."""

import inspect
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from numbopt._devices.arrays import Array
from numbopt.elementwise import ElementwiseOptimizer

STOPS: dict[str, Any] = {
    "gtol": 1e-5,
    "ftol": 1e-9,
    "window": 100,
    "maxiter": 15000,
    "maxfun": 15000,
    "maxtime": None,
    "target": None,
    "disp": False,
}
"""Options of the loop, beside the hyper-parameters of the optimizer, and their defaults."""

CONVERGED, LIMIT, FAILED, STOPPED = 0, 1, 2, 99
"""Status, as SciPy's L-BFGS-B and callbacks have it."""


def hyper_parameters(cls: type[ElementwiseOptimizer]) -> set[str]:
    """Return the names of the options that the constructor of an optimizer takes and that suit a minimum."""
    named = set(inspect.signature(cls).parameters) - {"params", "common", "maximize"}
    return named | {"max_grad_norm", "project"}


def descend(
    cls: type[ElementwiseOptimizer],
    objective: Callable[[Array], tuple[float, Array]],
    x: Array,
    bounds: tuple[Any, Any] | None,
    options: Mapping[str, Any],
    report: Callable[[Array, float], None] | None,
) -> tuple[int, str, float, Array, Array, int]:
    """Step until a stop; return status, message, and value, point, gradient and number of iterations of the best.

    Parameters
    ----------
    cls : type
        The optimizer.
    objective : callable
        Returns value and gradient at a flat point.
    x : array of float64, shape (n,)
        The start; changed.
    bounds : (lower, upper) or None
        Kept by the optimizer.
    options : dict
        `STOPS` and hyper-parameters of the optimizer.
    report : callable or None
        Called with the best point and its value after each iteration; may raise StopIteration.
    """
    hyper = {name: value for name, value in options.items() if name not in STOPS}
    lower, upper = bounds if bounds is not None else (-np.inf, np.inf)
    np.clip(x, lower, upper, out=x)
    opt = cls([x], bounds=bounds, **hyper)
    start = time.monotonic()
    value, gradient = objective(x)
    best, best_x, best_g = value, x.copy(), gradient.copy()
    lowest: deque[float] = deque([best], maxlen=options["window"] + 1)  # the best value, after each iteration

    def outcome(iterations: int) -> tuple[int, str] | None:
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            where = "at x0." if iterations == 0 else "at the last point; the best one before that is returned."
            return FAILED, f"The function or its gradient is not finite {where}"
        # What a bound holds back does not count.
        held = ((best_x <= lower) & (best_g > 0)) | ((best_x >= upper) & (best_g < 0))
        if np.abs(np.where(held, 0, best_g)).max() <= options["gtol"]:
            return CONVERGED, "Converged: no element of the gradient exceeds gtol."
        if options["target"] is not None and best <= options["target"]:
            return CONVERGED, "The function reached the target."
        if len(lowest) == lowest.maxlen and lowest[0] - best < options["ftol"] * max(1, abs(best)):
            return CONVERGED, f"Converged: {options['window']} iterations improved the function by less than ftol."
        if iterations >= options["maxiter"]:
            return LIMIT, "The number of iterations reached maxiter."
        if iterations + 1 >= options["maxfun"]:
            return LIMIT, "The number of evaluations reached maxfun."
        if options["maxtime"] is not None and time.monotonic() - start >= options["maxtime"]:
            return LIMIT, "The time reached maxtime."
        return None

    iterations = 0
    while (stop := outcome(iterations)) is None:
        opt.step(grads=[gradient])
        value, gradient = objective(x)
        iterations += 1
        if -np.inf < value <= best and np.isfinite(gradient).all():
            best = value
            best_x[:], best_g[:] = x, gradient
        lowest.append(best)
        if report is not None:
            try:
                report(best_x, best)
            except StopIteration:
                stop = STOPPED, "`callback` raised `StopIteration`."
                break
    return *stop, best, best_x, best_g, iterations
