"""Minimization by the quasi-Newton core."""

import time
from typing import Any

import numpy as np

from numbopt._devices.arrays import Array
from numbopt._kernels.quasi_newton.state import BASE_G, BASE_X, BOUNDED, CONJUGATE, EVALUATE, LBFGS, State, new_state
from numbopt._launch.quasi_newton import advance_function, driver, entry_point_for, pairs, team_for
from numbopt._minimize.outcomes import FAILED, OF_THE_CORE, STOPPED_BY_CALLBACK, WITHIN_DIFFERENCES, Outcome
from numbopt._minimize.problem import Problem, scipy_optimize

_COMMON = {"gtol": 1e-5, "maxiter": 15000, "maxfun": 15000, "maxls": 20, "disp": False}
METHODS: dict[str, dict[str, Any]] = {
    "lbfgs": {**_COMMON, "ftol": 2.220446049250313e-09, "maxcor": None},
    "cg": {**_COMMON, "ftol": 0.0, "direction": "dai-kou"},
}
"""The methods, with their options and the defaults of these."""


def minimize_quasi_newton(method: str, problem: Problem, options: dict[str, Any]) -> dict[str, Any]:
    """Run the core until it stops; return the fields of the result."""
    direction = LBFGS if method == "lbfgs" else _conjugate_rule(options["direction"])
    bounds = problem.bounds or (-np.inf, np.inf)
    rule = direction if problem.bounds is None else BOUNDED
    x = np.clip(problem.start, *bounds)
    problem.maxfun = options["maxfun"]
    state = new_state(
        x.size,
        x.dtype,
        rule,
        _history_size(options, x.size, rule),
        bounds=bounds,
        tolerance_gradient=options["gtol"],
        tolerance_relative=options["ftol"] if options["ftol"] > 0 else -1.0,
        max_iterations=options["maxiter"],
        max_evaluations=options["maxfun"],
        max_trials=options["maxls"],
    )
    if problem.is_compiled_pair and problem.report is None:
        outcome = _run_compiled(problem, rule, x, state)
    else:
        outcome = _run(problem, x, state)
    base = x, state.records["value"].item(), state.vectors[BASE_G]
    if outcome.status == FAILED and np.isfinite(base[1]) and problem.is_within_differences(*base):
        outcome = WITHIN_DIFFERENCES
    records = state.records  # whose fields are read much faster than those of `state.record`
    result = outcome.result(
        x=x,
        fun=records["value"].item(),
        jac=state.vectors[BASE_G].copy(),
        nit=records["iterations"].item(),
        njev=records["evaluations"].item(),
    )
    if rule in (LBFGS, BOUNDED):
        result["hess_inv"] = scipy_optimize().LbfgsInvHessProduct(*pairs(state)[:2])
    return result


def _run_compiled(problem: Problem, rule: int, x: Array, state: State) -> Outcome:
    """Do the same with a compiled function, in compiled code that comes back now and then, for Ctrl-C and threads."""
    like, gradient = x.reshape(problem.shape), np.empty_like(x)
    arguments = *state, team_for(x.dtype), x, gradient, like, problem.args
    drive = entry_point_for(driver(rule, problem.fun), *arguments, 1)
    most, answer = 16, EVALUATE
    while answer == EVALUATE:
        start = time.perf_counter()
        answer = drive(*arguments, most)
        if time.perf_counter() - start < _UNINTERRUPTED / 2:
            most *= 2
    return OF_THE_CORE[answer]


_UNINTERRUPTED = 0.05
"""Seconds that compiled code may keep other Python threads and Ctrl-C waiting, unless one evaluation takes longer."""


def _run(problem: Problem, x: Array, state: State) -> Outcome:
    """Evaluate and advance until the core stops; afterwards ``x`` is the best point."""
    evaluate, report, advance = problem.evaluate, problem.report, advance_function(state)
    answer = EVALUATE
    iterations = 0
    while answer == EVALUATE:
        value, gradient = evaluate(x)
        if problem.single:
            state.record["epsilon"] = np.finfo(np.float32).eps
        if problem.differences:  # maxfun is what the user can afford, whatever the calls are for
            state.record["max_evaluations"] = max(problem.maxfun - problem.differences, 1)
        answer = advance(x, gradient, value)
        if report is not None and (done := state.records["iterations"].item()) > iterations:
            iterations = done
            try:
                report(state.vectors[BASE_X], state.records["value"].item())
            except StopIteration:
                x[:] = state.vectors[BASE_X]
                return STOPPED_BY_CALLBACK
    return OF_THE_CORE[answer]


def _conjugate_rule(direction: Any) -> int:
    if direction not in CONJUGATE:
        raise ValueError(f"direction must be one of {sorted(CONJUGATE)}, got {direction!r}")
    return CONJUGATE[direction]


def _history_size(options: dict[str, Any], n: int, rule: int) -> int:
    if options.get("maxcor") is not None:
        return options["maxcor"]  # type: ignore[no-any-return]
    if rule == BOUNDED:
        return 10  # more save few evaluations here, and the matrices of the model take time
    return next((pairs for size, pairs in ((1000, 100), (20_000, 30), (100_000, 20)) if n <= size), 10)
