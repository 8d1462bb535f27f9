"""Schedule-Free optimizers: an average of the iterates in place of a schedule of learning rates."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import weighted
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import EPS, LR, WEIGHT_DECAY, Check, Number, Options, Several, flag, integer
from numbopt.two_points import TwoPoints

_AVERAGE = "decay lr towards_z along_step"


@rule(state="z exp_avg_sq", scalars=f"beta2 one_minus_beta2 rsqrt_bias2 eps {_AVERAGE}", first_inside=True)
def adamw_schedule_free(p, g, state, h):
    """Move a point by Adam's step without momentum, and the parameter between it and the average."""
    z, v = state
    v = weighted(v, g * g, h.beta2, h.one_minus_beta2)
    p, z = two_points(p, z, g / (math.sqrt(v) * h.rsqrt_bias2 + h.eps), h)
    return p, (z, v)


@rule(state="z", scalars=_AVERAGE, first_inside=True)
def sgd_schedule_free(p, g, state, h):
    """Move a point down the gradient, and the parameter between it and the average."""
    p, z = two_points(p, state[0], g, h)
    return p, (z,)


def two_points(p, z, step, h):
    """Return the parameter and the fast point after a step."""
    if h.decay:  # 0 * infinity would be NaN
        step = step + h.decay * p
    return p + h.towards_z * (z - p) + h.along_step * step, z - h.lr * step


class _ScheduleFree(TwoPoints, ElementwiseOptimizer):
    """What both have in common."""

    clock_names = ("step", "lr_max", "weight_sum")
    weight_decay_in_rule = True
    depends_on_parameters = True
    torch_flags = ("maximize",)

    @classmethod
    def initial_clock(cls, options: Mapping[str, Any]) -> Clock:
        """Return the clock before the first step."""
        return (0, -1.0, 0.0)

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float | str]:
        """Return that the fast point begins where the parameter is."""
        return {"z": "parameter"}


def averaging(o: Any, beta: float, clock: Clock) -> tuple[Clock, tuple[float, float, float, float]]:
    """Return the clock after a step, and the scalars in `_AVERAGE`."""
    before, lr_max, weight_sum = clock
    step = before + 1
    lr = o.lr * min(1.0, step / o.warmup_steps) if o.warmup_steps else o.lr
    lr_max = max(lr, lr_max)
    weight = float(step) ** o.r * lr_max**o.weight_lr_power
    weight_sum += weight
    share = weight / weight_sum if weight_sum else 0.0
    return (step, lr_max, weight_sum), (o.weight_decay, lr, share, lr * (beta * (1 - share) - 1))


_OPTIONS: dict[str, Check] = dict(
    lr=LR,
    weight_decay=WEIGHT_DECAY,
    warmup_steps=integer(low=0),
    r=Number("r value", low=0),
    weight_lr_power=Number("weight_lr_power value", low=0),
    train_mode=flag,
)


class AdamWScheduleFree(_ScheduleFree):
    r"""Schedule-Free AdamW [1]_: no schedule of learning rates, but an average of the iterates.

    Gradients are taken at :math:`y`, which the parameter holds; :math:`x` is the result.

    .. math::
        z_t &= z_{t-1} - \gamma_t u_t, \qquad
        u_t = \frac{g_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} + \lambda y_{t-1} \\
        x_t &= (1 - c_t) x_{t-1} + c_t z_t, \qquad y_t = (1 - \beta_1) z_t + \beta_1 x_t

    with :math:`c_t = w_t / \sum_{i \le t} w_i` and :math:`w_t = t^r \gamma_{\max}^{p}`.

    `eval` puts :math:`x` into the parameters and `train` puts :math:`y` back; ``with opt.averaged():`` does both, and
    `average` returns :math:`x` without touching the parameters. `numbopt.minimize` returns the average.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    betas : pair of float
        :math:`\beta_1` in (0, 1), how near to the average gradients are taken, and :math:`\beta_2` in [0, 1).
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    weight_decay : float
        Weight decay :math:`\lambda`, at :math:`y`.
    warmup_steps : int
        Steps in which the learning rate grows to what it is.
    r, weight_lr_power : float
        Powers :math:`r` and :math:`p` in the weights of the average.
    **common
        See `ElementwiseOptimizer`. ``bounds`` hold for all three points.

    Notes
    -----
    State: ``step``, ``lr_max``, ``weight_sum``, ``z`` and ``exp_avg_sq`` :math:`v`. The option ``train_mode`` of groups
    says which point the parameters hold. Unlike in the package of the authors, new optimizers are in training mode, and
    each parameter has a count and an average of its own.

    References
    ----------
    .. [1] A. Defazio et al., "The road less scheduled", NeurIPS 2024, arXiv:2405.15682.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.AdamWScheduleFree([x], lr=0.1)
    >>> for _ in range(1000):
    ...     opt.step(grads=[2 * x])
    >>> with opt.averaged():
    ...     print(bool(np.abs(x).max() < 1e-2))
    True
    """

    rule = adamw_schedule_free
    options: ClassVar = dict(
        betas=Several(
            Number("beta parameter at index 0", above=0, below=1), Number("beta parameter at index 1", low=0, below=1)
        ),
        eps=EPS,
        **_OPTIONS,
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        **common: Unpack[Maximizable],
    ) -> None:
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, warmup_steps=warmup_steps)
        weights = dict(r=r, weight_lr_power=weight_lr_power, train_mode=True)
        super().__init__(params, defaults | weights, **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        beta1, beta2 = o.betas
        clock, scalars = averaging(o, beta1, clock)
        rsqrt_bias2 = 1 / math.sqrt(1 - beta2 ** float(clock[0]))
        return clock, (beta2, 1 - beta2, rsqrt_bias2, o.eps, *scalars)

    @classmethod
    def weight_of_average(cls, options: Mapping[str, Any]) -> float:
        """Return how near to the average gradients are taken."""
        beta: float = options["betas"][0]
        return beta


class SGDScheduleFree(_ScheduleFree):
    r"""Schedule-Free SGD [1]_: `SGD` with an average of the iterates in place of a schedule of learning rates.

    As `AdamWScheduleFree` with :math:`u_t = g_t + \lambda y_{t-1}` and :math:`\beta_1 = \mu`.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate: some ten times as large as the best one of SGD with a schedule.
    momentum : float
        :math:`\mu` in (0, 1), how near to the average gradients are taken.
    weight_decay, warmup_steps, r, weight_lr_power, **common
        As for `AdamWScheduleFree`.

    Notes
    -----
    State: ``step``, ``lr_max``, ``weight_sum`` and ``z``.

    References
    ----------
    .. [1] A. Defazio et al., "The road less scheduled", NeurIPS 2024, arXiv:2405.15682.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.SGDScheduleFree([x], lr=0.5)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(opt.average()[0]).max() < 1e-2)
    True
    """

    rule = sgd_schedule_free
    options: ClassVar = dict(momentum=Number("momentum value", above=0, below=1), **_OPTIONS)

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        **common: Unpack[Maximizable],
    ) -> None:
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, warmup_steps=warmup_steps)
        weights = dict(r=r, weight_lr_power=weight_lr_power, train_mode=True)
        super().__init__(params, defaults | weights, **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        return averaging(o, o.momentum, clock)

    @classmethod
    def weight_of_average(cls, options: Mapping[str, Any]) -> float:
        """Return how near to the average gradients are taken."""
        beta: float = options["momentum"]
        return beta
