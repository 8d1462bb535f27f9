"""Adamax: Adam with the infinity norm."""

from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import larger, weighted
from numbopt.elementwise import Clock, ElementwiseOptimizer, Flags
from numbopt.functional import LAZY
from numbopt.options import BETAS, EPS, LR, WEIGHT_DECAY, Options


@rule(state="exp_avg exp_inf", scalars="beta1 one_minus_beta1 beta2 step_size eps")
def adamax(p, g, state, h):
    """Go along the mean gradient over the decaying maximum of gradients."""
    m, u = state
    m = weighted(m, g, h.beta1, h.one_minus_beta1)
    u = larger(h.beta2 * u, abs(g) + h.eps)
    return p - h.step_size * (m / u), (m, u)


class Adamax(ElementwiseOptimizer):
    r"""Adamax, the variant of Adam by the infinity norm [1]_.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        u_t &= \max(\beta_2 u_{t-1}, |g_t| + \epsilon) \\
        p_t &= p_{t-1} - \frac{\gamma}{1 - \beta_1^t} \frac{m_t}{u_t}

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
        Factor of the parameter that is added to the gradient.
    foreach, **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_inf`` :math:`u`.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A method for stochastic optimization", ICLR 2015, arXiv:1412.6980, section 7.1.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Adamax([x], lr=0.1)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    rule = adamax
    torch_flags = ("maximize", "differentiable", "capturable")
    options: ClassVar = dict(lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        **common: Unpack[Flags],
    ) -> None:
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=foreach)
        super().__init__(params, defaults, **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        step = clock[0] + 1
        beta1, beta2 = o.betas
        return (step,), (beta1, 1 - beta1, beta2, o.lr / (1 - beta1 ** float(step)), o.eps)
