"""History: loss, gradient norm and learning rates of a run, step by step."""

import math
import os
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from numbopt._devices.arrays import Array, as_device_array, is_device_array
from numbopt._launch.many_arrays import two_norm
from numbopt.optimizer import Optimizer
from numbopt.options import as_float, as_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from numbopt.wrappers.wrapper import Wrapper


class History(Mapping[str, Array]):
    """Records loss, gradient norm and learning rates of the steps of an optimizer, in a mapping from names to columns.

    A column is an array with one entry for each recorded step. The entry is NaN if the value is unknown.

    - ``"step"``: the number of the step, from 1.
    - ``"loss"``: the loss from the first call of the closure in the step, or from `record`.
    - ``"gradient_norm"``: the Euclidean norm of all gradients at this loss, before clipping.
    - ``"lr"``: the learning rate of the first group in the step; ``"lr_1"``, ``"lr_2"``, ... of the other groups.
    - other columns, with the names that `record` was given.

    Parameters
    ----------
    optimizer : Optimizer or Wrapper
        The optimizer whose steps are recorded, by hooks, until `detach`. For a wrapper, the steps of the wrapped
        optimizer are recorded.
    gradient_norm : bool
        Record the norm of the gradient. This reads all gradients once.
    every : int
        Record one step of this many, beginning with the first.

    Raises
    ------
    TypeError, ValueError
        If ``every`` is not a positive integer.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.array([3.0, -4.0])
    >>> opt = numbopt.SGD([x], lr=0.25)
    >>> history = numbopt.History(opt, gradient_norm=True)
    >>> for _ in range(3):
    ...     loss = opt.step(lambda: (x @ x, [2 * x]))
    >>> history["loss"]
    array([25.    ,  6.25  ,  1.5625])
    >>> history["gradient_norm"]
    array([10. ,  5. ,  2.5])
    """

    def __init__(self, optimizer: "Optimizer | Wrapper", *, gradient_norm: bool = False, every: int = 1) -> None:
        self.every = as_integer("every", every, low=1)
        self.steps = 0
        """How many steps were done, recorded or not."""
        self._columns: dict[str, array[Any]] = {"step": array("q")}
        for name in ("loss", *["gradient_norm"] * gradient_norm, *map(_lr_name, range(len(optimizer.param_groups)))):
            self._column(name)
        self._with_norm = gradient_norm
        self._is_recorded = False
        self._loss = self._norm = math.nan
        self._handles = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )

    # ---- recording

    def record(self, loss: Any = None, **values: Any) -> None:
        """Add values to the record of the last step, for example the loss if the optimizer gets no closure.

        Parameters
        ----------
        loss : float, optional
            A value for the column ``"loss"``.
        **values : float
            Values for the columns with these names. A new name makes a new column.

        Raises
        ------
        RuntimeError
            If there was no step yet.
        ValueError
            If a value has the name ``step``.
        TypeError
            If a value is not a real number.
        """
        if not self.steps:
            raise RuntimeError("record adds to the last step, but there was none yet; call it after optimizer.step()")
        if "step" in values:
            raise ValueError("the numbers of the steps are recorded already; choose another name than step")
        if loss is not None:
            values["loss"] = loss
        numbers = {name: as_float(name, value) for name, value in values.items()}
        if self._is_recorded:
            for name, number in numbers.items():
                self._column(name)[-1] = number

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """If the step is to be recorded, replace its closure by one that also stores the loss."""
        self._loss = self._norm = math.nan
        if self.steps % self.every or len(args) < 2 or not callable(args[1]):
            return None
        return (args[0], self._recorded(optimizer, args[1], kwargs.get("grads")), *args[2:]), kwargs

    def _recorded(self, optimizer: Optimizer, closure: Callable[[], Any], grads: Any) -> Callable[[], Any]:
        """Return a function that calls ``closure`` and stores the loss and the gradient norm of the first call."""
        is_first = True

        def recorded() -> Any:
            nonlocal is_first
            result = closure()
            if is_first:
                is_first = False
                loss, given = result if isinstance(result, tuple) and len(result) == 2 else (result, grads)
                if not isinstance(loss, tuple):
                    self._loss = math.nan if loss is None else as_float("the loss", loss)
                if self._with_norm:
                    self._norm = _gradient_norm(optimizer, given)
            return result

        return recorded

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add a row to the columns."""
        self._is_recorded = self.steps % self.every == 0
        self.steps += 1
        if not self._is_recorded:
            return
        row = {"loss": self._loss}
        if self._with_norm:
            row["gradient_norm"] = self._norm if len(args) >= 2 else _gradient_norm(optimizer, kwargs.get("grads"))
        rates = [as_float("lr", group.get("lr", math.nan)) for group in optimizer.param_groups]
        row |= {_lr_name(i): rate for i, rate in enumerate(rates)}
        for name, column in self._columns.items():
            column.append(self.steps if name == "step" else math.nan)
        for name, value in row.items():
            self._column(name)[-1] = value

    def _column(self, name: str) -> "array[Any]":
        """Return the column of this name, a new one if there is none."""
        if name not in self._columns:
            self._columns[name] = array("d", [math.nan]) * len(self._columns["step"])
        return self._columns[name]

    def detach(self) -> None:
        """Record no more steps. The recorded steps stay."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Self:
        """Return the history."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Record no more steps."""
        self.detach()

    # ---- reading

    def __getitem__(self, name: str) -> Array:
        """Return a copy of a column."""
        return np.array(self._columns[name])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the columns."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._columns)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        """Show the number of steps and the names of the columns."""
        return f"<History of {self.steps} steps: {', '.join(self)}>"

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the columns as comma-separated values, with their names in the first line.

        Parameters
        ----------
        path : str or path-like
            The file to write. Numbers have all their digits.
        """
        import csv

        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self._columns)
            writer.writerows(zip(*self._columns.values(), strict=True))

    def plot(self, path: str | os.PathLike[str] | None = None, ax: "Axes | None" = None) -> "Axes":
        """Draw the loss and, below it, the gradient norm and the learning rates. This needs matplotlib.

        Parameters
        ----------
        path : str or path-like, optional
            Write the picture to this file, in the format of its extension. Without a path, ``pyplot.show()`` shows it.
        ax : matplotlib.axes.Axes, optional
            Draw only the loss, in these axes.

        Returns
        -------
        matplotlib.axes.Axes
            The axes with the loss. Their ``figure`` has the other axes.

        Raises
        ------
        ImportError
            If there is no matplotlib.
        """
        rates = {name: name.replace("lr_", "group ") for name in self if name == "lr" or name.startswith("lr_")}
        panels = {"loss": {"loss": ""}}
        if ax is None:
            panels |= {"gradient norm": {"gradient_norm": ""}} if "gradient_norm" in self else {}
            panels["learning rate"] = {**rates, "lr": "group 0"} if len(rates) > 1 else {"lr": ""}
        axes = list(_new_figure(len(panels), path is None)) if ax is None else [ax]
        for panel, (label, lines) in zip(axes, panels.items(), strict=True):
            self._draw(panel, label, lines)
        axes[-1].set_xlabel("step")
        if path is not None:
            axes[0].figure.figure.savefig(path)
        return axes[0]

    def _draw(self, panel: "Axes", label: str, lines: Mapping[str, str]) -> None:
        """Draw columns with their legends. All but the learning rates get a logarithmic scale if all are positive."""
        known = []
        for number, (name, legend) in enumerate(lines.items()):
            values = self[name]
            finite = np.isfinite(values)
            known.append(values[finite])
            color, marker = f"C{number + _COLORS[label]}", "o" if finite.sum() == 1 else ""
            curve = self["step"][finite], values[finite]
            panel.plot(*curve, color=color, linewidth=1.2, marker=marker, label=legend or None)
        if label == "learning rate":
            panel.set_ylim(bottom=0)
        elif np.min(np.concatenate(known), initial=math.inf) > 0:
            panel.set_yscale("log")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        if len(lines) > 1:
            panel.legend(frameon=False)

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is needed to continue.

        Returns
        -------
        dict
            ``"steps"``: the number of steps. ``"columns"``: a dict of arrays.
        """
        return {"steps": self.steps, "columns": dict(self)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned. The present records are dropped.

        Parameters
        ----------
        state_dict : dict
            The state. It is copied.

        Raises
        ------
        ValueError
            If this is not the state of a history. Nothing has changed then.
        """
        columns = state_dict.get("columns", {})
        if not isinstance(state_dict.get("steps"), int) or not {"step", "loss"} <= set(columns):
            raise ValueError(f"not the state of a History: it has {list(state_dict)}")
        shapes = {np.shape(column) for column in columns.values()}
        if len(shapes) != 1 or len(shapes.pop()) != 1:
            raise ValueError("the columns of a History must be 1-D and equally long")
        lists = {name: np.asarray(column).tolist() for name, column in columns.items()}
        self._columns = {name: array("q" if name == "step" else "d", values) for name, values in lists.items()}
        self.steps = state_dict["steps"]
        self._is_recorded = False


_COLORS = {"loss": 0, "gradient norm": 1, "learning rate": 2}


def _lr_name(group: int) -> str:
    return f"lr_{group}" if group else "lr"


def _gradient_norm(optimizer: Optimizer, grads: Any) -> float:
    """Return the Euclidean norm of ``grads``, or of the gradients in ``parameter.grad`` if ``grads`` is None."""
    own = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
    arrays = own if grads is None else optimizer.gradients_in_order(grads)
    return math.sqrt(sum(_square(array) for array in arrays if array is not None))


def _square(array: Any) -> float:
    if is_device_array(array):
        return two_norm([as_device_array(array)]) ** 2
    array = np.asarray(array)
    if array.dtype.char not in "fdFD":
        array = array.astype(float)
    flat = array.ravel(order="K")
    return float(np.vdot(flat, flat).real)


def _new_figure(panels: int, interactive: bool) -> Any:
    """Return the axes of a new figure, a high panel above lower ones. pyplot keeps only interactive figures."""
    heights = [3] + [1.3] * (panels - 1)
    try:
        if interactive:
            from matplotlib.pyplot import figure as new_figure
        else:
            from matplotlib.figure import Figure as new_figure  # type: ignore[assignment]
    except ImportError as error:
        raise ImportError("History.plot needs matplotlib: pip install matplotlib") from error
    figure = new_figure(figsize=(7, sum(heights)), layout="constrained", dpi=150)
    axes = figure.subplots(panels, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    figure.align_ylabels(axes)
    return axes
