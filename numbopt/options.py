"""What values a hyper-parameter may have: the checks that constructors, groups and edited groups share.

A check is called with the name and the value of an option and returns the plain Python value that rules compute with,
or raises a TypeError or ValueError that says what would be right.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

Check = Callable[[str, Any], Any]


class Number:
    """A finite real number between two bounds.

    Parameters
    ----------
    label : str
        What torch's message calls it, as in "Invalid learning rate: -1".
    low, high : float
        The smallest and the largest value that is valid.
    below : float
        A bound that the value must stay strictly below.
    finite : bool
        Whether infinity is refused.
    """

    def __init__(
        self,
        label: str,
        low: float = -math.inf,
        high: float = math.inf,
        *,
        below: float = math.inf,
        finite: bool = True,
    ) -> None:
        self.label, self.low, self.high, self.below, self.finite = label, low, high, below, finite

    def __call__(self, name: str, value: Any) -> float:
        """Return ``value`` as a float."""
        number = as_float(name, value)
        inside = self.low <= number <= self.high and (number < self.below or self.below == math.inf)
        if not inside or (self.finite and math.isinf(number)):  # NaN is not inside
            raise ValueError(f"Invalid {self.label}: {value} ({name} must be {self._range()})")
        return number

    def _range(self) -> str:
        bounds = [f">= {self.low:g}"] if self.low > -math.inf else []
        bounds += [f"<= {self.high:g}"] if self.high < math.inf else []
        bounds += [f"< {self.below:g}"] if self.below < math.inf else []
        return " ".join(["a finite number" if self.finite else "a number", " and ".join(bounds)]).strip()


class Pair:
    """Two numbers, each with a check of its own."""

    def __init__(self, first: Check, second: Check) -> None:
        self.checks = (first, second)

    def __call__(self, name: str, value: Any) -> tuple[float, float]:
        """Return ``value`` as a pair of floats."""
        if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
            raise TypeError(f"{name} must be a pair of numbers, got {value!r}")
        first, second = (check(f"{name}[{i}]", v) for i, (check, v) in enumerate(zip(self.checks, value, strict=True)))
        return first, second


def flag(name: str, value: Any) -> bool:
    """Check of an option that is on or off."""
    if value is None or (not isinstance(value, bool) and value not in (0, 1)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def ignored(name: str, value: Any) -> None:
    """Check of an option that only says how torch should compute: anything is fine and nothing follows from it."""


def not_differentiable(name: str, value: Any) -> bool:
    """Check of ``differentiable``, which numbopt cannot be."""
    if value:
        raise ValueError("differentiable=True is not supported: numbopt records no graph; leave it False")
    return False


def as_float(name: str, value: Any) -> float:
    """Return a real number or an array of one element as a float."""
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "item"):
        if math.prod(shape) != 1:
            raise ValueError(f"Tensor {name} must be 1-element, got shape {tuple(shape)}; pass a float")
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number or an array of one element, got {value!r}")
    return float(value)


def is_fixed(values: Sequence[Any]) -> bool:
    """Whether none of ``values`` can change without being replaced, as the content of a list or an array can."""
    return not any(isinstance(value, list) or getattr(value, "shape", None) is not None for value in values)


LR = Number("learning rate", low=0)
EPS = Number("epsilon value", low=0)
WEIGHT_DECAY = Number("weight_decay value", low=0)
MOMENTUM = Number("momentum value", low=0)
BETAS = Pair(Number("beta parameter at index 0", low=0, below=1), Number("beta parameter at index 1", low=0, below=1))

COMMON: dict[str, Check] = {
    "maximize": flag,
    "foreach": ignored,
    "capturable": ignored,
    "fused": ignored,
    "differentiable": not_differentiable,
}
"""Options that every optimizer's groups may hold."""

NOTES = frozenset({"name", "initial_lr", "max_lr", "min_lr", "swa_lr", "base_momentum", "max_momentum", "use_beta1"})
"""Keys that schedulers and users write into groups and that no optimizer reads."""
