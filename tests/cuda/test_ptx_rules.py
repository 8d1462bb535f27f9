"""The code that CUDA gets for every rule: what it computes, what it reads and writes, what it is made of."""

import functools
import math

import numpy as np
import pytest
from support.ptx.interpreter import Memory, parse, run
from support.rules import RULES, InPython, beginning, careless, each_rule

pytest.importorskip("numba_cuda")
from numbopt._kernels.cuda import reductions, rows
from numbopt._kernels.rule import Rule

SIZES = (0, 1, 3, 4, 1027)
CAPABILITIES = {"sm_80": (8, 0), "sm_90": (9, 0)}
# How 128 bits are loaded, and how often for four numbers.
VECTOR = {np.float32: ("v4.f32", 1), np.float64: ("v2.f64", 2)}
NO_FACTOR = 0

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
each_capability = pytest.mark.parametrize("capability", CAPABILITIES.values(), ids=CAPABILITIES.keys())


@functools.cache
def code(kernel, capability=CAPABILITIES["sm_90"]):
    return parse(kernel.ptx(capability)).kernel


def launch(kernel, blocks, args, memory, capability=CAPABILITIES["sm_90"]):
    return run(code(kernel, capability), blocks, reductions.THREADS, args, memory)


class Table:
    """Rows of arrays in the memory of the device: of all sizes, with all arrays aligned or all but one."""

    def __init__(self, dtype, names):
        generator = np.random.default_rng(0)
        self.memory = Memory()
        self.rows, self.addresses = [], []
        for size in SIZES:
            for misaligned in (None, *names):
                row = {name: generator.uniform(-1, 1, size).astype(dtype) for name in names}
                # Of a gradient near 0 that decay is added to few digits are left, whatever computes with them.
                row["grad"] += np.copysign(1, row["grad"])
                self.rows.append(row)
                self.addresses.append(
                    {
                        name: self.memory.add(array, misaligned=array.itemsize if name == misaligned else 0)
                        for name, array in row.items()
                    }
                )
        words = np.array(
            [
                (row["grad"].size, 0, *addresses.values())
                for row, addresses in zip(self.rows, self.addresses, strict=True)
            ]
        ).T.copy()
        words.setflags(write=False)
        self.args = [self.memory.add(words), words.strides[0]]

    def column(self, name):
        return np.concatenate([row[name] for row in self.rows])

    def launch(self, kernel, *args, capability=CAPABILITIES["sm_90"]):
        return launch(kernel, len(self.rows), [*self.args, *args], self.memory, capability)


class Run:
    """A rule at work on a table, and beside it what Python computes from the same numbers in float64."""

    def __init__(self, rule, dtype, *, bound_arrays=False):
        self.cls, self.options = RULES[rule]
        self.dtype = dtype
        self.kernel = rows.update_kernel(rule, np.dtype(dtype), bound_arrays)
        bounds = ("lower", "upper") if bound_arrays else ()
        self.table = Table(dtype, ("param", "grad", *rule.state, *bounds))
        start = self.cls.initial_state(self.options)
        for row in self.table.rows:
            for name in rule.state:
                row[name][:] = beginning(start.get(name, 0), row["param"])
        self.python = InPython(self.cls, self.options, self.table.column("param").astype(np.float64))

    def step(self, factor=NO_FACTOR, python_factor=1.0, lower=-np.inf, upper=np.inf, **launch_options):
        clock = self.python.clock or self.cls.initial_clock(self.options)
        _, scalars = self.cls.advance(self.python.options, clock)
        common = self.python.common_scalars()
        self.python.step(python_factor * self.table.column("grad").astype(np.float64))
        scalars = map(self.dtype, (*scalars, *self.python.found, *common, lower, upper))
        return self.table.launch(self.kernel, factor, *scalars, **launch_options)

    def assert_equal(self, ulp=8):
        tolerance = ulp * np.finfo(self.dtype).eps
        for name, expected in {"param": self.python.values, **self.python.states}.items():
            actual = self.table.column(name)
            np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=name)


# ---- the update


@each_dtype
@each_rule
def test_rule_computes_what_python_computes(rule, dtype):
    both = Run(rule, dtype)
    for _ in range(3):
        both.step()
    both.assert_equal()


@each_capability
@each_dtype
@each_rule
def test_each_number_is_moved_once_and_by_128_bits(rule, dtype, capability):
    both = Run(rule, dtype)
    executed = both.step(capability=capability)
    memory, itemsize = both.table.memory, np.dtype(dtype).itemsize
    names = both.table.rows[0].keys()
    loaded = {name: sum(memory.loaded[row[name]] for row in both.table.addresses) for name in names}
    stored = {name: sum(memory.stored[row[name]] for row in both.table.addresses) for name in names}
    nbytes = itemsize * sum(SIZES) * (len(names) + 1)
    assert loaded["param"] == loaded["grad"] == nbytes
    assert max(loaded.values()) == nbytes  # or less: ASGD needs no average before it averages
    assert stored == {name: 0 if name == "grad" else nbytes for name in names}
    # Of each size one row is aligned, and three numbers at most are left over there.
    kind, per_four = VECTOR[dtype]
    vectors = per_four * sum(size // 4 for size in SIZES)
    assert executed[f"ld.global.{kind}"] == vectors * len(names)
    assert executed[f"st.global.{kind}"] == vectors * (len(names) - 1)


@each_capability
@each_dtype
@each_rule
def test_code_is_what_was_meant(rule, dtype, capability):
    kernel = code(rows.update_kernel(rule, np.dtype(dtype)), capability)
    opcodes = [instruction.opcode for instruction in kernel.instructions]
    assert not [variable for variable in kernel.variables if variable.space in ("local", "shared")]
    for word in ("call", "approx", "ftz", "f64") if dtype is np.float32 else ("call", "approx", "ftz"):
        assert not [opcode for opcode in opcodes if word in opcode]


def test_a_rule_that_turns_to_float64_is_found():
    opcodes = [
        instruction.opcode
        for instruction in code(rows.update_kernel(Rule(careless), np.dtype(np.float32))).instructions
    ]
    assert [opcode for opcode in opcodes if "f64" in opcode]


def adam():
    return next(rule for rule in RULES if rule.function.__name__ == "adam")


@each_dtype
def test_gradients_are_scaled_by_a_factor_in_memory(dtype):
    both = Run(adam(), dtype)
    factor = np.array([0.25], dtype)
    both.step(both.table.memory.add(factor), python_factor=0.25)
    both.assert_equal()


@each_dtype
def test_bounds_of_all(dtype):
    both = Run(adam(), dtype)
    both.step(lower=-0.25, upper=0.5)
    np.clip(both.python.values, -0.25, 0.5, out=both.python.values)
    both.assert_equal()


@each_dtype
def test_bounds_of_each_element(dtype):
    both = Run(adam(), dtype, bound_arrays=True)
    for row in both.table.rows:
        row["lower"][:], row["upper"][:] = (
            np.minimum(row["lower"], row["upper"]),
            np.maximum(row["lower"], row["upper"]),
        )
    both.step()
    np.clip(both.python.values, both.table.column("lower"), both.table.column("upper"), out=both.python.values)
    both.assert_equal()


@each_rule
def test_nan_stays_visible(rule):
    both = Run(rule, np.float32)
    for row in both.table.rows:
        row["grad"][:] = np.nan
    both.step(lower=-1, upper=1)
    np.clip(both.python.values, -1, 1, out=both.python.values)
    both.assert_equal()
    assert np.any([np.isnan(both.table.column(name)) for name in ("param", *rule.state)], axis=0).all()


# ---- reductions


def squares(dtype, capability=CAPABILITIES["sm_90"]):
    """The sum of squares of each row of a table, by the kernel, and its gradients."""
    table = Table(dtype, ("param", "grad"))
    partials = np.full(len(table.rows), np.nan)
    table.launch(reductions.squares_kernel(np.dtype(dtype)), table.memory.add(partials), capability=capability)
    for row, addresses in zip(table.rows, table.addresses, strict=True):
        assert table.memory.loaded[addresses["grad"]] == row["grad"].nbytes
    return partials, [row["grad"] for row in table.rows]


@each_capability
@each_dtype
def test_squares_are_summed_in_float64_and_in_the_same_order(dtype, capability):
    partials, gradients = squares(dtype, capability)
    expected = [math.fsum(gradient.astype(float) ** 2) for gradient in gradients]
    np.testing.assert_allclose(partials, expected, rtol=1e-14)
    np.testing.assert_array_equal(squares(dtype, capability)[0], partials)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1027])
def test_sum_of_partial_sums(count):
    partials, result, memory = np.random.default_rng(count).random(count), np.zeros(1), Memory()
    launch(reductions.sum_kernel(), 1, [memory.add(partials), count, memory.add(result)], memory)
    np.testing.assert_allclose(result[0], math.fsum(partials), rtol=1e-14)


@pytest.mark.parametrize("partials", [[4.0, 5.0], [0.01, 0.0], [np.inf, 1.0], [np.nan, 1.0], []])
def test_coefficient_of_clipping(partials):
    partials, result, memory = np.array(partials), np.zeros(1, reductions.NORM), Memory()
    launch(reductions.clip_kernel(), 1, [memory.add(partials), partials.size, 1.5, memory.add(result)], memory)
    norm = np.sqrt(partials.sum())
    coefficient = np.minimum(1.5 / (norm + 1e-6), 1.0)
    np.testing.assert_allclose(result["norm"], norm, rtol=1e-15)
    np.testing.assert_allclose(result["factor64"], coefficient, rtol=1e-15)
    np.testing.assert_array_equal(result["factor32"], result["factor64"].astype(np.float32))
