"""Measure steps as they are in real programs, and print the table: sizes around the switch to threads, a core that
another process keeps busy, products of matrices between steps, gradients that come and go.

    python asv_bench/reports/conditions_report.py

Every ratio is of times measured side by side in this run; smaller is better.
"""

import contextlib
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure import interleaved, ratio
from problems import work
from references import THREADS

import numbopt
from numbopt._launch import cpu

SIZES = [1_000, 10_000, 30_000, 100_000, 300_000, 1_000_000]
ROUNDS = 31


def main():
    """Print the report."""
    print("| condition | work | automatic | beside it | ratio | bar |\n|---|---|---|---|---|---|")
    for condition, surroundings in (("idle", contextlib.nullcontext), ("one core busy", busy_core)):
        with surroundings():
            for dtype in (np.float32, np.float64):
                for size in SIZES:
                    choice(condition, size, dtype)
    for size in (1 << 20, 10**7):
        between_products(size)
    irregular()


def line(condition, name, beside, measured, bar):
    """Print one line."""
    ours, reference = (f"{1e6 * seconds:.4g} us" for seconds in measured[1:])
    print(f"| {condition} | {name} | {ours} | {beside} {reference} | {measured[0]:.3f} | {bar} |", flush=True)


def choice(condition, size, dtype):
    """Print a step of Adam as the library does it beside the better of one thread and all threads."""
    name = f"Adam, {size} {np.dtype(dtype).name}"
    alone, shared = with_threads(1, size, dtype), with_threads(THREADS, size, dtype)
    compared = {}
    for way, other in (("one thread", alone), ("all threads", shared)):
        compared[way] = ratio(with_threads(None, size, dtype), other, seconds=0.6, rounds=ROUNDS)
    better = max(compared, key=lambda way: compared[way].ratio)
    line(condition, name, f"{better}:", compared[better], "<= 1.10")


def with_threads(count, size, dtype):
    """Return a step of Adam that one thread does, that all do, or (``None``) as it comes."""
    numbopt.set_num_threads(THREADS)
    step = work.step("Adam", size, dtype)
    if count is None:
        return step
    automatic = cpu.BYTES_PER_THREAD
    cpu.BYTES_PER_THREAD = sys.maxsize if count == 1 else 1
    try:
        step()  # makes the launch
    finally:
        cpu.BYTES_PER_THREAD = automatic
    next(iter(step.func.__self__._tables)).launch._choice = AlwaysHelped()
    return step


class AlwaysHelped:
    """In the place of a `HelpChoice`."""

    def timed(self, help_calls, run, work):
        return [*help_calls(), run]


@contextlib.contextmanager
def busy_core():
    """Have another process that keeps a core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def between_products(size):
    """Print steps that follow a product of matrices by a BLAS with threads: with all threads beside one thread."""
    a, b = (np.random.default_rng(0).standard_normal((700, 700)) for _ in range(2))

    def after_a_product(step):
        a @ b
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    automatic, alone = with_threads(None, size, np.float32), with_threads(1, size, np.float32)
    measured = interleaved(
        functools.partial(after_a_product, automatic), functools.partial(after_a_product, alone), rounds=101
    )
    line("after a product by BLAS", f"Adam, {size} float32", "one thread:", measured, "<= 1.2")


def irregular():
    """Print gradients that come and go, and groups of very different sizes."""
    opt, parameters = work.adam_over(1000, 100)
    gradient = parameters[0].grad.copy()
    regular = work.adam_over(1000, 100)[0].step
    generator = np.random.default_rng(0)

    def another_set():
        for parameter, is_there in zip(parameters, generator.random(1000) < 0.5, strict=True):
            parameter.grad = gradient if is_there else None
        start = time.perf_counter()
        opt.step()
        return time.perf_counter() - start

    def plain():
        start = time.perf_counter()
        regular()
        return time.perf_counter() - start

    measured = interleaved(another_set, plain, rounds=201)
    line("another half of the gradients None every time", "Adam, 1000 of 100", "all gradients:", measured, "")
    both = [numbopt.Parameter(np.zeros(size, np.float32)) for size in (10**7, *[10] * 1000)]
    for parameter in both:
        parameter.grad = np.full(parameter.size, 1e-3, np.float32)
    numbopt.set_num_threads(THREADS)
    big = numbopt.Adam(both[:1])
    line(
        "groups of very different sizes",
        "Adam, one of 1e7 beside 1000 of 10",
        "the one of 1e7 alone:",
        ratio(numbopt.Adam(both).step, big.step, seconds=4),
        "<= 1.10",
    )


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(THREADS))
    main()
