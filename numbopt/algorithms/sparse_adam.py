"""SparseAdam: Adam for gradients of which few rows or elements are given."""

import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from numbopt._devices.arrays import address_of, copying
from numbopt._kernels.cpu.rows import loop_around
from numbopt._kernels.rule import CommonScalars, rule
from numbopt._launch.calls import Calls, run, setting
from numbopt._launch.cpu import Launch, compile_ahead
from numbopt.algorithms.adam import moments
from numbopt.optimizer import GroupOptions, Optimizer
from numbopt.options import BETAS, Number, integer
from numbopt.parameter import Parameter, checked_values, label


@rule(state="exp_avg exp_avg_sq", scalars="beta1 one_minus_beta1 beta2 one_minus_beta2 step_size eps")
def sparse_adam(p, g, state, h):
    """Go along the mean gradient over the root of the mean square."""
    m, v = state
    m, v = moments(m, v, g, h)
    return p - h.step_size * (m / (math.sqrt(v) + h.eps)), (m, v)


class SparseAdam(Optimizer):
    r"""Adam [1]_ for gradients of which few rows or elements are given: only these are updated.

    .. math::
        m_i &\leftarrow \beta_1 m_i + (1 - \beta_1) g_i, \qquad v_i \leftarrow \beta_2 v_i + (1 - \beta_2) g_i^2 \\
        p_i &\leftarrow p_i - \gamma \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m_i}{\sqrt{v_i} + \epsilon}

    for the given :math:`i`; :math:`t` counts the steps of the parameter.

    Parameters
    ----------
    params : iterable
        Real parameters in C order on the CPU; see `Optimizer`.
    lr : float
        Learning rate :math:`\gamma` > 0.
    betas : pair of float
        Decay rates :math:`\beta_1, \beta_2`, in [0, 1).
    eps : float
        :math:`\epsilon` > 0. Unlike that of `Adam`, it is not divided by the correction of the bias.
    maximize : bool
        Go up instead of down.

    Raises
    ------
    TypeError, ValueError
        For dense gradients, rows out of range and values that do not fit; nothing has changed then.

    Notes
    -----
    A gradient is ``(rows, values)`` with integers of shape (n,) and values of shape (n, \*p.shape[1:]), or a sparse
    array of SciPy of the parameter's shape. Rows may repeat: what is given for one row is added up, in the order in
    which it is given. What is given as zero counts. From JAX, give ``(b.indices[:, 0], b.data)``.

    State: ``step`` :math:`t`, ``exp_avg`` :math:`m`, ``exp_avg_sq`` :math:`v`.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A method for stochastic optimization", ICLR 2015, arXiv:1412.6980.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> x = np.zeros((4, 2))
    >>> opt = numbopt.SparseAdam([x], lr=0.1)
    >>> opt.step(grads=[([2, 0], np.array([[1.0, -1.0], [1.0, 0.0]]))])
    >>> x.round(6)
    array([[-0.1,  0. ],
           [ 0. ,  0. ],
           [-0.1,  0.1],
           [ 0. ,  0. ]])
    """

    options: ClassVar = dict(lr=Number("learning rate", above=0), betas=BETAS, eps=Number("epsilon value", above=0))

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, maximize=maximize))

    def _set_up(self) -> None:
        super()._set_up()
        self._states: list[dict[str, Any]] = []

    def _taking_parameters(self, parameters: list[Parameter], added: list[GroupOptions]) -> Calls:
        for position, parameter in enumerate(parameters):
            if parameter.dtype.kind == "c":
                raise ValueError(
                    f"Complex params at indices [{position}]: SparseAdam does not support complex parameters; "
                    "give their real view"
                )
            if parameter.device != "cpu" or not parameter.array.flags.c_contiguous:
                raise ValueError(
                    f"{label(parameter, position)} must be in C order and on the CPU for SparseAdam; use Adam, or "
                    "numpy.ascontiguousarray"
                )
        states = [*self._states, *({} for _ in parameters[len(self._states) :])]
        return setting(self, _states=states)

    def _compile_ahead(self) -> None:
        super()._compile_ahead()
        for dtype in {parameter.flat_dtype for parameter in self._parameters}:
            compile_ahead(loop_around(sparse_adam), dtype)

    def _step(self, closure: Callable[[], Any] | None, grads: Any) -> Any:
        loss = None
        if closure is not None:
            loss, grads = self.evaluate(closure, grads)
        if grads is None:
            raise TypeError("SparseAdam takes its gradients from step(grads=[(rows, values)]) or from the closure")
        if self._lock._is_owned():
            self._refuse_inside()
        with self._lock:
            self._refresh_options()
            calls: Calls = []
            kept = []  # what launches work on
            for position, gradient in enumerate(self.gradients_in_order(grads)):
                parameter = self._parameters[position]
                parameter.check_memory(position)
                if gradient is not None:
                    of_parameter, arrays = self._updating(position, *_checked(gradient, parameter, position))
                    calls += of_parameter
                    kept.append(arrays)
            calls.append(self._counting())
            run(calls)
        return loss

    def _updating(self, position: int, places: Any, values: Any) -> tuple[Calls, Any]:
        """Return the calls that update rows of values, at their places, and what has to live until they are made."""
        parameter, options, state = self._parameters[position], self._group_of[position].values, self._states[position]
        if not state:
            arrays = {name: parameter.unflatten(parameter.flat_zeros()) for name in sparse_adam.state}
            state = {"step": 0, **arrays}
        step = state["step"] + 1
        calls: Calls = [functools.partial(operator.setitem, self._states, position, {**state, "step": step})]
        if not len(places):
            return calls, None
        nbytes = values[0].nbytes
        rows = np.zeros((len(places), 6), np.int64)
        rows[:, 0] = values[0].size
        for column, array in ((2, parameter.array), (4, state["exp_avg"]), (5, state["exp_avg_sq"])):
            rows[:, column] = address_of(array) + nbytes * places
        rows[:, 3] = address_of(values) + nbytes * np.arange(len(places))
        beta1, beta2 = options["betas"]
        size = options["lr"] * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        common = CommonScalars(grad_scale=-1.0 if options["maximize"] else 1.0)
        own = (beta1, 1 - beta1, beta2, 1 - beta2, size, options["eps"])
        launch = Launch(loop_around(sparse_adam), rows, np.array([[*own, *common]], parameter.flat_dtype))
        return [*launch.calls(), *calls], (values, launch)

    # ---- state

    def _state_of(self, position: int) -> dict[str, Any]:
        return dict(self._states[position])

    def _checked_state(self, position: int, key: str, value: Any) -> Any:
        if key == "step":
            return integer(low=0)("state 'step'", value)
        return checked_values(value, self._parameters[position], f"state {key!r}")

    def _replacing_state(self, position: int, state: Mapping[str, Any], options: Mapping[str, Any]) -> Calls:
        parameter = self._parameters[position]
        ours: dict[str, Any] = {"step": int(state.get("step", 0))} if state else {}
        calls: Calls = []
        for name in sparse_adam.state if state else ():
            ours[name] = parameter.unflatten(parameter.flat_zeros())
            if name in state:
                calls.append(copying(ours[name], state[name]))
        return [*calls, functools.partial(operator.setitem, self._states, position, ours)]


def _checked(gradient: Any, parameter: Parameter, position: int) -> tuple[Any, Any]:
    """Return distinct places in rising order and a row of values for each, from a sparse gradient."""
    who = label(parameter, position)
    shape, dtype = parameter.shape, parameter.flat_dtype
    if hasattr(gradient, "tocoo"):
        coo = gradient.tocoo()
        if tuple(coo.shape) != tuple(shape):
            raise ValueError(f"gradient of {who} has shape {tuple(coo.shape)}, it must have shape {tuple(shape)}")
        coordinates = coo.coords if hasattr(coo, "coords") else (coo.row, coo.col)
        places, values, high = np.ravel_multi_index(coordinates, shape), coo.data, math.prod(shape)
        width: tuple[int, ...] = ()
    elif isinstance(gradient, tuple) and len(gradient) == 2 and len(shape):
        places, values, high, width = np.asarray(gradient[0]), np.asarray(gradient[1]), shape[0], tuple(shape[1:])
        places = places if places.size else places.astype(np.int64)
    else:
        raise TypeError(
            f"gradient of {who}: SparseAdam does not support dense gradients, please consider Adam instead; it takes "
            f"(rows, values) or a sparse array of SciPy, got {type(gradient).__name__}"
        )
    if places.ndim != 1 or places.dtype.kind not in "iu":
        raise TypeError(f"rows of the gradient of {who} must be integers of one dimension, got {places.dtype}")
    if values.shape != (len(places), *width):
        raise ValueError(f"values of the gradient of {who} have shape {values.shape}, need {(len(places), *width)}")
    if not np.can_cast(values.dtype, dtype, "same_kind"):
        raise TypeError(f"values of the gradient of {who} have type {values.dtype}, they must be real numbers")
    if len(places) and not (places.min() >= 0 and places.max() < high):
        raise ValueError(
            f"rows of the gradient of {who} must be from 0 to {high - 1}, got {places.min()} to {places.max()}"
        )
    places, values = places.astype(np.int64), np.ascontiguousarray(values, dtype)
    if np.any(np.diff(places) <= 0):
        order = np.argsort(places, kind="stable")
        new = np.diff(places[order], prepend=-1) != 0
        first, again = order[new], order[~new]
        added = (np.cumsum(new) - 1)[~new]  # to which of the first ones
        places, values, others = places[first], values[first], values[again]
        np.add.at(values, added, others)  # in this order
    return places, values.copy() if np.may_share_memory(values, parameter.array) else values
