"""LAMB: Adam's direction, with steps in proportion to the norm of each parameter."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import trust_ratio
from numbopt.algorithms.adam import moments
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import BETAS, EPS, LR, WEIGHT_DECAY, Options


def direction(p, m, v, h):
    """Return Adam's direction, with weight decay."""
    u = m * h.inverse_bias1 / (math.sqrt(v) * h.rsqrt_bias2 + h.eps)
    return u + h.decay * p if h.decay else u  # 0 * infinity would be NaN


def squares(p, g, state, h):
    """Return what the norms of parameter and direction are made of."""
    m, v = state
    m, v = moments(m, v, g, h)
    u = direction(p, m, v, h)
    return p * p, u * u


@rule(
    state="exp_avg exp_avg_sq",
    scalars="beta1 one_minus_beta1 beta2 one_minus_beta2 inverse_bias1 rsqrt_bias2 eps decay",
    terms=squares,
    sums="param direction",
    found="step_size",
)
def lamb(p, g, state, h):
    """Go along Adam's direction."""
    m, v = state
    m, v = moments(m, v, g, h)
    return p - h.step_size * direction(p, m, v, h), (m, v)


class LAMB(ElementwiseOptimizer):
    r"""LAMB [1]_: Adam's direction :math:`u`, with a step in proportion to the norm of each parameter.

    .. math::
        u_t = \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} + \lambda p_{t-1}, \qquad
        p_t = p_{t-1} - \gamma \frac{\|p_{t-1}\|}{\|u_t\|} u_t

    The ratio is 1 where a norm is 0. Made for large batches; steps do not shrink near a minimum, so let a schedule take
    the learning rate to zero.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    betas : pair of float
        Decay rates :math:`\beta_1, \beta_2` of the means, in [0, 1).
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    weight_decay : float
        Weight decay :math:`\lambda`.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_avg_sq`` :math:`v`.

    References
    ----------
    .. [1] Y. You et al., "Large batch optimization for deep learning: Training BERT in 76 minutes", ICLR 2020,
       arXiv:1904.00962.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([3.0, 4.0])
    >>> opt = numbopt.LAMB([x], lr=0.1)
    >>> opt.step(grads=[np.array([1.0, 1.0])])
    >>> float(np.round(np.linalg.norm(x - [3, 4]), 6))  # a tenth of the norm
    0.5
    """

    rule = lamb
    weight_decay_in_rule = True
    depends_on_parameters = True
    torch_flags = ("maximize",)
    options: ClassVar = dict(lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
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
        biases = (1 / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t))
        return (step,), (beta1, 1 - beta1, beta2, 1 - beta2, *biases, o.eps, o.weight_decay)

    @staticmethod
    def combine(o: Options, clock: Clock, sums: Any, changed: Mapping[str, float]) -> tuple[float, ...]:
        """Return the size of the step."""
        return (o.lr * trust_ratio(sums.param, sums.direction),)
