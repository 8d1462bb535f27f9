"""Values that belong to parameters: by name if each parameter has a name of its own, else in order."""

from collections.abc import Mapping, Sequence
from typing import Any


def are_distinct(names: Sequence[str | None]) -> bool:
    """Return whether each parameter has a name of its own."""
    return None not in names and len(set(names)) == len(names)


def by_name(names: Sequence[str | None], values: list[Any]) -> dict[str | None, Any] | list[Any]:
    """Return values, one for each parameter, by name if each has one of its own."""
    return dict(zip(names, values, strict=True)) if are_distinct(names) else values


def in_order(saved: Any, names: Sequence[str | None], where: str) -> list[Any]:
    """Return what `by_name` returned, perhaps for other parameters, as a list in the order of these.

    Parameters
    ----------
    saved : dict or list
        Values are matched by name where both sides have names, by order otherwise.
    names : sequence of str or None
        Of the parameters here.
    where : str
        What the message of the error calls the source of ``saved``.

    Raises
    ------
    ValueError
        If names or numbers differ.
    """
    if isinstance(saved, Mapping) and None not in names:
        if set(saved) != set(names):
            lacking = sorted(set(names) - set(saved))  # type: ignore[type-var]  # none is None
            raise ValueError(
                f"the parameters in {where} have other names: it has {list(saved)}, asked for are {list(names)}"
                + f"; it lacks {lacking}" * bool(lacking)
            )
        return [saved[name] for name in names]
    values = list(saved.values() if isinstance(saved, Mapping) else saved)
    if len(values) != len(names):
        raise ValueError(f"{where} holds {len(values)} parameters, asked for are {len(names)}")
    return values
