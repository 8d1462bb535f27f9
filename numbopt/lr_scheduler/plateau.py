"""The scheduler that follows a metric."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, SupportsFloat

from numbopt.lr_scheduler._arguments import integer, number, one_of, per_group
from numbopt.lr_scheduler.base import EPOCH_DEPRECATION_WARNING, LRScheduler, write
from numbopt.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Reduce the learning rate when a metric has stopped improving.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    mode : {"min", "max"}
        Whether smaller or larger values of the metric are better.
    factor : float
        The factor of each reduction, below 1.
    patience : int
        Number of epochs without improvement before a reduction.
    threshold : float
        A metric is an improvement if it is better than the best value so far by more than this.
    threshold_mode : {"rel", "abs"}
        Whether ``threshold`` is relative to the best value or an absolute difference.
    cooldown : int
        Number of epochs after a reduction in which bad epochs are not counted.
    min_lr : float or list of float
        The smallest learning rate; one for all groups or one for each.
    eps : float
        A reduction of the learning rate by this much or less is not made.

    Attributes
    ----------
    best : float
        The best metric so far.
    num_bad_epochs : int
        Number of epochs since the last improvement, reduction or cooldown.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> opt = numbopt.SGD([np.zeros(3)], lr=0.5)
    >>> scheduler = numbopt.lr_scheduler.ReduceLROnPlateau(opt, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     opt.step(grads=[np.ones(3)])
    ...     scheduler.step(loss)
    >>> scheduler.get_last_lr()
    [0.05]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        # The constructor of the base class is not called: it would write, and there is no metric yet.
        self.factor = number("factor", factor)
        if self.factor >= 1:
            raise ValueError(f"Factor should be < 1.0. (factor={factor})")
        self.optimizer = optimizer
        self.min_lrs = per_group("min_lr", optimizer, min_lr)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else self.min_lrs[0]
        self.patience = integer("patience", patience, low=0)
        self.cooldown = integer("cooldown", cooldown, low=0)
        self.eps = number("eps", eps)
        self.mode = one_of("mode", mode, ("min", "max"))
        self.threshold = number("threshold", threshold)
        self.threshold_mode = one_of("threshold_mode", threshold_mode, ("rel", "abs"))
        self.last_epoch = 0
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self._last_lr = self._current_lrs()

    @property
    def in_cooldown(self) -> bool:
        """Whether bad epochs are not counted, because the last reduction is recent."""
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take the metric of an epoch, and reduce the learning rate if the metric has stopped improving.

        Parameters
        ----------
        metrics : float
            The metric. NaN is no improvement.
        epoch : int, optional
            The number of the epoch. Deprecated.
        """
        current = float(metrics)
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._current_lrs()

    def _is_better(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        if self.threshold_mode == "rel":
            # Of a negative best value, the threshold is a part as well; torch would call any value better than it.
            fraction = self.threshold if self.best >= 0 else -self.threshold
            return sign * metric < sign * self.best * (1.0 - sign * fraction)
        return sign * metric < sign * self.best - self.threshold

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                counts = f"({len(groups)}) differs from the number of `min_lrs` ({len(self.min_lrs)})"
                remedy = "append the smallest learning rate of each new group to the scheduler's `min_lrs`"
                raise RuntimeError(f"The number of param groups in the `optimizer` {counts}; {remedy}")
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, old, smallest in zip(groups, self._current_lrs(), self.min_lrs, strict=True):
            new = max(old * self.factor, smallest)
            if old - new > self.eps:
                write(group, "lr", new)

    def _go_to(self, epoch: Any) -> None:
        raise TypeError("ReduceLROnPlateau needs a metric for each step and cannot be part of another scheduler")
