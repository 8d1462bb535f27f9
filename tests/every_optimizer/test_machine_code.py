"""What is compiled is what was meant: vectors of float32, and nothing compiled twice."""

import platform
import re

import numpy as np
import pytest
from numba import float32, int64
from numba.core.caching import NullCache
from support.compilations import compilations
from support.rules import RULES, careless, each_rule, of_four_states

import numbopt
from numbopt._kernels.cpu.rows import loop_around, zero_loop
from numbopt._kernels.rule import MAX_STATE_ARRAYS
from numbopt._launch import cpu

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
# Of the four float32 in a register, "ps", not of one, "ss".
PACKED_SQRT = re.compile(r"\bv?sqrtps\b")
PACKED_DIVIDE = re.compile(r"\bv?divps\b")
TO_DOUBLE = re.compile(r"\bv?cvt(ss2sd|ps2pd)\b")
# (square root, divide) of an element. The others multiply and add only.
NEITHER, DIVIDE, BOTH = (False, False), (False, True), (True, True)
OPERATIONS = {
    "sgd": NEITHER,
    "momentum": NEITHER,
    "asgd": NEITHER,
    "rprop": NEITHER,
    "adamax": DIVIDE,
    "adam": BOTH,
    "amsgrad": BOTH,
    "nadam": BOTH,
    "radam": BOTH,
    "adagrad": BOTH,
    "adadelta": BOTH,
    "rmsprop": BOTH,
    "rmsprop_momentum": BOTH,
    "rmsprop_centered": BOTH,
    "rmsprop_centered_momentum": BOTH,
    "lion": NEITHER,
    "adabelief": BOTH,
    "yogi": BOTH,
    "ademamix": BOTH,
    "adopt": BOTH,
    "adan": BOTH,
    "madgrad": DIVIDE,
    "adamw_schedule_free": BOTH,
    "sgd_schedule_free": NEITHER,
    "lamb": BOTH,
    "lars": NEITHER,
    "clipup": NEITHER,
    "dog": NEITHER,
    "prodigy": BOTH,
}


def assembly(rule, bound_arrays=False):
    """The assembly for float32 of the loop around a rule; there is none of what is from the disk."""
    loop = loop_around.__wrapped__(rule, bound_arrays)
    loop._cache = NullCache()
    signature = (int64[:, ::1], float32[:, ::1])
    loop.compile(signature)
    return loop.inspect_asm(signature)


def test_every_rule_has_its_operations_here():
    assert {rule.function.__name__ for rule in RULES} == OPERATIONS.keys()


@pytest.mark.skipif(not ON_X86, reason="reads the instructions of x86-64")
@pytest.mark.parametrize("bound_arrays", [False, True], ids=["", "bounds of elements"])
@each_rule
def test_loop_works_on_vectors_of_float32(rule, bound_arrays):
    code = assembly(rule, bound_arrays)
    has_sqrt, has_divide = OPERATIONS[rule.function.__name__]
    assert bool(PACKED_SQRT.search(code)) == has_sqrt
    assert bool(PACKED_DIVIDE.search(code)) == has_divide
    assert re.search(r"\bv?(mulps|fn?m(add|sub)\w*ps)\b", code)
    assert not TO_DOUBLE.search(code)


@pytest.mark.skipif(not ON_X86, reason="reads the instructions of x86-64")
@pytest.mark.parametrize("bound_arrays", [False, True], ids=["", "bounds of elements"])
def test_loop_over_the_most_arrays_works_on_vectors(bound_arrays):
    assert len(of_four_states.state) == MAX_STATE_ARRAYS
    code = assembly(of_four_states, bound_arrays)
    assert PACKED_SQRT.search(code)
    assert PACKED_DIVIDE.search(code)
    assert not TO_DOUBLE.search(code)


@pytest.mark.skipif(not ON_X86, reason="reads the instructions of x86-64")
def test_a_rule_that_turns_to_float64_is_found():
    assert TO_DOUBLE.search(assembly(numbopt.Rule(careless)))


# ---- nothing is compiled twice


def same_kernels(rule):
    """Arrays of all kinds that may not need more than the kernels of one real type, by that type."""
    generator = np.random.default_rng(0)
    for real, complex_ in ((np.float32, np.complex64), (np.float64, np.complex128)):
        yield (
            real,
            [
                generator.random((3, 4)).astype(real),
                np.asfortranarray(generator.random((4, 3)).astype(real)),
                generator.random((2, 3, 4)).astype(real).transpose(1, 2, 0),
                np.array(0.5, real),
                np.zeros((0, 3), real),
                generator.random(1).astype(real),
                generator.random(1001).astype(complex_),
                np.array(0.5j, complex_),
            ],
        )


@each_rule
@pytest.mark.parametrize("way", ["serial", "shared"])
def test_each_type_is_compiled_once(rule, way, monkeypatch):
    if way == "shared":
        monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    cls, options = RULES[rule]
    known = {"params"} | cls([np.zeros(1)]).param_groups[0].keys()
    options = {name: value for name, value in options.items() if name in known}

    def steps(arrays):
        optimizer = cls([{"params": arrays, **options}])
        for _ in range(2):
            optimizer.step(grads=[np.full_like(array, 0.5) for array in arrays])
            optimizer.step(grads=[None if i % 2 else np.ones_like(array) for i, array in enumerate(arrays)])
            optimizer.zero_grad()
            optimizer.step()
        (table,) = optimizer._tables
        return table.launch.loop

    for real, arrays in same_kernels(rule):
        loop = steps([np.ones(5, real)])
        before = loop.signatures
        with compilations() as compiled:
            steps(arrays)
            for array in arrays:
                steps([array])
        assert compiled == []
        assert loop.signatures == before
    assert len(loop.signatures) == 2
    assert len(zero_loop().signatures) == 1
