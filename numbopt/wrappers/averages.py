"""Averages of the parameters over the steps of an optimizer."""

import contextlib
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

from numbopt._devices.arrays import Array, copying, host_copy
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
    """Let the average p forget a little and take in the parameter g."""
    return h.decay * p + h.one_minus_decay * g, state


def _swa(p: Any, g: Any, state: Any, h: Any) -> Any:
    """Move the average p to the mean of all parameters so far, of which g is the last."""
    return p + (g - p) / h.count, state


@dataclass(frozen=True)
class _Average:
    """How an average takes in a parameter, as a rule in which ``p`` is the average and ``g`` the parameter."""

    function: Callable[..., Any]
    constants: Mapping[str, float]

    @property
    def rule(self) -> Rule:
        """The rule, which knows how many parameters the average is of from then on."""
        return Rule(self.function, scalars=(*self.constants, "count"))

    def scalars(self, n_averaged: int) -> tuple[float, ...]:
        """Return the scalars of the rule after ``n_averaged`` parameters."""
        return *self.constants.values(), n_averaged + 1

    def __call__(self, averaged: Any, parameter: Any, n_averaged: int) -> Any:
        """Return the new average of arrays or numbers, as torch's functions of this signature do."""
        h = SimpleNamespace(**dict(zip(self.rule.scalars, self.scalars(n_averaged), strict=True)))
        return self.function(averaged, parameter, (), h)[0]


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, int], Any]:
    r"""Return the function of an exponential moving average [1]_, :math:`e \leftarrow d e + (1 - d) p`.

    Parameters
    ----------
    decay : float
        :math:`d`, from 0, no memory, to 1, no change. The average is over the last :math:`1 / (1 - d)` or so updates.

    Returns
    -------
    callable
        For `AveragedParameters`, which compiles it; it can be called with arrays ``(averaged, parameter, n_averaged)``,
        too.

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

    This is the mean of all parameters so far, :math:`n` of them in :math:`a` already.

    Returns
    -------
    callable
        As `get_ema_avg_fn`.

    References
    ----------
    .. [1] P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson, "Averaging weights leads to wider optima
       and better generalization", UAI 2018, arXiv:1803.05407.
    """
    return _Average(_swa, {})


class _Averager(ElementwiseOptimizer):
    """Updates averages in one launch: they are its parameters, and what they are averages of are the gradients."""

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
    """Running averages of parameters, which often do better than the parameters of the last step.

    Parameters
    ----------
    params : Optimizer or iterable
        Whose parameters are averaged; or these themselves, in any form that optimizers take. Parameters that are added
        to the optimizer later are averaged from then on.
    avg_fn : callable, optional
        What `get_swa_avg_fn` (the default) or `get_ema_avg_fn` returned: compiled, one launch for all parameters. Or a
        function of your own of two arrays and a number, ``avg_fn(averaged, parameter, n_averaged)``, which returns the
        new average. It is called for each parameter and computes as NumPy does, whatever it does; complex parameters
        come as such.

    Attributes
    ----------
    parameters : list of Parameter
        The averages, in the order of the parameters and with their names; before the first update, the values
        that the parameters had when they were first seen.
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
        self._sources: list[Array] = []
        self._averager: _Averager | None = None
        self.parameters: list[Parameter] = []
        self.n_averaged = 0
        self._follow()

    def update_parameters(self) -> None:
        """Take the parameters, as they are now, into the averages; the first time, copy them.

        Raises
        ------
        TypeError, ValueError
            If an averaging function returns what does not fit; no average has changed then.
        """
        self._follow()
        if self.n_averaged == 0:
            _copy(self._sources, self.parameters)
        elif self._averager is not None:
            self._averager._step(None, self._sources)  # not `step`: the hooks of all optimizers are not for this one
        else:
            pairs = enumerate(zip(self.parameters, self._source.parameters, strict=True))
            values = [
                checked_values(self._avg_fn(p.data, source.data, self.n_averaged), p, "what avg_fn returned", position)
                for position, (p, source) in pairs
            ]
            _copy(values, self.parameters)
        self.n_averaged += 1

    def copy_to(self, params: Any = None) -> None:
        """Copy the averages into the parameters and keep them there.

        Parameters
        ----------
        params : Optimizer or iterable, optional
            Other parameters to copy them into, of the same number and shapes.

        Raises
        ------
        TypeError, ValueError
            If they do not fit; nothing has changed then.
        """
        averages = [parameter.array for parameter in self.parameters]
        if params is None:
            targets = self._source.parameters[: len(averages)]  # one just added has no average yet
        else:
            targets = _as_optimizer(params).parameters
            if len(targets) != len(averages):
                raise ValueError(f"params has {len(targets)} parameters for {len(averages)} averages")
            for average, target in zip(averages, targets, strict=True):
                checked_values(average, target, "average")
        _copy(averages, targets)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Have the averages in the parameters within a ``with`` block.

        After it, also when the block raises an exception, the parameters are as they were before, bit for bit, whatever
        the block did to them.
        """
        parameters = list(self._source.parameters)
        values = [parameter.array.copy(order="K") for parameter in parameters]
        try:
            self.copy_to()
            yield
        finally:
            _copy(values, parameters)

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue.

        Returns
        -------
        dict
            ``"n_averaged"``, and copies of the ``"averages"``: a dict by name, or a list if not all have names.
        """
        self._follow()
        averages = by_name(self._source.names, [host_copy(parameter.array) for parameter in self.parameters])
        return {"n_averaged": self.n_averaged, "averages": averages}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; averages are matched by name where both sides have names.

        Parameters
        ----------
        state_dict : dict
            Copied.

        Raises
        ------
        ValueError, TypeError
            If it does not fit; nothing has changed then.
        """
        self._checked_state(state_dict)()

    def _checked_state(self, state_dict: Mapping[str, Any]) -> Callable[[], None]:
        """Check a state dict; return a function that takes it over and cannot fail."""
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
        """Have an average for each parameter, also for those that were added to the optimizer."""
        added = self._source.parameters[len(self.parameters) :]
        if added:
            averages = [zeros_like(parameter) for parameter in added]
            _copy([parameter.array for parameter in added], averages)
            self.parameters += averages
            self._sources = [parameter.array for parameter in self._source.parameters]
            self._make_averager()

    def _make_averager(self) -> None:
        if isinstance(self._avg_fn, _Average):
            self._averager = _Averager(self.parameters, self._avg_fn, max(1, self.n_averaged))


def _as_optimizer(params: Any) -> Any:
    """Return an optimizer as it is, and parameters in one that only holds them."""
    return params if isinstance(params, (Optimizer, Wrapper)) else Optimizer(params, {})


def _copy(values: list[Any], parameters: list[Parameter]) -> None:
    """Copy arrays into parameters: all of them or, at Ctrl-C, none."""
    pairs = zip(parameters, values, strict=True)
    run([copying(parameter.array, value) for parameter, value in pairs])
