"""The packages that compile for CUDA: numba-cuda, with NVIDIA's NVVM, compiles kernels to PTX.

Nothing of them is imported before a device is used.
"""

import functools
import importlib.util
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

_INSTALL = 'pip install "numbopt[cuda13]", or [cuda12] for a driver of CUDA 12'


@functools.cache
def compiler() -> Any:
    """Return the module that compiles for CUDA, ``numba.cuda``; a GPU is not needed.

    Raises
    ------
    RuntimeError
        If the package is not installed.
    """
    if importlib.util.find_spec("numba_cuda") is None:
        raise RuntimeError(f"arrays on a GPU need the package numba-cuda, which is not installed: {_INSTALL}")
    vars(np).setdefault("row_stack", np.vstack)  # numba-cuda 0.30 uses it, NumPy 2.5 has dropped it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy 2.5 has some for it
        from numba import cuda
    return cuda


def intrinsic(function: Callable[..., Any]) -> Any:
    """Make a function that writes LLVM instructions callable in kernels."""
    compiler()
    from numba.cuda.extending import intrinsic

    return intrinsic(function)


def device_function(function: FunctionType, original: Any) -> Any:
    """Compile a function that kernels call, into its callers."""
    return compiler().jit(device=True, inline="always")(function)


def compiler_version() -> str:
    """Return what decides, beside the source, what `compile_ptx` returns."""
    compiler()
    import importlib.metadata

    from cuda.bindings import nvvm

    return f"numba-cuda {importlib.metadata.version('numba-cuda')}, NVVM {nvvm.version()}"


def compile_ptx(kernel: FunctionType, argument_types: tuple[Any, ...], capability: tuple[int, int]) -> str:
    """Compile a kernel for GPUs of a compute capability; none is needed.

    Parameters
    ----------
    kernel : function
        What one thread does.
    argument_types : tuple of numba types
        A tuple of numbers is as many arguments.
    capability : (int, int)
        For example (9, 0) for H100 and H200.
    """
    cuda = compiler()
    from numba import types

    signature = types.void(*argument_types)
    ptx, _ = cuda.compile(kernel, signature, cc=capability, output="ptx", abi="numba", device=False)
    return str(ptx)
