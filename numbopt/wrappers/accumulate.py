"""Gradient accumulation: one update for the gradients of several calls."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from numbopt._devices.arrays import Array, clear, host_copy
from numbopt._launch.many_arrays import scale
from numbopt._parameters.names import by_name, in_order
from numbopt.algorithms.sgd import SGD
from numbopt.options import as_integer
from numbopt.parameter import Parameter, checked_values
from numbopt.wrappers.wrapper import Wrapper


class Accumulate(Wrapper):
    r"""Makes an optimizer update once for several calls of `step`, with the sum or the mean of their gradients.

    Use it for batches that are too large for one evaluation: if :math:`g_1, \dots, g_k` are the gradients of parts of a
    batch that have the same size, their mean is the gradient of the whole batch,

    .. math::
        \bar g = \frac{1}{k} \sum_{i=1}^k g_i .

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer that makes the updates. Its hooks and its ``step_count`` see only updates.
    steps : int
        The number :math:`k` of calls for one update.
    reduction : {"mean", "sum"}
        Whether the optimizer gets the mean or the sum. The mean is over all calls, also those without a gradient of the
        parameter.

    Attributes
    ----------
    count : int
        The number of calls since the last update; 0 right after an update.
    steps, reduction
        As given. You may change them at any time.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    The sums have their own memory. Each call adds the gradients that it is given, or, if there are none, the present
    content of ``parameter.grad``. Neither a call nor an update changes ``parameter.grad``, and ``zero_grad()`` does not
    change the sums. As with any optimizer, set gradients to zero before each evaluation: gradients that grow in
    ``parameter.grad`` would be added again in every call.

    A call in which the gradient of a parameter is None adds nothing for this parameter. An update skips parameters that
    had no gradient since the last update. If an update raises an exception, the sums are dropped, and counting starts
    again.

    Everything else, such as ``param_groups``, ``state`` or hooks, belongs to the optimizer. Give the optimizer to a
    scheduler. An optimizer that evaluates the closure several times, such as `LBFGS`, cannot update from sums, and its
    ``step`` raises a TypeError.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([1.0])
    >>> opt = numbopt.Accumulate(numbopt.SGD([x], lr=0.1), steps=2)
    >>> opt.step(grads=[np.array([2.0])])
    >>> x
    array([1.])
    >>> opt.step(grads=[np.array([4.0])])
    >>> x
    array([0.7])
    """

    __slots__ = ("_adder", "_has_gradient", "_sums", "_weight", "count", "reduction", "steps")

    state_key = "accumulate"

    def __init__(self, optimizer: Any, steps: int, reduction: str = "mean") -> None:
        super().__init__(optimizer)
        self.steps = as_integer("steps", steps, low=1)
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.reduction = reduction
        self.count = 0
        self._weight = 1.0  # the factor of the gradients in the sums
        self._sums: list[Parameter] = []
        self._has_gradient: list[bool] = []
        self._follow()

    def step(self, closure: Callable[[], Any] | None = None, *, grads: Any = None) -> Any:
        """Add gradients to the sums. Update the parameters if this is the last one of ``steps`` calls.

        Parameters
        ----------
        closure, grads
            As for `Optimizer.step`.

        Returns
        -------
        object
            The loss that the closure returned, or None.

        Raises
        ------
        TypeError, ValueError
            If gradients are not valid. Nothing has changed then.
        """
        loss = None
        if closure is not None:
            loss, grads = self.optimizer.evaluate(closure, grads)
        self._follow()
        if grads is None:
            arrays = [parameter.grad for parameter in self.optimizer.parameters]
        else:
            arrays = self.optimizer.gradients_in_order(grads)
        if self.count == 0:
            self._weight = self._final_weight(self.steps)
        self._adder.param_groups[0]["lr"] = self._weight
        self._adder._step(None, arrays)
        self._has_gradient = [had or array is not None for had, array in zip(self._has_gradient, arrays, strict=True)]
        self.count += 1
        if self.count >= self.steps:
            self.flush()
        return loss

    def flush(self) -> bool:
        """Update now with the gradients since the last update, for example at the end of an epoch.

        Returns
        -------
        bool
            False if there was no call since the last update.
        """
        if self.count == 0:
            return False
        try:
            correction = self._final_weight(self.count) / self._weight
            if correction != 1:
                scale([total.array for total in self._sums], correction)
            pairs = zip(self._sums, self._has_gradient, strict=True)
            self.optimizer.step(grads=[total.array if has_gradient else None for total, has_gradient in pairs])
        finally:
            self._drop()
        return True

    def _final_weight(self, count: int) -> float:
        """Return the factor of each gradient in an update after ``count`` calls."""
        return 1 / count if self.reduction == "mean" else 1.0

    def _follow(self) -> None:
        """Create sums for parameters that were added to the optimizer."""
        parameters = self.optimizer.parameters[len(self._sums) :]
        if parameters:
            self._sums += [zeros_like(parameter) for parameter in parameters]
            self._has_gradient += [False] * len(parameters)
            # A step up the gradient adds the gradient to the sum, and the learning rate is the factor.
            self._adder = SGD(self._sums, lr=self._weight, maximize=True)

    def _drop(self) -> None:
        for total in self._sums:
            clear(total.array)
        self._has_gradient = [False] * len(self._sums)
        self.count = 0

    def _own_state(self) -> dict[str, Any]:
        self._follow()
        pairs = zip(self._sums, self._has_gradient, strict=True)
        sums = [host_copy(total.array) if has_gradient else None for total, has_gradient in pairs]
        return {"count": self.count, "weight": self._weight, "sums": by_name(self.optimizer.names, sums)}

    def _checked_own_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        sums = checked_in_order(self.optimizer, state["sums"], "sum of gradients")
        count, weight = operator.index(state["count"]), float(state["weight"])

        def take() -> None:
            self._follow()
            self._drop()
            self.count, self._weight = count, weight
            self._has_gradient = [value is not None for value in sums]
            for total, value in zip(self._sums, sums, strict=True):
                if value is not None:
                    total.data = value

        return take


def zeros_like(parameter: Parameter) -> Parameter:
    """Return a Parameter of zeros with the layout, the device and the name of ``parameter``."""
    return parameter.sharing(parameter.shown(parameter.unflatten(parameter.flat_zeros())), parameter.name)


def checked_in_order(optimizer: Any, saved: Any, what: str) -> list[Array | None]:
    """Return a result of `by_name` as a list with one checked array, or None, for each parameter."""
    values = in_order(saved, optimizer.names, "the loaded state dict")
    return [
        None if value is None else checked_values(value, parameter, what, position)
        for position, (value, parameter) in enumerate(zip(values, optimizer.parameters, strict=True))
    ]
