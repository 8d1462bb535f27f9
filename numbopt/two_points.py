"""Optimizers that take gradients at one point and whose result is another one, an average."""

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from numbopt._devices.arrays import copying, to_host
from numbopt._launch.calls import run
from numbopt._parameters.trees import rebuilt
from numbopt.optimizer import Optimizer


class TwoPoints(Optimizer):
    r"""The modes of an optimizer whose parameters hold :math:`y = (1 - \beta) z + \beta x` in training.

    :math:`z` is a state array, :math:`x` the result. The option ``train_mode`` of groups says which of :math:`y` and
    :math:`x` the parameters hold.
    """

    @classmethod
    def weight_of_average(cls, options: Mapping[str, Any]) -> float:
        r"""Return :math:`\beta`."""
        raise NotImplementedError

    def eval(self) -> None:
        """Put the averages into the parameters, to use or to save them; does nothing where they are there."""
        self._set_mode(False)

    def train(self) -> None:
        """Put the points that gradients are taken at back into the parameters; does nothing where they are there."""
        self._set_mode(True)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averages into the parameters for the duration of a ``with`` block.

        After the block, even after an exception, the parameters have their old values again, bit for bit, whatever the
        block did to them.
        """
        groups = list(self.param_groups)
        before = [group["train_mode"] for group in groups]
        values = [parameter.array.copy(order="K") for parameter in self._parameters]
        self.eval()
        try:
            yield
        finally:
            calls = [copying(parameter.array, value) for parameter, value in zip(self._parameters, values, strict=True)]
            run([*calls, *(_setting_mode(group, mode) for group, mode in zip(groups, before, strict=True))])

    def average(self, parameters: Any = None, *, key: Any = None) -> Any:
        """Return the averages; nothing changes.

        Parameters
        ----------
        parameters, key
            For an optimizer without parameters of its own: what the last `apply_gradients` returned, and its key.

        Returns
        -------
        list of array, or tree of arrays
            New arrays on the host: one for each parameter, or in the structure of ``parameters``.

        Raises
        ------
        TypeError, ValueError
            If ``parameters`` are missing or do not fit.
        """
        if self.trees is None:
            if parameters is not None:
                raise TypeError("this optimizer has parameters of its own; call average() without any")
            return [self._point(position, False, to_host(p.array)) for position, p in enumerate(self._parameters)]
        if parameters is None:
            raise TypeError("this optimizer was made without parameters; call average(x) with those of the last step")
        leaves, tree = self._taken(parameters, key)  # type: ignore[attr-defined]
        values = (
            self._point(position, False, np.asarray(leaf)) for position, (_, leaf) in enumerate(leaves, tree.first)
        )
        return rebuilt(parameters, values)

    def _step(self, closure: Callable[[], Any] | None, grads: Any) -> Any:
        self._refresh_options()
        if not all(known.values["train_mode"] for known in self._group_options):
            raise RuntimeError("the parameters hold the averages, where no step begins; call opt.train() first")
        return super()._step(closure, grads)

    def _set_mode(self, train: bool) -> None:
        self._refresh_options()
        calls: list[Callable[[], object]] = []
        for position, parameter in enumerate(self._parameters):
            if self._group_of[position].values["train_mode"] != train:
                parameter.check_memory(position)
                calls.append(copying(parameter.array, self._point(position, train, to_host(parameter.array))))
        run([*calls, *(_setting_mode(group, train) for group in self.param_groups)])

    def _point(self, position: int, train: bool, values: Any) -> Any:
        """Return the point of a mode as a new array, from the values of a parameter in its present mode."""
        options, state = self._group_of[position].values, self._state_of(position)
        beta = self.weight_of_average(options)
        if options["train_mode"] == train or "z" not in state:
            return np.array(values)
        share = np.asarray(1 - beta if train else 1 - 1 / beta, values.real.dtype)
        point = values + share * (to_host(state["z"]) - values)
        return (
            point if values.dtype.kind == "c" else np.clip(point, *options["bounds"]).astype(values.dtype, copy=False)
        )


def _setting_mode(group: dict[str, Any], train: bool) -> Callable[[], object]:
    return functools.partial(operator.setitem, group, "train_mode", train)
