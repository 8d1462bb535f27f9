"""Lookahead: slow weights that follow an optimizer."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from numbopt.options import as_float, as_integer
from numbopt.wrappers.averages import AveragedParameters, get_ema_avg_fn
from numbopt.wrappers.wrapper import Wrapper


class Lookahead(Wrapper):
    r"""Lets an optimizer make :math:`k` steps, then moves the parameters back to a point between start and end [1]_.

    .. math::
        \theta &\leftarrow k \text{ steps of the optimizer from } \theta = \phi \\
        \phi &\leftarrow (1 - \alpha) \phi + \alpha \theta, \qquad \theta \leftarrow \phi

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer of the parameters, which are the fast weights :math:`\theta`.
    k : int
        The number of steps of the optimizer for one step of the slow weights :math:`\phi`.
    alpha : float
        The part :math:`\alpha` of the way that the slow weights go, from 0 to 1.

    Attributes
    ----------
    slow : AveragedParameters
        The slow weights. They begin at the parameters before the first step.
    counter : int
        The number of steps so far.
    k : int
        As given. You may change it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    Everything else, such as ``param_groups``, ``state``, ``zero_grad`` or hooks, belongs to the optimizer. Steps of the
    slow weights do not change its state. Give the optimizer to a scheduler. To accumulate gradients, too, wrap the
    `Lookahead` in an `Accumulate`.

    References
    ----------
    .. [1] M. R. Zhang, J. Lucas, G. Hinton, J. Ba, "Lookahead optimizer: k steps forward, 1 step back", NeurIPS 2019,
       arXiv:1907.08610.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([1.0])
    >>> opt = numbopt.Lookahead(numbopt.SGD([x], lr=0.25), k=2)
    >>> for _ in range(2):
    ...     opt.step(grads=[np.array([1.0])])
    >>> x
    array([0.75])
    """

    __slots__ = ("_alpha", "counter", "k", "slow")

    state_key = "lookahead"

    def __init__(self, optimizer: Any, k: int = 5, alpha: float = 0.5) -> None:
        super().__init__(optimizer)
        self.k = as_integer("k", k, low=1)
        self._alpha = as_float("alpha", alpha)
        if not 0 <= self._alpha <= 1:
            raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
        self.counter = 0
        self.slow = AveragedParameters(optimizer, get_ema_avg_fn(1 - self._alpha))

    @property
    def alpha(self) -> float:
        """The part of the way, as given."""
        return self._alpha

    def step(self, closure: Callable[[], Any] | None = None, *, grads: Any = None) -> Any:
        """Make a step of the optimizer, and in every k-th call a step of the slow weights, too.

        Parameters
        ----------
        closure, grads
            As for `Optimizer.step`.

        Returns
        -------
        object
            The loss that the closure returned, or None.
        """
        if self.slow.n_averaged == 0:
            self.slow.update_parameters()
        self.slow._follow()  # a new parameter needs slow weights before its first step
        loss = self.optimizer.step(closure, grads=grads)
        self.counter += 1
        if self.counter % self.k == 0:
            self.slow.update_parameters()
            self.slow.copy_to()
        return loss

    def _own_state(self) -> dict[str, Any]:
        return {"counter": self.counter, "slow": self.slow.state_dict()}

    def _checked_own_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        counter, take_slow = operator.index(state["counter"]), self.slow._checked_state(state["slow"])

        def take() -> None:
            take_slow()
            self.counter = counter

        return take
