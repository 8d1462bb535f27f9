"""Bounds of parameters: whether they fit, and moving a start inside."""

import warnings
from typing import Any

import numpy as np

from numbopt._devices.arrays import copying, to_host
from numbopt._launch.calls import Calls
from numbopt.parameter import Parameter, label


def check_bounds(parameter: Parameter, bounds: tuple[Any, Any]) -> None:
    """Refuse bounds that do not fit ``parameter``."""
    if parameter.dtype.kind == "c":
        raise ValueError(f"bounds of {label(parameter)}, which is complex, have no meaning; use project=")
    for bound in bounds:
        try:
            np.broadcast_to(bound, parameter.shape)
        except ValueError:
            shape = f" of shape {parameter.shape}" if parameter.name else ""  # which else is in the label
            raise ValueError(f"bounds of shape {np.shape(bound)} do not fit {label(parameter)}{shape}") from None


def moving_inside(parameter: Parameter, bounds: tuple[Any, Any]) -> Calls:
    """Return what `run` is to call so that ``parameter`` is within bounds, and warn if there is anything to call."""
    data = parameter.array
    values = to_host(data)
    if not np.any((values < bounds[0]) | (values > bounds[1])):
        return []
    warnings.warn(f"{label(parameter)} started outside its bounds and was moved inside", stacklevel=2)
    return [copying(data, np.clip(values, *bounds))]
