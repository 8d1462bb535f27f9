"""`optimizer.state`: views of what the optimizer works with, under the parameters they belong to."""

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, NamedTuple

from numbopt.parameter import Parameter


class Access(NamedTuple):
    """How the state of an optimizer's parameters is read and replaced."""

    parameters: list[Parameter]
    position_of: Callable[[Any], int]
    """Of a parameter, given as itself or as the array behind it."""
    read: Callable[[int], dict[str, Any]]
    """Return the state of the parameter at a position as it is now."""
    checked: Callable[[int, str, Any], Any]
    """Check an entry for the parameter at a position, given its name and its value."""
    replace: Callable[[int, dict[str, Any]], None]
    """Replace the state of the parameter at a position by one that was checked."""
    edit: Callable[[int, str, Any], None]
    """Replace one entry, given its name and its value, which was checked."""
    notes: dict[str, Any]
    """What users keep under strings."""


class State(MutableMapping[Any, Any]):
    """The states of an optimizer's parameters; see `numbopt.Optimizer.state`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def __getitem__(self, key: Any) -> Any:
        """Return the state of a parameter, or what a user keeps under a string."""
        if isinstance(key, str):
            return self._access.notes[key]
        state = ParameterState(self._access, self._access.position_of(key))
        if not state:
            raise KeyError("this parameter has no state: it has had no gradient yet, or the algorithm keeps none")
        return state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Copy ``value``, a mapping, into the state of a parameter; keep anything under a string."""
        if isinstance(key, str):
            self._access.notes[key] = value
        else:
            position = self._access.position_of(key)
            checked = {name: self._access.checked(position, name, item) for name, item in value.items()}
            self._access.replace(position, checked)

    def __delitem__(self, key: Any) -> None:
        """Forget the state of a parameter, which then starts anew."""
        if isinstance(key, str):
            del self._access.notes[key]
        else:
            self._access.replace(self._access.position_of(key), {})

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the Parameters that have state and the strings of users."""
        for position, parameter in enumerate(self._access.parameters):
            if self._access.read(position):
                yield parameter
        yield from self._access.notes

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
    access : Access
        To the states of the optimizer.
    position : int
        Of the parameter.
    """

    def __init__(self, access: Access, position: int) -> None:
        self._access, self._position = access, position

    @property
    def _values(self) -> dict[str, Any]:
        """The state as it is now: steps change the numbers."""
        return self._access.read(self._position)

    def __getitem__(self, key: str) -> Any:
        """Return a number or a view."""
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Copy ``value`` into the state."""
        checked = self._access.checked(self._position, key, value)
        self._access.edit(self._position, key, checked)

    def __delitem__(self, key: str) -> None:
        """Forget one entry, which then starts anew."""
        values = self._values
        del values[key]
        self._access.replace(self._position, values)

    def clear(self) -> None:
        """Forget all entries at once, because each that is deleted for itself starts anew."""
        self._access.replace(self._position, {})

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._values)

    def __repr__(self) -> str:
        """Show the entries."""
        return repr(self._values)
