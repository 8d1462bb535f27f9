"""Parameter and pack: whose memory it is, what a gradient may be, and how a Parameter acts as an array."""

import copy
import math
import pickle
import weakref

import numpy as np
import pytest

import numbopt
from numbopt import Parameter

DTYPES = ("float32", "float64", "complex64", "complex128")
for_every_dtype = pytest.mark.parametrize("dtype", DTYPES)

VALUES = np.arange(24.0).reshape(2, 3, 4)
LAYOUTS = {
    "C": VALUES,
    "Fortran": np.asfortranarray(VALUES),
    "permuted": VALUES.transpose(1, 2, 0),
    "permuted otherwise": VALUES.transpose(1, 0, 2),
    "vector": VALUES.ravel(),
    "axes of one element": VALUES.reshape(1, 24, 1),
    "0-d": np.array(3.0),
    "one element": np.array([[3.0]]),
    "empty": np.zeros((0,)),
    "empty with axes": np.zeros((3, 0, 2)),
}
for_every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def laid_out(layout, dtype):
    """A new array of the layout; the values are complex where the dtype is."""
    values = LAYOUTS[layout].astype(dtype, order="K")
    if values.dtype.kind == "c":
        values *= 1 + 2j
    return values


# ---- making one


@for_every_dtype
@for_every_layout
def test_owns_a_copy_of_its_data(layout, dtype):
    array = laid_out(layout, dtype)
    p = Parameter(array)
    assert type(p.data) is np.ndarray
    assert np.array_equal(p.data, array)
    assert not np.shares_memory(p.data, array)
    assert p.data.flags.writeable
    assert p.data.strides == array.strides or array.size == 0
    assert (p.shape, p.dtype, p.size, p.ndim) == (array.shape, array.dtype, array.size, array.ndim)
    assert len({type(p.shape), type(p.size), type(p.ndim)} - {tuple, int}) == 0
    assert p.grad is None
    assert p.name is None


@for_every_dtype
@for_every_layout
def test_plain_arrays_are_updated_in_place_in_any_order_of_axes(layout, dtype):
    array = laid_out(layout, dtype)
    gradient = np.arange(array.size, dtype=dtype).reshape(array.shape)  # in C order, whatever the array's is
    expected = array - array.dtype.type(0.5) * gradient
    optimizer = numbopt.SGD([array], lr=0.5)
    (p,) = optimizer.param_groups[0]["params"]
    assert p.data is array
    optimizer.step(grads=[gradient])
    assert np.array_equal(array, expected)
    p.grad = gradient
    assert p.grad.strides == array.strides or array.size == 0
    optimizer.step()
    assert np.array_equal(array, expected - array.dtype.type(0.5) * gradient)


def test_strided_data_is_copied_without_the_gaps():
    wide = np.arange(40.0).reshape(4, 10)
    for strided in (wide[:, ::3], wide[::2], wide[:, 4], wide.T[::3], np.broadcast_to(1.5, (2, 3)), wide[::-1]):
        p = Parameter(strided)
        assert np.array_equal(p.data, strided)
        assert p.data.nbytes == strided.size * 8
        p.grad = strided
        numbopt.SGD([p], lr=1.0).step()
        assert np.all(p.data == 0)
    assert wide[0, 3] == 3


def test_strided_arrays_are_refused_clearly():
    wide = np.zeros((4, 10))
    for strided in (wide[:, ::3], wide[::2], wide[:, 4], wide[::-1]):
        with pytest.raises(ValueError, match=r"strided .*ascontiguousarray"):
            numbopt.SGD([("w", strided)])


@pytest.mark.parametrize("data", [2.5, [1.0, 2.0], ((1.0,), (2.0,)), [1 + 2j], Parameter([4.0, 5.0])], ids=repr)
def test_takes_what_numpy_makes_an_array_of(data):
    p = Parameter(data)
    assert np.array_equal(p.data, np.asarray(data))
    assert p.dtype in (np.float64, np.complex128)


def test_subclasses_and_read_only_arrays_are_copied_to_plain_ones():
    fixed = np.ones(3)
    fixed.flags.writeable = False
    for data in (fixed, np.ones(3).view(np.recarray), np.float32(2)):
        p = Parameter(data)
        assert type(p.data) is np.ndarray
        assert p.data.flags.writeable


@pytest.mark.parametrize(
    "data",
    [
        1,
        [1, 2],
        [True],
        ["a"],
        [None],
        None,
        {"a": 1.0},
        np.ones(2, "float16"),
        np.ones(2, "longdouble"),
        np.ones(2, ">f8"),
        np.ones(2, [("x", "f8")]),
        np.ones(2, "datetime64[s]"),
        np.ma.ones(2),
    ],
    ids=repr,
)
def test_data_of_other_types_is_refused(data):
    with pytest.raises(TypeError, match="parameter 'w'"):
        Parameter(data, name="w")


def test_name_is_a_string():
    assert Parameter([1.0], name="w").name == "w"
    for name in (1, b"w", ["w"]):
        with pytest.raises(TypeError, match="name must be a string"):
            Parameter([1.0], name=name)


def test_has_no_other_attributes():
    p = Parameter([1.0])
    for attribute in ("gard", "shape", "dtype", "T"):
        with pytest.raises(AttributeError):
            setattr(p, attribute, 1)
    with pytest.raises(AttributeError):
        _ = p.no_such_attribute
    assert not hasattr(p, "__cuda_array_interface__")
    assert weakref.ref(p)() is p


# ---- data


def test_assigning_data_copies_into_the_array():
    p = Parameter([1.0, 2.0])
    data = p.data
    mine = np.array([3.0, 4.0])
    p.data = mine
    assert p.data is data
    assert data.tolist() == [3.0, 4.0]
    mine[:] = 0
    assert data.tolist() == [3.0, 4.0]
    p.data = [5, 6]
    p.data += 1
    p.data = p.data
    assert p.data is data
    assert data.tolist() == [6.0, 7.0]
    p.data = p.data[::-1]
    assert data.tolist() == [7.0, 6.0]
    p[...] = 0
    p[1] = 2
    assert data.tolist() == [0.0, 2.0]


def test_data_that_does_not_fit_is_refused():
    p = Parameter([1.0, 2.0], name="w")
    for error, value in (
        (ValueError, 1.0),
        (ValueError, [1.0]),
        (ValueError, [[1.0, 2.0]]),
        (ValueError, [[1.0], [2.0, 3.0]]),
        (TypeError, [1j, 2j]),
        (TypeError, ["1", "2"]),
        (TypeError, None),
        (TypeError, np.ma.ones(2)),
    ):
        with pytest.raises(error, match="data of parameter 'w'"):
            p.data = value
    assert p.data.tolist() == [1.0, 2.0]


# ---- gradient


@for_every_dtype
@for_every_layout
def test_gradient_is_a_checked_copy_laid_out_like_the_data(layout, dtype):
    array = laid_out(layout, dtype)
    p = Parameter(array)
    p.grad = array
    first = p.grad
    assert type(first) is np.ndarray
    assert np.array_equal(first, array)
    assert (first.shape, first.dtype) == (array.shape, array.dtype)
    assert first.strides == p.data.strides or array.size == 0
    assert not np.shares_memory(first, array)
    assert not np.shares_memory(first, p.data)
    p.grad = 2 * array
    assert p.grad is first  # the memory stays the same
    assert np.array_equal(first, 2 * array)
    p.grad = None
    assert p.grad is None
    p.grad = array
    assert np.array_equal(p.grad, array)


@for_every_dtype
def test_gradient_of_a_0d_parameter_may_be_a_scalar(dtype):
    p = Parameter(np.array(1, dtype))
    for value in (2, 2.0, np.float32(2), np.float64(2), np.array(2.0), np.array(2, dtype)):
        p.grad = None
        p.grad = value
        assert isinstance(p.grad, np.ndarray)
        assert p.grad.shape == ()
        assert p.grad == 2
    p.grad += 1
    assert p.grad == 3
    for value in ([2.0], np.ones(1), np.ones((1, 1))):
        with pytest.raises(ValueError, match="shape"):
            p.grad = value
    assert p.grad == 3


def test_assigning_the_same_gradient_does_nothing():
    p = Parameter([1.0, 2.0])
    p.grad = None
    assert p.grad is None
    p.grad = [1.0, 2.0]
    grad = p.grad
    optimizer = numbopt.SGD([p], lr=1.0)
    optimizer.step()
    p.grad = p.grad
    p.grad += 1
    p.grad *= np.array([1, 2])
    p.grad[0] = -1
    assert p.grad is grad
    assert grad.tolist() == [-1.0, 6.0]
    optimizer.step()
    assert p.data.tolist() == [1.0, -6.0]
    # A view of itself is another object with the same memory.
    p.grad = p.grad[::-1]
    assert grad.tolist() == [6.0, -1.0]


def test_gradient_that_is_none_means_skip_me():
    p, q = Parameter([1.0]), Parameter([1.0])
    optimizer = numbopt.SGD([p, q], lr=1.0, weight_decay=1.0)
    q.grad = [0.0]
    optimizer.step()
    assert (p.data, q.data) == ([1.0], [0.0])


def test_gradients_of_other_real_types_are_converted():
    p = Parameter(np.zeros(2, "float32"))
    z = Parameter(np.zeros(2, "complex64"))
    for dtype in ("float16", "float32", "float64", "longdouble", ">f8", "int8", "int64", "uint16", "bool"):
        for parameter in (p, z):
            parameter.grad = np.ones(2, dtype)
            assert parameter.grad.dtype == parameter.dtype
            assert np.all(parameter.grad == 1)
    p.grad = [1, 0]
    z.grad = [1j, 2]
    assert p.grad.tolist() == [1.0, 0.0]
    assert z.grad.tolist() == [1j, 2.0]
    p.grad = Parameter([3.0, 4.0])
    assert p.grad.tolist() == [3.0, 4.0]


def test_gradient_that_does_not_fit_is_refused_and_the_old_one_stays():
    p = Parameter(np.zeros((2, 3)), name="w")
    wrong = (
        (ValueError, np.ones((3, 2))),
        (ValueError, np.ones(6)),
        (ValueError, np.ones(3)),
        (ValueError, np.ones((1, 3))),
        (ValueError, np.ones((2, 3, 1))),
        (ValueError, 1.0),
        (ValueError, [[1.0], [2.0, 3.0]]),
        (TypeError, np.ones((2, 3), complex)),
        (TypeError, np.ones((2, 3), object)),
        (TypeError, np.full((2, 3), "1")),
        (TypeError, np.ones((2, 3), "timedelta64[s]")),
        (TypeError, np.ma.ones((2, 3))),
    )
    for grad in (None, np.full((2, 3), 7.0)):
        p.grad = grad
        for error, value in wrong:
            with pytest.raises(error, match="gradient of parameter 'w'"):
                p.grad = value
            assert p.grad is None if grad is None else np.all(p.grad == 7)


def test_zero_grad_gives_zeros_or_none():
    p, q = Parameter([1.0, 2.0]), Parameter(np.asfortranarray(np.ones((2, 2), "complex64")))
    empty, number = Parameter(np.zeros((0, 2))), Parameter(1.0)
    everything = [p, q, empty, number]
    optimizer = numbopt.SGD(everything)
    optimizer.zero_grad()
    grads = [parameter.grad for parameter in everything]
    for parameter, grad in zip(everything, grads, strict=True):
        assert grad.shape == parameter.shape
        assert grad.dtype == parameter.dtype
        assert np.all(grad == 0)
        grad[...] = 5
    optimizer.zero_grad()
    assert all(parameter.grad is grad for parameter, grad in zip(everything, grads, strict=True))
    assert all(np.all(grad == 0) for grad in grads)
    p.grad += 1
    optimizer.zero_grad(set_to_none=True)
    assert all(parameter.grad is None for parameter in everything)
    # No rest of the former values comes back.
    optimizer.zero_grad()
    assert all(np.all(parameter.grad == 0) for parameter in everything)


def test_nan_gradients_stay_visible_and_do_not_touch_neighbours():
    p = Parameter(np.ones(5))
    p.grad = [1.0, np.nan, 1.0, np.inf, 1.0]
    numbopt.SGD([p], lr=0.5).step()
    assert np.array_equal(p.data, [0.5, np.nan, 0.5, -np.inf, 0.5], equal_nan=True)


# ---- acting as an array


def test_asarray_is_a_view():
    p = Parameter([1.0, 2.0])
    view = np.asarray(p)
    view[0] = 5
    assert p.data[0] == 5
    assert np.shares_memory(np.asarray(p, dtype="float64", copy=False), p.data)
    for copied in (np.array(p), np.asarray(p, copy=True), np.asarray(p, dtype="float32")):
        assert not np.shares_memory(copied, p.data)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(p, dtype="float32", copy=False)


def test_arithmetic_gives_arrays():
    p, q = Parameter([1.0, 2.0]), Parameter([3.0, 5.0])
    a = np.array([3.0, 5.0])
    for result, expected in (
        (p + q, [4, 7]),
        (p + a, [4, 7]),
        (a + p, [4, 7]),
        (2 - p, [1, 0]),
        (p * 2, [2, 4]),
        (a / p, [3, 2.5]),
        (p // 2, [0, 1]),
        (5 % p, [0, 1]),
        (p**2, [1, 4]),
        (2**p, [2, 4]),
        (-p, [-1, -2]),
        (+p, [1, 2]),
        (abs(-p), [1, 2]),
        (divmod(q, 2)[1], [1, 1]),
        (p < 2, [True, False]),
        (p >= q, [False, False]),
        (p != q, [True, True]),
        ([1.0, 1.0] + p, [2, 3]),
    ):
        assert type(result) is np.ndarray
        assert result.tolist() == expected
    assert p @ q == a @ p == 13
    assert (np.ones((3, 2)) @ p).tolist() == [3, 3, 3]
    assert p.data.tolist() == [1, 2]


def test_numpy_functions_act_on_the_data():
    p = Parameter([[1.0, 4.0], [9.0, 16.0]])
    data = p.data
    for function in (np.sqrt, np.exp, np.isfinite, np.sum, np.mean, np.max, np.argmax, np.transpose, np.linalg.norm):
        assert np.array_equal(function(p), function(data)), function
    for function in (np.linalg.inv, np.copy, np.zeros_like, np.ravel, np.cumsum, np.trace, np.shape, np.ndim, np.size):
        assert np.array_equal(function(p), function(data)), function
    assert np.array_equal(np.add.reduce(p, axis=0), data.sum(axis=0))
    assert np.array_equal(np.multiply.outer(p, p), np.multiply.outer(data, data))
    assert np.array_equal(np.concatenate([p, p]), np.concatenate([data, data]))
    assert np.array_equal(np.stack([p, data]), np.stack([data, data]))
    assert np.array_equal(np.einsum("ij,jk", p, p), data @ data)
    assert np.array_equal(np.where(p > 2, p, 0), np.where(data > 2, data, 0))
    assert np.array_equal(np.clip(p, 2, 10), np.clip(data, 2, 10))
    assert np.array_equal(np.dot(p, p), data @ data)
    assert np.allclose(p, data)
    assert np.array_equal(p, data)
    assert np.shares_memory(p, data)
    assert math.sqrt(Parameter(4.0)) == 2


def test_methods_and_attributes_of_arrays_are_those_of_the_data():
    z = Parameter([[1 + 2j, 3.0]])
    assert z.T.shape == (2, 1)
    assert z.sum() == 4 + 2j
    assert z.nbytes == 32
    assert z.reshape(2).tolist() == [1 + 2j, 3]
    z.real[...] = 0
    z.fill(5)
    assert z.data.tolist() == [[5, 5]]


def test_in_place_operators_keep_the_parameter():
    p = same = Parameter([1.0, 2.0])
    data = p.data
    p += 1
    p *= Parameter([2.0, 3.0])
    p -= np.array([1.0, 1.0])
    p /= 2
    p **= 2
    p //= 1
    p %= 10
    assert p is same
    assert p.data is data
    assert data.tolist() == [2.0, 6.0]
    np.add(p, 1, out=p)
    assert np.negative(p, out=p) is p
    np.add.at(p, [0, 0], 1)
    assert data.tolist() == [-1.0, -7.0]
    target = np.zeros(2)
    assert np.add(p, p, out=target) is target
    fraction, whole = np.zeros(2), Parameter([0.0, 0.0])
    np.modf(p, out=(fraction, whole))
    assert whole.data.tolist() == [-1.0, -7.0]
    with pytest.raises(TypeError, match="Cannot cast"):
        p += 1j


def test_is_compared_elementwise_and_hashed_by_identity():
    p, q = Parameter([1.0, 2.0]), Parameter([1.0, 3.0])
    assert (p == q).tolist() == [True, False]
    assert (p == [1.0, 2.0]).tolist() == [True, True]
    assert hash(p) == hash(p)
    table = {p: "p", q: "q", Parameter([1.0, 2.0]): "other"}
    assert len(table) == 3
    assert table[p] == "p"
    before = hash(p)
    p.data = [7.0, 8.0]
    assert hash(p) == before
    with pytest.raises(ValueError, match="ambiguous"):
        bool(p == q)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(p)


def test_indexing_and_iterating():
    p = Parameter(np.arange(6.0).reshape(2, 3))
    assert p[1, 2] == 5
    assert p[:, 1].tolist() == [1, 4]
    assert p[p > 3].tolist() == [4, 5]
    assert np.shares_memory(p[0], p.data)
    p[0] = 7
    p[1, ::2] += 1
    assert p.data.tolist() == [[7, 7, 7], [4, 4, 6]]
    assert len(p) == 2
    assert [row.tolist() for row in p] == [[7, 7, 7], [4, 4, 6]]
    first, second = p
    assert np.shares_memory(first, p.data)
    assert second.tolist() == [4, 4, 6]
    assert 6 in p
    assert 5 not in p
    number = Parameter(3.0)
    number[...] = 4
    assert number[()] == 4
    with pytest.raises(TypeError, match="unsized"):
        len(number)


def test_single_elements_are_numbers():
    p = Parameter(2.5)
    assert float(p) == 2.5
    assert int(p) == 2
    assert complex(p) == 2.5
    assert bool(p)
    assert not Parameter(0.0)
    assert p.item() == 2.5
    assert f"{p:.2f}" == "2.50"
    assert complex(Parameter(1 + 2j)) == 1 + 2j
    for function in (float, int):
        with pytest.raises(TypeError):
            function(Parameter([1.0, 2.0]))


def test_text_shows_data_and_name():
    assert repr(Parameter([1.0, 2.0])) == "Parameter([1., 2.])"
    assert repr(Parameter([1.0], name="w")) == "Parameter([1.], name='w')"
    assert repr(Parameter(np.float32(2))) == "Parameter(2., dtype=float32)"
    assert repr(Parameter(np.array(1 + 2j))) == "Parameter(1.+2.j)"


# ---- copies


def pickled(value):
    return pickle.loads(pickle.dumps(value))


for_every_copy = pytest.mark.parametrize("copied", [copy.deepcopy, pickled])


@for_every_copy
@for_every_layout
def test_copies_of_parameters(copied, layout):
    for dtype, grad in ((dtype, grad) for dtype in DTYPES for grad in (None, "given")):
        p = Parameter(laid_out(layout, dtype), name="w")
        if grad is not None:
            p.grad = 2 * p.data
        q = copied(p)
        assert type(q) is Parameter
        assert q.name == "w"
        assert np.array_equal(q.data, p.data)
        assert q.dtype == p.dtype
        assert q.data.flags.writeable
        assert not np.shares_memory(p.data, q.data)
        if grad is None:
            assert q.grad is None
        else:
            assert np.array_equal(q.grad, p.grad)
            assert not np.shares_memory(q.grad, p.grad)
            q.grad += 1
        numbopt.SGD([q], lr=1.0).step()
        assert np.array_equal(p.data, laid_out(layout, dtype))
    assert np.array_equal(q.data, -p.data - 1)


def test_shallow_copy_is_refused():
    with pytest.raises(TypeError, match="deepcopy"):
        copy.copy(Parameter([1.0]))


@for_every_copy
def test_identity_of_shared_arrays_is_kept(copied):
    x, y = np.ones(3), np.asfortranarray(np.ones((2, 2), "complex64"))
    p = Parameter([5.0], name="p")
    optimizer = numbopt.Adam([x, y, p], lr=0.1)
    p.grad = [1.0]
    gradients = [np.ones(3), np.ones((2, 2)), None]
    optimizer.step(grads=gradients)
    # Whichever comes first.
    for order in ((0, 1, 2, 3), (3, 2, 1, 0)):
        together = [optimizer, x, y, p]
        copies = dict(zip(order, copied([together[i] for i in order]), strict=True))
        other, x2, y2, p2 = (copies[i] for i in range(4))
        parameters = other.param_groups[0]["params"]
        assert parameters[0].data is x2
        assert parameters[1].data is y2
        assert parameters[2] is p2
        assert x2 is not x
        assert other.state[x2]["step"] == 1
        assert p2 not in other.state
        before = x.copy(), y.copy()
        other.step(grads=gradients)
        assert np.array_equal(x, before[0])
        assert np.array_equal(y, before[1])
        expected_x, expected_y = x2.copy(), y2.copy()
        third, x3, y3 = copy.deepcopy((optimizer, x, y))
        third.step(grads=gradients)
        assert np.array_equal(x3, expected_x)
        assert np.array_equal(y3, expected_y)


@for_every_copy
def test_arrays_of_a_subclass_stay_shared(copied):
    x = np.ones(3).view(np.recarray)
    optimizer = numbopt.SGD([x], lr=1.0, momentum=0.9)
    optimizer.step(grads=[np.ones(3)])
    other, y = copied((optimizer, x))
    assert type(y) is np.recarray
    assert y in other.state
    other.step(grads=[np.zeros(3)])
    assert np.allclose(y, -0.9)
    assert np.all(x == 0)


@for_every_copy
def test_parameters_of_two_optimizers_stay_shared(copied):
    p, q = Parameter([1.0]), Parameter([2.0])
    one, two = numbopt.SGD([p, q], lr=1.0), numbopt.Adam([q])
    first, second = copied((one, two))
    (shared,) = second.param_groups[0]["params"]
    assert first.param_groups[0]["params"][1] is shared
    shared.grad = [1.0]
    first.step()
    second.step()
    assert np.allclose(shared.data, 0.999)
    assert q.data == [2.0]


# ---- pack


@for_every_dtype
def test_pack_makes_views_of_one_vector(dtype):
    arrays = [laid_out(layout, dtype) for layout in LAYOUTS]
    data, grad, parameters = packed = numbopt.pack(arrays)
    assert (packed.data is data, packed.grad is grad, packed.parameters is parameters) == (True, True, True)
    size = sum(array.size for array in arrays)
    for vector in (data, grad):
        assert vector.shape == (size,)
        assert vector.dtype == dtype
        assert vector.flags.c_contiguous
    assert np.array_equal(data, np.concatenate([array.ravel() for array in arrays]))
    assert np.all(grad == 0)
    start = 0
    for p, array in zip(parameters, arrays, strict=True):
        assert isinstance(p, Parameter)
        assert p.name is None
        assert np.array_equal(p.data, array)
        assert p.grad.shape == p.shape == array.shape
        if array.size:
            assert np.shares_memory(p.data, data[start : start + array.size])
            assert np.shares_memory(p.grad, grad[start : start + array.size])
            assert not np.shares_memory(p.data, array)
        start += array.size


def test_packed_parameters_work_as_others_do():
    values = {"w": np.ones((2, 2)), "b": np.zeros(2), "s": 3.0}
    data, grad, parameters = numbopt.pack(values)
    w, b, s = parameters
    assert [p.name for p in parameters] == ["w", "b", "s"]
    optimizer = numbopt.Adam(parameters, lr=0.1)
    plain = [Parameter(value) for value in values.values()]
    expected = numbopt.Adam(plain, lr=0.1)

    # The vector and the parameters are the same memory, in both directions.
    grad[:] = np.arange(7.0)
    assert w.grad.tolist() == [[0, 1], [2, 3]]
    assert s.grad == 6
    b.grad = [10.0, 20.0]
    w.grad += 1
    assert grad.tolist() == [1, 2, 3, 4, 10, 20, 6]
    for p, q in zip(plain, parameters, strict=True):
        p.grad = q.grad
    optimizer.step()
    expected.step()
    assert np.array_equal(data, np.concatenate([np.ravel(p) for p in plain]))
    data[:] = 0
    assert float(s) == 0
    optimizer.zero_grad()
    assert np.all(grad == 0)

    # After None, the gradient is a view of the vector again.
    w.grad = None
    assert w.grad is None
    w.grad = np.full((2, 2), 7.0)
    assert np.shares_memory(w.grad, grad)
    assert grad.tolist() == [7, 7, 7, 7, 0, 0, 0]
    optimizer.step(grads={"b": np.ones(2)})
    assert np.all(w.data == 0)
    assert np.all(b.data != 0)


def test_vector_and_parameters_of_a_pack_are_one_memory_to_an_optimizer():
    data, _, parameters = numbopt.pack([np.ones(2), np.ones(3)])
    with pytest.raises(ValueError, match="share memory"):
        numbopt.SGD([data, parameters[0]])
    # Each way by itself is fine.
    numbopt.SGD([data], lr=1.0).step(grads=[np.ones(5)])
    numbopt.SGD(parameters, lr=1.0).step(grads=[np.ones(2), np.ones(3)])
    assert np.all(data == -1)


def test_pack_refuses_what_does_not_belong_together():
    with pytest.raises(ValueError, match="one dtype, got \\['float32', 'float64'\\]"):
        numbopt.pack([np.ones(2), np.ones(2, "float32")])
    with pytest.raises(ValueError, match="no array"):
        numbopt.pack([])
    with pytest.raises(TypeError, match="int64"):
        numbopt.pack([np.ones(2, "int64")])
    with pytest.raises(TypeError, match="'w' has dtype object"):
        numbopt.pack({"w": [None]})
