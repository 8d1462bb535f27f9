"""Stochastic gradient descent."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import Rule, rule
from numbopt.elementwise import AllFlags, Clock, ElementwiseOptimizer
from numbopt.functional import LAZY
from numbopt.options import LR, MOMENTUM, WEIGHT_DECAY, Number, Options, flag

_SCALARS = "lr momentum undamped nesterov"


@rule(scalars=_SCALARS)
def sgd(p, g, state, h):
    """Go down the gradient."""
    return p - h.lr * g, state


@rule(state="momentum_buffer", scalars=_SCALARS)
def momentum(p, g, state, h):
    """Go down a running sum of gradients, or, with Nesterov's method, down what it will be."""
    (b,) = state
    b = h.momentum * b + h.undamped * g
    direction = g + h.momentum * b if h.nesterov else b
    return p - h.lr * direction, (b,)


class SGD(ElementwiseOptimizer):
    r"""Stochastic gradient descent, optionally with momentum [1]_ and Nesterov's variant of it [2]_.

    .. math::
        b_t &= \mu b_{t-1} + (1 - \tau) g_t, \qquad b_1 = g_1 \\
        p_t &= p_{t-1} - \gamma b_t \quad\text{or, with Nesterov,}\quad p_{t-1} - \gamma (g_t + \mu b_t)

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    momentum : float
        Factor :math:`\mu` of the running sum.
    dampening : float
        :math:`\tau`, takes from each gradient but the first what the running sum gets.
    weight_decay : float
        Factor of the parameter that is added to the gradient.
    nesterov : bool
        Use Nesterov's momentum; needs a momentum and no dampening.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``momentum_buffer`` :math:`b`, with a momentum only.

    References
    ----------
    .. [1] B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    .. [2] I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in deep
       learning", ICML 2013.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.SGD([x], lr=0.1, momentum=0.9)
    >>> for _ in range(300):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-5)
    True
    """

    torch_flags = ("maximize", "foreach", "differentiable", "fused")
    options: ClassVar = dict(
        lr=LR, momentum=MOMENTUM, dampening=Number("dampening value"), weight_decay=WEIGHT_DECAY, nesterov=flag
    )
    clock_names = ()  # torch keeps no step; the clock says whether the running sum has begun

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        **common: Unpack[AllFlags],
    ) -> None:
        defaults = dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov)
        super().__init__(params, defaults, **common)

    def check_together(self, options: Mapping[str, Any]) -> None:
        """Refuse Nesterov's momentum without momentum or with dampening."""
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    @classmethod
    def rule_for(cls, options: Mapping[str, Any]) -> Rule:
        """Return the rule with or without momentum."""
        return momentum if options["momentum"] else sgd

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        (begun,) = clock
        undamped = 1 - o.dampening if begun else 1.0
        return (begun or o.momentum != 0,), (o.lr, o.momentum, undamped, o.nesterov)

    @classmethod
    def initial_clock(cls, options: Mapping[str, Any]) -> Clock:
        """Return the clock of a running sum that has not begun."""
        return (False,)

    @classmethod
    def clock_to_state(cls, clock: Clock) -> dict[str, Any] | None:
        """Return nothing: the array ``momentum_buffer`` says it all, once it has begun."""
        return {} if clock[0] else None

    @classmethod
    def clock_from_state(cls, state: Mapping[str, Any], options: Mapping[str, Any]) -> Clock | None:
        """Return the clock of a running sum that has begun if there is one."""
        return (True,) if "momentum_buffer" in state else None
