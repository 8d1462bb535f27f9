"""Adam, with AMSGrad and decoupled weight decay."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import Rule, rule
from numbopt.algorithms._arithmetic import larger, weighted
from numbopt.elementwise import AllFlags, Clock, ElementwiseOptimizer
from numbopt.functional import LAZY
from numbopt.options import BETAS, EPS, LR, WEIGHT_DECAY, Options, flag

_SCALARS = "beta1 one_minus_beta1 beta2 one_minus_beta2 step_size rsqrt_bias2 eps"


@rule(state="exp_avg exp_avg_sq", scalars=_SCALARS)
def adam(p, g, state, h):
    """Go along the mean gradient over the root of the mean square."""
    m, v = state
    m, v = moments(m, v, g, h)
    return p - h.step_size * (m / (math.sqrt(v) * h.rsqrt_bias2 + h.eps)), (m, v)


@rule(state="exp_avg exp_avg_sq max_exp_avg_sq", scalars=_SCALARS)
def amsgrad(p, g, state, h):
    """Go along the mean gradient over the root of the largest mean square so far."""
    m, v, v_max = state
    m, v = moments(m, v, g, h)
    v_max = larger(v_max, v)
    return p - h.step_size * (m / (math.sqrt(v_max) * h.rsqrt_bias2 + h.eps)), (m, v, v_max)


def moments(m, v, g, h):
    """Return the running means of the gradient and of its square."""
    return weighted(m, g, h.beta1, h.one_minus_beta1), weighted(v, g * g, h.beta2, h.one_minus_beta2)


class Adam(ElementwiseOptimizer):
    r"""Adam [1]_, optionally with AMSGrad [2]_ and with decoupled weight decay [3]_.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        p_t &= p_{t-1} - \frac{\gamma}{1 - \beta_1^t} \frac{m_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    With AMSGrad, the largest :math:`v` so far takes the place of :math:`v_t` in the last line.

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
    amsgrad : bool
        Use AMSGrad.
    decoupled_weight_decay : bool
        Multiply the parameter by :math:`1 - \gamma \lambda` instead of adding to the gradient, as `AdamW` does.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_avg_sq`` :math:`v`, ``max_exp_avg_sq`` with AMSGrad.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A method for stochastic optimization", ICLR 2015, arXiv:1412.6980.
    .. [2] S. J. Reddi, S. Kale, S. Kumar, "On the convergence of Adam and beyond", ICLR 2018, arXiv:1904.09237.
    .. [3] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv:1711.05101.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Adam([x], lr=0.1)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-5)
    True
    """

    torch_flags = ("foreach", "maximize", "capturable", "differentiable", "fused")
    options: ClassVar = dict(
        lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY, amsgrad=flag, decoupled_weight_decay=flag
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        decoupled_weight_decay: bool = False,
        **common: Unpack[AllFlags],
    ) -> None:
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        variants = dict(amsgrad=amsgrad, decoupled_weight_decay=decoupled_weight_decay)
        super().__init__(params, defaults | variants, **common)

    @classmethod
    def rule_for(cls, options: Mapping[str, Any]) -> Rule:
        """Return the rule with or without AMSGrad."""
        return amsgrad if options["amsgrad"] else adam

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        step = clock[0] + 1
        beta1, beta2 = o.betas
        t = float(step)  # Numba rounds powers with an integer as the exponent otherwise than Python does
        step_size = o.lr / (1 - beta1**t)
        rsqrt_bias2 = 1 / math.sqrt(1 - beta2**t)
        return (step,), (beta1, 1 - beta1, beta2, 1 - beta2, step_size, rsqrt_bias2, o.eps)
