"""RMSprop, with momentum and centered."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import Rule, rule
from numbopt.algorithms._arithmetic import weighted
from numbopt.elementwise import Clock, Common, ElementwiseOptimizer
from numbopt.functional import LAZY
from numbopt.options import EPS, LR, MOMENTUM, WEIGHT_DECAY, Number, Options, flag

_SCALARS = "alpha one_minus_alpha lr eps momentum"


@rule(state="square_avg", scalars=_SCALARS)
def rmsprop(p, g, state, h):
    """Go down the gradient over the root of the mean square."""
    (v,) = state
    v = mean_square(v, g, h)
    return p - h.lr * (g / (math.sqrt(v) + h.eps)), (v,)


@rule(state="square_avg momentum_buffer", scalars=_SCALARS)
def rmsprop_momentum(p, g, state, h):
    """Go down a running sum of what `rmsprop` goes down."""
    v, b = state
    v = mean_square(v, g, h)
    b = h.momentum * b + g / (math.sqrt(v) + h.eps)
    return p - h.lr * b, (v, b)


@rule(state="square_avg grad_avg", scalars=_SCALARS)
def rmsprop_centered(p, g, state, h):
    """Go down the gradient over its standard deviation."""
    v, mean = state
    v = mean_square(v, g, h)
    mean = weighted(mean, g, h.alpha, h.one_minus_alpha)
    return p - h.lr * (g / (math.sqrt(v - mean * mean) + h.eps)), (v, mean)


@rule(state="square_avg grad_avg momentum_buffer", scalars=_SCALARS)
def rmsprop_centered_momentum(p, g, state, h):
    """Go down a running sum of what `rmsprop_centered` goes down."""
    v, mean, b = state
    v = mean_square(v, g, h)
    mean = weighted(mean, g, h.alpha, h.one_minus_alpha)
    b = h.momentum * b + g / (math.sqrt(v - mean * mean) + h.eps)
    return p - h.lr * b, (v, mean, b)


def mean_square(v, g, h):
    """Return the running mean of the square of the gradient."""
    return weighted(v, g * g, h.alpha, h.one_minus_alpha)


class RMSprop(ElementwiseOptimizer):
    r"""RMSprop [1]_, optionally centered [2]_ and with momentum.

    .. math::
        v_t &= \alpha v_{t-1} + (1 - \alpha) g_t^2, \qquad a_t = \alpha a_{t-1} + (1 - \alpha) g_t \\
        d_t &= g_t / (\sqrt{v_t} + \epsilon) \quad\text{or, centered,}\quad g_t / (\sqrt{v_t - a_t^2} + \epsilon) \\
        b_t &= \mu b_{t-1} + d_t, \qquad p_t = p_{t-1} - \gamma b_t

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    alpha : float
        Decay rate :math:`\alpha` of the running means.
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    weight_decay : float
        Factor of the parameter that is added to the gradient.
    momentum : float
        Factor :math:`\mu` of the running sum.
    centered : bool
        Divide by an estimate of the standard deviation.
    capturable, foreach, maximize, differentiable, **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step``, ``square_avg`` :math:`v`, ``grad_avg`` :math:`a` if centered, ``momentum_buffer`` :math:`b` with a
    momentum.

    References
    ----------
    .. [1] T. Tieleman, G. Hinton, "Lecture 6.5 - rmsprop", COURSERA: Neural networks for machine learning, 2012.
    .. [2] A. Graves, "Generating sequences with recurrent neural networks", 2013, arXiv:1308.0850.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.RMSprop([x], lr=0.01)
    >>> for _ in range(1000):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 0.02)
    True
    """

    options: ClassVar = dict(
        lr=LR, alpha=Number("alpha value", low=0), eps=EPS, weight_decay=WEIGHT_DECAY, momentum=MOMENTUM, centered=flag
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        **common: Unpack[Common],
    ) -> None:
        defaults = dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered)
        flags = dict(capturable=capturable, foreach=foreach, maximize=maximize, differentiable=differentiable)
        super().__init__(params, defaults | flags, **common)

    @classmethod
    def rule_for(cls, options: Mapping[str, Any]) -> Rule:
        """Return the rule with or without momentum, centered or not."""
        if options["centered"]:
            return rmsprop_centered_momentum if options["momentum"] > 0 else rmsprop_centered
        return rmsprop_momentum if options["momentum"] > 0 else rmsprop

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        return (clock[0] + 1,), (o.alpha, 1 - o.alpha, o.lr, o.eps, o.momentum)
