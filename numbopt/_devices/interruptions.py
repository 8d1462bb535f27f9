"""Handlers of signals that raise exceptions: Ctrl-C, time limits by SIGALRM.

A handler runs between any two bytecodes of the main thread. If it raises, for example a TimeoutError, then a ``try``
around those bytecodes meets an exception that it never had in mind: a TimeoutError is an OSError. Code that goes on
after an exception asks `raised_by_handler` first. In the middle of Numba's compiler the exception would be lost, or
crash the process later. There, handlers are `deferred`.
"""

import contextlib
import inspect
import signal
import threading
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any


def raised_by_handler(error: BaseException | None) -> BaseException | None:
    """Return ``error``, or what caused it, if the handler of a signal raised it, else None."""
    codes = _codes_of_handlers()
    while codes and error is not None:
        if not codes.isdisjoint(_codes(error.__traceback__)):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let handlers of signals run at the end of a ``with`` block, those that are written in Python."""
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    if not _may_set_handlers():
        ours = {}
    try:
        for number in ours:
            signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for caught in came:
            signal.raise_signal(caught)


def _may_set_handlers() -> bool:
    """Whether this is the thread in which handlers run: the main one, not of an interpreter within another one."""
    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))
    except (ValueError, TypeError):  # another interpreter; a handler that was not set by Python
        return False
    return True


def _codes_of_handlers() -> set[CodeType]:
    handlers = map(signal.getsignal, signal.valid_signals())
    return {code for handler in handlers if callable(handler) for code in _code_of(handler)}


def _code_of(handler: Any) -> list[CodeType]:
    """Return the code of a handler: a function, a bound method, a partial or an object that can be called."""
    while hasattr(handler, "func"):
        handler = handler.func
    function = handler if inspect.isroutine(handler) else type(handler).__call__
    code = getattr(function, "__code__", None)  # that of a method is found, too; a function in C has none
    return [] if code is None else [code]


def _codes(traceback: TracebackType | None) -> Iterator[CodeType]:
    while traceback is not None:
        yield traceback.tb_frame.f_code
        traceback = traceback.tb_next
