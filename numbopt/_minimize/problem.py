"""What the user of `minimize` gave: the function, the start, bounds and the callback, checked, all for flat arrays."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numbopt._devices.arrays import Array
from numbopt._kernels.specialise import is_jitted
from numbopt.options import check_is_plain


@functools.cache
def scipy_optimize() -> Any:
    """Return `scipy.optimize`, imported when it is first needed."""
    try:
        import scipy.optimize
    except ImportError as error:
        raise ImportError("minimize needs SciPy: pip install numbopt[scipy]") from error
    return scipy.optimize


_FLOAT64 = np.dtype(np.float64)
_CONTIGUOUS = (_FLOAT64.itemsize,)  # strides of a flat array


class Problem:
    """What the user gave, as a function of a flat array that returns a float and a flat gradient.

    Attributes
    ----------
    start : array of float64, shape (n,)
        Where to begin.
    shape : tuple
        The shape of the arrays that the user gets.
    bounds : (lower, upper) or None
        Flat arrays; None where no bound is finite.
    report : callable or None
        To be called with a flat point and its value after each iteration; may raise StopIteration.
    is_compiled_pair : bool
        Whether ``fun`` is compiled and returns value and gradient.
    differences : int
        How often ``fun`` was called for finite differences only.
    maxfun : int
        How often ``fun`` may be called; set by the methods that look at it here.
    single : bool
        Whether ``fun`` or ``jac`` has returned float32.
    """

    def __init__(
        self, fun: Any, x0: Any, args: Any, jac: Any, bounds: Any, callback: Callable[..., Any] | None
    ) -> None:
        start = _checked_start(x0)
        if fun is None and not callable(jac):
            raise TypeError("without fun, jac must be callable and return the gradient")
        if fun is not None and not callable(fun):
            raise TypeError(f"fun must be callable, got {type(fun).__name__}")
        if not (jac is None or isinstance(jac, bool) or callable(jac) or jac in ("2-point", "3-point", "cs")):
            raise ValueError(f"jac must be callable, True, None, '2-point', '3-point' or 'cs', got {jac!r}")
        args = args if isinstance(args, tuple) else (args,)
        is_compiled = is_jitted(fun)
        if jac is None and is_compiled and _returns_pair(fun, start, args):
            jac = True
        self.fun, self.args, self.jac, self.shape, self.start = fun, args, jac, start.shape, start.reshape(-1)
        self.bounds, self.report = _finite_bounds(bounds, start), _reporter(callback, start.shape)
        self.is_compiled_pair = is_compiled and jac is True
        # Unpacking arguments takes time, even where there are none.
        self.value: Callable[[Array], Any] = fun if not args else lambda x: fun(x, *args)
        self.is_flat = start.ndim == 1
        self.differences = 0
        self.maxfun = 0
        self.single = False

    def evaluate(self, x: Array) -> tuple[float, Array]:
        """Return value and gradient at ``x``; ``fun`` gets a copy of ``x``, which it may keep or change."""
        point = x.copy()
        if not self.is_flat:
            point = point.reshape(self.shape)
        if self.jac is True:
            pair = self.value(point)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(f"with jac=True, fun must return (value, gradient), got {type(pair).__name__}")
            value, gradient = pair
        else:
            value = self.value(point)
            gradient = (
                self.jac(point, *self.args)
                if callable(self.jac)
                else self._differences(x, _scalar(value), self.jac or "2-point")
            )
        if type(gradient) is np.ndarray and gradient.dtype is _FLOAT64 and isinstance(value, float):
            if gradient.strides == _CONTIGUOUS and gradient.size == self.start.size:
                return value, gradient  # nothing to convert
        elif np.float32 in (getattr(value, "dtype", None), getattr(gradient, "dtype", None)):
            self.single = True
        return _scalar(value), flat(gradient, self.shape)

    def is_within_differences(self, x: Array, value: float, gradient: Array) -> bool:
        """Whether a gradient by forward differences is no larger than its own error, by central ones at the same point.

        That is the best that a minimization with these differences can reach.
        """
        calls = 2 * x.size
        if not self.differences or self.jac not in (None, False, "2-point") or self.differences + calls > self.maxfun:
            return False
        central = self._differences(x, value, "3-point")
        lower, upper = self.bounds or (-np.inf, np.inf)
        projected = np.clip(central, x - upper, x - lower)
        return bool(np.abs(projected).max() <= 2 * np.abs(central - gradient).max())

    def _differences(self, x: Array, value: float, method: str) -> Array:
        """Return the gradient by finite differences within the bounds, 0 for variables that are fixed."""
        from scipy.optimize._numdiff import approx_derivative

        lower, upper = self.bounds or (np.full_like(x, -np.inf), np.full_like(x, np.inf))
        free = lower < upper

        def function(part: Array) -> Any:
            self.differences += 1
            point = x.astype(part.dtype)  # complex for complex steps
            point[free] = part
            return self.value(point.reshape(self.shape))

        gradient = np.zeros_like(x)
        if free.any():
            within = lower[free], upper[free]
            gradient[free] = approx_derivative(function, x[free], method=method, f0=value, bounds=within)
        return gradient


def _scalar(value: Any) -> float:
    if value is None:
        raise TypeError("fun returned None; it must return the value")
    if isinstance(value, tuple) and len(value) == 2:
        raise TypeError("fun returned a pair; say jac=True if that is value and gradient")
    check_is_plain("the value of fun", value)
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"fun must return a scalar, got an array of shape {array.shape}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"fun must return a real number, got {array.dtype}")
    return float(array.item())


def flat(gradient: Any, shape: tuple[int, ...]) -> Array:
    """Return a gradient as a flat array of float64, or refuse it."""
    check_is_plain("the gradient", gradient)
    array = np.asarray(gradient)
    size = math.prod(shape)
    if array.size != size or (array.ndim == len(shape) > 1 and array.shape != shape):
        raise ValueError(f"the gradient must have the shape of x0, {shape}, or be flat, got shape {array.shape}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the gradient must be real, got {array.dtype}")
    return np.ascontiguousarray(array, np.float64).reshape(-1)


def _returns_pair(fun: Any, start: Array, args: tuple[Any, ...]) -> bool:
    """Whether the compiled function ``fun`` returns a tuple for these arguments; it is compiled, not run."""
    signature = tuple(fun.typeof_pyval(argument) for argument in (start, *args))
    fun.compile(signature)
    compiled: Any = fun.overloads[signature]
    import numba

    return isinstance(compiled.signature.return_type, numba.types.BaseTuple)


def _checked_start(x0: Any) -> Array:
    check_is_plain("x0", x0)
    start = np.atleast_1d(x0)  # as SciPy does with a number
    if start.dtype.kind not in "fiub":
        raise TypeError(f"x0 must be an array of real numbers, got {start.dtype}; minimize over a complex array's view")
    if start.size == 0:
        raise ValueError("x0 is empty")
    start = np.array(start, np.float64, order="C")
    if not np.isfinite(start).all():
        raise ValueError("x0 holds NaN or infinity; give a finite starting point")
    return start


def _finite_bounds(bounds: Any, start: Array) -> tuple[Array, Array] | None:
    """Return the lower and the upper bounds as flat arrays, or None where no bound is finite."""
    if bounds is None:
        return None
    check_is_plain("bounds", bounds)
    if hasattr(bounds, "lb"):
        given = bounds.lb, bounds.ub
    else:
        pairs = list(bounds)
        if len(pairs) != start.size:
            raise ValueError(f"bounds must have one (low, high) for each of {start.size} variables, got {len(pairs)}")
        low = [-np.inf if pair[0] is None else pair[0] for pair in pairs]
        high = [np.inf if pair[1] is None else pair[1] for pair in pairs]
        given = np.array(low, np.float64), np.array(high, np.float64)
    lower, upper = (_flat_bound(bound, start) for bound in given)
    return (lower, upper) if np.isfinite([lower, upper]).any() else None


def _flat_bound(bound: Any, start: Array) -> Array:
    """Return a bound, a number or an array with the shape of the start or flat, as a flat array."""
    shape = np.shape(bound)
    if shape not in ((), (1,), (start.size,), start.shape):
        raise ValueError(f"bounds must be numbers or have the shape of x0, {start.shape}, got shape {shape}")
    return np.array(np.broadcast_to(np.ravel(bound), start.size), np.float64)


def _reporter(callback: Callable[..., Any] | None, shape: tuple[int, ...]) -> Callable[[Array, float], None] | None:
    """Return a function of the flat point and the value that calls back by SciPy's conventions."""
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"callback must be callable, got {type(callback).__name__}")
    try:
        by_keyword = set(inspect.signature(callback).parameters) == {"intermediate_result"}
    except ValueError:  # a callable without signature
        by_keyword = False

    def report(x: Array, value: float) -> None:
        point = x.reshape(shape).copy()
        if by_keyword:
            callback(intermediate_result=scipy_optimize().OptimizeResult(x=point, fun=value))
        else:
            callback(point)

    return report
