"""The array libraries that numbopt meets on a GPU, all behind the same few functions.

Making one raises an ImportError or RuntimeError where the library is not installed or finds no GPU.
"""

import contextlib
import os

import numpy as np

import numbopt
from numbopt._devices import compiler, streams


class CuPy:
    writes = True  # its arrays may be parameters in place
    own_arrays = True  # a Parameter made from one shows arrays of the library
    exports_dlpack = True

    def __init__(self):
        import cupy

        if not cupy.cuda.is_available():
            raise RuntimeError("CuPy finds no GPU")
        self.module, self.version = cupy, cupy.__version__

    def array(self, values):
        """Return a copy of an array of NumPy on the GPU."""
        return self.module.asarray(values)

    def values(self, array):
        """Return a copy of an array on the GPU as one of NumPy."""
        return self.module.asnumpy(array)

    @contextlib.contextmanager
    def new_stream(self):
        """Make a new stream the library's current one, and give its address; wait for it in the end."""
        stream = self.module.cuda.Stream(non_blocking=True)
        with stream:
            yield stream.ptr
        stream.synchronize()


class Torch:
    writes = own_arrays = exports_dlpack = True

    def __init__(self):
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError("torch finds no GPU")
        self.module, self.version = torch, torch.__version__

    def array(self, values):
        return self.module.tensor(values, device="cuda")

    def values(self, array):
        return array.cpu().numpy()

    @contextlib.contextmanager
    def new_stream(self):
        stream = self.module.cuda.Stream()
        with self.module.cuda.stream(stream):
            yield stream.cuda_stream
        stream.synchronize()


class Numba:
    writes = own_arrays = True
    exports_dlpack = False

    def __init__(self):
        cuda = compiler.compiler()
        if not cuda.is_available():
            raise RuntimeError("Numba finds no GPU")
        import numba_cuda

        self.module, self.version = cuda, numba_cuda.__version__

    def array(self, values):
        return self.module.to_device(values)

    def values(self, array):
        return array.copy_to_host()

    @contextlib.contextmanager
    def new_stream(self):  # it has no current stream
        stream = self.module.stream()
        with numbopt.cuda.stream(stream):
            yield streams.current_stream()
        stream.synchronize()


class JAX:
    writes = own_arrays = False
    exports_dlpack = True

    def __init__(self):
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # it would take most of the memory
        import jax

        self._gpu = jax.devices("gpu")[0]
        jax.config.update("jax_enable_x64", True)
        self.module, self.version = jax, jax.__version__

    def array(self, values):
        return self.module.device_put(values, self._gpu)

    def values(self, array):
        return np.array(array)


LIBRARIES = (CuPy, Torch, Numba, JAX)
