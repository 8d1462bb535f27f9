"""Versions, processor, cache and devices. ``python -m numbopt.info`` prints them, for example for a bug report."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import llvmlite.binding

from numbopt import cuda
from numbopt._devices.driver import device
from numbopt._kernels.cpu.rows import zero_loop
from numbopt._launch.threads import get_num_threads

_PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "matplotlib", "numba-cuda")


def info() -> dict[str, str]:
    """Return a description of the software and hardware that numbopt runs on.

    Returns
    -------
    dict of str to str
        ``"versions"``: of Python and the packages that numbopt uses. ``"platform"``. ``"processor"``: numbopt compiles
        for it. ``"threads"``: how many work on a large step. ``"cache"``: its folder, if it is writable. ``"devices"``:
        where parameters can be.
    """
    return {
        "versions": f"numbopt {version('numbopt')}, Python {platform.python_version()}, {', '.join(_versions())}",
        "platform": platform.platform(),
        "processor": llvmlite.binding.get_host_cpu_name(),
        "threads": f"{get_num_threads()} started by numbopt; Numba's threading layer is not used",
        "cache": _cache(),
        "devices": ", ".join(["cpu", *_gpu()]),
    }


def _versions() -> Iterator[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed"


def _cache() -> str:
    folder = zero_loop().stats.cache_path  # None if Numba found no writable folder
    if folder is None:
        return "none: no folder is writable, so each process compiles anew; set NUMBA_CACHE_DIR to a writable folder"
    sizes = [path.stat().st_size for path in Path(folder).glob("*.nbc")]
    return f"{folder}, writable; holds {len(sizes)} compiled functions, {sum(sizes) / 1e6:.1f} MB"


def _gpu() -> Iterator[str]:
    if cuda.is_available():
        major, minor = device().capability
        yield f"cuda (number {device().ordinal}, compute capability {major}.{minor})"


if __name__ == "__main__":
    for name, value in info().items():
        print(f"{name:10}{value}")
