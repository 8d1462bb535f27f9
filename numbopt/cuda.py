"""Parameters on a GPU: whether there is one, its arrays, its streams.

>>> import numbopt
>>> device = "cuda" if numbopt.cuda.is_available() else "cpu"
>>> w = numbopt.Parameter([1.0, 2.0], device=device)

The numbers that a step computes from step count and learning rate reach the GPU as arguments of a launch. A step that
is captured into a CUDA graph therefore repeats these numbers at every replay: right for rules without a step count
under a constant learning rate, such as `SGD`, wrong for `Adam` and its kin.
"""

from numbopt._device import device, is_available, stream
from numbopt.device_array import DeviceArray

__all__ = ["DeviceArray", "is_available", "stream", "synchronize"]


def synchronize() -> None:
    """Wait until all that was launched on the current stream is done.

    Raises
    ------
    RuntimeError
        If something that was launched failed, or there is no GPU.
    """
    device().synchronize()
