"""What all schedulers share: counting epochs, writing into groups, state dicts."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from numbopt.lr_scheduler._arguments import check_is_optimizer, integer, state_of_function
from numbopt.optimizer import Optimizer
from numbopt.options import as_float

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter of `scheduler.step()` is deprecated, as it is in torch: call `scheduler.step()` without it. "
    "With it, the closed form of the schedule is written, and earlier changes of the value are lost."
)

_WRONG_ORDER = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call `optimizer.step()` first, otherwise the "
    "first value of the schedule is skipped. See https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"
)


class Scheduler:
    """Base class of schedulers. A scheduler changes the options of an optimizer's groups from epoch to epoch.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    last_epoch : int
        The epoch before the first one. -1 begins a run.

    Attributes
    ----------
    last_epoch : int
        The current epoch, 0 after construction.
    """

    unsaved: ClassVar[frozenset[str]] = frozenset({"optimizer", "_steps_before", "_within_step"})
    """Attributes that are not part of the state dict."""

    functions: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold lists of functions. The state dict has the attributes of these functions instead."""

    one_per_group: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold lists with an entry for each group."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_is_optimizer(optimizer)
        self.optimizer = optimizer
        self.last_epoch = integer("last_epoch", last_epoch, low=-1)
        self._steps_before = optimizer.step_count
        self.begin()

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch and write its values. Call it after ``optimizer.step()``.

        Parameters
        ----------
        epoch : int, optional
            Go to this epoch instead. Deprecated.
        """
        self._check_order()
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._go_to(epoch)
        self._step_count += 1

    def _check_order(self) -> None:
        """Warn if this is the first step of the scheduler and the optimizer has made none."""
        if self._step_count == 1 and self.optimizer.step_count == self._steps_before:
            warnings.warn(_WRONG_ORDER, UserWarning, stacklevel=3)

    def begin(self) -> None:
        """Write the values of the first epoch. `SequentialLR` and `ChainedScheduler` call it again for their parts."""
        self._step_count = 0  # tells `_write` that this is the beginning
        self._go_to(None)
        self._step_count = 1

    def rewind(self) -> None:
        """Go back to before the first epoch and write nothing. Call `begin` next."""
        self.last_epoch = -1

    def restart(self) -> None:
        """Write the values of epoch 0 in the middle of a run. `SequentialLR` calls it when the turn of a part comes."""
        self._go_to(0)

    def _go_to(self, epoch: int | None) -> None:
        """Write the values of an epoch, by default of the next one. If that fails, ``last_epoch`` stays as it was."""
        groups = len(self.optimizer.param_groups)
        for name in self.one_per_group:
            if (count := len(getattr(self, name))) != groups:
                lengths = f"{type(self).__name__}.{name} has {count} entries for {groups} param groups"
                raise ValueError(f"{lengths}; append one for each added group, or make a new scheduler")
        before = self.last_epoch
        self.last_epoch = before + 1 if epoch is None else integer("epoch", epoch, low=0)
        try:
            self._write(jumped=epoch is not None)
        except BaseException:
            self.last_epoch = before
            raise

    def _write(self, *, jumped: bool) -> None:
        """Write the values of ``last_epoch``. ``jumped`` says that the values in the groups may be of any epoch."""
        raise NotImplementedError(f"{type(self).__name__} must implement _write")

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is needed to continue, as plain values.

        The values in the groups are part of the optimizer's state dict.

        Returns
        -------
        dict
            Copies, without the optimizer and without functions. Callable objects are replaced by their attributes.
        """
        state = {key: value for key, value in vars(self).items() if key not in self.unsaved}
        for key in self.functions:
            state[key] = [state_of_function(function) for function in state[key]]
        return copy.deepcopy(state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned here or in a scheduler with other arguments.

        Parameters
        ----------
        state_dict : dict
            The state. It is copied.

        Raises
        ------
        ValueError
            If the state comes from another kind of scheduler. Nothing has changed then.
        """
        missing = [key for key in self.state_dict() if key not in state_dict and not key.startswith("_")]
        if missing:
            raise ValueError(f"not a state dict of {type(self).__name__}: it lacks {missing}")
        for key in self.functions:
            if len(state_dict[key]) != len(getattr(self, key)):
                raise ValueError(f"the state dict has {len(state_dict[key])} {key} for {len(getattr(self, key))}")
        loaded = copy.deepcopy({key: value for key, value in state_dict.items() if key not in self.unsaved})
        for key in self.functions:
            for function, attributes in zip(getattr(self, key), loaded.pop(key), strict=True):
                if attributes:
                    vars(function).update(attributes)
        vars(self).update(loaded)


class LRScheduler(Scheduler):
    """Base class of schedulers of the learning rate. A subclass defines `get_lr`.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    last_epoch : int
        The epoch before the first one. -1 begins a run. A value of 0 or more resumes a run: each group must have an
        ``"initial_lr"``, as the groups in the state dict of a scheduled optimizer have.

    Attributes
    ----------
    base_lrs : list of float
        The ``"initial_lr"`` of each group: the learning rate that the group had when it was first scheduled.

    Raises
    ------
    KeyError
        If the run is to be resumed and ``"initial_lr"`` is missing.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> from numbopt.lr_scheduler import LRScheduler
    >>> class Halve(LRScheduler):
    ...     def get_lr(self):
    ...         return [base_lr * 0.5**self.last_epoch for base_lr in self.base_lrs]
    >>> opt = numbopt.SGD([np.zeros(3)], lr=0.8)
    >>> scheduler = Halve(opt)
    >>> opt.step(grads=[np.ones(3)])
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.4]
    """

    base_lrs: Sequence[float] = ()
    _last_lr: Sequence[float] = ()
    _within_step = False

    def begin(self) -> None:
        """Write the learning rates of the first epoch; see `Scheduler.begin`."""
        for i, group in enumerate(self.optimizer.param_groups):
            if self.last_epoch == -1:
                initial_lr(group)
            elif "initial_lr" not in group:
                missing = f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler"
                remedy = "load the optimizer's state dict first, or leave last_epoch at -1"
                raise KeyError(f"{missing} with last_epoch >= 0; {remedy}")
        super().begin()

    def get_last_lr(self) -> list[float]:
        """Return the learning rates that were written last, one for each group."""
        return list(self._last_lr)

    def get_lr(self) -> list[float]:
        """Return the learning rates that `step` is about to write for ``last_epoch``, one for each group.

        They are computed from the learning rates of the epoch before. Outside `step`, use `get_last_lr`.
        """
        if not self._within_step:
            warnings.warn("To get the last learning rates, please use `get_last_lr()`.", UserWarning, stacklevel=2)
        return self._next_lrs()

    def _next_lrs(self) -> list[float]:
        """Return what `get_lr` returns, without its warning."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr")

    def _get_closed_form_lr(self) -> list[float]:
        """Return the learning rates for ``last_epoch``, from ``base_lrs`` alone if there is a formula for them."""
        return self.get_lr()

    def _write(self, *, jumped: bool) -> None:
        groups = self.optimizer.param_groups
        if len(self.base_lrs) < len(groups):  # all groups in the first call, later those that were added
            self.base_lrs = [*self.base_lrs, *map(initial_lr, groups[len(self.base_lrs) :])]
        self._within_step = True
        try:
            values = self._get_closed_form_lr() if jumped else self.get_lr()
        finally:
            self._within_step = False
        if len(values) != len(groups):
            raise ValueError(f"{type(self).__name__} has {len(values)} learning rates for {len(groups)} param groups")
        values = [_plain(value) for value in values]  # all, before the first one is written
        self._last_lr = [_plain(write(group, "lr", value)) for group, value in zip(groups, values, strict=True)]

    def _current_lrs(self) -> list[float]:
        return [_plain(group["lr"]) for group in self.optimizer.param_groups]


def _plain(lr: Any) -> float:
    return lr if type(lr) is float else as_float("lr", lr)  # most learning rates are floats, and `as_float` is slow


def initial_lr(group: dict[str, Any]) -> float:
    """Return the ``"initial_lr"`` of a group. Before the first schedule, that is the present learning rate."""
    return _plain(group.setdefault("initial_lr", _plain(group["lr"])))


def write(group: dict[str, Any], name: str, value: Any) -> Any:
    """Set an option of a group and return it. An array is filled, not replaced: the user may hold a reference to it."""
    if isinstance(group[name], np.ndarray):
        group[name][...] = value
        return group[name]
    group[name] = value
    return value
