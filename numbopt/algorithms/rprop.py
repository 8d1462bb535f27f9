"""Rprop: resilient backpropagation."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from numbopt._kernels.rule import rule
from numbopt.elementwise import AllFlags, Clock, ElementwiseOptimizer
from numbopt.functional import LAZY
from numbopt.options import LR, Number, Options, Several


@rule(state="prev step_size", scalars="eta_minus eta_plus smallest largest zero one")
def rprop(p, g, state, h):
    """Go against the sign of the gradient, by a step that grows while the sign stays and shrinks when it changes."""
    before, step_size = state
    # Signs are compared, because the product of two small gradients may underflow.
    changed = (g > 0 and before < 0) or (g < 0 and before > 0)
    stayed = (g > 0 and before > 0) or (g < 0 and before < 0)
    grown = step_size * (h.eta_plus if stayed else h.eta_minus if changed else h.one)
    step_size = h.largest if grown > h.largest else h.smallest if grown < h.smallest else grown
    g = h.zero if changed else g
    p = p - step_size if g > 0 else p + step_size if g < 0 else p
    return p, (g, step_size)


class Rprop(ElementwiseOptimizer):
    r"""Rprop, resilient backpropagation [1]_.

    Each element has a step size :math:`\Delta`. It is multiplied by :math:`\eta^+` where the gradient kept its sign and
    by :math:`\eta^-` where it changed sign, and kept within bounds. Where the sign changed, the element rests for a
    step; elsewhere

    .. math::
        p_t = p_{t-1} - \operatorname{sign}(g_t) \Delta_t

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        The step size to start with.
    etas : pair of float
        :math:`\eta^- < 1 < \eta^+`.
    step_sizes : pair of float
        The smallest and the largest step size.
    **common
        See `ElementwiseOptimizer`.

    Notes
    -----
    State: ``step``, ``prev``, the gradient before, zero where the sign had changed, and ``step_size``
    :math:`\Delta`. A NaN in a gradient shows in ``prev``; the parameter rests, as with torch.

    References
    ----------
    .. [1] M. Riedmiller, H. Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm",
       IEEE International Conference on Neural Networks, 1993.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.Rprop([x], lr=0.1)
    >>> for _ in range(200):
    ...     opt.step(grads=[2 * x])
    >>> bool(np.abs(x).max() < 1e-3)
    True
    """

    rule = rprop
    torch_flags = ("capturable", "foreach", "maximize", "differentiable")
    options: ClassVar = dict(
        lr=LR,
        etas=Several(Number("eta values"), Number("eta values")),
        step_sizes=Several(Number("smallest step size", low=0), Number("largest step size", low=0, finite=False)),
    )

    def __init__(
        self,
        params: Any = LAZY,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        **common: Unpack[AllFlags],
    ) -> None:
        super().__init__(params, dict(lr=lr, etas=etas, step_sizes=step_sizes), **common)

    def check_together(self, options: Mapping[str, Any]) -> None:
        """Refuse factors that do not shrink and grow, and bounds that cross."""
        eta_minus, eta_plus = options["etas"]
        if not 0 < eta_minus < 1 < eta_plus:
            raise ValueError(f"Invalid eta values: {eta_minus}, {eta_plus} (etas must be 0 < eta- < 1 < eta+)")
        smallest, largest = options["step_sizes"]
        if smallest > largest:
            raise ValueError(f"Invalid step sizes: {smallest}, {largest} (step_sizes must be smallest <= largest)")

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float | str]:
        """Return the step size to start from."""
        return {"step_size": options["lr"]}

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        """Return the next clock and the scalars of this step."""
        return (clock[0] + 1,), (*o.etas, *o.step_sizes, 0.0, 1.0)
