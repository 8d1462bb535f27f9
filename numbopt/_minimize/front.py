"""SciPy's front: `minimize` in the shape of `scipy.optimize.minimize`, and `scipy_method` to be called by it."""

import functools
import inspect
from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import is_jitted

from numbopt import options as checks
from numbopt._devices.arrays import Array
from numbopt._kernels.quasi_newton import state as qn
from numbopt._launch import quasi_newton as cores
from numbopt._minimize.first_order import STOPS, descend, hyper_parameters
from numbopt.elementwise import ElementwiseOptimizer
from numbopt.optimizer import optimizers


class Method(NamedTuple):
    """A method of `minimize`: the rule of the core for given options, and the options with their defaults."""

    rule: Callable[[dict[str, Any]], int]
    defaults: Mapping[str, Any]


def _direction(options: dict[str, Any]) -> int:
    if options["direction"] not in qn.CONJUGATE:
        raise ValueError(f"direction must be one of {sorted(qn.CONJUGATE)}, got {options['direction']!r}")
    return qn.CONJUGATE[options["direction"]]


_COMMON = {"gtol": 1e-5, "maxiter": 15000, "maxfun": 15000, "maxls": 20, "disp": False}
_METHODS = {
    "lbfgs": Method(lambda options: qn.LBFGS, {**_COMMON, "ftol": 2.220446049250313e-09, "maxcor": None}),
    "cg": Method(_direction, {**_COMMON, "ftol": 0.0, "direction": "dai-kou"}),
}
_CHECKS: dict[str, checks.Check] = {
    "gtol": checks.Number("gtol", low=0),
    "ftol": checks.Number("ftol", low=0),
    "maxiter": checks.integer(low=0),
    "maxfun": checks.integer(low=1),
    "maxls": checks.integer(low=1),
    "maxcor": checks.optional(checks.integer(low=1)),
    "window": checks.integer(low=1),
    "maxtime": checks.optional(checks.Number("maxtime", low=0)),
    "target": checks.optional(checks.as_float),
}

_STOPPED_BY_CALLBACK = -1
_SUCCESS, _LIMIT, _FAILURE, _CALLBACK = 0, 1, 2, 99  # status, as SciPy's L-BFGS-B and callbacks have it
_OUTCOMES = {
    qn.GRADIENT_SMALL: (_SUCCESS, "Converged: no element of the gradient exceeds gtol."),
    qn.CHANGE_SMALL: (_SUCCESS, "Converged: the relative change of the function was below ftol three times in a row."),
    qn.MAX_ITERATIONS: (_LIMIT, "The number of iterations reached maxiter."),
    qn.MAX_EVALUATIONS: (_LIMIT, "The number of evaluations reached maxfun."),
    qn.NO_LOWER_POINT: (
        _FAILURE,
        "The line search found no lower point, not even along the gradient: rounding errors of the function, or its "
        "gradient is wrong.",
    ),
    qn.GRADIENT_WRONG: (
        _FAILURE,
        "The line search found no lower point: the gradient disagrees with the function, or the function is computed "
        "in less than double precision. Compare with scipy.optimize.check_grad.",
    ),
    qn.START_NOT_FINITE: (_FAILURE, "The function or its gradient is not finite at x0."),
    qn.NOT_FINITE_AHEAD: (
        _FAILURE,
        "The line search led nowhere: the function or its gradient is not finite at the points ahead of x.",
    ),
    _STOPPED_BY_CALLBACK: (_CALLBACK, "`callback` raised `StopIteration`."),
}


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: str = "lbfgs",
    jac: Any = None,
    bounds: Any = None,
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Minimise a scalar function of an array, in the shape of `scipy.optimize.minimize`.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns the value, or with ``jac=True`` the pair of value and gradient. A function compiled by
        `numba.njit` that returns the pair runs without Python between evaluations, unless there is a callback.
    x0 : array_like
        Start, of any shape; ``fun`` gets arrays of this shape, in float64.
    args : tuple
        Further arguments of ``fun`` and ``jac``.
    method : {"lbfgs", "cg", "adam", "sgd", ...}
        Limited-memory BFGS [1]_ with the line search of Moré and Thuente [2]_; nonlinear conjugate gradients [3]_,
        which need the memory of four vectors; or an elementwise optimizer by its name, also one of your own.
    jac : callable, bool or {"2-point", "3-point", "cs"}, optional
        ``jac(x, *args)`` returns the gradient; True if ``fun`` returns it too. Else SciPy's finite differences.
    bounds : sequence of (low, high) or `scipy.optimize.Bounds`, optional
        First-order methods keep them. If any is finite, "lbfgs" and "cg" hand the problem over to SciPy's L-BFGS-B, and
        the message says so.
    tol : float, optional
        Sets ``gtol`` and, but for "cg", ``ftol``.
    callback : callable, optional
        Called after every iteration, as ``callback(xk)`` or, if its only parameter has that name, as
        ``callback(intermediate_result=...)`` with fields ``x`` and ``fun``. It ends the run by raising StopIteration.
    options : dict, optional
        gtol : stop when no element of the gradient exceeds this (1e-5).
        ftol : stop when the value changes by less than this, relative to ``max(|f|, 1)``, in three iterations in a row
        ("lbfgs" 2.2e-9, "cg" 0; 0 switches this off).
        maxiter, maxfun : limits (15000).
        maxls : trials of a line search (20).
        maxcor : pairs that "lbfgs" remembers (100 up to 1000 variables, 30 to 2e4, 20 to 1e5, else 10).
        direction : "dai-kou" (default), "hager-zhang" or "polak-ribiere", for "cg".
        disp : print the outcome.
        For first-order methods the arguments of the optimizer (lr, betas, ...), gtol, maxiter and maxfun, and
        ftol, window : stop when ``window`` iterations (100) improved the value by less than ftol (1e-9), relative;
        maxtime : seconds; target : stop at this value. The callback gets the best point so far.

    Returns
    -------
    scipy.optimize.OptimizeResult
        With x, fun, jac, nit, nfev, njev, success, status, message and, for "lbfgs", hess_inv. Whatever the outcome,
        x is the best point found, and fun and jac belong to it.

    References
    ----------
    .. [1] J. Nocedal, Math. Comp. 35 (1980) 773-782.
    .. [2] J. J. Moré, D. J. Thuente, ACM TOMS 20 (1994) 286-307.
    .. [3] Y.-H. Dai, C.-X. Kou, SIAM J. Optim. 23 (2013) 296-320, and the survey by W. W. Hager and H. Zhang,
       Pacific J. Optim. 2 (2006) 35-58.

    Examples
    --------
    >>> import numpy as np
    >>> result = minimize(lambda x: (np.sum((x - 3) ** 4), 4 * (x - 3) ** 3), np.zeros(5), jac=True)
    >>> result.success, bool(result.fun < 1e-6)
    (True, True)
    """
    scipy_optimize = _import_scipy()
    start = _checked_start(x0)
    method, options = _checked_options(method, options, tol)
    arguments = args if isinstance(args, tuple) else (args,)
    if jac is None and _returns_pair(fun, start, arguments):
        jac = True
    limits = _finite_bounds(bounds, start)
    objective = _Objective(fun, arguments, jac, start)
    report = _reporter(callback, start.shape)
    if method not in _METHODS:
        result = _minimize_first_order(
            objective, start, optimizers(ElementwiseOptimizer)[method], limits, options, report
        )
    elif limits is not None:
        result = _hand_over(objective, start, limits, report, options)
    else:
        result = _minimize_quasi_newton(objective, start, _METHODS[method].rule(options), options, report)
    result |= {
        "x": result["x"].reshape(start.shape),
        "jac": result["jac"].reshape(start.shape),
        "nfev": result["njev"] + objective.differences,
    }
    if options["disp"]:
        print("{message} f = {fun:.6g}, {nit} iterations, {nfev} evaluations".format_map(result))
    return scipy_optimize.OptimizeResult(result)


def scipy_method(name: str, **options: Any) -> Callable[..., Any]:
    """Return a method of this library for `scipy.optimize.minimize`.

    Parameters
    ----------
    name : str
        A method of `minimize`.
    **options
        Its options. Those that SciPy passes take precedence.

    Returns
    -------
    callable
        For ``scipy.optimize.minimize(..., method=...)``, which honours args, jac, bounds, tol, callback and options.

    Examples
    --------
    >>> from scipy.optimize import minimize, rosen, rosen_der
    >>> bool(minimize(rosen, [-1.2, 1], jac=rosen_der, method=scipy_method("lbfgs"), tol=1e-9).fun < 1e-12)
    True
    """
    _checked_options(name, options, None)  # refuses them now

    def method(
        fun: Callable[..., Any],
        x0: Any,
        args: Any = (),
        *,
        jac: Any = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Callable[..., Any] | None = None,
        tol: float | None = None,
        **passed: Any,
    ) -> Any:
        if constraints not in ((), [], None):
            raise ValueError(f"method {name!r} takes no constraints; use SLSQP or trust-constr of SciPy")
        if jac is not None and getattr(jac, "__self__", None) is fun:  # jac=True: SciPy wraps a function of pairs
            fun, jac = fun.fun, True
        return minimize(fun, x0, args, name, jac, bounds, tol, callback, {**options, **passed})

    return method


_FLOAT64 = np.dtype(np.float64)
_CONTIGUOUS = (_FLOAT64.itemsize,)  # strides of a flat array


class _Objective:
    """What the user gave, as a function of a flat array that returns a float and a flat gradient."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...], jac: Any, start: Array) -> None:
        if not callable(fun):
            raise TypeError(f"fun must be callable, got {type(fun).__name__}")
        if not (jac is None or isinstance(jac, bool) or callable(jac) or jac in ("2-point", "3-point", "cs")):
            raise ValueError(f"jac must be callable, True, None, '2-point', '3-point' or 'cs', got {jac!r}")
        self.fun, self.args, self.jac, self.shape, self.size = fun, args, jac, start.shape, start.size
        # Unpacking arguments takes time, also where there are none.
        self.value: Callable[[Array], Any] = fun if not args else lambda x: fun(x, *args)
        self.is_flat = start.ndim == 1
        self.differences = 0  # further calls of fun, for differences
        self.single = False  # computed in float32, as far as the results tell

    def evaluate(self, x: Array) -> tuple[float, Array]:
        """Return value and gradient; the user gets a copy of the point, to keep or to change."""
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
            gradient = self.jac(point, *self.args) if callable(self.jac) else self._differences(x, _scalar(value))
        if type(gradient) is np.ndarray and gradient.dtype is _FLOAT64 and isinstance(value, float):
            if gradient.strides == _CONTIGUOUS and gradient.size == self.size:
                return value, gradient  # nothing to convert
        elif np.float32 in (getattr(value, "dtype", None), getattr(gradient, "dtype", None)):
            self.single = True
        return _scalar(value), _flat(gradient, self.size)

    def _differences(self, x: Array, value: float) -> Array:
        from scipy.optimize._numdiff import approx_derivative

        def function(flat: Array) -> Any:
            self.differences += 1
            return self.value(flat.reshape(self.shape))

        return np.atleast_1d(approx_derivative(function, x, method=self.jac or "2-point", f0=value))


def _scalar(value: Any) -> float:
    if value is None:
        raise TypeError("fun returned None; it must return the value")
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"fun must return a scalar, got an array of shape {array.shape}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"fun must return a real number, got {array.dtype}")
    return float(array.item())


def _flat(gradient: Any, size: int) -> Array:
    array = np.asarray(gradient)
    if array.size != size:
        raise ValueError(f"the gradient must have as many elements as x0, {size}, got shape {array.shape}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"the gradient must be real, got {array.dtype}")
    return np.ascontiguousarray(array, np.float64).reshape(-1)


def _minimize_quasi_newton(
    objective: _Objective, start: Array, rule: int, options: dict[str, Any], report: Any
) -> dict[str, Any]:
    x = start.reshape(-1).copy()
    state = qn.new_state(
        x.size,
        x.dtype,
        rule,
        _history_size(options, x.size),
        tolerance_gradient=options["gtol"],
        tolerance_relative=options["ftol"] if options["ftol"] > 0 else -1.0,
        max_iterations=options["maxiter"],
        max_evaluations=options["maxfun"],
        max_trials=options["maxls"],
    )
    if report is None and objective.jac is True and _is_compiled(objective.fun):
        answer = cores.driver()(cores.kernel(rule), *state, x, x.reshape(start.shape), objective.fun, objective.args)
    else:
        answer = _run(objective, x, state, report)
    status, message = _OUTCOMES[answer]
    result = {
        "x": x,
        "fun": state[2]["value"].item(),
        "jac": state[0][qn.BASE_G].copy(),
        "nit": state[2]["iterations"].item(),
        "njev": state[2]["evaluations"].item(),
        "success": status == _SUCCESS,
        "status": status,
        "message": message,
    }
    if rule == qn.LBFGS:
        result["hess_inv"] = _import_scipy().LbfgsInvHessProduct(*cores.pairs(state)[:2])
    return result


def _minimize_first_order(
    objective: _Objective, start: Array, cls: Any, bounds: Any, options: dict[str, Any], report: Any
) -> dict[str, Any]:
    x = start.reshape(-1).copy()
    status, message, value, point, gradient, iterations = descend(cls, objective.evaluate, x, bounds, options, report)
    return {
        "x": point,
        "fun": value,
        "jac": gradient,
        "nit": iterations,
        "njev": iterations + 1,
        "success": status == _SUCCESS,
        "status": status,
        "message": message,
    }


def _run(objective: _Objective, x: Array, state: Any, report: Any) -> int:
    """Evaluate and advance until the core stops; afterwards ``x`` is the best point."""
    record = state[2][0]
    evaluate, advance = objective.evaluate, cores.advance_function(state)
    answer = qn.EVALUATE
    iterations = 0
    while answer == qn.EVALUATE:
        value, gradient = evaluate(x)
        if objective.single:
            record["epsilon"] = np.finfo(np.float32).eps
        answer = advance(x, gradient, value)
        if report is not None and record["iterations"] > iterations:
            iterations = int(record["iterations"])
            try:
                report(state[0][qn.BASE_X], float(record["value"]))
            except StopIteration:
                answer = _STOPPED_BY_CALLBACK
    if answer == _STOPPED_BY_CALLBACK:
        x[:] = state[0][qn.BASE_X]
    return answer


def _is_compiled(fun: Any) -> bool:
    return hasattr(fun, "py_func") and is_jitted(fun)  # the latter takes as long as an evaluation


def _returns_pair(fun: Any, start: Array, args: tuple[Any, ...]) -> bool:
    """Whether ``fun`` is compiled and returns a tuple for these arguments, found out without running it."""
    if not _is_compiled(fun):
        return False
    signature = tuple(fun.typeof_pyval(argument) for argument in (start, *args))
    fun.compile(signature)
    compiled: Any = fun.overloads[signature]
    return isinstance(compiled.signature.return_type, numba.types.BaseTuple)


def _history_size(options: dict[str, Any], n: int) -> int:
    if options.get("maxcor") is not None:
        return options["maxcor"]  # type: ignore[no-any-return]
    return next((pairs for size, pairs in ((1000, 100), (20_000, 30), (100_000, 20)) if n <= size), 10)


def _checked_start(x0: Any) -> Array:
    start = np.asarray(x0)
    if start.dtype.kind not in "fiub":
        raise TypeError(f"x0 must be an array of real numbers, got {start.dtype}; minimise over a complex array's view")
    if start.size == 0:
        raise ValueError("x0 is empty")
    start = np.array(start, np.float64, order="C")
    if not np.isfinite(start).all():
        raise ValueError("x0 holds NaN or infinity; give a finite starting point")
    return start


def _checked_options(method: Any, options: Mapping[str, Any] | None, tol: float | None) -> tuple[str, dict[str, Any]]:
    """Return the method in lower case and its options, completed."""
    name = method.lower() if isinstance(method, str) else None
    if name in _METHODS:
        defaults = _METHODS[name].defaults
        known: Set[str] = defaults.keys()
    elif name in (first_order := optimizers(ElementwiseOptimizer)):
        defaults = STOPS
        known = STOPS.keys() | hyper_parameters(first_order[name])
    else:
        raise ValueError(f"unknown method {method!r}; there are {sorted([*_METHODS, *first_order])}")
    given = dict(options or {})
    unknown = given.keys() - known
    if unknown:
        raise ValueError(f"unknown options {sorted(unknown)} for method {method!r}; there are {sorted(known)}")
    if tol is not None:
        given = {"gtol": tol, **({} if name == "cg" else {"ftol": tol}), **given}
    for option in given.keys() & _CHECKS.keys():
        given[option] = _CHECKS[option](option, given[option])
    return name, {**defaults, **given}


def _finite_bounds(bounds: Any, start: Array) -> tuple[Array, Array] | None:
    """Return the lower and the upper bounds as flat arrays, or None where no bound is finite."""
    if bounds is None:
        return None
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


def _hand_over(
    objective: _Objective, start: Array, bounds: Any, report: Any, options: dict[str, Any]
) -> dict[str, Any]:
    """Let SciPy's L-BFGS-B solve a problem with bounds."""
    from scipy.optimize import Bounds
    from scipy.optimize import minimize as scipy_minimize

    def callback(intermediate_result: Any) -> None:
        report(intermediate_result.x, intermediate_result.fun)

    result: dict[str, Any] = scipy_minimize(
        objective.evaluate,
        start.reshape(-1),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(*bounds),
        callback=callback if report is not None else None,
        options={
            **{name: options[name] for name in ("gtol", "ftol", "maxiter", "maxfun", "maxls")},
            "maxcor": options.get("maxcor") or 10,
        },
    )
    result["message"] = f"Solved by SciPy's L-BFGS-B, because there are bounds: {result['message']}"
    return result


def _reporter(callback: Callable[..., Any] | None, shape: tuple[int, ...]) -> Any:
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
        from scipy.optimize import OptimizeResult

        point = x.reshape(shape).copy()
        if by_keyword:
            callback(intermediate_result=OptimizeResult(x=point, fun=value))
        else:
            callback(point)

    return report


@functools.cache
def _import_scipy() -> Any:
    try:
        import scipy.optimize
    except ImportError as error:
        raise ImportError("minimize needs SciPy: pip install numbopt[scipy]") from error
    return scipy.optimize
