"""Lion: steps of one length, in the direction of a momentum."""

from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import signed, weighted
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import BETAS, LR, WEIGHT_DECAY, Options


@rule(state="exp_avg", scalars="beta1 one_minus_beta1 beta2 one_minus_beta2 lr")
def lion(p, g, state, h):
    """Go one step length along the sign of a momentum."""
    (m,) = state
    direction = weighted(m, g, h.beta1, h.one_minus_beta1)
    return p - signed(h.lr, direction), (weighted(m, g, h.beta2, h.one_minus_beta2),)


class Lion(ElementwiseOptimizer):
    r"""Lion [1]_: every element moves by the learning rate, in the direction of a momentum.

    .. math::
        p_t &= (1 - \gamma \lambda) p_{t-1} - \gamma \operatorname{sign}(\beta_1 m_{t-1} + (1 - \beta_1) g_t) \\
        m_t &= \beta_2 m_{t-1} + (1 - \beta_2) g_t

    Steps do not shrink near a minimum: with exact gradients, let a schedule take the learning rate to zero.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`, the length of a step.
    betas : pair of float
        Weights :math:`\beta_1, \beta_2` of the momentum in the direction and in itself, in [0, 1).
    weight_decay : float
        Decoupled weight decay :math:`\lambda`.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``exp_avg`` :math:`m`. Complex parameters move by the learning rate in their real and imaginary parts; some
    implementations move the number by it in the direction :math:`u / |u|`.

    References
    ----------
    .. [1] X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023, arXiv:2302.06675.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Lion([x], lr=0.01)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 0.02)
    True
    """

    rule = lion
    clock_names = ()
    decoupled_weight_decay = True
    torch_flags = ("maximize",)
    options: ClassVar = dict(lr=LR, betas=BETAS, weight_decay=WEIGHT_DECAY)

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        **common: Unpack[Maximizable],
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay), **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the clock, which is empty, and the scalars of this step."""
        beta1, beta2 = o.betas
        return clock, (beta1, 1 - beta1, beta2, 1 - beta2, o.lr)
