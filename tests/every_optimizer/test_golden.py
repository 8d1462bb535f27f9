"""numbopt's optimizers follow the trajectories that were recorded from torch's."""

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from cases import problem
from cases.optimizers import CASES, DTYPES
from support.runs import ArrayRun, ParameterRun
from support.trajectory import GROUPINGS, assert_same, follow

FOLDER = Path(__file__).parents[1] / "cases" / "golden"


@cache
def golden_records(cls):
    with np.load(FOLDER / f"{cls}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_follows_the_golden_trajectories(case, dtype):
    expected = golden_records(case.cls)[f"{case.name}/{dtype}"]
    start = problem.starting_parameters(dtype)
    for (i, grouping), (j, pattern), run_class in product(
        enumerate(GROUPINGS), enumerate(problem.PATTERNS), (ParameterRun, ArrayRun)
    ):
        actual = follow(run_class(case, grouping, start), dtype, pattern)
        assert_same(actual, expected[i, j], case, dtype, f"{run_class.__name__}, {grouping}, {pattern}")


@pytest.mark.parametrize("cls", sorted({case.cls for case in CASES}))
def test_golden_file_holds_exactly_the_rows_of_the_table(cls):
    rows = {f"{case.name}/{dtype}" for case in CASES if case.cls == cls for dtype in DTYPES}
    assert golden_records(cls).keys() == rows
