"""What every wrapper of an optimizer does."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from numbopt.optimizer import Optimizer


class Wrapper:
    """Base of what changes how an optimizer steps; everything else about it is the optimizer's.

    Attributes that a wrapper does not have itself, such as ``param_groups``, ``state``, ``zero_grad`` or
    ``register_step_post_hook``, are read from and set on the optimizer. A state dict is the optimizer's with one more
    entry.

    Parameters
    ----------
    optimizer : Optimizer or Wrapper
        Found again as the attribute ``optimizer``.

    Raises
    ------
    TypeError
        If it is something else.
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
        if name == "optimizer" or name.startswith("__"):  # copy and pickle ask before there is an optimizer
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the optimizer, unless the wrapper has one of this name."""
        if hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            setattr(self.optimizer, name, value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state dict of the optimizer, with the state of the wrapper as another entry."""
        return {**self.optimizer.state_dict(), self.state_key: self._own_state()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Parameters
        ----------
        state_dict : dict
            Copied.

        Raises
        ------
        ValueError, TypeError
            If it does not fit; nothing has changed then.
        """
        if self.state_key not in state_dict:
            raise ValueError(
                f"not a state dict of {type(self).__name__}: it lacks {self.state_key!r}; one of the optimizer alone "
                "goes to .optimizer.load_state_dict(...)"
            )
        try:
            take = self._checked_own_state(state_dict[self.state_key])
        except KeyError as error:
            raise ValueError(f"{self.state_key!r} in the state dict lacks {error}") from None
        self.optimizer.load_state_dict(state_dict)
        take()

    def _own_state(self) -> dict[str, Any]:
        """Return copies of what the wrapper needs to continue."""
        raise NotImplementedError

    def _checked_own_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Check what `_own_state` returned; return a function that takes it over and cannot fail."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Show what is wrapped."""
        return f"{type(self).__name__} of {self.optimizer!r}"
