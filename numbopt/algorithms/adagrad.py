"""Adagrad."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.elementwise import Clock, ElementwiseOptimizer, Flags
from numbopt.functional import LAZY
from numbopt.options import EPS, LR, WEIGHT_DECAY, Number, Options


@rule(state="sum", scalars="step_size eps")
def adagrad(p, g, state, h):
    """Go down the gradient over the root of the sum of all squares."""
    (s,) = state
    s = s + g * g
    return p - h.step_size * (g / (math.sqrt(s) + h.eps)), (s,)


class Adagrad(ElementwiseOptimizer):
    r"""Adagrad [1]_.

    .. math::
        s_t &= s_{t-1} + g_t^2 \\
        p_t &= p_{t-1} - \frac{\gamma}{1 + (t - 1) \eta} \frac{g_t}{\sqrt{s_t} + \epsilon}

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    lr_decay : float
        :math:`\eta`, how fast the learning rate falls.
    weight_decay : float
        Factor of the parameter that is added to the gradient.
    initial_accumulator_value : float
        :math:`s_0`.
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    foreach, **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``sum`` :math:`s`.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic
       optimization", JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Adagrad([x], lr=0.5)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    rule = adagrad
    torch_flags = ("maximize", "differentiable", "fused")
    options: ClassVar = dict(
        lr=LR,
        lr_decay=Number("lr_decay value", low=0),
        weight_decay=WEIGHT_DECAY,
        initial_accumulator_value=Number("initial_accumulator_value value", low=0),
        eps=EPS,
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        **common: Unpack[Flags],
    ) -> None:
        defaults = dict(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps, foreach=foreach)
        start = dict(initial_accumulator_value=initial_accumulator_value)
        super().__init__(params, defaults | start, **common)

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float | str]:
        """Return the sum to start from."""
        return {"sum": options["initial_accumulator_value"]}

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        (before,) = clock
        return (before + 1,), (o.lr / (1 + before * o.lr_decay), o.eps)
