"""What Numba compiles while a test runs."""

import contextlib

from numba.core import event


@contextlib.contextmanager
def compilations():
    """A list of all that is compiled meanwhile; what the cache gives is not."""
    recorder = event.RecordingListener()
    compiled = []
    with event.install_listener("numba:compile", recorder):
        yield compiled
    compiled += [recorded.data["dispatcher"].py_func.__name__ for _, recorded in recorder.buffer]
