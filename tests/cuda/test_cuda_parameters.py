"""Parameters, gradients and states on a GPU: where they are, who sees what, what is refused."""

import copy
import ctypes
import pickle

import numpy as np
import pytest

import numbopt
from numbopt.cuda import DeviceArray
from numbopt.parameter import _moved


class ForeignArray:
    """An array on the GPU of a library that numbopt does not know; a copy of ``values``."""

    def __init__(self, values, **more):
        self.array = _moved(values)
        self._more = more

    @property
    def __cuda_array_interface__(self):
        return self.array.__cuda_array_interface__ | self._more

    def part(self, offset, length):
        """An array in the memory of this one, from so many bytes on."""
        return ForeignArray(np.zeros(length), data=(self.array.address + offset, False))


def on_gpu(values, **more):
    return numbopt.Parameter(values, device="cuda", **more)


SHAPES = {
    "0-d": np.array(2.0),
    "empty": np.zeros((0, 3)),
    "C": np.arange(6.0).reshape(2, 3),
    "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "axes in another order": np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
    "axes of length one": np.arange(3.0).reshape(1, 3, 1),
    "complex": np.arange(6).reshape(2, 3) * (1 - 2j),
}


@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES.keys())
def test_there_and_back(values, gpu):
    parameter = on_gpu(values, name="w")
    assert parameter.device == "cuda"
    assert parameter.shape == values.shape and parameter.dtype == values.dtype
    assert isinstance(parameter.data, DeviceArray)
    np.testing.assert_array_equal(parameter.data.copy_to_host(), values)
    back = parameter.to("cpu")
    assert back.device == "cpu" and back.name == "w"
    np.testing.assert_array_equal(back.data, values)
    assert parameter.to("cuda") is parameter and back.to("cpu") is back
    np.testing.assert_array_equal(back.to("cuda").data.copy_to_host(), values)


@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES.keys())
def test_steps_of_all_shapes(values, gpu):
    host, device = numbopt.Parameter(values), on_gpu(values)
    for parameter in (host, device):
        optimizer = numbopt.Adam([parameter], lr=0.1)
        for _ in range(3):
            parameter.grad = parameter.data.copy()
            optimizer.step()
    np.testing.assert_allclose(device.data.copy_to_host(), host.data, rtol=1e-14)
    state = optimizer.state[device]
    if values.size:
        assert state["exp_avg"].shape == values.shape and state["exp_avg"].dtype == values.dtype


def test_gradient_moves_along(gpu):
    parameter = numbopt.Parameter([1.0, 2.0])
    parameter.grad = [3.0, 4.0]
    moved = parameter.to("cuda")
    np.testing.assert_array_equal(moved.grad.copy_to_host(), [3, 4])
    np.testing.assert_array_equal(moved.to("cpu").grad, [3, 4])


def test_data_is_copied_into_place(gpu):
    parameter = on_gpu(np.zeros(3))
    address = parameter.data.address
    parameter.data = [1, 2, 3]
    np.testing.assert_array_equal(parameter.data.copy_to_host(), [1, 2, 3])
    parameter.data = on_gpu([4.0, 5.0, 6.0]).data
    np.testing.assert_array_equal(parameter.data.copy_to_host(), [4, 5, 6])
    assert parameter.data.address == address
    host = numbopt.Parameter(np.zeros(3))
    host.data = parameter.data
    np.testing.assert_array_equal(host.data, [4, 5, 6])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))], ids=["deepcopy", "pickle"])
def test_copies(copied, gpu):
    parameter = on_gpu(np.arange(6.0).reshape(2, 3).T, name="w")
    parameter.grad = on_gpu(np.ones((2, 3)).T).data
    twin = copied(parameter)
    assert twin.device == "cuda" and twin.name == "w"
    assert twin.data.address != parameter.data.address
    np.testing.assert_array_equal(twin.data.copy_to_host(), parameter.data.copy_to_host())
    np.testing.assert_array_equal(twin.grad.copy_to_host(), 1)


def test_repr_shows_values(gpu):
    assert repr(on_gpu([1.0, 2.0])) == "Parameter([1., 2.], device='cuda')"
    assert repr(on_gpu([1.0, 2.0]).data) == "DeviceArray([1., 2.], dtype=float64)"


def test_nothing_becomes_an_array_of_numpy_by_itself(gpu):
    parameter = on_gpu([1.0, 2.0])
    for convert in (np.asarray, lambda p: np.asarray(p.data), lambda p: p.data + 1, lambda p: np.sin(p.data), list):
        with pytest.raises(TypeError):
            convert(parameter)


# ---- arrays of other libraries


def test_foreign_array_is_updated_in_place(gpu):
    array = ForeignArray(np.arange(6.0, dtype=np.float32))
    optimizer = numbopt.SGD([array], lr=0.5)
    (parameter,) = optimizer.param_groups[0]["params"]
    assert parameter.data is array and optimizer.state is not None
    gradient = ForeignArray(np.ones(6, np.float32))
    optimizer.step(grads=[gradient])
    np.testing.assert_array_equal(array.array.copy_to_host(), np.arange(6) - 0.5)
    optimizer.step(grads=gradient)
    np.testing.assert_array_equal(array.array.copy_to_host(), np.arange(6) - 1.0)


def test_parameter_copies_a_foreign_array(gpu):
    array = ForeignArray(np.arange(3.0))
    parameter = numbopt.Parameter(array)
    assert parameter.device == "cuda"
    parameter.data = [7, 7, 7]
    np.testing.assert_array_equal(array.array.copy_to_host(), [0, 1, 2])
    np.testing.assert_array_equal(numbopt.Parameter(array, device="cpu").data, [0, 1, 2])


def test_read_only_array_is_a_gradient_but_no_parameter(gpu):
    array = ForeignArray(np.ones(3))
    array.array.read_only = True
    with pytest.raises(ValueError, match=r"parameter of shape \(3,\) is read-only; use numbopt\.Parameter"):
        numbopt.SGD([array])
    parameter = on_gpu(np.zeros(3))
    numbopt.SGD([parameter], lr=1).step(grads=[array])
    np.testing.assert_array_equal(parameter.data.copy_to_host(), -1)


class DLTensor(ctypes.Structure):
    """What a capsule of DLPack points to; manager and deleter are behind it."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code_and_bits", ctypes.c_uint8 * 2),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager_and_deleter", ctypes.c_void_p * 2),
    ]


class DLPackArray:
    """An array on the GPU that others see by DLPack alone."""

    def __init__(self, values):
        self.array = _moved(values)
        lengths = (ctypes.c_int64 * values.ndim)(*values.shape)
        strides = (ctypes.c_int64 * values.ndim)(*(stride // values.itemsize for stride in values.strides))
        kind = {"f": 2, "c": 5}[values.dtype.kind], 8 * values.itemsize
        self._tensor = DLTensor(self.array.address, (2, 0), values.ndim, kind, 1, lengths, strides, 0)

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, *, stream, **more):
        assert stream == 1  # the default one, which is to wait for what the array is still computed from
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self._tensor), b"dltensor", None)


@pytest.mark.parametrize("values", [np.arange(6.0).reshape(2, 3).T, np.array([1 + 2j, 3]).astype(np.complex64)])
def test_arrays_by_dlpack(values, gpu):
    array, gradient = DLPackArray(values), DLPackArray(values)
    optimizer = numbopt.SGD([array], lr=0.5)
    optimizer.step(grads=[gradient])
    np.testing.assert_array_equal(array.array.copy_to_host(), values / 2)
    np.testing.assert_array_equal(numbopt.Parameter(array).data.copy_to_host(), values / 2)


class ArrayOfJAX(DLPackArray):
    """Nobody may write into it; DLPack without a version cannot say so."""

    @property
    def __cuda_array_interface__(self):
        return self.array.__cuda_array_interface__ | {"data": (self.array.address, True), "version": 2}


def test_read_only_arrays_stay_so_by_dlpack(gpu):
    array = ArrayOfJAX(np.ones(3))
    with pytest.raises(ValueError, match="is read-only"):
        numbopt.SGD([array])
    parameter = on_gpu(np.zeros(3))
    numbopt.SGD([parameter], lr=1).step(grads=[array])
    np.testing.assert_array_equal(parameter.data.copy_to_host(), -1)


class Arrays:
    """Stands for CuPy: makes arrays of its own from others."""

    class ndarray(ForeignArray):
        __module__ = "cupy"

        def __init__(self, array):
            self.array = array

        @property
        def __cuda_array_interface__(self):
            return self.array.__cuda_array_interface__

    asarray = ndarray

    class cuda:
        stream = 0

        @classmethod
        def get_current_stream(cls):
            class Stream:
                ptr = cls.stream

            return Stream


def test_a_parameter_from_cupy_shows_arrays_of_cupy(gpu, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", Arrays)
    array = Arrays.asarray(ForeignArray(np.arange(3.0)))
    in_place = numbopt.SGD([array]).param_groups[0]["params"][0]
    assert in_place.data is array
    copied = numbopt.Parameter(array)
    assert type(copied.data) is Arrays.ndarray and copied.data is not array
    copied.grad = array
    assert type(copied.grad) is Arrays.ndarray
    gradient = copied.grad
    copied.grad = gradient
    assert copied.grad is gradient


# ---- streams


def test_everything_is_launched_on_the_chosen_stream(gpu):
    address = gpu.new_stream()
    parameter = on_gpu(np.zeros(3))
    optimizer = numbopt.Adam([parameter], lr=0.1, max_grad_norm=1.0)
    optimizer.zero_grad()
    gpu.streams.remove(0)  # launching on it would be a fault
    try:
        for stream in (address, type("Stream", (), {"ptr": address}), type("Stream", (), {"cuda_stream": address})):
            with numbopt.cuda.stream(stream):
                parameter.grad = parameter.data
                optimizer.step()
                optimizer.zero_grad()
                parameter.data.copy_to_host()
    finally:
        gpu.streams.add(0)
    with pytest.raises(TypeError, match="stream must be a stream of CuPy"), numbopt.cuda.stream("fast"):
        pass


def test_the_current_stream_of_cupy_is_used(gpu, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", Arrays)
    monkeypatch.setattr(Arrays.cuda, "stream", gpu.new_stream())
    gpu.streams.remove(0)
    try:
        numbopt.SGD([on_gpu(np.zeros(3))]).step(grads=[on_gpu(np.ones(3)).data])
        numbopt.cuda.synchronize()
    finally:
        gpu.streams.add(0)


def test_a_step_is_not_captured_in_a_graph(gpu, monkeypatch):
    parameter = on_gpu(np.zeros(3))
    parameter.grad = parameter.data
    optimizer = numbopt.Adam([parameter])
    stream = gpu.new_stream()
    with numbopt.cuda.stream(stream):
        optimizer.step()
    monkeypatch.setattr(gpu, "capturing", {stream})
    for captured in (optimizer.step, optimizer.zero_grad):
        with numbopt.cuda.stream(stream), pytest.raises(RuntimeError, match="cannot be part of a CUDA graph"):
            captured()
    assert optimizer.state[parameter]["step"] == 1
    optimizer.step()
    assert optimizer.state[parameter]["step"] == 2


# ---- bad input


def bad_parameters():
    return {
        "dtype float16": (ForeignArray(np.zeros(3, np.float16)), TypeError, "float16; numbopt optimizes"),
        "integers": (ForeignArray(np.zeros(3, int)), TypeError, "int64; numbopt optimizes"),
        "strided": (ForeignArray(np.zeros(6), shape=(3,), strides=(16,)), ValueError, "is strided"),
        "mask": (ForeignArray(np.zeros(3), mask=object()), ValueError, "has a mask"),
    }


@pytest.mark.parametrize("what", ["dtype float16", "integers", "strided", "mask"])
def test_bad_parameters(what, gpu):
    array, error, message = bad_parameters()[what]
    for make in (lambda: numbopt.SGD([array]), lambda: numbopt.Parameter(array)):
        with pytest.raises(error, match=message):
            make()


def bad_gradients():
    return {
        "on the host": (np.ones((2, 3)), TypeError, "gradient of .*'w'.* is on cpu, the parameter on cuda"),
        "a list": ([[1.0] * 3] * 2, TypeError, "is on cpu"),
        "of another dtype": (ForeignArray(np.ones((2, 3), np.float32)), TypeError, "is float32, the parameter float64"),
        "of another shape": (ForeignArray(np.ones((3, 2))), ValueError, "has shape"),
        "in another order": (ForeignArray(np.ones((3, 2)).T), ValueError, "does not lie in memory as the parameter"),
        "with gaps": (ForeignArray(np.ones(12), shape=(2, 3), strides=(48, 16)), ValueError, "does not lie in memory"),
    }


@pytest.mark.parametrize(
    "what", ["on the host", "a list", "of another dtype", "of another shape", "in another order", "with gaps"]
)
def test_bad_gradients_change_nothing(what, gpu):
    gradient, error, message = bad_gradients()[what]
    parameter = on_gpu(np.zeros((2, 3)), name="w")
    other = numbopt.Parameter(np.zeros(2))
    optimizer = numbopt.SGD([other, parameter], lr=1.0)
    with pytest.raises(error, match=message):
        optimizer.step(grads=[np.ones(2), gradient])
    with pytest.raises(error, match=message):
        parameter.grad = gradient
    assert parameter.grad is None
    np.testing.assert_array_equal(parameter.data.copy_to_host(), 0)
    np.testing.assert_array_equal(other.data, 0)


def test_gradient_on_the_gpu_for_a_parameter_on_the_host(gpu):
    parameter = numbopt.Parameter(np.zeros(3), name="w")
    gradient = on_gpu(np.ones(3)).data
    with pytest.raises(TypeError, match="'w' is on cuda, the parameter on cpu"):
        numbopt.SGD([parameter]).step(grads=[gradient])
    with pytest.raises(TypeError, match="'w' is on cuda, the parameter on cpu"):
        parameter.grad = gradient


def test_gradient_in_the_memory_of_another_parameter(gpu):
    first, second = ForeignArray(np.zeros(8)), on_gpu(np.zeros(4))
    with pytest.raises(ValueError, match="shares memory with a parameter"):
        numbopt.SGD([first, second]).step(grads=[None, first.part(16, 4)])


def test_overlapping_parameters(gpu):
    first = ForeignArray(np.zeros(8))
    with pytest.raises(ValueError, match="share memory"):
        numbopt.SGD([first, first.part(16, 4)])


def test_array_on_another_gpu(gpu):
    array = ForeignArray(np.zeros(3))
    gpu.ordinal_of[array.array.address] = 1
    with pytest.raises(ValueError, match="the array is on GPU 1, numbopt works on GPU 0"):
        numbopt.SGD([array])


def test_array_alone(gpu):
    with pytest.raises(TypeError, match="put it in a list"):
        numbopt.SGD(on_gpu(np.zeros(3)).data)


def test_device_names(gpu):
    for device in ("gpu", "cuda:1", 0):
        with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda'"):
            numbopt.Parameter([1.0], device=device)
        with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda'"):
            numbopt.Parameter([1.0]).to(device)


def test_state_that_does_not_fit_changes_nothing(gpu, monkeypatch):
    parameter = on_gpu(np.zeros(1000))
    parameter.grad = parameter.data
    optimizer = numbopt.Adam([parameter])
    monkeypatch.setattr(gpu, "capacity", gpu.used + 10_000)
    with pytest.raises(MemoryError, match="the GPU has not enough free memory"):
        optimizer.step()
    assert not optimizer.state
    monkeypatch.undo()
    optimizer.step()
    assert optimizer.state[parameter]["step"] == 1
