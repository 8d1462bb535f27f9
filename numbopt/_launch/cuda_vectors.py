"""Vectors on a GPU for quasi-Newton methods: the core as plain Python, its passes as launches.

The core in `numbopt._kernels.quasi_newton` is the one of the CPU, with another `run_pass` under it. The host waits for
each pass that returns a number, so that an iteration takes some hundred microseconds at least; what it saves is to copy
vectors to the host and back.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from numbopt._devices import driver
from numbopt._devices.arrays import DeviceArray, address_of, copy_values, zeros
from numbopt._kernels.passes import COPY, PASSES
from numbopt._kernels.quasi_newton.core import advance
from numbopt._kernels.quasi_newton.state import State
from numbopt._kernels.specialise import clone_of
from numbopt._launch.calls import run
from numbopt._launch.cuda import Call


class DeviceVectors:
    """Vectors of one length on a GPU, as rows.

    Parameters
    ----------
    shape : (int, int)
        Number of vectors and their length.
    dtype : dtype
        float32 or float64.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        count, n = shape
        lanes = 16 // dtype.itemsize
        self._room = -(-n // lanes) * lanes  # each vector starts where 128-bit loads may
        self.shape = shape
        self.dtype = dtype
        self._flat = zeros(count * self._room, dtype, "cuda")

    def __getitem__(self, row: int) -> DeviceArray:
        """View a vector."""
        start = int(row) * self._room
        vector: DeviceArray = self._flat[start : start + self.shape[1]]
        return vector

    def copy_to_host(self) -> np.ndarray[Any, Any]:
        """Return a copy of all vectors on the host."""
        rows: np.ndarray[Any, Any] = self._flat.copy_to_host().reshape(self.shape[0], self._room)
        return rows[:, : self.shape[1]]

    def __setitem__(self, row: int, values: Any) -> None:
        """Copy values into a vector."""
        source = values if isinstance(values, DeviceArray) else np.broadcast_to(values, self.shape[1])
        copy_values(self[row], source)


class Passes:
    """Runs passes over vectors on a GPU; takes the place of a team of threads in the core.

    Parameters
    ----------
    n : int
        Length of the vectors.
    dtype : dtype
        Of the vectors.
    """

    def __init__(self, n: int, dtype: np.dtype[Any]) -> None:
        from numbopt._kernels.cuda.vectors import BLOCK

        self._n, self._dtype, self._blocks = n, dtype, -(-n // BLOCK)
        gpu = driver.device()
        self._memory = gpu.allocate(8 * self._blocks), gpu.allocate(8)
        self._partials, self._result = (memory.address for memory in self._memory)
        self._words = np.array([n, 0, 0, 0])
        self._factors = np.zeros(2)
        self._calls: dict[int, list[Call]] = {}

    def __call__(self, kind: int, out: Any, a: float, b: float, u: Any, v: Any) -> float:
        """Do a pass; return its number where it gives one, else 0."""
        if kind == COPY:
            copy_values(out, u)
            return 0.0
        if kind not in self._calls:
            self._calls[kind] = self._new_calls(kind)
        calls = self._calls[kind]
        self._words[1:] = address_of(out), address_of(u), address_of(v)
        self._factors[:] = a, b
        run([function for call in calls for function in call.calls()])
        if len(calls) == 1:
            return 0.0
        host = np.zeros(1)
        driver.device().download(host, self._result)
        return float(host[0])

    def _new_calls(self, kind: int) -> list[Call]:
        from numbopt._kernels.cuda.vectors import combine_kernel, pass_kernel

        partials = np.array([self._partials, self._blocks, self._result])
        first = Call(pass_kernel(kind, self._dtype), self._blocks, self._words, self._factors, partials[:1])
        return [first, Call(combine_kernel(kind), 1, partials)] if PASSES[kind].term else [first]


def advance_function(state: State) -> Callable[[Any, Any, float], int]:
    """Return what `quasi_newton.advance_function` returns, for a state whose vectors are on a GPU."""
    rows, products, records = state
    passes = Passes(rows.shape[1], rows.dtype)
    core, fields = _core(int(state.record["rule"])), records.view(np.recarray)
    return lambda x, g, f: int(core(rows, products, fields, x, g, float(f), passes))


def compile_ahead(rule: int, dtype: np.dtype[Any]) -> None:
    """Compile and load all passes over vectors of ``dtype``; the same for each rule."""
    from numbopt._kernels.cuda.vectors import combine_kernel, pass_kernel

    for kind, form in PASSES.items():
        _ = pass_kernel(kind, dtype).loaded
        if form.term:
            _ = combine_kernel(kind).loaded


@functools.cache
def _core(rule: int) -> Any:
    """Return the core for one rule, run by Python."""
    bindings = {"RULE": rule, "run_pass": _run_pass, "borrowed": _itself, "never_inline": _nothing}
    return clone_of(advance, bindings, lambda clone, original: clone, {}).function


def _run_pass(kind, out, a, b, u, v, passes):  # type: ignore[no-untyped-def]
    return passes(kind, out, a, b, u, v)


def _itself(vectors: Any) -> Any:
    return vectors


def _nothing() -> None:
    """Stand for what only matters to compilers."""
