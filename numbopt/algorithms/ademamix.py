"""AdEMAMix: Adam with a second, slow momentum."""

import math
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import weighted
from numbopt.algorithms.adam import moments
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import EPS, LR, THREE_BETAS, WEIGHT_DECAY, Number, Options, integer


@rule(
    state="exp_avg exp_avg_slow exp_avg_sq",
    scalars="beta1 one_minus_beta1 beta2 one_minus_beta2 beta3 one_minus_beta3 step_size slow_size rsqrt_bias2 eps",
)
def ademamix(p, g, state, h):
    """Go along a fast and a slow mean gradient over the root of the mean square."""
    m, slow, v = state
    m, v = moments(m, v, g, h)
    slow = weighted(slow, g, h.beta3, h.one_minus_beta3)
    step = (h.step_size * m + h.slow_size * slow) / (math.sqrt(v) * h.rsqrt_bias2 + h.eps)
    return p - step, (m, slow, v)


class AdEMAMix(ElementwiseOptimizer):
    r"""AdEMAMix [1]_: `AdamW` with a second momentum that remembers thousands of steps.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad q_t = \beta_3 q_{t-1} + (1 - \beta_3) g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        p_t &= (1 - \gamma \lambda) p_{t-1} - \gamma
            \frac{m_t / (1 - \beta_1^t) + \alpha q_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Made for long runs with noise; in some hundred steps with exact gradients the slow momentum is a burden.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    betas : three floats
        Decay rates :math:`\beta_1, \beta_2, \beta_3` of the means, in [0, 1).
    alpha : float
        Weight :math:`\alpha` of the slow momentum.
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    weight_decay : float
        Decoupled weight decay :math:`\lambda`.
    t_alpha_beta3 : int
        Steps in which :math:`\alpha` and :math:`\beta_3` grow to what they are; 0 for none.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_avg_slow`` :math:`q`, ``exp_avg_sq`` :math:`v`.

    References
    ----------
    .. [1] M. Pagliardini, P. Ablin, D. Grangier, "The AdEMAMix optimizer: Better, faster, older", ICLR 2025,
       arXiv:2409.03137.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.AdEMAMix([x], lr=0.01)
    >>> for _ in range(3000):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 0.1)
    True
    """

    rule = ademamix
    decoupled_weight_decay = True
    torch_flags = ("maximize",)
    options: ClassVar = dict(
        lr=LR,
        betas=THREE_BETAS,
        alpha=Number("alpha value", low=0),
        eps=EPS,
        weight_decay=WEIGHT_DECAY,
        t_alpha_beta3=integer(low=0),
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        alpha: float = 5.0,
        eps: float = 1e-8,
        weight_decay: float = 0,
        t_alpha_beta3: int = 0,
        **common: Unpack[Maximizable],
    ) -> None:
        defaults = dict(lr=lr, betas=betas, alpha=alpha, eps=eps, weight_decay=weight_decay)
        super().__init__(params, defaults | dict(t_alpha_beta3=t_alpha_beta3), **common)

    def check_together(self, options: Any) -> None:
        """Refuse a warm-up between decay rates that have no logarithm."""
        if options["t_alpha_beta3"] and not (options["betas"][0] and options["betas"][2]):
            raise ValueError("t_alpha_beta3 needs betas[0] > 0 and betas[2] > 0; set it to 0 for no warm-up")

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        step = clock[0] + 1
        beta1, beta2, beta3 = o.betas
        t, alpha = float(step), o.alpha
        if step < o.t_alpha_beta3:
            done = t / o.t_alpha_beta3
            alpha *= done
            log1, log3 = math.log(beta1), math.log(beta3)
            beta3 = min(math.exp(log1 * log3 / ((1 - done) * log3 + done * log1)), beta3)
        step_size, rsqrt_bias2 = o.lr / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
        weights = (beta1, 1 - beta1, beta2, 1 - beta2, beta3, 1 - beta3)
        return (step,), (*weights, step_size, o.lr * alpha, rsqrt_bias2, o.eps)
