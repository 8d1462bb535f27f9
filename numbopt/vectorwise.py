"""VectorOptimizer: from the core for vectors, `numbopt._kernels.quasi_newton`, to optimizers driven by closures."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np

from numbopt import options as checks
from numbopt._flat import FlatVectors
from numbopt._gradients import Gradients
from numbopt._kernels import quasi_newton as qn
from numbopt.optimizer import Optimizer


class StepResult(NamedTuple):
    """How a step went."""

    message: str
    """Why it ended."""
    loss: float
    """The loss at the best point, which the parameters are at."""
    gradient_norm: float
    """The largest absolute value of an element of the gradient there."""
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

    A subclass states its `options` with ``lr``, ``max_iter``, ``max_eval``, ``tolerance_grad`` and
    ``tolerance_change``, a constructor with the defaults, `core_rule` and `history_size`. There is one group only.

    Attributes
    ----------
    result : StepResult or None
        How the last step went.
    """

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
        """Take the only group.

        Raises
        ------
        ValueError
            For a second one.
        """
        if self.param_groups:
            raise ValueError(
                f"{type(self).__name__} doesn't support per-parameter options (parameter groups); "
                "give all parameters in one list"
            )
        super().add_param_group(param_group)

    def _parameters_changed(self) -> None:
        self._gradients = Gradients(self._parameters)

    def _ready(self) -> tuple[FlatVectors, qn.State]:
        """Return the vectors and the state of the core, made new where the options ask for others."""
        if self._vectors is None:
            self._vectors = FlatVectors(self._parameters, self._gradients)
        options = self._group_options[0].values
        rule, history_size = self.core_rule(options), self.history_size(options)
        if self._core is None or (self._core[2][0]["rule"], self._core[1].shape[1]) != (rule, history_size):
            self._core = qn.new_state(self._vectors.data.size, self._vectors.data.dtype, rule, history_size)
        record = self._core[2][0]
        record["learning_rate"] = options["lr"]
        record["tolerance_gradient"] = options["tolerance_grad"]
        record["tolerance_change"] = options["tolerance_change"]
        record["max_iterations"] = options["max_iter"]
        record["max_evaluations"] = options["max_eval"] or options["max_iter"] * 5 // 4
        return self._vectors, self._core

    # ---- the step

    def _step(self, closure: Callable[[], Any] | None, grads: Any) -> Any:
        if closure is None or grads is not None:
            raise TypeError(
                f"{type(self).__name__} evaluates the loss several times: give step a closure that returns the loss, "
                "or (loss, grads), and nothing else"
            )
        with self._lock:
            self._refresh_options()
            vectors, core = self._ready()
            record = core[2][0]
            vectors.gather_data()
            original, value = self._evaluate(closure, vectors)
            advance = qn.advance_function(core)
            answer = advance(vectors.data, vectors.grad, value)
            try:
                while answer == qn.EVALUATE:
                    vectors.scatter_data()
                    value = self._evaluate(closure, vectors)[1]
                    answer = advance(vectors.data, vectors.grad, value)
            except BaseException:
                self._take_back(vectors, core)
                raise
            vectors.scatter_data()
            if record["rule"] != qn.FIXED_STEP:  # whose last step is not evaluated
                vectors.scatter_grad(core[0][qn.BASE_G])
            self._evaluations += int(record["evaluations"])
            self._iterations += int(record["iterations"])
            self.result = StepResult(
                _MESSAGES[answer],
                float(record["value"]),
                float(record["gradient_norm"]),
                int(record["iterations"]),
                int(record["evaluations"]),
            )
        return original

    def _evaluate(self, closure: Callable[[], Any], vectors: FlatVectors) -> tuple[Any, float]:
        """Return what the closure returned as loss, and it as a float, with the gradients gathered."""
        loss, grads = self.evaluate(closure)
        value = loss.item() if getattr(loss, "shape", None) is not None and math.prod(loss.shape) == 1 else loss
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"the closure must return the loss, one real number, or (loss, grads); got {loss!r}")
        if grads is None:
            self._gradients.take_own()
        else:
            self._gradients.take(self.gradients_in_order(grads))
        vectors.gather_grad()
        return loss, float(value)

    def _take_back(self, vectors: FlatVectors, core: qn.State) -> None:
        """Return to the point where the search was, after a closure that failed at a trial."""
        core[2][0]["searching"] = False
        np.copyto(vectors.data, core[0][qn.BASE_X])
        vectors.scatter_data()

    # ---- state: with the first parameter, as in torch

    def _state_of(self, position: int) -> dict[str, Any]:
        if position != 0 or self._core is None or not self._evaluations:
            return {}
        vectors, _, records = self._core
        s, y, rho = qn.pairs(self._core)
        numbers = {key: records[0][field].item() for key, field in _NUMBERS.items()}
        rows = {key: vectors[row].copy() for key, row in _ROWS.items()}
        counts = {"func_evals": self._evaluations, "n_iter": self._iterations}
        return {**counts, **numbers, **rows, "old_stps": s, "old_dirs": y, "ro": rho}

    def _checked_state(self, position: int, key: str, value: Any) -> Any:
        if key in ("func_evals", "n_iter") or key in _NUMBERS:
            return checks.Number("state")(f"state {key!r}", value)
        if key not in (*_ROWS, "old_stps", "old_dirs", "ro"):
            return value
        array = np.asarray(value, dtype=np.result_type(*(p.flat_dtype for p in self._parameters)))
        size = sum(parameter.flat_size for parameter in self._parameters)
        shape = (size,) if key in _ROWS else (len(array),) if key == "ro" else (len(array), size)
        if array.size != math.prod(shape):
            raise ValueError(f"loaded state {key!r} has shape {array.shape}, it must have shape {shape}")
        return array.reshape(shape)

    def _replace_state(self, position: int, state: Mapping[str, Any]) -> None:
        if position != 0:
            return
        self._core, self._evaluations, self._iterations = None, 0, 0
        if "func_evals" not in state:
            return
        self._evaluations, self._iterations = int(state["func_evals"]), int(state["n_iter"])
        core = vectors, _, records = self._ready()[1]
        for key, field in _NUMBERS.items():
            records[0][field] = state.get(key, records[0][field])
        for key, row in _ROWS.items():
            vectors[row] = state.get(key, vectors[row])
        if "ro" in state:
            qn.remember(core, state["old_stps"], state["old_dirs"], state["ro"])


# Keys of a state, torch's where torch has the thing, and where the core keeps them.
_NUMBERS = {"t": "step", "H_diag": "scale", "prev_loss": "value", "beta": "beta", "memory": "memory"}
_ROWS = {"d": qn.DIRECTION, "prev_flat_grad": qn.BASE_G, "prev_flat_param": qn.BASE_X}
