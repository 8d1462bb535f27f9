"""What numbopt's loops are measured against: kernels that only move bytes, and the same loops written in C."""

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

import numba

THREADS = 2
BOUND_BY_BYTES = {"SGD": 0, "momentum": 1, "Adam": 2, "AdamW": 2, "AMSGrad": 3}
"""Algorithms that are measured against a kernel which only moves bytes, and how many state arrays they have."""


@numba.njit(parallel=True, error_model="numpy")
def _move0(p, g):
    for i in numba.prange(p.size):
        p[i] += g[i]


@numba.njit(parallel=True, error_model="numpy")
def _move1(p, g, a):
    for i in numba.prange(p.size):
        p[i] += g[i]
        a[i] += g[i]


@numba.njit(parallel=True, error_model="numpy")
def _move2(p, g, a, b):
    for i in numba.prange(p.size):
        p[i] += g[i]
        a[i] += g[i]
        b[i] += g[i]


@numba.njit(parallel=True, error_model="numpy")
def _move3(p, g, a, b, c):
    for i in numba.prange(p.size):
        p[i] += g[i]
        a[i] += g[i]
        b[i] += g[i]
        c[i] += g[i]


def bytes_only(arrays, threads=THREADS):
    """Return a call that reads and writes what an algorithm with these arrays does, and computes nothing.

    The arrays are a parameter, its gradient, and up to three of a state.
    """
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    return functools.partial((_move0, _move1, _move2, _move3)[len(arrays) - 2], *arrays)


# Bodies in C over p, g and the state arrays a, b, with numbers of a typical step. tgmath.h takes the functions of the
# type of their argument, and a literal in single precision promotes nothing.
C_LOOPS = {
    "Adamax": "a[i] = .9f*a[i] + .1f*g[i]; real u = .999f*b[i], w = fabs(g[i]) + 1e-8f;"
    "b[i] = u > w || u != u ? u : w; p[i] -= 2e-3f * (a[i] / b[i]);",
    "NAdam": "a[i] = .9f*a[i] + .1f*g[i]; b[i] = .999f*b[i] + .001f*(g[i]*g[i]);"
    "real d = sqrt(b[i]*1.5f) + 1e-8f; p[i] = p[i] - 1e-3f*(g[i]/d) - 1e-3f*(a[i]/d);",
    "RAdam": "a[i] = .9f*a[i] + .1f*g[i]; b[i] = .999f*b[i] + .001f*(g[i]*g[i]);"
    "p[i] -= 1e-3f * (a[i] / (sqrt(b[i]) + 1e-8f));",
    "Adagrad": "a[i] += g[i]*g[i]; p[i] -= 1e-2f * (g[i] / (sqrt(a[i]) + 1e-10f));",
    "Adadelta": "a[i] = .9f*a[i] + .1f*(g[i]*g[i]); real d = sqrt(b[i] + 1e-6f) / sqrt(a[i] + 1e-6f) * g[i];"
    "b[i] = .9f*b[i] + .1f*(d*d); p[i] -= d;",
    "RMSprop": "a[i] = .99f*a[i] + .01f*(g[i]*g[i]); p[i] -= 1e-2f * (g[i] / (sqrt(a[i]) + 1e-8f));",
    "Rprop": "real x = g[i], o = a[i]; int ch = (x > 0 && o < 0) || (x < 0 && o > 0);"
    "int st = (x > 0 && o > 0) || (x < 0 && o < 0); real s = b[i] * (st ? 1.2f : ch ? .5f : 1.f);"
    "s = s > 50.f ? 50.f : s < 1e-6f ? 1e-6f : s; x = ch ? 0.f : x;"
    "p[i] = x > 0 ? p[i] - s : x < 0 ? p[i] + s : p[i]; a[i] = x; b[i] = s;",
    "ASGD": "p[i] = p[i]*.999999f - 1e-2f*g[i]; a[i] = p[i];",
}


@functools.cache
def c_loops(dtype):
    """Compile the loops with the machine's C compiler; return functions by algorithm.

    Beside -O3 -march=native, -fno-math-errno lets the compiler vectorise the square root.

    Raises
    ------
    OSError
        If there is no compiler.
    """
    source = f"#include <tgmath.h>\n#include <stddef.h>\ntypedef {_C_TYPES[dtype]} real;\n"
    for name, body in C_LOOPS.items():
        source += (
            f"void {name}(size_t n, real *restrict p, const real *restrict g, real *restrict a, real *restrict b)"
            f"{{\n#pragma omp parallel for num_threads({THREADS}) schedule(static)\n"
            f"for (size_t i = 0; i < n; i++) {{ {body} }} }}\n"
        )
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "loops.so")
        command = ["cc", "-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC", "-x", "c", "-"]
        try:
            subprocess.run([*command, "-o", library, "-lm"], input=source, text=True, check=True)
        except subprocess.CalledProcessError as error:
            raise OSError("the C compiler failed") from error
        loops = ctypes.CDLL(str(library))
    return {name: getattr(loops, name) for name in C_LOOPS}


_C_TYPES = {"float32": "float", "float64": "double"}


def c_call(name, arrays):
    """Return a call of the C loop of an algorithm over four arrays."""
    function = c_loops(arrays[0].dtype.name)[name]
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]  # which keep the arrays
    return functools.partial(function, ctypes.c_size_t(arrays[0].size), *pointers)
