"""The interpreter computes what PTX says, and finds what a kernel may not do."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from numba import types
from support.ptx import interpreter
from support.ptx.compile import needs_cuda_compiler, to_ptx
from support.ptx.interpreter import Fault, Memory, array_args, parse, run

LETTERS = {"u": "u", "i": "s", "f": "f"}


def module(body, parameters=(), variables=""):
    """A module with one kernel; ``%a0``, ``%a1``, ... are its parameters of 64 bits, ``%t`` is the thread's index."""
    names = [f"param_{i}" for i in range(len(parameters))]
    heads = ",\n".join(f".param .{kind} {name}" for kind, name in zip(parameters, names, strict=True))
    loads = "\n".join(
        f"ld.param.{kind} %a{i}, [{name}];" for i, (kind, name) in enumerate(zip(parameters, names, strict=True))
    )
    return f"""
.version 9.0
.target sm_90
.address_size 64
{variables}
.visible .entry kernel({heads})
{{
    .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<19>; .reg .b64 %rd<19>; .reg .f32 %f<19>; .reg .f64 %fd<19>;
    .reg .b64 %a<9>;
    .reg .b32 %t, %block;
    {loads}
    mov.u32 %t, %tid.x;
    mov.u32 %block, %ctaid.x;
    {body}
    ret;
}}"""


def launch(body, *arrays, block=1, grid=1, variables="", **memory_options):
    memory = Memory()
    addresses = [memory.add(array, **memory_options) for array in arrays]
    kernel = parse(module(body, ["u64"] * len(arrays), variables)).kernel
    return run(kernel, grid, block, addresses, memory), memory, addresses


def ptx_type(dtype):
    return f"{LETTERS[np.dtype(dtype).kind]}{8 * np.dtype(dtype).itemsize}"


def calculate(instruction, dtype, *inputs):
    """Run one instruction, ``%out`` from ``%in0``, ``%in1``, ..., on arrays, an element for each thread."""
    inputs = [np.ascontiguousarray(array) for array in inputs]
    result = np.zeros(inputs[0].size, dtype)
    lines = [f".reg .{'f' if result.dtype.kind == 'f' else 'b'}{max(16, 8 * result.itemsize)} %out;"]
    for i, array in enumerate(inputs):
        lines += [
            f".reg .{'f' if array.dtype.kind == 'f' else 'b'}{max(16, 8 * array.itemsize)} %in{i};",
            f"mad.wide.u32 %rd{i}, %t, {array.itemsize}, %a{i};",
            f"ld.global.{ptx_type(array.dtype)} %in{i}, [%rd{i}];",
        ]
    lines += [
        instruction,
        f"mad.wide.u32 %rd9, %t, {result.itemsize}, %a{len(inputs)};",
        f"st.global.{ptx_type(dtype)} [%rd9], %out;",
    ]
    launch("\n".join(lines), *inputs, result, block=result.size)
    return result


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
    if actual.dtype.kind == "f":
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(actual[number]), np.signbit(expected[number]))


def special_floats(dtype):
    info = np.finfo(dtype)
    numbers = [0, 1, 1.5, 3, math.pi, 1e-3, info.tiny, info.smallest_subnormal, 7 * info.smallest_subnormal, info.max]
    random = np.random.default_rng(0).standard_normal(5) * 10.0 ** np.arange(-4, 6, 2)
    positive = np.array([*numbers, np.inf, *random], dtype)
    return np.concatenate([positive, -positive, np.array([np.nan], dtype)])


def special_integers(dtype):
    info = np.iinfo(dtype)
    numbers = {info.min, info.min + 1, info.max, info.max - 1, info.max // 2, 0, 1, 2, 3, 7, 31, 63, 64, 100}
    numbers |= {-number for number in numbers if info.min <= -number <= info.max}
    return np.array(sorted(numbers), dtype)


def combinations(values, count):
    return tuple(np.array(column) for column in zip(*itertools.product(values, repeat=count), strict=True))


each_float = pytest.mark.parametrize("dtype", [np.float32, np.float64])
each_integer = pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])


# ---- floats


@each_float
@pytest.mark.parametrize(
    ("name", "function"),
    [("add", np.add), ("sub", np.subtract), ("mul.rn", np.multiply), ("div.rn", np.divide), ("add.rn", np.add)],
)
def test_float_arithmetic_equals_numpy(name, function, dtype):
    a, b = combinations(special_floats(dtype), 2)
    with np.errstate(all="ignore"):
        expected = function(a, b)
    assert_same_bits(calculate(f"{name}.{ptx_type(dtype)} %out, %in0, %in1;", dtype, a, b), expected)


@each_float
@pytest.mark.parametrize(
    ("name", "function"),
    [("sqrt.rn", np.sqrt), ("rcp.rn", lambda x: 1 / x), ("neg", np.negative), ("abs", np.abs)],
)
def test_float_functions_equal_numpy(name, function, dtype):
    x = special_floats(dtype)
    with np.errstate(all="ignore"):
        expected = function(x)
    assert_same_bits(calculate(f"{name}.{ptx_type(dtype)} %out, %in0;", dtype, x), expected)


@each_float
def test_minimum_and_maximum_know_nan_and_the_sign_of_zero(dtype):
    a, b = combinations(special_floats(dtype), 2)
    kind = ptx_type(dtype)

    def extreme(choose, x, y):
        if math.isnan(x) or math.isnan(y):
            return y if math.isnan(x) else x
        return choose((float(x), math.copysign(1, x), x), (float(y), math.copysign(1, y), y))[2]

    for name, choose in (("min", min), ("max", max)):
        expected = np.array([extreme(choose, x, y) for x, y in zip(a, b, strict=True)], dtype)
        assert_same_bits(calculate(f"{name}.{kind} %out, %in0, %in1;", dtype, a, b), expected)
        expected[np.isnan(a) | np.isnan(b)] = np.nan
        assert_same_bits(calculate(f"{name}.NaN.{kind} %out, %in0, %in1;", dtype, a, b), expected)


def rounded(exact, dtype):
    """A fraction as the nearest float, the even one of two."""
    guess = dtype(float(exact))
    around = [guess, np.nextafter(guess, dtype(-np.inf)), np.nextafter(guess, dtype(np.inf))]
    return min(around, key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(f"u{x.itemsize}")) & 1))


@each_float
def test_fma_is_rounded_once(dtype):
    generator = np.random.default_rng(1)
    a, b = generator.standard_normal((2, 200)).astype(dtype)
    c = (-a * b * (1 + generator.standard_normal(200) * 1e-6)).astype(dtype)  # cancels most of the product
    tiny = np.finfo(dtype).tiny
    a[:50] *= tiny
    c[:50] *= tiny
    actual = calculate(f"fma.rn.{ptx_type(dtype)} %out, %in0, %in1, %in2;", dtype, a, b, c)
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)]
    assert_same_bits(actual, np.array([rounded(value, dtype) for value in exact]))
    assert (actual != a * b + c).any()


def test_float32_fma_is_not_rounded_to_float64_first():
    a, b, c = (np.array([x], np.float32) for x in (2**-12 * (1 + 2**-18), 2**-12 * (1 - 2**-18), 1 + 2**-23))
    assert (np.float64(a) * b + c).astype(np.float32) == 1 + 2**-22
    assert calculate("fma.rn.f32 %out, %in0, %in1, %in2;", np.float32, a, b, c) == 1 + 2**-23


@each_float
def test_fma_of_what_is_not_finite(dtype):
    a, b, c = combinations(np.array([0, -0.0, 1, -2, np.inf, -np.inf, np.nan, np.finfo(dtype).max], dtype), 3)
    with np.errstate(all="ignore"):
        expected = (a.astype(np.longdouble) * b + c).astype(dtype)  # exact but for what overflows anyway
    assert_same_bits(calculate(f"fma.rn.{ptx_type(dtype)} %out, %in0, %in1, %in2;", dtype, a, b, c), expected)


COMPARISONS = {
    "eq": np.equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "ne": np.not_equal,
}


@each_float
def test_comparisons_of_floats(dtype):
    a, b = combinations(np.array([-np.inf, -1, -0.0, 0, 1, np.inf, np.nan], dtype), 2)
    unordered = np.isnan(a) | np.isnan(b)
    expected = {name: function(a, b) & ~unordered for name, function in COMPARISONS.items()}
    expected |= {f"{name}u": function(a, b) | unordered for name, function in COMPARISONS.items()}
    expected |= {"nan": unordered, "num": ~unordered}
    for name, result in expected.items():
        code = f"setp.{name}.{ptx_type(dtype)} %p1, %in0, %in1; selp.u32 %out, 7, 9, %p1;"
        assert_same_bits(calculate(code, np.uint32, a, b), np.where(result, 7, 9).astype(np.uint32))


def test_what_rounds_otherwise_is_unknown():
    x = np.ones(1, np.float32)
    for code in ("add.ftz.f32 %out, %in0, %in0;", "rcp.approx.f32 %out, %in0;", "fma.rm.f32 %out, %in0, %in0, %in0;"):
        with pytest.raises(Fault, match=re.escape(code.split()[0])):
            calculate(code, np.float32, x)


# ---- integers


def wrapped(value, dtype):
    return np.array(value % (1 << 8 * np.dtype(dtype).itemsize), f"u{np.dtype(dtype).itemsize}").astype(dtype)


def python_quotient(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


INTEGER_FUNCTIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul.lo": lambda a, b: a * b,
    "min": min,
    "max": max,
    "div": python_quotient,
    "rem": lambda a, b: a - b * python_quotient(a, b),
}


@each_integer
@pytest.mark.parametrize("name", INTEGER_FUNCTIONS)
def test_integer_arithmetic_equals_python(name, dtype):
    a, b = combinations(special_integers(dtype), 2)
    if name in ("div", "rem"):
        a, b = a[b != 0], b[b != 0]
    expected = [wrapped(INTEGER_FUNCTIONS[name](int(x), int(y)), dtype) for x, y in zip(a, b, strict=True)]
    actual = calculate(f"{name}.{ptx_type(dtype)} %out, %in0, %in1;", dtype, a, b)
    assert_same_bits(actual, np.array(expected, dtype))


@each_integer
def test_high_and_wide_products(dtype):
    a, b = combinations(special_integers(dtype), 2)
    kind, bits = ptx_type(dtype), 8 * np.dtype(dtype).itemsize
    products = [int(x) * int(y) for x, y in zip(a, b, strict=True)]
    high = np.array([wrapped(product >> bits, dtype) for product in products], dtype)
    assert_same_bits(calculate(f"mul.hi.{kind} %out, %in0, %in1;", dtype, a, b), high)
    if bits < 64:
        wide = np.dtype(f"{np.dtype(dtype).kind}{bits // 4}")
        expected = np.array(products, wide)
        assert_same_bits(calculate(f"mul.wide.{kind} %out, %in0, %in1;", wide, a, b), expected)
        actual = calculate(f"mad.wide.{kind} %out, %in0, %in1, %in2;", wide, a, b, expected)
        assert_same_bits(actual, expected + expected)


@each_integer
def test_shifts_may_be_longer_than_the_number(dtype):
    kind, bits = ptx_type(dtype), 8 * np.dtype(dtype).itemsize
    x, amount = (column.ravel() for column in np.meshgrid(special_integers(dtype), [0, 1, 5, bits - 1, bits, 255]))
    amount = amount.astype(np.uint32)
    pairs = [(int(a), int(b)) for a, b in zip(x, amount, strict=True)]
    left = np.array([wrapped(a << b, dtype) for a, b in pairs], dtype)
    right = np.array([a >> b for a, b in pairs], dtype)
    assert_same_bits(calculate(f"shl.b{bits} %out, %in0, %in1;", dtype, x, amount), left)
    assert_same_bits(calculate(f"shr.{kind} %out, %in0, %in1;", dtype, x, amount), right)


def test_logic_and_counts_of_bits():
    a, b = combinations(special_integers(np.uint64), 2)
    for name, function in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)):
        assert_same_bits(calculate(f"{name}.b64 %out, %in0, %in1;", np.uint64, a, b), function(a, b))
    assert_same_bits(calculate("not.b64 %out, %in0;", np.uint64, a), ~a)
    counts = np.array([int(x).bit_count() for x in a], np.uint32)
    assert_same_bits(calculate("popc.b64 %out, %in0;", np.uint32, a), counts)
    zeros = np.array([64 - int(x).bit_length() for x in a], np.uint32)
    assert_same_bits(calculate("clz.b64 %out, %in0;", np.uint32, a), zeros)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_bit_field(dtype):
    bits = 8 * np.dtype(dtype).itemsize
    fields = [0, 1, 5, bits - 1, bits, 200]
    x, start, count = (column.ravel() for column in np.meshgrid(special_integers(dtype), fields, fields))

    def field(value, start, count):
        """The definition in the reference, bit by bit."""
        text = [value >> i & 1 for i in range(bits)]
        sign = text[min(start + count - 1, bits - 1)] if count and np.dtype(dtype).kind == "i" else 0
        return sum((text[start + i] if i < count and start + i < bits else sign) << i for i in range(bits))

    cases = [(int(v), int(s), int(c)) for v, s, c in zip(x, start, count, strict=True)]
    start, count = start.astype(np.uint32), count.astype(np.uint32)
    actual = calculate(f"bfe.{ptx_type(dtype)} %out, %in0, %in1, %in2;", dtype, x, start, count)
    assert_same_bits(actual, np.array([wrapped(field(*case), dtype) for case in cases], dtype))

    def inserted(value, start, count):
        mask = ((1 << count) - 1) << start
        return 0x5555_5555_5555_5555 & ~mask | value << start & mask

    code = f"bfi.b{bits} %out, %in0, {0x5555_5555_5555_5555 >> 64 - bits}, %in1, %in2;"
    actual = calculate(code, dtype, x, start, count)
    assert_same_bits(actual, np.array([wrapped(inserted(*case), dtype) for case in cases], dtype))


def test_permutation_of_bytes():
    a, b, selector = (np.array([x], np.uint32) for x in (0x03020180, 0x87060504, 0x0000F870))
    assert calculate("prmt.b32 %out, %in0, %in1, %in2;", np.uint32, a, b, selector) == 0xFFFF8780


def test_division_by_zero_is_a_fault():
    with pytest.raises(Fault, match="zero"):
        calculate("div.s32 %out, %in0, 0;", np.int32, np.ones(1, np.int32))


def test_predicates_are_combined():
    x = np.arange(4, dtype=np.uint32)
    code = "setp.hs.u32 %p1, %in0, 2; setp.ne.s32 %p2, %in0, 3; {}.pred %p3, %p1, %p2; selp.b32 %out, 1, 0, %p3;"
    for name, expected in (("and", [0, 0, 1, 0]), ("or", [1, 1, 1, 1]), ("xor", [1, 1, 0, 1])):
        assert calculate(code.format(name), np.uint32, x).tolist() == expected
    code = "setp.lo.u32 %p1, %in0, 2; not.pred %p2, %p1; selp.b32 %out, 1, 0, %p2;"
    assert calculate(code, np.uint32, x).tolist() == [0, 0, 1, 1]


# ---- conversions and moves


HALVES = np.array([0.5, 1.5, -2.5, -0.2], np.float32)
BEYOND = np.array([2.9, -2.9, 1e10, -np.inf, np.nan], np.float32)
BEYOND_64 = np.array([2.5, 1e19, -1e19, np.nan])


@pytest.mark.parametrize(
    ("code", "values", "dtype", "expected"),
    [
        ("cvt.s64.s32", np.array([-1, 5], np.int32), np.int64, [-1, 5]),
        ("cvt.u64.u32", np.array([2**32 - 1], np.uint32), np.uint64, [2**32 - 1]),
        ("cvt.u32.u64", np.array([2**40 + 7], np.uint64), np.uint32, [7]),
        ("cvt.s32.s8", np.array([0x80, 0x7F, 0x1FF], np.uint32), np.int32, [-128, 127, -1]),
        ("cvt.rn.f32.s64", np.array([2**24 + 1, -(2**24) - 3], np.int64), np.float32, [2**24, -(2**24) - 4]),
        ("cvt.rn.f32.u64", np.array([2**64 - 1], np.uint64), np.float32, [2.0**64]),
        ("cvt.rn.f64.s32", np.array([-3], np.int32), np.float64, [-3]),
        ("cvt.f64.f32", np.array([0.5, -0.0, np.inf], np.float32), np.float64, [0.5, -0.0, np.inf]),
        ("cvt.rn.f32.f64", np.array([1 / 3, 1e300, 1e-46, -0.0]), np.float32, [11184811 / 2**25, np.inf, 0, -0.0]),
        ("cvt.rni.f32.f32", HALVES, np.float32, [0, 2, -2, -0.0]),
        ("cvt.rmi.f32.f32", HALVES, np.float32, [0, 1, -3, -1]),
        ("cvt.rpi.f32.f32", HALVES, np.float32, [1, 2, -2, -0.0]),
        ("cvt.rzi.s32.f32", BEYOND, np.int32, [2, -2, 2**31 - 1, -(2**31), 0]),
        ("cvt.rzi.u64.f32", BEYOND, np.uint64, [2, 0, 10**10, 0, 2**63]),
        ("cvt.rzi.u32.f64", BEYOND_64, np.uint32, [2, 2**32 - 1, 0, 2**31]),
        ("cvt.rni.s64.f64", BEYOND_64, np.int64, [2, 2**63 - 1, -(2**63), -(2**63)]),
        ("cvt.sat.f32.f32", np.array([-1, 0.5, 2, np.nan], np.float32), np.float32, [0, 0.5, 1, 0]),
    ],
)
def test_conversions(code, values, dtype, expected):
    assert_same_bits(calculate(f"{code} %out, %in0;", dtype, values), np.array(expected, dtype))


def test_conversions_through_float16():
    values = np.array([0.1, 65520, 1e-8, -2.5], np.float32)
    code = "cvt.rn.f16.f32 %rs1, %in0; cvt.f32.f16 %out, %rs1;"
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16).astype(np.float32)
    assert_same_bits(calculate(code, np.float32, values), expected)


def test_numbers_are_taken_apart_and_put_together():
    bits = np.array([0x0123456789ABCDEF], np.uint64)
    assert calculate("mov.b64 {%r1, %r2}, %in0; mov.b64 %out, {%r2, %r1};", np.uint64, bits) == 0x89ABCDEF01234567
    assert calculate("{ .reg .b32 %temp; mov.b64 {%temp, %out}, %in0; }", np.uint32, bits) == 0x01234567
    assert calculate("mov.b64 {_, %out}, %in0;", np.uint32, bits) == 0x01234567
    assert calculate("mov.b32 %out, %in0;", np.uint32, np.ones(1, np.float32)) == 0x3F800000


def test_constants():
    x = np.zeros(1, np.float32)
    assert calculate("mov.f32 %out, 0f3FC00000;", np.float32, x) == 1.5
    assert calculate("mov.f64 %out, 0d3FF8000000000000;", np.float64, x) == 1.5
    assert calculate("mov.u64 %out, 0x10U;", np.uint64, x) == 16
    assert calculate("mov.b32 %out, -2;", np.uint32, x) == 2**32 - 2


# ---- memory


def test_vectors_are_loaded_and_stored():
    source, target = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    executed, memory, (source_address, target_address) = launch(
        """ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%a0+16];
        ld.global.nc.L1::no_allocate.v2.f32 {%f4, %f5}, [%a0];
        st.global.v4.f32 [%a1], {%f3, %f2, %f1, %f0};
        st.global.v2.f32 [%a1+24], {%f4, %f5};""",
        source,
        target,
    )
    assert target.tolist() == [7, 6, 5, 4, 0, 0, 0, 1]
    assert executed["ld.global.v4.f32"] == executed["st.global.v4.f32"] == 1
    assert memory.loaded == {source_address: 24}
    assert memory.stored == {target_address: 24}


def test_narrow_loads_are_extended():
    source, target = np.array([0xFE], np.uint8), np.zeros(2, np.uint32)
    launch("ld.global.u8 %r1, [%a0]; ld.global.s8 %r2, [%a0]; st.global.v2.u32 [%a1], {%r1, %r2};", source, target)
    assert target.tolist() == [0xFE, 0xFFFFFFFE]
    launch("mov.u32 %r1, 0x1234; st.global.u8 [%a0], %r1;", source)
    assert source == 0x34


@pytest.mark.parametrize("offset", [-1, 30, 32, 2**40, -(2**40)])
def test_out_of_bounds(offset):
    first, second = np.zeros(31, np.uint8), np.zeros(31, np.uint8)
    register = "u8 %r1" if offset == -1 else "u16 %r1"
    target, source = f"[%a1+{offset}]", register.split()[1]
    with pytest.raises(Fault, match="out of bounds"):
        launch(f"ld.global.{register}, {target};", first, second)
    with pytest.raises(Fault, match="out of bounds"):
        launch(f"mov.u32 %r1, 0; st.global.{register.split()[0]} {target}, {source};", first, second)


def test_null_is_out_of_bounds():
    with pytest.raises(Fault, match="out of bounds"):
        launch("mov.u64 %rd1, 0; ld.global.f32 %f1, [%rd1];", np.zeros(1))


@pytest.mark.parametrize(("misaligned", "size"), [(4, 16), (8, 16), (4, 8), (2, 4), (1, 2)])
def test_misaligned(misaligned, size):
    array = np.zeros(8, np.float32)
    register = {2: "b16 %rs1", 4: "f32 %f1", 8: "v2.f32 {%f1, %f2}", 16: "v4.f32 {%f1, %f2, %f3, %f4}"}[size]
    launch(f"ld.global.{register}, [%a0];", array, misaligned=size)
    with pytest.raises(Fault, match="misaligned"):
        launch(f"ld.global.{register}, [%a0];", array, misaligned=misaligned)


def test_read_only_arrays_stay_as_they_are():
    array = np.zeros(1)
    array.setflags(write=False)
    with pytest.raises(Fault, match="read-only"):
        launch("mov.f64 %fd1, 0d3FF8000000000000; st.global.f64 [%a0], %fd1;", array)


def test_what_was_never_written_is_not_read():
    with pytest.raises(Fault, match="%r1 before"):
        launch("add.s32 %r2, %r1, 1;")
    with pytest.raises(Fault, match="%r1 before"):  # in one of two threads
        launch("setp.eq.s32 %p1, %t, 0; @%p1 mov.u32 %r1, 0; mov.u32 %r2, %r1;", block=2)
    with pytest.raises(Fault, match="memory before"):
        launch("ld.shared.u32 %r1, [shared];", variables=".shared .align 4 .b8 shared[4];")


def test_registers_have_a_width():
    for code in ("mov.u64 %rd1, 0; mov.u64 %r1, %rd1;", "mov.u32 %r1, 0; mov.u64 %rd1, %r1;"):
        with pytest.raises(Fault, match="%r1 is too narrow"):
            launch(code)


def test_unknown_instructions_are_named_with_their_line():
    text = module("add.s32 %r1, %t, 1;\n\n call.uni foo, (%r1);")
    line = next(i for i, line in enumerate(text.split("\n"), start=1) if "call" in line)
    with pytest.raises(Fault, match=rf"line {line}, 'call.uni foo, \(%r1\)': an unknown instruction"):
        run(parse(text).kernel, 1, 1, [], Memory())
    with pytest.raises(Fault, match="unknown modifier, frozen"):
        launch("ld.global.frozen.f64 %fd1, [%a0];", np.zeros(1))


def test_initialised_variables():
    result = np.zeros(3, np.uint32)
    launch(
        """mov.u64 %rd1, table; ld.const.u32 %r1, [%rd1+4]; ld.const.u32 %r2, [table]; ld.global.u32 %r3, [other];
        st.global.u32 [%a0], %r1; st.global.u32 [%a0+4], %r2; st.global.u32 [%a0+8], %r3;""",
        result,
        variables=".const .align 4 .b8 table[8] = {1, 0, 0, 0, 2, 1};\n.global .align 4 .u32 other = 5;",
    )
    assert result.tolist() == [258, 1, 5]


def test_each_thread_has_its_local_memory():
    result = np.zeros(3, np.uint32)
    launch(
        """.local .align 8 .b8 depot[8];
        mov.u64 %rd1, depot; cvta.local.u64 %rd2, %rd1;
        st.local.u32 [%rd1+4], %t;
        ld.u32 %r1, [%rd2+4];
        mad.wide.u32 %rd3, %t, 4, %a0; st.global.u32 [%rd3], %r1;""",
        result,
        block=3,
    )
    assert result.tolist() == [0, 1, 2]


def test_parameters_of_all_types():
    text = module("", ["f32", "u32", "f64"]).replace("%a0", "%f0").replace("%a1", "%r1").replace("%a2", "%fd0")
    run(parse(text).kernel, 1, 1, [1.5, 7, 2.5], Memory())
    run(parse(text).kernel, 1, 1, [1.5, b"\x07\0\0\0", 2.5], Memory())
    with pytest.raises(ValueError, match="3 parameters, got 1"):
        run(parse(text).kernel, 1, 1, [1.5], Memory())
    with pytest.raises(ValueError, match=r"param_1 is uint32, got 7\.5"):
        run(parse(text).kernel, 1, 1, [1.5, 7.5, 2.5], Memory())


# ---- threads


def test_paths_part_and_meet():
    """The steps of the Collatz sequence, where each thread takes its own way for its own time."""
    start, steps = np.arange(1, 65, dtype=np.uint32), np.zeros(64, np.uint32)
    executed, *_ = launch(
        """mad.wide.u32 %rd1, %t, 4, %a0; ld.global.u32 %r1, [%rd1]; mov.u32 %r2, 0;
        $loop: setp.eq.u32 %p1, %r1, 1; @%p1 bra $end;
        add.u32 %r2, %r2, 1;
        and.b32 %r3, %r1, 1; setp.eq.u32 %p2, %r3, 0; @!%p2 bra $odd;
        shr.u32 %r1, %r1, 1; bra.uni $loop;
        $odd: mad.lo.u32 %r1, %r1, 3, 1; bra.uni $loop;
        $end: mad.wide.u32 %rd2, %t, 4, %a1; st.global.u32 [%rd2], %r2;""",
        start,
        steps,
        block=64,
    )

    def collatz(n):
        return 0 if n == 1 else 1 + collatz(n // 2 if n % 2 == 0 else 3 * n + 1)

    assert steps.tolist() == [collatz(int(n)) for n in start]
    assert executed["shr.u32"] + executed["mad.lo.u32"] == steps.sum()


def test_places_of_threads():
    result = np.zeros(2 * 3 * 4 * 5 * 6, np.uint32)
    names = [f"{name}.{axis}" for name in ("tid", "ctaid") for axis in "xyz"]
    lines = "\n".join(f"mov.u32 %r{i}, %{name};" for i, name in enumerate(names))
    text = module(
        lines
        + """mov.u32 %r6, %nctaid.x; mad.lo.u32 %r7, %r4, %r6, %r3; mov.u32 %r8, %ntid.z; mad.lo.u32 %r7, %r7, %r8, %r2;
        mov.u32 %r8, %ntid.y; mad.lo.u32 %r7, %r7, %r8, %r1; mov.u32 %r8, %ntid.x; mad.lo.u32 %r7, %r7, %r8, %r0;
        mad.wide.u32 %rd1, %r7, 4, %a0; st.global.u32 [%rd1], %r7;""",
        ["u64"],
    )
    memory = Memory()
    run(parse(text).kernel, (5, 6), (2, 3, 4), [memory.add(result)], memory)
    assert result.tolist() == list(range(result.size))


def test_no_end_is_a_fault(monkeypatch):
    monkeypatch.setattr(interpreter, "_MAX_STEPS", 100)
    with pytest.raises(Fault, match="no end"):
        launch("$loop: bra $loop;")


SHARED = ".shared .align 4 .b8 shared[256];"
WRITE = "mov.u64 %rd1, shared; mad.wide.u32 %rd2, %t, 4, %rd1; st.shared.u32 [%rd2], %t;"
READ_NEXT = "add.u32 %r1, %t, 1; and.b32 %r1, %r1, 63; mad.wide.u32 %rd3, %r1, 4, %rd1; ld.shared.u32 %r2, [%rd3];"
WRITE_RESULT = """mov.u32 %r3, %ntid.x; mad.lo.u32 %r3, %block, %r3, %t; mad.wide.u32 %rd4, %r3, 4, %a0;
    st.global.u32 [%rd4], %r2;"""


def test_blocks_share_memory_across_barriers():
    result = np.zeros(128, np.uint32)
    launch(WRITE + "bar.sync 0;" + READ_NEXT + WRITE_RESULT, result, block=64, grid=2, variables=SHARED)
    assert result.tolist() == 2 * [*range(1, 64), 0]


def test_races_in_shared_memory_are_found():
    with pytest.raises(Fault, match=r"st\.shared.*race.*ld\.shared"):
        launch(WRITE + READ_NEXT, block=64, variables=SHARED)
    with pytest.raises(Fault, match=r"st\.shared.*race.*ld\.shared"):  # written again while others still read
        launch(WRITE + "bar.sync 0;" + READ_NEXT + "st.shared.u32 [%rd2], %r2;", block=64, variables=SHARED)
    with pytest.raises(Fault, match=r"st\.shared.*race.*st\.shared"):
        launch("mov.u64 %rd1, shared; st.shared.u32 [%rd1], %t;", block=64, variables=SHARED)


def test_races_in_global_memory_are_found():
    array = np.zeros(64, np.uint32)
    launch("ld.global.u32 %r1, [%a0];", array, block=2, grid=2)  # only read
    with pytest.raises(Fault, match="race"):
        launch("st.global.u32 [%a0], %t;", array, block=2)
    with pytest.raises(Fault, match="race"):
        launch("st.global.u32 [%a0], %t;", array, grid=2)
    neighbour = """mad.wide.u32 %rd1, %block, 4, %a0; st.global.u32 [%rd1], %block;
        bar.sync 0; xor.b32 %r1, %block, 1; mad.wide.u32 %rd2, %r1, 4, %a0; ld.global.u32 %r2, [%rd2];"""
    with pytest.raises(Fault, match="race"):  # a barrier says nothing to another block
        launch(neighbour, array, grid=2)
    launch(neighbour.replace("%block", "%t"), array, block=2)


def test_barriers_that_not_all_threads_reach_are_found():
    with pytest.raises(Fault, match=r"bar\.sync 0.*never get here"):
        launch("setp.eq.u32 %p1, %t, 0; @%p1 bra $end; bar.sync 0; $end:", block=64)
    with pytest.raises(Fault, match=r"bar\.sync 0.*never get here"):
        launch("setp.eq.u32 %p1, %t, 0; @%p1 bra $other; bar.sync 0; ret; $other: bar.sync 0;", block=64)
    # A whole block may well leave.
    launch("setp.eq.u32 %p1, %block, 0; @%p1 bra $end; bar.sync 0; $end:", block=64, grid=2)


def test_barriers_that_are_not_known_are_found():
    for code in ("bar.sync 1;", "bar.sync 0, 32;", "bar.arrive 0, 64;"):
        with pytest.raises(Fault, match="unknown barrier"):
            launch(code, block=64)


@pytest.mark.parametrize(
    ("mode", "by", "limits", "expected", "inside"),
    [
        ("down", 16, 31, lambda i: i + 16 if i < 16 else i, lambda i: i < 16),
        ("up", 3, 0, lambda i: i - 3 if i >= 3 else i, lambda i: i >= 3),
        ("bfly", 5, 31, lambda i: i ^ 5, lambda i: True),
        ("idx", 7, 31, lambda i: 7, lambda i: True),
        ("down", 4, 0x181F, lambda i: i + 4 if i % 8 < 4 else i, lambda i: i % 8 < 4),  # in groups of eight
        ("idx", 2, 0x181F, lambda i: i // 8 * 8 + 2, lambda i: True),
    ],
)
def test_shuffles(mode, by, limits, expected, inside):
    result, flags = np.zeros(64, np.uint32), np.zeros(64, np.uint32)
    launch(
        f"""mov.u32 %r4, {by}; add.u32 %r1, %t, 100;
        shfl.sync.{mode}.b32 %r2|%p1, %r1, %r4, {limits}, -1; selp.u32 %r5, 1, 0, %p1;
        mad.wide.u32 %rd1, %t, 4, %a0; st.global.u32 [%rd1], %r2;
        mad.wide.u32 %rd2, %t, 4, %a1; st.global.u32 [%rd2], %r5;""",
        result,
        flags,
        block=64,
    )
    assert result.tolist() == [100 + warp + expected(i) for warp in (0, 32) for i in range(32)]
    assert flags.tolist() == 2 * [int(inside(i)) for i in range(32)]


def test_shuffles_wait_for_those_in_their_mask():
    part = "and.b32 %r1, %t, 1; setp.eq.u32 %p1, %r1, 0; @%p1 bra $end; {} $end:"
    launch(part.format("shfl.sync.bfly.b32 %r2, %t, 2, 31, 0xAAAAAAAA;"), block=64)
    for code, problem in (
        ("shfl.sync.bfly.b32 %r2, %t, 2, 31, -1;", "never get here"),
        ("shfl.sync.bfly.b32 %r2, %t, 1, 31, 0xAAAAAAAA;", "does not take part"),
        ("shfl.sync.bfly.b32 %r2, %t, 2, 31, 0x55555555;", "not in its own mask"),
    ):
        with pytest.raises(Fault, match=problem):
            launch(part.format(code), block=64)
    with pytest.raises(Fault, match="never get here"):  # half a warp
        launch("shfl.sync.bfly.b32 %r2, %t, 1, 31, -1;", block=48)


def test_votes():
    result = np.zeros(64, np.uint32)
    code = "setp.lt.u32 %p1, %t, 40; vote.sync.{}; mad.wide.u32 %rd1, %t, 4, %a0; st.global.u32 [%rd1], %r1;"
    launch(code.format("ballot.b32 %r1, %p1, -1"), result, block=64)
    assert result.tolist() == 32 * [2**32 - 1] + 32 * [255]
    launch(code.format("all.pred %p2, %p1, -1; selp.u32 %r1, 1, 0, %p2"), result, block=64)
    assert result.tolist() == 32 * [1] + 32 * [0]
    launch(code.format("any.pred %p2, %p1, -1; selp.u32 %r1, 1, 0, %p2"), result, block=64)
    assert result.tolist() == 64 * [1]


def test_atomics():
    total, old, largest = np.zeros(1, np.float32), np.zeros(64, np.float32), np.zeros(1, np.int32)
    launch(
        """cvt.rn.f32.u32 %f1, %t; atom.global.add.f32 %f2, [%a0], %f1; red.global.max.s32 [%a2], %t;
        mad.wide.u32 %rd1, %t, 4, %a1; st.global.f32 [%rd1], %f2;""",
        total,
        old,
        largest,
        block=64,
    )
    assert total == 64 * 63 / 2
    assert old.tolist() == [t * (t - 1) / 2 for t in range(64)]
    assert largest == 63
    counter, last = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    launch(
        """$again: atom.global.or.b32 %r1, [%a0], 0; add.u32 %r2, %r1, 3;
        atom.global.cas.b32 %r3, [%a0], %r1, %r2; setp.ne.u32 %p1, %r3, %r1; @%p1 bra $again;
        atom.global.exch.b32 %r4, [%a1], %t;""",
        counter,
        last,
        block=4,
        grid=2,
    )
    assert (counter, last) == (3 * 8, 3)


# ---- what Numba makes


@needs_cuda_compiler
class TestCompiledByNumba:
    @pytest.mark.parametrize("cc", [(8, 0), (9, 0)])
    def test_reduction_in_a_tree(self, cc):
        from numba import cuda, float64

        def sum_squares(x, out):
            shared = cuda.shared.array(64, float64)
            t = cuda.threadIdx.x
            total = 0.0
            for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
                total += np.float64(x[i]) * np.float64(x[i])
            shared[t] = total
            cuda.syncthreads()
            half = 32
            while half > 0:
                if t < half:
                    shared[t] += shared[t + half]
                cuda.syncthreads()
                half //= 2
            if t == 0:
                out[cuda.blockIdx.x] = shared[0]

        kernel = parse(to_ptx(sum_squares, types.float32[::1], types.float64[::1], cc=cc)).kernel
        for size in (0, 1, 3, 1027):
            x, out = np.random.default_rng(size).random(size, np.float32), np.zeros(3)
            memory = Memory()
            address = memory.add(x)
            run(kernel, 3, 64, array_args(x, address) + array_args(out, memory.add(out)), memory)
            np.testing.assert_allclose(out.sum(), (x.astype(float) ** 2).sum(), rtol=1e-14)
            assert memory.loaded[address] == x.nbytes

    def test_missing_barrier_is_found(self):
        from numba import cuda, float32

        def reverse(x):
            shared = cuda.shared.array(64, float32)
            t = cuda.threadIdx.x
            shared[t] = x[t]
            x[t] = shared[63 - t]

        kernel = parse(to_ptx(reverse, types.float32[::1])).kernel
        x, memory = np.arange(64, dtype=np.float32), Memory()
        with pytest.raises(Fault, match="race"):
            run(kernel, 1, 64, array_args(x, memory.add(x)), memory)

    def test_sum_of_a_warp(self):
        from numba import cuda

        def warp_sums(x, out):
            i = cuda.grid(1)
            value = x[i]
            for offset in (16, 8, 4, 2, 1):
                value += cuda.shfl_down_sync(0xFFFFFFFF, value, offset)
            if cuda.laneid == 0:
                cuda.atomic.add(out, 0, value)
            if cuda.all_sync(0xFFFFFFFF, x[i] > 0):
                out[1 + i] = value

        for dtype, numba_type in ((np.float32, types.float32), (np.float64, types.float64)):
            kernel = parse(to_ptx(warp_sums, numba_type[::1], numba_type[::1])).kernel
            x, out, memory = np.arange(128, dtype=dtype), np.zeros(129, dtype), Memory()
            run(kernel, 2, 64, array_args(x, memory.add(x)) + array_args(out, memory.add(out)), memory)
            assert out[0] == x.sum()
            assert (out[1:33] == 0).all()
            assert (out[33::32] == x.reshape(4, 32).sum(axis=1)[1:]).all()

    def test_arithmetic_of_all_kinds(self):
        from numba import cuda

        def calculations(a, b, x, y, integers, floats):
            i = cuda.grid(1)
            if i < a.size:
                integers[i, 0] = a[i] // b[i]
                integers[i, 1] = a[i] % b[i]
                integers[i, 2] = a[i] // 7
                integers[i, 3] = math.floor(x[i])
                integers[i, 4] = int(x[i])
                integers[i, 5] = max(a[i] >> 3, min(b[i], a[i] ^ b[i]))
                floats[i, 0] = math.sqrt(abs(x[i])) / y[i]
                floats[i, 1] = max(x[i], y[i])
                floats[i, 2] = math.copysign(x[i], y[i])
                floats[i, 3] = 1.0 if math.isnan(y[i]) else 0.0

        generator = np.random.default_rng(2)
        a, b = generator.integers(-(2**40), 2**40, (2, 200))
        b[:50] %= 1000
        b[b == 0] = 1
        x = (generator.standard_normal(200) * 100).astype(np.float32)
        y = generator.standard_normal(200)
        integers, floats, memory = np.zeros((200, 6), np.int64), np.zeros((200, 4)), Memory()
        arrays = (a, b, x, y, integers, floats)
        signature = (
            *2 * [types.int64[::1]],
            types.float32[::1],
            types.float64[::1],
            types.int64[:, ::1],
            types.float64[:, ::1],
        )
        kernel = parse(to_ptx(calculations, *signature)).kernel
        args = [value for array in arrays for value in array_args(array, memory.add(array))]
        run(kernel, 4, 64, args, memory)
        expected = [a // b, a % b, a // 7, np.floor(x), np.trunc(x), np.maximum(a >> 3, np.minimum(b, a ^ b))]
        np.testing.assert_array_equal(integers, np.stack(expected, axis=1).astype(np.int64))
        expected = [np.sqrt(np.abs(x)) / y, np.maximum(x, y), np.copysign(x, y), np.zeros(200)]
        np.testing.assert_array_equal(floats, np.stack(expected, axis=1))

    def test_local_and_constant_arrays(self):
        from numba import cuda, float32

        table = np.array([3, 1, 2, 0])

        def permute(x):
            constant = cuda.const.array_like(table)
            local = cuda.local.array(4, float32)
            i = 4 * cuda.grid(1)
            for k in range(4):
                local[constant[k]] = x[i + k]
            for k in range(4):
                x[i + k] = local[constant[(k + 1) % 4] & 3]

        kernel = parse(to_ptx(permute, types.float32[::1])).kernel
        x, memory = np.arange(16, dtype=np.float32), Memory()
        run(kernel, 1, 4, array_args(x, memory.add(x)), memory)
        expected = np.empty((4, 4), np.float32)
        expected[:, table] = np.arange(16).reshape(4, 4)
        np.testing.assert_array_equal(x.reshape(4, 4), expected[:, np.roll(table, -1)])
