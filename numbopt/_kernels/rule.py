"""The formula of an algorithm as every loop around it knows it: for one element, on the CPU and on CUDA alike."""

import functools
import keyword
import math
import sys
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numbopt._kernels.specialise import compiled_with, specialise

# Bound by `specialise`.
RULE: Any
STATE_OF: Any
BOUNDS: Any
KEPT_INSIDE: Any
TERMS: Any


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
    first_inside: bool = False
    """Whether the first state array is a point, too, that bounds of the parameter hold for."""
    terms: Callable[..., Any] | None = None
    """Computes, from what the function gets, a tuple of numbers that are summed over a parameter before the step."""
    sums: tuple[str, ...] = ()
    """Names of these sums."""
    found: tuple[str, ...] = ()
    """Names of the scalars in ``h`` that follow from the sums, see `ElementwiseOptimizer.combine`; 0 for ``terms``."""

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
        """Return the function compiled, for your own compiled code to call.

        There, ``h`` may be any named tuple with the names in `scalars`.
        """
        return specialise(self.function, {}, cached=False)

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of all scalars that a launch takes: its own, then those of every rule."""
        return *self.scalars, *self.found, *CommonScalars._fields

    def bindings(self, bound_arrays: bool = False) -> dict[str, Any]:
        """Return the globals through which a loop reaches the rule.

        Parameters
        ----------
        bound_arrays : bool
            Whether each element has bounds of its own; two more arrays then come after those of the state.

        Raises
        ------
        ValueError
            If the names of scalars cannot be names, or there are too many state arrays.
        """
        names = self.scalar_names
        for name in names:
            if not name.isidentifier() or keyword.iskeyword(name) or names.count(name) > 1:
                raise ValueError(
                    f"scalars must be distinct identifiers other than {CommonScalars._fields}, got "
                    f"{self.scalars + self.found}"
                )
        if len(self.state) > MAX_STATE_ARRAYS:
            raise ValueError(f"a rule has at most {MAX_STATE_ARRAYS} state arrays, got {self.state}")
        if len(self.sums) > MAX_SUMS or bool(self.sums) != (self.terms is not None):
            raise ValueError(f"a rule with terms names their sums, {MAX_SUMS} at most, got {self.sums}")
        return {
            "RULE": self.function,
            "SCALARS": namedtuple("SCALARS", names),
            "SCALAR_COUNT": len(names),
            "COLUMNS": self.columns(bound_arrays),
            "STATE_OF": _all_before_bounds if bound_arrays else _all_after_gradient,
            "BOUNDS": _bounds_of_element if bound_arrays else _bounds_of_all,
            "KEPT_INSIDE": _first_inside if self.first_inside else _as_it_is,
            "TERMS": self.terms,
            "ADDED": (None, _added1, _added2, _added3)[len(self.sums)],
            "ZEROS": (0.0,) * len(self.sums),
            "SUM_COUNT": len(self.sums),
            "PARTIAL_COLUMN": self.columns(bound_arrays)[-1] + 1,
        }

    def columns(self, bound_arrays: bool) -> tuple[int, ...]:
        """Return the columns of the arrays in a row of a table; where there are sums, theirs is the next one."""
        return tuple(range(2, 4 + len(self.state) + 2 * bound_arrays))


MAX_STATE_ARRAYS = 4
MAX_SUMS = 3


def rule(
    *,
    state: str = "",
    scalars: str = "",
    first_inside: bool = False,
    terms: Callable[..., Any] | None = None,
    sums: str = "",
    found: str = "",
) -> Callable[[Callable[..., Any]], Rule]:
    """Return a decorator that makes a `Rule` of a formula.

    Parameters
    ----------
    state : str
        Names of the state arrays, separated by spaces.
    scalars : str
        Names of the scalars in ``h``, in the order in which `advance` gives them.
    first_inside : bool
        Whether the first state array is a point, too, that bounds of the parameter hold for.
    terms : callable, optional
        For algorithms that need numbers of a whole parameter, such as its norm: a function of the same arguments that
        returns a tuple of numbers, whose sums over the parameter are computed before the step.
    sums : str
        Names of these sums.
    found : str
        Names of further scalars in ``h``, those that `ElementwiseOptimizer.combine` makes of the sums.

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
    names = tuple(sums.split()), tuple(found.split())
    return lambda function: Rule(function, tuple(state.split()), tuple(scalars.split()), first_inside, terms, *names)


# ---- what the loops of the CPU and of CUDA do with a lane: one element of each array, (param, grad, *state, *bounds)


def update_lane(lane, scale, h):
    """Apply the rule to a lane, and around it what is common to all algorithms; NaN passes through bounds.

    Returns
    -------
    tuple
        What the loop writes, ``(param, *state)``.
    """
    p, state = RULE(h.shrink * lane[0], _gradient(lane, scale, h), STATE_OF(lane), h)
    lower, upper = BOUNDS(lane, h)
    return (_inside(p, lower, upper),) + KEPT_INSIDE(state, lower, upper)


def terms_of_lane(lane, scale, h):
    """Return the terms of a lane, from what the rule will get."""
    return TERMS(h.shrink * lane[0], _gradient(lane, scale, h), STATE_OF(lane), h)


def _gradient(lane, scale, h):
    g = scale * lane[1]
    if h.l2:  # 0 * infinity would be NaN
        g = g + h.l2 * lane[0]
    return g


@compiled_with(inline="always")  # so that sums on the CPU are compiled with the options of their loop
def _added1(total, terms):
    return (total[0] + np.float64(terms[0]),)


@compiled_with(inline="always")
def _added2(total, terms):
    return total[0] + np.float64(terms[0]), total[1] + np.float64(terms[1])


@compiled_with(inline="always")
def _added3(total, terms):
    a, b, c = np.float64(terms[0]), np.float64(terms[1]), np.float64(terms[2])
    return total[0] + a, total[1] + b, total[2] + c


def _inside(p, lower, upper):
    p = lower if p < lower else p
    return upper if p > upper else p


def _as_it_is(state, lower, upper):
    return state


def _first_inside(state, lower, upper):
    return (_inside(state[0], lower, upper),) + state[1:]


def _all_after_gradient(lane):
    return lane[2:]


def _bounds_of_all(lane, h):
    return h.lower, h.upper


def _all_before_bounds(lane):
    return lane[2:-2]


def _bounds_of_element(lane, h):
    return lane[-2], lane[-1]
