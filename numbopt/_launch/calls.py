"""Calls: functions that are ready to be called, so that a change is done as a whole or not at all.

Whatever can fail (checks, conversions, memory) happens before anything changes. A function that is about to change
something therefore does not change it, but returns *calls*: a list of functions without arguments that cannot fail.
Functions named by a participle (`setting`, `zeroing`, `copying`) return calls, or an object whose method ``calls``
returns them. The caller collects the calls of all parts, and `run` makes them one after the other without a point at
which Ctrl-C (KeyboardInterrupt) could part them.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

from numbopt._devices.driver import check_launches


def run(calls: list[Callable[[], object]]) -> None:
    """Call all functions; a keyboard interrupt comes before or after, never in between.

    Python looks for signals between bytecodes, and here there are none: this loop is written in C, as are the functions
    that `Launch` and `Table` give it.
    """
    results = list(map(operator.call, calls))
    if any(results):  # launches on a GPU answer
        check_launches(results)


def setting(target: Any, **values: Any) -> list[Callable[[], object]]:
    """Return what `run` is to call so that attributes of ``target`` have these values."""
    return [functools.partial(setattr, target, name, value) for name, value in values.items()]
