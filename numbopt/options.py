"""What values an option may have: the checks that constructors, groups and edited groups share.

A check is called with the name and the value of an option. It returns the plain Python value that rules compute with,
or raises a TypeError or ValueError that says which values are valid.
"""

import contextlib
import functools
import math
import operator
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

Check = Callable[[str, Any], Any]


def check_is_plain(what: str, value: Any) -> None:
    """Refuse a value of which NumPy would drop the mask or the unit, and with it what the numbers mean."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array; pass its .filled(...) or .data")
    for name in ("unit", "units"):  # astropy; pint, unyt
        unit = str(getattr(value, name, ""))
        if unit not in ("", "dimensionless", "None"):
            raise TypeError(f"{what} has the unit {unit}; pass its plain numbers, all in units that fit together")


@dataclass(frozen=True)
class Number:
    """The check of a real number between two bounds.

    Parameters
    ----------
    label : str
        The name of the option in torch's message, as in "Invalid learning rate: -1".
    low, high : float
        The smallest and the largest valid value.
    above, below : float
        Bounds that the value must be strictly between.
    finite : bool
        Whether infinity is refused.
    """

    label: str
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    finite: bool = True

    def __call__(self, name: str, value: Any) -> float:
        """Return ``value`` as a float."""
        if type(value) is float and self.above < value < self.below and self.low <= value <= self.high:
            return value  # most are, and learning rates are often edited
        number = as_float(name, value)
        inside = self.low <= number <= self.high
        inside &= self.above < number or self.above == -math.inf
        inside &= number < self.below or self.below == math.inf
        if not inside or (self.finite and math.isinf(number)):  # for NaN, `inside` is False
            raise ValueError(f"Invalid {self.label}: {value} ({name} must be {self._range()})")
        return number

    def _range(self) -> str:
        bounds = [f">= {self.low:g}"] if self.low > -math.inf else []
        bounds += [f"<= {self.high:g}"] if self.high < math.inf else []
        bounds += [f"> {self.above:g}"] if self.above > -math.inf else []
        bounds += [f"< {self.below:g}"] if self.below < math.inf else []
        return " ".join(["a finite number" if self.finite else "a number", " and ".join(bounds)]).strip()


class Several:
    """The check of several numbers.

    Parameters
    ----------
    *checks : callable
        The check of each.
    """

    def __init__(self, *checks: Check) -> None:
        self.checks = checks

    def __call__(self, name: str, value: Any) -> tuple[Any, ...]:
        """Return ``value`` as a tuple."""
        is_ordered = isinstance(value, (tuple, list)) or getattr(value, "ndim", 0) > 0
        if not is_ordered or len(value) != len(self.checks):
            what = {2: "a pair of numbers", 3: "three numbers"}[len(self.checks)]
            raise TypeError(f"{name} must be {what}, got {value!r}")
        return tuple(check(f"{name}[{i}]", value[i]) for i, check in enumerate(self.checks))


def integer(low: int) -> Check:
    """Return the check of an integer that is at least ``low``."""

    def check(name: str, value: Any) -> int:
        number = as_float(name, value)  # users write 1e4, which is a float
        refusal = f"Invalid {name} value: {value} ({name} must be an integer >= {low})"
        return as_integer(name, int(number) if number.is_integer() else number, low, refusal)

    return check


def optional(check: Check) -> Check:
    """Return a check that accepts None, too."""
    return lambda name, value: None if value is None else check(name, value)


def one_of(*choices: Any) -> Check:
    """Return the check of a choice."""

    def check(name: str, value: Any) -> Any:
        if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
        return value

    return check


def flag(name: str, value: Any) -> bool:
    """Check of an option that is on or off."""
    value = _element(name, value)
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def ignored(name: str, value: Any) -> None:
    """Check of an option that only tells torch how to compute. Any value is accepted and has no effect."""


def not_differentiable(name: str, value: Any) -> bool:
    """Check of ``differentiable``. numbopt is not differentiable, so the option must be off."""
    if value is not None and flag(name, value):
        raise ValueError("differentiable=True is not supported: numbopt records no graph; leave it False")
    return False


UNBOUNDED = (-math.inf, math.inf)


def bounds(name: str, value: Any) -> tuple[Any, Any]:
    """Check of a lower and an upper bound, each None, a number or an array.

    Returns floats or read-only copies of arrays, of float64.
    """
    if value is None:
        return UNBOUNDED
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} must be a pair (lower, upper) of numbers, arrays or None, got {value!r}")
    lower, upper = (_bound(name, UNBOUNDED[i] if bound is None else bound) for i, bound in enumerate(value))
    if np.any(np.greater(lower, upper)):
        raise ValueError(f"{name} must have lower <= upper everywhere, got {value!r}")
    return lower, upper


def _bound(name: str, value: Any) -> Any:
    if _is_frozen(value):
        return value  # what this returned before
    check_is_plain(name, value)
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers or arrays of them, got {value!r}")
    if np.isnan(array).any():
        raise ValueError(f"{name} must not hold NaN, got {value!r}")
    if array.ndim == 0:
        return float(array)
    array = array.astype(np.float64)
    array.setflags(write=False)
    return array


def _is_frozen(value: Any) -> bool:
    """Whether ``value`` is an array that nothing can change."""
    return type(value) is np.ndarray and not value.flags.writeable and value.base is None


def projection(name: str, value: Any) -> Callable[[Any], Any] | None:
    """Check of a function of the data of a parameter, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be None or a function of the parameter's array, got {value!r}")
    return value  # type: ignore[no-any-return]


def as_float(name: str, value: Any) -> float:
    """Return a real number or an array of one element as a float."""
    value = _element(name, value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number or an array of one element, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large for a float") from None


def as_integer(name: str, value: Any, low: int, refusal: str | None = None) -> int:
    """Return an integer that is at least ``low`` as an int.

    Parameters
    ----------
    name : str
        The name of the value in messages.
    value : object
        An int or an integer of NumPy, but not a bool.
    low : int
        The smallest valid value.
    refusal : str, optional
        The message of a ValueError for any wrong value, for example the message of torch.
    """
    number = None
    if not isinstance(value, (bool, np.bool_)):
        with contextlib.suppress(TypeError):
            number = operator.index(value)
    if number is not None and number >= low:
        return number
    if refusal is not None:
        raise ValueError(refusal)
    if number is None:
        raise TypeError(f"{name} must be an integer, got {value!r}")
    raise ValueError(f"{name} must be at least {low}, got {value!r}")


def _element(name: str, value: Any) -> Any:
    """Return the only element of an array. Return other values as they are."""
    check_is_plain(name, value)
    shape = getattr(value, "shape", None)
    if shape is None or not hasattr(value, "item"):
        return value
    if math.prod(shape) != 1:
        raise ValueError(f"Tensor {name} must be 1-element, got shape {tuple(shape)}; pass a single value")
    return value.item()


_FIXED = {float, int, bool, str, type(None)}


def is_fixed(values: Iterable[Any]) -> bool:
    """Return whether all ``values`` stay as they are. The content of a list or an array may change."""
    return all(
        type(value) in _FIXED
        or (is_fixed(value) if isinstance(value, tuple) else _is_frozen(value) or not hasattr(value, "__setitem__"))
        for value in values
    )


LR = Number("learning rate", low=0)
EPS = Number("epsilon value", low=0)
WEIGHT_DECAY = Number("weight_decay value", low=0)
MOMENTUM = Number("momentum value", low=0)
_BETA, _BETA2, _BETA3 = (Number(f"beta parameter at index {i}", low=0, below=1) for i in range(3))
BETAS = Several(_BETA, _BETA2)
THREE_BETAS = Several(_BETA, _BETA2, _BETA3)

COMMON: dict[str, tuple[Check, Any]] = {
    "maximize": (flag, False),
    "foreach": (ignored, None),
    "capturable": (ignored, False),
    "fused": (ignored, None),
    "differentiable": (not_differentiable, False),
}
"""Checks and defaults of the options that a group of any optimizer may have."""

CONSTRAINTS: dict[str, tuple[Check, Any]] = {"bounds": (bounds, None), "project": (projection, None)}
"""Checks and defaults of the options that a group of an elementwise optimizer may have, too."""

NOTES = frozenset({"name", "initial_lr", "max_lr", "min_lr", "swa_lr", "base_momentum", "max_momentum", "use_beta1"})
"""Keys that schedulers and users write into groups. No optimizer reads them."""


class Options:
    """The options of a group, as `advance` gets them: a named tuple of the options that the class declares.

    Compiled code and plain Python read ``o.lr``. Plain Python may also use it like a dict of all options of the group.
    """

    by_name: Mapping[str, Any] = {}
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Any:
        """Return the options of this type among those of a group."""
        options: Any = tuple.__new__(cls, cls.pick(values))  # type: ignore[type-var]
        options.by_name = values
        return options

    def __getitem__(self, key: Any) -> Any:
        """Return the option of a name, or the value at a place of the tuple."""
        return self.by_name[key] if isinstance(key, str) else super().__getitem__(key)  # type: ignore[misc]

    def __contains__(self, name: object) -> bool:
        """Return whether there is an option of this name."""
        return name in self.by_name

    def __repr__(self) -> str:
        """Show all options of the group."""
        return repr(self.by_name)

    def __getattr__(self, name: str) -> Any:
        """Return a method of a dict, such as `get`, `keys` or `items`."""
        return getattr(self.by_name, name)


def named(names: Iterable[str], values: Mapping[str, Any]) -> Options:
    """Return the options with these names as a named tuple, which also finds the other ``values`` by their names."""
    options: Options = options_type(tuple(names)).of(values)
    return options


@functools.cache
def options_type(names: tuple[str, ...]) -> Any:
    """Return the type of options with these names."""
    # A named tuple cannot have a field "lambda": it is renamed, and ``o["lambda"]`` finds it.
    kind: Any = type("Options", (Options, namedtuple("Options", names, rename=True)), {})
    pick = operator.itemgetter(*names) if len(names) > 1 else lambda values: tuple(map(values.__getitem__, names))
    kind.pick = staticmethod(pick)
    return kind
