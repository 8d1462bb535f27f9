"""What cannot be is refused by an error that names the parameter and the remedy, before anything has changed."""

import re
from contextlib import contextmanager

import numba
import numpy as np
import pytest
from cases.optimizers import CASES

import numbopt
from numbopt import Parameter
from numbopt.options import Number, Several, as_float, flag

CLASSES = sorted({case.cls for case in CASES})
TORCHS = sorted({case.cls for case in CASES if case.is_torchs})
NEXT_TO_ANYTHING = "some parameters appear in more than one parameter group"


class Tensor:
    """Looks like a tensor of another library, which does not let go of its values."""

    shape, ndim, dtype, device = (3,), 1, "float32", "elsewhere:0"

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("can't convert a tensor elsewhere to numpy")

    def __iter__(self):
        return iter([1.0, 2.0, 3.0])

    def __len__(self):
        return 3


def trained(cls="Adam", **options):
    """An optimizer of two groups after two steps: a named Parameter with its gradient, and a plain array."""
    w, x = Parameter(np.linspace(1, 2, 3), name="w"), np.linspace(3, 4, 4).reshape(2, 2)
    optimizer = getattr(numbopt, cls)([{"params": [w]}, {"params": [x], "lr": 0.02}], **options)
    for _ in range(2):
        optimizer.step(grads=[np.full(3, 0.5), np.full((2, 2), -0.5)])
    w.grad = np.full(3, 0.25)
    return optimizer


def everything_in(optimizer):
    """All that a refused call must leave as it was, to the last bit."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return (
        [(parameter.data.tobytes(), _bytes(parameter.grad)) for parameter in parameters],
        [{key: _bytes(value) for key, value in state.items()} for state in optimizer.state_dict()["state"].values()],
        [len(group["params"]) for group in optimizer.param_groups],
        optimizer.step_count,
    )


def _bytes(value):
    return value.tobytes() if isinstance(value, np.ndarray) else value


@contextmanager
def refused(error, *texts, by=None):
    """Expect an error whose message has all the texts, and that the optimizer ``by`` is left as it was."""
    before = by and everything_in(by)
    with pytest.raises(error) as caught:
        yield
    for text in texts:
        assert text in str(caught.value)
    if by:
        assert everything_in(by) == before


def assert_goes_on(optimizer, options=None):
    """The next step is that of an optimizer that was never asked for anything wrong."""
    other = trained(type(optimizer).__name__, **(options or {}))
    for one in (optimizer, other):
        one.step(grads=[np.ones(3), np.ones((2, 2))])
    assert everything_in(optimizer) == everything_in(other)


# ---- parameters


def read_only():
    array = np.ones(3)
    array.flags.writeable = False
    return array


def misaligned():
    return np.frombuffer(bytearray(8 * 3 + 1), np.float64, 3, offset=1)


ASTYPE = ("numbopt optimizes float32, float64, complex64 and complex128", "convert it with .astype(...)")
STRIDED = ("is strided", "numpy.ascontiguousarray(...)", "numbopt.Parameter(...)")
READ_ONLY = ("is read-only", "writeable", "numbopt.Parameter(...)")
BAD_TYPES = {
    "integer": (np.arange(3), TypeError, ("dtype int", *ASTYPE)),
    "unsigned": (np.arange(3, dtype=np.uint8), TypeError, ("dtype uint8", *ASTYPE)),
    "bool": (np.ones(3, bool), TypeError, ("dtype bool", *ASTYPE)),
    "object": (np.array([1.0, None, 2.0]), TypeError, ("dtype object", *ASTYPE)),
    "string": (np.array(["a", "b", "c"]), TypeError, ("dtype <U1", *ASTYPE)),
    "bytes": (np.array([b"a", b"b", b"c"]), TypeError, ("dtype |S1", *ASTYPE)),
    "structured": (np.zeros(3, "f4,f8"), TypeError, ("dtype [('f0'", *ASTYPE)),
    "record": (np.zeros(3, "f4,f8").view(np.recarray), TypeError, ("dtype (numpy.record", *ASTYPE)),
    "date": (np.zeros(3, "M8[s]"), TypeError, ("dtype datetime64", *ASTYPE)),
    "float16": (np.ones(3, np.float16), TypeError, ("dtype float16", *ASTYPE)),
    "other byte order": (np.ones(3, np.dtype("f8").newbyteorder()), TypeError, ("native byte order", *ASTYPE)),
    "other byte order, complex": (np.ones(3, np.dtype("c8").newbyteorder()), TypeError, ASTYPE),
    "masked": (np.ma.masked_less(np.arange(3.0), 1), TypeError, ("is a masked array", ".filled(...) or .data")),
    "masked, nothing hidden": (np.ma.ones(3), TypeError, ("is a masked array", ".filled(...) or .data")),
}
if np.dtype(np.longdouble) != np.dtype(np.float64):
    BAD_TYPES["longdouble"] = (np.ones(3, np.longdouble), TypeError, ASTYPE)
    BAD_TYPES["complex longdouble"] = (np.ones(3, np.clongdouble), TypeError, ASTYPE)
# A Parameter, which copies, may be made of these; to work in their memory is not possible.
BAD_MEMORY = {
    "read-only": (read_only(), ValueError, READ_ONLY),
    "broadcast": (np.broadcast_to(1.0, 3), ValueError, READ_ONLY),
    "broadcast, writeable": (np.lib.stride_tricks.as_strided(np.ones(1), (3,), (0,)), ValueError, STRIDED),
    "overlapping itself": (np.lib.stride_tricks.as_strided(np.ones(4), (3, 2), (8, 8)), ValueError, STRIDED),
    "every second": (np.ones(6)[::2], ValueError, STRIDED),
    "backwards": (np.ones(3)[::-1], ValueError, STRIDED),
    "columns": (np.ones((3, 4))[:, :2], ValueError, STRIDED),
    "Fortran rows": (np.ones((3, 4), order="F")[:2], ValueError, STRIDED),
    "real parts": (np.ones(3, np.complex128).real, ValueError, STRIDED),
    "misaligned": (misaligned(), ValueError, ("is not aligned", "pass a copy")),
}
BAD_ARRAYS = {**BAD_TYPES, **BAD_MEMORY}
WAYS_TO_PASS = {
    "list": lambda good, bad: [good, bad],
    "tuple": lambda good, bad: (good, bad),
    "generator": lambda good, bad: iter([good, bad]),
    "group": lambda good, bad: [{"params": [good]}, {"params": [bad]}],
    "bare in a group": lambda good, bad: [{"params": good}, {"params": bad}],
}
WAYS_TO_NAME = {
    "pairs": lambda good, bad: [("good", good), ("bad", bad)],
    "dict": lambda good, bad: {"good": good, "bad": bad},
    "items": lambda good, bad: {"good": good, "bad": bad}.items(),
    "dict in a group": lambda good, bad: [{"params": {"good": good, "bad": bad}}],
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_arrays_that_cannot_be_parameters(kind):
    bad, error, texts = BAD_ARRAYS[kind]
    before = bad.tobytes()
    good = np.arange(3.0)
    for way in WAYS_TO_PASS.values():
        with refused(error, f"a parameter of shape {bad.shape}", *texts):
            numbopt.SGD(way(good, bad), lr=0.1)
    for way in WAYS_TO_NAME.values():
        with refused(error, "parameter 'bad'", *texts):
            numbopt.SGD(way(good, bad), lr=0.1)
    optimizer = trained()
    with refused(error, *texts, by=optimizer):
        optimizer.add_param_group({"params": [np.ones(2), bad]})
    assert_goes_on(optimizer)
    assert bad.tobytes() == before
    np.testing.assert_array_equal(good, np.arange(3.0), strict=True)


@pytest.mark.parametrize("kind", BAD_TYPES)
def test_arrays_that_parameters_cannot_be_made_of(kind):
    bad, error, texts = BAD_TYPES[kind]
    with refused(error, "parameter 'w'", *texts):
        Parameter(bad, name="w")
    with refused(error, *texts):
        numbopt.pack([np.ones(2), bad])
    with refused(error, "parameter 'w'", *texts):
        numbopt.pack({"w": bad})


@pytest.mark.parametrize("kind", BAD_MEMORY)
def test_a_parameter_copies_what_cannot_be_worked_on_in_place(kind):
    array, _, _ = BAD_MEMORY[kind]
    parameter = Parameter(array)
    numbopt.SGD([parameter], lr=0.5).step(grads=[np.ones(array.shape)])
    np.testing.assert_array_equal(parameter.data, array - 0.5, strict=True)


@pytest.mark.parametrize("data", [None, "abc", [1, 2], {1.0}, object(), b"abc"], ids=repr)
def test_parameter_of_something_that_is_no_array_of_numbers(data):
    with refused(TypeError, "parameter 'w'", *ASTYPE):
        Parameter(data, name="w")


@pytest.mark.parametrize("data", [[[1.0], [1.0, 2.0]], Tensor()], ids=["ragged", "tensor elsewhere"])
def test_parameter_of_something_that_cannot_become_an_array(data):
    with refused(ValueError, "parameter 'w' cannot become an array"):
        Parameter(data, name="w")


def test_name_of_a_parameter_must_be_a_string():
    with refused(TypeError, "name must be a string, got 3"):
        Parameter([1.0], name=3)


@pytest.mark.parametrize(
    "item", [None, 3.0, 3, np.float64(3), "w", b"w", [1.0], [np.ones(3)], (1, 2), {1.0}, object(), Tensor()], ids=repr
)
def test_things_that_are_no_parameters(item):
    texts = (
        f"optimizer can only optimize Tensors, but one of the params is {type(item).__name__}",
        "pass a numbopt.Parameter or a NumPy array",
    )
    good = np.arange(3.0)
    with refused(TypeError, *texts):
        numbopt.SGD([good, item])
    with refused(TypeError, *texts, "for 'bad'"):
        numbopt.SGD({"good": good, "bad": item})
    optimizer = trained()
    with refused(TypeError, *texts, by=optimizer):
        optimizer.add_param_group({"params": [good, item]})
    assert_goes_on(optimizer)


NO_ITERABLE = "params must be an iterable of parameters, arrays or groups"
NO_LIST = ("params argument given to the optimizer should be an iterable of Tensors or dicts", "put it in a list: [x]")
UNORDERED = ("optimizer parameters need to be organized in ordered collections", "Please use a list instead")
NO_TENSORS = ("optimizer can only optimize Tensors", "numbopt.Parameter")
EMPTY = ("optimizer got an empty parameter list", "pass at least one parameter")


@pytest.mark.parametrize(
    ("params", "error", "texts"),
    [
        (np.ones(3), TypeError, NO_LIST),
        (np.ones(()), TypeError, NO_LIST),
        (np.ma.ones(3), TypeError, NO_LIST),
        (np.float64(3), TypeError, NO_LIST),
        (Parameter([1.0]), TypeError, NO_LIST),
        (Parameter(1.0), TypeError, NO_LIST),
        (None, TypeError, (NO_ITERABLE,)),
        (3.0, TypeError, (NO_ITERABLE,)),
        ("w", TypeError, (NO_ITERABLE,)),
        (b"w", TypeError, (NO_ITERABLE,)),
        (len, TypeError, (NO_ITERABLE,)),
        (Tensor(), TypeError, NO_TENSORS),
        ([1.0, 2.0], TypeError, NO_TENSORS),
        ([[np.ones(3)]], TypeError, NO_TENSORS),
        (("w", np.ones(3)), TypeError, NO_TENSORS),
        ({"w": np.ones(3)}.keys(), TypeError, NO_TENSORS),
        ({"lr": 0.1}, TypeError, NO_TENSORS),
        ({1.0}, TypeError, UNORDERED),
        ({Parameter([1.0])}, TypeError, UNORDERED),
        (frozenset([Parameter([1.0])]), TypeError, UNORDERED),
        ([{"params": {Parameter([1.0])}}], TypeError, UNORDERED),
        ([], ValueError, EMPTY),
        ((), ValueError, EMPTY),
        ({}, ValueError, EMPTY),
        (iter([]), ValueError, EMPTY),
        ({"params": [np.ones(3)], "lr": 0.1}, TypeError, ("a single group", "put it in a list: [{'params': ...}]")),
        ([{"param": [np.ones(3)]}], ValueError, ("param_group needs the key 'params', got ['param']",)),
        ([{"params": 3.0}], TypeError, ("'params' must be a parameter or an iterable of parameters, got 3.0",)),
        ([{"params": None}], TypeError, ("'params' must be a parameter or an iterable of parameters, got None",)),
        ([{"params": [np.ones(3)]}, np.ones(3)], TypeError, ("param_group must be a dict", "cannot be mixed")),
        ([np.ones(3), {"params": [np.ones(3)]}], TypeError, ("param_group must be a dict", "cannot be mixed")),
        ([("w", np.ones(3)), np.ones(3)], ValueError, ("with/without names. Some param names are missing",)),
        ([("w", np.ones(3)), ("w", np.ones(3))], ValueError, ("names of parameters must be distinct", "'w'")),
        (
            [{"params": [("w", np.ones(3))]}, {"params": [("w", np.ones(3))]}],
            ValueError,
            ("names of parameters must be distinct", "'w'"),
        ),
        (
            [{"params": [np.ones(3)]}, {"params": [("w", np.ones(3))]}],
            ValueError,
            ("all optimizer param groups should be with/without names", "with names"),
        ),
        (
            [{"params": [np.ones(3), np.ones(3)], "param_names": ["w"]}],
            ValueError,
            ("names of parameters must be distinct, one for each", "'w'"),
        ),
        (
            [{"params": [np.ones(3), np.ones(3)], "param_names": ["w", "w"]}],
            ValueError,
            ("names of parameters must be distinct, one for each", "'w'"),
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_collections_that_cannot_be_taken(params, error, texts):
    with refused(error, *texts):
        numbopt.Adam(params)


@pytest.mark.parametrize("group", [None, 3, np.ones(3), [np.ones(3)], "params"], ids=repr)
def test_groups_that_are_no_dicts(group):
    optimizer = trained()
    with refused(TypeError, f"param_group must be a dict, but got {type(group)}", by=optimizer):
        optimizer.add_param_group(group)
    assert_goes_on(optimizer)


def test_ordered_views_of_a_dict_are_taken():
    named = {"a": np.ones(2), "b": np.ones(3)}
    for params in (named, named.values(), named.items()):
        numbopt.SGD(params, lr=0.5).step(grads=[np.ones(2), np.ones(3)])
    for array in named.values():
        np.testing.assert_array_equal(array, np.full(array.shape, -0.5))


def test_an_empty_group_is_taken():
    optimizer = numbopt.SGD([{"params": []}], lr=0.1)
    optimizer.step()
    optimizer.step(grads=[])
    optimizer.zero_grad()
    with refused(ValueError, "grads has 1 entries for 0 parameters"):
        optimizer.step(grads=[np.ones(3)])


def test_an_option_without_default_must_be_given():
    class Needy(numbopt.SGD):
        def __init__(self, params):
            numbopt.ElementwiseOptimizer.__init__(self, params, {"momentum": 0, "dampening": 0, "weight_decay": 0})
            self.defaults["lr"] = numbopt.required

    with refused(ValueError, "lacks the option 'lr'", "set it"):
        Needy([np.ones(3)])

    class Asking(numbopt.SGD):
        def __init__(self, params):
            defaults = {"momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False, "lr": numbopt.required}
            numbopt.ElementwiseOptimizer.__init__(self, params, defaults)

    with refused(ValueError, "didn't specify a value of required optimization parameter lr"):
        Asking([np.ones(3)])
    Asking([{"params": [np.ones(3)], "lr": 0.1}])


# ---- memory that is shared


def shared_memory():
    x, square, z = np.ones(10), np.ones((3, 3)), np.ones(4, np.complex128)
    parameter, pack = Parameter(np.ones(4)), numbopt.pack([np.ones(2), np.ones(3)])
    return {
        "the same array": [x, x],
        "the same Parameter": [parameter, parameter],
        "a view of everything": [x, x[::1]],
        "another shape": [x, x.reshape(2, 5)],
        "transposed": [square, square.T],
        "one element": [x, x[3:4]],
        "one element, 0-d": [x[3:4].reshape(()), x],
        "the last element": [x[:5], x[4:]],
        "one byte of it": [x[:5], x.view(np.float32)[9:]],
        "as bytes of another type": [x, x.view(np.float32)],
        "real view of a complex array": [z, z.view(np.float64)],
        "a Parameter that shares and its array": [Parameter.sharing(x), x],
        "two Parameters that share": [Parameter.sharing(x), Parameter.sharing(x)],
        "a Parameter and its data": [parameter, parameter.data],
        "a pack and one of its parameters": [pack.data, pack.parameters[1]],
        "not side by side in the list": [x[4:], np.ones(3), x[:5]],
        "one that spans many": [x[0:2], x[2:4], x[4:6], x[1:5]],
        "an empty one between": [x[:6], x[5:5], x[5:]],
    }


@pytest.mark.parametrize("how", shared_memory())
def test_parameters_that_share_memory(how):
    params = shared_memory()[how]
    with refused(ValueError, NEXT_TO_ANYTHING):
        numbopt.SGD(params)
    with refused(ValueError, NEXT_TO_ANYTHING):
        numbopt.SGD([{"params": item} for item in params])
    optimizer = numbopt.SGD(params[:-1], lr=0.5)
    with refused(ValueError, NEXT_TO_ANYTHING, by=optimizer):
        optimizer.add_param_group({"params": params[-1:]})
    optimizer.step(grads=[np.ones(np.shape(item)) for item in params[:-1]])
    for item in params[:-1]:
        assert (np.asarray(item) == 0.5).all()


def test_the_message_names_the_parameters_that_share_memory():
    x = np.ones(10)
    with refused(ValueError, "parameter 'left' and parameter 'right' share memory", "pass each piece of memory once"):
        numbopt.SGD({"left": x[:6], "other": np.ones(3), "right": x[5:]})
    with refused(ValueError, "a parameter of shape (6,) and a parameter of shape (5,) share memory"):
        numbopt.SGD([x[:6], x[5:]])


def test_sharing_is_found_between_any_two_pieces_of_an_array():
    random = np.random.default_rng(7)
    refusals = 0
    for _ in range(300):
        buffer = np.ones(60)
        starts = random.integers(0, 60, random.integers(2, 6))
        pieces = [buffer[start : start + random.integers(0, 10)] for start in starts]
        share = any(np.shares_memory(one, other) for i, one in enumerate(pieces) for other in pieces[:i])
        refusals += share
        if share:
            with refused(ValueError, NEXT_TO_ANYTHING):
                numbopt.SGD(pieces)
        else:
            numbopt.SGD(pieces)
    assert 50 < refusals < 250


# ---- gradients


def gradients_that_cannot_be():
    """For parameters of the shapes (3,), named "w", and (2, 2): gradients and the error about them."""
    g, h = np.ones(3), np.ones((2, 2))
    same, kind = "they must be the same", "convert it first"
    w, x = "gradient of parameter 'w'", "gradient of parameter 1 of shape (2, 2)"
    rows = {
        "too short": ([np.ones(2), h], ValueError, (w, "shape (2,)", "shape (3,)", same)),
        "too long": ([np.ones(4), h], ValueError, (w, "shape (4,)", same)),
        "another axis": ([np.ones((1, 3)), h], ValueError, (w, "shape (1, 3)", same)),
        "a scalar": ([1.0, h], ValueError, (w, "shape ()", same)),
        "0-d": ([np.ones(()), h], ValueError, (w, "shape ()", same)),
        "empty": ([np.ones(0), h], ValueError, (w, "shape (0,)", same)),
        "flat": ([g, np.ones(4)], ValueError, (x, "shape (4,)", same)),
        "broadcastable": ([g, np.ones((1, 2))], ValueError, (x, "shape (1, 2)", same)),
        "complex": ([g * 1j, h], TypeError, (w, "complex128", "float64", ".real")),
        "object": ([g.astype(object), h], TypeError, (w, "object", kind)),
        "string": ([np.array(["1", "2", "3"]), h], TypeError, (w, "<U1", kind)),
        "a string": (["abc", h], TypeError, (w, "<U3", kind)),
        "date": ([np.zeros(3, "M8[s]"), h], TypeError, (w, "datetime64", kind)),
        "duration": ([np.zeros(3, "m8[s]"), h], TypeError, (w, "timedelta64", kind)),
        "structured": ([np.zeros(3, "f4,f4"), h], TypeError, (w, "f0", kind)),
        "masked": ([g, np.ma.masked_less(h, 2)], TypeError, (x, "masked", ".filled(...) or .data")),
        "ragged": ([g, [[1.0], [1.0, 2.0]]], ValueError, (x, "cannot become an array")),
        "a set": ([{1.0, 2.0, 3.0}, h], TypeError, (w, "object", kind)),
        "a function": ([len, h], TypeError, (w, "object", kind)),
        "a generator": ([(v for v in g), h], TypeError, (w, "object", kind)),
        "a tensor elsewhere": ([Tensor(), h], ValueError, (w, "cannot become an array", "elsewhere")),
        "none": ([], ValueError, ("grads has 0 entries for 2 parameters", "None to skip")),
        "too few": ([g], ValueError, ("grads has 1 entries for 2 parameters", "None to skip")),
        "too many": ((g, h, h), ValueError, ("grads has 3 entries for 2 parameters", "None to skip")),
        "one array": (np.ones((2, 3)), TypeError, ("a list with one array for each of 2 parameters", "dict by name")),
        "a number": (1.0, TypeError, ("a list with one array for each of 2 parameters",)),
        "zero": (0, TypeError, ("a list with one array for each of 2 parameters",)),
        "a word": ("ab", TypeError, ("a list with one array for each of 2 parameters",)),
        "an iterator": (iter([g, h]), TypeError, ("a list with one array for each of 2 parameters",)),
        "values of a dict": ({"w": g, "x": h}.values(), TypeError, ("a list with one array for each",)),
        "a dict where one has no name": ({"w": g}, ValueError, ("not all parameters have names", "pass a list")),
    }
    return rows


@pytest.mark.parametrize("kind", gradients_that_cannot_be())
def test_gradients_that_cannot_be_taken(kind):
    grads, error, texts = gradients_that_cannot_be()[kind]
    optimizer = trained()
    for step in (
        lambda: optimizer.step(grads=grads),
        lambda: optimizer.step(lambda: (1.0, grads)),
        lambda: optimizer.step(lambda: 1.0, grads=grads),
    ):
        with refused(error, *texts, by=optimizer):
            step()
    assert_goes_on(optimizer)


def test_gradients_by_name():
    named = numbopt.SGD({"w": np.ones(3), "b": np.ones(2)}, lr=0.5)
    with refused(ValueError, "names that no parameter has: ['v']", "there are ['w', 'b']", by=named):
        named.step(grads={"w": np.ones(3), "v": np.ones(2)})
    with refused(ValueError, "names that no parameter has: [0]", by=named):
        named.step(grads={0: np.ones(3)})
    with refused(ValueError, "gradient of parameter 'b'", "shape (3,)", by=named):
        named.step(grads={"w": np.ones(3), "b": np.ones(3)})
    same_names = numbopt.SGD([Parameter(np.ones(3), name="w"), Parameter(np.ones(3), name="w")])
    with refused(ValueError, "share names", "'w'", "pass a list, or rename them", by=same_names):
        same_names.step(grads={"w": np.ones(3)})


@pytest.mark.parametrize(
    ("bad", "error", "texts"),
    [
        (np.ones(2), ValueError, ("shape (2,)", "shape (3,)", "they must be the same")),
        (1.0, ValueError, ("shape ()", "they must be the same")),
        (np.ones((1, 3)), ValueError, ("shape (1, 3)", "they must be the same")),
        (np.ones(3) * 1j, TypeError, ("complex128", ".real")),
        (np.ones(3, object), TypeError, ("object", "convert it first")),
        (np.array(["1", "2", "3"]), TypeError, ("<U1", "convert it first")),
        (np.ma.ones(3), TypeError, ("masked", ".filled(...) or .data")),
        ([[1.0], [1.0, 2.0]], ValueError, ("cannot become an array",)),
        (Tensor(), ValueError, ("cannot become an array", "elsewhere")),
        ("abc", TypeError, ("convert it first",)),
        ({1.0}, TypeError, ("convert it first",)),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_values_that_cannot_be_assigned(bad, error, texts):
    p = Parameter(np.arange(3.0), name="w")
    with refused(error, "gradient of parameter 'w'", *texts):
        p.grad = bad
    assert p.grad is None
    p.grad = np.ones(3)
    with refused(error, "gradient of parameter 'w'", *texts):
        p.grad = bad
    with refused(error, "data of parameter 'w'", *texts):
        p.data = bad
    np.testing.assert_array_equal(p.grad, np.ones(3))
    np.testing.assert_array_equal(p.data, np.arange(3.0))


def test_complex_values_of_a_real_parameter_in_place():
    p = Parameter(np.ones(3))
    p.grad = np.ones(3)
    with pytest.raises(TypeError, match="complex"):
        p.grad += 1j
    np.testing.assert_array_equal(p.grad, np.ones(3))


def test_gradients_in_the_memory_of_parameters():
    buffer, other = np.arange(12.0), np.arange(3.0)
    mine, next_one = buffer[0:6], buffer[6:9]
    optimizer = numbopt.SGD([mine, other, next_one, buffer[3:3], np.ones(6)], lr=0.5, momentum=0.9)
    optimizer.step(grads=[np.ones(6), np.ones(3), np.ones(3), None, None])
    text = "shares memory with a parameter; pass a copy"
    for position, bad in (
        (0, buffer[1:7]),
        (0, buffer[3:9]),
        (4, mine),
        (4, buffer[5:11]),
        (1, next_one),
        (1, mine[:3]),  # an empty parameter lies behind it
        (1, mine[3:]),
        (2, other),
        (2, buffer[8:11]),
        (2, buffer[5:8]),
    ):
        grads = [np.ones(6), np.ones(3), np.ones(3), None, np.ones(6)]
        grads[position] = bad
        with refused(ValueError, f"gradient of parameter {position} of shape", text, by=optimizer):
            optimizer.step(grads=grads)
    optimizer.step(grads=[None, None, buffer[9:12], mine[2:2], None])  # beside parameters, or nothing at all


# ---- closures


def loss_is_missing():
    return None


def test_closures_that_cannot_be():
    optimizer = trained()
    g, h = np.ones(3), np.ones((2, 2))
    for closure in (5, g, [g, h], "closure", (1.0, [g, h])):
        with refused(TypeError, "closure must be callable", "gradients go to step(grads=...)", by=optimizer):
            optimizer.step(closure)
    for result in ((), (1.0,), (1.0, g, h)):
        with refused(ValueError, "a closure returns the loss or (loss, grads)", f"{len(result)}", by=optimizer):
            optimizer.step(lambda result=result: result)
    with refused(ValueError, "from the closure and from grads=", "give them once", by=optimizer):
        optimizer.step(lambda: (1.0, [g, h]), grads=[g, h])
    with refused(TypeError, "positional", by=optimizer):
        optimizer.step(lambda needed: needed)
    with refused(TypeError, by=optimizer):
        optimizer.step(None, [g, h])
    assert_goes_on(optimizer)


def test_a_closure_may_return_no_loss():
    optimizer = trained()
    assert optimizer.step(loss_is_missing) is None
    assert optimizer.step(lambda: (None, [np.ones(3), None])) is None
    assert optimizer.step(lambda: (1.5, None)) == 1.5


# ---- options

# Options and torch's message, as in its own table of wrong input.
WRONG_OPTIONS = [
    *[(cls, {"lr": -1.0}, r"Invalid learning rate: -1\.0") for cls in CLASSES],
    *[(cls, {"lr": np.array([0.1, 0.2])}, "Tensor lr must be 1-element") for cls in CLASSES],
    *[
        (cls, {"weight_decay": -0.5}, r"Invalid weight_decay value: -0\.5")
        for cls in CLASSES
        if "weight_decay" in getattr(numbopt, cls).options
    ],
    *[
        (cls, {"eps": -1e-8}, "Invalid epsilon value: -1e-08")
        for cls in CLASSES
        if "eps" in getattr(numbopt, cls).options
    ],
    *[
        (
            cls,
            {"betas": betas + ((0.5,) if count == 3 else ())},
            f"Invalid beta parameter at index {index}: {re.escape(str(betas[index]))}",
        )
        for cls in CLASSES
        if "betas" in getattr(numbopt, cls).options
        for count in [len(getattr(numbopt, cls).options["betas"].checks)]
        for betas, index in (((1.0, 0.0), 0), ((0.5, 1.0), 1), ((-0.1, 0.9), 0), ((0.9, 1.5), 1))
    ],
    *[(cls, {"betas": (0.5, 0.5, 1.0)}, "Invalid beta parameter at index 2") for cls in ("AdEMAMix", "Adan")],
    *[(cls, {"warmup_steps": 0.5}, "Invalid warmup_steps") for cls in ("AdamWScheduleFree", "SGDScheduleFree")],
    ("AdEMAMix", {"alpha": -1.0}, "Invalid alpha value"),
    ("AdEMAMix", {"betas": (0.0, 0.9, 0.9), "t_alpha_beta3": 9}, "t_alpha_beta3 needs"),
    ("AdamWScheduleFree", {"betas": (0.0, 0.9)}, "must be a finite number > 0"),
    ("SGDScheduleFree", {"momentum": 0.0}, "must be a finite number > 0"),
    ("MADGRAD", {"momentum": 1.0}, "Invalid momentum value"),
    ("Yogi", {"initial_accumulator_value": -1}, "Invalid initial_accumulator_value value"),
    ("SGD", {"momentum": -0.5}, r"Invalid momentum value: -0\.5"),
    ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "Nesterov momentum requires a momentum and zero"),
    ("NAdam", {"momentum_decay": -0.2}, r"Invalid momentum_decay value: -0\.2"),
    ("Adagrad", {"lr_decay": -0.5}, r"Invalid lr_decay value: -0\.5"),
    ("Adagrad", {"initial_accumulator_value": -1}, "Invalid initial_accumulator_value value: -1"),
    ("Adadelta", {"rho": 1.1}, r"Invalid rho value: 1\.1"),
    ("Adadelta", {"rho": -0.1}, r"Invalid rho value: -0\.1"),
    ("RMSprop", {"momentum": -1.0}, r"Invalid momentum value: -1\.0"),
    ("RMSprop", {"alpha": -0.1}, r"Invalid alpha value: -0\.1"),
    ("Rprop", {"etas": (1.0, 0.5)}, r"Invalid eta values: 1\.0, 0\.5"),
    ("Rprop", {"etas": (0.0, 1.2)}, r"Invalid eta values: 0\.0, 1\.2"),
    ("Rprop", {"etas": (0.5, 1.0)}, r"Invalid eta values: 0\.5, 1\.0"),
    ("Rprop", {"step_sizes": (1.0, 0.1)}, r"Invalid step sizes: 1\.0, 0\.1"),
]


def in_every_way(cls, options):
    """Give options to the constructor, to a group, to an added group, and by editing a group; yield the optimizers."""
    optimizer_class = getattr(numbopt, cls)
    x = np.linspace(1, 2, 3)
    yield None, lambda: optimizer_class(None, **options)  # before the parameters are looked at
    yield None, lambda: optimizer_class([x], **options)
    yield None, lambda: optimizer_class([{"params": [x]}, {"params": [np.ones(2)], **options}])
    optimizer = trained(cls)
    yield optimizer, lambda: optimizer.add_param_group({"params": [np.ones(2)], **options})
    before = dict(optimizer.param_groups[1])
    optimizer.param_groups[1].update(options)
    for step in (
        lambda: optimizer.step(),
        lambda: optimizer.step(grads=[np.ones(3), np.ones((2, 2))]),
        lambda: optimizer.step(lambda: (1.0, [np.ones(3), np.ones((2, 2))])),
    ):
        yield optimizer, step
    optimizer.param_groups[1].update(before)
    assert_goes_on(optimizer)
    np.testing.assert_array_equal(x, np.linspace(1, 2, 3), strict=True)


@pytest.mark.parametrize(("cls", "options", "message"), WRONG_OPTIONS, ids=str)
def test_wrong_options_are_refused_with_the_message_of_torch(cls, options, message):
    for optimizer, give in in_every_way(cls, options):
        before = optimizer and everything_in(optimizer)
        with pytest.raises(ValueError, match=message):
            give()
        assert not optimizer or everything_in(optimizer) == before


NO_NUMBERS = ("0.1", None, True, np.bool_(True), 1j, [1], (1,), {}, np.array("a"), np.array([]), np.ones(2), Tensor())
NO_FLAGS = ("yes", "", None, 2, -1, 0.5, np.nan, 1j, [], [True], np.ones(2, bool), np.array("a"), Tensor())
NO_PAIRS = (0.5, None, "ab", b"ab", (), (0.5,), {0.5, 0.25}, {0.5: 1, 0.25: 2}, np.array(0.5), iter("ab"))


def values_that_cannot_be(check):
    """Values that are not of the kind of an option, or no numbers at all."""
    if check is flag:
        return NO_FLAGS
    if isinstance(check, Number):
        infinite = (np.inf, -np.inf, np.float32(np.inf)) if check.finite else ()
        return (np.nan, np.float32(np.nan), np.array(np.nan), 10**400, *infinite, *NO_NUMBERS)
    if check is as_float:
        return NO_NUMBERS
    if not isinstance(check, Several):
        return (np.nan, np.inf, 0.5, -1, *NO_NUMBERS)  # an integer
    good, *others = (0.5, 1.5, 0.5)[: len(check.checks)]
    firsts = [(bad, *others) for bad in values_that_cannot_be(check.checks[0])]
    lasts = [(good, *others[:-1], bad) for bad in values_that_cannot_be(check.checks[-1])]
    return (*NO_PAIRS, (0.5,) * (5 - len(check.checks)), *firsts, *lasts)


@pytest.mark.parametrize("cls", CLASSES)
def test_values_that_no_option_can_have(cls):
    optimizer_class = getattr(numbopt, cls)
    optimizer = trained(cls)
    group = optimizer.param_groups[1]
    for name, check in {**optimizer_class.options, "maximize": flag}.items():
        if name == "beta3":  # may be None
            continue
        good = group[name]
        for bad in values_that_cannot_be(check):
            with refused((TypeError, ValueError), name):
                optimizer_class(None, **{name: bad})
            with refused((TypeError, ValueError), name):
                optimizer.add_param_group({"params": [np.ones(2)], name: bad})
            if isinstance(bad, (bool, np.bool_)) and bad == good:
                continue  # 1.0 and True: nothing was edited
            group[name] = bad
            with refused((TypeError, ValueError), name):
                optimizer.step()
            group[name] = good
    assert_goes_on(optimizer)


@pytest.mark.parametrize("cls", TORCHS)
def test_differentiable_is_refused(cls):
    for optimizer, give in in_every_way(cls, {"differentiable": True}):
        with refused(ValueError, "differentiable=True is not supported", "leave it False", by=optimizer):
            give()
    for value, error in (("yes", TypeError), (np.ones(2), ValueError)):
        with refused(error, "differentiable"):
            getattr(numbopt, cls)([np.ones(3)], differentiable=value)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("lrs", "did you mean 'lr'?"),
        ("beta", "did you mean 'betas'?"),
        ("epsilon", "did you mean 'eps'?"),
        ("weight_decai", "did you mean 'weight_decay'?"),
        ("wd", "known are amsgrad, betas"),
        ("Params", "known are amsgrad, betas"),
        ("momentum", "known are amsgrad, betas"),
        (3, "known are amsgrad, betas"),
    ],
)
def test_unknown_options(key, hint):
    optimizer = trained()
    text = f"unknown option {str(key)!r} in a param group"
    with refused(ValueError, text, hint):
        numbopt.Adam([{"params": [np.ones(3)], key: 1}])
    with refused(ValueError, text, hint, by=optimizer):
        optimizer.add_param_group({"params": [np.ones(3)], key: 1})
    optimizer.param_groups[0][key] = 1
    with refused(ValueError, text, hint, by=optimizer):
        optimizer.step()
    del optimizer.param_groups[0][key]
    assert_goes_on(optimizer)
    with refused(TypeError, f"'{key}'"):
        numbopt.Adam([np.ones(3)], **{str(key): 1})


def test_groups_that_were_edited_too_much():
    optimizer = trained()
    groups = list(optimizer.param_groups)
    params, lr = groups[0]["params"], groups[0].pop("lr")
    with refused(ValueError, "param group lacks the option 'lr'", "set it", by=optimizer):
        optimizer.step()
    groups[0]["lr"] = lr
    for wrong in (groups[1]["params"], (Parameter(np.ones(3)),), (*params, Parameter(np.ones(3)))):
        groups[0]["params"] = wrong
        with refused(ValueError, "'params' were replaced", "add_param_group"):
            optimizer.step()
    for wrong in (None, 3, []):
        groups[0]["params"] = wrong
        with refused(ValueError, "'params' were replaced", "add_param_group"):
            optimizer.step()
    groups[0]["params"] = params
    for wrong in (groups[:1], groups[::-1], [*groups, dict(groups[0])]):
        optimizer.param_groups[:] = wrong
        with refused(ValueError, "'params' were replaced", "add_param_group"):
            optimizer.step()
    optimizer.param_groups[:] = groups
    assert_goes_on(optimizer)


@pytest.mark.parametrize("n", [0, -1, 1.5, 2.0, "2", None, True, np.nan, [2], np.array([2, 3])], ids=repr)
def test_numbers_of_threads_that_cannot_be(n):
    before = numbopt.get_num_threads()
    with refused(ValueError, "n must be a positive integer", repr(n)):
        numbopt.set_num_threads(n)
    assert numbopt.get_num_threads() == before


# ---- algorithms of one's own


def descend(p, g, state, h):
    return p - h.lr * g, state


def forget(p, g, state, h):
    return p - h.lr * g, state[1:]


def advance_once(options, clock):
    return (clock[0] + 1,), (options["lr"],)


def own_optimizer(rule=None, advance=advance_once, dtype="float64"):
    """An optimizer of one's own over one parameter, which has been trained where that is possible."""

    class Own(numbopt.ElementwiseOptimizer):
        options = {"lr": numbopt.options.LR}  # noqa: RUF012

        def __init__(self, params, lr=0.5):
            super().__init__(params, {"lr": lr})

    Own.rule = rule or numbopt.Rule(descend, scalars=("lr",))
    Own.advance = staticmethod(advance)
    return Own([np.ones(3, dtype)])


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        (
            numbopt.Rule(descend, state=("a", "b", "c", "d", "e"), scalars=("lr",)),
            ("at most 4 state arrays", "('a', 'b', 'c', 'd', 'e')"),
        ),
        (numbopt.Rule(descend, scalars=("lr", "lr")), ("distinct identifiers", "('lr', 'lr')")),
        (numbopt.Rule(descend, scalars=("lr", "l2")), ("distinct identifiers other than", "'l2'")),
        (numbopt.Rule(descend, scalars=("lr", "grad_scale")), ("distinct identifiers other than", "'grad_scale'")),
        (numbopt.Rule(descend, scalars=("learning rate",)), ("distinct identifiers", "'learning rate'")),
        (numbopt.Rule(descend, scalars=("lambda",)), ("distinct identifiers", "'lambda'")),
        (numbopt.Rule(descend, scalars=("1st",)), ("distinct identifiers", "'1st'")),
    ],
    ids=lambda value: str(value[1:]) if isinstance(value, numbopt.Rule) else "",
)
def test_rules_that_cannot_be(rule, texts):
    for _ in range(2):
        optimizer = own_optimizer(rule)
        with refused(ValueError, *texts, by=optimizer):
            optimizer.step(grads=[np.ones(3)])


def test_a_rule_must_return_all_of_its_state():
    optimizer = own_optimizer(numbopt.Rule(forget, state=("a", "b"), scalars=("lr",)))
    with refused(numba.TypingError, "2 numbers for 3 arrays", by=optimizer):
        optimizer.step(grads=[np.ones(3)])


@pytest.mark.parametrize("scalars", [(), (0.5, 0.5), (None,), ("0.5",)], ids=repr)
def test_advance_must_return_the_scalars_of_the_rule(scalars):
    calls = iter([(0.5,), scalars, (0.5,)])
    optimizer = own_optimizer(advance=lambda options, clock: ((clock[0] + 1,), next(calls)))
    optimizer.step(grads=[np.ones(3)])
    with refused(ValueError, "advance must return as many scalars as the rule names", by=optimizer):
        optimizer.step(grads=[np.ones(3)])
    optimizer.step(grads=[np.ones(3)])
    (parameter,) = optimizer.param_groups[0]["params"]
    np.testing.assert_array_equal(parameter.data, np.zeros(3))
    assert optimizer.state[parameter]["step"] == 2


def test_advance_that_returns_no_pair():
    optimizer = own_optimizer(advance=lambda options, clock: None)
    with refused(TypeError, by=optimizer):
        optimizer.step(grads=[np.ones(3)])


@pytest.mark.parametrize("options", [{"alpha": 1e9}, {"alpha": -1e9}, {"lambd": -1.0}, {"lambd": -2.0}], ids=str)
def test_options_that_scalars_cannot_be_computed_from(options):
    x = np.ones(3)
    optimizer = numbopt.ASGD([x], **{"lr": 1.0, "lambd": 1.0, **options})
    with refused(ValueError, "computed by ASGD from the options", str(options)[1:-1], by=optimizer):
        optimizer.step(grads=[np.ones(3)])


def test_scalars_too_large_for_single_precision():
    optimizer = own_optimizer(dtype="float32")
    optimizer.param_groups[0]["lr"] = 1e39
    with refused(ValueError, "scalar too large for float32", "1e+39", by=optimizer):
        optimizer.step(grads=[np.ones(3, np.float32)])
    optimizer.param_groups[0]["lr"] = 1e38
    optimizer.step(grads=[np.ones(3, np.float32)])
