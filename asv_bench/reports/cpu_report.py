"""Measure numbopt against its peers and the limit of the machine, and print the table.

    python asv_bench/reports/cpu_report.py [--write] [part ...]

Parts are used (as real codes call it), limits, peers, small, around, lbfgs and start; all of them without arguments,
which takes about five minutes.
With ``--write``, the table is also written to results_cpu.md, and a plot of it to docs/speed.png (needs matplotlib).

Each line is a ratio of times measured side by side in this run, smaller is better, beside the bar it has to meet. What
is not installed (torch, JAX and optax, SciPy, a C compiler) is left out. With two threads, believe only a machine with
nothing else to do: if a core is taken, a reference whose threads have half of the work each waits for the slower one,
and the ratio flatters.
"""

import argparse
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import fresh_process
from comparisons import COMPARISONS
from measure import median
from problems import work
from references import THREADS

import numbopt

BENCH = Path(__file__).parents[1]
PARTS = ("used", "limits", "peers", "small", "around", "lbfgs", "start")


def main():
    """Print the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--write", action="store_true", help="write results_cpu.md and docs/speed.png")
    arguments = parser.parse_args()
    lines = []

    def show(line):
        print(line, flush=True)
        lines.append(line)

    show(environment() + "\n")
    show("| work | numbopt | reference | ratio | bar |\n|---|---|---|---|---|")
    measured = {}
    for part in arguments.parts or PARTS:
        for name, comparison in COMPARISONS.items():
            if comparison.part == part:
                try:
                    result = measured[name] = comparison.measure()
                except (ImportError, OSError) as error:
                    show(f"| {comparison.work} | | {comparison.reference}: {error} | | |")
                    continue
                reference = f"{comparison.reference} {in_units(result.reference)}"
                bar = "" if comparison.bar is None else f"<= {comparison.bar:.3g}"
                show(f"| {comparison.work} | {in_units(result.ours)} | {reference} | {result.ratio:.3g} | {bar} |")
        for title, measure, bar in absolute(part):
            show(f"| {title} | {in_units(measure())} | | | <= {in_units(bar)} |")
    if arguments.write:
        BENCH.joinpath("results_cpu.md").write_text(INTRODUCTION + "\n".join(lines) + "\n", encoding="utf-8")
        plot(measured)


def absolute(part):
    """Work without a reference: its name, a function that returns seconds, and the seconds that are good enough."""
    if part == "small":
        for title, (make, bar) in work.SMALL.items():
            yield title, lambda make=make: median(make()), bar
    elif part == "start":
        for cache, warm, bar in (("a cold", False, 1.5), ("a warm", True, 0.6)):
            yield (
                f"process start to end of the first step, {cache} cache",
                lambda w=warm: fresh_process.first_step(warm=w),
                bar,
            )


def plot(measured):
    """Draw how many times as long the same step of Adam takes elsewhere."""
    import matplotlib.pyplot as plt

    peers = {}
    for name, result in measured.items():
        if COMPARISONS[name].part == "peers":
            peers.setdefault(COMPARISONS[name].work, {})[COMPARISONS[name].reference] = 1 / result.ratio
    labels = list(dict.fromkeys(label for bars in peers.values() for label in bars))
    figure, axes = plt.subplots(figsize=(7, 0.7 * len(peers) + 1), layout="constrained")
    height = 0.8 / len(labels)
    for place, label in enumerate(labels):
        rows = [row for row, bars in enumerate(peers.values()) if label in bars]
        values = [bars[label] for bars in peers.values() if label in bars]
        bars = axes.barh([row + (place - (len(labels) - 1) / 2) * height for row in rows], values, height, label=label)
        axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=2, fontsize="small")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(peers)), [f"Adam, {work.removeprefix('Adam, ')}" for work in peers])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.set_xlabel(f"time / time of numbopt, {THREADS} threads (at the line: as fast)")
    axes.legend(loc="center right")
    folder = BENCH.parent / "docs"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "speed.png", dpi=150)


def environment():
    """Name versions and machine."""
    names = ("numba", "numpy", "scipy", "torch", "jax", "optax")
    versions = [f"numbopt {numbopt.__version__}", *map(_version, names), f"Python {platform.python_version()}"]
    return f"{', '.join(versions)}, {THREADS} threads of {os.cpu_count()} processors, {_processor()}"


def _version(name):
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{name} (not installed)"


def _processor():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(text.split(":")[1].strip() for text in lines if text.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def in_units(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


INTRODUCTION = """# Measured on a CPU

Written by `python asv_bench/reports/cpu_report.py --write`: ratios of times measured side by side in one run, smaller
is better, beside the bar that each has to meet. "Bytes only" is a parallel Numba loop that reads and writes the same
arrays and computes nothing; "C" is the same loop with `-O3 -march=native -fno-math-errno` and OpenMP; optax is jitted
and may update in place, for which XLA takes one thread; "NumPy" is Adam as it stands in many scripts; SciPy's BLAS has
one thread, with which it is faster.
On a shared virtual machine the ratios at 1e7 elements move by about 0.1 either way from run to run.

"""

if __name__ == "__main__":
    main()
