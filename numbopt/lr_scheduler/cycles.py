"""Schedulers of cycles, in which the learning rate goes up and down and momentum goes down and up."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from numbopt import schedules
from numbopt.lr_scheduler._arguments import integer, number, one_of, per_group
from numbopt.lr_scheduler.base import LRScheduler, write
from numbopt.optimizer import Optimizer
from numbopt.options import as_integer
from numbopt.schedules import ease, interpolate


class CosineAnnealingWarmRestarts(LRScheduler):
    """Decay the learning rate along half a cosine, again and again.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    T_0 : int
        Number of epochs before the first restart.
    T_mult : int
        Each period is longer than the one before by this factor.
    eta_min : float
        The smallest learning rate.
    last_epoch : int
        See `LRScheduler`.

    Attributes
    ----------
    T_cur, T_i : float, int
        The number of epochs since the last restart, and the length of the present period.

    See Also
    --------
    numbopt.schedules.cosine_warm_restarts : The schedule.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_0 = integer("T_0", T_0)
        self.T_mult = as_integer("T_mult", T_mult, 1, f"Expected integer T_mult >= 1, but got {T_mult}")
        self.eta_min = number("eta_min", eta_min)
        self.T_i: int = self.T_0
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """Go to the next epoch and write its learning rates. Call it after ``optimizer.step()``.

        Parameters
        ----------
        epoch : float, optional
            Go to this epoch instead. A fraction follows the cosine within an epoch.
        """
        if epoch is not None and not 0 <= epoch < math.inf:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        if epoch is None:
            self._check_order()
        self._go_to(epoch)
        self._step_count += 1

    def _go_to(self, epoch: float | None) -> None:
        if epoch is None:
            epoch = self.last_epoch + 1 + self.T_cur % 1  # the fraction of an epoch that was given earlier stays
        self.T_cur, self.T_i = schedules.position_in_period(epoch, self.T_0, self.T_mult)
        super()._go_to(math.floor(epoch))

    def _next_lrs(self) -> list[float]:
        factor = schedules.cosine_annealing(self.T_cur, self.T_i)
        return [interpolate(self.eta_min, base, factor) for base in self.base_lrs]


class _WithMomentum(LRScheduler):
    """A scheduler that can also cycle momentum, or the first of the betas, which is Adam's momentum."""

    cycle_momentum: bool
    use_beta1: bool

    def _take_momentums(
        self, optimizer: Optimizer, cycle_momentum: bool, base: Any, highest: Any
    ) -> tuple[list[float], list[float]]:
        """Check that momentum can be cycled; return its lowest and its highest value for each group."""
        self.cycle_momentum, self.use_beta1 = bool(cycle_momentum), "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            remedy = f"{type(optimizer).__name__} does not, give cycle_momentum=False"
            raise ValueError(f"optimizer must support momentum or beta1 with `cycle_momentum` option enabled; {remedy}")
        return per_group("base_momentum", optimizer, base), per_group("max_momentum", optimizer, highest)

    def _note_momentums(self, base: list[float], highest: list[float]) -> None:
        """Write the bounds into the groups."""
        if self.cycle_momentum:
            for group, low, high in zip(self.optimizer.param_groups, base, highest, strict=True):
                group["base_momentum"], group["max_momentum"] = low, high

    def _write(self, *, jumped: bool) -> None:
        super()._write(jumped=jumped)
        if not self.cycle_momentum:
            return
        for group, momentum in zip(self.optimizer.param_groups, self._momentums(), strict=True):
            if self.use_beta1:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                write(group, "momentum", momentum)

    def _momentums(self) -> list[float]:
        """Return the momentum of each group for ``last_epoch``."""
        raise NotImplementedError


class CyclicLR(_WithMomentum):
    """Let the learning rate go up and down between two bounds, and momentum down and up.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    base_lr, max_lr : float or list of float
        The bounds; one for all groups or one for each.
    step_size_up, step_size_down : float
        Lengths of the rising and the falling part, equal by default.
    mode : {"triangular", "triangular2", "exp_range"}
        How the height changes: not at all, by half with each cycle, or as ``gamma**epoch``.
    gamma : float
        The base of the height in mode ``"exp_range"``.
    scale_fn : callable, optional
        A function from the number of the cycle, or of the epoch, to the height. It takes the place of ``mode``.
    scale_mode : {"cycle", "iterations"}
        What ``scale_fn`` is a function of: the cycle, counted from 1, or the epoch.
    cycle_momentum : bool
        Cycle momentum, or the first of the betas, in the opposite direction.
    base_momentum, max_momentum : float or list of float
        Bounds of momentum.
    last_epoch : int
        See `LRScheduler`.

    See Also
    --------
    numbopt.schedules.cyclic : The schedule.
    """

    functions: ClassVar = ("_scale_fns",)
    one_per_group: ClassVar = ("max_lrs", "base_momentums", "max_momentums")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: float = 2000,
        step_size_down: float | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[int], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = optimizer
        base_lrs = per_group("base_lr", optimizer, base_lr)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        self.step_size_up = number("step_size_up", step_size_up, positive=True)
        down = step_size_up if step_size_down is None else step_size_down
        self.step_size_down = number("step_size_down", down, positive=True)
        if scale_fn is None and mode not in _MODES:
            raise ValueError(f"mode is invalid and scale_fn is None: mode must be one of {_MODES}, got {mode!r}")
        if scale_fn is not None and not callable(scale_fn):
            raise TypeError(f"scale_fn should be a function, but got {type(scale_fn).__name__}")
        self.mode = mode
        self.gamma = number("gamma", gamma)
        self._scale_fns = [] if scale_fn is None else [scale_fn]
        self.scale_mode = one_of("scale_mode", scale_mode, ("cycle", "iterations"))
        bounds = self._take_momentums(optimizer, cycle_momentum, base_momentum, max_momentum)
        self.base_momentums, self.max_momentums = bounds
        self.base_lrs = base_lrs
        if last_epoch == -1:
            for group, base in zip(optimizer.param_groups, base_lrs, strict=True):
                write(group, "lr", base)
            self._note_momentums(*bounds)
        super().__init__(optimizer, last_epoch)

    def _height(self) -> float:
        """Return the height of the cycle, from 0 for the base values to 1 unless ``scale_fn`` says otherwise."""
        epoch = self.last_epoch
        if not self._scale_fns:
            return schedules.cyclic(epoch, self.step_size_up, self.step_size_down, self.mode, self.gamma)
        cycle, height = schedules.triangle(epoch, self.step_size_up, self.step_size_down)
        return height * self._scale_fns[0](cycle if self.scale_mode == "cycle" else epoch)

    def _next_lrs(self) -> list[float]:
        height = self._height()
        return [interpolate(low, high, height) for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def _momentums(self) -> list[float]:
        height, bounds = self._height(), zip(self.base_momentums, self.max_momentums, strict=True)
        return [interpolate(high, low, height) for low, high in bounds]


_MODES = ("triangular", "triangular2", "exp_range")


class OneCycleLR(_WithMomentum):
    """Let the learning rate rise and fall once, and momentum fall and rise.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer whose groups the scheduler writes to.
    max_lr : float or list of float
        The highest learning rate; one for all groups or one for each.
    total_steps : int, optional
        Number of steps of the cycle.
    epochs, steps_per_epoch : int, optional
        Number of epochs, and number of steps in each. Their product is an alternative to ``total_steps``.
    pct_start : float
        Part of the steps, from 0 to 1, in which the learning rate rises.
    anneal_strategy : {"cos", "linear"}
        Shape of the curve between two values.
    cycle_momentum : bool
        Cycle momentum, or the first of the betas, in the opposite direction.
    base_momentum, max_momentum : float or list of float
        Bounds of momentum.
    div_factor : float
        The first learning rate is ``max_lr / div_factor``.
    final_div_factor : float
        The last learning rate is the first one divided by this.
    three_phase : bool
        Let the learning rate fall to its first value as slowly as it rose, and then to the last one.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError
        If an argument is not as above. `step` raises it after the end of the cycle.

    See Also
    --------
    numbopt.schedules.one_cycle : The schedule.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = optimizer
        if total_steps is not None:
            self.total_steps = integer("total_steps", total_steps)
        elif epochs is not None and steps_per_epoch is not None:
            self.total_steps = integer("epochs", epochs) * integer("steps_per_epoch", steps_per_epoch)
        else:
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        if isinstance(pct_start, (bool, str)) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        self.pct_start = float(pct_start)
        self.anneal_strategy = one_of("anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.three_phase = bool(three_phase)
        max_lrs = per_group("max_lr", optimizer, max_lr)
        div_factor = number("div_factor", div_factor, positive=True)
        final_div_factor = number("final_div_factor", final_div_factor, positive=True)
        bounds = self._take_momentums(optimizer, cycle_momentum, base_momentum, max_momentum)
        if last_epoch == -1:
            for group, highest in zip(optimizer.param_groups, max_lrs, strict=True):
                first = highest / div_factor
                group["initial_lr"], group["max_lr"], group["min_lr"] = first, highest, first / final_div_factor
            self._note_momentums(*bounds)
        super().__init__(optimizer, last_epoch)

    def _between(self, first: str, highest: str, last: str) -> list[float]:
        """Return each group's value for ``last_epoch`` on the curve through its values of these keys."""
        phase, fraction = schedules.one_cycle_phase(self.last_epoch, self.total_steps, self.pct_start, self.three_phase)
        keys = (first, highest, first, last) if self.three_phase else (first, highest, last)
        start, end, fraction = keys[phase], keys[phase + 1], ease(fraction, self.anneal_strategy)
        return [interpolate(group[start], group[end], fraction) for group in self.optimizer.param_groups]

    def _next_lrs(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            total = f"The specified number of total steps is {self.total_steps}; make a new scheduler to go on"
            raise ValueError(f"Tried to step {self.last_epoch} times. {total}")
        keys = ["initial_lr", "max_lr", "min_lr"] + ["base_momentum", "max_momentum"] * self.cycle_momentum
        for i, group in enumerate(self.optimizer.param_groups):
            missing = [key for key in keys if key not in group]
            if missing:
                raise ValueError(f"param_groups[{i}] lacks {missing}; make a new OneCycleLR after adding a group")
        return self._between("initial_lr", "max_lr", "min_lr")

    def _momentums(self) -> list[float]:
        return self._between("max_momentum", "base_momentum", "max_momentum")
