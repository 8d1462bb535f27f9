"""L-BFGS and nonlinear conjugate gradients."""

import numpy as np

import numbopt
from numbopt._kernels.quasi_newton import state as qn
from numbopt._launch import quasi_newton as cores

SIZES = (10, 10**3, 10**5, 10**6)


class Direction:
    """Two-loop recursion over ten pairs, and what else comes between two evaluations."""

    params = (SIZES, ("float32", "float64"))
    param_names = ("size", "dtype")

    def setup(self, size, dtype):
        self.curvature = np.geomspace(1, 10, size).astype(dtype)
        self.x = np.ones(size, dtype)
        self.advance = cores.advance_function(qn.new_state(size, dtype, qn.LBFGS, 10))
        self.g = np.empty_like(self.x)
        for _ in range(30):
            self.time_evaluation(size, dtype)

    def time_evaluation(self, size, dtype):
        np.multiply(self.curvature, self.x, out=self.g)
        if self.advance(self.x, self.g, float(self.g @ self.x) / 2) != qn.EVALUATE:
            self.x[:] = 1


class Step:
    """A whole step of an optimizer, ten iterations, closure included."""

    params = (("LBFGS", "NonlinearCG"), SIZES)
    param_names = ("optimizer", "size")

    def setup(self, name, size):
        curvature = np.geomspace(1, 1e4, size)
        self.x = np.ones(size)
        options = {"line_search_fn": "strong_wolfe"} if name == "LBFGS" else {}
        self.opt = getattr(numbopt, name)([self.x], max_iter=10, tolerance_grad=0, tolerance_change=0, **options)

        def closure():
            g = curvature * self.x
            return float(g @ self.x) / 2, [g]

        self.closure = closure
        self.time_step(name, size)

    def time_step(self, name, size):
        self.x[:] = 1
        self.opt.step(self.closure)


class Minimize:
    """`minimize` of Rosenbrock's function by its Python form."""

    params = ((2, 10, 1000),)
    param_names = ("size",)

    def setup(self, size):
        from scipy.optimize import rosen, rosen_der

        self.function, self.gradient, self.x0 = rosen, rosen_der, np.full(size, -0.5)
        self.time_minimize(size)

    def time_minimize(self, size):
        numbopt.minimize(self.function, self.x0, jac=self.gradient)


class Evaluations:
    """Evaluations to tolerance: a geometric mean over the problems, in which one that is not solved counts as 5000."""

    params = (("numbopt L-BFGS 10", "numbopt L-BFGS 100", "numbopt CG Dai-Kou"),)
    param_names = ("solver",)
    unit = "evaluations"

    def track_evaluations(self, solver):
        try:
            from reports import lbfgs_report as report
        except ImportError:  # SciPy is not installed
            return np.nan
        solved = report.evaluations(report.SOLVERS[solver], lambda problem: problem.solved)
        counts = [solved.get(problem, report.BUDGET) for problem in report.PROBLEMS]
        return float(np.exp(np.mean(np.log(counts))))
