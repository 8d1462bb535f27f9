"""DoG: a step size from the distance gone and the gradients met, without a learning rate."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.elementwise import Clock, Maximizable
from numbopt.functional import LAZY
from numbopt.one_for_all import OneForAll
from numbopt.options import EPS, LR, Number, Options, as_float


def squares(p, g, state, h):
    """Return what the distance from the start, and the norms of the parameter and the gradient, are made of."""
    gone = p - state[0]
    return gone * gone, p * p, g * g


@rule(state="x0", terms=squares, sums="gone param gradient", found="step_size")
def dog(p, g, state, h):
    """Go down the gradient."""
    return p - h.step_size * g, state


class DoG(OneForAll):
    r"""Distance over Gradients [1]_: SGD that finds its step size.

    .. math::
        p_t = p_{t-1} - \gamma \frac{\bar r_t}{\sqrt{\sum_{i \le t} \|g_i\|^2 + \epsilon}} g_t, \qquad
        \bar r_t = \max(\max_{i < t} \|p_i - p_0\|, r_\epsilon (1 + \|p_0\|))

    with the norms of all parameters together. The authors use the average of the iterates as the result; see
    `AveragedParameters`.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        A factor :math:`\gamma` that needs no tuning.
    reps_rel : float
        :math:`r_\epsilon`: the first step, relative to the size of the parameters.
    eps : float
        :math:`\epsilon`, keeps the denominator from zero.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``x0``, the start. All groups have one ``rbar`` :math:`\bar r` and one ``G``, the sum of the squares; steps
    write them into the groups.

    References
    ----------
    .. [1] M. Ivgi, O. Hinder, Y. Carmon, "DoG is SGD's best friend: A parameter-free dynamic step size schedule", ICML
       2023, arXiv:2302.12022.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.DoG([x])
    >>> for _ in range(500):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 0.01)
    True
    """

    rule = dog
    one_for_all = ("rbar", "G")
    options: ClassVar = dict(
        lr=LR,
        reps_rel=Number("reps_rel value", low=0),
        eps=EPS,
        rbar=as_float,
        G=as_float,
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1.0,
        reps_rel: float = 1e-6,
        eps: float = 1e-8,
        **common: Unpack[Maximizable],
    ) -> None:
        super().__init__(params, dict(lr=lr, reps_rel=reps_rel, eps=eps, rbar=0.0, G=0.0), **common)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the clock, which is empty, and no scalars."""
        return clock, ()

    def over_all(self, o: Any, sums: Any) -> dict[str, float]:
        """Return the largest distance and the sum of squared gradients."""
        rbar = o.rbar or o.reps_rel * (1 + math.sqrt(sums.param))
        return {"rbar": max(rbar, math.sqrt(sums.gone)), "G": o.G + sums.gradient}

    @staticmethod
    def combine(o: Options, clock: Clock, sums: Any, changed: Mapping[str, float]) -> tuple[float, ...]:
        """Return the size of the step."""
        root = math.sqrt(changed["G"] + o.eps)
        return (o.lr * changed["rbar"] / root if root else 0.0,)

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float | str]:
        """Return that the start is to be remembered."""
        return {"x0": "parameter"}
