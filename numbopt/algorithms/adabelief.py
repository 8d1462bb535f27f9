"""AdaBelief: steps by how far gradients are from their mean."""

import math
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import weighted
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import BETAS, EPS, LR, WEIGHT_DECAY, Options


@rule(
    state="exp_avg exp_avg_var",
    scalars="beta1 one_minus_beta1 beta2 one_minus_beta2 step_size rsqrt_bias2 eps",
)
def adabelief(p, g, state, h):
    """Go along the mean gradient over the root of the mean square of the difference to it."""
    m, s = state
    m = weighted(m, g, h.beta1, h.one_minus_beta1)
    surprise = g - m
    s = weighted(s, surprise * surprise, h.beta2, h.one_minus_beta2) + h.eps
    return p - h.step_size * (m / (math.sqrt(s) * h.rsqrt_bias2 + h.eps)), (m, s)


class AdaBelief(ElementwiseOptimizer):
    r"""AdaBelief [1]_: long steps where gradients are what their mean lets expect.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        s_t &= \beta_2 s_{t-1} + (1 - \beta_2) (g_t - m_t)^2 + \epsilon \\
        p_t &= (1 - \gamma \lambda) p_{t-1}
            - \frac{\gamma}{1 - \beta_1^t} \frac{m_t}{\sqrt{s_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    betas : pair of float
        Decay rates :math:`\beta_1, \beta_2` of the running means, in [0, 1).
    eps : float
        :math:`\epsilon`, added to the squares in every step: much smaller than that of Adam.
    weight_decay : float
        Decoupled weight decay :math:`\lambda`.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_avg_var`` :math:`s`. The rectification of some
    implementations is left out.

    References
    ----------
    .. [1] J. Zhuang et al., "AdaBelief optimizer: Adapting stepsizes by the belief in observed gradients", NeurIPS
       2020, arXiv:2010.07468.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.AdaBelief([x], lr=0.1)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    rule = adabelief
    decoupled_weight_decay = True
    torch_flags = ("maximize",)
    options: ClassVar = dict(lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0,
        **common: Unpack[Maximizable],
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay), **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        step = clock[0] + 1
        beta1, beta2 = o.betas
        t = float(step)
        step_size, rsqrt_bias2 = o.lr / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
        return (step,), (beta1, 1 - beta1, beta2, 1 - beta2, step_size, rsqrt_bias2, o.eps)
