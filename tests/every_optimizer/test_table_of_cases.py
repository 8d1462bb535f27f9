"""Every public optimizer is in a table of cases, so that no property test can pass it by."""

from collections import Counter

from cases.optimizers import CASES, CLOSURE_CASES

import numbopt

ABSTRACT_BASES = {"Optimizer", "ElementwiseOptimizer", "VectorOptimizer"}


def _public_optimizers(base):
    public = {name: getattr(numbopt, name) for name in numbopt.__all__}
    return {
        name
        for name, value in public.items()
        if isinstance(value, type) and issubclass(value, base) and name not in ABSTRACT_BASES
    }


def test_every_public_optimizer_has_a_row_and_every_row_an_optimizer():
    others = {"Muon", "SparseAdam"}  # of matrices and of sparse gradients; see test_muon.py, test_sparse_adam.py
    assert {case.cls for case in (*CASES, *CLOSURE_CASES)} | others == _public_optimizers(numbopt.Optimizer)


def test_those_that_need_a_closure_have_the_table_of_their_own():
    assert {case.cls for case in CLOSURE_CASES} == _public_optimizers(numbopt.VectorOptimizer)


def test_ids_are_unique():
    assert max(Counter(case.id for case in (*CASES, *CLOSURE_CASES)).values()) == 1
