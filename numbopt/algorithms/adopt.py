"""ADOPT: Adam that divides by the mean square of earlier gradients only."""

import math
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import signed, weighted
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import BETAS, EPS, LR, WEIGHT_DECAY, Options


@rule(
    state="exp_avg exp_avg_sq",
    scalars="beta1 one_minus_beta1 beta2 one_minus_beta2 kept lr limit eps",
)
def adopt(p, g, state, h):
    """Go along the mean of gradients, each over the root of the mean square of those before it."""
    m, v = state
    root = math.sqrt(v)
    root = h.eps if root < h.eps else root
    size = -g if g < 0 else g
    u = signed(h.limit, g) if size >= h.limit * root else g / root
    m = weighted(m, u, h.beta1, h.one_minus_beta1)
    return h.kept * p - h.lr * m, (m, weighted(v, g * g, h.beta2, h.one_minus_beta2))


class ADOPT(ElementwiseOptimizer):
    r"""ADOPT [1]_: Adam that converges with any :math:`\beta_2`.

    The first step sets :math:`v_1 = g_1^2` and moves nothing. After it,

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) \operatorname{clip}\left(
            \frac{g_t}{\max(\sqrt{v_{t-1}}, \epsilon)}, \pm (t - 1)^{1/4} \right) \\
        p_t &= (1 - \gamma \lambda) p_{t-1} - \gamma m_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    betas : pair of float
        Decay rates :math:`\beta_1, \beta_2`, in [0, 1).
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    weight_decay : float
        Decoupled weight decay :math:`\lambda`.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_avg_sq`` :math:`v`.

    References
    ----------
    .. [1] S. Taniguchi et al., "ADOPT: Modified Adam can converge with any :math:`\beta_2` with the optimal rate",
       NeurIPS 2024, arXiv:2411.02853.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.ADOPT([x], lr=0.1)
    >>> for _ in range(1000):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 0.1)
    True
    """

    rule = adopt
    weight_decay_in_rule = True  # not in the first step
    torch_flags = ("maximize",)
    options: ClassVar = dict(lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float = 1e-6,
        weight_decay: float = 0,
        **common: Unpack[Maximizable],
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay), **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        before = clock[0]
        beta1, beta2 = o.betas
        if before == 0:
            return (1,), (1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, o.eps)
        weights = (beta1, 1 - beta1, beta2, 1 - beta2)
        return (before + 1,), (*weights, 1 - o.lr * o.weight_decay, o.lr, float(before) ** 0.25, o.eps)
