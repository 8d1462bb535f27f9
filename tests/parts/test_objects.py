"""Where things are in the objects of Python and NumPy: right, or not known."""

import ctypes

import numpy as np
import pytest

from numbopt._devices import objects
from numbopt._devices.objects import ALIGNED, WRITEABLE, ObjectLayout, object_layout


@pytest.fixture
def layout():
    found = object_layout()
    if found is None:
        pytest.skip("objects cannot be read here")
    return found


@pytest.fixture
def probe_anew():
    """Probe with whatever the test changes, and forget it."""
    yield object_layout.__wrapped__
    assert object_layout() == object_layout.__wrapped__()


def word(address):
    return ctypes.c_int64.from_address(address).value


def int32(address):
    return ctypes.c_int32.from_address(address).value


def test_the_layout_of_this_python_is_known():
    """Else each step takes the slow way; CPython with a word of 64 bits has always had it."""
    if np.dtype(np.intp).itemsize == 8:
        assert object_layout() is not None


class Subclass(np.ndarray):
    pass


def _locked():
    array = np.ones(3)
    array.setflags(write=False)
    return array


ARRAYS = {
    "0-d": np.array(1.0),
    "empty": np.zeros((0, 3), np.float32),
    "1-d": np.arange(5.0),
    "Fortran": np.zeros((3, 4), order="F"),
    "5-d": np.zeros((1, 2, 3, 4, 5), np.complex64)[:, :, ::-1],
    "backwards": np.arange(7, dtype=np.int8)[::-2],
    "broadcast": np.broadcast_to(np.float32(1), (3, 4)),
    "locked": _locked(),
    "misaligned": np.frombuffer(bytearray(25), np.float64, 3, offset=1),
    "structured": np.zeros(3, [("a", np.int8), ("b", np.float64)])["b"],
    "objects": np.array([None, 1]),
    "other byte order": np.zeros(2, np.dtype(np.float64).newbyteorder()),
    "a subclass": np.zeros((2, 3)).view(Subclass),
    "of 32 axes": np.zeros((1,) * 32),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_fields_of_an_array(array, layout):
    here = id(array)
    assert word(here + layout.kind) == id(type(array))
    assert word(here + layout.data) == array.ctypes.data
    assert int32(here + layout.ndim) == array.ndim
    assert word(here + layout.dtype) == id(array.dtype)
    assert int32(here + layout.flags) == array.flags.num
    assert bool(int32(here + layout.flags) & ALIGNED) == array.flags.aligned
    assert bool(int32(here + layout.flags) & WRITEABLE) == array.flags.writeable
    for start, values in ((layout.shape, array.shape), (layout.strides, array.strides)):
        assert tuple(word(word(here + start) + 8 * axis) for axis in range(array.ndim)) == values


@pytest.mark.parametrize("items", [(), (None,), (1.0, None, "a", np.ones(2)), tuple(range(1000))], ids=len)
def test_fields_of_a_tuple(items, layout):
    assert word(id(items) + layout.kind) == id(tuple)
    assert word(id(items) + layout.size) == len(items)
    for place, item in enumerate(items):
        assert word(id(items) + layout.items + 8 * place) == id(item)


def test_fields_follow_what_is_done_to_an_array(layout):
    array = np.zeros(12)
    here = id(array)
    for shape in ((3, 4), (12,), (2, 3, 2), (4, 3)):
        array.resize(shape, refcheck=False)
        assert int32(here + layout.ndim) == len(shape)
        assert tuple(word(word(here + layout.shape) + 8 * axis) for axis in range(len(shape))) == shape
    array.resize(100_000, refcheck=False)
    assert word(here + layout.data) == array.ctypes.data
    array.setflags(write=False)
    assert not int32(here + layout.flags) & WRITEABLE


@pytest.mark.parametrize("shift", [-8, 8, 4])
@pytest.mark.parametrize("field", ObjectLayout._fields)
def test_a_field_that_is_elsewhere_is_noticed(field, shift, monkeypatch, probe_anew):
    """The probe itself reads no further than the objects that it has made."""

    def shifted(**offsets):
        return ObjectLayout(**{**offsets, field: offsets[field] + shift})

    monkeypatch.setattr(objects, "ObjectLayout", shifted)
    assert probe_anew() is None
    monkeypatch.undo()


@pytest.mark.parametrize("first", ["shape", "strides"])
def test_lengths_and_strides_that_are_elsewhere_are_noticed(first, monkeypatch, probe_anew):
    """As if they were in two pieces of memory, or in the other order."""
    right = ctypes.c_int64.from_address

    def from_address(address):
        found = right(address)
        if found.value in (3, 5):  # lengths of the probe
            found = ctypes.c_int64(found.value + 1)
        return found

    if first == "shape":
        monkeypatch.setattr(objects, "_integer", lambda address: from_address(address).value)
    else:
        swapped = lambda **o: ObjectLayout(**{**o, "shape": o["strides"], "strides": o["shape"]})  # noqa: E731
        monkeypatch.setattr(objects, "ObjectLayout", swapped)
    assert probe_anew() is None
    monkeypatch.undo()


def test_words_of_another_size_are_not_read(monkeypatch, probe_anew):
    class Narrow:
        itemsize = 4

    monkeypatch.setattr(objects.np, "dtype", lambda kind: Narrow)
    monkeypatch.setattr(objects, "_integer", None)
    assert probe_anew() is None
    monkeypatch.undo()
