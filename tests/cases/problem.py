"""The problem that trajectories are recorded on: small parameters, prescribed gradients, the same on every machine."""

import hashlib

import numpy as np

SHAPES = ((3, 4), (5,), ())
SIZES = tuple(int(np.prod(shape)) for shape in SHAPES)
STEPS = range(1, 21)
PATTERNS = ("every gradient", "some None")


def starting_parameters(dtype):
    return [_shaped(_uniform(f"start {index}", dtype), index, dtype) for index in range(len(SHAPES))]


def gradients(step, dtype, pattern):
    """The gradients of one step; with the pattern "some None", those of some parameters are None."""
    return [
        None if pattern == "some None" and _is_missing(step, index) else _gradient(step, index, dtype)
        for index in range(len(SHAPES))
    ]


def _is_missing(step, index):
    every_gradient_missing = step == 9
    return every_gradient_missing or (step + index) % 3 == 0


def _gradient(step, index, dtype):
    # A constant part makes runs of one sign, which Rprop's growing steps need.
    values = 0.5 * _uniform(f"drift {index}", dtype) + _uniform(f"gradient {step} {index}", dtype)
    element = np.arange(values.size)
    # So small that eps, and where it is added, shows in the result.
    values[element % 4 == 1] *= 1e-8
    values[(element + step) % 5 == 0] = 0
    always_zero = element == 7
    values[always_zero] = 0
    return _shaped(values, index, dtype)


def _uniform(name, dtype):
    """Return numbers in [-1, 1) for the largest parameter; from a hash, which no release of NumPy can change."""
    count = max(SIZES) * _components(dtype)
    return np.frombuffer(hashlib.shake_128(name.encode()).digest(4 * count), "<u4") / 2.0**31 - 1


def _shaped(values, index, dtype):
    values = values[: SIZES[index] * _components(dtype)]
    if _components(dtype) == 2:
        values = values.view(np.complex128)
    return values.astype(dtype).reshape(SHAPES[index])


def _components(dtype):
    return 2 if np.dtype(dtype).kind == "c" else 1
