"""The versions, the processor, the cache and the devices: ``python -m numbopt.info`` prints them, for bug reports."""

import importlib.metadata
import platform
from collections.abc import Iterator
from pathlib import Path

import llvmlite.binding

from numbopt import cuda
from numbopt._devices.driver import device
from numbopt._kernels.cpu.rows import zero_kernels
from numbopt._launch.threads import get_num_threads

_PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "matplotlib", "numba-cuda")


def info() -> dict[str, str]:
    """Return what numbopt runs on.

    Returns
    -------
    dict of str to str
        ``"versions"`` of Python and the packages that numbopt uses; the ``"platform"``; the ``"processor"`` for which
        numbopt compiles; how many ``"threads"`` work on a large step; the folder of the ``"cache"``, if one can be
        written; the ``"devices"`` that parameters can be on.
    """
    return {
        "versions": ", ".join(
            [f"numbopt {importlib.metadata.version('numbopt')}", f"Python {platform.python_version()}", *_versions()]
        ),
        "platform": platform.platform(),
        "processor": llvmlite.binding.get_host_cpu_name(),
        "threads": f"{get_num_threads()} of numbopt's own; Numba's threading layer is not used",
        "cache": _cache(),
        "devices": ", ".join(["cpu", *_gpu()]),
    }


def _versions() -> Iterator[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} not installed"


def _cache() -> str:
    folder = zero_kernels().serial.stats.cache_path  # None if Numba found no folder that it can write to
    if folder is None:
        return "none: no folder can be written, and each process compiles anew; set NUMBA_CACHE_DIR to one that can be"
    entries = [path.stat().st_size for path in Path(folder).glob("*.nbc")]
    return f"{folder}, can be written; holds {len(entries)} compiled functions, {sum(entries) / 1e6:.1f} MB"


def _gpu() -> Iterator[str]:
    if cuda.is_available():
        major, minor = device().capability
        yield f"cuda (number {device().ordinal}, compute capability {major}.{minor})"


if __name__ == "__main__":
    for name, value in info().items():
        print(f"{name:10}{value}")
