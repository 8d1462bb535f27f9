"""Minimization by the first-order optimizers where there are gradients and no values."""

import inspect
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from numbopt._minimize import outcomes
from numbopt._minimize.outcomes import Outcome
from numbopt._minimize.problem import Problem, flat
from numbopt.elementwise import ElementwiseOptimizer
from numbopt.options import as_float
from numbopt.two_points import TwoPoints

STOPS: dict[str, Any] = {"gtol": 0.0, "xtol": 0.0, "maxiter": 1000, "maxtime": None, "disp": False}
"""Options of the loop and their defaults; the hyper-parameters of the optimizer come on top."""


def minimize_by_gradients(
    cls: type[ElementwiseOptimizer],
    problem: Problem,
    callback: Callable[..., Any] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Step until a stop; return the fields of the result, which belong to the last point."""
    hyper = {name: value for name, value in options.items() if name not in STOPS}
    rate = hyper.pop("lr") if callable(hyper.get("lr")) else None
    lower, upper = problem.bounds or (-np.inf, np.inf)
    x = np.clip(problem.start, lower, upper)
    opt = cls([x], bounds=problem.bounds, **hyper)
    gradient_at = _with_few(problem.jac, 2, problem.args)
    report = _with_few(callback, 3, ()) if callback is not None else None
    start, before = time.monotonic(), x.copy()

    def copied(array: Any) -> Any:
        return array.reshape(problem.shape).copy()

    outcome, iterations = outcomes.MAX_ITERATIONS, 0
    gradient = np.full_like(x, math.nan)
    while iterations < options["maxiter"]:
        gradient = flat(gradient_at(copied(x), iterations), problem.shape)
        if not np.isfinite(gradient).all():
            outcome = Outcome(outcomes.FAILED, f"The gradient is not finite in iteration {iterations}.")
            break
        if report is not None:
            try:
                report(copied(x), iterations, copied(gradient))
            except StopIteration:
                outcome = outcomes.STOPPED_BY_CALLBACK
                break
        largest = np.abs(np.clip(gradient, x - upper, x - lower)).max()
        if largest <= options["gtol"]:
            outcome = outcomes.GRADIENT_SMALL
            break
        if rate is not None:
            opt.param_groups[0]["lr"] = as_float("lr", rate(iterations))
        np.copyto(before, x)
        opt.step(grads=[gradient])
        iterations += 1
        if np.linalg.norm(x - before) <= options["xtol"]:
            outcome = Outcome(outcomes.CONVERGED, "Converged: the step was no longer than xtol.")
            break
        if options["maxtime"] is not None and time.monotonic() - start >= options["maxtime"]:
            outcome = Outcome(outcomes.LIMIT, "The time reached maxtime.")
            break
    if isinstance(opt, TwoPoints):
        opt.eval()
    return outcome.result(x=x, fun=math.nan, jac=gradient, nit=iterations, njev=iterations)


def _with_few(function: Callable[..., Any], most: int, args: tuple[Any, ...]) -> Callable[..., Any]:
    """Return a function that gives another one as many arguments as it takes, ``most`` of them, and ``args``."""
    try:
        kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    except ValueError:  # a callable without signature
        kinds = [inspect.Parameter.POSITIONAL_ONLY] * (1 + len(args))
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        count = most
    else:
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        count = min(most, max(1, sum(kind in positional for kind in kinds) - len(args)))
    return lambda *given: function(*given[:count], *args)
