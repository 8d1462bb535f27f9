"""Arrays of CuPy, torch, Numba and JAX in person: as parameters, as gradients, and given back to them."""

import gc

import numpy as np
import pytest
from cases.optimizers import DTYPES

import numbopt
from numbopt._devices.arrays import as_device_array
from numbopt._devices.streams import current_stream

STEPS = 3


def start(dtype, shape=(5, 7)):
    generator = np.random.default_rng(0)
    values = [generator.standard_normal(shape) + 1j * generator.standard_normal(shape) for _ in range(2)]
    return [(value if np.dtype(dtype).kind == "c" else value.real).astype(dtype) for value in values]


def expected(values, gradient):
    """What becomes of values on the CPU."""
    parameter = numbopt.Parameter(values)
    optimizer = numbopt.Adam([parameter], lr=0.1)
    for _ in range(STEPS):
        optimizer.step(grads=[gradient])
    return parameter.data


def assert_close(actual, expected):
    tolerance = 8 * np.finfo(expected.dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
    assert actual.dtype == expected.dtype


def address(array):
    return as_device_array(array).address


@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_in_place(library, dtype):
    values, gradient = start(dtype)
    array, gradient_array = library.array(values), library.array(gradient)
    if not library.writes:
        with pytest.raises(ValueError, match="is read-only"):
            numbopt.Adam([array])
        return
    optimizer = numbopt.Adam([array], lr=0.1)
    for _ in range(STEPS):
        optimizer.step(grads=[gradient_array])
    assert_close(library.values(array), expected(values, gradient))
    assert optimizer.param_groups[0]["params"][0].data is array
    np.testing.assert_array_equal(library.values(gradient_array), gradient)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients(library, dtype):
    values, gradient = start(dtype)
    given, own = (numbopt.Parameter(values, device="cuda") for _ in range(2))
    optimizers = [numbopt.Adam([parameter], lr=0.1) for parameter in (given, own)]
    for _ in range(STEPS):
        array = library.array(gradient)  # a new one each time
        optimizers[0].step(grads=[array])
        own.grad = array
        optimizers[1].step()
    for parameter in (given, own):
        assert_close(parameter.to("cpu").data, expected(values, gradient))


@pytest.mark.parametrize("dtype", DTYPES)
def test_data_and_gradient_are_shown_without_copies(library, dtype):
    values, gradient = start(dtype)
    array = library.array(values)
    parameter = numbopt.Parameter(array)
    parameter.grad = library.array(gradient)
    kind = type(array) if library.own_arrays else numbopt.cuda.DeviceArray
    assert type(parameter.data) is type(parameter.grad) is kind
    assert address(parameter.data) == parameter._address != address(array)
    assert address(parameter.grad) == parameter._grad_address
    if library.own_arrays:
        np.testing.assert_array_equal(library.values(parameter.data), values)
        np.testing.assert_array_equal(library.values(parameter.grad), gradient)


class ByDLPack:
    """Nothing of an array but DLPack."""

    def __init__(self, array):
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__


def test_dlpack_alone(library):
    if not library.exports_dlpack:
        pytest.skip("it has no DLPack")
    values, gradient = start("float32")
    parameter = numbopt.Parameter(values, device="cuda")
    optimizer = numbopt.Adam([parameter], lr=0.1)
    gradient_array = library.array(gradient)
    for _ in range(STEPS):
        optimizer.step(grads=[ByDLPack(gradient_array)])
    assert_close(parameter.to("cpu").data, expected(values, gradient))


def test_current_stream(library, gpu):
    if not library.writes:
        pytest.skip("its streams are its own")
    values, gradient = start("float32", shape=(1 << 16,))
    with library.new_stream() as stream:
        assert current_stream() == stream != 0
        gpu.streams = {stream}  # anything on another one is an error
        try:
            array = library.array(values)
            optimizer = numbopt.Adam([array], lr=0.1)
            for _ in range(STEPS):
                optimizer.step(grads=[library.array(gradient)])
        finally:
            gpu.streams = {0}
    assert_close(library.values(array), expected(values, gradient))


def test_arrays_are_kept_alive(library):
    values, gradient = start("float64")
    optimizer = numbopt.Adam([numbopt.Parameter(library.array(values))], lr=0.1)
    if library.writes:
        optimizer = numbopt.Adam([library.array(values)], lr=0.1)
    for _ in range(STEPS):
        optimizer.step(grads=[library.array(gradient)])
        gc.collect()
        [library.array(np.full_like(values, np.nan)) for _ in range(4)]  # would take memory that was given back
    assert_close(optimizer.param_groups[0]["params"][0].to("cpu").data, expected(values, gradient))
