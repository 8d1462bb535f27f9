"""Schedulers that consist of other schedulers."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from numbopt.lr_scheduler._arguments import check_is_optimizer, integers
from numbopt.lr_scheduler.base import LRScheduler, Scheduler, write
from numbopt.lr_scheduler.plateau import ReduceLROnPlateau
from numbopt.optimizer import Optimizer


class _Compound(LRScheduler):
    """A scheduler whose parts, other schedulers, write the values."""

    unsaved: ClassVar = LRScheduler.unsaved | {"_schedulers"}
    _schedulers: list[Any]

    def __init__(self, schedulers: Any, optimizer: Optimizer | None) -> None:
        name = type(self).__name__
        if isinstance(schedulers, Scheduler) or not isinstance(schedulers, Sequence):
            raise TypeError(f"{name} expects a list of schedulers, but got {type(schedulers).__name__}")
        if not schedulers:
            raise ValueError(f"{name} expects at least one scheduler, but got no scheduler.")
        for i, scheduler in enumerate(schedulers):
            kind = type(scheduler).__name__
            if not isinstance(scheduler, Scheduler):
                hint = "pass schedulers of numbopt.lr_scheduler"
                raise TypeError(f"{name} at index {i} should have `optimizer` as its attribute, but got {kind}; {hint}")
            if isinstance(scheduler, ReduceLROnPlateau):
                hint = "step it separately, because its step needs a metric"
                raise ValueError(f"{name} does not support `ReduceLROnPlateau`, but got one at index {i}; {hint}")
            optimizer = optimizer or scheduler.optimizer
            if scheduler.optimizer is not optimizer:
                other = f"the {kind} at index {i} has another one"
                raise ValueError(f"{name} expects all schedulers to belong to the same optimizer, but {other}")
        self.optimizer, self._schedulers = schedulers[0].optimizer, list(schedulers)

    def rewind(self) -> None:
        """Rewind the parts; see `Scheduler.rewind`."""
        for scheduler in self._schedulers:
            scheduler.rewind()

    def restart(self) -> None:
        """Write the base learning rates and begin with them; see `Scheduler.restart`."""
        for group in self.optimizer.param_groups:
            if "initial_lr" in group:
                write(group, "lr", group["initial_lr"])
        self.rewind()
        self.begin()

    def get_lr(self) -> NoReturn:
        """Raise an error: the parts compute the learning rates."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr(); use get_last_lr()")

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is needed to continue, with the state dicts of the parts as ``"_schedulers"``."""
        return {**super().state_dict(), "_schedulers": [part.state_dict() for part in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Parameters
        ----------
        state_dict : dict
            The state. It is copied.

        Raises
        ------
        ValueError
            If the state comes from another kind of scheduler.
        """
        states = state_dict.get("_schedulers", ())
        if len(states) != len(self._schedulers):
            raise ValueError(
                f"the state dict has {len(states)} _schedulers, this scheduler has {len(self._schedulers)}"
            )
        super().load_state_dict(state_dict)
        for part, state in zip(self._schedulers, states, strict=True):
            part.load_state_dict(state)


class SequentialLR(_Compound):
    """Follow one scheduler after another.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer of all the schedulers.
    schedulers : list of LRScheduler
        The schedulers in their order. Each begins at its own epoch 0 with the base learning rate.
    milestones : list of int
        The epochs at which the second scheduler and each later one take over, in ascending order.
    last_epoch : int
        Must be -1. To continue a run, load the state dict.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> from numbopt.lr_scheduler import ConstantLR, ExponentialLR, SequentialLR
    >>> opt = numbopt.SGD([np.zeros(3)], lr=0.8)
    >>> scheduler = SequentialLR(opt, [ConstantLR(opt, 0.125, 9), ExponentialLR(opt, 0.5)], milestones=[2])
    >>> for _ in range(5):
    ...     print(scheduler.get_last_lr())
    ...     opt.step(grads=[np.ones(3)])
    ...     scheduler.step()
    [0.1]
    [0.1]
    [0.8]
    [0.4]
    [0.2]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        check_is_optimizer(optimizer)
        super().__init__(schedulers, optimizer)
        for i, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler):
                got = f"{type(scheduler).__name__} at index {i}; step it separately, or with ChainedScheduler"
                raise TypeError(f"SequentialLR expects schedulers of the learning rate, but got {got}")
        self._milestones = integers("milestones", milestones, low=0)
        if len(self._milestones) != len(schedulers) - 1:
            got = f"{len(schedulers)} schedulers and {len(self._milestones)} milestones"
            raise ValueError(f"schedulers must be one more than the number of milestone points, but got {got}")
        if sorted(set(self._milestones)) != self._milestones:
            raise ValueError(f"milestones must be ascending, got {milestones}")
        if last_epoch != -1:
            raise ValueError(f"last_epoch must be -1, got {last_epoch}; to continue a run use load_state_dict")
        self.restart()  # the constructors of the parts wrote learning rates; this takes them back

    def begin(self) -> None:
        """Begin with the first part; see `Scheduler.begin`."""
        self.last_epoch = 0
        self._active().begin()
        self._last_lr = self._current_lrs()

    def _active(self) -> Any:
        return self._schedulers[bisect_right(self._milestones, self.last_epoch)]

    def step(self) -> None:  # type: ignore[override]
        """Go to the next epoch and write its learning rates. Call it after ``optimizer.step()``."""
        self.last_epoch += 1
        if self.last_epoch in self._milestones:
            self._active().restart()
        else:
            self._active().step()
        self._last_lr = self._current_lrs()


class ChainedScheduler(_Compound):
    """Step several schedulers together. If all of them multiply the learning rate, their factors multiply.

    Parameters
    ----------
    schedulers : list of Scheduler
        The schedulers in the order in which they write.
    optimizer : Optimizer, optional
        The optimizer of all the schedulers.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> from numbopt.lr_scheduler import ChainedScheduler, ConstantLR, ExponentialLR
    >>> opt = numbopt.SGD([np.zeros(3)], lr=0.8)
    >>> scheduler = ChainedScheduler([ConstantLR(opt, 0.25, total_iters=2), ExponentialLR(opt, 0.5)])
    >>> for _ in range(4):
    ...     print(scheduler.get_last_lr())
    ...     opt.step(grads=[np.ones(3)])
    ...     scheduler.step()
    [0.2]
    [0.1]
    [0.2]
    [0.1]
    """

    def __init__(self, schedulers: Sequence[Scheduler], optimizer: Optimizer | None = None) -> None:
        super().__init__(schedulers, optimizer)
        self._last_lr = self._current_lrs()

    def begin(self) -> None:
        """Begin with all parts; see `Scheduler.begin`."""
        for scheduler in self._schedulers:
            scheduler.begin()
        self._last_lr = self._current_lrs()

    def step(self) -> None:  # type: ignore[override]
        """Step all parts. Call it after ``optimizer.step()``."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._current_lrs()
