"""Compiled code touches nothing beside arrays: before and behind each there is a page where an access ends the process.

All of it runs in processes of its own. What such a process has printed last says what it was doing.
"""

import ctypes
import functools
import itertools
import math
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases.optimizers import CASES, CLOSURE_CASES

import numbopt
from numbopt import parameter as parameters
from numbopt import vectorwise
from numbopt._kernels.cpu.intrinsics import multiply_add
from numbopt._kernels.cpu.vectors import (
    copy,
    difference,
    dot,
    max_magnitude,
    point_on_line,
    run_pass_at,
    scaled_dot,
    sum_magnitude,
    update_dot,
)
from numbopt._kernels.specialise import specialise
from numbopt._launch import cpu, quasi_newton, tables, threads
from numbopt._launch.quasi_newton import team_for
from numbopt._parameters import flat

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pages are protected in another way here")

SIDES = ("behind a page", "before a page")
DTYPES = {"single": ("float32", "complex64"), "double": ("float64", "complex128")}
# Around vector registers and around blocks, of 8192 numbers in arithmetic and of 8192 bytes in copies.
FEW = [*range(1, 71), 127, 128, 129]
MANY = [size + more for size in (1024, 2048, 4096, 8192, 16384) for more in (-1, 0, 1)]
SIZES = [0, *FEW, *MANY]


class Guarded:
    """Arrays of which each lies directly behind a page that cannot be touched, or before one.

    Memory is used again after `reset`.
    """

    def __init__(self):
        self._protect = ctypes.CDLL(None, use_errno=True).mprotect
        self._protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._maps = {}
        self._taken = {}
        self.spans = []
        self.side = SIDES[0]
        self.missing = 0  # elements by which arrays are too short

    def reset(self, side):
        self.side, self.missing = side, 0
        self._taken.clear()
        self.spans.clear()

    def array(self, shape, dtype, value=0.0):
        dtype = np.dtype(dtype)
        nbytes = math.prod(np.atleast_1d(shape).tolist()) * dtype.itemsize
        room = max(0, nbytes - self.missing * dtype.itemsize)
        pages = -(-room // mmap.PAGESIZE)
        number = self._taken.get(pages, 0)
        self._taken[pages] = number + 1
        maps = self._maps.setdefault(pages, [])
        if number == len(maps):
            maps.append(self._new_map(pages))
        memory, start = maps[number]
        offset = mmap.PAGESIZE if self.side == "behind a page" else (1 + pages) * mmap.PAGESIZE - room
        array = np.ndarray(shape, dtype, memory, offset)
        self.spans.append((start + offset, start + offset + nbytes))
        if not self.missing:
            array[...] = value
        return array

    def _new_map(self, pages):
        memory = mmap.mmap(-1, (pages + 3) * mmap.PAGESIZE)  # one more, so that too long arrays are within the map
        start = np.frombuffer(memory, np.uint8).ctypes.data
        for page, count in ((0, 1), (pages + 1, 2)):
            if self._protect(start + page * mmap.PAGESIZE, count * mmap.PAGESIZE, PROT_NONE) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        return memory, start

    def assert_has(self, addresses):
        starts, ends = (np.array(edges) for edges in zip(*sorted(self.spans), strict=True))
        place = np.searchsorted(starts, addresses, "right") - 1
        assert (place >= 0).all() and (addresses < ends[place]).all()


PROT_NONE = 0


@functools.cache
def guarded():
    """Have whatever an optimizer works on guarded, in this process from now on."""
    memory = Guarded()

    def zeros(size, dtype, device):
        return memory.array(size, dtype)

    def with_arrays(entries, names, original=tables._with_arrays):
        states = original(entries, names)
        for entry, state in zip(entries, states, strict=True):
            for name in names:
                if name not in entry.state:
                    parameter = entry.parameter
                    state[name] = parameter.unflatten(memory.array(parameter.flat_size, parameter.flat_dtype))
        return states

    def new_state(*arguments, original=vectorwise.qn.new_state):
        return original(*arguments[:4], memory.array)

    parameters.zeros = flat.zeros = zeros
    tables._with_arrays = with_arrays
    vectorwise.qn.new_state = new_state
    # Large launches call for help each time, and all launches are large.
    threads.HelpChoice.timed = lambda self, help_calls, run, work: [*help_calls(), run]
    return memory


def set_threads(count):
    numbopt.set_num_threads(count)
    cpu.BYTES_PER_THREAD = 1 << 21 if count == 1 else 1
    quasi_newton.PARALLEL_FROM = 100_000 if count == 1 else 1
    quasi_newton._BLOCKS_PER_THREAD = 1


# ---- what the processes do


def of_each_rule(cases, rule_of):
    """Those cases whose code differs: others differ in scalars."""
    return {(case.cls, rule_of(getattr(numbopt, case.cls)([np.ones(1)], **case.options))): case for case in cases}


def step_all_elementwise(dtypes):
    """Each algorithm, on parameters of all sizes at once."""
    memory = guarded()
    more = [{}, {"bounds": (np.array([-0.9]), np.array([0.8])), "max_grad_norm": 0.5}, {"max_grad_norm": 0.5}]
    cases = of_each_rule(CASES, lambda optimizer: optimizer.rule_for(optimizer.param_groups[0])).values()
    for case, dtype, side, count in itertools.product(cases, dtypes, SIDES, (1, 2)):
        # The code for complex numbers is that for real ones: it is enough to see each side and each way to launch.
        is_complex = np.dtype(dtype).kind == "c"
        if is_complex and SIDES.index(side) + 1 != count:
            continue
        for options in more[2:] if is_complex else more[:2]:
            print(case.id, dtype, side, count, *options, flush=True)
            memory.reset(side)
            set_threads(count)
            arrays = [memory.array(size, dtype, 0.5) for size in SIZES]
            grads = [memory.array(size, dtype, 0.25) for size in SIZES]
            optimizer = getattr(numbopt, case.cls)(arrays, **case.options, **options)
            optimizer.step(grads=grads)
            for table in optimizer._tables:
                assert len(table.target.rows) >= len(SIZES) - 1
                # Partial sums of terms go to memory of NumPy, by the last column.
                memory.assert_has(table.target.rows[:, 2 : -1 if table.kind.rule.terms else None])
            optimizer.zero_grad()
            optimizer.step()


def closure_over(arrays, grads):
    """The loss and gradients of a sum of fourth powers."""

    def closure():
        loss = 0.0
        for array, gradient in zip(arrays, grads, strict=True):
            np.multiply(array * array, 4 * array, out=gradient)
            loss += float(np.sum(np.abs(array) ** 4))
        return loss, grads

    return closure


def step_all_on_vectors(dtypes):
    """L-BFGS and conjugate gradients: on parameters of all sizes, and on vectors of one size or another."""
    memory = guarded()
    cases = of_each_rule(CLOSURE_CASES, lambda optimizer: optimizer.core_rule(optimizer.param_groups[0])).values()
    for case, dtype, side, count in itertools.product(cases, dtypes, SIDES, (1, 2)):
        single = (*FEW[::7], *MANY) if np.dtype(dtype).kind == "f" else ()
        for sizes in [SIZES[1:], *([size] for size in single[:: 1 if count == 1 else 3])]:
            print(case.id, dtype, side, count, sizes[0], len(sizes), flush=True)
            memory.reset(side)
            set_threads(count)
            arrays = [memory.array(size, dtype, 0.5) for size in sizes]
            grads = [memory.array(size, dtype) for size in sizes]
            few = {"lr": 0.01, "max_iter": 2, **({"history_size": 2} if case.cls == "LBFGS" else {})}
            if "line_search_fn" in case.options and np.dtype(dtype).kind == "f" and count == 2:
                few["bounds"] = (-0.9, 0.45)
                for array in arrays:
                    np.minimum(array, 0.45, out=array)
            optimizer = getattr(numbopt, case.cls)(arrays, **{**case.options, **few})
            for _ in range(2):
                optimizer.step(closure_over(arrays, grads))
            memory.assert_has([vector.ctypes.data for vector in (*optimizer._core[0], optimizer._vectors.grad)])


def passes(out, u, v, team):
    """Call each pass over"""
    total = dot(u, v, team) + sum_magnitude(u, team) + max_magnitude(v, team)
    copy(out, u, team)
    difference(out, u, v, team)
    point_on_line(out, u, 0.5, v, team)
    return total + scaled_dot(out, 0.5, u, v, team) + update_dot(out, 0.5, 2.0, u, v, team)


def pass_over_vectors(dtypes):
    """Each pass, over vectors that do not lie side by side as those of a history do."""
    memory = guarded()
    compiled_in = specialise(passes, {"MULTIPLY_ADD": multiply_add})
    called = specialise(passes, {"run_pass": run_pass_at})
    for dtype, side, size in itertools.product(dtypes, SIDES, SIZES[1:]):
        if np.dtype(dtype).kind == "f":
            print("passes", dtype, side, size, flush=True)
            memory.reset(side)
            u, v, out = (memory.array(size, dtype, 0.5) for _ in range(3))
            found = {compiled_in(out, u, v, None)}
            found |= {called(out, u, v, team_for(out.dtype, n)) for n in (0, size)}
            assert len(found) == 1 and np.all(out == 1.125)


def everything(dtypes):
    step_all_elementwise(dtypes)
    step_all_on_vectors(dtypes)
    pass_over_vectors(dtypes)
    print("done", flush=True)


# ---- what would be found


def _read(address):
    return ctypes.c_double.from_address(address).value


def _sgd(array, gradient, **options):
    return numbopt.SGD([array], lr=0.5, **options).step(grads=[gradient])


def _own_gradient(memory, short):
    parameter = numbopt.Parameter(np.ones(SIZE))
    memory.missing = short
    parameter._show_gradient()
    numbopt.SGD([parameter]).zero_grad()


def _lbfgs(memory, array, short=0):
    optimizer = numbopt.LBFGS([array], max_iter=2)
    memory.missing = short
    optimizer.step(lambda: (1.0, [np.full(array.shape, 2.0)]))


def _with_short(memory, short, **options):
    array = np.full(SIZE, 0.5)
    optimizer = numbopt.SGD([array], **options)
    memory.missing = short
    optimizer.step(grads=[np.ones(SIZE)])


SIZE = 37
BOUNDS = (np.array([0.0]), np.array([1.0]))
# Each reads or writes one element too many if ``more`` is 1, and none if it is 0.
CONTROLS = {
    "read": lambda m, more: _read(m.array(SIZE, "f8").ctypes.data + 8 * (SIZE - 1 + more)),
    "read before": lambda m, more: _read(m.array(SIZE, "f8").ctypes.data - 8 * more),
    "parameter": lambda m, more: _sgd(too_long(m, more), np.ones(SIZE + more)),
    "gradient": lambda m, more: _sgd(np.ones(SIZE + more), too_long(m, more)),
    "norm": lambda m, more: numbopt.get_total_norm([too_long(m, more)]),
    "state": lambda m, more: _with_short(m, more, momentum=0.9),
    "bounds": lambda m, more: _with_short(m, more, bounds=BOUNDS),
    "zeros": _own_gradient,
    "parameter copied into a vector": lambda m, more: _lbfgs(m, too_long(m, more)),
    "vector": lambda m, more: _lbfgs(m, np.ones(SIZE), more),
    "pass": lambda m, more: specialise(passes, {"MULTIPLY_ADD": multiply_add})(
        *(too_long(m, more) for _ in range(3)), None
    ),
}


def too_long(memory, more):
    """An array that would have one element in a page that cannot be touched: the first one or the last one."""
    array = memory.array(SIZE, "f8", 1.0)
    start = array.ctypes.data - (8 * more if memory.side == "behind a page" else 0)
    whole = array.base
    return np.ndarray(SIZE + more, "f8", whole, start - np.frombuffer(whole, np.uint8).ctypes.data)


def control():
    """Print for each control how a process ended that did it."""
    memory = guarded()
    set_threads(1)
    for name, side, more in itertools.product(CONTROLS, SIDES, (0, 1)):
        memory.reset(side)
        CONTROLS[name](memory, 0)  # so that all is compiled
        memory.reset(side)
        child = os.fork()
        if child == 0:
            CONTROLS[name](memory, more)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(name, side, more, os.waitstatus_to_exitcode(status), sep=" | ", flush=True)


# ---- the tests


def run(code):
    paths = map(str, (Path(numbopt.__file__).parents[1], Path(__file__).parents[1], Path(__file__).parent))
    no_dump = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
    code = f"{no_dump}; import {Path(__file__).stem} as own; {code}"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )


@pytest.mark.parametrize("precision", DTYPES)
def test_no_access_is_out_of_bounds(precision):
    done = run(f"own.everything({DTYPES[precision]!r})")
    assert done.returncode == 0 and done.stdout.endswith("done\n"), f"{done.stdout[-200:]}\n{done.stderr}"


def test_accesses_out_of_bounds_are_found():
    done = run("own.control()")
    assert done.returncode == 0, f"{done.stdout[-200:]}\n{done.stderr}"
    ends = [line.split(" | ") for line in done.stdout.splitlines()]
    assert len(ends) == 2 * len(SIDES) * len(CONTROLS)
    for name, side, more, code in ends:
        found = -int(code) in (signal.SIGSEGV, signal.SIGBUS)
        crosses = {"read": SIDES[1:], "read before": SIDES[:1]}.get(name, SIDES)
        short = name in ("state", "bounds", "zeros", "vector")  # these end early, at either side
        expected = more == "1" and side in crosses and not (short and side == SIDES[0])
        assert found == expected and (found or code == "0"), (name, side, more, code)
