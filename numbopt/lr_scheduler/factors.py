"""Schedulers that multiply the learning rate by a schedule of `numbopt.schedules`."""

from collections.abc import Iterable

from numbopt import schedules
from numbopt.lr_scheduler._arguments import integer, integers, number, one_of
from numbopt.lr_scheduler.base import LRScheduler
from numbopt.optimizer import Optimizer
from numbopt.schedules import interpolate


def carried_on(value: float, base: float, floor: float, before: float, now: float) -> float:
    """Return the value of the next epoch for a value that follows a schedule.

    Only the change of the schedule's factor is applied. Other changes of the value stay, such as an edit by the user or
    the factor of a second scheduler.

    Parameters
    ----------
    value : float
        The value in the group.
    base : float
        The value that a factor of 1 stands for.
    floor : float
        The value that a factor of 0 stands for.
    before, now : float
        The factors at the epoch before and at this one.
    """
    if now == before:
        return value  # exactly: rounding must not change it
    if before == 0:
        return value + (base - floor) * now  # a value without a multiple of the factor cannot be multiplied
    carried = interpolate(floor, value, now / before)
    # A value that was pushed below the floor moves away from it as the factor grows. It must not become negative.
    return max(carried, 0.0) if value < floor else carried


class FactorLR(LRScheduler):
    """Base class of schedulers that multiply the learning rate. A subclass defines `schedule`, a function of the epoch.

    Each step multiplies the current learning rate by the change of the factor since the epoch before. Therefore the
    factors of several such schedulers on one optimizer multiply, and a learning rate that you edit is the new start.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    last_epoch : int
        See `LRScheduler`. A resumed run continues with the learning rates that are in the groups.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> from numbopt.lr_scheduler import FactorLR
    >>> class Harmonic(FactorLR):
    ...     def schedule(self, epoch):
    ...         return 1 / (1 + epoch)
    >>> opt = numbopt.SGD([np.zeros(3)], lr=1.0)
    >>> scheduler = Harmonic(opt)
    >>> opt.step(grads=[np.ones(3)])
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.5]
    """

    @property
    def floor(self) -> float:
        """The learning rate that a factor of 0 stands for."""
        return 0.0

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch, where 1 stands for the base learning rate."""
        raise NotImplementedError(f"{type(self).__name__} must define schedule")

    def _next_lrs(self) -> list[float]:
        current, epoch = self._current_lrs(), self.last_epoch
        if self._step_count == 0 and epoch > 0:
            return current  # the run was resumed, and the groups hold the values of this epoch already
        before, now, floor = self.schedule(epoch - 1) if epoch > 0 else 1.0, self.schedule(epoch), self.floor
        return [carried_on(lr, base, floor, before, now) for lr, base in zip(current, self.base_lrs, strict=True)]

    def _get_closed_form_lr(self) -> list[float]:
        return [interpolate(self.floor, base, self.schedule(self.last_epoch)) for base in self.base_lrs]


class StepLR(FactorLR):
    """Decay the learning rate every ``step_size`` epochs.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    step_size : int
        Number of epochs between decays.
    gamma : float
        Factor of each decay.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.step_decay : The schedule.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> opt = numbopt.SGD([np.zeros(3)], lr=0.4)
    >>> scheduler = numbopt.lr_scheduler.StepLR(opt, step_size=2, gamma=0.5)
    >>> for _ in range(5):
    ...     print(scheduler.get_last_lr())
    ...     opt.step(grads=[np.ones(3)])
    ...     scheduler.step()
    [0.4]
    [0.4]
    [0.2]
    [0.2]
    [0.1]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = integer("step_size", step_size)
        self.gamma = number("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        return schedules.step_decay(epoch, self.step_size, self.gamma)


class MultiStepLR(FactorLR):
    """Decay the learning rate at milestones.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    milestones : iterable of int
        The epochs at which the learning rate decays. At a milestone that is listed twice it decays twice.
    gamma : float
        Factor of each decay.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.multi_step : The schedule.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = sorted(integers("milestones", milestones, low=0))
        self.gamma = number("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        return schedules.multi_step(epoch, self.milestones, self.gamma)


class ConstantLR(FactorLR):
    """Multiply the learning rate by a constant for the first epochs.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    factor : float
        The factor, from 0 to 1.
    total_iters : int
        The number of epochs with the factor.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.constant : The schedule.
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"Constant multiplicative factor expected to be between 0 and 1. (factor={factor})")
        self.factor = float(factor)
        self.total_iters = integer("total_iters", total_iters, low=0)
        super().__init__(optimizer, last_epoch)

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        return schedules.constant(epoch, self.factor, self.total_iters)


class LinearLR(FactorLR):
    """Let the learning rate grow, or shrink, along a straight line.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    start_factor : float
        Factor of the first epoch, above 0 and at most 1.
    end_factor : float
        Factor from ``total_iters`` on, from 0 to 1.
    total_iters : int
        The number of epochs from ``start_factor`` to ``end_factor``.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.linear : The schedule.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            bounds = "greater than 0 and less or equal to 1"
            raise ValueError(f"Starting multiplicative factor expected to be {bounds}. (start_factor={start_factor})")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"Ending multiplicative factor expected to be between 0 and 1. (end_factor={end_factor})")
        self.start_factor, self.end_factor = float(start_factor), float(end_factor)
        self.total_iters = integer("total_iters", total_iters, low=0)
        super().__init__(optimizer, last_epoch)

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        return schedules.linear(epoch, self.start_factor, self.end_factor, self.total_iters)


class ExponentialLR(FactorLR):
    """Decay the learning rate every epoch.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    gamma : float
        Factor of each epoch.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.exponential : The schedule.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = number("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        return schedules.exponential(epoch, self.gamma)


class PolynomialLR(FactorLR):
    """Decay the learning rate to 0 along a power.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    total_iters : int
        The epoch at which the learning rate is 0.
    power : float
        The power, at least 0.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.polynomial : The schedule.
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = integer("total_iters", total_iters)
        self.power = number("power", power)
        super().__init__(optimizer, last_epoch)

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        return schedules.polynomial(epoch, self.total_iters, self.power)


class CosineAnnealingLR(FactorLR):
    """Let the learning rate swing between its base and ``eta_min`` along a cosine.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    T_max : float
        Number of epochs to the minimum. After it the learning rate rises again.
    eta_min : float
        The smallest learning rate.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.cosine_annealing : The schedule.
    """

    def __init__(self, optimizer: Optimizer, T_max: float, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = number("T_max", T_max, positive=True)
        self.eta_min = number("eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    @property
    def floor(self) -> float:
        """The learning rate that a factor of 0 stands for."""
        return self.eta_min

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        return schedules.cosine_annealing(epoch, self.T_max)


class WarmupCosineLR(FactorLR):
    """Warm the learning rate up along a straight line, then decay it along half a cosine.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    warmup_steps : int
        The epoch at which the warm-up has reached the base learning rate.
    total_steps : int
        The epoch at which the decay ends, larger than ``warmup_steps``.
    start_factor : float
        Factor of the first epoch, above 0: at a learning rate of 0, the factors of other schedulers would be lost.
    end_factor : float
        Factor from ``total_steps`` on.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.warmup_cosine : The schedule.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> opt = numbopt.AdamW([np.zeros(3)], lr=0.1)
    >>> scheduler = numbopt.lr_scheduler.WarmupCosineLR(opt, warmup_steps=2, total_steps=4, start_factor=0.5)
    >>> for _ in range(5):
    ...     print(f"{scheduler.get_last_lr()[0]:.3f}")
    ...     opt.step(grads=[np.ones(3)])
    ...     scheduler.step()
    0.050
    0.075
    0.100
    0.050
    0.000
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int,
        start_factor: float = 0.01,
        end_factor: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.warmup_steps = integer("warmup_steps", warmup_steps, low=0)
        self.total_steps = integer("total_steps", total_steps)
        if self.total_steps <= self.warmup_steps:
            raise ValueError(f"total_steps must be larger than warmup_steps={warmup_steps}, got {total_steps}")
        self.start_factor = number("start_factor", start_factor, positive=True)
        self.end_factor = number("end_factor", end_factor)
        super().__init__(optimizer, last_epoch)

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        return schedules.warmup_cosine(epoch, self.warmup_steps, self.total_steps, self.start_factor, self.end_factor)


class WarmupStableDecayLR(FactorLR):
    """Warm the learning rate up along a straight line, keep it, then decay it.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    warmup_steps, stable_steps, decay_steps : int
        Lengths of the three phases.
    start_factor : float
        Factor of the first epoch, above 0: at a learning rate of 0, the factors of other schedulers would be lost.
    end_factor : float
        Factor after the decay.
    decay_shape : {"linear", "cos", "sqrt"}
        Shape of the decay, see `numbopt.schedules.ease`.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.warmup_stable_decay : The schedule.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        stable_steps: int,
        decay_steps: int,
        start_factor: float = 0.01,
        end_factor: float = 0.0,
        decay_shape: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        self.warmup_steps = integer("warmup_steps", warmup_steps, low=0)
        self.stable_steps = integer("stable_steps", stable_steps, low=0)
        self.decay_steps = integer("decay_steps", decay_steps, low=0)
        self.start_factor = number("start_factor", start_factor, positive=True)
        self.end_factor = number("end_factor", end_factor)
        self.decay_shape = one_of("decay_shape", decay_shape, ("linear", "cos", "sqrt"))
        super().__init__(optimizer, last_epoch)

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        phases = self.warmup_steps, self.stable_steps, self.decay_steps
        return schedules.warmup_stable_decay(epoch, *phases, self.start_factor, self.end_factor, self.decay_shape)


class InverseSquareRootLR(FactorLR):
    """Warm the learning rate up along a straight line, then decay it as one over the root of the epoch.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    warmup_steps : int
        The epoch at which the base learning rate is reached, at least 1.
    start_factor : float
        Factor of the first epoch, above 0: at a learning rate of 0, the factors of other schedulers would be lost.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.inverse_sqrt : The schedule.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, start_factor: float = 0.01, last_epoch: int = -1
    ) -> None:
        self.warmup_steps = integer("warmup_steps", warmup_steps)
        self.start_factor = number("start_factor", start_factor, positive=True)
        super().__init__(optimizer, last_epoch)

    def schedule(self, epoch: int) -> float:
        """Return the factor of an epoch."""
        return schedules.inverse_sqrt(epoch, self.warmup_steps, self.start_factor)
