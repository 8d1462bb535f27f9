"""Calls: a change that is ready to be made, as a whole or not at all.

Whatever can fail (checks, conversions, memory) happens before anything changes. A function that is about to change
something therefore changes nothing itself. It returns *calls*: a list of functions without arguments, written in C,
that do not fail. Functions named by a participle (`setting`, `zeroing`, `copying`) return calls, or an object whose
method ``calls`` returns them. The caller collects the calls of all parts, and `run` makes them one after the other,
without a point between them at which Ctrl-C (KeyboardInterrupt) could stop.

Some caches are filled in several steps. Their owner first marks the cache as invalid and sets the mark last, so that
Ctrl-C in between only means that the cache is filled again ("see `calls`" in comments).
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

from numbopt._devices.driver import check_launches

Calls = list[Callable[[], object]]


def run(calls: Calls) -> None:
    """Make all calls; a KeyboardInterrupt comes before or after, never in between.

    Python looks for signals between bytecodes, and here there are none: this loop is written in C, as are the functions
    that it calls.
    """
    results = list(map(operator.call, calls))
    if any(results):  # launches on a GPU answer
        check_launches(results)


def setting(target: Any, **values: Any) -> Calls:
    """Return the calls that give attributes of ``target`` these values."""
    return [functools.partial(setattr, target, name, value) for name, value in values.items()]
