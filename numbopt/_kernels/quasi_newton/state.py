"""What the core of quasi-Newton methods remembers between two evaluations."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numbopt._devices.arrays import Array
from numbopt._kernels.quasi_newton.line_search import SEARCH


class State(NamedTuple):
    """All that the core remembers. A copy of the arrays resumes with the same bits, at any moment."""

    vectors: Any
    """Rows of one dtype, an array or, on a GPU, `DeviceVectors`; see `BASE_X`."""
    products: Array
    """Rows of as many numbers as there are pairs: ``1 / s.y``, coefficients of the recursion; see `GRAMS`."""
    records: Array
    """One record of dtype `STATE`, as an array of shape (1,)."""

    @property
    def record(self) -> Any:
        """The record itself, whose fields can be read and set."""
        return self.records[0]


(
    EVALUATE,  # not a stop: evaluate at x and come back
    GRADIENT_SMALL,
    CHANGE_SMALL,
    STEP_SMALL,
    SLOPE_SMALL,
    MAX_ITERATIONS,
    MAX_EVALUATIONS,
    NO_LOWER_POINT,
    GRADIENT_WRONG,  # the search found no lower point, and values and slopes contradict each other
    START_NOT_FINITE,
    NOT_FINITE_AHEAD,  # shortened for trials without a finite value, the search led nowhere
    STEP_NOT_FINITE,  # a fixed step, taken back
) = range(12)
"""Answers of `advance`."""
LBFGS, FIXED_STEP, POLAK_RIBIERE, HAGER_ZHANG, DAI_KOU, BOUNDED = range(6)
"""Rules: L-BFGS with a line search, L-BFGS with steps of fixed length (torch's default), conjugate gradients, L-BFGS
with a line search within bounds."""
CONJUGATE = {"dai-kou": DAI_KOU, "hager-zhang": HAGER_ZHANG, "polak-ribiere": POLAK_RIBIERE}
"""The conjugate gradients by name."""
STATE = np.dtype(
    [
        # what the caller sets
        ("rule", np.int64),
        ("learning_rate", np.float64),  # first trial step along an L-BFGS direction
        ("tolerance_gradient", np.float64),  # on the largest element
        ("tolerance_change", np.float64),  # on value and largest element of a step, absolute
        ("tolerance_relative", np.float64),  # on the value, relative to max(|f|, 1), `patience` times in a row
        ("patience", np.int64),
        ("max_iterations", np.int64),
        ("max_evaluations", np.int64),
        # what it reads
        ("value", np.float64),  # at the base
        ("gradient_norm", np.float64),  # the largest element
        ("iterations", np.int64),  # of this run
        ("evaluations", np.int64),
        # what is remembered
        ("searching", np.bool_),  # the next evaluation is a trial, not an entry
        ("epsilon", np.float64),  # of the vectors' dtype
        ("slope", np.float64),  # along the direction, at the base
        ("step", np.float64),  # the last one; NaN before the first
        ("lowest", np.float64),  # value of this run
        ("patient", np.int64),  # iterations in a row with a small relative change
        ("memory", np.int64),  # pairs in the ring; for conjugate gradients 1 if the last direction counts
        ("newest", np.int64),  # its place in the ring
        ("scale", np.float64),  # of the inverse Hessian: s.y / y.y; for conjugate gradients |s| / |y|
        ("beta", np.float64),  # weight of the last direction in the next one
        ("search", SEARCH),
    ]
)
BASE_X, BASE_G, DIRECTION, BEST_G, PAIRS = range(5)
"""Rows of ``vectors``: the point where the search started, its gradient, the direction of the search, the gradient at
the best trial that was not accepted; then all s and all y of the pairs; within bounds these, and two to work with."""
GRAMS = 2
"""The row of ``products`` where, within bounds, the matrices S^T Y, S^T S and Y^T Y begin."""


def new_state(
    n: int,
    dtype: Any,
    rule: int = LBFGS,
    history_size: int = 100,
    new_vectors: Callable[..., Any] = np.zeros,
    max_trials: int = 20,
    bounds: tuple[Any, Any] = (-math.inf, math.inf),
    **options: float,
) -> State:
    """Return the arrays ``(vectors, products, states)`` of a fresh state for `advance`.

    The options are fields of ``states[0]``, to be given here or set later; without them there are no limits and no
    tolerances. The vectors are what ``new_vectors((count, n), dtype)`` returns. Only `BOUNDED` looks at ``bounds``.
    """
    pairs = 0 if rule in CONJUGATE.values() else history_size
    vectors = new_vectors((PAIRS + 2 * pairs + 4 * (rule == BOUNDED), n), dtype)
    products = np.zeros((GRAMS + 3 * pairs * (rule == BOUNDED), pairs))
    if rule == BOUNDED:
        vectors[PAIRS + 2 * pairs], vectors[PAIRS + 2 * pairs + 1] = bounds
    states = np.ndarray(1, STATE, bytearray(_fresh_states(rule, np.dtype(dtype), max_trials, **options)))
    return State(vectors, products, states)


@functools.lru_cache
def _fresh_states(rule: int, dtype: np.dtype[Any], max_trials: int, **options: float) -> bytes:
    """Return ``states`` as bytes, because NumPy copies records field by field."""
    states = np.zeros(1, STATE)
    fields = {
        "rule": rule,
        "learning_rate": 1.0,
        "step": math.nan,
        "tolerance_relative": -1.0,
        "patience": 3,
        "max_iterations": np.iinfo(np.int64).max,
        "max_evaluations": np.iinfo(np.int64).max,
        "epsilon": np.finfo(dtype).eps,
        "newest": -1,
        **options,
    }
    for name, value in fields.items():
        states[name] = value
    search = states["search"]
    search["sufficient_decrease"] = 1e-4
    search["curvature"] = 0.4 if rule in CONJUGATE.values() else 0.9
    search["max_trials"] = max_trials
    return states.tobytes()
