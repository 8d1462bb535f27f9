"""The base class of wrappers of an optimizer."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from numbopt.optimizer import Optimizer


class Wrapper:
    """Base class of wrappers. A wrapper changes how an optimizer steps, and nothing else about it.

    All other attributes, such as ``param_groups``, ``state``, ``zero_grad`` or ``register_step_post_hook``, are read
    from the optimizer and set on it. The state dict of a wrapper is that of the optimizer with one more entry.

    Parameters
    ----------
    optimizer : Optimizer or Wrapper
        The optimizer to wrap. The attribute ``optimizer`` is this object.

    Raises
    ------
    TypeError
        If ``optimizer`` is something else.
    """

    __slots__ = ("__weakref__", "optimizer")

    state_key: ClassVar[str]
    """The key of the wrapper's own state in a state dict."""

    def __init__(self, optimizer: Any) -> None:
        if not isinstance(optimizer, (Optimizer, Wrapper)):
            raise TypeError(f"optimizer must be one of numbopt, such as numbopt.SGD(...), got {optimizer!r}")
        self.optimizer: Any = optimizer

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the optimizer."""
        if name == "optimizer" or name.startswith("__"):  # copy and pickle call this before `optimizer` is set
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the optimizer, unless the wrapper has one of this name."""
        if hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            setattr(self.optimizer, name, value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state dict of the optimizer with one more entry, the state of the wrapper."""
        return {**self.optimizer.state_dict(), self.state_key: self._own_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned.

        Parameters
        ----------
        state_dict : dict
            The state. It is copied.

        Raises
        ------
        ValueError, TypeError
            If the state does not fit. Nothing has changed then.
        """
        if self.state_key not in state_dict:
            remedy = "load a state dict of the optimizer by .optimizer.load_state_dict(...)"
            raise ValueError(f"not a state dict of {type(self).__name__}: it lacks {self.state_key!r}; {remedy}")
        try:
            take = self._checked_own_state(state_dict[self.state_key])
        except KeyError as error:
            raise ValueError(f"{self.state_key!r} in the state dict lacks {error}") from None
        self.optimizer.load_state_dict(state_dict)
        take()

    def _own_state(self) -> dict[str, Any]:
        """Return copies of everything that the wrapper needs to continue."""
        raise NotImplementedError

    def _checked_own_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Check a state that `_own_state` returned. Return a function that loads it and cannot fail."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Show the wrapper and the optimizer."""
        return f"{type(self).__name__} of {self.optimizer!r}"
