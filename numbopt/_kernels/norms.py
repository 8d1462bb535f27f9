"""The arithmetic of norms of gradients and of clipping by them, for Python, the CPU and CUDA alike."""

import numpy as np

from numbopt._kernels.specialise import compiled_with


@compiled_with(inline="always")  # so that a sum on the CPU is compiled with the options of its loop
def square(value):
    """Return what a number adds to a sum of squares, in float64."""
    return np.float64(value) * np.float64(value)


def clip_coefficient(max_norm: float, norm: float) -> float:
    """Return the factor that takes gradients of this norm to ``max_norm``, at most 1; NaN for NaN."""
    coefficient = max_norm / (norm + 1e-6)
    return 1.0 if coefficient > 1.0 else coefficient
