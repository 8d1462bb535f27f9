"""AdamW: Adam with decoupled weight decay."""

from collections.abc import Mapping
from typing import Any, Unpack

from numbopt.algorithms.adam import Adam
from numbopt.elementwise import AllFlags
from numbopt.functional import LAZY


class AdamW(Adam):
    r"""AdamW [1]_: `Adam` whose weight decay multiplies the parameter by :math:`1 - \gamma \lambda`.

    Parameters
    ----------
    params : iterable
        Parameters, arrays, pairs of name and parameter, or groups; see `Optimizer`.
    lr, betas, eps, amsgrad
        As for `Adam`.
    weight_decay : float
        Decoupled weight decay :math:`\lambda`.
    **common
        See `ElementwiseOptimizer`.

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
        params: Any = LAZY,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **common: Unpack[AllFlags],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, decoupled_weight_decay=True, **common)

    def _loaded_group(self, ours: dict[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the decay decoupled whatever a state dict, of Adam for example, says."""
        return {**super()._loaded_group(ours, theirs), "decoupled_weight_decay": True}
