"""From a Python kernel to PTX, with the compiler for CUDA and neither driver nor GPU."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from numbopt._devices import compiler

needs_cuda_compiler = pytest.mark.skipif(
    importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed"
)


def to_ptx(kernel: Callable[..., None], *argtypes: Any, cc: tuple[int, int] = (9, 0)) -> str:
    """Compile a plain function for a compute capability.

    Device functions that it calls must be ``cuda.jit(device=True, inline="always")``: for others the compiler asks the
    driver which GPU there is.
    """
    return compiler.compile_ptx(kernel, argtypes, cc)
