"""Which stream of a GPU the work goes to."""

import contextlib
import contextvars
import sys
from collections.abc import Iterator
from typing import Any

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
