"""The table of all comparisons: what is measured against what, and how it has to come out.

`reports/cpu_report.py` prints it and asv tracks it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import fresh_process
import numpy as np
from measure import Measured, ratio
from peers import PEERS
from problems import used, work
from references import BOUND_BY_BYTES, C_LOOPS, THREADS, bytes_only, c_call

import numbopt

BIG = 10**7
FLOATS = ("float32", "float64")


@dataclass(frozen=True)
class Comparison:
    """Work of numbopt beside a reference.

    Attributes
    ----------
    part : str
        The part of the report.
    work, reference : str
        What is compared.
    bar : float or None
        The largest ratio, time(ours) / time(reference), that is good enough.
    function, arguments
        Called with these arguments it measures. It raises an ImportError or OSError where the reference is missing.
    """

    part: str
    work: str
    reference: str
    bar: float | None
    function: Callable[..., Measured]
    arguments: tuple[object, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.work} / {self.reference}"

    def measure(self) -> Measured:
        numbopt.set_num_threads(THREADS)
        return self.function(*self.arguments)


def against_bytes(name, dtype):
    moved = bytes_only(work.arrays(BIG, 2 + BOUND_BY_BYTES[name], dtype))
    return ratio(work.step(name, BIG, dtype), moved, seconds=2)


def against_c(name, dtype):
    return ratio(work.step(name, BIG, dtype), c_call(name, work.arrays(BIG, 4, dtype)), seconds=2)


def against_peer(peer, dtype):
    parameter, gradient = work.arrays(BIG, 2, dtype)
    theirs = PEERS[peer]([parameter], [gradient])
    return ratio(work.step("Adam", BIG, dtype), theirs, seconds=2)


def against_peer_small(peer, count, size):
    values, gradients = ([np.full(size, 1e-3, np.float32) for _ in range(count)] for _ in range(2))
    theirs = PEERS[peer](values, gradients)
    return ratio(work.adam_over(count, size)[0].step, theirs)


def against_plain_adam(options):
    return ratio(work.step("Adam", BIG, **options()), work.step("Adam", BIG), seconds=2)


def as_used(ours, theirs, *arguments):
    numbopt.set_num_threads(1)
    return ratio(ours(*arguments), theirs(*arguments))


def average(avg_fn, threads):
    numbopt.set_num_threads(threads)
    averages = numbopt.AveragedParameters(work.arrays(BIG, 1), avg_fn)
    averages.update_parameters()  # copies; from now on they are averaged
    return ratio(averages.update_parameters, bytes_only(work.arrays(BIG, 2), threads), seconds=2)


def lbfgs_overhead(n, history_size, count):
    from reports import lbfgs_report  # needs SciPy

    return lbfgs_report.measured_overhead(n, history_size, count)


def minimize_overhead(n):
    from reports import lbfgs_report

    return lbfgs_report.measured_calls(lbfgs_report.rosenbrock, n, maxcor=10)


def lbfgs_over_ten_parameters(n):
    from reports import lbfgs_report

    return lbfgs_report.measured_parameters(n, returned=False, count=300)


def whole_minimize(n):
    import scipy.optimize
    from threadpoolctl import threadpool_limits

    def run(minimize, method):
        x0 = np.full(n, -0.5)
        minimize(scipy.optimize.rosen, x0, jac=scipy.optimize.rosen_der, method=method, options={"maxiter": 30})

    with threadpool_limits(1, "blas"):
        return ratio(lambda: run(numbopt.minimize, "lbfgs"), lambda: run(scipy.optimize.minimize, "L-BFGS-B"))


def lbfgs_with_new_gradients(n):
    from reports import lbfgs_report

    return lbfgs_report.measured_parameters(n, returned=True, count=300)


def _as_used():
    """Yield what is done as real codes do it; float64, one thread."""
    for count, size, bar, torch_bar in (
        (1, 4, 0.7, 0.2),
        (1, 100, 0.7, 0.2),
        (1, 1000, 0.5, 0.2),
        (1, 10_000, 0.5, None),
        (10, 100, 0.15, 0.1),
        (1000, 100, 0.03, 0.03),
    ):
        title = f"Adam, new gradients, {count} x {size}"
        work_of = (used.adam, used.numpy_adam, count, size)
        yield Comparison("used", title, "NumPy as scripts carry it", bar, as_used, work_of)
        work_of = (used.adam, used.torch_adam, count, size)
        yield Comparison("used", title, "torch fused, from_numpy", torch_bar, as_used, work_of)
    for title, function, bar in (
        ("lr edited at every step", used.edited_lr, 1.6),
        ("with a scheduler", used.scheduled, 2.2),
        ("state[p]['step'] = k at every step", used.edited_step, 3.0),
    ):
        plain = functools.partial(used.adam, 1)
        yield Comparison("used", f"Adam, {title}, 1 x 100", "plain", bar, as_used, (function, plain, 100))
    work_of = (used.minimize_adam, used.numpy_adam_steps, 100, 300)
    yield Comparison("used", "minimize('adam') beside the objective, n = 100", "Adam in NumPy", 0.8, as_used, work_of)
    title = "L-BFGS over ten Parameters, new gradients, an evaluation beside the objective, n = 100"
    yield Comparison("used", title, "SciPy L-BFGS-B, 10", 0.35, lbfgs_with_new_gradients, (100,))


def _comparisons():
    yield from _as_used()
    for dtype in FLOATS:
        for name in BOUND_BY_BYTES:
            yield Comparison("limits", f"{name}, 1e7 {dtype}", "bytes only", 1.15, against_bytes, (name, dtype))
        for name in C_LOOPS:
            yield Comparison("limits", f"{name}, 1e7 {dtype}", "C", 1.10, against_c, (name, dtype))
    fused_bars = {"float32": 1 / 1.2, "float64": 1 / 1.1}
    for dtype in FLOATS:
        for peer in PEERS:
            bar = fused_bars[dtype] if peer == "torch fused" else None
            yield Comparison("peers", f"Adam, 1e7 {dtype}", peer, bar, against_peer, (peer, dtype))
    for work_done, count, size, fused_bar in (
        ("step(), one parameter of 10", 1, 10, 1 / 7),
        ("step(), 1000 parameters of 100", 1000, 100, 1 / 80),
    ):
        for peer in PEERS:
            bar = fused_bar if peer == "torch fused" else None
            yield Comparison("peers", work_done, peer, bar, against_peer_small, (peer, count, size))
    for guard, bar, options in (
        ("max_grad_norm", 1.3, lambda: {"max_grad_norm": 1.0}),
        ("bounds", 1.1, lambda: {"bounds": (-1.0, 1.0)}),
        ("bounds for each element", None, lambda: {"bounds": (np.full(BIG, -1.0), np.full(BIG, 1.0))}),
        ("nonfinite='raise'", None, lambda: {"nonfinite": "raise"}),
    ):
        yield Comparison("around", f"Adam with {guard}, 1e7 float32", "plain Adam", bar, against_plain_adam, (options,))
    for threads in (1, THREADS):
        for name, avg_fn in (("EMA", numbopt.get_ema_avg_fn()), ("SWA", numbopt.get_swa_avg_fn())):
            title = f"{name} update, 1e7 float32, threads: {threads}"
            yield Comparison("around", title, "bytes only", 1.15, average, (avg_fn, threads))
    for n, history_size, count, bar in (
        (10, 10, 300, 0.15),
        (100, 10, 300, 0.15),
        (1000, 10, 300, 0.20),
        (1000, 100, 300, 0.9),
        (10**5, 10, 60, 0.45),
        (10**6, 10, 30, 0.45),
    ):
        title = f"L-BFGS, an evaluation beside the objective, n = {n}, history {history_size}"
        yield Comparison("lbfgs", title, "SciPy L-BFGS-B, 10", bar, lbfgs_overhead, (n, history_size, count))
    for n, bar in ((10, 0.15), (100, 0.15), (1000, 0.20)):
        title = f"minimize with its set-up, an evaluation beside the objective, n = {n}, history 10"
        yield Comparison("lbfgs", title, "SciPy L-BFGS-B, 10", bar, minimize_overhead, (n,))
    title = "L-BFGS over ten Parameters, an evaluation beside the objective, n = 10, history 10"
    yield Comparison("lbfgs", title, "SciPy L-BFGS-B, 10", 0.35, lbfgs_over_ten_parameters, (10,))
    for n in (10, 1000):
        yield Comparison("lbfgs", f"minimize(rosen), n = {n}", "SciPy L-BFGS-B", None, whole_minimize, (n,))
    yield Comparison("start", "import numbopt (process)", "import numpy", 1.3, fresh_process.import_against_numpy)


COMPARISONS = {comparison.name: comparison for comparison in _comparisons()}
