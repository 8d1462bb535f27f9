"""numbopt's optimizers against the installed torch, step by step, and continuing what torch began."""

from itertools import product

import pytest
from cases import problem
from cases.optimizers import CASES, DTYPES
from support.runs import ParameterRun
from support.trajectory import GROUPINGS, assert_same, follow

torch = pytest.importorskip("torch")

# Imports torch, so only after its presence is known.
from support.torch_runs import SUPPORTED_TORCH, TorchRun, with_arrays  # noqa: E402

pytestmark = pytest.mark.skipif(
    not torch.__version__.startswith(SUPPORTED_TORCH),
    reason=f"compared with torch {SUPPORTED_TORCH}, found {torch.__version__}",
)


def for_every_case_and_dtype(test):
    test = pytest.mark.parametrize("dtype", DTYPES)(test)
    return pytest.mark.parametrize("case", [case for case in CASES if case.is_torchs], ids=lambda case: case.id)(test)


@for_every_case_and_dtype
def test_every_step_equals_torch(case, dtype):
    start = problem.starting_parameters(dtype)
    for grouping, pattern in product(GROUPINGS, problem.PATTERNS):
        expected = follow(TorchRun(case, dtype, grouping), dtype, pattern, kept_steps=problem.STEPS)
        actual = follow(ParameterRun(case, grouping, start), dtype, pattern, kept_steps=problem.STEPS)
        assert_same(actual, expected, case, dtype, f"{grouping}, {pattern}")


@for_every_case_and_dtype
def test_continues_from_a_state_dict_of_torch(case, dtype):
    grouping, pattern = "two groups", "some None"
    # After the first step one parameter has had no gradient yet.
    for steps_of_torch in (1, 10):
        torch_run = TorchRun(case, dtype, grouping)
        for step in problem.STEPS[:steps_of_torch]:
            torch_run.step(problem.gradients(step, dtype, pattern))
        run = ParameterRun(case, grouping, torch_run.values())
        run.optimizer.load_state_dict(with_arrays(torch_run.optimizer.state_dict()))

        remaining = problem.STEPS[steps_of_torch:]
        expected = follow(torch_run, dtype, pattern, steps=remaining, kept_steps=remaining)
        actual = follow(run, dtype, pattern, steps=remaining, kept_steps=remaining)
        assert_same(actual, expected, case, dtype, f"loaded after {steps_of_torch} steps")
