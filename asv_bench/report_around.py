"""Measure what stands around the optimizers, and print the table.

    python asv_bench/report_around.py

As in report.py, each line is a ratio of times measured side by side in this run, beside the bar it has to meet. Both
sides use as many threads as the line says. With two threads, believe only a machine with nothing else to do: if a core
is taken, the reference, whose threads have half of the work each, waits for the slower one, and the ratio flatters.
"""

import numba
import references
from measure import ratio
from report import BIG, line

import numbopt
from numbopt.averaging import AveragedParameters, get_ema_avg_fn, get_swa_avg_fn


def main():
    """Print the report."""
    print("| work | numbopt | reference | ratio | bar |\n|---|---|---|---|---|")
    guards()
    averaging()


def guards():
    """Print what clipping, bounds and looking for NaN add to a step of Adam over 1e7 float32 elements."""
    numbopt.set_num_threads(references.THREADS)
    plain = adam()
    for name, bar, options in (
        ("max_grad_norm", "<= 1.3", {"max_grad_norm": 1.0}),
        ("bounds", "<= 1.1", {"bounds": (-1.0, 1.0)}),
        ("bounds for each element", "", {"bounds": tuple(references.arrays(BIG, 1)[0] + shift for shift in (-1, 1))}),
        ("nonfinite='raise'", "", {"nonfinite": "raise"}),
    ):
        line(f"Adam with {name}, 1e7 float32", "plain Adam", ratio(adam(**options), plain, seconds=4), bar)


def adam(**options):
    """Return the step of an Adam over 1e7 float32 elements."""
    parameter, gradient = references.arrays(BIG, 2)
    opt = numbopt.Adam([parameter], **options)
    return lambda: opt.step(grads=[gradient])


def averaging():
    """Print updates of averages over 1e7 float32 elements."""
    for threads in (1, references.THREADS):
        numbopt.set_num_threads(threads)
        move = references.bytes_only(0, references.arrays(BIG, 2))
        numba.set_num_threads(min(threads, numba.get_num_threads()))
        for name, avg_fn in (("EMA", get_ema_avg_fn()), ("SWA", get_swa_avg_fn())):
            averages = AveragedParameters(references.arrays(BIG, 1), avg_fn)
            averages.update_parameters()  # copies; from now on they are averaged
            measured = ratio(averages.update_parameters, move, seconds=4)
            line(f"{name} update, 1e7 float32, threads: {threads}", "bytes only", measured, "<= 1.15")


if __name__ == "__main__":
    main()
