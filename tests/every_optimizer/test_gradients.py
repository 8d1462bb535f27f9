"""However gradients are given, the same numbers give the same bits, and every change of them is seen."""

import itertools

import numpy as np
import pytest
from cases.optimizers import CASES, DTYPES

import numbopt
from numbopt import Parameter

CLASSES = sorted({case.cls for case in CASES})
SHAPES = ((3, 4), (5,), (), (0,), (2, 3, 2), (1,))
NAMES = ("matrix", "vector", "number", "nothing", "cube", "one")
STEPS = 4


def values(step, dtype):
    """Multiples of 1/8 with few bits, which every floating-point type holds exactly."""
    random = np.random.default_rng(step)
    arrays = []
    for shape in SHAPES:
        value = random.integers(-32, 32, shape) / 8
        if np.dtype(dtype).kind == "c":
            value = value + 1j * random.integers(-32, 32, shape) / 8
        arrays.append(np.asarray(value).astype(dtype))
    return arrays


def start(dtype):
    return [
        np.asarray(array + 0.3, dtype=dtype, order="F" if i % 2 else "C") for i, array in enumerate(values(0, dtype))
    ]


class Run:
    """An optimizer over named parameters, or over named plain arrays, of all shapes."""

    def __init__(self, dtype="float64", cls="Adam", arrays=False, **options):
        data = start(dtype)
        self.params = data if arrays else [Parameter(array) for array in data]
        self.dtype = dtype
        self.optimizer = getattr(numbopt, cls)(dict(zip(NAMES, self.params, strict=True)), **{"lr": 0.1, **options})

    def bits(self):
        states = [self.optimizer.state.get(p, {}) for p in self.params]
        return [np.asarray(p).tobytes("A") for p in self.params], [
            {key: value.tobytes("A") if isinstance(value, np.ndarray) else value for key, value in state.items()}
            for state in states
        ]


def take_grad(run, grads):
    for parameter, gradient in zip(run.params, grads, strict=True):
        parameter.grad = gradient
    run.optimizer.step()


def take_added(run, grads):
    run.optimizer.zero_grad()
    for parameter, gradient in zip(run.params, grads, strict=True):
        parameter.grad += gradient
    run.optimizer.step()


def take_added_by_halves(run, grads):
    run.optimizer.zero_grad()
    for _, parameter_and_gradient in itertools.product(range(2), zip(run.params, grads, strict=True)):
        parameter, gradient = parameter_and_gradient
        parameter.grad += gradient / 2
    run.optimizer.step()


def take_written_into(run, grads):
    run.optimizer.zero_grad()
    for parameter, gradient in zip(run.params, grads, strict=True):
        parameter.grad[...] = gradient
    run.optimizer.step()


def take_kept_arrays(run, grads):
    """Write into gradients that were fetched once."""
    if not hasattr(run, "kept"):
        run.optimizer.zero_grad()
        run.kept = [parameter.grad for parameter in run.params]
    for kept, gradient in zip(run.kept, grads, strict=True):
        np.copyto(kept, gradient)
    run.optimizer.step()


def take_after_none(run, grads):
    run.optimizer.zero_grad(set_to_none=True)
    take_grad(run, grads)


def take_filled_by_closure(run, grads):
    def closure():
        for parameter, gradient in zip(run.params, grads, strict=True):
            parameter.grad = gradient
        return 1.5

    assert run.optimizer.step(closure) == 1.5


def take_cleared_and_filled_by_closure(run, grads):
    def closure():
        run.optimizer.zero_grad()
        for parameter, gradient in zip(run.params, grads, strict=True):
            parameter.grad += gradient
        return 1.5

    assert run.optimizer.step(closure) == 1.5


def take_pair(run, grads):
    assert run.optimizer.step(lambda: (1.5, grads)) == 1.5


def take_pair_by_name(run, grads):
    assert run.optimizer.step(lambda: (1.5, dict(zip(NAMES, grads, strict=True)))) == 1.5


def take_closure_beside_grads(run, grads):
    assert run.optimizer.step(lambda: 1.5, grads=grads) == 1.5


def take_list(run, grads):
    assert run.optimizer.step(grads=grads) is None


def take_tuple(run, grads):
    run.optimizer.step(grads=tuple(grads))


def take_dict(run, grads):
    run.optimizer.step(grads=dict(zip(NAMES, grads, strict=True)))


def take_shuffled_dict(run, grads):
    run.optimizer.step(grads=dict(reversed(list(zip(NAMES, grads, strict=True)))))


def take_parameters(run, grads):
    run.optimizer.step(grads=[Parameter(gradient) for gradient in grads])


WAYS_FOR_PARAMETERS = [
    take_grad,
    take_added,
    take_added_by_halves,
    take_written_into,
    take_kept_arrays,
    take_after_none,
    take_filled_by_closure,
    take_cleared_and_filled_by_closure,
]
WAYS_FOR_ALL = [
    take_pair,
    take_pair_by_name,
    take_closure_beside_grads,
    take_list,
    take_tuple,
    take_dict,
    take_shuffled_dict,
    take_parameters,
]
WAYS = WAYS_FOR_PARAMETERS + WAYS_FOR_ALL


def name_of(way):
    return way.__name__.removeprefix("take_")


def expected_bits(dtype, cls="Adam", **options):
    run = Run(dtype, cls, **options)
    for step in range(1, STEPS + 1):
        take_grad(run, values(step, dtype))
        yield run.bits()


# ---- all ways agree


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_all_ways_to_give_gradients_agree(way, dtype):
    for arrays in (False, True) if way in WAYS_FOR_ALL else (False,):
        run = Run(dtype, arrays=arrays)
        for step, bits in enumerate(expected_bits(dtype), start=1):
            way(run, values(step, dtype))
            assert run.bits() == bits


@pytest.mark.parametrize("cls", CLASSES)
def test_ways_may_change_from_step_to_step(cls):
    sequence = [way for pair in itertools.product(WAYS, repeat=2) for way in pair]
    one, other = Run(cls=cls), Run(cls=cls)
    for step, way in enumerate(sequence[:: 1 if cls == "Adam" else 7]):
        way(one, values(step, "float64"))
        take_grad(other, values(step, "float64"))
        assert one.bits() == other.bits(), way


def _fortran(array):
    return np.asarray(array, order="F")


def _backwards(array):
    return np.flip(np.flip(array).copy())


def _every_second(array):
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _misaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    result = memory.view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


class Subclass(np.ndarray):
    pass


class Arraylike:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype, copy=copy)


FORMS = {
    "as it is": np.asarray,
    "Fortran order": _fortran,
    "in the order of the parameter": lambda array: array.copy(order="K"),
    "backwards in memory": _backwards,
    "every second in memory": _every_second,
    "read-only": _read_only,
    "misaligned": _misaligned,
    "other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "more digits": lambda array: array.astype(np.result_type(array.dtype, np.float64)),
    "most digits": lambda array: array.astype(np.result_type(array.dtype, np.longdouble)),
    "fewer digits": lambda array: array.astype(np.complex64 if array.dtype.kind == "c" else np.float32),
    "lists": lambda array: array.tolist(),
    "a subclass": lambda array: array.view(Subclass),
    "something like an array": Arraylike,
    "a memoryview": lambda array: memoryview(array.copy()),
}
REAL_FORMS = {
    "float16": lambda array: array.astype(np.float16),
    "integers": lambda array: (array * 8).astype(np.int64),
    "small integers": lambda array: (array * 8).astype(np.int8),
    "lists of integers": lambda array: (array * 8).astype(np.int64).tolist(),
    "bools": lambda array: array > 0,
    "scalars of NumPy": lambda array: array[()] if array.ndim == 0 else array,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_numbers_gives_the_same_bits(form, dtype):
    if form == "a memoryview" and np.dtype(dtype).kind == "c":
        pytest.skip("memoryviews of complex numbers cannot be of several dimensions")
    for way in (take_list, take_grad, take_pair_by_name):
        run = Run(dtype)
        for step, bits in enumerate(expected_bits(dtype), start=1):
            way(run, [FORMS[form](array) for array in values(step, dtype)])
            assert run.bits() == bits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", REAL_FORMS)
def test_real_numbers_of_other_types_are_converted(form, dtype):
    for way in (take_list, take_grad, take_dict):
        run, other = Run(dtype), Run(dtype)
        for step in range(1, STEPS + 1):
            grads = [REAL_FORMS[form](array) for array in values(step, "float64")]
            way(run, grads)
            take_grad(
                other, [np.array(gradient).astype(dtype).reshape(s) for gradient, s in zip(grads, SHAPES, strict=True)]
            )
            assert run.bits() == other.bits()


# ---- one parameter


def after_one_step(x, grads):
    numbopt.SGD([x], lr=0.5).step(grads=grads)
    return np.array(x)


@pytest.mark.parametrize("make", [np.array, Parameter], ids=["array", "Parameter"])
def test_one_array_for_one_parameter(make):
    for grads in (
        np.ones(3),
        [np.ones(3)],
        (np.ones(3),),
        [[1, 1, 1]],
        [1, 1, 1],
        (1.0, 1.0, 1.0),
        Parameter(np.ones(3)),
    ):
        np.testing.assert_array_equal(after_one_step(make([1.0, 2.0, 3.0]), grads), [0.5, 1.5, 2.5], strict=True)
    for grads in (np.ones((2, 2)), [np.ones((2, 2))], [[[1, 1], [1, 1]]]):
        np.testing.assert_array_equal(after_one_step(make(np.ones((2, 2))), grads), np.full((2, 2), 0.5), strict=True)


@pytest.mark.parametrize("make", [np.array, Parameter], ids=["array", "Parameter"])
def test_scalars_for_0d_parameters(make):
    for number in (1, 1.0, True, np.float32(1), np.int8(1), np.ones(())):
        for grads in (number, [number], (number,)):
            np.testing.assert_array_equal(after_one_step(make(2.0), grads), np.array(1.5), strict=True)
    x, y = make(2.0), make(3.0)
    optimizer = numbopt.SGD([("x", x), ("y", y)], lr=0.5)
    optimizer.step(grads=[1, 2.0])
    optimizer.step(grads=(1.0, None))
    optimizer.step(grads={"y": 2})
    optimizer.step(lambda: (0.0, [np.float32(1), np.ones(())]))
    assert float(np.asarray(x)) == 0.5
    assert float(np.asarray(y)) == 0.5


def test_a_number_in_a_list_for_one_element():
    for grads in ([1.0], [[1.0]], np.ones(1), [np.ones(1)]):
        np.testing.assert_array_equal(after_one_step(np.ones(1), grads), [0.5])


def test_scalars_as_the_gradient_of_a_0d_parameter():
    p = Parameter(2.0)
    optimizer = numbopt.SGD([p], lr=0.5)
    for number in (1, 1.0, np.float32(1), np.ones(())):
        p.grad = number
        assert isinstance(p.grad, np.ndarray)
        optimizer.step()
    p.grad += 1
    optimizer.step()
    assert float(p) == -1.0


# ---- gradients that change


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"], ids=["read in place", "converted", "integers"])
def test_arrays_modified_in_place_between_steps_are_seen(dtype):
    x, g = np.zeros(4), np.zeros(4, dtype)
    optimizer = numbopt.SGD([x, np.zeros(2)], lr=1.0)
    grads = [g, None]
    expected = np.zeros(4)
    for step in range(1, 6):
        g[...] = step
        g[step % 4] = -step
        expected -= g
        optimizer.step(grads=grads)
        np.testing.assert_array_equal(x, expected)


def test_lists_modified_in_place_are_seen():
    x, g = np.zeros(2), [0.0, 0.0]
    optimizer = numbopt.SGD([x], lr=1.0)
    grads = [g]
    for step in (1.0, 2.0):
        g[1] = step
        optimizer.step(grads=grads)
    grads[0] = np.array([5.0, 5.0])
    optimizer.step(grads=grads)
    np.testing.assert_array_equal(x, [-5.0, -8.0])


def test_fresh_arrays_at_every_step_are_seen():
    x, y = np.zeros(3), np.zeros(300)
    optimizer = numbopt.SGD([x, y], lr=1.0)
    total = 0
    for step in range(1, 101):  # freed memory is used again and again
        optimizer.step(grads=[np.full(3, float(step)), np.full(300, -float(step))])
        total += step
        assert (x == -total).all() and (y == total).all()


def test_given_arrays_live_as_long_as_they_are_used():
    x = np.zeros(1000)
    optimizer = numbopt.SGD([x], lr=1.0)
    grads = [np.ones(1000)]
    optimizer.step(grads=grads)
    grads[0] = None
    garbage = [np.full(1000, 7.0) for _ in range(10)]
    optimizer.step(grads=grads)
    np.testing.assert_array_equal(x, np.full(1000, -1.0))
    del garbage


def test_arrays_may_change_places():
    x, y = np.zeros(3), np.zeros(3)
    optimizer = numbopt.SGD([x, y], lr=1.0)
    one, two = np.full(3, 1.0), np.full(3, 2.0)
    optimizer.step(grads=[one, two])
    optimizer.step(grads=[two, one])
    optimizer.step(grads=[one, one])
    np.testing.assert_array_equal([x, y], [np.full(3, -4.0), np.full(3, -4.0)])
    np.testing.assert_array_equal([one, two], [np.full(3, 1.0), np.full(3, 2.0)])


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_gradients_are_only_read(way):
    for cls in CLASSES:
        run = Run(cls=cls, **({"weight_decay": 0.1} if "weight_decay" in getattr(numbopt, cls).options else {}))
        grads = values(1, "float64")
        for _ in range(2):
            way(run, grads)
        for gradient, expected in zip(grads, values(1, "float64"), strict=True):
            np.testing.assert_array_equal(gradient, expected, strict=True)


def test_assigning_copies_and_the_memory_stays():
    p, g = Parameter(np.zeros(3)), np.ones(3)
    p.grad = g
    memory = p.grad
    g[...] = 5
    np.testing.assert_array_equal(p.grad, np.ones(3))
    p.grad = np.full(3, 2.0)
    p.grad += 1
    assert p.grad is memory
    p.grad = None
    p.grad = np.full(3, 4.0)
    assert p.grad is memory
    np.testing.assert_array_equal(memory, np.full(3, 4.0))


def test_switching_between_own_and_given_gradients():
    p = Parameter(np.zeros(3))
    optimizer = numbopt.SGD([p], lr=1.0)
    p.grad = np.ones(3)
    given = np.full(3, 10.0)
    for _ in range(3):
        optimizer.step()
        optimizer.step(grads=given)
        optimizer.step(grads=[given])
        optimizer.step(grads=[given.tolist()])
        optimizer.step(lambda: 0.0)
        optimizer.step(lambda: (0.0, None))
    np.testing.assert_array_equal(p.data, np.full(3, -99.0))
    np.testing.assert_array_equal(p.grad, np.ones(3))
    p.grad = None
    optimizer.step(grads=given)
    optimizer.step()  # nothing to do
    assert p.grad is None
    np.testing.assert_array_equal(p.data, np.full(3, -109.0))


# ---- gradients that are missing


@pytest.mark.parametrize("cls", CLASSES)
def test_none_skips_a_parameter_however_it_is_said(cls):
    ways = (take_grad, take_list, take_tuple, take_dict, take_pair, take_after_none, take_filled_by_closure)
    patterns = list(itertools.product([True, False], repeat=len(SHAPES)))[:: 5 if cls != "Adam" else 1]
    runs = [Run(cls=cls) for _ in ways]
    missing_names = Run(cls=cls)
    for step, pattern in enumerate(patterns):
        grads = [g if there else None for g, there in zip(values(step, "float64"), pattern, strict=True)]
        for run, way in zip(runs, ways, strict=True):
            way(run, grads)
        there = {name: gradient for name, gradient in zip(NAMES, grads, strict=True) if gradient is not None}
        missing_names.optimizer.step(grads=there)
        for run in (*runs, missing_names):
            assert run.bits() == runs[0].bits()


def test_steps_without_any_gradient_do_nothing():
    run = Run(arrays=True)
    before = run.bits()
    for grads in ([None] * len(SHAPES), (None,) * len(SHAPES), {}, None):
        run.optimizer.step(grads=grads)
    run.optimizer.step(lambda: (1.0, {}))
    assert run.bits() == before
    x = np.ones(3)
    numbopt.SGD([x], lr=1.0).step(grads=[None])
    np.testing.assert_array_equal(x, np.ones(3))


# ---- zero_grad


def test_zero_grad_gives_zeros():
    parameters = [Parameter(array) for dtype in DTYPES for array in start(dtype)]
    optimizer = numbopt.SGD(parameters, lr=1.0)
    assert all(parameter.grad is None for parameter in parameters)
    for _ in range(2):
        optimizer.zero_grad()
        for parameter in parameters:
            assert parameter.grad.shape == parameter.shape
            assert parameter.grad.dtype == parameter.dtype
            assert parameter.grad.strides == parameter.data.strides or not parameter.size
            assert not parameter.grad.any()
            parameter.grad += 1
    memory = [parameter.grad for parameter in parameters]
    for parameter in parameters[::2]:
        parameter.grad = None
    optimizer.zero_grad()
    for parameter, array in zip(parameters, memory, strict=True):
        assert parameter.grad is array
        assert not array.any()


def test_zero_grad_reaches_parameters_that_were_added():
    first, second = Parameter(np.ones(3)), Parameter(np.ones(3))
    first.grad, second.grad = np.ones(3), np.ones(3)
    optimizer = numbopt.SGD([first])
    optimizer.zero_grad()
    optimizer.add_param_group({"params": [second]})
    optimizer.zero_grad()
    assert not second.grad.any()


def test_zero_grad_clears_what_is_not_finite():
    p = Parameter(np.zeros(3))
    p.grad = [np.nan, np.inf, -0.0]
    numbopt.SGD([p]).zero_grad()
    assert p.grad.tobytes() == np.zeros(3).tobytes()


def test_zero_grad_to_none():
    p, q = Parameter(np.ones(3)), Parameter(np.ones(2))
    optimizer = numbopt.SGD([p, q], lr=1.0, weight_decay=0.5)
    p.grad = np.ones(3)
    optimizer.zero_grad(set_to_none=True)
    assert p.grad is None and q.grad is None
    optimizer.step()
    np.testing.assert_array_equal(p.data, np.ones(3))
    p.grad = np.zeros(3)
    optimizer.step()
    np.testing.assert_array_equal(p.data, np.full(3, 0.5))
    np.testing.assert_array_equal(q.data, np.ones(2))


def test_zeros_are_not_none():
    """Zeros decay and count as a step."""
    p, q = Parameter(np.ones(3)), Parameter(np.ones(3))
    optimizer = numbopt.Adam([p, q], lr=0.1, weight_decay=0.1)
    q.grad = np.ones(3)
    optimizer.zero_grad()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    optimizer.step()
    p.grad = np.zeros(3)
    optimizer.step()
    assert optimizer.state[p]["step"] == 2
    assert optimizer.state[q]["step"] == 1


def test_zero_grad_of_plain_arrays_changes_no_array():
    x = np.ones(3)
    optimizer = numbopt.SGD([x], lr=1.0)
    optimizer.zero_grad()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    np.testing.assert_array_equal(x, np.ones(3))


# ---- several optimizers


def test_optimizers_that_take_turns_with_the_same_parameters():
    p, q, r = (Parameter(np.zeros(2)) for _ in range(3))
    left, right = numbopt.SGD([p, q], lr=1.0), numbopt.SGD([q, r], lr=10.0)
    for _ in range(2):
        left.zero_grad()
        p.grad += 1
        q.grad += 1
        left.step()
        right.zero_grad(set_to_none=True)
        r.grad = np.ones(2)
        right.step()
        left.step()  # q has no gradient, p still has
    np.testing.assert_array_equal([p.data[0], q.data[0], r.data[0]], [-4, -2, -20])


def test_alternating_groups():
    """Two optimizers of which each clears and steps its half, as adversarial networks do."""
    parameters = [Parameter(np.zeros(i + 1)) for i in range(10)]
    even, odd = (numbopt.Adam(parameters[i::2], lr=0.1) for i in range(2))
    references = [numbopt.Adam([np.zeros(i + 1)], lr=0.1) for i in range(10)]
    for step in range(6):
        for half, optimizer in enumerate((even, odd)):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            for i in range(10):  # gradients flow into all, as one loss has it
                parameters[i].grad = np.full(i + 1, float(step + 1))
            optimizer.step()
            for i in range(half, 10, 2):
                references[i].step(grads=[np.full(i + 1, float(step + 1))])
    for parameter, reference in zip(parameters, references, strict=True):
        (expected,) = reference.param_groups[0]["params"]
        assert parameter.data.tobytes() == expected.data.tobytes()


def test_arrays_that_two_optimizers_share():
    x = np.zeros(3)
    slow, fast = numbopt.SGD([x], lr=1.0), numbopt.SGD([x], lr=10.0)
    for _ in range(2):
        slow.step(grads=[np.ones(3)])
        fast.step(grads=[np.ones(3)])
    np.testing.assert_array_equal(x, np.full(3, -22.0))


# ---- a gradient that is the parameter itself


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cls", CLASSES)
def test_the_parameter_itself_as_its_gradient(cls, dtype, order):
    """The gradient of half the squared norm."""
    size = 50
    x = np.asarray(np.random.default_rng(5).standard_normal((size, 3)), dtype, order=order)
    y = x.copy(order=order)
    one, other = (getattr(numbopt, cls)([array], lr=0.1) for array in (x, y))
    for grads in (x, [x], [x[:]], (x[...],)):
        copied = y.copy(order=order)
        one.step(grads=grads)
        other.step(grads=[copied])
        assert x.tobytes("A") == y.tobytes("A")


def test_the_data_of_a_parameter_as_its_gradient():
    p, q = Parameter(np.arange(5.0)), Parameter(np.arange(5.0))
    one, other = (numbopt.Adam([parameter], lr=0.1) for parameter in (p, q))
    for grads in (p.data, [p.data], p, [p]):
        one.step(grads=grads)
        other.step(grads=[q.data.copy()])
    p.grad = p
    q.grad = q.data
    one.step()
    other.step()
    assert p.data.tobytes() == q.data.tobytes()


def test_a_part_of_the_parameter_elsewhere_in_memory_as_its_gradient():
    square = np.arange(9.0).reshape(3, 3)
    expected = square - square.T / 2
    numbopt.SGD([square], lr=0.5).step(grads=[square.T])
    np.testing.assert_array_equal(square, expected)
    x = np.arange(5.0)
    numbopt.SGD([x], lr=0.5).step(grads=[x[::-1]])
    np.testing.assert_array_equal(x, np.arange(5.0) - np.arange(5.0)[::-1] / 2)


def test_gradients_of_a_pack_are_one_vector():
    data, grad, (w, b) = numbopt.pack({"w": np.ones((2, 2)), "b": np.ones(2)})
    optimizer = numbopt.SGD([w, b], lr=0.5)
    grad[...] = 1
    optimizer.step()
    w.grad = np.full((2, 2), 2.0)
    optimizer.step()
    np.testing.assert_array_equal(data, [-0.5] * 4 + [0.0] * 2)
    optimizer.zero_grad()
    np.testing.assert_array_equal(grad, np.zeros(6))
    optimizer.zero_grad(set_to_none=True)
    grad[...] = 1
    optimizer.step()  # they are None
    np.testing.assert_array_equal(data, [-0.5] * 4 + [0.0] * 2)
    b.grad = np.ones(2)
    optimizer.step()
    np.testing.assert_array_equal(data, [-0.5] * 6)
    whole = numbopt.SGD([data], lr=0.5)
    whole.step(grads=grad)
    np.testing.assert_array_equal(data, [-1.0] * 6)
