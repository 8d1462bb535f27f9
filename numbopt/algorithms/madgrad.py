"""MADGRAD: dual averaging with momentum and adaptive steps."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.cube_root import cube_root
from numbopt._kernels.rule import rule
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import EPS, LR, WEIGHT_DECAY, Number, Options


@rule(state="grad_sum_sq s x0", scalars="lamb one_minus_momentum eps third")
def madgrad(p, g, state, h):
    """Go towards where the sum of all gradients points from the start."""
    q, s, x0 = state
    q = q + h.lamb * (g * g)
    s = s + h.lamb * g
    root = cube_root(q, h.third) + h.eps
    z = x0 - (s / root if root > 0 else s)  # without eps, both are 0 where all gradients were
    return p + h.one_minus_momentum * (z - p), (q, s, x0)


class MADGRAD(ElementwiseOptimizer):
    r"""MADGRAD [1]_: dual averaging with momentum.

    .. math::
        \lambda_t &= (\gamma + \epsilon) \sqrt{t}, \quad
        q_t = q_{t-1} + \lambda_t g_t^2, \quad s_t = s_{t-1} + \lambda_t g_t \\
        p_t &= \mu p_{t-1} + (1 - \mu) \left( p_0 - \frac{s_t}{\sqrt[3]{q_t} + \epsilon} \right)

    A good choice where gradients are exact. The best learning rates are smaller than those of `Adam` on some problems
    and larger on others: try several.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`; 0 changes nothing.
    momentum : float
        :math:`\mu`, in [0, 1).
    weight_decay : float
        Factor of the parameter that is added to the gradient.
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``grad_sum_sq`` :math:`q`, ``s``, and the start ``x0`` :math:`p_0`.

    References
    ----------
    .. [1] A. Defazio, S. Jelassi, "Adaptivity without compromise: A momentumized, adaptive, dual averaged gradient
       method for stochastic optimization", JMLR 2022, arXiv:2101.11075.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.MADGRAD([x], lr=0.1)
    >>> for _ in range(1000):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-2)
    True
    """

    rule = madgrad
    depends_on_parameters = True
    torch_flags = ("maximize",)
    options: ClassVar = dict(
        lr=LR, momentum=Number("momentum value", low=0, below=1), weight_decay=WEIGHT_DECAY, eps=EPS
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-2,
        momentum: float = 0.9,
        weight_decay: float = 0,
        eps: float = 1e-6,
        **common: Unpack[Maximizable],
    ) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, eps=eps), **common)

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float | str]:
        """Return that the start is to be remembered."""
        return {"x0": "parameter"}

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        step = clock[0] + 1
        if o.lr == 0:
            return (step,), (0.0, 0.0, o.eps, 1 / 3)
        return (step,), ((o.lr + o.eps) * math.sqrt(float(step)), 1 - o.momentum, o.eps, 1 / 3)
