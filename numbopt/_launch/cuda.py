"""Launches on a GPU: of a table, and over many arrays at once."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from numbopt._devices import driver
from numbopt._devices.arrays import address_of
from numbopt._kernels.rule import CommonScalars, Rule
from numbopt._launch.blocks import Blocks, Integers
from numbopt._launch.calls import Calls, run

if TYPE_CHECKING:
    from numbopt._kernels.cuda.kernel import Kernel

BLOCK = 4096
"""Most elements of a row: enough rows for all processors of a GPU from some hundred thousand elements on."""


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

    def calls(self) -> Calls:
        """Return the calls that launch it, none for no blocks."""
        if not self._blocks:
            return []
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
    """

    def __init__(self, kernel: "Kernel", rows: Integers, scalars: np.ndarray[Any, Any]) -> None:
        self._rows, self._dtype = Rows(rows), scalars.dtype
        self._factor = 0  # address of a number on the GPU by which the next launch multiplies all gradients, or 0
        first = np.searchsorted(rows[:, 1], np.arange(len(scalars) + 1))
        self._words = np.zeros((len(scalars), 3), np.int64)
        self._words[:, 0] = self._rows.address + 8 * first[:-1]
        self._words[:, 1] = self._rows.stride
        self._blocks, self._scalars = np.diff(first).tolist(), scalars
        self._lines = self._calls_of(kernel)

    def _calls_of(self, kernel: "Kernel") -> list[Call]:
        """Return the launches of a kernel that takes the arguments of `update_kernel`, one for each line with rows."""
        lines = zip(self._blocks, self._words, self._scalars, strict=True)
        return [Call(kernel, count, words, line) for count, words, line in lines if count]

    def calls(self) -> Calls:
        """Return the calls that do the launches, none where there are no rows."""
        self._words[:, 2] = self._factor
        self._factor = 0
        return [call for line in self._lines for call in line.calls()]


class Update(DeviceLaunch):
    """The launch of a table; see `numbopt._launch.table.Update`."""

    block: ClassVar[int | None] = BLOCK

    def __init__(self, rule: Rule, bound_arrays: bool, rows: Integers, scalars: np.ndarray[Any, Any]) -> None:
        from numbopt._kernels.cuda.rows import update_kernel

        if rule.terms is not None:
            self._partials = np.zeros((len(rows), len(rule.sums)))
            self._partials_there = driver.device().allocate(self._partials.nbytes)
            rows[:, -1] = self._partials_there.address + self._partials.strides[0] * np.arange(len(rows))
        super().__init__(update_kernel(rule, scalars.dtype, bound_arrays), rows, scalars)
        if rule.terms is not None:
            from numbopt._kernels.cuda.reductions import terms_kernel

            self._summing = self._calls_of(terms_kernel(rule, scalars.dtype, bound_arrays))

    def partial_sums(self) -> np.ndarray[Any, Any]:
        """Return the sums of the terms of the rule over each row; waits for them."""
        self._words[:, 2] = self._factor
        run([call for line in self._summing for call in line.calls()])
        driver.device().download(self._partials, self._partials_there.address)
        return self._partials

    @staticmethod
    def compile_ahead(rule: Rule, dtype: np.dtype[Any], bound_arrays: bool) -> None:
        """Compile and load whatever tables of this kind may run."""
        from numbopt._kernels.cuda.reductions import clip_kernel, squares_kernel, sum_kernel, terms_kernel
        from numbopt._kernels.cuda.rows import update_kernel

        kernels = [update_kernel(rule, dtype, bound_arrays), squares_kernel(dtype), sum_kernel(), clip_kernel()]
        if rule.terms is not None:
            kernels.append(terms_kernel(rule, dtype, bound_arrays))
        for kernel in kernels:
            _ = kernel.loaded

    def gradients_changed(self) -> None:
        """Take over other gradients in the rows."""
        self._rows.upload_column(3)

    @functools.cached_property
    def _squares(self) -> "DeviceSquareSum":
        return DeviceSquareSum(self._rows, self._dtype)

    def sum_of_squares(self) -> float:
        """Return the sum of squares of the gradients in the rows; waits for it."""
        return self._squares.value()

    def clip(self, max_norm: float) -> Callable[[], float]:
        """Let the next launch scale all gradients down to a norm, without waiting for the GPU.

        Returns
        -------
        callable
            Returns the norm before, and waits for it.
        """
        self._squares.clip(max_norm)
        self._factor = self._squares.factor_address
        return self._squares.norm


class DeviceSquareSum:
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
        from numbopt._kernels.cuda.reductions import FACTOR32_AT, FACTOR64_AT, NORM, squares_kernel

        gpu = driver.device()
        self._rows = rows
        self._partials, self._result = gpu.allocate(8 * rows.count), gpu.allocate(NORM.itemsize)
        words = np.array([rows.address, rows.stride, self._partials.address])
        self._first = Call(squares_kernel(dtype), rows.count, words)
        self._words = np.array([self._partials.address, rows.count]), np.array([self._result.address])
        self._max_norm = np.zeros(1)
        self.factor_address = self._result.address + (FACTOR32_AT if dtype == np.float32 else FACTOR64_AT)

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
        return self._first_number()

    def value(self) -> float:
        """Return the sum; waits for it."""
        run([*self._first.calls(), *self._sum.calls()])
        return self._first_number()

    def _first_number(self) -> float:
        """Return the norm or the sum, whichever was computed last; waits for it."""
        host = np.zeros(1)
        driver.device().download(host, self._result.address)
        return float(host[0])


def squares_of(addresses: Integers, sizes: Integers, dtype: np.dtype[Any]) -> float:
    """Return the sum of squares of all elements of arrays on the GPU; waits for it."""
    rows = Blocks(sizes, BLOCK).rows(addresses, addresses, itemsize=dtype.itemsize)
    return DeviceSquareSum(Rows(rows), dtype).value()


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


def filling(addresses: Integers, sizes: Integers, dtype: np.dtype[Any], value: float) -> DeviceLaunch:
    """Return the launch that fills arrays of ``sizes`` elements with a number."""
    return _launch(_FILL, addresses, addresses, sizes, dtype, value=value)


def scaling(
    addresses: Integers,
    sizes: Integers,
    dtype: np.dtype[Any],
    factor: float = 1.0,
    lower: float = -np.inf,
    upper: float = np.inf,
) -> DeviceLaunch:
    """Return the launch that multiplies arrays by a number, then keeps them between bounds."""
    return _launch(_IDENTITY, addresses, addresses, sizes, dtype, shrink=factor, lower=lower, upper=upper)


def copying(sources: Integers, targets: Integers, sizes: Integers, dtype: np.dtype[Any]) -> DeviceLaunch:
    """Return the launch that copies arrays of ``sizes`` elements."""
    return _launch(_COPY, targets, sources, sizes, dtype)


def _launch(
    rule: Rule, targets: Integers, sources: Integers, sizes: Integers, dtype: np.dtype[Any], **values: float
) -> DeviceLaunch:
    from numbopt._kernels.cuda.rows import update_kernel

    rows = Blocks(sizes, BLOCK).rows(targets, sources, itemsize=dtype.itemsize)
    given = CommonScalars()._asdict() | values
    scalars = np.array([[given[name] for name in rule.scalar_names]], dtype)
    return DeviceLaunch(update_kernel(rule, dtype), rows, scalars)
