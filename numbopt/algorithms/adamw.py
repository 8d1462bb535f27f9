"""AdamW: Adam with decoupled weight decay."""

from collections.abc import Mapping
from typing import Any, Unpack

from numbopt.algorithms.adam import Adam
from numbopt.elementwise import Common


class AdamW(Adam):
    r"""AdamW [1]_: `Adam` whose weight decay multiplies the parameter by :math:`1 - \gamma \lambda`.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma`.
    betas : pair of float
        Decay rates of the running means, in [0, 1).
    eps : float
        Keeps the denominator from zero.
    weight_decay : float
        Decoupled weight decay :math:`\lambda`.
    amsgrad : bool
        Use AMSGrad.
    maximize : bool
        Go up instead of down.
    foreach, capturable, differentiable, fused
        For compatibility with torch; ``differentiable=True`` is refused, the others change nothing.
    **common
        ``bounds``, ``project``, ``max_grad_norm`` and ``nonfinite``; see `ElementwiseOptimizer`.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv:1711.05101.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([2.0, -1.0])
    >>> opt = numbopt.AdamW([x], lr=0.5, weight_decay=0.1)
    >>> opt.step(grads=[np.zeros(2)])
    >>> x
    array([ 1.9 , -0.95])
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
            **common,
        )

    def _loaded_group(self, ours: dict[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the decay decoupled whatever a state dict, of Adam for example, says."""
        return {**super()._loaded_group(ours, theirs), "decoupled_weight_decay": True}
