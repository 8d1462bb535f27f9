"""Schedulers that follow functions of the user."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from numbopt.lr_scheduler._arguments import function_per_group
from numbopt.lr_scheduler.base import LRScheduler, Scheduler, write
from numbopt.optimizer import Optimizer

Function = Callable[[int], Any]


class _ByFunctions(LRScheduler):
    """A scheduler with a function for each group."""

    functions: ClassVar = ("lr_lambdas",)
    one_per_group: ClassVar = ("lr_lambdas",)

    def __init__(self, optimizer: Optimizer, lr_lambda: Function | Sequence[Function], last_epoch: int = -1) -> None:
        self.lr_lambdas = function_per_group("lr_lambda", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)


class LambdaLR(_ByFunctions):
    """Set the learning rate to its base times a function of the epoch.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    lr_lambda : callable or list of callable
        A function from the epoch to a factor, such as one of `numbopt.schedules`, or a list with one for each group.
        The attributes of callable objects are part of the state dict.
    last_epoch : int
        See `LRScheduler`.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> opt = numbopt.SGD([np.zeros(3)], lr=1.0)
    >>> scheduler = numbopt.lr_scheduler.LambdaLR(opt, lambda epoch: 1 / (1 + epoch))
    >>> opt.step(grads=[np.ones(3)])
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def _next_lrs(self) -> list[float]:
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * function(self.last_epoch) for base, function in pairs]


class MultiplicativeLR(_ByFunctions):
    """Multiply the learning rate in each epoch by a function of the epoch.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    lr_lambda : callable or list of callable
        A function from the epoch to a factor, or a list, see `LambdaLR`.
    last_epoch : int
        See `LRScheduler`.
    """

    def _next_lrs(self) -> list[float]:
        lrs = self._current_lrs()
        if self._step_count == 0:
            return lrs
        return [lr * function(self.last_epoch) for lr, function in zip(lrs, self.lr_lambdas, strict=True)]


class ParamScheduler(Scheduler):
    """Schedule any option of the groups: weight decay, momentum, betas, eps.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    name : str
        Key of the option, for example ``"weight_decay"``.
    schedule : callable or list of callable
        A function from the epoch to a factor of the value that the group has now, or a list with one for each group.
    relative : bool
        False if the function returns the value itself. Options that are not numbers, such as betas, need False.

    Attributes
    ----------
    base_values : list
        The value of each group when it was first scheduled.

    Raises
    ------
    ValueError
        If the groups have no such option.

    Notes
    -----
    The optimizer checks the values at its next step, as it checks values that you set.
    To continue a run, load the state dict, because the groups no longer hold the base values.

    Examples
    --------
    Weight decay that vanishes, in each group from its own value:

    >>> from functools import partial
    >>> import numpy as np, numbopt
    >>> from numbopt.lr_scheduler import ParamScheduler
    >>> from numbopt.schedules import linear
    >>> opt = numbopt.AdamW([{"params": np.zeros(3)}, {"params": np.zeros(2), "weight_decay": 0}], weight_decay=0.1)
    >>> scheduler = ParamScheduler(opt, "weight_decay", partial(linear, start_factor=1, end_factor=0, total_iters=2))
    >>> opt.step(grads=[np.ones(3), np.ones(2)])
    >>> scheduler.step()
    >>> scheduler.get_last_value()
    [0.05, 0.0]

    Betas are set as a pair:

    >>> scheduler = ParamScheduler(opt, "betas", lambda epoch: (0.9, 1 - 0.1 / (1 + epoch)), relative=False)
    >>> opt.param_groups[0]["betas"]
    (0.9, 0.9)
    """

    functions: ClassVar = ("schedules",)
    one_per_group: ClassVar = ("schedules",)

    def __init__(
        self, optimizer: Optimizer, name: str, schedule: Function | Sequence[Function], *, relative: bool = True
    ) -> None:
        schedules = function_per_group("schedule", optimizer, schedule)
        for i, group in enumerate(optimizer.param_groups):
            if name not in group or name == "params":
                options = sorted(set(group) - {"params", "param_names"})
                raise ValueError(f"param_groups[{i}] has no option {name!r} to schedule; it has {options}")
        self.name, self.relative, self.schedules = name, bool(relative), schedules
        self.base_values: list[Any] = []
        super().__init__(optimizer)

    def get_last_value(self) -> list[Any]:
        """Return the values that were written last, one for each group."""
        return list(self._last_value)

    def _write(self, *, jumped: bool) -> None:
        groups = self.optimizer.param_groups
        bases = self.base_values + [plain(group[self.name]) for group in groups[len(self.base_values) :]]
        values = [function(self.last_epoch) for function in self.schedules]
        if self.relative:
            values = [_scaled(self.name, base, factor) for base, factor in zip(bases, values, strict=True)]
        for group, value in zip(groups, values, strict=True):
            write(group, self.name, value)
        self.base_values = bases
        self._last_value = [plain(group[self.name]) for group in groups]


def plain(value: Any) -> Any:
    """Return ``value``, or a copy of the content if it is an array, which may change later."""
    return value.tolist() if hasattr(value, "tolist") else value


def _scaled(name: str, base: Any, factor: float) -> float:
    if isinstance(base, bool) or not isinstance(base, (int, float)):
        raise TypeError(f"{name}={base!r} cannot be multiplied; give relative=False and a schedule that returns values")
    return base * factor
