"""LARS: SGD with steps in proportion to the norm of each parameter."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.algorithms._arithmetic import trust_ratio
from numbopt.elementwise import Clock, ElementwiseOptimizer, Maximizable
from numbopt.functional import LAZY
from numbopt.options import LR, MOMENTUM, WEIGHT_DECAY, Number, Options, flag


def squares(p, g, state, h):
    """Return what the norms of parameter and gradient are made of."""
    return p * p, g * g


@rule(state="momentum_buffer", scalars="momentum nesterov", terms=squares, sums="param gradient", found="step_size")
def lars(p, g, state, h):
    """Go down a running sum of scaled gradients."""
    step = h.step_size * g
    b = h.momentum * state[0] + step
    return p - (step + h.momentum * b if h.nesterov else b), (b,)


class LARS(ElementwiseOptimizer):
    r"""LARS [1]_: `SGD` with a step in proportion to the norm of each parameter.

    .. math::
        u_t = g_t + \lambda p_{t-1}, \qquad
        b_t = \mu b_{t-1} + \gamma \eta \frac{\|p_{t-1}\|}{\|u_t\|} u_t, \qquad
        p_t = p_{t-1} - b_t

    The factor :math:`\eta \|p\| / \|u\|` is 1 where a norm is 0. The learning rate is inside the running sum, so that a
    schedule acts with its memory.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    momentum : float
        Factor :math:`\mu` of the running sum.
    weight_decay : float
        Factor :math:`\lambda` of the parameter that is added to the gradient.
    trust_coefficient : float
        :math:`\eta`.
    nesterov : bool
        Use Nesterov's momentum.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``momentum_buffer`` :math:`b`.

    References
    ----------
    .. [1] Y. You, I. Gitman, B. Ginsburg, "Large batch training of convolutional networks", 2017, arXiv:1708.03888.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([3.0, 4.0])
    >>> opt = numbopt.LARS([x], lr=1.0, trust_coefficient=0.1)
    >>> opt.step(grads=[np.array([0.0, 2.0])])
    >>> x
    array([3. , 3.5])
    """

    rule = lars
    depends_on_parameters = True
    clock_names = ()
    torch_flags = ("maximize",)
    options: ClassVar = dict(
        lr=LR,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        trust_coefficient=Number("trust_coefficient value", low=0),
        nesterov=flag,
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0,
        trust_coefficient: float = 1e-3,
        nesterov: bool = False,
        **common: Unpack[Maximizable],
    ) -> None:
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, trust_coefficient=trust_coefficient)
        super().__init__(params, defaults | dict(nesterov=nesterov), **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the clock, which is empty, and the scalars of this step."""
        return clock, (o.momentum, o.nesterov)

    @staticmethod
    def combine(o: Options, clock: Clock, sums: Any, changed: Mapping[str, float]) -> tuple[float, ...]:
        """Return the size of the step."""
        return (o.lr * trust_ratio(sums.param, sums.gradient, o.trust_coefficient),)
