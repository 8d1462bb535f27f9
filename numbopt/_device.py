"""CUDA: which packages provide it, and all that is asked of the driver; the only place that knows either.

numba-cuda compiles kernels to PTX, nvJitLink links them for the GPU, and NVIDIA's Python bindings of the driver do the
rest. Nothing of it is imported before a device is used. Addresses and streams are plain integers everywhere else.
"""

import contextlib
import contextvars
import functools
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
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


# ---- streams

_chosen_stream: contextvars.ContextVar[int | None] = contextvars.ContextVar("stream", default=None)


@contextlib.contextmanager
def stream(stream: Any) -> Iterator[None]:
    """Have everything on the GPU done on a stream within a ``with`` block.

    Without it, the current stream of CuPy or of torch is used where one of them has been given another one than the
    default stream; else the default stream. A step never waits for the GPU.

    Parameters
    ----------
    stream : int or object
        The address of a stream, or a stream of CuPy, torch, Numba or cuda.core.

    Raises
    ------
    TypeError
        If it is no stream.
    """
    token = _chosen_stream.set(_address_of_stream(stream))
    try:
        yield
    finally:
        _chosen_stream.reset(token)


def current_stream() -> int:
    """Return the stream to work on; see `stream`."""
    chosen = _chosen_stream.get()
    if chosen is not None:
        return chosen
    cupy, torch = sys.modules.get("cupy"), sys.modules.get("torch")
    if cupy is not None and (address := int(cupy.cuda.get_current_stream().ptr)):
        return address
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.current_stream().cuda_stream)
    return 0


def _address_of_stream(stream: Any) -> int:
    if isinstance(stream, int) and not isinstance(stream, bool):
        return stream
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for name in ("ptr", "cuda_stream", "handle"):  # CuPy, torch, Numba
        if hasattr(stream, name):
            address = getattr(stream, name)
            return int(getattr(address, "value", address) or 0)
    raise TypeError(f"stream must be a stream of CuPy, torch, Numba or cuda.core, or its address, got {stream!r}")


# ---- the packages


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
