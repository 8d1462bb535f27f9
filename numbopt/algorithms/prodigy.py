"""Prodigy: Adam that finds its learning rate."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import weighted
from numbopt.elementwise import Clock, Maximizable
from numbopt.functional import LAZY
from numbopt.one_for_all import OneForAll
from numbopt.options import BETAS, EPS, LR, WEIGHT_DECAY, Number, Options, as_float, flag, integer

_BETA3 = Number("beta3 value", low=0, below=1)


def distance(p, g, state, h):
    """Return what the estimate of the distance to the solution is made of."""
    _, _, s, p0 = state
    s = h.beta3 * s + h.weight * g
    return h.numerator * (g * (p0 - p)), s if s > 0 else -s


@rule(
    state="exp_avg exp_avg_sq s p0",
    scalars="beta1 new_mean beta2 new_square beta3 weight numerator",
    terms=distance,
    sums="numerator denominator",
    found="kept step_size eps",
)
def prodigy(p, g, state, h):
    """Go along Adam's direction."""
    m, v, s, p0 = state
    m = weighted(m, g, h.beta1, h.new_mean)
    v = weighted(v, g * g, h.beta2, h.new_square)
    step = h.step_size * (m / (math.sqrt(v) + h.eps)) if h.step_size else h.step_size
    return h.kept * p - step, (m, v, h.beta3 * s + h.weight * g, p0)


class Prodigy(OneForAll):
    r"""Prodigy [1]_: Adam that finds its learning rate.

    With :math:`k` steps done and the estimate :math:`d` of the distance to the solution,

    .. math::
        \ell &= \gamma d_k \quad\text{or}\quad \gamma d_k \sqrt{1 - \beta_2^{k+1}} / (1 - \beta_1^{k+1}) \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) d_k g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) d_k^2 g^2, \quad
        s \leftarrow \beta_3 s + (d_k / d_0) \ell g \\
        n &\leftarrow \beta_3 n + (d_k / d_0) \ell \langle g, p_0 - p \rangle, \qquad
        d_{k+1} = \max(d_k, c \, n / \|s\|_1) \\
        p &\leftarrow (1 - \lambda \ell) p - \ell \frac{m}{\sqrt{v} + d_{k+1} \epsilon}

    with the sums over all parameters of all groups. Use ``use_bias_correction=True, safeguard_warmup=True`` unless you
    compare with the package of the authors: on problems with exact gradients the defaults, which are theirs, are ten to
    two hundred times worse. Where gradients are mostly noise, tune another optimizer.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        A factor :math:`\gamma` of the learning rate that is found; schedules may change it.
    betas : pair of float
        Decay rates :math:`\beta_1, \beta_2` of the means, in [0, 1).
    beta3 : float, optional
        :math:`\beta_3`; by default :math:`\sqrt{\beta_2}`.
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    weight_decay : float
        Weight decay :math:`\lambda`.
    decouple : bool
        Multiply the parameter by :math:`1 - \lambda \ell` rather than adding to the gradient.
    use_bias_correction : bool
        Use the second form of :math:`\ell`.
    safeguard_warmup : bool
        Take :math:`d_k` in place of :math:`\ell` in :math:`s`, so that a schedule that warms up does no harm.
    d0 : float
        The first :math:`d`.
    d_coef : float
        The factor :math:`c`.
    growth_rate : float
        The most that :math:`d` grows by in a step, as a factor.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``exp_avg`` :math:`m`, ``exp_avg_sq`` :math:`v`, ``s``, and the start ``p0``. All groups have one ``d``,
    ``d_max``, ``d_numerator`` :math:`n` and ``k``; steps write them into the groups.

    References
    ----------
    .. [1] K. Mishchenko, A. Defazio, "Prodigy: An expeditiously adaptive parameter-free learner", ICML 2024,
       arXiv:2306.06101.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Prodigy([x], use_bias_correction=True, safeguard_warmup=True)
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    rule = prodigy
    one_for_all = ("d", "d_max", "d_numerator", "k")
    options: ClassVar = dict(
        lr=LR,
        betas=BETAS,
        beta3=lambda name, value: math.nan if value is None else _BETA3(name, value),
        eps=EPS,
        weight_decay=WEIGHT_DECAY,
        decouple=flag,
        use_bias_correction=flag,
        safeguard_warmup=flag,
        d0=Number("d0 value", above=0),
        d_coef=Number("d_coef value", above=0),
        growth_rate=Number("growth_rate value", low=1, finite=False),
        d=Number("d value", above=0),
        d_max=Number("d_max value", above=0),
        d_numerator=as_float,
        k=integer(low=0),
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        beta3: float | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0,
        decouple: bool = True,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        d0: float = 1e-6,
        d_coef: float = 1.0,
        growth_rate: float = math.inf,
        **common: Unpack[Maximizable],
    ) -> None:
        defaults = dict(lr=lr, betas=betas, beta3=beta3, eps=eps, weight_decay=weight_decay, decouple=decouple)
        variants = dict(use_bias_correction=use_bias_correction, safeguard_warmup=safeguard_warmup)
        estimate = dict(d0=d0, d_coef=d_coef, growth_rate=growth_rate, d=d0, d_max=d0, d_numerator=0.0, k=0)
        super().__init__(params, defaults | variants | estimate, **common)

    def _common_scalars(self, options: Mapping[str, Any]) -> Any:
        return super()._common_scalars({**options, "weight_decay": 0.0} if options["decouple"] else options)

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float | str]:
        """Return that the start is to be remembered."""
        return {"p0": "parameter"}

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the clock, which is empty, and the scalars of this step."""
        beta1, beta2 = o.betas
        rate, share = learning_rate(o), o.d / o.d0
        weight = share * (o.d if o.safeguard_warmup else rate)
        means = (beta1, o.d * (1 - beta1), beta2, o.d * o.d * (1 - beta2))
        return clock, (*means, third_beta(o), weight, share * rate)

    def over_all(self, o: Any, sums: Any) -> dict[str, float]:
        """Return the estimate of the distance."""
        if not sums.denominator:  # all gradients were 0
            return {"d": o.d, "d_max": o.d_max, "d_numerator": o.d_numerator, "k": o.k}
        numerator = third_beta(o) * o.d_numerator + sums.numerator
        estimate = o.d_coef * numerator / sums.denominator
        d = max(o.d, estimate) if o.d == o.d0 else o.d
        d_max = max(o.d_max, estimate)
        return {"d": min(d_max, d * o.growth_rate), "d_max": d_max, "d_numerator": numerator, "k": o.k + 1}

    @staticmethod
    def combine(o: Options, clock: Clock, sums: Any, changed: Mapping[str, float]) -> tuple[float, ...]:
        """Return the scalars of the step, with the old learning rate and the new estimate."""
        rate = learning_rate(o) if changed["k"] > o.k else 0.0
        return 1 - rate * o.weight_decay * o.decouple, rate, changed["d"] * o.eps


def learning_rate(o: Any) -> float:
    """Return the learning rate of a step."""
    rate: float = o.lr * o.d
    if o.use_bias_correction:
        beta1, beta2 = o.betas
        rate *= math.sqrt(1 - beta2 ** (o.k + 1.0)) / (1 - beta1 ** (o.k + 1.0))
    return rate


def third_beta(o: Any) -> float:
    """Return the decay rate of the estimate."""
    beta3: float = o.beta3
    return beta3 if beta3 == beta3 else math.sqrt(o.betas[1])
