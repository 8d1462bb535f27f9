"""From a template to a kernel on the GPU."""

import functools
import re
from typing import Any

import numpy as np
from numba import types

from numbopt._devices import compiler, driver
from numbopt._devices.interruptions import deferred
from numbopt._kernels.disk_cache import cached_text
from numbopt._kernels.specialise import clone_of

FLOATS = {np.dtype(np.float32): types.float32, np.dtype(np.float64): types.float64}


class Kernel:
    """A template with its names bound and its argument types.

    Parameters
    ----------
    template : function
        One of this module.
    bindings : dict
        Values of the names in capitals.
    argument_types : tuple of numba types
        A tuple of numbers is as many arguments.
    """

    def __init__(self, template: Any, bindings: dict[str, Any], argument_types: tuple[Any, ...]) -> None:
        self._clone = clone_of(template, bindings, compiler.device_function, {})
        self._argument_types = argument_types

    def ptx(self, capability: tuple[int, int]) -> str:
        """Return the code for GPUs of a compute capability, from the disk cache if it is there."""

        def compiled() -> str:
            return compiler.compile_ptx(self._clone.function, self._argument_types, capability)

        if not self._clone.cacheable:
            return compiled()
        key = f"{self._argument_types} {capability} {compiler.compiler_version()}"
        return cached_text(self._clone.function, key, compiled)

    @functools.cached_property
    def loaded(self) -> Any:
        """The kernel on the device."""
        gpu = driver.device()
        with deferred():
            ptx = self.ptx(gpu.capability)
        name = re.search(r"\.entry\s+(\w+)", ptx)
        assert name is not None
        return gpu.load(ptx, name[1])
