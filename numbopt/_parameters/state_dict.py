"""State dicts in torch's layout: how groups are packed, and how loaded ones fit the groups of an optimizer."""

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numbopt._parameters.names import are_distinct, in_order
from numbopt.options import CONSTRAINTS

Group = dict[str, Any]

PARAMETERS = ("params", "param_names")
"""Keys of a group that are no options."""

_NOT_STATE = ("params", *CONSTRAINTS)  # bounds belong to the problem, not to the state of its solution


def packed_groups(groups: list[Group], names: Sequence[str | None]) -> list[Group]:
    """Return copies of groups with running numbers for parameters, and with names if each has one of its own."""
    numbers: dict[int, int] = {}  # by identity, for groups that users have repeated
    result = []
    for group in groups:
        packed = {key: copy.deepcopy(value) for key, value in group.items() if key not in _NOT_STATE}
        packed["params"] = [numbers.setdefault(id(parameter), len(numbers)) for parameter in group["params"]]
        if are_distinct(names):
            packed["param_names"] = [names[number] for number in packed["params"]]
        result.append(packed)
    return result


def loaded_options(theirs: Mapping[str, Any]) -> Group:
    """Return copies of the options in a group of a state dict."""
    return {key: copy.deepcopy(value) for key, value in theirs.items() if key not in (*_NOT_STATE, *PARAMETERS)}


def by_number(states: Mapping[Any, Any], numbers: Sequence[Any]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return the states of a state dict by the numbers of parameters, and what users have put under strings.

    Raises
    ------
    ValueError
        If there is the state of a parameter that is in no group.
    """
    notes = {key: value for key, value in states.items() if isinstance(key, str)}
    # JSON makes strings of numbers.
    from_text = {int(key): notes.pop(key) for key in list(notes) if key.isdigit() and isinstance(notes[key], Mapping)}
    found = {key: value for key, value in states.items() if not isinstance(key, str)} | from_text
    unknown = [key for key in found if key not in numbers]
    if unknown:
        raise ValueError(
            f"loaded state dict has states of the parameters {unknown[:5]}, its groups have {list(numbers)[:5]}"
        )
    return found, notes


def matched_groups(
    state_dict: Mapping[str, Any],
    groups: list[Group],
    names: Sequence[str | None],
    merged: Callable[[Group, Mapping[str, Any]], Group],
) -> tuple[list[Group], list[Any]]:
    """Return the groups as they are after loading, and for each parameter its number in the state dict.

    Parameters
    ----------
    state_dict : dict
        As `packed_groups` and torch make it.
    groups : list of dict
        As they are; not changed.
    names : sequence of str or None
        Of the parameters in these groups.
    merged : callable
        ``merged(ours, theirs)`` returns a group with the parameters of ours and the options of theirs.

    Raises
    ------
    ValueError
        If the state dict does not fit the groups.
    """
    if "state" not in state_dict or "param_groups" not in state_dict:
        raise ValueError(f"not a state dict: it lacks 'state' or 'param_groups', it has {sorted(map(str, state_dict))}")
    loaded = state_dict["param_groups"]
    if len(loaded) != len(groups):
        raise ValueError(
            f"loaded state dict has a different number of parameter groups: {len(loaded)} for {len(groups)}"
        )
    pairs = list(zip(groups, loaded, strict=True))
    if any(len(ours["params"]) != len(theirs.get("params", ())) for ours, theirs in pairs):
        raise ValueError(
            "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
        )
    result = [merged(ours, theirs) for ours, theirs in pairs]
    numbers = [number for group in loaded for number in group["params"]]
    loaded_names = [name for group in loaded for name in group.get("param_names", ())]
    if loaded_names and len(loaded_names) != len(numbers):
        raise ValueError(f"loaded state dict has {len(loaded_names)} names for {len(numbers)} parameters")
    if loaded_names and None not in names:
        numbers = in_order(dict(zip(loaded_names, numbers, strict=True)), names, "the loaded state dict")
        loaded_names = list(names)
    # Groups without names take those of the state dict. Names that Parameters have of themselves are no part of groups.
    if loaded_names and (None in names or "param_names" in groups[0]):
        remaining = iter(loaded_names)
        for group in result:
            group["param_names"] = list(itertools.islice(remaining, len(group["params"])))
    return result, numbers
