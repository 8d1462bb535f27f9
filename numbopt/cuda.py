"""Parameters on a GPU: whether a GPU is available, arrays on it, and streams.

>>> import numbopt
>>> device = "cuda" if numbopt.cuda.is_available() else "cpu"
>>> w = numbopt.Parameter([1.0, 2.0], device=device)

Notes
-----
A step cannot be captured in a CUDA graph: it raises a RuntimeError. Each launch takes the step count and the options
from the host, and a replay would repeat those of the capture. Capture the computation of the gradients, and call
``step()`` after each replay: as long as the gradients stay at the same addresses, a step is one launch.
"""

from numbopt._devices.arrays import DeviceArray
from numbopt._devices.driver import device, is_available
from numbopt._devices.streams import stream

__all__ = ["DeviceArray", "is_available", "stream", "synchronize"]

for _public in map(globals().get, __all__[:-1]):
    _public.__module__ = __name__  # pickles and tracebacks name what is public, not the folder that it is in


def synchronize() -> None:
    """Wait until everything that was launched on the current stream is done.

    Raises
    ------
    RuntimeError
        If a launch failed, or there is no GPU.
    """
    device().synchronize()
