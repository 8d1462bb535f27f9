"""Clipping of gradients by their norm or value, in place.

An optimizer's ``max_grad_norm`` does the same as `clip_grad_norm_` within the step, without writing gradients.
"""

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from numbopt._devices.arrays import as_device_array, is_device_array, to_host
from numbopt._kernels.norms import clip_coefficient
from numbopt._launch.many_arrays import clip, scale, two_norm
from numbopt.options import as_float, check_is_plain
from numbopt.parameter import Parameter


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> float:
    """Scale gradients down so that their norm, taken over all of them together, is at most ``max_norm``.

    Parameters
    ----------
    parameters : Parameter, array, or iterable of them
        Parameters, whose gradients are changed where they have one, or gradients themselves.
    max_norm : float
        The largest norm.
    norm_type : float
        p of the p-norm; infinity for the largest absolute value.
    error_if_nonfinite : bool
        Raise an error if the norm is NaN or infinite; otherwise the gradients become NaN or zero.
    foreach
        Ignored, for compatibility with torch.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    RuntimeError
        If the norm is not finite and ``error_if_nonfinite``.
    TypeError, ValueError
        If there is something else among the parameters, or ``max_norm`` or ``norm_type`` is no such number.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> g = np.array([3.0, 4.0])
    >>> numbopt.clip_grad_norm_(g, 1.0)
    5.0
    >>> g.round(3)
    array([0.6, 0.8])
    """
    gradients = _gradients(parameters)
    norm = get_total_norm(gradients, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(gradients, max_norm, norm)
    return norm


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> float:
    """Return the norm of all elements of some arrays together.

    Parameters
    ----------
    tensors : array or iterable of arrays
        For example gradients.
    norm_type, error_if_nonfinite, foreach
        As for `clip_grad_norm_`.

    Returns
    -------
    float
        The norm, 0 for no arrays. 2-norms are summed in double precision, with the same bits for any number of threads;
        for other norms, arrays on a GPU are copied to the host.

    Raises
    ------
    RuntimeError
        If the norm is not finite and ``error_if_nonfinite``.
    """
    arrays = _gradients(tensors)
    order = as_float("norm_type", norm_type)
    if order == 2:
        norm = two_norm(np.ascontiguousarray(a) if isinstance(a, np.ndarray) else a for a in arrays)
    else:
        norms = [float(np.linalg.norm(to_host(array).ravel(), order)) for array in arrays if array.size]
        norm = float(np.linalg.norm(norms, order)) if norms else 0.0
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return norm


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: float, foreach: bool | None = None) -> None:
    """Scale gradients whose norm is known so that it is at most ``max_norm``.

    Parameters
    ----------
    parameters, max_norm, foreach
        As for `clip_grad_norm_`.
    total_norm : float
        What `get_total_norm` returned.
    """
    limit = as_float("max_norm", max_norm)
    if not limit >= 0:
        raise ValueError(f"max_norm must be a number >= 0, got {max_norm!r}")
    coefficient = clip_coefficient(limit, as_float("total_norm", total_norm))
    scale(_gradients(parameters), coefficient)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clip each element of gradients to the range from ``-clip_value`` to ``clip_value``.

    Parameters
    ----------
    parameters, foreach
        As for `clip_grad_norm_`. Real and imaginary parts of complex gradients are clipped each for itself.
    clip_value : float
        The largest absolute value.
    """
    limit = as_float("clip_value", clip_value)
    if not limit >= 0:
        raise ValueError(f"clip_value must be a number >= 0, got {clip_value!r}")
    clip(_gradients(parameters), limit)


def _gradients(parameters: Any) -> list[Any]:
    """Return the gradients among ``parameters``."""
    if isinstance(parameters, (Parameter, np.ndarray)) or is_device_array(parameters):
        parameters = [parameters]
    if not isinstance(parameters, Iterable):
        raise TypeError(f"parameters must be Parameters or gradient arrays, got {parameters!r}")
    items = list(parameters)
    if not items:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    gradients = []
    for item in items:
        gradient = item.grad_array if isinstance(item, Parameter) else item
        if gradient is None:
            continue
        if is_device_array(gradient):
            gradient = as_device_array(gradient)
            fits = gradient.dtype.kind in "fc" and gradient.memory_order is not None
        else:
            check_is_plain("a gradient", gradient)
            fits = isinstance(gradient, np.ndarray) and gradient.dtype.kind in "fc"
        if not fits:
            raise TypeError(f"parameters must be Parameters or arrays of real or complex numbers, got {item!r}")
        gradients.append(gradient)
    return gradients
