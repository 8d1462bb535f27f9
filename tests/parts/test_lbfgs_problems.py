"""The collection of problems in asv_bench, and how many of them are solved."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from numbopt._kernels.quasi_newton import state as qn
from numbopt._launch import quasi_newton as cores

pytest.importorskip("sklearn")
PATH = Path(__file__).parents[2] / "asv_bench" / "problems" / "lbfgs.py"
if not PATH.exists():
    pytest.skip("asv_bench is not part of this installation", allow_module_level=True)
_spec = importlib.util.spec_from_file_location("lbfgs_problems", PATH)
collection = sys.modules["lbfgs_problems"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(collection)


@pytest.mark.parametrize("name", collection.PROBLEMS)
def test_gradient_equals_the_complex_step(name):
    assert collection.check_gradient(collection.PROBLEMS[name]()) < 1e-10


def solves(problem, rule, history_size, budget):
    x = problem.start.copy()
    state = qn.new_state(x.size, x.dtype, rule, history_size)
    state[2][0]["max_evaluations"] = budget
    advance = cores.advance_function(state)
    answer = qn.EVALUATE
    while answer == qn.EVALUATE:
        with np.errstate(all="ignore"):
            f, g = problem.function(x)
        if problem.solved(f, g):
            return True
        answer = advance(x, g, float(f))
    return False


@pytest.mark.parametrize(
    ("rule", "history_size", "share"),
    [(qn.LBFGS, 100, 0.97), (qn.LBFGS, 10, 0.94), (qn.DAI_KOU, 0, 0.86)],
)
def test_most_problems_are_solved(rule, history_size, share):
    assert len(collection.PROBLEMS) >= 60
    solved = [solves(make(), rule, history_size, 5000) for make in collection.PROBLEMS.values()]
    assert np.mean(solved) >= share
