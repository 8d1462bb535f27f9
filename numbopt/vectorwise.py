"""VectorOptimizer: from the core for vectors, `numbopt._kernels.quasi_newton`, to optimizers driven by closures."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np

from numbopt import options as checks
from numbopt._devices.arrays import copy_values, host_copy, to_host
from numbopt._kernels.quasi_newton import state as qn
from numbopt._launch import cuda_vectors as _device_vectors
from numbopt._launch import quasi_newton as cores
from numbopt._launch.calls import Calls, run, setting
from numbopt._parameters.bounds import check_bounds, moving_inside
from numbopt._parameters.flat import FlatVectors, dtype_and_device
from numbopt.optimizer import GroupOptions, Optimizer
from numbopt.options import UNBOUNDED
from numbopt.parameter import Parameter


class StepResult(NamedTuple):
    """How a step went."""

    message: str
    """Why it ended."""
    loss: float
    """The loss at the best point, which the parameters are at; after fixed steps, the last one that was evaluated."""
    gradient_norm: float
    """The largest absolute value of an element of the gradient there; NaN if there was none that is finite."""
    iterations: int
    """Search directions that were followed."""
    evaluations: int
    """Calls of the closure."""


_MESSAGES = {
    qn.GRADIENT_SMALL: "no element of the gradient exceeds tolerance_grad",
    qn.CHANGE_SMALL: "the loss changed by less than tolerance_change",
    qn.STEP_SMALL: "no element moved by more than tolerance_change",
    qn.SLOPE_SMALL: "the slope along the direction is below tolerance_change",
    qn.MAX_ITERATIONS: "max_iter iterations were done",
    qn.MAX_EVALUATIONS: "max_eval evaluations were done",
    qn.NO_LOWER_POINT: "the line search found no lower point, not even along the gradient",
    qn.GRADIENT_WRONG: "the line search found no lower point: the gradient disagrees with the loss",
    qn.START_NOT_FINITE: "the loss or its gradient is not finite where the step began",
    qn.NOT_FINITE_AHEAD: "the loss or its gradient is not finite at the points ahead",
    qn.STEP_NOT_FINITE: "the step led to a loss or gradient that is not finite and was taken back",
}


class VectorOptimizer(Optimizer):
    """An optimizer that works on all parameters as one vector and evaluates the closure several times in a step.

    A subclass states its `options` on top of those here, a constructor with the defaults, `core_rule` and
    `history_size`. There is one group only.

    Attributes
    ----------
    result : StepResult or None
        How the last step went.
    """

    options: ClassVar[Mapping[str, checks.Check]] = {
        "lr": checks.LR,
        "max_iter": checks.integer(low=1),
        "max_eval": checks.optional(checks.integer(low=1)),
        "tolerance_grad": checks.Number("tolerance_grad value", low=0),
        "tolerance_change": checks.Number("tolerance_change value", low=0),
    }
    common_options: ClassVar[Mapping[str, tuple[checks.Check, Any]]] = {}
    result: StepResult | None = None

    # ---- what an algorithm states

    def core_rule(self, options: Mapping[str, Any]) -> int:
        """Return the rule of the core that these options ask for."""
        raise NotImplementedError

    def history_size(self, options: Mapping[str, Any]) -> int:
        """Return how many pairs of past steps and gradient changes are remembered."""
        return 0

    # ---- set-up

    def _set_up(self) -> None:
        super()._set_up()
        self._vectors: FlatVectors | None = None
        self._core: qn.State | None = None
        self._evaluations = self._iterations = 0

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse: there is one group only."""
        self._add_groups([param_group])

    def _add_groups(self, param_groups: list[dict[str, Any]]) -> None:
        if len(self.param_groups) + len(param_groups) > 1:
            raise ValueError(
                f"{type(self).__name__} doesn't support per-parameter options (parameter groups); "
                "give all parameters in one list"
            )
        super()._add_groups(param_groups)

    def _checked_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._checked_options(group)
        if (bounds := values.get("bounds", UNBOUNDED)) is not UNBOUNDED:
            for parameter in group.get("params", ()):
                check_bounds(parameter, bounds)
                if parameter.device == "cuda":
                    raise ValueError(f"bounds of {type(self).__name__} are for parameters on the CPU")
        return values

    def _taking_parameters(self, parameters: list[Parameter], added: list[GroupOptions]) -> Calls:
        calls = super()._taking_parameters(parameters, added)
        for known in added:
            if (bounds := known.values.get("bounds", UNBOUNDED)) is not UNBOUNDED:
                for parameter in known.params:
                    calls += moving_inside(parameter, bounds)
        return calls

    def _move_inside(self, vectors: FlatVectors, core: qn.State, bounds: tuple[Any, Any]) -> None:
        """Let the core know the bounds, which may have been edited, and the parameters keep to them."""
        capacity = core.products.shape[1]
        rows = core.vectors[qn.PAIRS + 2 * capacity :]
        rows[0], rows[1] = vectors.flat_bounds(bounds)
        for parameter in self._parameters:
            run(moving_inside(parameter, bounds))

    def _ready(self) -> tuple[FlatVectors, qn.State]:
        """Return the vectors and the state of the core, made anew from what is remembered if its shape was edited."""
        vectors = self._flat_vectors()
        options = self._group_options[0].values
        rule, history_size = self.core_rule(options), self.history_size(options)
        had = None if self._core is None else (int(self._core[2][0]["rule"]), self._core[1].shape[1])
        if had != (rule, history_size):
            remembered = self._state_of(0)
            if had is not None and had[0] != rule:
                remembered.pop("t", None)  # the last step of another rule is no part of a pair
            self._core = self._new_core(options, remembered)
        assert self._core is not None
        record = self._core[2][0]
        record["learning_rate"] = options["lr"]
        record["tolerance_gradient"] = options["tolerance_grad"]
        record["tolerance_change"] = options["tolerance_change"]
        # A search needs an evaluation beside the first one, even for a single iteration.
        least = 1 if rule == qn.FIXED_STEP else options["max_iter"] + 1
        most = options["max_eval"] or max(options["max_iter"] * 5 // 4, least)
        record["max_evaluations"] = most
        # No more iterations than evaluations: only a fixed step with max_eval=1 could do that.
        record["max_iterations"] = min(options["max_iter"], most)
        return vectors, self._core

    def _flat_vectors(self) -> FlatVectors:
        if self._vectors is None:
            self._vectors = FlatVectors(self._parameters)
        return self._vectors

    def _new_core(self, options: Mapping[str, Any], state: Mapping[str, Any]) -> qn.State:
        """Return a core for these options that goes on from ``state``."""
        vectors = self._flat_vectors()
        rule, history_size = self.core_rule(options), self.history_size(options)
        new_vectors: Any = np.zeros if vectors.device == "cpu" else _device_vectors.DeviceVectors
        core = qn.new_state(vectors.data.size, vectors.data.dtype, rule, history_size, new_vectors)
        _restore(core, state)
        return core

    def _compile_ahead(self) -> None:
        super()._compile_ahead()
        self._refresh_options()
        dtype, device = dtype_and_device(self._parameters)
        rule = self.core_rule(self._group_options[0].values)
        (cores if device == "cpu" else _device_vectors).compile_ahead(rule, dtype)

    # ---- the step

    def _step(self, closure: Callable[[], Any] | None, grads: Any) -> Any:
        if closure is None or grads is not None:
            raise TypeError(
                f"{type(self).__name__} evaluates the loss several times: give step a closure that returns the loss, "
                "or (loss, grads), and nothing else"
            )
        if self._lock._is_owned():
            self._refuse_inside()
        with self._lock:
            loss = self._minimize(closure)
            self.step_count += 1
        return loss

    def _minimize(self, closure: Callable[[], Any]) -> Any:
        """Evaluate and advance until the core stops; return the first loss."""
        self._refresh_options()
        vectors, core = self._ready()
        record = core[2][0]
        if record["rule"] == qn.BOUNDED:
            self._move_inside(vectors, core, self._group_options[0].values["bounds"])
        loss, value = self._evaluate(closure, vectors)
        vectors.gather_data()
        base = core[0][qn.BASE_X]
        if np.isnan(to_host(base[:1])).any():  # loaded from torch
            copy_values(base, vectors.data)
        record["gradient_norm"] = math.nan  # until the core has seen one that is finite
        advance = (cores if vectors.device == "cpu" else _device_vectors).advance_function(core)
        most = record["max_evaluations"]
        # A search that ended before it found a lower point would be the same in the next step, for ever.
        patient = self._group_options[0].values["max_eval"] is None
        record["max_evaluations"] = most + patient * record["search"]["max_trials"]
        answer = advance(vectors.data, vectors.grad, value)
        try:
            while answer == qn.EVALUATE:
                vectors.scatter_data()
                value = self._evaluate(closure, vectors)[1]
                if patient and (record["iterations"] or value < record["value"]):
                    patient = False
                    record["max_evaluations"] = most
                answer = advance(vectors.data, vectors.grad, value)
        except BaseException:
            # Back to the point where the search was; the next step enters anew.
            record["searching"] = False
            vectors.take_back(base)
            raise
        else:
            vectors.scatter_data()
        finally:
            iterations, evaluations = int(record["iterations"]), int(record["evaluations"])
            self._iterations += iterations
            self._evaluations += evaluations
        # The last of several fixed steps is not evaluated, so what is known is of the point before.
        at_base = record["rule"] != qn.FIXED_STEP or answer == qn.STEP_NOT_FINITE
        if at_base:
            vectors.scatter_grad(core[0][qn.BASE_G])
        self.result = StepResult(
            _MESSAGES[answer],
            float(record["value"]) if at_base else value,
            float(record["gradient_norm"]),
            iterations,
            evaluations,
        )
        return loss

    def _evaluate(self, closure: Callable[[], Any], vectors: FlatVectors) -> tuple[Any, float]:
        """Return what the closure returned as loss, and it as a float, with the gradients gathered."""
        loss, grads = self.evaluate(closure)
        value = _as_number(loss)
        vectors.gather_grad(grads, self.gradients_in_order)
        return loss, value

    # ---- state: with the first parameter, as in torch

    def _state_of(self, position: int) -> dict[str, Any]:
        if position != 0 or self._core is None or not self._evaluations:
            return {}
        vectors, _, records = self._core
        numbers = {key: records[0][field].item() for key, field in _NUMBERS.items()}
        rows = {key: host_copy(vectors[row]) for key, row in _ROWS.items()}
        counts = {"func_evals": self._evaluations, "n_iter": self._iterations}
        return {**counts, **numbers, **rows, **dict(zip(_PAIRS, cores.pairs(self._core), strict=True))}

    def _checked_state(self, position: int, key: str, value: Any) -> Any:
        if key in _COUNTS:
            return checks.integer(low=0)(f"state {key!r}", value)
        if key in _NUMBERS:
            return checks.as_float(f"state {key!r}", value)  # NaN too: a run may end with it
        if key not in (*_ROWS, *_PAIRS):
            return value
        dtype = np.result_type(*(p.flat_dtype for p in self._parameters))
        checks.check_is_plain(f"loaded state {key!r}", value)
        array = np.asarray(value)
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise TypeError(f"loaded state {key!r} has type {array.dtype}, it must be real numbers")
        size = sum(parameter.flat_size for parameter in self._parameters)
        shape = (size,) if key in _ROWS else (len(array),) if key == "ro" else (len(array), size)
        if array.size != math.prod(shape):
            raise ValueError(f"loaded state {key!r} has shape {array.shape}, it must have shape {shape}")
        return array.reshape(shape)

    def _replacing_state(
        self, position: int, state: Mapping[str, Any], options: Mapping[str, Any]
    ) -> list[Callable[[], object]]:
        if position != 0:
            return []
        if len({len(state.get(key, ())) for key in _PAIRS}) > 1:
            raise ValueError(f"loaded state must have as many {', '.join(_PAIRS)} as each other")
        # torch does not keep the point before the last step; NaN stands for where the next step begins.
        core = self._new_core(options, {"prev_flat_param": np.nan, **state}) if state else None
        evaluations, iterations = (state.get(key, 0) for key in _COUNTS)
        return setting(self, _core=core, _evaluations=evaluations, _iterations=iterations)


def _as_number(loss: Any) -> float:
    """Return a loss as a float."""
    if type(loss) is float:
        return loss
    checks.check_is_plain("the loss", loss)
    shape = getattr(loss, "shape", None)
    value = loss.item() if shape is not None and math.prod(shape) == 1 else loss
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"the closure must return the loss, one real number, or (loss, grads); got {loss!r}")
    return float(value)


# Keys of a state, torch's where torch has the thing, and where the core keeps them.
_COUNTS = ("func_evals", "n_iter")
_NUMBERS = {
    "t": "step",
    "H_diag": "scale",
    "prev_loss": "value",
    "slope": "slope",
    "beta": "beta",
    "memory": "memory",
}
_ROWS = {"d": qn.DIRECTION, "prev_flat_grad": qn.BASE_G, "prev_flat_param": qn.BASE_X}
_PAIRS = ("old_stps", "old_dirs", "ro")


def _restore(core: qn.State, state: Mapping[str, Any]) -> None:
    """Put a state into a fresh core."""
    vectors, products, records = core
    for key, row in _ROWS.items():
        if key in state:
            vectors[row] = state[key]
    for key, field in _NUMBERS.items():
        if key in state:
            records[0][field] = state[key]
    if "slope" not in state:  # torch does not keep it
        records[0]["slope"] = to_host(vectors[qn.DIRECTION]) @ to_host(vectors[qn.BASE_G])
    if products.shape[1]:
        records[0]["memory"] = 0  # as many as come now
        cores.remember(core, *(state.get(key, ()) for key in _PAIRS))
