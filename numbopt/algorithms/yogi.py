"""Yogi: Adam whose mean square changes by a bounded amount."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import signed, weighted
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import BETAS, EPS, LR, WEIGHT_DECAY, Number, Options


@rule(
    state="exp_avg exp_avg_sq",
    scalars="beta1 one_minus_beta1 one_minus_beta2 step_size rsqrt_bias2 eps",
)
def yogi(p, g, state, h):
    """Go along the mean gradient over the root of a mean square that changes slowly."""
    m, v = state
    m = weighted(m, g, h.beta1, h.one_minus_beta1)
    square = g * g
    v = v - signed(h.one_minus_beta2 * square, v - square)
    return p - h.step_size * (m / (math.sqrt(v) * h.rsqrt_bias2 + h.eps)), (m, v)


class Yogi(ElementwiseOptimizer):
    r"""Yogi [1]_: Adam whose mean square does not forget large gradients at once.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= v_{t-1} - (1 - \beta_2) \operatorname{sign}(v_{t-1} - g_t^2) g_t^2 \\
        p_t &= (1 - \gamma \lambda) p_{t-1}
            - \frac{\gamma}{1 - \beta_1^t} \frac{m_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

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
    initial_accumulator_value : float
        What :math:`m_0` and :math:`v_0` are.
    weight_decay : float
        Decoupled weight decay :math:`\lambda`.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_avg_sq`` :math:`v`.

    References
    ----------
    .. [1] M. Zaheer et al., "Adaptive methods for nonconvex optimization", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Yogi([x], lr=0.1)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    rule = yogi
    decoupled_weight_decay = True
    torch_flags = ("maximize",)
    options: ClassVar = dict(
        lr=LR,
        betas=BETAS,
        eps=EPS,
        initial_accumulator_value=Number("initial_accumulator_value value", low=0),
        weight_decay=WEIGHT_DECAY,
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-3,
        initial_accumulator_value: float = 1e-6,
        weight_decay: float = 0,
        **common: Unpack[Maximizable],
    ) -> None:
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__(params, defaults | dict(initial_accumulator_value=initial_accumulator_value), **common)

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float | str]:
        """Return what both means begin with."""
        return dict.fromkeys(("exp_avg", "exp_avg_sq"), options["initial_accumulator_value"])

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        step = clock[0] + 1
        beta1, beta2 = o.betas
        t = float(step)
        step_size, rsqrt_bias2 = o.lr / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
        return (step,), (beta1, 1 - beta1, 1 - beta2, step_size, rsqrt_bias2, o.eps)
