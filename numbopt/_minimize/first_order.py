"""Minimization by the first-order optimizers: a loop around `step` that keeps the best point and knows when to stop."""

import inspect
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from numbopt._minimize import outcomes
from numbopt._minimize.outcomes import Outcome
from numbopt._minimize.problem import Problem
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
"""Options of the loop and their defaults; the hyper-parameters of the optimizer come on top."""


def hyper_parameters(cls: type[ElementwiseOptimizer]) -> set[str]:
    """Return the names of the options that the constructor of an optimizer takes and that suit a minimum."""
    named = set(inspect.signature(cls).parameters) - {"params", "common", "maximize"}
    return named | {"max_grad_norm", "project"}


def minimize_first_order(
    cls: type[ElementwiseOptimizer], problem: Problem, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Step until a stop; return the fields of the result, which belong to the best point."""
    hyper = {name: value for name, value in options.items() if name not in STOPS}
    lower, upper = problem.bounds or (-np.inf, np.inf)
    x = np.clip(problem.start, lower, upper)
    opt = cls([x], bounds=problem.bounds, **hyper)
    start = time.monotonic()
    value, gradient = problem.evaluate(x)
    best, best_x, best_g = value, x.copy(), gradient.copy()
    lowest: deque[float] = deque([best], maxlen=options["window"] + 1)  # the best value so far, after each iteration

    def stop(iterations: int) -> Outcome | None:
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            where = "at x0." if iterations == 0 else "at the last point; the best one before that is returned."
            return Outcome(outcomes.FAILED, f"The function or its gradient is not finite {where}")
        # An element of the gradient that pushes against a bound does not count: nothing can follow it.
        held = ((best_x <= lower) & (best_g > 0)) | ((best_x >= upper) & (best_g < 0))
        if np.abs(np.where(held, 0, best_g)).max() <= options["gtol"]:
            return outcomes.GRADIENT_SMALL
        if options["target"] is not None and best <= options["target"]:
            return Outcome(outcomes.CONVERGED, "The function reached the target.")
        if len(lowest) == lowest.maxlen and lowest[0] - best < options["ftol"] * max(1, abs(best)):
            message = f"Converged: {options['window']} iterations improved the function by less than ftol."
            return Outcome(outcomes.CONVERGED, message)
        if iterations >= options["maxiter"]:
            return outcomes.MAX_ITERATIONS
        if iterations + 1 >= options["maxfun"]:
            return outcomes.MAX_EVALUATIONS
        if options["maxtime"] is not None and time.monotonic() - start >= options["maxtime"]:
            return Outcome(outcomes.LIMIT, "The time reached maxtime.")
        return None

    iterations = 0
    while (outcome := stop(iterations)) is None:
        opt.step(grads=[gradient])
        value, gradient = problem.evaluate(x)
        iterations += 1
        if -np.inf < value <= best and np.isfinite(gradient).all():
            best = value
            best_x[:], best_g[:] = x, gradient
        lowest.append(best)
        if problem.report is not None:
            try:
                problem.report(best_x, best)
            except StopIteration:
                outcome = outcomes.STOPPED_BY_CALLBACK
                break
    return outcome.result(x=best_x, fun=best, jac=best_g, nit=iterations, njev=iterations + 1)
