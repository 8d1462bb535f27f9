"""SciPy's front: `minimize` in the shape of `scipy.optimize.minimize`, and `scipy_method` to be called by it."""

import warnings
from collections.abc import Callable, Mapping, Set
from typing import Any

from numbopt._minimize import gradients_only
from numbopt._minimize.first_order import STOPS, hyper_parameters, minimize_first_order
from numbopt._minimize.gradients_only import minimize_by_gradients
from numbopt._minimize.problem import Problem, scipy_optimize
from numbopt._minimize.quasi_newton import METHODS, minimize_quasi_newton
from numbopt.elementwise import ElementwiseOptimizer
from numbopt.optimizer import optimizers
from numbopt.options import Check, Number, as_float, integer, optional

_CHECKS: dict[str, Check] = {
    "gtol": Number("gtol", low=0),
    "ftol": Number("ftol", low=0),
    "maxiter": integer(low=0),
    "maxfun": integer(low=1),
    "maxls": integer(low=1),
    "maxcor": optional(integer(low=1)),
    "window": integer(low=1),
    "maxtime": optional(Number("maxtime", low=0)),
    "target": optional(as_float),
    "xtol": Number("xtol", low=0),
}


_SCIPY_NAMES: dict[Any, str] = {"l-bfgs-b": "lbfgs", "l-bfgs": "lbfgs", "bfgs": "lbfgs"}
"""SciPy's names of methods that have others here, in lower case."""

_SCIPY_OPTIONS = {
    "c1",
    "c2",
    "eps",
    "finite_diff_rel_step",
    "hess_inv0",
    "iprint",
    "norm",
    "return_all",
    "workers",
    "xrtol",
}
"""Options of SciPy's methods that have no counterpart here."""


def minimize(
    fun: Callable[..., Any] | None,
    x0: Any,
    args: Any = (),
    method: str = "lbfgs",
    jac: Any = None,
    bounds: Any = None,
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    hess: Any = None,
    hessp: Any = None,
    constraints: Any = (),
) -> Any:
    """Minimize a scalar function of an array, in the shape of `scipy.optimize.minimize`.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns the value, or with ``jac=True`` the pair of value and gradient. A function compiled by
        `numba.njit` that returns the pair runs without Python between evaluations, unless there is a callback.
        None where only gradients are known: ``jac(x)`` or ``jac(x, i)`` with the number of the iteration, and a
        first-order method. The result is then the last point.
    x0 : array_like
        Start, of any shape; ``fun`` gets arrays of this shape, in float64.
    args : tuple
        Further arguments of ``fun`` and ``jac``.
    method : {"lbfgs", "cg", "adam", "sgd", ...}
        In upper or lower case; "L-BFGS-B" and "BFGS" of SciPy stand for "lbfgs".
        Limited-memory BFGS [1]_ with the line search of Moré and Thuente [2]_; nonlinear conjugate gradients [3]_,
        which need the memory of four vectors; or an elementwise optimizer by its name, your own included.
    jac : callable, bool or {"2-point", "3-point", "cs"}, optional
        ``jac(x, *args)`` returns the gradient; True if ``fun`` returns it too. Else SciPy's finite differences.
    bounds : sequence of (low, high) or `scipy.optimize.Bounds`, optional
        No point outside is evaluated, and those variables stay as they are whose bounds are equal. If any bound is
        finite, "lbfgs" and "cg" both stand for L-BFGS within bounds [4]_: a Cauchy point, the minimum of the model over
        the variables that it leaves free, and the same line search. A start outside is moved inside.
    tol : float, optional
        Sets ``gtol`` and, but for "cg", ``ftol``.
    callback : callable, optional
        Called after every iteration, as ``callback(xk)`` or, if its only parameter has that name, as
        ``callback(intermediate_result=...)`` with fields ``x`` and ``fun``. It ends the run by raising StopIteration.
    options : dict, optional
        gtol : stop when no element of the gradient exceeds this (1e-5); with bounds, of the projected gradient.
        ftol : stop when the value changes by less than this, relative to ``max(|f|, 1)``, in three iterations in a row
        ("lbfgs" 2.2e-9, "cg" 0; 0 switches this off).
        maxiter, maxfun : limits (15000), the latter of calls of ``fun``, those for differences included.
        maxls : trials of a line search (20).
        maxcor : pairs that "lbfgs" remembers (100 up to 1000 variables, 30 to 2e4, 20 to 1e5, else 10; with bounds 10).
        direction : "dai-kou" (default), "hager-zhang" or "polak-ribiere", for "cg".
        disp : print the outcome.
        For first-order methods the arguments of the optimizer (lr, betas, ...), gtol, maxiter and maxfun, and
        ftol, window : stop when ``window`` iterations (100) improved the value by less than ftol (1e-9), relative;
        maxtime : seconds; target : stop at this value. The callback gets the best point so far.
        Without ``fun`` also xtol : stop at a step that is no longer (0); gtol is 0, maxiter 1000, and lr a number or a
        function of the iteration. The callback gets as many of x, i and the gradient there as it has parameters.

    hess, hessp, constraints
        For compatibility with SciPy. No method uses the Hessian, which a warning says, or takes constraints.

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
    .. [4] R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, SIAM J. Sci. Comput. 16 (1995) 1190-1208; J. L. Morales, J. Nocedal,
       ACM TOMS 38 (2011) 7.

    Examples
    --------
    >>> import numpy as np
    >>> result = minimize(lambda x: (np.sum((x - 3) ** 4), 4 * (x - 3) ** 3), np.zeros(5), jac=True)
    >>> result.success, bool(result.fun < 1e-6)
    (True, True)
    """
    _check_unused(method, hess, hessp, constraints)
    make_result = scipy_optimize().OptimizeResult  # before all else: nothing works without SciPy
    method, options = _checked_options(method, options, tol, with_values=fun is not None)
    problem = Problem(fun, x0, args, jac, bounds, None if fun is None else callback)
    if fun is None:
        cls = optimizers(ElementwiseOptimizer)[method]
        result = minimize_by_gradients(cls, problem, callback, options)
    elif method not in METHODS:
        result = minimize_first_order(optimizers(ElementwiseOptimizer)[method], problem, options)
    else:
        result = minimize_quasi_newton(method, problem, options)
    result |= {
        "x": result["x"].reshape(problem.shape),
        "jac": result["jac"].reshape(problem.shape),
        "nfev": result["njev"] + problem.differences,
    }
    if options["disp"]:
        print("{message} f = {fun:.6g}, {nit} iterations, {nfev} evaluations".format_map(result))
    return make_result(result)


def _check_unused(method: Any, hess: Any, hessp: Any, constraints: Any) -> None:
    """Refuse constraints, and say of second derivatives that they are not used, as SciPy does."""
    if not (constraints is None or (isinstance(constraints, (tuple, list)) and not constraints)):
        raise ValueError(f"method {method!r} takes no constraints; use SLSQP or trust-constr of SciPy")
    for name, value in (("hess", hess), ("hessp", hessp)):
        if value is not None:
            warnings.warn(f"Method {method} does not use Hessian information ({name}).", RuntimeWarning, stacklevel=3)


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
        For ``scipy.optimize.minimize(..., method=...)``; args, jac, bounds, tol, callback and options have their usual
        meaning.

    Examples
    --------
    >>> from scipy.optimize import minimize, rosen, rosen_der
    >>> bool(minimize(rosen, [-1.2, 1], jac=rosen_der, method=scipy_method("lbfgs"), tol=1e-9).fun < 1e-12)
    True
    """
    _checked_options(name, options, None)  # refuses wrong options here, not in the first run

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
        if jac is not None and getattr(jac, "__self__", None) is fun:  # SciPy has wrapped ``fun``, because of jac=True
            fun, jac = fun.fun, True
        unused: dict[str, Any] = {"hess": hess, "hessp": hessp, "constraints": constraints}
        return minimize(fun, x0, args, name, jac, bounds, tol, callback, {**options, **passed}, **unused)

    return method


def _checked_options(
    method: Any, options: Mapping[str, Any] | None, tol: float | None, *, with_values: bool = True
) -> tuple[str, dict[str, Any]]:
    """Return the method in lower case, and its options with defaults for those that are not given."""
    name = method.lower() if isinstance(method, str) else None
    name = _SCIPY_NAMES.get(name, name)
    if name in METHODS and not with_values:
        raise ValueError(
            f"method {method!r} needs the values of fun; without them take a first-order method, as 'adam'"
        )
    if name in METHODS:
        defaults = METHODS[name]
        known: Set[str] = defaults.keys()
    elif name in (first_order := optimizers(ElementwiseOptimizer)):
        defaults = STOPS if with_values else gradients_only.STOPS
        known = defaults.keys() | hyper_parameters(first_order[name])
    else:
        raise ValueError(f"unknown method {method!r}; there are {sorted([*METHODS, *first_order])}")
    given = dict(options or {})
    unused = given.keys() & _SCIPY_OPTIONS - known
    if unused:
        text = f"Unknown solver options: {', '.join(sorted(unused))}"
        warnings.warn(text, scipy_optimize().OptimizeWarning, stacklevel=3)
        given = {option: value for option, value in given.items() if option not in unused}
    unknown = given.keys() - known
    if unknown:
        raise ValueError(f"unknown options {sorted(unknown)} for method {method!r}; there are {sorted(known)}")
    if tol is not None:
        given = {"gtol": tol, **({"ftol": tol} if name != "cg" and with_values else {}), **given}
    for option in given.keys() & _CHECKS.keys():
        given[option] = _CHECKS[option](option, given[option])
    return name, {**defaults, **given}
