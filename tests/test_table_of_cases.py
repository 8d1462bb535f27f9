"""Every public optimizer is in the table of cases, so that no property test can pass it by."""

from collections import Counter

from cases import CASES

import numbopt

ABSTRACT_BASES = {"Optimizer", "ElementwiseOptimizer"}


def _public_optimizers():
    public = {name: getattr(numbopt, name) for name in numbopt.__all__}
    return {
        name
        for name, value in public.items()
        if isinstance(value, type) and issubclass(value, numbopt.Optimizer) and name not in ABSTRACT_BASES
    }


def test_every_public_optimizer_has_a_row_and_every_row_an_optimizer():
    assert {case.cls for case in CASES} == _public_optimizers()


def test_ids_are_unique():
    assert max(Counter(case.id for case in CASES).values()) == 1
