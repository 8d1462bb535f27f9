"""Checks of the arguments of schedulers; each returns the plain value."""

import math
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from numbopt.optimizer import Optimizer
from numbopt.options import as_float, as_integer


def check_is_optimizer(optimizer: Any) -> None:
    """Refuse what is not an optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer; pass one of numbopt, such as numbopt.SGD")


def integer(name: str, value: Any, low: int = 1) -> int:
    """Return an integer that is not below ``low``."""
    kind = {0: "non-negative integer", 1: "positive integer"}.get(low, f"integer >= {low}")
    return as_integer(name, value, low, f"Expected {kind} {name}, but got {value}")


def number(name: str, value: Any, low: float = 0.0, high: float = math.inf, *, positive: bool = False) -> float:
    """Return a finite number between ``low`` and ``high``, not 0 where it has to be positive."""
    result = as_float(name, value)
    if not low <= result <= high or not math.isfinite(result) or (positive and result == 0):  # NaN is not between
        bounds = "positive" if positive else f">= {low:g}"
        bounds += "" if high == math.inf else f" and <= {high:g}"
        raise ValueError(f"{name} must be a finite number {bounds}, got {value}")
    return result


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {' or '.join(map(repr, choices))}, instead got {value}")
    return value


def integers(name: str, values: Any, low: int = 1) -> list[int]:
    """Return an iterable of integers as a list."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of integers, got {values!r}")
    return [integer(f"{name}[{i}]", value, low) for i, value in enumerate(values)]


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[float]:
    """Return a number for each group; ``value`` is one for all groups, or a list."""
    check_is_optimizer(optimizer)
    groups = optimizer.param_groups
    if not isinstance(value, (list, tuple)):
        return [number(name, value)] * len(groups)
    if len(value) != len(groups):
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. "
            f"{name} has {len(value)} values, param_groups has {len(groups)}."
        )
    return [number(f"{name}[{i}]", item) for i, item in enumerate(value)]


def function_per_group(name: str, optimizer: Optimizer, value: Any) -> list[Callable[[int], Any]]:
    """Return a function for each group; ``value`` is one for all groups, or a list."""
    check_is_optimizer(optimizer)
    groups = optimizer.param_groups
    functions = list(value) if isinstance(value, (list, tuple)) else [value] * len(groups)
    if len(functions) != len(groups):
        raise ValueError(f"Expected {len(groups)} {name}s, but got {len(functions)}; give one, or one for each group")
    for function in functions:
        if not callable(function):
            raise TypeError(f"{name} should be a function, but got {type(function).__name__}")
    return functions


def state_of_function(function: Any) -> dict[str, Any] | None:
    """Return the attributes of a callable object; None for a plain function, which has nothing to restore."""
    if function is None or isinstance(function, FunctionType):
        return None
    return dict(getattr(function, "__dict__", {}))
