"""Schedules: pure functions of the step, to be multiplied with a learning rate or any other option.

Unless said otherwise a schedule returns a factor: 1 stands for the value that the option has in its group. Steps are
counted from 0. `numbopt.lr_scheduler` writes these values into an optimizer; a loop of your own needs nothing but the
function, in Python as well as inside code compiled by Numba.

>>> lr = 0.1
>>> [round(lr * cosine_annealing(step, T_max=4), 4) for step in range(5)]
[0.1, 0.0854, 0.05, 0.0146, 0.0]

`functools.partial` fixes the arguments, and remains picklable: ``partial(cosine_annealing, T_max=4)``.
"""

import math
import sys
from collections.abc import Iterable
from functools import cache

# ---- from one value to another


def interpolate(start: float, end: float, fraction: float) -> float:
    """Return the value at a fraction of the way from one value to another.

    Parameters
    ----------
    start, end : float
        The values at the fractions 0 and 1.
    fraction : float
        How much of the way is done.

    Examples
    --------
    >>> interpolate(1.0, 3.0, 0.25)
    1.5
    """
    return start * (1.0 - fraction) + end * fraction  # exact at both ends, however far apart


def ease(fraction: float, shape: str = "cos") -> float:
    """Bend a fraction of time into the fraction of a way that is done by then; 0 and 1 stay.

    Parameters
    ----------
    fraction : float
        From 0 to 1; what lies outside is taken as the nearer of them.
    shape : {"cos", "linear", "sqrt"}
        Half a period of a cosine, a straight line, or the square root.

    Examples
    --------
    >>> [round(ease(0.25, shape), 4) for shape in ("cos", "linear", "sqrt")]
    [0.1464, 0.25, 0.5]
    """
    fraction = min(max(fraction, 0.0), 1.0)
    if shape == "cos":
        return 1.0 - cosine_annealing(fraction, 1)
    if shape == "sqrt":
        return math.sqrt(fraction)
    return fraction


# ---- decays


def step_decay(step: float, step_size: int, gamma: float = 0.1) -> float:
    r"""Decay at regular intervals, :math:`\gamma^{\lfloor t / s \rfloor}`.

    Parameters
    ----------
    step : int
        :math:`t`.
    step_size : int
        Length :math:`s` of an interval.
    gamma : float
        Factor :math:`\gamma` of each decay.

    Examples
    --------
    >>> [step_decay(step, 2, gamma=0.5) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    return float(gamma ** (step // step_size))


def multi_step(step: float, milestones: Iterable[float], gamma: float = 0.1) -> float:
    r"""Decay at milestones, :math:`\gamma^n` after :math:`n` of them.

    Parameters
    ----------
    step : int
        The step; a milestone counts from the step of the same number on.
    milestones : sequence of int
        One that is there twice counts twice.
    gamma : float
        Factor :math:`\gamma` of each decay.

    Examples
    --------
    >>> [multi_step(step, [1, 3], gamma=0.5) for step in range(5)]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """
    passed = 0
    for milestone in milestones:
        if milestone <= step:
            passed += 1
    return float(gamma**passed)


def constant(step: float, factor: float = 1 / 3, total_iters: float = 5) -> float:
    """Stay at a factor, then go to 1 at once.

    Parameters
    ----------
    step : int
        The step.
    factor : float
        The value at first.
    total_iters : int
        The step from which on it is 1.

    Examples
    --------
    >>> [constant(step, 0.5, total_iters=2) for step in range(4)]
    [0.5, 0.5, 1.0, 1.0]
    """
    return float(factor) if step < total_iters else 1.0


def linear(step: float, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: float = 5) -> float:
    """Go along a straight line, then stay.

    Parameters
    ----------
    step : int
        The step.
    start_factor, end_factor : float
        The values at step 0, and from ``total_iters`` on.
    total_iters : int
        Length of the line.

    Examples
    --------
    >>> [linear(step, 0.5, 1.0, total_iters=2) for step in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """
    if step >= total_iters:
        return float(end_factor)
    return interpolate(start_factor, end_factor, step / total_iters)


def exponential(step: float, gamma: float) -> float:
    r"""Decay at each step, :math:`\gamma^t`.

    Parameters
    ----------
    step : int
        :math:`t`.
    gamma : float
        Factor :math:`\gamma` of each step.

    Examples
    --------
    >>> [exponential(step, 0.5) for step in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """
    return float(gamma**step)


def polynomial(step: float, total_iters: float = 5, power: float = 1.0) -> float:
    r"""Go to 0 along a power, :math:`(1 - t / T)^p`, and stay there.

    Parameters
    ----------
    step : int
        :math:`t`.
    total_iters : int
        The step :math:`T` at which 0 is reached.
    power : float
        :math:`p`.

    Examples
    --------
    >>> [polynomial(step, 4, power=2.0) for step in range(6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """
    return float((1.0 - min(step, total_iters) / total_iters) ** power)


def inverse_sqrt(step: float, warmup_steps: float, start_factor: float = 0.01) -> float:
    r"""Warm up along a straight line, then decay as :math:`\sqrt{w / t}` [1]_.

    Parameters
    ----------
    step : int
        :math:`t`.
    warmup_steps : int
        The step :math:`w` of the largest value, 1.
    start_factor : float
        The value at step 0.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention is all you need", NeurIPS 2017, arXiv:1706.03762.

    Examples
    --------
    >>> [round(inverse_sqrt(step, 2, start_factor=0.5), 4) for step in range(5)]
    [0.5, 0.75, 1.0, 0.8165, 0.7071]
    """
    if step < warmup_steps:
        return linear(step, start_factor, 1.0, warmup_steps)
    return math.sqrt(warmup_steps / step)


# ---- cosines


def cosine_annealing(step: float, T_max: float) -> float:
    r"""Swing between 1 and 0, :math:`(1 + \cos(\pi t / T)) / 2` [1]_.

    Parameters
    ----------
    step : int
        :math:`t`.
    T_max : int
        Length :math:`T` of half a period: the step of the first 0. After it the value rises again.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017,
       arXiv:1608.03983.

    Examples
    --------
    >>> [round(cosine_annealing(step, 2), 4) for step in range(5)]
    [1.0, 0.5, 0.0, 0.5, 1.0]
    """
    # The quotient first: at a multiple of T_max it is an integer and the result exactly 0 or 1.
    return (1.0 + math.cos(math.pi * (step / T_max))) / 2.0


def position_in_period(step: float, T_0: int, T_mult: int = 1) -> tuple[float, int]:
    """Return how far a step is in its period, and the length of that, for periods that grow by a factor.

    Parameters
    ----------
    step : float
        The step.
    T_0 : int
        Length of the first period.
    T_mult : int
        How much longer each next period is.

    Examples
    --------
    >>> [position_in_period(step, 2, 2) for step in (0, 1, 2, 5, 6)]
    [(0, 2), (1, 2), (0, 4), (3, 4), (0, 8)]
    """
    if T_mult == 1:
        return step % T_0, T_0
    while step >= T_0:
        step -= T_0
        T_0 *= T_mult
    return step, T_0


def cosine_warm_restarts(step: float, T_0: int, T_mult: int = 1) -> float:
    """Go from 1 to 0 along half a cosine again and again, each period longer than the one before [1]_.

    Parameters
    ----------
    step : float
        The step, which may lie between two integers.
    T_0 : int
        Length of the first period.
    T_mult : int
        How much longer each next period is.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017,
       arXiv:1608.03983.

    Examples
    --------
    >>> [round(cosine_warm_restarts(step, 2, 2), 4) for step in range(7)]
    [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 1.0]
    """
    position, length = position_in_period(step, T_0, T_mult)
    return cosine_annealing(position, length)


def warmup_cosine(
    step: float, warmup_steps: float, total_steps: float, start_factor: float = 0.01, end_factor: float = 0.0
) -> float:
    """Warm up along a straight line, go down half a cosine, then stay.

    Parameters
    ----------
    step : int
        The step.
    warmup_steps : int
        The step at which the warm-up has reached 1.
    total_steps : int
        The step at which the cosine has reached ``end_factor``, larger than ``warmup_steps``.
    start_factor, end_factor : float
        The values at step 0 and at the end.

    Examples
    --------
    >>> [round(warmup_cosine(step, 2, 6, start_factor=0.5), 4) for step in range(8)]
    [0.5, 0.75, 1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]
    """
    return warmup_stable_decay(step, warmup_steps, 0, total_steps - warmup_steps, start_factor, end_factor, "cos")


def warmup_stable_decay(
    step: float,
    warmup_steps: float,
    stable_steps: float,
    decay_steps: float,
    start_factor: float = 0.01,
    end_factor: float = 0.0,
    decay_shape: str = "linear",
) -> float:
    """Warm up along a straight line, stay at 1, then decay to a last value [1]_ [2]_.

    Parameters
    ----------
    step : int
        The step.
    warmup_steps, stable_steps, decay_steps : int
        Lengths of the three phases.
    start_factor, end_factor : float
        The values at step 0 and after the decay.
    decay_shape : {"linear", "cos", "sqrt"}
        Shape of the decay, see `ease`.

    References
    ----------
    .. [1] S. Hu et al., "MiniCPM: Unveiling the potential of small language models with scalable training strategies",
       2024, arXiv:2404.06395.
    .. [2] A. Hägele et al., "Scaling laws and compute-optimal training beyond fixed training durations", NeurIPS 2024,
       arXiv:2405.18392.

    Examples
    --------
    >>> [warmup_stable_decay(step, 2, 2, 4, start_factor=0.5) for step in range(10)]
    [0.5, 0.75, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    if step < warmup_steps:
        return linear(step, start_factor, 1.0, warmup_steps)
    decayed = step - warmup_steps - stable_steps
    if decayed >= decay_steps:
        return float(end_factor)
    return interpolate(1.0, end_factor, ease(decayed / decay_steps, decay_shape))


# ---- cycles


def triangle(step: float, step_size_up: float, step_size_down: float) -> tuple[int, float]:
    """Return the number of the cycle, counted from 1, and the height of a triangular wave from 0 to 1 and back.

    Parameters
    ----------
    step : int
        The step.
    step_size_up, step_size_down : float
        Lengths of the rising and the falling part.

    Examples
    --------
    >>> [triangle(step, 1, 2) for step in range(4)]
    [(1, 0.0), (1, 1.0), (1, 0.5), (2, 0.0)]
    """
    length = step_size_up + step_size_down
    position = step % length
    height = position / step_size_up if position <= step_size_up else (length - position) / step_size_down
    return int(step // length) + 1, height


def cyclic(
    step: float,
    step_size_up: float = 2000,
    step_size_down: float | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
) -> float:
    r"""Go up and down between 0 and a height that may shrink [1]_.

    For values between ``low`` and ``high`` use ``interpolate(low, high, cyclic(step))``.

    Parameters
    ----------
    step : int
        :math:`t`.
    step_size_up, step_size_down : float
        Lengths of the rising and the falling part, equal by default.
    mode : {"triangular", "triangular2", "exp_range"}
        The height: 1, half of that of the cycle before, or :math:`\gamma^t`.
    gamma : float
        :math:`\gamma`.

    References
    ----------
    .. [1] L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017, arXiv:1506.01186.

    Examples
    --------
    >>> [cyclic(step, 2, mode="triangular2") for step in range(8)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25]
    """
    cycle, height = triangle(step, step_size_up, step_size_up if step_size_down is None else step_size_down)
    if mode == "triangular2":
        return height * 0.5 ** (cycle - 1)
    if mode == "exp_range":
        return height * float(gamma**step)
    return height


def one_cycle_phase(
    step: float, total_steps: int, pct_start: float = 0.3, three_phase: bool = False
) -> tuple[int, float]:
    """Return the phase of a single cycle, counted from 0, and the fraction of it that is done.

    Parameters
    ----------
    step : int
        The step; from ``total_steps - 1`` on all is done.
    total_steps : int
        Number of steps of the cycle.
    pct_start : float
        Part of the steps, from 0 to 1, in which the first phase rises.
    three_phase : bool
        Whether the second phase mirrors the first and a third one follows, or the second is the last.

    Examples
    --------
    >>> [one_cycle_phase(step, 10, 0.5) for step in (0, 2, 4, 9, 10)]
    [(0, 0.0), (0, 0.5), (0, 1.0), (1, 1.0), (1, 1.0)]
    """
    phase, start, end = 0, 0.0, pct_start * total_steps - 1
    if step > end:
        phase, start, end = 1, end, 2 * end if three_phase else total_steps - 1.0
    if step > end and three_phase:
        phase, start, end = 2, end, total_steps - 1.0
    if step >= end:
        return phase, 1.0
    return phase, (step - start) / (end - start)


def one_cycle(
    step: float,
    total_steps: int,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> float:
    """Rise to 1 once, and fall to almost nothing [1]_.

    Parameters
    ----------
    step : int
        The step.
    total_steps : int
        Number of steps; the value of the last one stays.
    pct_start : float
        Part of the steps, from 0 to 1, in which the value rises.
    anneal_strategy : {"cos", "linear"}
        Shape of the way between the values.
    div_factor : float
        The first value is one over it.
    final_div_factor : float
        The last value is the first one over it.
    three_phase : bool
        Fall to the first value as slowly as it rose, and then to the last.

    References
    ----------
    .. [1] L. N. Smith, N. Topin, "Super-convergence: Very fast training of neural networks using large learning rates",
       2017, arXiv:1708.07120.

    Examples
    --------
    >>> [round(one_cycle(step, 9, pct_start=1 / 3, anneal_strategy="linear"), 4) for step in range(9)]
    [0.04, 0.52, 1.0, 0.8333, 0.6667, 0.5, 0.3333, 0.1667, 0.0]
    """
    phase, fraction = one_cycle_phase(step, total_steps, pct_start, three_phase)
    first = 1.0 / div_factor
    start = first if phase % 2 == 0 else 1.0
    end = 1.0 if phase == 0 else first if three_phase and phase == 1 else first / final_div_factor
    return interpolate(start, end, ease(fraction, anneal_strategy))


@cache
def register_with_numba() -> None:
    """Let code compiled by Numba call every function above, which stays an ordinary function for Python.

    Numba calls this when its first function is decorated, by the entry point in pyproject.toml. Importing this module
    need not import Numba for it.
    """
    from numba.extending import register_jitable

    for value in list(globals().values()):
        if getattr(value, "__module__", None) == __name__ and value is not register_with_numba:
            register_jitable(value)


if "numba" in sys.modules:  # its first function may have been decorated already
    register_with_numba()
