"""Minimization by the first-order optimizers: a loop around `step` that keeps the best point and knows when to stop."""

import inspect
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from numbopt._kernels.cpu.points import compiled_judge
from numbopt._minimize import outcomes
from numbopt._minimize.outcomes import Outcome
from numbopt._minimize.problem import Problem
from numbopt.elementwise import ElementwiseOptimizer
from numbopt.two_points import TwoPoints

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
"""Options of the loop and their defaults, in the order in which it takes them.

The hyper-parameters of the optimizer come on top.
"""


def hyper_parameters(cls: type[ElementwiseOptimizer]) -> set[str]:
    """Return the names of the options that the constructor of an optimizer takes and that suit a minimum."""
    named = set(inspect.signature(cls).parameters) - {"params", "common", "maximize"}
    return named | {"max_grad_norm", "project"}


def minimize_first_order(
    cls: type[ElementwiseOptimizer], problem: Problem, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Step until a stop; return the fields of the result, which belong to the best point."""
    hyper = {name: value for name, value in options.items() if name not in STOPS}
    gtol, ftol, window, maxiter, maxfun, maxtime, target = (options[name] for name in STOPS if name != "disp")
    lower, upper = problem.bounds or (np.full_like(problem.start, -np.inf), np.full_like(problem.start, np.inf))
    x = np.clip(problem.start, lower, upper)
    opt = cls([x], bounds=problem.bounds, **hyper)
    others = 1 + isinstance(opt, TwoPoints)  # evaluations beside those after steps
    start = time.monotonic()
    value, gradient = problem.evaluate(x)
    best, best_x, best_g = value, x.copy(), gradient.copy()
    judge = compiled_judge()
    judged = largest = judge(value, x, gradient, best, best_x, best_g, lower, upper)
    lowest: deque[float] = deque([best], maxlen=window + 1)  # the best value so far, after each iteration

    def stop(iterations: int) -> Outcome | None:
        if judged != judged:
            where = "at x0." if iterations == 0 else "at the last point; the best one before that is returned."
            return Outcome(outcomes.FAILED, f"The function or its gradient is not finite {where}")
        if largest <= gtol:
            return outcomes.GRADIENT_SMALL
        if target is not None and best <= target:
            return Outcome(outcomes.CONVERGED, "The function reached the target.")
        if len(lowest) > window and lowest[0] - best < ftol * max(1, abs(best)):
            return Outcome(
                outcomes.CONVERGED, f"Converged: {window} iterations improved the function by less than ftol."
            )
        if iterations >= maxiter:
            return outcomes.MAX_ITERATIONS
        if iterations + others + problem.differences >= maxfun:
            return outcomes.MAX_EVALUATIONS
        if maxtime is not None and time.monotonic() - start >= maxtime:
            return Outcome(outcomes.LIMIT, "The time reached maxtime.")
        return None

    iterations = 0
    while (outcome := stop(iterations)) is None:
        opt.step(grads=[gradient])
        value, gradient = problem.evaluate(x)
        iterations += 1
        judged = judge(value, x, gradient, best, best_x, best_g, lower, upper)
        if judged >= 0:
            best, largest = value, judged
        lowest.append(best)
        if problem.report is not None:
            try:
                problem.report(best_x, best)
            except StopIteration:
                outcome = outcomes.STOPPED_BY_CALLBACK
                break
    if isinstance(opt, TwoPoints) and judged == judged:
        opt.eval()
        value, gradient = problem.evaluate(x)
        if judge(value, x, gradient, best, best_x, best_g, lower, upper) >= 0:
            best = value
    return outcome.result(x=best_x, fun=best, jac=best_g, nit=iterations, njev=iterations + others)
