"""The passes over vectors of quasi-Newton methods: one definition, the same bits on the CPU and on a GPU."""

import functools

import numpy as np
import pytest

from numbopt._kernels.cpu.intrinsics import multiply_add
from numbopt._kernels.cpu.vectors import run_pass
from numbopt._kernels.passes import COPY, PASSES, WEIGHTED_SUM
from numbopt._kernels.specialise import specialise
from numbopt._launch.cuda_vectors import DeviceVectors, Passes

SIZE = 8195  # two blocks of the CPU and three of the GPU, and no multiple of the four numbers that it loads at once


def on_cpu(kind, out, a, b, u, v):
    return run_pass(kind, out, a, b, u, v, None)


@functools.cache
def compiled():
    return specialise(on_cpu, {"MULTIPLY_ADD": multiply_add}, cached=False)


def both(kind, dtype, vectors, a, b):
    """What a pass leaves in ``out`` and returns, on the CPU and on the GPU."""
    host = [vector.astype(dtype) for vector in vectors]
    number = compiled()(kind, host[0], a, b, *host[1:])
    device = DeviceVectors((3, SIZE), np.dtype(dtype))
    for row, vector in enumerate(vectors):
        device[row] = vector.astype(dtype)
    on_gpu = Passes(SIZE, np.dtype(dtype))(kind, device[0], a, b, device[1], device[2])
    return (host[0], number), (device[0].copy_to_host(), on_gpu)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [COPY, *PASSES])
def test_elements_have_the_same_bits(kind, dtype, gpu):
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((3, SIZE)) * np.exp(generator.uniform(-9, 9, (3, SIZE)))
    a, b = generator.standard_normal(2)  # no float32
    (on_cpu, _), (on_gpu, _) = both(kind, dtype, vectors, a, b)
    assert on_gpu.tobytes() == on_cpu.tobytes()
    if kind == WEIGHTED_SUM:  # rounded once: what float64 gives, rounded to the dtype
        out, u, _ = (vector.astype(dtype).astype(np.float64) for vector in vectors)
        np.testing.assert_allclose(on_cpu, a * out + b * u, rtol=2 * np.finfo(dtype).eps, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [kind for kind, form in PASSES.items() if form.term])
def test_sums_that_are_exact_have_the_same_bits(kind, dtype, gpu):
    vectors = np.random.default_rng(0).integers(-9, 9, (3, SIZE)).astype(np.float64)
    (_, on_cpu), (_, on_gpu) = both(kind, dtype, vectors, 3.0, -2.0)
    assert on_gpu == on_cpu != 0
