"""Hooks: user functions called around steps and state dicts, and handles that remove them."""

import itertools
from collections.abc import Callable
from typing import Any

Hook = Callable[..., Any]
OptimizerPreHook = OptimizerPostHook = Hook
"""torch's names for hooks of steps."""


class Hooks(dict[int, Hook]):
    """Hooks in the order in which they are called, by the numbers of their handles."""

    def add(self, hook: Hook, *, prepend: bool = False) -> "RemovableHandle":
        """Add ``hook`` at the end, or at the front.

        Raises
        ------
        TypeError
            If ``hook`` cannot be called.
        """
        if not callable(hook):
            raise TypeError(f"a hook must be callable, got {hook!r}")
        handle = RemovableHandle(self)
        later = dict(self) if prepend else {}
        if prepend:
            self.clear()
        self[handle.id] = hook
        self.update(later)
        return handle


class RemovableHandle:
    """Removes a hook. Registering a hook returns it. It is also a context manager that removes the hook at its end."""

    _ids = itertools.count()

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self.id = next(self._ids)

    def remove(self) -> None:
        """Remove the hook. A second call does nothing."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> "RemovableHandle":
        """Return the handle."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove the hook."""
        self.remove()


global_step_pre_hooks = Hooks()
global_step_post_hooks = Hooks()


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """Register ``hook(optimizer, args, kwargs)`` to be called before each step of every optimizer.

    Parameters
    ----------
    hook : callable
        May return None, or a pair ``(args, kwargs)`` to use instead of those given.

    Returns
    -------
    RemovableHandle
        Its ``remove()`` removes the hook.
    """
    return global_step_pre_hooks.add(hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """Register ``hook(optimizer, args, kwargs)`` to be called after each step of every optimizer.

    Parameters
    ----------
    hook : callable
        Its result is ignored.

    Returns
    -------
    RemovableHandle
        Its ``remove()`` removes the hook.
    """
    return global_step_post_hooks.add(hook)
