"""Nothing is read or written outside of arrays: pages around them that fault on access kill the process that does.

Parameters, gradients, bounds, state and the vectors of L-BFGS lie against such a page, at their end or at their start.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

SCRIPT = """
import ctypes, functools, mmap, sys, warnings

import numpy as np

import numbopt
from cases.optimizers import CASES
from numbopt import vectorwise
from numbopt._launch import cpu, quasi_newton, tables
from numbopt._parameters import flat
from support.rules import options_of

PAGE, LIBC = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True)
kept = []


def guarded(size, dtype, at_end):
    "An array of zeros between two pages that fault on access, against the second one or against the first one."
    dtype = np.dtype(dtype)
    room = -(-max(size * dtype.itemsize, 1) // PAGE) * PAGE
    memory = mmap.mmap(-1, room + 2 * PAGE)
    kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (start, start + PAGE + room):
        assert LIBC.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 0) == 0
    return np.frombuffer(memory, dtype, size, PAGE + room - size * dtype.itemsize if at_end else PAGE)


def filled(size, dtype, at_end, value):
    array = guarded(size, dtype, at_end)
    array[:] = value
    return array


def place_all(at_end):
    zeros = lambda size, dtype, device: guarded(size, dtype, at_end)
    tables.zeros = flat.zeros = zeros
    vectors = lambda shape, dtype: guarded(shape[0] * shape[1], dtype, at_end).reshape(shape)
    vectorwise.qn.new_state = lambda n, dtype, rule, pairs, _: new_state(n, dtype, rule, pairs, vectors)


new_state = vectorwise.qn.new_state
SIZES = (*range(1, 19), 31, 32, 33, 63, 64, 65, 8191, 8192, 8193, 16385)
DTYPES = ("float32", "float64", "complex64", "complex128")


def elementwise(case, dtype, at_end, **options):
    opt = getattr(numbopt, case.cls)(
        [filled(size, dtype, at_end, 0.5) for size in SIZES], **{**case.options, **options}
    )
    for value in (1e-3, 2e-3):
        opt.step(grads=[filled(size, dtype, at_end, value) for size in SIZES])


def vectors(cls, size, dtype, at_end, **options):
    x = filled(size, dtype, at_end, 0.5)
    opt = cls([x], max_iter=3, **options)
    opt.step(lambda: (float(np.sum(np.abs(x) ** 2)), [filled(size, dtype, at_end, 2 * x)]))


def out_of_bounds(column):
    x = filled(8, "float64", True, 0.5)
    opt = numbopt.SGD([x], lr=0.1)
    opt.step(grads=[filled(8, "float64", True, 1.0)])
    (table,) = opt._tables
    table.target.rows[0, 0] += 1
    opt.step(grads=[filled(9, "float64", True, 1.0)[:8] if column == "param" else filled(8, "float64", True, 1.0)])


def main(threads, at_end):
    place_all(at_end)
    numbopt.set_num_threads(threads)
    if threads > 1:
        cpu.BYTES_PER_THREAD, quasi_newton.PARALLEL_FROM = 1, 1
    by_rule = {}
    for case in CASES:
        cls, options = options_of(case)
        by_rule.setdefault(cls.rule_for(options), case)
    for case in by_rule.values():
        for dtype in DTYPES:
            elementwise(case, dtype, at_end, max_grad_norm=1.0)
            if dtype.startswith("float"):
                elementwise(case, dtype, at_end, bounds=(np.array(-1.0), np.array(1.0)))
            kept.clear()
    for size in SIZES:
        for dtype in DTYPES:
            vectors(numbopt.LBFGS, size, dtype, at_end, line_search_fn="strong_wolfe", history_size=2)
            if size in (1, 5, 8193):
                vectors(numbopt.LBFGS, size, dtype, at_end, lr=0.1)
                vectors(numbopt.NonlinearCG, size, dtype, at_end)
            kept.clear()


if sys.argv[1] == "control":
    out_of_bounds(sys.argv[2])
else:
    main(int(sys.argv[1]), sys.argv[2] == "end")
print("done")
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")


def run(*arguments):
    command = [sys.executable, "-c", SCRIPT, *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("place", ["end", "start"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_nothing_is_touched_outside_of_arrays(threads, place):
    done = run(threads, place)
    assert done.stdout == "done\n", done.stderr[-2000:]


@pytest.mark.parametrize("column", ["param", "gradient"])
def test_an_element_too_many_kills_the_process(column):
    """The control: without it, pages that do not fault would pass the test above."""
    done = run("control", column)
    assert done.returncode < 0
    assert done.stdout == ""
