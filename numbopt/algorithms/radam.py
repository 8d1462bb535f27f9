"""RAdam: Adam with a rectified step."""

import math
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms.adam import moments
from numbopt.elementwise import AllFlags, Clock, ElementwiseOptimizer
from numbopt.functional import LAZY
from numbopt.options import BETAS, EPS, LR, WEIGHT_DECAY, Options, flag


@rule(state="exp_avg exp_avg_sq", scalars="beta1 one_minus_beta1 beta2 one_minus_beta2 step_size rectified eps")
def radam(p, g, state, h):
    """Go along the mean gradient, over the root of the mean square as soon as its variance can be trusted."""
    m, v = state
    m, v = moments(m, v, g, h)
    direction = m / (math.sqrt(v) + h.eps) if h.rectified else m
    return p - h.step_size * direction, (m, v)


class RAdam(ElementwiseOptimizer):
    r"""RAdam, Adam whose adaptive step is rectified for its variance in the first steps [1]_.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \rho_\infty &= \tfrac{2}{1 - \beta_2} - 1, \qquad
        \rho_t = \rho_\infty - \tfrac{2 t \beta_2^t}{1 - \beta_2^t}, \qquad
        r_t^2 = \tfrac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t} \\
        p_t &= p_{t-1} - \tfrac{\gamma}{1 - \beta_1^t} m_t \cdot
        \begin{cases} r_t \sqrt{1 - \beta_2^t} / (\sqrt{v_t} + \epsilon) & \rho_t > 5 \\ 1 & \text{else} \end{cases}

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
    decoupled_weight_decay : bool
        Multiply the parameter by :math:`1 - \gamma \lambda` instead of adding to the gradient.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_avg_sq`` :math:`v`.

    References
    ----------
    .. [1] L. Liu et al., "On the variance of the adaptive learning rate and beyond", ICLR 2020, arXiv:1908.03265.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.RAdam([x], lr=0.1)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    rule = radam
    torch_flags = ("foreach", "maximize", "capturable", "differentiable")
    options: ClassVar = dict(lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY, decoupled_weight_decay=flag)

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        **common: Unpack[AllFlags],
    ) -> None:
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, decoupled_weight_decay=decoupled_weight_decay
        )
        super().__init__(params, defaults, **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        step = clock[0] + 1
        beta1, beta2 = o.betas
        t = float(step)  # Numba rounds powers with an integer as the exponent otherwise than Python does
        bias2 = 1 - beta2**t
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * t * beta2**t / bias2
        step_size = o.lr / (1 - beta1**t)
        rectified = rho > 5
        if rectified:
            ratio = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
            step_size *= math.sqrt(ratio) * math.sqrt(bias2)
        return (step,), (beta1, 1 - beta1, beta2, 1 - beta2, step_size, rectified, o.eps)
