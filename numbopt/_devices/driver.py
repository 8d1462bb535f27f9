"""The driver of CUDA: memory, code and launches of one GPU; the only place that knows it.

nvJitLink links PTX for the GPU, and NVIDIA's Python bindings of the driver do the rest. Addresses and streams are plain
integers everywhere else.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from numbopt._devices.compiler import _INSTALL, compiler
from numbopt._devices.streams import current_stream


def is_available() -> bool:
    """Return whether there are a GPU, its driver and the packages to use it.

    Returns
    -------
    bool
        False also where anything about them fails.
    """
    try:
        device()
    except RuntimeError:
        return False
    return True


@functools.cache
def device() -> "Device":
    """Return the GPU that is current in this process when one is first used.

    Raises
    ------
    RuntimeError
        If there is none, or a package is missing.
    """
    compiler()
    return Device()


class Device:
    """A GPU: its memory, its code, its streams.

    It works in the primary context, as CuPy, torch, JAX and Numba do.

    Attributes
    ----------
    ordinal : int
        Its number.
    capability : (int, int)
        Its compute capability.
    """

    def __init__(self) -> None:
        self._driver, self._link = _driver_and_linker()
        try:
            _check(self._driver.cuInit(0))
        except RuntimeError as error:  # no driver, or no GPU
            raise RuntimeError(f"there is no GPU to use: {error}") from None
        current = _check(self._driver.cuCtxGetCurrent())
        self.ordinal = int(_check(self._driver.cuCtxGetDevice())) if int(current) else 0
        handle = _check(self._driver.cuDeviceGet(self.ordinal))
        attributes = self._driver.CUdevice_attribute
        major, minor = (
            int(_check(self._driver.cuDeviceGetAttribute(attribute, handle)))
            for attribute in (
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.capability = (major, minor)
        self._context = _check(self._driver.cuDevicePrimaryCtxRetain(handle))
        self.activate = functools.partial(self._driver.cuCtxSetCurrent, self._context)
        """Makes the context current in the calling thread; to be called before `launch`."""

    def _ask(self, name: str, *arguments: Any) -> Any:
        _check(self.activate())
        return _check(getattr(self._driver, name)(*arguments))

    # ---- memory

    def allocate(self, size: int) -> "Memory":
        """Return ``size`` bytes that nobody else uses."""
        return Memory(self, int(self._ask("cuMemAlloc", max(size, 1))))

    def free(self, address: int) -> None:
        """Give memory back when what uses it is done."""
        self._ask("cuMemFree", address)

    def ordinal_of(self, address: int) -> int:
        """Return the number of the GPU whose memory is at ``address``."""
        attribute = self._driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return int(self._ask("cuPointerGetAttribute", attribute, address))

    def uploading(self, target: int, source: np.ndarray[Any, Any]) -> Callable[[], object]:
        """Return a function, written in C, that copies a contiguous array to a device address.

        The array may be changed as soon as that returns; what it returns is for `check_launches`.
        """
        call = self._on_stream("cuMemcpyHtoDAsync", target, source.ctypes.data, source.nbytes)
        call.source = source  # type: ignore[attr-defined]  # keeps it
        return call

    def copying(self, target: int, source: int, size: int) -> Callable[[], object]:
        """Return a function, written in C, that copies bytes from one device address to another."""
        return self._on_stream("cuMemcpyDtoDAsync", target, source, size)

    def upload(self, target: int, source: np.ndarray[Any, Any]) -> None:
        """Copy a contiguous array to a device address. The array may be changed as soon as this returns."""
        check_launches([self.uploading(target, source)()])

    def download(self, target: np.ndarray[Any, Any], source: int) -> None:
        """Copy from a device address into a contiguous array, when what was launched before is done."""
        check_launches([self._on_stream("cuMemcpyDtoHAsync", target.ctypes.data, source, target.nbytes)()])
        self.synchronize()

    def zero(self, target: int, size: int) -> None:
        """Set bytes to zero."""
        check_launches([self._on_stream("cuMemsetD8Async", target, 0, size)()])

    def synchronize(self) -> None:
        """Wait until all that was launched on the current stream is done."""
        self._ask("cuStreamSynchronize", current_stream())

    def _on_stream(self, name: str, *arguments: Any) -> Callable[[], object]:
        _check(self.activate())
        return functools.partial(getattr(self._driver, name), *arguments, current_stream())

    # ---- code

    def load(self, ptx: str, name: str) -> Any:
        """Return the kernel of this name in ``ptx``, for `launch`."""
        module = self._ask("cuModuleLoadData", self._link(ptx, self.capability))
        return self._ask("cuModuleGetFunction", module, name.encode())

    def launch(self, kernel: Any, blocks: int, threads: int, arguments: int) -> Callable[[], object]:
        """Return a function, written in C, that launches a kernel on the current stream.

        Parameters
        ----------
        kernel : object
            From `load`.
        blocks, threads : int
            Blocks, and threads of a block.
        arguments : int
            Address of an array of addresses of the arguments, all of which are read when the function is called.

        Returns
        -------
        callable
            Its result is for `check_launches`.

        Raises
        ------
        RuntimeError
            If the stream is being captured in a CUDA graph, which would repeat the numbers among the arguments.
        """
        stream = current_stream()
        if stream and int(self._ask("cuStreamIsCapturing", stream)):  # the default stream never is
            raise RuntimeError(
                "what numbopt launches cannot be part of a CUDA graph, which would repeat one step count for ever: "
                "capture what computes the gradients, and call step() after each replay"
            )
        return functools.partial(
            self._driver.cuLaunchKernel, kernel, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, 0
        )


class Memory:
    """Memory on a GPU, given back when nobody refers to it any more."""

    __slots__ = ("_device", "address")

    def __init__(self, device: Device, address: int) -> None:
        self._device, self.address = device, address

    def __del__(self) -> None:
        """Give it back."""
        with contextlib.suppress(Exception):  # the process ends, and the driver is gone
            self._device.free(self.address)


def check_launches(results: list[Any]) -> None:
    """Raise the error of a launch among the results of what was called, None or what the driver answered."""
    for result in filter(None, results):
        _check(result)


def _driver_and_linker() -> tuple[Any, Callable[[str, tuple[int, int]], bytes]]:
    """Return the bindings of the driver, and the function that makes PTX loadable."""
    try:
        from cuda.bindings import driver, nvjitlink  # noqa: F401
    except ImportError as error:
        raise RuntimeError(f"arrays on a GPU need packages that are not installed ({error}): {_INSTALL}") from None
    return driver, _linked


def _linked(ptx: str, capability: tuple[int, int]) -> bytes:
    """Link PTX to machine code: the driver itself would refuse PTX of a newer toolkit."""
    from cuda.bindings import nvjitlink

    handle = nvjitlink.create(1, [f"-arch=sm_{capability[0]}{capability[1]}"])
    try:
        text = ptx.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, text, len(text), "numbopt")
        nvjitlink.complete(handle)
        code = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, code)
    finally:
        nvjitlink.destroy(handle)
    return bytes(code)


def _check(result: tuple[Any, ...]) -> Any:
    """Return what the driver answered, or raise its error."""
    error, *values = result
    if int(error) == 0:
        return values[0] if values else None
    name = getattr(error, "name", str(error))
    if name == "CUDA_ERROR_OUT_OF_MEMORY":
        raise MemoryError("the GPU has not enough free memory")
    hint = "; a GPU that was used before a fork works in the parent alone: use the start method 'spawn'"
    raise RuntimeError(f"the CUDA driver answered {name}" + hint * (name == "CUDA_ERROR_NOT_INITIALIZED"))
