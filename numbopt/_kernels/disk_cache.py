"""Numba's disk cache, safe from files that were cut off and from processes that fill it at the same time."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.runtime import rtsys


class DiskCache(FunctionCache):  # type: ignore[misc]  # Numba is not typed
    """The cache of one function, in which an entry that cannot be read or written counts as missing.

    Numba keeps one index for all types and processors, and numbers the files that the index refers to. Two processes
    that fill it at the same time may give one number to two entries; from then on float64 is answered with the code
    for float32, or one processor with the code for another. Here each entry has an index of its own, and so a name.

    Numba writes beside the file that a function comes from. Here all functions are in the folder of this module, so
    that the files of numbopt's cache are together. Their names tell functions apart: they hold a hash of all that a
    function is made from.
    """

    def __init__(self, function: FunctionType) -> None:
        code = function.__code__.replace(co_filename=__file__)
        super().__init__(FunctionType(code, function.__globals__, function.__name__, closure=function.__closure__))

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """Return the key of an entry, and use the files of this entry from now on."""
        key = super()._index_key(sig, codegen)
        name = f"{self._impl.filename_base}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
        self._cache_file = IndexDataCacheFile(self.cache_path, name, self._impl.locator.get_source_stamp())
        return key

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was compiled for ``sig``, or None.

        Numba's own method has the context imported and registered with all that can be compiled first (and SciPy with
        it), which takes half of the time to the first step. Loading needs only the runtime.
        """
        try:
            rtsys.initialize(target_context)
            with self._guard_against_spurious_io_errors():
                return self._load_overload(sig, target_context)
            return None
        except Exception:  # a file was cut off, which makes pickle raise anything
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for ``sig`` unless, for example, the disk is full."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def cached_text(function: FunctionType, key: str, make: Callable[[], str]) -> str:
    """Return the text that ``make`` makes of ``function``, from the disk if it was made before.

    Parameters
    ----------
    function : function
        Its name holds a hash of everything it is made from.
    key : str
        What else the text depends on.
    make : callable
        Called where the cache has no text or a damaged one, or where there can be no cache.
    """
    try:
        folder = Path(DiskCache(function).cache_path)
        folder.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):  # no folder for the cache can be written
        return make()
    path = folder / f"{function.__qualname__}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        checksum, _, text = path.read_text(encoding="utf-8").partition("\n")
        if checksum == hashlib.sha256(text.encode()).hexdigest():
            return text
    text = make()
    with contextlib.suppress(OSError):
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        unfinished.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}", encoding="utf-8")
        unfinished.replace(path)
    return text
