"""Adagrad."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt import options as checks
from numbopt._kernels.rule import Rule
from numbopt.elementwise import Clock, Common, ElementwiseOptimizer


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
    maximize : bool
        Go up instead of down.
    foreach, differentiable, fused
        For compatibility with torch; ``differentiable=True`` is refused, the others change nothing.
    **common
        ``bounds``, ``project``, ``max_grad_norm`` and ``nonfinite``; see `ElementwiseOptimizer`.

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

    rule = Rule(adagrad, state=("sum",), scalars=("step_size", "eps"))
    options: ClassVar = {
        "lr": checks.LR,
        "lr_decay": checks.Number("lr_decay value", low=0),
        "weight_decay": checks.WEIGHT_DECAY,
        "initial_accumulator_value": checks.Number("initial_accumulator_value value", low=0),
        "eps": checks.EPS,
    }

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float]:
        """Return the sum to start from."""
        return {"sum": options["initial_accumulator_value"]}

    @staticmethod
    def advance(options: Mapping[str, Any], clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        (before,) = clock
        return (before + 1,), (options["lr"] / (1 + before * options["lr_decay"]), options["eps"])
