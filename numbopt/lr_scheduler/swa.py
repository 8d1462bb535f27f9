"""The scheduler for stochastic weight averaging."""

from collections.abc import Sequence

from numbopt.lr_scheduler._arguments import one_of, per_group
from numbopt.lr_scheduler.base import LRScheduler
from numbopt.lr_scheduler.factors import carried_on
from numbopt.optimizer import Optimizer
from numbopt.options import as_integer
from numbopt.schedules import ease


class SWALR(LRScheduler):
    """Go from the current learning rate to a fixed one, at which you average the weights.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    swa_lr : float or list of float
        The last learning rate; one for all groups or one for each. It is kept in the groups as ``"swa_lr"``.
    anneal_epochs : int
        Number of epochs until ``swa_lr`` is reached; 0 to go there at once.
    anneal_strategy : {"cos", "linear"}
        Shape of the curve.
    last_epoch : int
        See `LRScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        swa_lrs = per_group("swa_lr", optimizer, swa_lr)
        self._anneal_strategy = one_of("anneal_strategy", anneal_strategy, ("cos", "linear"))
        refusal = f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}"
        self.anneal_epochs = as_integer("anneal_epochs", anneal_epochs, 0, refusal)
        for group, lr in zip(optimizer.param_groups, swa_lrs, strict=True):
            group["swa_lr"] = lr
        super().__init__(optimizer, last_epoch)

    def _next_lrs(self) -> list[float]:
        current, epoch = self._current_lrs(), self.last_epoch
        if self._step_count == 0 and epoch > 0:
            return current  # the run was resumed, and the groups hold the values of this epoch already
        before, now = self._remaining(epoch - 1), self._remaining(epoch)
        lrs = []
        for i, (group, lr, base) in enumerate(zip(self.optimizer.param_groups, current, self.base_lrs, strict=True)):
            if "swa_lr" not in group:
                raise ValueError(f"param_groups[{i}] lacks 'swa_lr'; set it after adding a group")
            lrs.append(carried_on(lr, base, group["swa_lr"], before, now) if now > 0 else group["swa_lr"])
        return lrs

    def _remaining(self, epoch: int) -> float:
        """Return the part of the change that is still to come, 1 before the first epoch."""
        if self.anneal_epochs == 0:
            return 0.0 if epoch >= 0 else 1.0
        return 1.0 - ease(epoch / self.anneal_epochs, self._anneal_strategy)
