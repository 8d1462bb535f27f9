"""Adan: Adam with Nesterov's momentum, estimated from differences of gradients."""

import math
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import weighted
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import EPS, LR, THREE_BETAS, WEIGHT_DECAY, Options


@rule(
    state="exp_avg exp_avg_diff exp_avg_sq previous_grad",
    scalars="beta1 one_minus_beta1 beta2 one_minus_beta2 beta3 one_minus_beta3 "
    "known step_size diff_size rsqrt_bias3 eps kept",
)
def adan(p, g, state, h):
    """Go along the mean gradient and the mean difference over the root of the mean square of both."""
    m, d, n, previous = state
    difference = h.known * (g - previous)
    m = weighted(m, g, h.beta1, h.one_minus_beta1)
    d = weighted(d, difference, h.beta2, h.one_minus_beta2)
    ahead = g + h.beta2 * difference
    n = weighted(n, ahead * ahead, h.beta3, h.one_minus_beta3)
    step = (h.step_size * m + h.diff_size * d) / (math.sqrt(n) * h.rsqrt_bias3 + h.eps)
    return (p - step) * h.kept, (m, d, n, g)


class Adan(ElementwiseOptimizer):
    r"""Adan [1]_: adaptive Nesterov momentum.

    With :math:`\Delta_t = g_t - g_{t-1}`, :math:`\Delta_1 = 0`,

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        d_t = \beta_2 d_{t-1} + (1 - \beta_2) \Delta_t, \quad
        n_t = \beta_3 n_{t-1} + (1 - \beta_3) (g_t + \beta_2 \Delta_t)^2 \\
        p_t &= \frac{1}{1 + \gamma \lambda} \left( p_{t-1} - \gamma
            \frac{m_t / (1 - \beta_1^t) + \beta_2 d_t / (1 - \beta_2^t)}{\sqrt{n_t / (1 - \beta_3^t)} + \epsilon}
            \right)

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    betas : three floats
        Decay rates :math:`\beta_1, \beta_2, \beta_3` of the means, in [0, 1): one minus those of the paper.
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    weight_decay : float
        Weight decay :math:`\lambda`, applied as the paper does.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_avg_diff`` :math:`d`, ``exp_avg_sq`` :math:`n`,
    ``previous_grad`` :math:`g_{t-1}`.

    References
    ----------
    .. [1] X. Xie et al., "Adan: Adaptive Nesterov momentum algorithm for faster optimizing deep models", IEEE TPAMI
       2024, arXiv:2208.06677.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Adan([x], lr=0.05)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-2)
    True
    """

    rule = adan
    weight_decay_in_rule = True
    torch_flags = ("maximize",)
    options: ClassVar = dict(lr=LR, betas=THREE_BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0,
        **common: Unpack[Maximizable],
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay), **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        step = clock[0] + 1
        beta1, beta2, beta3 = o.betas
        t, known = float(step), 1.0 if step > 1 else 0.0
        weights = (beta1, 1 - beta1, beta2, 1 - beta2, beta3, 1 - beta3)
        step_size, diff_size = o.lr / (1 - beta1**t), o.lr * beta2 / (1 - beta2**t)
        rsqrt_bias3, kept = 1 / math.sqrt(1 - beta3**t), 1 / (1 + o.lr * o.weight_decay)
        return (step,), (*weights, known, step_size, diff_size, rsqrt_bias3, o.eps, kept)
