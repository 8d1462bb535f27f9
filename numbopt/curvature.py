"""The Hessian at a minimum by differences of the gradient, and the uncertainties of a fit that follow from it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numbopt._devices.arrays import Array
from numbopt.options import as_float, check_is_plain


def hessian(jac: Callable[..., Any], x: Any, args: tuple[Any, ...] = (), *, rel_step: float = 6e-6) -> Array:
    """Return the matrix of second derivatives by central differences of the gradient.

    Parameters
    ----------
    jac : callable
        ``jac(x, *args)`` returns the gradient, of the shape of ``x``.
    x : array_like
        The point, of any shape and ``n`` elements.
    args : tuple
        Further arguments of ``jac``.
    rel_step : float
        Distance of the points from ``x`` relative to ``max(|x|, 1)``, near the cube root of the precision of doubles,
        where truncation and rounding are balanced.

    Returns
    -------
    array of float64, shape (n, n)
        Symmetric. The gradient is called ``2 n`` times.

    Raises
    ------
    TypeError, ValueError
        If ``x`` or a gradient does not fit, or a gradient is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> hessian(lambda x: np.array([2 * x[0] + x[1], x[0]]), [1.0, 3.0]).round(6)
    array([[2., 1.],
           [1., 0.]])
    """
    check_is_plain("x", x)
    point = np.array(x, np.float64, order="C")
    flat = point.reshape(-1)
    steps = as_float("rel_step", rel_step) * np.maximum(np.abs(flat), 1.0)
    rows = np.empty((flat.size, flat.size))
    for i, step in enumerate(steps):
        ends = []
        for sign in (1.0, -1.0):
            moved = flat.copy()
            moved[i] += sign * step
            gradient = np.asarray(jac(moved.reshape(point.shape), *args), np.float64)
            if gradient.size != flat.size:
                raise ValueError(f"jac must return as many elements as x, {flat.size}, got shape {gradient.shape}")
            if not np.isfinite(gradient).all():
                raise ValueError(f"the gradient is not finite beside x, where element {i} is {moved[i]}")
            ends.append((moved[i], gradient.reshape(-1)))
        (after, gradient_after), (before, gradient_before) = ends
        rows[i] = (gradient_after - gradient_before) / (after - before)
    return (rows + rows.T) / 2


def covariance(
    jac: Callable[..., Any],
    x: Any,
    args: tuple[Any, ...] = (),
    *,
    scale: float = 1.0,
    fixed: Any = None,
    rel_step: float = 6e-6,
) -> Array:
    """Return the covariance of parameters that minimize a function: ``scale`` times the inverse Hessian.

    The roots of its diagonal are the standard errors of the parameters. ``hess_inv`` of a result of `minimize` is what
    the method has learnt on its way; its diagonal may be several times too large or too small.

    Parameters
    ----------
    jac, x, args, rel_step
        As for `hessian`; ``x`` is the minimum.
    scale : float
        1 for a negative log-likelihood, and for half of the sum of squares of residuals that are divided by their
        errors. Where errors are unknown, for half of the sum of squares ``S``, the variance of the residuals,
        ``S / (number of data - number of parameters)``.
    fixed : array_like of bool, optional
        Parameters that are at a bound or were not free; their covariances are 0.

    Returns
    -------
    array of float64, shape (n, n)
        NaN if the Hessian is not positive definite: then ``x`` is no minimum, or the data do not determine all
        parameters.

    Raises
    ------
    TypeError, ValueError
        As `hessian`; ValueError, too, if ``fixed`` does not fit.

    Examples
    --------
    A straight line through points with errors of 0.1:

    >>> import numpy as np
    >>> t, errors = np.arange(5.0), 0.1
    >>> design = np.stack([np.ones(5), t], axis=1) / errors
    >>> jac = lambda p: design.T @ (design @ p - (1 + 2 * t) / errors)
    >>> np.sqrt(np.diag(covariance(jac, [1.0, 2.0]))).round(4)
    array([0.0775, 0.0316])
    """
    second = hessian(jac, x, args, rel_step=rel_step)
    n = len(second)
    is_free = np.ones(n, bool) if fixed is None else ~np.asarray(fixed, bool).reshape(-1)
    if is_free.size != n:
        raise ValueError(f"fixed must have as many elements as x, {n}, got {is_free.size}")
    result = np.zeros((n, n))
    free = np.ix_(is_free, is_free)
    try:
        root = np.linalg.inv(np.linalg.cholesky(second[free]))
        result[free] = as_float("scale", scale) * (root.T @ root)
    except np.linalg.LinAlgError:
        result[free] = np.nan
    return result
