"""Measure on an NVIDIA GPU, print the table and write it to results_gpu.md.

    python asv_bench/gpu_report.py

Needs a clone, a GPU and the package with its extra cuda12 or cuda13. torch with CUDA, CuPy, JAX and compute-sanitizer
are used where they are installed; what is missing is said in its place. Times on the GPU are taken by its events, all
sides in turn in one run; ratios are medians, smaller is better.
"""

import argparse
import functools
import importlib.metadata
import itertools
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import numbopt
from numbopt import _device
from numbopt.device_array import zeros

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
SINGLE = np.dtype(np.float32)
HEAD = ["| work | numbopt | beside it | ratio | bar |", "|---|---|---|---|---|"]


class Sizes(NamedTuple):
    """How much is measured."""

    large: int = 100_000_000
    small: int = 1000
    parameters: int = 1000
    rounds: int = 15
    host_steps: int = 300


RULES = {
    "SGD": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "Adam": ("Adam", {}),
    "AdamW": ("AdamW", {}),
    "AMSGrad": ("Adam", {"amsgrad": True}),
    "Adamax": ("Adamax", {}),
    "NAdam": ("NAdam", {}),
    "RAdam": ("RAdam", {}),
    "Adagrad": ("Adagrad", {}),
    "Adadelta": ("Adadelta", {}),
    "RMSprop": ("RMSprop", {}),
    "Rprop": ("Rprop", {}),
    "ASGD": ("ASGD", {}),
}
FUSED = ("SGD", "momentum", "Adam", "AdamW", "AMSGrad", "Adagrad")
"""Those that torch has as fused kernels."""


def main():
    """Write the report."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--large", type=int, default=Sizes().large, help="elements of a large parameter")
    lines = report(Sizes(large=arguments.parse_args().large))
    (HERE / "results_gpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def report(sizes):
    """Return the lines of the report; print each part when it is done."""
    lines = ["# Measured on a GPU"]
    for part in (machine, correct, bandwidth, host_time, other_libraries, graph, sanitizer):
        done = ["", *part(sizes)]
        print("\n".join(done), flush=True)
        lines += done
    return lines


# ---- the parts


def machine(sizes):
    """Return what was measured on."""
    driver = _device.device()._driver
    ordinal = _device.device().ordinal
    name = ask(driver.cuDeviceGetName(128, ask(driver.cuDeviceGet(ordinal)))).split(b"\0")[0].decode()
    cuda = ask(driver.cuDriverGetVersion())
    names = ("numbopt", "numba", "numba-cuda", "cuda-bindings", "numpy", "torch", "cupy-cuda12x", "cupy-cuda13x", "jax")
    packages = ", ".join(f"{name} {version}" for name in names if (version := version_of(name)))
    return [
        f"Made by `python asv_bench/gpu_report.py` on {name}, driver for CUDA {cuda // 1000}.{cuda % 1000 // 10}, "
        f"Python {platform.python_version()}, {packages}."
    ]


def correct(sizes):
    """Return how far the GPU is from the CPU, for every row of the tests' table of cases, and from torch."""
    from cases import CASES, DTYPES

    worst = {}
    for case in CASES:
        for dtype in DTYPES:
            host, device = (trained(case.cls, case.options, dtype, place) for place in ("cpu", "cuda"))
            worst[case.cls] = max(worst.get(case.cls, 0.0), distance(host, device))
    lines = [
        "Ten steps on the GPU against the same on the CPU, all rows of `tests/cases.py` in four dtypes; the largest"
    ]
    lines += [
        "difference of a parameter, in units of the dtype's rounding error (relative to 1 and larger numbers):",
        "",
    ]
    lines += ["| optimizer | against the CPU | against torch fused, float32 |", "|---|---|---|"]
    for cls, units in worst.items():
        beside = "" if cls not in FUSED else fused_or_why_not(lambda torch, cls=cls: distance_to_torch(torch, cls))
        lines.append(f"| {cls} | {units:.3g} | {beside} |")
    return lines


def bandwidth(sizes):
    """Return the bandwidth of each rule beside that of a copy, and the time beside torch's fused kernels."""
    gpu, size = _device.device(), sizes.large
    source, target = zeros(size, SINGLE, "cuda"), zeros(size, SINGLE, "cuda")
    copy = gpu.copying(target.address, source.address, source.nbytes)
    lines = [
        f"One parameter of {size:.0e} float32 elements; bandwidths count the bytes that must be read and written:",
        "",
    ]
    lines += HEAD
    for name in RULES:
        step, states = large_step(name, size)
        moved = SINGLE.itemsize * size * (3 + 2 * states)
        ours, copied, ratio = on_gpu(step, copy, sizes.rounds)
        ratio = (copied / (2 * source.nbytes)) / (ours / moved)
        bar = ">= 0.90" if name == "Adam" else ""
        lines.append(
            f"| {name} | {1e3 * ours:.3f} ms, {1e-9 * moved / ours:.0f} GB/s | copy: "
            f"{2e-9 * source.nbytes / copied:.0f} GB/s | {ratio:.3f} of its bandwidth | {bar} |"
        )
    del source, target, copy
    for name in FUSED:
        lines.append(f"| {name} | {fused_or_why_not(lambda torch, name=name: beside_torch(torch, name, sizes))} |")
    aligned, misaligned = large_step("Adam", size)[0], large_step("Adam", size, shift=1)[0]
    ours, scalar, ratio = on_gpu(aligned, misaligned, sizes.rounds)
    lines.append(f"| Adam, 128 bits at a time | {1e3 * ours:.3f} ms | 32 bits: {1e3 * scalar:.3f} ms | {ratio:.3f} | |")
    return lines


def host_time(sizes):
    """Return how long the host is busy with a step; the GPU works on its own."""
    lines = ["Time of the host for `step()`:", "", *HEAD]
    for count, size in ((1, 10), (sizes.parameters, sizes.small)):
        parameters = [numbopt.Parameter(np.zeros(size, SINGLE), device="cuda") for _ in range(count)]
        for parameter in parameters:
            parameter.grad = parameter.data
        ours = on_host(numbopt.Adam(parameters).step, sizes)

        def theirs(torch, count=count, size=size):
            tensors = [torch.zeros(size, device="cuda", requires_grad=True) for _ in range(count)]
            for tensor in tensors:
                tensor.grad = torch.zeros_like(tensor)
            return f"torch fused: {1e6 * on_host(torch.optim.Adam(tensors, fused=True).step, sizes):.1f} us"

        lines.append(f"| Adam, {count} of {size} | {1e6 * ours:.1f} us | {fused_or_why_not(theirs)} | | <= 30 us |")
    return lines


def other_libraries(sizes):
    """Return that arrays of other libraries are parameters and gradients, and what a step with new gradients costs."""
    lines = ["Arrays of other libraries, as parameters in place (JAX: gradients only) and as gradients:", ""]
    lines += ["| library | result | time of the host for a step with another gradient |", "|---|---|---|"]
    for name, make in (("cupy", cupy_arrays), ("torch", torch_arrays), ("jax", jax_arrays)):
        try:
            parameter, gradients, to_numpy = make()
        except Exception as error:  # a missing package, or one without CUDA, says so in its own way
            lines.append(f"| {name} | not tried: {type(error).__name__}: {error} | |")
            continue
        optimizer = numbopt.SGD([parameter], lr=0.5)
        for gradient in gradients:
            optimizer.step(grads=[gradient])
        right = np.array_equal(to_numpy(parameter), np.full(1000, -0.5 * len(gradients), SINGLE))
        seconds = on_host(functools.partial(step_with_next, optimizer, itertools.cycle(gradients)), sizes)
        lines.append(f"| {name} | {'right' if right else 'WRONG'} | {1e6 * seconds:.1f} us |")
    return lines


def graph(sizes):
    """Return whether a step refuses to be captured in a CUDA graph."""

    def captured(torch):
        tensor = torch.zeros(1000, device="cuda")
        gradient = torch.ones_like(tensor)
        optimizer = numbopt.SGD([tensor], lr=0.5)
        optimizer.step(grads=[gradient])
        try:
            with torch.cuda.graph(torch.cuda.CUDAGraph()):
                optimizer.step(grads=[gradient])
        except RuntimeError as error:
            return f"refused, {error}"
        return "NOT refused"

    return [f"A step within `torch.cuda.graph`: {fused_or_why_not(captured)}."]


def sanitizer(sizes):
    """Return what compute-sanitizer says of some steps."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return ["compute-sanitizer: not installed."]
    script = (
        "import numpy as np, numbopt\n"
        "for n in (1, 3, 1027, 100_000):\n"
        "    p = numbopt.Parameter(np.ones(n, np.float32), device='cuda')\n"
        "    opt = numbopt.Adam([p], max_grad_norm=1.0, amsgrad=True)\n"
        "    for _ in range(3):\n"
        "        opt.step(grads=[p.data])\n"
        "    opt.zero_grad()\n"
        "numbopt.cuda.synchronize()\n"
    )
    command = [tool, "--error-exitcode", "1", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [f"compute-sanitizer: {done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr[-300:]}"]


# ---- work


def trained(cls, options, dtype, device):
    """Return a parameter after ten steps."""
    generator = np.random.default_rng(0)
    start, *gradients = (random_array(generator, dtype) for _ in range(11))
    parameter = numbopt.Parameter(start, device=device)
    optimizer = getattr(numbopt, cls)([parameter], **options)
    for gradient in gradients:
        optimizer.step(grads=[numbopt.Parameter(gradient, device=device).data])
    return parameter.to("cpu").data


def random_array(generator, dtype):
    values = generator.standard_normal(1027)
    return (values + 1j * generator.standard_normal(1027) if np.dtype(dtype).kind == "c" else values).astype(dtype)


def distance(one, other):
    """Return the largest difference in units of rounding errors."""
    return float(np.max(np.abs(one - other) / np.maximum(np.abs(one), 1)) / np.finfo(one.dtype).eps)


def large_step(name, size, shift=0):
    """Return a step over one parameter, ``shift`` elements off alignment, and its number of state arrays."""
    cls, options = RULES[name]
    parameter, gradient = (zeros(size + shift, SINGLE, "cuda")[shift : size + shift] for _ in range(2))
    optimizer = getattr(numbopt, cls)([parameter], **options)
    return functools.partial(optimizer.step, grads=[gradient]), len(optimizer.rule_for(optimizer.defaults).state)


def step_with_next(optimizer, gradients):
    optimizer.step(grads=[next(gradients)])


def torch_optimizer(torch, name, tensors):
    cls, options = RULES[name]
    return getattr(torch.optim, cls)(tensors, fused=True, **options)


def beside_torch(torch, name, sizes):
    tensor = torch.zeros(sizes.large, device="cuda", requires_grad=True)
    tensor.grad = torch.zeros_like(tensor)
    theirs = torch_optimizer(torch, name, [tensor]).step
    ours, reference, ratio = on_gpu(large_step(name, sizes.large)[0], theirs, sizes.rounds)
    return f"{1e3 * ours:.3f} ms | torch fused: {1e3 * reference:.3f} ms | {ratio:.3f} | <= 1.00"


def distance_to_torch(torch, name):
    generator = np.random.default_rng(0)
    start, *gradients = (random_array(generator, SINGLE) for _ in range(11))
    tensor = torch.tensor(start, device="cuda", requires_grad=True)
    optimizer = torch_optimizer(torch, name, [tensor])
    for gradient in gradients:
        tensor.grad = torch.tensor(gradient, device="cuda")
        optimizer.step()
    cls, options = RULES[name]
    return f"{distance(trained(cls, options, SINGLE, 'cuda'), tensor.detach().cpu().numpy()):.3g}"


def cupy_arrays():
    import cupy

    return cupy.zeros(1000, SINGLE), [cupy.ones(1000, SINGLE) for _ in range(4)], cupy.asnumpy


def torch_arrays():
    import torch

    ones = [torch.ones(1000, device="cuda") for _ in range(4)]
    return torch.zeros(1000, device="cuda"), ones, lambda tensor: tensor.cpu().numpy()


def jax_arrays():
    import jax

    gpu = jax.devices("cuda")[0]
    ones = [jax.device_put(np.ones(1000, SINGLE), gpu) for _ in range(4)]
    parameter = numbopt.Parameter(np.zeros(1000, SINGLE), device="cuda")
    return parameter, ones, lambda p: p.to("cpu").data


def fused_or_why_not(function):
    """Return what a function of torch says, or why it cannot be asked."""
    try:
        import torch

        if not torch.cuda.is_available():
            return "torch has no CUDA here"
    except ImportError:
        return "torch is not installed"
    return function(torch)


# ---- time


def on_gpu(ours, reference, rounds):
    """Return the median times of two functions on the GPU, in seconds, and the median of their ratios."""
    for _ in range(3):
        ours()
        reference()
    times = [(seconds_on_gpu(ours), seconds_on_gpu(reference)) for _ in range(rounds)]
    first, second = zip(*times, strict=True)
    return statistics.median(first), statistics.median(second), statistics.median(a / b for a, b in times)


def seconds_on_gpu(function: Callable[[], object], repeats: int = 5) -> float:
    """Return what a function takes on the GPU, by its own events."""
    gpu = _device.device()
    driver = gpu._driver
    ask(gpu.activate())
    start, end = (ask(driver.cuEventCreate(0)) for _ in range(2))
    ask(driver.cuEventRecord(start, _device.current_stream()))
    for _ in range(repeats):
        function()
    ask(driver.cuEventRecord(end, _device.current_stream()))
    ask(driver.cuEventSynchronize(end))
    milliseconds = ask(driver.cuEventElapsedTime(start, end))
    for event in (start, end):
        ask(driver.cuEventDestroy(event))
    return 1e-3 * milliseconds / repeats


def on_host(function, sizes):
    """Return the median time that a function keeps the host, in seconds; it waits for the GPU in between only."""
    times = []
    for step in range(sizes.host_steps):
        if step % 50 == 0:
            numbopt.cuda.synchronize()
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    numbopt.cuda.synchronize()
    return statistics.median(times)


def ask(result):
    """Return what the driver answered, or raise its error."""
    return _device._check(result)


def version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
