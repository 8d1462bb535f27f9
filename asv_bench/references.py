"""What numbopt's loops are measured against: kernels that only move bytes, and the same loops written in C."""

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numba
import numpy as np

THREADS = 2
ROWS = {  # state arrays of each algorithm
    "SGD": 0, "momentum": 1, "Adam": 2, "AdamW": 2, "AMSGrad": 3, "Adamax": 2, "NAdam": 2, "RAdam": 2,
    "Adagrad": 1, "Adadelta": 2, "RMSprop": 1, "Rprop": 2, "ASGD": 1,
}  # fmt: skip


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


def bytes_only(rows, arrays):
    """Return a call that reads and writes what an algorithm with so many state arrays does, and computes nothing."""
    numba.set_num_threads(min(THREADS, numba.config.NUMBA_NUM_THREADS))
    kernel = (_move0, _move1, _move2, _move3)[rows]
    return lambda: kernel(*arrays[: rows + 2])


# Bodies in C over p, g and the state arrays a, b; the numbers are those of a typical step in single precision.
_BODIES = {
    "Adamax": "a[i] = .9f*a[i] + .1f*g[i]; float u = .999f*b[i], w = fabsf(g[i]) + 1e-8f;"
    "b[i] = u > w || u != u ? u : w; p[i] -= 2e-3f * (a[i] / b[i]);",
    "NAdam": "a[i] = .9f*a[i] + .1f*g[i]; b[i] = .999f*b[i] + .001f*(g[i]*g[i]);"
    "float d = sqrtf(b[i]*1.5f) + 1e-8f; p[i] = p[i] - 1e-3f*(g[i]/d) - 1e-3f*(a[i]/d);",
    "RAdam": "a[i] = .9f*a[i] + .1f*g[i]; b[i] = .999f*b[i] + .001f*(g[i]*g[i]);"
    "p[i] -= 1e-3f * (a[i] / (sqrtf(b[i]) + 1e-8f));",
    "Adagrad": "a[i] += g[i]*g[i]; p[i] -= 1e-2f * (g[i] / (sqrtf(a[i]) + 1e-10f));",
    "Adadelta": "a[i] = .9f*a[i] + .1f*(g[i]*g[i]); float d = sqrtf(b[i] + 1e-6f) / sqrtf(a[i] + 1e-6f) * g[i];"
    "b[i] = .9f*b[i] + .1f*(d*d); p[i] -= d;",
    "RMSprop": "a[i] = .99f*a[i] + .01f*(g[i]*g[i]); p[i] -= 1e-2f * (g[i] / (sqrtf(a[i]) + 1e-8f));",
    "Rprop": "float x = g[i], o = a[i]; int ch = (x > 0 && o < 0) || (x < 0 && o > 0);"
    "int st = (x > 0 && o > 0) || (x < 0 && o < 0); float s = b[i] * (st ? 1.2f : ch ? .5f : 1.f);"
    "s = s > 50.f ? 50.f : s < 1e-6f ? 1e-6f : s; x = ch ? 0.f : x;"
    "p[i] = x > 0 ? p[i] - s : x < 0 ? p[i] + s : p[i]; a[i] = x; b[i] = s;",
    "ASGD": "p[i] = p[i]*.999999f - 1e-2f*g[i]; a[i] = p[i];",
}


def c_loops():
    """Compile the loops with the machine's C compiler; return functions by algorithm, or None without a compiler.

    Beside -O3 -march=native, -fno-math-errno lets the compiler vectorise the square root.
    """
    source = "#include <math.h>\n#include <stddef.h>\n"
    for name, body in _BODIES.items():
        source += (
            f"void {name}(size_t n, float *restrict p, const float *restrict g, float *restrict a, float *restrict b)"
            f"{{\n#pragma omp parallel for num_threads({THREADS}) schedule(static)\n"
            f"for (size_t i = 0; i < n; i++) {{ {body} }} }}\n"
        )
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "loops.so")
        command = ["cc", "-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC", "-x", "c", "-"]
        try:
            subprocess.run([*command, "-o", library, "-lm"], input=source, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        loops = ctypes.CDLL(str(library))
    return {name: getattr(loops, name) for name in _BODIES}


def c_call(function, arrays):
    """Return a call of a compiled C loop over four arrays."""
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays[:4]]
    size = ctypes.c_size_t(arrays[0].size)
    return lambda: function(size, *pointers)


def arrays(size, count, dtype=np.float32):
    """Return arrays of small random numbers."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(size, dtype=dtype) * 1e-3 + 1e-3 for _ in range(count)]
