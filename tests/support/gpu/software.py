"""A GPU in software: takes the place of the bindings of the CUDA driver and runs the real PTX in the interpreter.

What is asked of it is checked as strictly as the interpreter checks kernels: addresses that were freed, copies beyond
the end of an allocation and streams that do not exist are faults.
"""

import ctypes
import enum
import os
import threading
from collections import Counter
from types import SimpleNamespace

import numpy as np

from numbopt._devices import driver as cuda_driver
from support.ptx.interpreter import Fault, Memory, parse, run

CAPABILITY = {75: 9, 76: 0}  # major and minor
CONTEXT = 0xC0


class Result(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NOT_INITIALIZED = 3


class SoftwareDriver:
    """The functions of `cuda.bindings.driver` that are used, with the same arguments and results.

    Attributes
    ----------
    asked : Counter
        How often each function was called.
    capacity : int
        Bytes that can be allocated.
    streams : set of int
        Addresses of the streams that exist.
    capturing : set of int
        Those of them that are being captured in a graph.
    ordinal_of : dict
        Where memory is on another GPU than the first, by its address.
    """

    is_real = False

    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76
    )
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL=9)

    def __init__(self):
        self.memory = Memory()
        self.allocations = {}
        self.asked = Counter()
        self.capacity = 1 << 30
        self.streams = {0}
        self.capturing = set()
        self.ordinal_of = {}
        self._process = os.getpid()
        self._lock = threading.Lock()

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if not name.startswith("cu"):
            return value
        self.asked[name] += 1

        def one_at_a_time(*arguments):
            with self._lock:
                return value(*arguments)

        return one_at_a_time

    @property
    def used(self):
        """Bytes that are allocated."""
        return sum(allocation.size for allocation in self.allocations.values())

    def new_stream(self):
        """Return the address of a new stream."""
        self.streams.add(1000 + len(self.streams))
        return max(self.streams)

    def _bytes(self, address, size):
        for start, allocation in self.allocations.items():
            if start <= address and address + size <= start + allocation.size:
                return allocation[address - start : address - start + size]
        raise Fault(f"no {size} bytes are allocated at {address:#x}")

    def _check_stream(self, stream):
        if stream not in self.streams:
            raise Fault(f"there is no stream {stream}")

    # ---- devices

    def cuInit(self, flags):
        return (Result(0),)

    def cuCtxGetCurrent(self):
        return Result(0), 0

    def cuDeviceGet(self, ordinal):
        return Result(0), ordinal

    def cuDeviceGetAttribute(self, attribute, device):
        return Result(0), CAPABILITY[attribute]

    def cuDevicePrimaryCtxRetain(self, device):
        return Result(0), CONTEXT

    def cuCtxSetCurrent(self, context):
        assert context == CONTEXT
        return (Result(0) if os.getpid() == self._process else Result.CUDA_ERROR_NOT_INITIALIZED,)

    def cuDeviceGetName(self, length, device):
        return Result(0), b"a GPU in software".ljust(length, b"\0")

    def cuDriverGetVersion(self):
        return Result(0), 13050

    # ---- memory

    def cuMemAlloc(self, size):
        if self.used + size > self.capacity:
            return Result.CUDA_ERROR_OUT_OF_MEMORY, 0
        allocation = np.full(size, 0xCD, np.uint8)
        address = self.memory.add(allocation)
        self.allocations[address] = allocation
        return Result(0), address

    def cuMemFree(self, address):
        del self.allocations[address]
        self.memory.remove(address)
        return (Result(0),)

    def cuPointerGetAttribute(self, attribute, address):
        assert attribute == self.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        self._bytes(address, 1)
        return Result(0), self.ordinal_of.get(address, 0)

    def cuMemcpyHtoDAsync(self, target, source, size, stream):
        self._check_stream(stream)
        self._bytes(target, size)[:] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(source))
        return (Result(0),)

    def cuMemcpyDtoHAsync(self, target, source, size, stream):
        self._check_stream(stream)
        np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(target))[:] = self._bytes(source, size)
        return (Result(0),)

    def cuMemcpyDtoDAsync(self, target, source, size, stream):
        self._check_stream(stream)
        self._bytes(target, size)[:] = self._bytes(source, size)
        return (Result(0),)

    def cuMemsetD8Async(self, target, value, size, stream):
        self._check_stream(stream)
        self._bytes(target, size)[:] = value
        return (Result(0),)

    def cuStreamSynchronize(self, stream):
        self._check_stream(stream)
        return (Result(0),)

    def cuStreamIsCapturing(self, stream):
        self._check_stream(stream)
        return Result(0), int(stream in self.capturing)

    def cuStreamCreate(self, flags):
        return Result(0), self.new_stream()

    # ---- events, all at one time

    def cuEventCreate(self, flags):
        return Result(0), 1

    def cuEventRecord(self, event, stream):
        self._check_stream(stream)
        return (Result(0),)

    def cuEventSynchronize(self, event):
        return (Result(0),)

    def cuEventElapsedTime(self, start, end):
        return Result(0), 1.0

    def cuEventDestroy(self, event):
        return (Result(0),)

    # ---- kernels

    def cuModuleLoadData(self, image):
        return Result(0), parse(image.decode())

    def cuModuleGetFunction(self, module, name):
        return Result(0), module.kernels[name.decode()]

    def cuLaunchKernel(self, kernel, *launch):
        *extents, shared, stream, pointers, extra = launch
        assert (shared, extra) == (0, 0)
        self._check_stream(stream)
        sizes = [parameter.nbytes for parameter in kernel.parameters]
        places = (ctypes.c_uint64 * len(sizes)).from_address(pointers)
        arguments = [ctypes.string_at(place, size) for place, size in zip(places, sizes, strict=True)]
        run(kernel, extents[:3], extents[3:], arguments, self.memory)
        return (Result(0),)


def install(monkeypatch):
    """Let numbopt find a GPU in software; return its driver."""
    driver = SoftwareDriver()
    monkeypatch.setattr(cuda_driver, "_driver_and_linker", lambda: (driver, lambda ptx, capability: ptx.encode()))
    return driver
