"""Measure on an NVIDIA GPU, print the tables, and write them to results_gpu.md.

    pip install -e ".[cuda13,test]"        # or cuda12; torch, CuPy and JAX as they are installed
    python asv_bench/reports/gpu_report.py

Takes some minutes and 8 GB of the GPU. What is not installed is left out, with a word. Times on the GPU are of events
around each call, compared calls taking turns, and the median is shown; times on the host end before the GPU has done
the work. A section that fails says so in the tables, and the exit status is 1.
"""

import argparse
import functools
import gc
import importlib.metadata
import inspect
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from itertools import groupby
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from cases import problem
from cases.functions import quadratic, starting_point
from cases.optimizers import CASES, CLOSURE_CASES, DTYPES
from problems.work import OPTIONS, arrays, optimizer
from support.gpu.libraries import LIBRARIES
from support.runs import DeviceRun, ParameterRun
from support.trajectory import assert_same, follow

import numbopt
from numbopt._devices.arrays import copy_values, zeros
from numbopt._devices.driver import _check, device
from numbopt._launch import cuda as _device_table
from numbopt._launch.calls import run

ROOT = Path(__file__).parents[2]
BIG = 10**8
FLOAT = np.dtype(np.float32)
STATES = {  # arrays of each rule
    "SGD": 0, "momentum": 1, "Adam": 2, "AdamW": 2, "AMSGrad": 3, "Adamax": 2, "NAdam": 2, "RAdam": 2,
    "Adagrad": 1, "Adadelta": 2, "RMSprop": 1, "Rprop": 2, "ASGD": 1,
}  # fmt: skip
FUSED = ("SGD", "momentum", "Adam", "AdamW", "AMSGrad", "Adagrad")  # what torch has fused kernels for
HOLD = 2**25  # numbers to copy before a call is timed, so that the GPU is busy until all of the call is launched
RUNS, CALLS = 25, 100
TORCH_DEVICE = "cuda"
MANY = 1000  # parameters, of as many elements
BAR = 30e-6  # seconds on the host
MISSING = "not here"


def main():
    """Write the report; return 1 if a section failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "asv_bench" / "results_gpu.md")
    parser.add_argument("--elements", type=int, default=BIG, help="of the large parameters")
    arguments = parser.parse_args()
    if not numbopt.cuda.is_available():
        numbopt.Parameter([1.0], device="cuda")  # says what is missing
    return report(arguments.output, arguments.elements)


def report(output, size):
    """Write all sections to a file as they come, and print them; return 1 if one failed, else 0."""
    failed = 0
    with open(output, "w", encoding="utf-8") as file:

        def write(text):
            print(text, flush=True)
            print(text, file=file, flush=True)

        write("# Measured on a GPU\n\nMade by `python asv_bench/reports/gpu_report.py`.\n\n" + machine())
        for section in (correctness, tests, bandwidth, memory_access, blocks, host, sanitizer):
            title, _, text = (inspect.getdoc(section) or "").partition(". ")
            write(f"\n## {title}\n\n{text}\n")
            try:
                for row in section(size):
                    write("| " + " | ".join(map(str, row)) + " |")
            except Exception:
                failed = 1
                write(f"\nFailed:\n\n```\n{traceback.format_exc()}```")
            gc.collect()
    return failed


def head(*names):
    """Return the first two rows of a table."""
    return names, ["---"] * len(names)


def machine():
    """Return what all was measured with."""
    gpu, driver = device(), device()._driver
    name = _check(driver.cuDeviceGetName(128, gpu.ordinal)).partition(b"\0")[0].decode()
    cuda = _check(driver.cuDriverGetVersion())
    release = output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").strip()
    versions = [f"Python {platform.python_version()}", f"numbopt {numbopt.__version__}"]
    for package in ("numba", "numba-cuda", "cuda-bindings", "numpy"):
        versions.append(f"{package} {importlib.metadata.version(package)}")
    for library in LIBRARIES:
        found = instance(library)
        versions.append(f"{library.__name__}: {found if isinstance(found, str) else found.version}")
    cuda = f"{cuda // 1000}.{cuda % 1000 // 10}"
    return f"{name}, driver {release} for CUDA {cuda}; {os.cpu_count()} processors; {', '.join(versions)}."


def output_of(*command):
    """Return what a program prints, or why it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        return f"({error})"


def instance(library):
    """Return one of `LIBRARIES`, or why there is none."""
    try:
        return library()
    except (ImportError, RuntimeError) as error:
        return f"{MISSING} ({error})"


def torch_here():
    """Return torch where it finds a GPU, else None."""
    try:
        import torch
    except ImportError:
        return None
    return torch if TORCH_DEVICE == "cpu" or torch.cuda.is_available() else None


# ---- is it right?


def correctness(size):
    """Results. All rows of the tests' table of cases in four dtypes, 20 steps.

    The largest difference from the CPU, in machine epsilons of the larger of 1 and the value; and whether all is within
    torch's own tolerances of torch's kernels on the GPU, the fused ones where it has some.
    """
    yield from head("algorithm", "rows", "from the CPU, eps", "torch on the GPU")
    torch = torch_here()
    for cls, group in groupby(CASES, key=lambda case: case.cls):
        rows = [(case, dtype) for case in group for dtype in DTYPES]
        worst, unequal = 0.0, []
        for case, dtype in rows:
            ours = trajectory(DeviceRun(case, "one group", problem.starting_parameters(dtype)), dtype)
            host = trajectory(ParameterRun(case, "one group", problem.starting_parameters(dtype)), dtype)
            worst = max(worst, difference(ours, host, dtype))
            if torch:
                try:
                    assert_same(ours, trajectory(torch_run(case, dtype), dtype), case, dtype, "")
                except AssertionError:
                    unequal.append(f"{case.name} {dtype}")
        yield cls, len(rows), f"{worst:.3g}", f"differs: {unequal}" * bool(unequal) or ("equal" if torch else MISSING)
    for case in CLOSURE_CASES:
        host, device = (minimum(case, device) for device in ("cpu", "cuda"))
        worst = np.max(np.abs(host - device) / np.maximum(np.abs(host), 1)) / np.finfo(float).eps
        yield case.id, 1, f"{worst:.3g}", ""


def trajectory(run, dtype):
    """Return what an optimizer does to the problem, step by step."""
    return follow(run, dtype, "every gradient", kept_steps=problem.STEPS)


def torch_run(case, dtype):
    """Return torch's run of a case on the GPU."""
    from support.torch_runs import FUSED as CLASSES
    from support.torch_runs import TorchRun

    fused = case.cls in CLASSES and np.dtype(dtype).kind == "f"
    return TorchRun(case, dtype, "one group", device=TORCH_DEVICE, fused=fused)


def difference(actual, expected, dtype):
    """Return the largest difference between two trajectories, in machine epsilons."""
    return max(
        np.max(np.abs(actual[name] - expected[name]) / np.maximum(np.abs(expected[name]), 1), initial=0)
        for name in expected.dtype.names
    ) / float(np.finfo(dtype).eps)


def minimum(case, device):
    """Return where an optimizer that needs a closure gets to in a few steps."""
    parameter = numbopt.Parameter(starting_point("float64"), device=device)
    found = getattr(numbopt, case.cls)([parameter], **case.options)

    def closure():
        loss, gradient = quadratic(np.array(parameter.to("cpu").data))
        return loss, [numbopt.Parameter(gradient, device=device).data]

    for _ in range(5):
        found.step(closure)
    return np.array(parameter.to("cpu").data)


def tests(size):
    """Tests. What the tests say that run on this GPU.

    Arrays and streams of CuPy, torch, Numba and JAX, groups, clipping, L-BFGS, moves, checkpoints, threads, forks, CUDA
    graphs.
    """
    yield from head("tests", "result")
    folder = ROOT / "tests" / "cuda"
    paths = [folder / "real", *sorted(folder.glob("test_cuda_*.py"))]
    # What other libraries warn of is not ours to fail for.
    done = python("-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", *map(str, paths))
    yield "pytest tests/cuda/real tests/cuda/test_cuda_*.py", summary(done)


def python(*arguments, before=()):
    """Run Python in the repository with this numbopt."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [*before, sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def summary(done):
    """Return the last line of what a process printed; all of the end if it failed."""
    lines = (done.stdout + done.stderr).strip().splitlines() or ["(nothing)"]
    return lines[-1] if done.returncode == 0 else f"exit status {done.returncode}: " + " <br> ".join(lines[-15:])


# ---- how fast is it on the GPU?


def gpu_times(functions):
    """Return the median time on the GPU of each function, in seconds; they take turns."""
    driver = device()._driver
    events = [[[event(driver) for _ in "ab"] for _ in range(RUNS)] for _ in functions]
    hold = copying(HOLD)
    for _ in range(3):
        for function in functions:
            function()
    for turn in range(RUNS):
        for function, pairs in zip(functions, events, strict=True):
            start, end = pairs[turn]
            hold()
            _check(driver.cuEventRecord(start, 0))
            function()
            _check(driver.cuEventRecord(end, 0))
    numbopt.cuda.synchronize()
    milliseconds = [statistics.median(_check(driver.cuEventElapsedTime(*pair)) for pair in pairs) for pairs in events]
    for pair in (pair for pairs in events for pair in pairs):
        for found in pair:
            _check(driver.cuEventDestroy(found))
    return [value / 1e3 for value in milliseconds]


def event(driver):
    """Return a new event."""
    return _check(driver.cuEventCreate(0))


def random_array(size):
    """Return an array of random numbers on the GPU."""
    array = zeros(size, FLOAT, "cuda")
    copy_values(array, _random_numbers(size))
    return array


@functools.lru_cache(maxsize=4)
def _random_numbers(size):
    return arrays(size, 1)[0]


def stepping(name, size, parameter=None):
    """Return an optimizer over one large parameter, and its step."""
    parameter = random_array(size) if parameter is None else parameter
    gradient = random_array(size)
    found = optimizer(name, [parameter])
    found.step(grads=[gradient])
    return found, lambda: found.step(grads=[gradient])


def copying(size):
    """Return a copy of ``size`` numbers from one place on the GPU to another."""
    source, target = random_array(size), zeros(size, FLOAT, "cuda")
    return lambda: copy_values(target, source)


def torch_step(torch, name, count, size):
    """Return the step of torch's fused optimizer over so many parameters."""
    tensors = [torch.randn(size, device=TORCH_DEVICE) for _ in range(count)]
    for tensor in tensors:
        tensor.requires_grad_().grad = torch.randn_like(tensor)
    cls, options = OPTIONS.get(name, (name, {}))
    return getattr(torch.optim, cls)(tensors, lr=1e-3, fused=True, **options).step


def moved(states):
    """Return the bytes that a step moves for each element: the gradient once, all else twice."""
    return FLOAT.itemsize * (3 + 2 * states)


def bandwidth(size):
    """Bandwidth. Each rule over one large float32 parameter, against a copy on the GPU and torch's fused kernel.

    By the bytes that have to be moved; all three take turns. The bars: at least 90 % of the copy for Adam, and a ratio
    to torch of at most 1.
    """
    yield from head(
        "rule", "elements", "bytes each", "numbopt", "GB/s", "copy, GB/s", "of the copy", "torch fused", "ratio"
    )
    torch = torch_here()
    for name, states in STATES.items():
        functions = [stepping(name, size)[1], copying(size)]
        if torch and name in FUSED:
            functions.append(torch_step(torch, name, 1, size))
        ours, copy, *theirs = gpu_times(functions)
        rate, limit = size * moved(states) / ours / 1e9, 2 * FLOAT.itemsize * size / copy / 1e9
        short = ": FALLS SHORT"
        compared = (
            [milliseconds(theirs[0]), f"{ours / theirs[0]:.3f}{short * (ours > theirs[0])}"] if theirs else ["", ""]
        )
        yield (
            name,
            f"{size:.0e}",
            moved(states),
            milliseconds(ours),
            f"{rate:.0f}",
            f"{limit:.0f}",
            f"{rate / limit:.1%}{short * (name == 'Adam' and rate < 0.9 * limit)}",
            *compared,
        )


def milliseconds(seconds):
    """Write a time."""
    return f"{seconds * 1e3:.3f} ms"


def microseconds(seconds):
    """Write a short time."""
    return f"{seconds * 1e6:.1f} us"


def memory_access(size):
    """Loads. Adam over one large float32 parameter, by other ways to read and write memory.

    The one in use moves 128 bits at a time.
    """
    from reports import gpu_variants

    yield from head("way", "time", "the one in use", "ratio")
    found, step = stepping("Adam", size)
    _, scalar = stepping("Adam", size, random_array(size + 1)[1:])
    four, two = (
        gpu_variants.launch(found, template)
        for template in (gpu_variants.four_numbers_ahead, gpu_variants.two_vectors_ahead)
    )
    ways = {
        "one number at a time (the parameter is not aligned to 16 bytes)": scalar,
        "four numbers ahead": lambda: run(four.calls()),
        "two vectors of 128 bits ahead": lambda: run(two.calls()),
    }
    for name, function in ways.items():
        other, ours = gpu_times([function, step])
        yield name, milliseconds(other), milliseconds(ours), f"{other / ours:.3f}"


def blocks(size):
    """Blocks. Adam over one large float32 parameter by elements of a row, which is a block, and threads of a block."""
    from numbopt._kernels.cuda import reductions

    threads = (128, 256, 512)
    yield from head("elements of a row", *(f"{count} threads" for count in threads))
    used = _device_table.Update.block, reductions.THREADS
    for block in (1024, 2048, 4096, 8192, 16384, 65536):
        steps = []
        for count in threads:
            _device_table.Update.block, reductions.THREADS = block, count
            try:
                steps.append(stepping("Adam", size)[1])
            finally:
                _device_table.Update.block, reductions.THREADS = used
        yield block, *map(milliseconds, gpu_times(steps))


# ---- and on the host?


def host_time(function):
    """Return the median time that a call takes on the host, in seconds, while the GPU has room for more launches."""
    for _ in range(3):
        function()
    times = []
    for _ in range(RUNS):
        numbopt.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(CALLS):
            function()
        times.append((time.perf_counter() - start) / CALLS)
    numbopt.cuda.synchronize()
    return statistics.median(times)


def adam_over(count, size, **options):
    """Return Adam over so many parameters on the GPU with gradients, and them."""
    parameters = [numbopt.Parameter(values, device="cuda") for values in arrays(size, count)]
    for parameter in parameters:
        parameter.grad = parameter.data
    found = numbopt.Adam(parameters, **options)
    found.step()
    return found, parameters


def host(size):
    """Host. Time until a call returns, and for some the time on the GPU; the bar is 30 us for a step."""
    yield from head("call", "host", "bar", "GPU")
    few, _ = adam_over(1, 10)
    many, _ = adam_over(MANY, MANY)
    launch = next(iter(few._tables)).launch.calls()
    yield "a launch alone", microseconds(host_time(lambda: run(launch))), "", ""
    yield step_row("step(), Adam, one parameter of 10", few.step)
    yield step_row(f"step(), Adam, {MANY} of {MANY}", many.step)
    yield step_row("the same with max_grad_norm", adam_over(MANY, MANY, max_grad_norm=1.0)[0].step)
    yield "zero_grad(), the same parameters", microseconds(host_time(many.zero_grad)), "", ""
    for library in LIBRARIES:
        found = instance(library)
        if isinstance(found, str):
            yield f"gradients of {library.__name__}", found, "", ""
            continue
        turns = [[found.array(np.ones(10, FLOAT))] for _ in range(2)]

        def step(turns=turns):
            turns.reverse()  # another array each time
            few.step(grads=turns[0])

        yield step_row(f"step(grads=[new array of {library.__name__}]), one parameter of 10", step)
    if torch := torch_here():
        for count, length in ((1, 10), (MANY, MANY)):
            theirs = torch_step(torch, "Adam", count, length)
            yield (
                f"torch fused, {count} of {length}",
                microseconds(host_time(theirs)),
                "",
                microseconds(*gpu_times([theirs])),
            )


def step_row(name, step):
    """Return a row of a call that has the bar to meet."""
    seconds = host_time(step)
    bar = f"{microseconds(BAR)}: {'met' if seconds <= BAR else 'FALLS SHORT'}"
    return name, microseconds(seconds), bar, microseconds(*gpu_times([step]))


# ---- what NVIDIA's checker says

CHECKED = """
import numpy as np, numbopt
from numbopt._devices.arrays import zeros
values = np.ones(1027, np.float32)
parameters = [numbopt.Parameter(values, device="cuda"), zeros(1028, np.float32, "cuda")[1:]]
adam = numbopt.Adam(parameters, max_grad_norm=1.0)
for _ in range(3):
    adam.step(grads=[numbopt.Parameter(values, device="cuda").data for _ in range(2)])
print(adam.grad_norm)
lbfgs = numbopt.LBFGS(parameters[:1])
for _ in range(3):
    lbfgs.step(lambda: (1.0, [parameters[0].data]))
numbopt.cuda.synchronize()
"""


def sanitizer(size):
    """compute-sanitizer. Adam with clipping, aligned and not, and L-BFGS, on a thousand elements."""
    yield from head("tool", "result")
    program = shutil.which("compute-sanitizer")
    if not program:
        yield "compute-sanitizer", MISSING
        return
    for tool in ("memcheck", "racecheck", "initcheck", "synccheck"):
        yield tool, summary(python("-c", CHECKED, before=(program, "--tool", tool, "--error-exitcode", "9")))


if __name__ == "__main__":
    sys.exit(main())
