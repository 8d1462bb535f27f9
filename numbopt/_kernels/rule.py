"""The formula of an algorithm as every loop around it knows it: for one element, on the CPU and on CUDA alike."""

import functools
import keyword
import math
import sys
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

from numbopt._kernels.specialise import specialise

RULE: Any  # bound by `specialise`


class CommonScalars(NamedTuple):
    """Scalars of every rule, with the values that change nothing."""

    grad_scale: float = 1.0
    """Factor of the gradient."""
    l2: float = 0.0
    """Factor of the parameter that is added to the gradient."""
    shrink: float = 1.0
    """Factor of the parameter before the rule."""
    lower: float = -math.inf
    """Bounds of the parameter after the rule."""
    upper: float = math.inf


class Rule(NamedTuple):
    """The formula of an algorithm and the names of what it works with; `rule` makes one from a function.

    The function computes one element: ``rule(p, g, state, h) -> (p, state)`` with the parameter ``p``, the gradient
    ``g``, a tuple ``state`` and the scalars ``h``, read as ``h.name``. It is compiled for the CPU and CUDA, so it uses
    `math` and builtins only, and no literal that would turn float32 arithmetic into float64 (0, 1 and 0.5 do: compute
    with scalars that come ready in ``h``; comparing with 0 is fine).
    """

    function: Callable[..., Any]
    state: tuple[str, ...] = ()
    """Names of the state arrays, in the order of the tuple ``state``."""
    scalars: tuple[str, ...] = ()
    """Names of the scalars in ``h``, in the order in which `advance` gives them."""

    def __call__(self, p: Any, g: Any, state: tuple[Any, ...], h: Any) -> Any:
        """Compute one element in plain Python."""
        return self.function(p, g, state, h)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by its name a rule that the decorator `rule` left in the place of its function."""
        import pkgutil

        module, name = self.function.__module__, self.function.__qualname__
        if getattr(sys.modules.get(module), name, None) is self:
            return pkgutil.resolve_name, (f"{module}:{name}",)
        return type(self), tuple(self)

    @functools.cache  # noqa: B019  # rules live as long as their modules
    def compiled(self) -> Any:
        """Return the function compiled, to be called in compiled code of one's own.

        There, ``h`` may be any named tuple with the names in `scalars`.
        """
        return specialise(self.function, {}, cached=False)

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of all scalars that a launch takes: its own, then those of every rule."""
        return *self.scalars, *CommonScalars._fields

    def bindings(self) -> dict[str, Any]:
        """Return the globals through which a loop reaches the rule.

        Raises
        ------
        ValueError
            If the names of scalars cannot be names, or there are too many state arrays.
        """
        names = self.scalar_names
        for name in names:
            if not name.isidentifier() or keyword.iskeyword(name) or names.count(name) > 1:
                raise ValueError(
                    f"scalars must be distinct identifiers other than {CommonScalars._fields}, got {self.scalars}"
                )
        if len(self.state) > MAX_STATE_ARRAYS:
            raise ValueError(f"a rule has at most {MAX_STATE_ARRAYS} state arrays, got {self.state}")
        return {"RULE": self.function, "SCALARS": namedtuple("SCALARS", names), "SCALAR_COUNT": len(names)}


MAX_STATE_ARRAYS = 3


def rule(*, state: str = "", scalars: str = "") -> Callable[[Callable[..., Any]], Rule]:
    """Return a decorator that makes a `Rule` of a formula.

    Parameters
    ----------
    state : str
        Names of the state arrays, separated by spaces.
    scalars : str
        Names of the scalars in ``h``, in the order in which `advance` gives them.

    Examples
    --------
    >>> import numbopt
    >>> from types import SimpleNamespace
    >>> @numbopt.rule(state="velocity", scalars="momentum lr")
    ... def heavy_ball(p, g, state, h):
    ...     (v,) = state
    ...     v = h.momentum * v - h.lr * g
    ...     return p + v, (v,)
    >>> heavy_ball.state, heavy_ball.scalars
    (('velocity',), ('momentum', 'lr'))
    >>> heavy_ball(1.0, 0.5, (0.0,), SimpleNamespace(momentum=0.9, lr=0.5))
    (0.75, (-0.25,))
    """
    return lambda function: Rule(function, tuple(state.split()), tuple(scalars.split()))


def update_element(p, g, state, lower, upper, h):
    """Apply the rule to one element, and around it what is common to all algorithms; NaN passes through bounds."""
    if h.l2:  # 0 * infinity would be NaN
        g = g + h.l2 * p
    p, state = RULE(h.shrink * p, g, state, h)
    p = lower if p < lower else p
    return upper if p > upper else p, state
