"""`optimizer.state`: views of what the optimizer works with, under the parameters they belong to."""

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numbopt.optimizer import Optimizer


class State(MutableMapping[Any, Any]):
    """The states of an optimizer's parameters; see `Optimizer.state`."""

    def __init__(self, optimizer: "Optimizer") -> None:
        self._optimizer = optimizer

    def __getitem__(self, key: Any) -> Any:
        """Return the state of a parameter, or what a user keeps under a string."""
        if isinstance(key, str):
            return self._optimizer._notes[key]
        state = ParameterState(self._optimizer, self._optimizer._position(key))
        if not state:
            raise KeyError("this parameter has no state: it has had no gradient yet, or the algorithm keeps none")
        return state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Copy ``value``, a mapping, into the state of a parameter; keep anything under a string."""
        if isinstance(key, str):
            self._optimizer._notes[key] = value
        else:
            position = self._optimizer._position(key)
            checked = {name: self._optimizer._checked_state(position, name, item) for name, item in value.items()}
            self._optimizer._replace_state(position, checked)

    def __delitem__(self, key: Any) -> None:
        """Forget the state of a parameter, which then starts anew."""
        if isinstance(key, str):
            del self._optimizer._notes[key]
        else:
            self._optimizer._replace_state(self._optimizer._position(key), {})

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the Parameters that have state and the strings of users."""
        for position, parameter in enumerate(self._optimizer._parameters):
            if self._optimizer._state_of(position):
                yield parameter
        yield from self._optimizer._notes

    def __len__(self) -> int:
        """Return the number of entries."""
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        """Show the entries."""
        return "{" + ", ".join(f"{key!r}: {self[key]!r}" for key in self) + "}"


class ParameterState(MutableMapping[str, Any]):
    """The state of one parameter: numbers of its clock first, then arrays; assigning to an array copies into it.

    Parameters
    ----------
    optimizer : Optimizer
        Whose state it is.
    position : int
        Of the parameter.
    """

    def __init__(self, optimizer: "Optimizer", position: int) -> None:
        self._optimizer, self._position = optimizer, position

    @property
    def _values(self) -> dict[str, Any]:
        """The state as it is now: steps change the numbers."""
        return self._optimizer._state_of(self._position)

    def __getitem__(self, key: str) -> Any:
        """Return a number or a view."""
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Copy ``value`` into the state."""
        checked = self._optimizer._checked_state(self._position, key, value)
        self._optimizer._replace_state(self._position, {**self._values, key: checked})

    def __delitem__(self, key: str) -> None:
        """Forget one entry, which then starts anew."""
        values = self._values
        del values[key]
        self._optimizer._replace_state(self._position, values)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._values)

    def __repr__(self) -> str:
        """Show the entries."""
        return repr(self._values)
