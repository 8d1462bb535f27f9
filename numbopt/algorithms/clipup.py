"""ClipUp: steps of one length along a momentum whose speed is limited."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import LR, MOMENTUM, Number, Options


def products(p, g, state, h):
    """Return what the norms of the gradient and of the next velocity are made of."""
    (v,) = state
    return g * g, v * g, v * v


@rule(state="velocity", terms=products, sums="gradient both velocity", found="kept push")
def clipup(p, g, state, h):
    """Go along the velocity."""
    v = h.kept * state[0] + h.push * g
    return p - v, (v,)


class ClipUp(ElementwiseOptimizer):
    r"""ClipUp [1]_: normalized gradients, and a velocity of limited length; for evolution strategies.

    .. math::
        v'_t = \mu v_{t-1} + \gamma \frac{g_t}{\|g_t\|}, \qquad
        v_t = v'_t \min\left(1, \frac{s}{\|v'_t\|}\right), \qquad p_t = p_{t-1} - v_t

    The norms are those of each parameter for itself: pack all into one vector (`numbopt.pack`) for those of the paper.
    Steps do not shrink near a minimum.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Length :math:`\gamma` of what a gradient adds to the velocity.
    momentum : float
        Factor :math:`\mu` of the velocity.
    max_speed : float
        Largest length :math:`s` of a step; twice the learning rate in the paper.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``velocity`` :math:`v`.

    References
    ----------
    .. [1] N. E. Toklu, P. Liskowski, R. K. Srivastava, "ClipUp: A simple and powerful optimizer for distribution-based
       policy evolution", PPSN 2020, arXiv:2008.02387.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([3.0, 4.0])
    >>> opt = numbopt.ClipUp([x], lr=0.5, max_speed=1.0)
    >>> opt.step(grads=[np.array([0.0, 100.0])])
    >>> x
    array([3. , 3.5])
    """

    rule = clipup
    clock_names = ()
    torch_flags = ("maximize",)
    options: ClassVar = dict(lr=LR, momentum=MOMENTUM, max_speed=Number("max_speed value", low=0))

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 0.15,
        momentum: float = 0.9,
        max_speed: float = 0.3,
        **common: Unpack[Maximizable],
    ) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, max_speed=max_speed), **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the clock, which is empty, and no scalars."""
        return clock, ()

    @staticmethod
    def combine(o: Options, clock: Clock, sums: Any, changed: Mapping[str, float]) -> tuple[float, ...]:
        """Return the factors of velocity and gradient."""
        push = o.lr / math.sqrt(sums.gradient) if sums.gradient else 0.0
        squared = o.momentum**2 * sums.velocity + 2 * o.momentum * push * sums.both + push * push * sums.gradient
        speed = math.sqrt(squared) if squared > 0 else abs(squared)  # keeps NaN
        factor = o.max_speed / speed if speed > o.max_speed else 1.0
        return factor * o.momentum, factor * push
