"""Averaged stochastic gradient descent."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.elementwise import Clock, Common, ElementwiseOptimizer
from numbopt.functional import LAZY
from numbopt.options import LR, WEIGHT_DECAY, Number, Options


@rule(state="ax", scalars="shrink_lambd eta mu averaging")
def asgd(p, g, state, h):
    """Go down the gradient by a falling step, and average the parameters."""
    (average,) = state
    p = p * h.shrink_lambd - h.eta * g
    average = average + h.mu * (p - average) if h.averaging else p
    return p, (average,)


class ASGD(ElementwiseOptimizer):
    r"""Averaged stochastic gradient descent [1]_.

    .. math::
        p_t &= (1 - \lambda \eta_{t-1}) p_{t-1} - \eta_{t-1} g_t \\
        \bar p_t &= \bar p_{t-1} + \mu_{t-1} (p_t - \bar p_{t-1}) \\
        \eta_t &= \gamma / (1 + \lambda \gamma t)^\alpha, \qquad \mu_t = 1 / \max(1, t - t_0)

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma = \eta_0`.
    lambd : float
        Decay :math:`\lambda`.
    alpha : float
        Power :math:`\alpha` of the fall of the step.
    t0 : float
        Step :math:`t_0` at which averaging starts.
    weight_decay : float
        Factor of the parameter that is added to the gradient.
    foreach, maximize, differentiable, capturable, **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``eta``, ``mu``, and the average ``ax`` :math:`\bar p`.

    References
    ----------
    .. [1] B. T. Polyak, A. B. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on
       Control and Optimization 30, 1992.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.ASGD([x], lr=0.1)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 0.01)
    True
    """

    rule = asgd
    depends_on_parameters = True
    clock_names = ("step", "eta", "mu")
    options: ClassVar = dict(
        lr=LR,
        lambd=Number("lambd value"),
        alpha=Number("alpha value"),
        t0=Number("t0 value", finite=False),
        weight_decay=WEIGHT_DECAY,
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        **common: Unpack[Common],
    ) -> None:
        defaults = dict(lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay)
        flags = dict(foreach=foreach, maximize=maximize, differentiable=differentiable, capturable=capturable)
        super().__init__(params, defaults | flags, **common)

    @classmethod
    def initial_clock(cls, options: Mapping[str, Any]) -> Clock:
        """Return the clock before the first step."""
        return (0, options["lr"], 1.0)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        before, eta, mu = clock
        step = before + 1
        fall = 1 + o.lambd * o.lr * step
        if fall <= 0:  # its powers are complex
            raise ArithmeticError("1 + lambd * lr * step is not positive, use a larger lambd or a smaller lr")
        next_eta = o.lr / fall**o.alpha
        next_mu = 1 / max(1, step - o.t0)
        return (step, next_eta, next_mu), (1 - o.lambd * eta, eta, mu, mu != 1)
