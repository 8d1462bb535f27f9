"""From a Python kernel to PTX, with the compiler of numba-cuda and neither driver nor GPU."""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import types

needs_cuda_compiler = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed"
)

SM_80, SM_90 = (8, 0), (9, 0)


def to_ptx(kernel: Callable[..., None], *argtypes: Any, cc: tuple[int, int] = SM_90) -> str:
    """Compile a kernel, a plain Python function, for a compute capability.

    Device functions that it calls must be ``cuda.jit(device=True, inline="always")``: for others the compiler asks the
    driver which GPU there is.
    """
    from numba import cuda

    if not hasattr(np, "row_stack"):  # numba-cuda 0.30 looks it up, NumPy 2.5 has dropped it
        np.row_stack = np.vstack  # noqa: NPY201
    text, _ = cuda.compile(kernel, types.void(*argtypes), cc=cc, output="ptx", abi="numba", device=False)
    return text
