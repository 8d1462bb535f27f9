"""Follow an optimizer over the problem, and keep what it did as one record: parameters on the way, final state, clocks.

A *run* is what is followed, whichever library it belongs to. It has three methods: `step(gradients)`, `values()`, the
parameters as arrays, and `states()`, for every parameter a dictionary of arrays and numbers.
"""

import numpy as np
from cases import problem

GROUPINGS = ("one group", "two groups")
# Early steps tell where a difference begins.
KEPT_STEPS = (1, 2, 6, 20)
# torch keeps clocks as float32, whatever the parameters are.
_CLOCK_TOLERANCE = {"rtol": 1.3e-6, "atol": 0}


def parameter_groups(case, parameters, grouping):
    if grouping == "one group":
        return parameters
    return [{"params": parameters[:1]}, {"params": parameters[1:], **case.second_group}]


def follow(run, dtype, pattern, *, steps=problem.STEPS, kept_steps=KEPT_STEPS):
    """Take the given steps of the problem and return the record, a structured scalar."""
    kept = []
    for step in steps:
        run.step(problem.gradients(step, dtype, pattern))
        if step in kept_steps:
            kept.append(_flat(run.values()))
    return _record(np.stack(kept), run.states())


def assert_same(actual, expected, case, dtype, where):
    assert set(actual.dtype.names) >= set(expected.dtype.names), where
    assert set(actual.dtype.names) == set(expected.dtype.names) or not case.is_torchs, where
    for name in expected.dtype.names:
        is_clock = expected[name].shape == (len(problem.SHAPES),)
        if not is_clock:
            assert actual[name].dtype == dtype, f"{where}: {name}"
        np.testing.assert_allclose(
            actual[name],
            expected[name],
            **(_CLOCK_TOLERANCE if is_clock else case.tolerance(dtype)),
            strict=not is_clock,
            err_msg=f"{where}: {name}",
        )


def _record(parameters, states):
    names = states[0].keys()
    assert all(state.keys() == names for state in states)
    fields = {"parameters": parameters} | {name: _flat([state[name] for state in states]) for name in names}
    record = np.zeros((), [(name, values.dtype, values.shape) for name, values in fields.items()])
    for name, values in fields.items():
        record[name] = values
    return record[()]


def _flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])
