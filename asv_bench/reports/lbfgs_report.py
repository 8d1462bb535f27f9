"""Compare numbopt's L-BFGS and nonlinear conjugate gradients with SciPy's and torch's.

Run ``python asv_bench/reports/lbfgs_report.py [part ...]``: all parts, in the order of `PARTS`, without arguments.
Evaluations are counted exactly and repeat; times are ratios within one run. torch is left out where it is not
installed.
"""

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.optimize

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure import interleaved
from problems.lbfgs import PROBLEMS, TOLERANCE, Problem
from threadpoolctl import threadpool_limits

from numbopt import LBFGS, Parameter
from numbopt._kernels.quasi_newton import state as qn
from numbopt._launch import quasi_newton as cores
from numbopt._minimize.front import minimize as numbopt_minimize

try:
    import torch
except ImportError:
    torch = None

BUDGET = 5000


class Stop(Exception):
    """Ends a solver from outside: the problem is solved, or the budget spent."""


class Counter:
    """The function of a problem, counting evaluations and stopping the solver when ``done(f, g)``."""

    def __init__(self, problem: Problem, done):
        self.function, self.done = problem.function, done
        self.evaluations = 0
        self.reached = False

    def __call__(self, x):
        """Evaluate."""
        self.evaluations += 1
        f, g = self.function(x)
        self.reached = bool(self.done(f, g))
        if self.reached or self.evaluations >= BUDGET:
            raise Stop
        return f, g


def scipy_solver(method, **options):
    def solve(function, x):
        scipy.optimize.minimize(function, x, jac=True, method=method, options=options)

    return solve


def torch_solver(history_size):
    def solve(function, x):
        parameter = torch.nn.Parameter(torch.from_numpy(x.copy()))
        optimizer = torch.optim.LBFGS(
            [parameter],
            max_iter=10 * BUDGET,
            max_eval=10 * BUDGET,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=history_size,
            line_search_fn="strong_wolfe",
        )

        def closure():
            f, g = function(parameter.detach().numpy())
            parameter.grad = torch.from_numpy(np.ascontiguousarray(g))
            return float(f)

        optimizer.step(closure)

    return solve


def numbopt_solver(rule, history_size=0):
    def solve(function, x):
        x = x.copy()
        state = qn.new_state(x.size, x.dtype, rule, history_size)
        state[2]["tolerance_gradient"] = 0
        advance = cores.advance_function(state)
        answer = qn.EVALUATE
        while answer == qn.EVALUATE:
            f, g = function(x)
            answer = advance(x, g, float(f))

    return solve


UNLIMITED = dict.fromkeys(("maxiter", "maxfun"), 10 * BUDGET)
SOLVERS = {
    "SciPy L-BFGS-B 10": scipy_solver("L-BFGS-B", gtol=0, ftol=0, maxcor=10, **UNLIMITED),
    "numbopt L-BFGS 10": numbopt_solver(qn.LBFGS, 10),
    "numbopt L-BFGS 30": numbopt_solver(qn.LBFGS, 30),
    "numbopt L-BFGS 100": numbopt_solver(qn.LBFGS, 100),
    "SciPy CG": scipy_solver("CG", gtol=0, maxiter=10 * BUDGET),
    "numbopt CG Polak-Ribiere": numbopt_solver(qn.POLAK_RIBIERE),
    "numbopt CG Hager-Zhang": numbopt_solver(qn.HAGER_ZHANG),
    "numbopt CG Dai-Kou": numbopt_solver(qn.DAI_KOU),
}
if torch is not None:
    SOLVERS |= {"torch strong_wolfe 10": torch_solver(10), "torch strong_wolfe 100": torch_solver(100)}


def evaluations(solver, done) -> dict[str, int]:
    """Return the evaluations until ``done(problem)(f, g)`` for every problem where it was reached."""
    counts = {}
    for name, make in PROBLEMS.items():
        problem = make()
        counter = Counter(problem, done(problem))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with contextlib.suppress(Stop):
                solver(counter, problem.start)
        if counter.reached:
            counts[name] = counter.evaluations
    return counts


def ratio(counts, reference) -> float:
    """Return the geometric mean of evaluations against another solver, over the problems that both solve."""
    both = sorted(counts.keys() & reference.keys())
    return float(np.exp(np.mean([np.log(counts[name] / reference[name]) for name in both])))


def report(done):
    """Print solved problems and evaluations of all solvers."""
    counts = {name: evaluations(solver, done) for name, solver in SOLVERS.items()}
    print(f"{'of ' + str(len(PROBLEMS)) + ' problems':28s} solved   evaluations / L-BFGS-B   / SciPy CG")
    for name, count in counts.items():
        against = [ratio(count, counts[reference]) for reference in ("SciPy L-BFGS-B 10", "SciPy CG")]
        print(f"{name:28s} {len(count):6d}   {against[0]:22.3f}   {against[1]:10.3f}", flush=True)


def solved():
    """Evaluations until solved."""
    report(lambda problem: problem.solved)


def accuracy():
    """Evaluations until every gradient element is at most 1e-9."""
    report(lambda problem: lambda f, g: np.max(np.abs(g)) <= 1e-9)


def defaults():
    """Default tolerances: solved problems, and successes that are false (1000 times the criterion is missed)."""
    for title, minimize, method in (
        ("SciPy L-BFGS-B", scipy.optimize.minimize, "L-BFGS-B"),
        ("numbopt lbfgs", numbopt_minimize, "lbfgs"),
        ("SciPy CG", scipy.optimize.minimize, "CG"),
        ("numbopt cg", numbopt_minimize, "cg"),
    ):
        count, evaluations, false = 0, 0, []
        for name, make in PROBLEMS.items():
            problem = make()
            with np.errstate(all="ignore"):
                result = minimize(problem.function, problem.start, jac=True, method=method)
            evaluations += result.nfev
            count += problem.solved(result.fun, result.jac)
            if result.success and not problem.solved(result.fun, result.jac, 1000 * TOLERANCE):
                false.append(name)
        print(
            f"{title:15s} solved {count:3d}, false successes {len(false)} {false}, {evaluations} evaluations",
            flush=True,
        )


def overhead():
    """Microseconds per evaluation outside the objective, on diagonal quadratics; medians of 15."""
    print(f"{'n':>8s} {'history':>8s} {'numbopt':>10s} {'SciPy, 10':>10s} {'ratio':>6s}")
    for n, history_size, count in (
        (2, 10, 10),
        (10, 10, 300),
        (100, 10, 300),
        (1000, 10, 300),
        (1000, 100, 300),
        (100_000, 10, 60),
        (1_000_000, 10, 30),
    ):
        ratio, ours, theirs = measured_overhead(n, history_size, count)
        print(f"{n:8d} {history_size:8d} {1e6 * ours:10.2f} {1e6 * theirs:10.2f} {ratio:6.3f}", flush=True)


def measured_overhead(n, history_size, count):
    """Return ratio and times of an evaluation, without that of the objective, of numbopt and SciPy.

    BLAS uses one thread, with which SciPy is faster at every size here.
    """
    solvers = (numbopt_solver(qn.LBFGS, history_size), SOLVERS["SciPy L-BFGS-B 10"])
    return _compared_overhead(*solvers, *quadratic(n), count, rounds=15)


def calls():
    """Microseconds per evaluation outside the objective in whole calls of minimize, set-up included; medians of 51."""
    print(f"{'':10s} {'n':>5s} {'maxcor':>7s} {'numbopt':>8s} {'SciPy, 10':>10s} {'ratio':>6s}")
    for problem in (quadratic, rosenbrock):
        for n in (2, 10, 100, 1000):
            for maxcor in (None, 10):
                ratio, ours, theirs = measured_calls(problem, n, maxcor)
                print(
                    f"{problem.__name__:10s} {n:5d} {maxcor or 'default':>7} {1e6 * ours:8.2f} {1e6 * theirs:10.2f} "
                    f"{ratio:6.3f}",
                    flush=True,
                )


def measured_calls(problem, n, maxcor):
    """Return what `measured_overhead` returns for `minimize` with default tolerances, up to 600 evaluations."""

    def ours(function, x):
        numbopt_minimize(function, x, jac=True, options={"maxcor": maxcor})

    return _compared_overhead(ours, scipy_solver("L-BFGS-B", maxcor=10), *problem(n), 600, rounds=51)


def parameters():
    """Microseconds per evaluation outside the objective of one step of LBFGS, ten pairs, over ten Parameters."""
    print(f"{'n':>5s} {'gradients':>10s} {'numbopt':>8s} {'SciPy':>8s} {'ratio':>6s}")
    for n in (10, 1000):
        for returned in (False, True):
            ratio, ours, theirs = measured_parameters(n, returned, 300)
            gradients = "returned" if returned else "in place"
            print(f"{n:5d} {gradients:>10s} {1e6 * ours:8.2f} {1e6 * theirs:8.2f} {ratio:6.3f}", flush=True)


def measured_parameters(n, returned, count):
    """Return what `measured_overhead` returns for `LBFGS`, whose closure returns gradients or writes them in place."""
    function, start = quadratic(n)

    def ours():
        parameters = [Parameter(part.copy()) for part in np.split(start, 10)]
        optimizer = LBFGS(
            parameters,
            max_iter=10 * BUDGET,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=10,
            line_search_fn="strong_wolfe",
        )
        for parameter in parameters:
            parameter.grad = np.zeros_like(parameter.data)

        def objective(_):
            f, g = function(np.concatenate([parameter.data for parameter in parameters]))
            gradients = np.split(g, 10)
            if returned:
                return f, gradients
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad[:] = gradient
            return f

        return overhead_of(lambda timed, _: optimizer.step(lambda: timed(None)), objective, None, count)

    theirs = functools.partial(overhead_of, SOLVERS["SciPy L-BFGS-B 10"], function, start, count)
    return _compared(ours, theirs, rounds=15)


def _compared_overhead(ours, theirs, function, start, count, rounds):
    return _compared(
        *(functools.partial(overhead_of, solver, function, start, count) for solver in (ours, theirs)), rounds
    )


def _compared(ours, theirs, rounds):
    with threadpool_limits(1, "blas"):
        ours()  # compiles
        return interleaved(ours, theirs, rounds=rounds)


def overhead_of(solver, function, start, count) -> float:
    """Return the seconds per evaluation that a solver takes beside the objective, stopped after ``count``."""
    inside, evaluations = 0.0, 0

    def timed(x):
        nonlocal inside, evaluations
        begin = time.perf_counter()
        pair = function(x)
        evaluations += 1
        inside += time.perf_counter() - begin
        if evaluations >= count:
            raise Stop
        return pair

    begin = time.perf_counter()
    with contextlib.suppress(Stop):
        solver(timed, start)
    return (time.perf_counter() - begin - inside) / evaluations


def quadratic(n):
    """Return a quadratic of n variables with condition 1e4, and a start."""
    eigenvalues = np.geomspace(1, 1e4, n)

    def function(x):
        g = eigenvalues * x
        f = float(g @ x) / 2 - float(np.sum(x))
        g -= 1
        return f, g

    return function, np.zeros(n)


def rosenbrock(n):
    """Return the chained Rosenbrock function of n variables, and a start."""

    def function(x):
        a, b = 1 - x[:-1], x[1:] - x[:-1] ** 2
        g = np.zeros_like(x)
        g[1:] = 200 * b
        g[:-1] -= 2 * a + 400 * b * x[:-1]
        return float(a @ a + 100 * (b @ b)), g

    return function, np.tile([-1.2, 1.0], n // 2)


def first_call():
    """Seconds of the first call in a fresh process, after the imports: with an empty cache, and with a filled one."""
    program = (
        "import time, numpy, scipy.optimize, numbopt; begin = time.perf_counter();"
        "numbopt.minimize(lambda x: (float(x @ x), 2 * x), numpy.ones(10), jac=True);"
        "print(time.perf_counter() - begin)"
    )
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            run = functools.partial(
                subprocess.check_output, [sys.executable, "-c", program], env={**os.environ, "NUMBA_CACHE_DIR": folder}
            )
            print(f"cold {float(run()):.2f}, warm {float(run()):.2f}", flush=True)


PARTS = {part.__name__: part for part in (solved, accuracy, defaults, overhead, calls, parameters, first_call)}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"\n{name}: {PARTS[name].__doc__}")
        PARTS[name]()
