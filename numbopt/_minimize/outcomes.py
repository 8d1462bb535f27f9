"""How a minimization ends: SciPy's status, and a message."""

from typing import Any, NamedTuple

from numbopt._kernels.quasi_newton import state

CONVERGED, LIMIT, FAILED, STOPPED = 0, 1, 2, 99
"""The status, with the numbers of SciPy's L-BFGS-B and, for a callback that stops the run, of SciPy's callbacks."""


class Outcome(NamedTuple):
    """Why a run ended."""

    status: int
    message: str

    def result(self, **fields: Any) -> dict[str, Any]:
        """Return ``fields`` of an `OptimizeResult`, and those that follow from the outcome."""
        return {**fields, "success": self.status == CONVERGED, "status": self.status, "message": self.message}


GRADIENT_SMALL = Outcome(CONVERGED, "Converged: no element of the gradient exceeds gtol.")
MAX_ITERATIONS = Outcome(LIMIT, "The number of iterations reached maxiter.")
MAX_EVALUATIONS = Outcome(LIMIT, "The number of evaluations reached maxfun.")
WITHIN_DIFFERENCES = Outcome(
    CONVERGED, "Converged: the gradient is no larger than the error of the finite differences that it comes from."
)
STOPPED_BY_CALLBACK = Outcome(STOPPED, "`callback` raised `StopIteration`.")

OF_THE_CORE = {
    state.GRADIENT_SMALL: GRADIENT_SMALL,
    state.CHANGE_SMALL: Outcome(
        CONVERGED, "Converged: the relative change of the function was below ftol three times in a row."
    ),
    state.MAX_ITERATIONS: MAX_ITERATIONS,
    state.MAX_EVALUATIONS: MAX_EVALUATIONS,
    state.NO_LOWER_POINT: Outcome(
        FAILED,
        "The line search found no lower point, not even along the gradient: rounding errors of the function, or its "
        "gradient is wrong.",
    ),
    state.GRADIENT_WRONG: Outcome(
        FAILED,
        "The line search found no lower point: the gradient disagrees with the function, or the function is computed "
        "in less than double precision. Compare with scipy.optimize.check_grad.",
    ),
    state.START_NOT_FINITE: Outcome(FAILED, "The function or its gradient is not finite at x0."),
    state.NOT_FINITE_AHEAD: Outcome(
        FAILED, "The line search led nowhere: the function or its gradient is not finite at the points ahead of x."
    ),
}
"""The outcome for each answer of the quasi-Newton core with which it stops."""
