"""Adadelta."""

import math
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import weighted
from numbopt.elementwise import Clock, ElementwiseOptimizer, Flags
from numbopt.functional import LAZY
from numbopt.options import EPS, LR, WEIGHT_DECAY, Number, Options


@rule(state="square_avg acc_delta", scalars="rho one_minus_rho lr eps")
def adadelta(p, g, state, h):
    """Go down the gradient in the units of the parameter."""
    v, u = state
    v = weighted(v, g * g, h.rho, h.one_minus_rho)
    delta = math.sqrt(u + h.eps) / math.sqrt(v + h.eps) * g
    u = weighted(u, delta * delta, h.rho, h.one_minus_rho)
    return p - h.lr * delta, (v, u)


class Adadelta(ElementwiseOptimizer):
    r"""Adadelta [1]_.

    .. math::
        v_t &= \rho v_{t-1} + (1 - \rho) g_t^2 \\
        \Delta_t &= \sqrt{u_{t-1} + \epsilon} / \sqrt{v_t + \epsilon} \; g_t \\
        u_t &= \rho u_{t-1} + (1 - \rho) \Delta_t^2 \\
        p_t &= p_{t-1} - \gamma \Delta_t

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        :math:`\gamma`, scales the step.
    rho : float
        Decay rate :math:`\rho` of the running means, in [0, 1].
    eps : float
        :math:`\epsilon`, keeps the denominator from zero and lets the first steps begin.
    weight_decay : float
        Factor of the parameter that is added to the gradient.
    foreach, **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step``, ``square_avg`` :math:`v`, ``acc_delta`` :math:`u`.

    References
    ----------
    .. [1] M. D. Zeiler, "ADADELTA: An adaptive learning rate method", 2012, arXiv:1212.5701.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Adadelta([x], eps=1e-3)
    >>> for _ in range(200):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    rule = adadelta
    torch_flags = ("capturable", "maximize", "differentiable")
    options: ClassVar = dict(lr=LR, rho=Number("rho value", low=0, high=1), eps=EPS, weight_decay=WEIGHT_DECAY)

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        **common: Unpack[Flags],
    ) -> None:
        super().__init__(params, dict(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, foreach=foreach), **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        return (clock[0] + 1,), (o.rho, 1 - o.rho, o.lr, o.eps)
