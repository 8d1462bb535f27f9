"""Names of the user that stood for a parameter and stand for another array now: ``x = numpy.clip(x, 0, 1)``."""

import functools
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from numbopt.parameter import Parameter

LAST_STEP = 2
"""Steps after which nobody looks any more: a loop that rebinds does so in its first ones."""


class Names:
    """What stood for plain arrays that are optimized when a frame made the first step.

    Parameters
    ----------
    parameters : list of Parameter
        Only those that were made of plain arrays are looked for.
    frame : frame
        Of the caller of ``step``.
    """

    def __init__(self, parameters: list[Parameter], frame: types.FrameType) -> None:
        arrays = {id(p.array): p for p in parameters if p.is_implicit}
        self._known = {name: arrays[id(value)] for name, value in _names(frame) if id(value) in arrays}

    def warn_of_rebinding(self, frame: types.FrameType) -> None:
        """Warn once if a name stands for another array, and nobody but the optimizer holds the one it stood for."""
        if not self._known:
            return
        for name, value in _names(frame):
            parameter = self._known.get(name)
            if parameter is None or value is parameter.array or not isinstance(value, np.ndarray):
                continue
            if sys.getrefcount(parameter.array) <= _own_references():
                warnings.warn(
                    f"{name[1]} was optimized, and it is another array now, which the optimizer does not know; change "
                    f"the array itself: {name[1]}[:] = ...",
                    stacklevel=4,
                )
                self._known = {}
                return


def _names(frame: types.FrameType) -> Iterator[tuple[tuple[Any, str], Any]]:
    """Iterate over names that code in a frame can use, with where each belongs, and what they stand for."""
    for name, value in frame.f_locals.items():
        yield (frame.f_code, name), value
        if name == "self":
            for attribute, attribute_value in getattr(value, "__dict__", {}).items():
                yield (id(value), f"self.{attribute}"), attribute_value
    if frame.f_locals is not frame.f_globals:
        for name, value in frame.f_globals.copy().items():
            yield (id(frame.f_globals), name), value


@functools.cache
def _own_references() -> int:
    """Return how many references to the array of a parameter an optimizer has after a step."""
    parameter = Parameter.sharing(np.empty(0))
    return sys.getrefcount(parameter.array) + 1
