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


class DiskCache(FunctionCache):  # type: ignore[misc]  # Numba is not typed
    """The cache of one function, in which an entry that cannot be read or written is as good as none.

    Numba keeps one index for all types and processors, and numbers the files it refers to. Two processes that fill it
    at the same time may give one number to two entries; float64 is then answered with the code for float32, or one
    processor with the code for another, for good. Here each entry has an index, and so a name, of its own.
    """

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """Return the key of an entry, and look into its own files from now on."""
        key = super()._index_key(sig, codegen)
        name = f"{self._impl.filename_base}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
        self._cache_file = IndexDataCacheFile(self.cache_path, name, self._impl.locator.get_source_stamp())
        return key

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was compiled for ``sig``, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a file was cut off, which makes pickle raise anything
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for ``sig`` unless, for example, the disk is full."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def cached_text(function: FunctionType, key: str, make: Callable[[], str]) -> str:
    """Return what ``make`` makes of ``function``, a text, from the disk if it was made before.

    Parameters
    ----------
    function : function
        Its name holds a hash of everything it is made from.
    key : str
        What else the text depends on.
    make : callable
        Called where the cache has no text, or a broken one, or cannot be.
    """
    try:
        locator = DiskCache(function)._impl.locator
        locator.ensure_cache_path()
        name = f"{function.__qualname__}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        path = Path(locator.get_cache_path(), name)
    except (RuntimeError, OSError):  # no folder for the cache can be written
        return make()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        checksum, _, text = path.read_text(encoding="utf-8").partition("\n")
        if checksum == hashlib.sha256(text.encode()).hexdigest():
            return text
    text = make()
    with contextlib.suppress(OSError):
        unfinished = path.with_name(f"{name}.{os.getpid()}.{threading.get_ident()}")
        unfinished.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}", encoding="utf-8")
        unfinished.replace(path)
    return text
