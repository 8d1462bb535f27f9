"""Averages of the parameters over the steps of an optimizer."""

import contextlib
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

from numbopt._devices.arrays import copying, host_copy
from numbopt._kernels.rule import Rule
from numbopt._launch.calls import run
from numbopt._parameters.names import by_name
from numbopt.elementwise import Clock, ElementwiseOptimizer
from numbopt.optimizer import Optimizer
from numbopt.options import Options, as_float
from numbopt.parameter import Parameter, checked_values
from numbopt.wrappers.accumulate import checked_in_order, zeros_like
from numbopt.wrappers.wrapper import Wrapper


def _ema(p: Any, g: Any, state: Any, h: Any) -> Any:
    """Move the average p a little towards the parameter g."""
    return h.decay * p + h.one_minus_decay * g, state


def _swa(p: Any, g: Any, state: Any, h: Any) -> Any:
    """Move the average p to the mean of all parameters so far; g is the last one."""
    return p + (g - p) / h.count, state


@dataclass(frozen=True)
class _Average:
    """How an average changes with a new parameter: a rule with the average as ``p`` and the parameter as ``g``."""

    function: Callable[..., Any]
    constants: Mapping[str, float]

    @property
    def rule(self) -> Rule:
        """The rule. Its scalar ``count`` is the number of parameters in the new average."""
        return Rule(self.function, scalars=(*self.constants, "count"))

    def scalars(self, n_averaged: int) -> tuple[float, ...]:
        """Return the scalars of the rule after ``n_averaged`` parameters."""
        return *self.constants.values(), n_averaged + 1

    def __call__(self, averaged: Any, parameter: Any, n_averaged: int) -> Any:
        """Return the new average of arrays or numbers, like a function of torch with this signature."""
        h = SimpleNamespace(**dict(zip(self.rule.scalars, self.scalars(n_averaged), strict=True)))
        return self.function(averaged, parameter, (), h)[0]


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, int], Any]:
    r"""Return the function of an exponential moving average [1]_, :math:`e \leftarrow d e + (1 - d) p`.

    Parameters
    ----------
    decay : float
        :math:`d`, from 0 (no memory) to 1 (no change). The average is over about the last :math:`1 / (1 - d)` updates.

    Returns
    -------
    callable
        `AveragedParameters` compiles this function. You can call it with ``(averaged, parameter, n_averaged)``, too.

    Raises
    ------
    ValueError
        If ``decay`` is not between 0 and 1.

    References
    ----------
    .. [1] A. Tarvainen, H. Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv:1703.01780.
    """
    value = as_float("decay", decay)
    if not 0 <= value <= 1:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")
    return _Average(_ema, {"decay": value, "one_minus_decay": 1 - value})


def get_swa_avg_fn() -> Callable[[Any, Any, int], Any]:
    r"""Return the function of stochastic weight averaging [1]_, :math:`a \leftarrow a + (p - a) / (n + 1)`.

    This is the mean of all parameters so far. :math:`a` is the mean of :math:`n` parameters.

    Returns
    -------
    callable
        See `get_ema_avg_fn`.

    References
    ----------
    .. [1] P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson, "Averaging weights leads to wider optima
       and better generalization", UAI 2018, arXiv:1803.05407.
    """
    return _Average(_swa, {})


class _Averager(ElementwiseOptimizer):
    """Updates averages in one launch: the averages are its parameters, and the parameters are its gradients."""

    clock_names = ("n_averaged",)
    options: ClassVar = {"average": lambda name, value: value, "n_averaged": lambda name, value: value}

    def __init__(self, averages: list[Parameter], average: _Average, n_averaged: int) -> None:
        super().__init__(averages, {"average": average, "n_averaged": n_averaged})

    @classmethod
    def rule_for(cls, options: Mapping[str, Any]) -> Rule:
        average: _Average = options["average"]
        return average.rule

    @classmethod
    def initial_clock(cls, options: Mapping[str, Any]) -> Clock:
        return (options["n_averaged"],)

    @staticmethod
    def advance(o: Options, clock: Clock) -> tuple[Clock, tuple[float, ...]]:
        (n_averaged,) = clock
        return (n_averaged + 1,), o.average.scalars(n_averaged)


class AveragedParameters:
    """Running averages of parameters. They often give better results than the parameters of the last step.

    Parameters
    ----------
    params : Optimizer or iterable
        An optimizer, whose parameters are averaged, or parameters in any form that optimizers take. Parameters that you
        add to the optimizer later are averaged from then on.
    avg_fn : callable, optional
        A result of `get_swa_avg_fn` (the default) or `get_ema_avg_fn`: it is compiled and updates all averages in one
        launch. Or your own function ``avg_fn(averaged, parameter, n_averaged)`` of two arrays and a number, which
        returns the new average. It is called for each parameter. Complex parameters stay complex.

    Attributes
    ----------
    parameters : list of Parameter
        The averages, in the order of the parameters and with their names. Before the first update, they have the values
        that the parameters had when they were added.
    n_averaged : int
        How often `update_parameters` was called.

    Raises
    ------
    TypeError, ValueError
        If parameters or ``avg_fn`` are not as above.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([1.0, -1.0])
    >>> opt = numbopt.SGD([x], lr=0.25)
    >>> averages = numbopt.AveragedParameters(opt, numbopt.get_ema_avg_fn(0.5))
    >>> for _ in range(2):
    ...     opt.step(grads=[2 * x])
    ...     averages.update_parameters()
    >>> x
    array([ 0.25, -0.25])
    >>> with averages.swapped():
    ...     x
    array([ 0.375, -0.375])
    >>> x
    array([ 0.25, -0.25])
    """

    def __init__(self, params: Any, avg_fn: Callable[[Any, Any, int], Any] | None = None) -> None:
        if avg_fn is not None and not callable(avg_fn):
            raise TypeError(f"avg_fn must be a function, such as get_ema_avg_fn(0.99) returns, got {avg_fn!r}")
        self._avg_fn = get_swa_avg_fn() if avg_fn is None else avg_fn
        self._source = _as_optimizer(params)
        self._averager: _Averager | None = None
        self.parameters: list[Parameter] = []
        self.n_averaged = 0
        self._follow()

    def update_parameters(self) -> None:
        """Update the averages with the present parameters. The first call copies the parameters.

        Raises
        ------
        TypeError, ValueError
            If your own ``avg_fn`` returns an array that does not fit. No average has changed then.
        """
        self._follow()
        sources = [parameter.array for parameter in self._source.parameters]
        if self.n_averaged == 0:
            _copy(sources, self.parameters)
        elif self._averager is not None:
            self._averager._step(None, sources)  # `step` would call the hooks of all optimizers
        else:
            values = []
            for i, (average, source) in enumerate(zip(self.parameters, self._source.parameters, strict=True)):
                value = self._avg_fn(average.data, source.data, self.n_averaged)
                values.append(checked_values(value, average, "what avg_fn returned", i))
            _copy(values, self.parameters)
        self.n_averaged += 1

    def copy_to(self, params: Any = None) -> None:
        """Copy the averages into the parameters, where they stay. `swapped` copies them for a while.

        Parameters
        ----------
        params : Optimizer or iterable, optional
            Copy them into these parameters instead, which have the same number and shapes.

        Raises
        ------
        TypeError, ValueError
            If ``params`` do not fit. Nothing has changed then.
        """
        averages = [parameter.array for parameter in self.parameters]
        if params is None:
            targets = self._source.parameters[: len(averages)]  # parameters after these were added and have no average
        else:
            targets = _as_optimizer(params).parameters
            if len(targets) != len(averages):
                raise ValueError(f"params has {len(targets)} parameters for {len(averages)} averages")
            for average, target in zip(averages, targets, strict=True):
                checked_values(average, target, "average")
        _copy(averages, targets)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Copy the averages into the parameters for the duration of a ``with`` block.

        After the block, even after an exception, the parameters have their old values again, bit for bit, whatever the
        block did to them.
        """
        parameters = list(self._source.parameters)
        values = [parameter.array.copy(order="K") for parameter in parameters]
        try:
            self.copy_to()
            yield
        finally:
            _copy(values, parameters)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is needed to continue.

        Returns
        -------
        dict
            ``"n_averaged"``, and copies of the ``"averages"``: a dict by name, or a list if not all have names.
        """
        self._follow()
        averages = by_name(self._source.names, [host_copy(parameter.array) for parameter in self.parameters])
        return {"n_averaged": self.n_averaged, "averages": averages}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned. Averages are matched by name if both sides have names.

        Parameters
        ----------
        state_dict : dict
            The state. It is copied.

        Raises
        ------
        ValueError, TypeError
            If the state does not fit. Nothing has changed then.
        """
        self._checked_state(state_dict)()

    def _checked_state(self, state_dict: Mapping[str, Any]) -> Callable[[], None]:
        """Check a state dict. Return a function that loads it and cannot fail."""
        if "n_averaged" not in state_dict or "averages" not in state_dict:
            raise ValueError(f"not a state dict of {type(self).__name__}: it has {sorted(map(str, state_dict))}")
        averages = checked_in_order(self._source, state_dict["averages"], "loaded average")
        if any(average is None for average in averages):
            raise ValueError("the state dict lacks averages: some are None")
        n_averaged = operator.index(state_dict["n_averaged"])

        def take() -> None:
            self._follow()
            _copy(averages, self.parameters)
            self.n_averaged = n_averaged
            self._make_averager()

        return take

    def _follow(self) -> None:
        """Create averages for parameters that were added to the optimizer."""
        added = self._source.parameters[len(self.parameters) :]
        if added:
            averages = [zeros_like(parameter) for parameter in added]
            _copy([parameter.array for parameter in added], averages)
            self.parameters += averages
            self._make_averager()

    def _make_averager(self) -> None:
        if isinstance(self._avg_fn, _Average):
            self._averager = _Averager(self.parameters, self._avg_fn, max(1, self.n_averaged))


def _as_optimizer(params: Any) -> Any:
    """Return an optimizer as it is, and for parameters an optimizer that only holds them."""
    return params if isinstance(params, (Optimizer, Wrapper)) else Optimizer(params, {})


def _copy(values: list[Any], parameters: list[Parameter]) -> None:
    """Copy arrays into parameters, all or none (Ctrl-C safe, see `calls`)."""
    for position, parameter in enumerate(parameters):
        parameter.check_memory(position)
    pairs = zip(parameters, values, strict=True)
    run([copying(parameter.array, value) for parameter, value in pairs])
