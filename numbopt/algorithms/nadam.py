"""NAdam: Adam with Nesterov momentum."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms.adam import moments
from numbopt.elementwise import AllFlags, Clock, ElementwiseOptimizer
from numbopt.functional import LAZY
from numbopt.options import BETAS, EPS, LR, WEIGHT_DECAY, Number, Options, flag


@rule(
    state="exp_avg exp_avg_sq",
    scalars="beta1 one_minus_beta1 beta2 one_minus_beta2 inverse_bias2 gradient_step momentum_step eps",
)
def nadam(p, g, state, h):
    """Go along a mix of this gradient and the mean gradient over the root of the mean square."""
    m, v = state
    m, v = moments(m, v, g, h)
    denominator = math.sqrt(v * h.inverse_bias2) + h.eps
    return p - h.gradient_step * (g / denominator) - h.momentum_step * (m / denominator), (m, v)


class NAdam(ElementwiseOptimizer):
    r"""NAdam, Adam with Nesterov momentum [1]_.

    .. math::
        \mu_t &= \beta_1 (1 - \tfrac12 0.96^{t \psi}), \qquad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \hat m_t &= \mu_{t+1} m_t / (1 - \textstyle\prod_{i \le t+1} \mu_i)
        + (1 - \mu_t) g_t / (1 - \textstyle\prod_{i \le t} \mu_i) \\
        p_t &= p_{t-1} - \gamma \hat m_t / (\sqrt{v_t / (1 - \beta_2^t)} + \epsilon)

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    betas : pair of float
        Decay rates :math:`\beta_1, \beta_2` of the running means, in [0, 1).
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    weight_decay : float
        Factor :math:`\lambda` of the parameter that is added to the gradient.
    momentum_decay : float
        :math:`\psi`, how fast the momentum :math:`\mu_t` grows to :math:`\beta_1`.
    decoupled_weight_decay : bool
        Multiply the parameter by :math:`1 - \gamma \lambda` instead of adding to the gradient.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``mu_product`` :math:`\prod \mu_i`, ``exp_avg`` :math:`m`, ``exp_avg_sq`` :math:`v`.

    References
    ----------
    .. [1] T. Dozat, "Incorporating Nesterov momentum into Adam", ICLR 2016 workshop.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.NAdam([x], lr=0.1)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    rule = nadam
    clock_names = ("step", "mu_product")
    torch_flags = ("foreach", "maximize", "capturable", "differentiable")
    options: ClassVar = dict(
        lr=LR,
        betas=BETAS,
        eps=EPS,
        weight_decay=WEIGHT_DECAY,
        momentum_decay=Number("momentum_decay value", low=0),
        decoupled_weight_decay=flag,
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        **common: Unpack[AllFlags],
    ) -> None:
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        decay = dict(momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay)
        super().__init__(params, defaults | decay, **common)

    @classmethod
    def initial_clock(cls, options: Mapping[str, Any]) -> Clock:
        """Return the clock before the first step."""
        return (0, 1.0)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        step, mu_product = clock[0] + 1, clock[1]
        beta1, beta2 = o.betas
        mu = beta1 * (1 - 0.5 * 0.96 ** (step * o.momentum_decay))
        next_mu = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * o.momentum_decay))
        mu_product *= mu
        gradient_step = o.lr * (1 - mu) / (1 - mu_product)
        momentum_step = o.lr * next_mu / (1 - mu_product * next_mu)
        inverse_bias2 = 1 / (1 - beta2 ** float(step))
        scalars = (beta1, 1 - beta1, beta2, 1 - beta2, inverse_bias2, gradient_step, momentum_step, o.eps)
        return (step, mu_product), scalars
