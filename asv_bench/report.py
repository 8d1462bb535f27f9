"""Measure numbopt against its peers and the limit of the machine, and print the table.

    python asv_bench/report.py

Each line is a ratio of times measured side by side in this run, smaller is better, beside the bar it has to meet. torch
is compared where it is installed. Takes about three minutes.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numba
import numpy as np
import references
from measure import ratio

import numbopt

try:
    import torch
except ImportError:
    torch = None

BIG = 10**7
OPTIONS = {
    "momentum": ("SGD", {"momentum": 0.9}),
    "AMSGrad": ("Adam", {"amsgrad": True}),
}
BOUND_BY_BYTES = ("SGD", "momentum", "Adam", "AdamW", "AMSGrad")


def main():
    """Print the report."""
    numbopt.set_num_threads(references.THREADS)
    print(f"numbopt {numbopt.__version__}, numba {numba.__version__}, NumPy {np.__version__}, ", end="")
    print(f"torch {torch.__version__ if torch else '(not installed)'}, Python {platform.python_version()}, ", end="")
    print(f"{references.THREADS} threads of {os.cpu_count()} processors, {_processor()}\n")
    print("| work | numbopt | reference | ratio | bar |\n|---|---|---|---|---|")
    big_buffers()
    if torch:
        against_torch()
    small_steps()
    fresh_processes()


def line(work, reference, measured, bar):
    """Print one line: a ratio, our time, the time of the reference."""
    value, ours, other = measured
    print(f"| {work} | {_time(ours)} | {reference} {_time(other)} | {value:.3f} | {bar} |", flush=True)


def absolute(work, seconds, bar):
    """Print one line without a reference."""
    print(f"| {work} | {_time(seconds)} | | | {bar} |", flush=True)


def optimizer(name, parameters, **options):
    """Return the optimizer that a name in this report stands for."""
    cls, more = OPTIONS.get(name, (name, {}))
    return getattr(numbopt, cls)(parameters, **more, **options)


def big_buffers():
    """Print each rule over 1e7 float32 elements."""
    loops = references.c_loops()
    for name, rows in references.ROWS.items():
        arrays = references.arrays(BIG, 4 if name not in BOUND_BY_BYTES else rows + 2)
        parameter, gradient = references.arrays(BIG, 2)
        opt = optimizer(name, [parameter])
        work = f"{name}, 1e7 float32"
        if name in BOUND_BY_BYTES:
            measured = ratio(lambda: opt.step(grads=[gradient]), references.bytes_only(rows, arrays), seconds=4)  # noqa: B023
            line(work, "bytes only", measured, "<= 1.15")
        elif loops:
            measured = ratio(lambda: opt.step(grads=[gradient]), references.c_call(loops[name], arrays), seconds=4)  # noqa: B023
            line(work, "C", measured, "<= 1.10")


def against_torch():
    """Print Adam over 1e7 elements beside torch's fused kernel."""
    torch.set_num_threads(references.THREADS)
    for dtype, bar in (("float32", 1.2), ("float64", 1.1)):
        parameter, gradient = references.arrays(BIG, 2, np.dtype(dtype))
        opt = numbopt.Adam([parameter])
        theirs = torch_adam([torch.from_numpy(parameter.copy())])
        measured = ratio(lambda: opt.step(grads=[gradient]), theirs.step, seconds=4)  # noqa: B023
        line(f"Adam, 1e7 {dtype}", "torch fused", measured, f"<= {1 / bar:.2f}")


def torch_adam(tensors):
    """Return torch's fused Adam with gradients in place."""
    for tensor in tensors:
        tensor.requires_grad_()
        tensor.grad = torch.full_like(tensor, 1e-3)
    return torch.optim.Adam(tensors, fused=True)


def small_steps():
    """Print the time of steps that are mostly overhead."""
    opt, _ = adam_over(1, 10)
    if torch:
        line(
            "step(), one parameter of 10", "torch fused", ratio(opt.step, torch_adam([torch.zeros(10)]).step), "<= 1/7"
        )
    absolute("step(), one parameter of 10", _median(opt.step), "<= 3 us")
    opt, parameters = adam_over(1000, 100)
    if torch:
        theirs = torch_adam([torch.zeros(100) for _ in range(1000)])
        line("1000 parameters of 100", "torch fused", ratio(opt.step, theirs.step, seconds=3), "<= 1/80")
    absolute("1000 parameters of 100", _median(opt.step), "<= 60 us")
    absolute("zero_grad(), 1000 parameters of 100", _median(opt.zero_grad), "<= 30 us")

    arrays, grads = ([np.full(100, 1e-3, np.float32) for _ in range(1000)] for _ in range(2))
    plain = numbopt.Adam(arrays)
    absolute("the same as plain arrays with grads=", _median(lambda: plain.step(grads=grads)), "<= 60 us")

    def rebuild():
        for parameter in parameters[:20]:
            parameter.grad = None if parameter.grad is not None else grads[0]

    both = _median(lambda: (rebuild(), opt.step()))
    absolute("rebuilding after a change, the step included", both - _median(rebuild), "<= 300 us")
    for parameter in parameters[::2]:
        parameter.grad = None
    absolute("half the gradients None", _median(opt.step), "<= 100 us")

    opt, parameters = adam_over(1000, 100)
    for step in range(100):
        for i, parameter in enumerate(parameters):
            parameter.grad = grads[0] if i % 100 <= step else None
        opt.step()
    absolute("100 distinct step counts", _median(opt.step), "<= 100 us")


def adam_over(count, size):
    """Return Adam over so many Parameters with gradients, and them."""
    parameters = [numbopt.Parameter(np.zeros(size, np.float32)) for _ in range(count)]
    for parameter in parameters:
        parameter.grad = np.full(size, 1e-3, np.float32)
    opt = numbopt.Adam(parameters)
    opt.step()
    return opt, parameters


def fresh_processes():
    """Print import and first step in new processes."""
    program = "import numpy as np, numbopt; numbopt.Adam([np.zeros(10)]).step(grads=[np.ones(10)])"
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        times = [(_process("import numbopt", environment), _process("import numba", environment)) for _ in range(9)]
        line(
            "import numbopt (process)",
            "import numba",
            (statistics.median(a / b for a, b in times), *map(statistics.median, zip(*times, strict=True))),
            "<= 1.2",
        )
        absolute("process to first step done, cold cache", _process(program, environment), "<= 1.5 s")
        warm = statistics.median(_process(program, environment) for _ in range(7))
        absolute("process to first step done, warm cache", warm, "<= 0.6 s")


def _process(program, environment):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    return time.perf_counter() - start


def _median(function):
    return ratio(function, lambda: None)[1]


def _time(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _processor():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(text.split(":")[1].strip() for text in lines if text.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
