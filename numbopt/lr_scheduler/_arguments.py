"""Checks of the arguments of schedulers; each returns the plain value."""

import math
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from numbopt.optimizer import Optimizer
from numbopt.options import as_float, as_integer


def check_is_optimizer(optimizer: Any) -> None:
    """Raise a TypeError if ``optimizer`` is not an optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer; pass one of numbopt, such as numbopt.SGD")


def integer(name: str, value: Any, low: int = 1) -> int:
    """Return an integer that is at least ``low``."""
    kind = {0: "non-negative integer", 1: "positive integer"}.get(low, f"integer >= {low}")
    return as_integer(name, value, low, f"Expected {kind} {name}, but got {value}")


def number(name: str, value: Any, *, positive: bool = False) -> float:
    """Return a finite number that is not negative, and not 0 if it must be positive."""
    result = as_float(name, value)
    if not 0 <= result < math.inf or (positive and result == 0):  # NaN is not between them
        raise ValueError(f"{name} must be a finite number {'> 0' if positive else '>= 0'}, got {value}")
    return result


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of the choices."""
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
        lengths = f"it has {len(value)} values for {len(groups)} groups"
        raise ValueError(f"{name} must have the same length as optimizer.param_groups: {lengths}")
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
    """Return the attributes of a callable object, or None for a plain function, which has nothing to restore."""
    return None if isinstance(function, FunctionType) else dict(getattr(function, "__dict__", {}))
