"""A plugin of pytest: the GPU in software under NVIDIA's own bindings, ``pytest -p support.gpu.libcuda ...``.

The bindings look every function up by ``cuGetProcAddress``. Here that is one of a library of ten lines, which needs a C
compiler, and what it finds are callbacks into `SoftwareDriver`. So what numbopt gives to the bindings, and takes from
them, is checked by them, and tests see a GPU that seems real.
"""

import ctypes
import subprocess
import tempfile
import traceback
from pathlib import Path

from support.gpu.software import CONTEXT, Result, SoftwareDriver

_SOURCE = """
#include <stdint.h>
void *(*find)(const char *);
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
    *function = find(name);
    if (status) *status = *function ? 0 : 1;
    return *function ? 0 : 500;
}
int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, 0);
}
"""

_INT, _UINT, _WORD, _TEXT, _FLOAT = ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_float
_OF_NUMBA = {  # what Numba's own arrays and streams need beside those of numbopt
    "cuDriverGetVersion": ([_INT], []),
    "cuDeviceGetCount": ([_INT], []),
    "cuDeviceGetName": ([], [_WORD, _INT, _INT]),
    "cuDeviceGetUuid": ([], [_WORD, _INT]),
    "cuCtxPushCurrent": ([], [_WORD]),
    "cuCtxPopCurrent": ([_WORD], []),
    "cuCtxGetDevice": ([_INT], []),
    "cuMemGetInfo": ([_WORD, _WORD], []),
    "cuMemcpyHtoD": ([], [_WORD, _WORD, _WORD]),
    "cuMemcpyDtoH": ([], [_WORD, _WORD, _WORD]),
    "cuStreamDestroy": ([], [_WORD]),
    "cuCtxSynchronize": ([], []),
}
_FUNCTIONS = _OF_NUMBA | {  # what comes back through pointers, which stand first, and what is given
    "cuInit": ([], [_UINT]),
    "cuCtxGetCurrent": ([_WORD], []),
    "cuDeviceGet": ([_INT], [_INT]),
    "cuDeviceGetAttribute": ([_INT], [_INT, _INT]),
    "cuDevicePrimaryCtxRetain": ([_WORD], [_INT]),
    "cuCtxSetCurrent": ([], [_WORD]),
    "cuMemAlloc": ([_WORD], [_WORD]),
    "cuMemFree": ([], [_WORD]),
    "cuPointerGetAttribute": ([_INT], [_INT, _WORD]),
    "cuMemcpyHtoDAsync": ([], [_WORD, _WORD, _WORD, _WORD]),
    "cuMemcpyDtoHAsync": ([], [_WORD, _WORD, _WORD, _WORD]),
    "cuMemcpyDtoDAsync": ([], [_WORD, _WORD, _WORD, _WORD]),
    "cuMemsetD8Async": ([], [_WORD, ctypes.c_ubyte, _WORD, _WORD]),
    "cuStreamCreate": ([_WORD], [_UINT]),
    "cuStreamSynchronize": ([], [_WORD]),
    "cuStreamIsCapturing": ([_INT], [_WORD]),
    "cuEventCreate": ([_WORD], [_UINT]),
    "cuEventRecord": ([], [_WORD, _WORD]),
    "cuEventSynchronize": ([], [_WORD]),
    "cuEventDestroy": ([], [_WORD]),
    "cuEventElapsedTime": ([_FLOAT], [_WORD, _WORD]),
    "cuModuleLoadData": ([_WORD], [_TEXT]),
    "cuModuleGetFunction": ([_WORD], [_WORD, _TEXT]),
    "cuLaunchKernel": ([], [_WORD, *[_UINT] * 7, _WORD, _WORD, _WORD]),
}


class Driver(SoftwareDriver):
    """What Numba asks for, too."""

    def cuDeviceGetCount(self):
        return Result(0), 1

    def cuDeviceGetName(self, buffer, length, device):
        _, name = super().cuDeviceGetName(length, device)
        ctypes.memmove(buffer, name, length)
        return (Result(0),)

    def cuDeviceGetUuid(self, *arguments):
        return (Result(0),)  # it has none

    def cuCtxPushCurrent(self, context):
        return (Result(0),)

    def cuCtxPopCurrent(self):
        return Result(0), CONTEXT

    def cuCtxGetDevice(self):
        return Result(0), 0

    def cuCtxSynchronize(self):
        return (Result(0),)

    def cuMemGetInfo(self):
        return Result(0), self.capacity - self.used, self.capacity

    def cuMemcpyHtoD(self, target, source, size):
        return super().cuMemcpyHtoDAsync(target, source, size, 0)

    def cuMemcpyDtoH(self, target, source, size):
        return super().cuMemcpyDtoHAsync(target, source, size, 0)

    def cuStreamDestroy(self, stream):
        self.streams.remove(stream)
        return (Result(0),)


def load():
    """Let NVIDIA's bindings find the GPU in software as the driver of this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "libcuda.so.1")
        command = ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-x", "c", "-", "-o", path]
        subprocess.run(command, input=_SOURCE, text=True, check=True)
        library = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)  # who opens it by name gets this one
    driver = Driver()
    objects = {}  # behind the handles of modules and kernels
    functions = {name: _callback(driver, name, objects) for name in _FUNCTIONS}

    @ctypes.CFUNCTYPE(ctypes.c_void_p, _TEXT)
    def find(name):
        return ctypes.cast(functions.get(name.decode().removesuffix("_v2")), ctypes.c_void_p).value

    load.kept = find, functions
    ctypes.c_void_p.in_dll(library, "find").value = ctypes.cast(find, ctypes.c_void_p).value


def _callback(driver, name, objects):
    results, given = _FUNCTIONS[name]
    order = -1 if name == "cuStreamIsCapturing" else 1  # the only one with its pointer behind

    def call(*arguments):
        arguments = arguments[::order]
        try:
            values = [objects.get(value, value) for value in arguments[len(results) :]]
            error, *answers = getattr(driver, name)(*values)
            for pointer, answer in zip(arguments, answers, strict=False):
                if not isinstance(answer, (int, float)):
                    objects[id(answer)] = answer
                    answer = id(answer)
                pointer[0] = answer
        except Exception:
            traceback.print_exc()
            return 999  # an unknown error
        return int(error)

    return ctypes.CFUNCTYPE(_INT, *[*map(ctypes.POINTER, results), *given][::order])(call)


def pytest_configure():
    from numbopt._devices import driver

    load()
    driver._linked = lambda ptx, capability: ptx.encode()
