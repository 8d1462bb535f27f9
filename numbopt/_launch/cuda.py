"""Tables of flat buffers on a GPU, and what else is launched over many arrays at once."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from numbopt._devices import driver
from numbopt._devices.arrays import address_of
from numbopt._kernels.rule import Rule
from numbopt._launch.blocks import Blocks, Integers
from numbopt._launch.calls import run
from numbopt._launch.table import Table

if TYPE_CHECKING:
    from numbopt._kernels.cuda.kernel import Kernel

BLOCK = 4096
"""Elements of a row at most: enough rows for all processors of a GPU from some hundred thousand elements on."""


class DeviceTable(Table):
    """All parameters on the GPU that share a rule and a dtype; see `Table`."""

    block: ClassVar[int] = BLOCK
    _launch: "DeviceLaunch | None"

    @classmethod
    def compile_ahead(cls, rule: Rule, dtype: np.dtype[Any], bound_arrays: bool) -> None:
        """Compile and load what tables of this kind may run."""
        from numbopt._kernels.cuda.reductions import clip_kernel, squares_kernel, sum_kernel
        from numbopt._kernels.cuda.rows import update_kernel

        for kernel in (update_kernel(rule, dtype, bound_arrays), squares_kernel(dtype), sum_kernel(), clip_kernel()):
            _ = kernel.loaded

    def _chosen_rows(self, has_gradient: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:
        """Return the index of the rows to work on, line by line: each line is a launch."""
        chosen = np.flatnonzero(has_gradient)
        return chosen[np.argsort(self._line_of[self._blocks.buffer[chosen]], kind="stable")]

    def _new_kernels(self, rule: Rule, bound_arrays: bool) -> "Kernel":
        from numbopt._kernels.cuda.rows import update_kernel

        return update_kernel(rule, self._dtype, bound_arrays)

    def _new_launch(self) -> "DeviceLaunch":
        return DeviceLaunch(self._kernels, self._rows, self._scalars)

    def _gradients_changed(self) -> None:
        if self._launch is not None:
            self._launch.rows.upload_column(3)

    def sum_of_squares(self) -> float:
        """Return the sum of squares of the gradients in use; waits for it."""
        return 0.0 if self._launch is None else self._launch.squares(self._dtype).value()

    def clip(self, max_norm: float) -> Callable[[], float]:
        """Let the next launch scale all gradients down to a norm; nothing waits for the GPU.

        Returns
        -------
        callable
            Returns the norm before, and waits for it.
        """
        if self._launch is None:
            return float
        squares = self._launch.squares(self._dtype)
        squares.clip(max_norm)
        self._launch.factor = squares.factor_address
        return squares.norm


class Rows:
    """Rows of a table in memory of the GPU, column by column.

    Parameters
    ----------
    rows : array of int64, shape (r, c)
        See `numbopt._kernels.cuda`; kept, so that the caller may change a column in place.

    Attributes
    ----------
    address, stride : int
        Of the first column, and the bytes from one to the next.
    count : int
        Number of rows.
    """

    def __init__(self, rows: Integers) -> None:
        self._rows = rows
        self.count = len(rows)
        self.stride = 8 * self.count
        gpu = driver.device()
        self._memory = gpu.allocate(rows.nbytes)
        self.address = self._memory.address
        gpu.upload(self.address, np.ascontiguousarray(rows.T))

    def upload_column(self, column: int) -> None:
        """Take over a changed column."""
        changed = np.ascontiguousarray(self._rows[:, column])
        driver.device().upload(self.address + column * self.stride, changed)


class Call:
    """A kernel and its arguments, which lie in memory and may be changed there.

    Parameters
    ----------
    kernel : Kernel
        Compiled and loaded here at the latest.
    blocks : int
        Blocks of threads.
    *arguments : array
        Each of one dimension; all their elements are arguments, one after the other. Kept.
    """

    def __init__(self, kernel: "Kernel", blocks: int, *arguments: np.ndarray[Any, Any]) -> None:
        from numbopt._kernels.cuda.reductions import THREADS

        self._loaded, self._blocks, self._threads, self._arguments = kernel.loaded, blocks, THREADS, arguments
        addresses = [address_of(array) + array.itemsize * np.arange(len(array)) for array in arguments]
        self._pointers = np.concatenate(addresses)

    def calls(self) -> list[Callable[[], object]]:
        """Return what is to be called, in this order."""
        gpu = driver.device()
        launch = gpu.launch(self._loaded, self._blocks, self._threads, address_of(self._pointers))
        return [gpu.activate, launch]


class DeviceLaunch:
    """The launches of a kernel that updates rows, one for each line.

    Parameters
    ----------
    kernel : Kernel
        From `update_kernel`.
    rows : array of int64, shape (r, c)
        Sorted by line; kept, as `Rows` does.
    scalars : array, shape (lines, s)
        Kept, so that the caller may change it.

    Attributes
    ----------
    rows : Rows
        On the GPU.
    factor : int
        Address of a number on the GPU by which the next launch multiplies all gradients, or 0.
    """

    def __init__(self, kernel: "Kernel", rows: Integers, scalars: np.ndarray[Any, Any]) -> None:
        self.rows = Rows(rows)
        self.factor = 0
        self._squares: SquareSum | None = None
        first = np.searchsorted(rows[:, 1], np.arange(len(scalars) + 1))
        self._words = np.zeros((len(scalars), 3), np.int64)
        self._words[:, 0] = self.rows.address + 8 * first[:-1]
        self._words[:, 1] = self.rows.stride
        self._lines = [
            Call(kernel, count, words, line)
            for count, words, line in zip(np.diff(first).tolist(), self._words, scalars, strict=True)
            if count
        ]

    def squares(self, dtype: np.dtype[Any]) -> "SquareSum":
        """Return the sum of squares of the gradients in the rows."""
        if self._squares is None:
            self._squares = SquareSum(self.rows, dtype)
        return self._squares

    def calls(self) -> list[Callable[[], object]]:
        """Return what is to be called, in this order, to do the launches."""
        self._words[:, 2] = self.factor
        self.factor = 0
        return [call for line in self._lines for call in line.calls()]


class SquareSum:
    """The sum of squares of the gradients in rows: in float64, always in the same order.

    Parameters
    ----------
    rows : Rows
        Whatever gradients are in them when the sum is asked for.
    dtype : dtype
        Of the gradients.

    Attributes
    ----------
    factor_address : int
        Address of the number that `clip` computes, of this dtype.
    """

    def __init__(self, rows: Rows, dtype: np.dtype[Any]) -> None:
        from numbopt._kernels.cuda.reductions import squares_kernel

        gpu = driver.device()
        self._rows = rows
        self._partials, self._result = gpu.allocate(8 * rows.count), gpu.allocate(24)
        words = np.array([rows.address, rows.stride, self._partials.address])
        self._first = Call(squares_kernel(dtype), rows.count, words, np.zeros(1, dtype))
        self._words = np.array([self._partials.address, rows.count]), np.array([self._result.address])
        self._max_norm = np.zeros(1)
        self.factor_address = self._result.address + (16 if dtype == np.float32 else 8)

    @functools.cached_property
    def _sum(self) -> Call:
        from numbopt._kernels.cuda.reductions import sum_kernel

        return Call(sum_kernel(), 1, *self._words)

    @functools.cached_property
    def _clip(self) -> Call:
        from numbopt._kernels.cuda.reductions import clip_kernel

        count, result = self._words
        return Call(clip_kernel(), 1, count, self._max_norm, result)

    def clip(self, max_norm: float) -> None:
        """Launch the computation of the norm and of what scales the gradients down to ``max_norm``."""
        self._max_norm[0] = max_norm
        run([*self._first.calls(), *self._clip.calls()])

    def norm(self) -> float:
        """Return the norm that `clip` computed; waits for it."""
        host = np.zeros(1)
        driver.device().download(host, self._result.address)
        return float(host[0])

    def value(self) -> float:
        """Return the sum; waits for it."""
        run([*self._first.calls(), *self._sum.calls()])
        return self.norm()  # it is where the norm else is


def squares_of(addresses: Integers, sizes: Integers, dtype: np.dtype[Any]) -> float:
    """Return the sum of squares of all elements of arrays on the GPU; waits for it."""
    rows = _rows_over(addresses, addresses, sizes, dtype)
    return SquareSum(Rows(rows), dtype).value() if len(rows) else 0.0


# ---- what is done to many arrays at once, as rules


def _fill(p, g, state, h):  # type: ignore[no-untyped-def]
    return h.value, ()


def _identity(p, g, state, h):  # type: ignore[no-untyped-def]
    return p, ()


def _copy(p, g, state, h):  # type: ignore[no-untyped-def]
    return g, ()


_FILL = Rule(_fill, scalars=("value",))
_IDENTITY = Rule(_identity)
_COPY = Rule(_copy)
_COMMON = {"grad_scale": 1.0, "l2": 0.0, "shrink": 1.0, "lower": -np.inf, "upper": np.inf}


def filling(addresses: Integers, sizes: Integers, dtype: np.dtype[Any], value: float) -> DeviceLaunch | None:
    """Return the launch that fills arrays of ``sizes`` elements with a number."""
    return _launch(_FILL, addresses, addresses, sizes, dtype, value=value)


def scaling(
    addresses: Integers,
    sizes: Integers,
    dtype: np.dtype[Any],
    factor: float = 1.0,
    lower: float = -np.inf,
    upper: float = np.inf,
) -> DeviceLaunch | None:
    """Return the launch that multiplies arrays by a number, then keeps them between bounds."""
    return _launch(_IDENTITY, addresses, addresses, sizes, dtype, shrink=factor, lower=lower, upper=upper)


def copying(sources: Integers, targets: Integers, sizes: Integers, dtype: np.dtype[Any]) -> DeviceLaunch | None:
    """Return the launch that copies arrays of ``sizes`` elements."""
    return _launch(_COPY, targets, sources, sizes, dtype)


def _launch(
    rule: Rule, targets: Integers, sources: Integers, sizes: Integers, dtype: np.dtype[Any], **values: float
) -> DeviceLaunch | None:
    from numbopt._kernels.cuda.rows import update_kernel

    rows = _rows_over(targets, sources, sizes, dtype)
    if not len(rows):
        return None
    scalars = np.array([[(_COMMON | values)[name] for name in rule.scalar_names]], dtype)
    return DeviceLaunch(update_kernel(rule, dtype), rows, scalars)


def _rows_over(params: Integers, grads: Integers, sizes: Integers, dtype: np.dtype[Any]) -> Integers:
    """Return rows over arrays in the places of parameters and gradients."""
    blocks = Blocks(sizes, BLOCK)
    rows = np.zeros((len(blocks.size), 4), np.int64)
    rows[:, 0] = blocks.size
    rows[:, 2] = params[blocks.buffer] + blocks.start * dtype.itemsize
    rows[:, 3] = grads[blocks.buffer] + blocks.start * dtype.itemsize
    return rows
