"""From what users pass as parameters to groups of Parameters."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from numbopt._devices.arrays import is_device_array
from numbopt.parameter import Parameter, label


def as_groups(params: Any) -> list[dict[str, Any]]:
    """Return ``params``, in any of the forms an optimizer takes, as a list of new dicts with ``"params"``.

    Raises
    ------
    TypeError
        If it is no iterable of parameters.
    ValueError
        If it is empty.
    """
    if _is_one_array(params):
        raise TypeError(
            "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
            f"{type(params).__name__}; put it in a list: [x]"
        )
    if isinstance(params, Mapping) and not isinstance(params.get("params"), (list, tuple, Mapping)):
        params = params.items()
    elif isinstance(params, Mapping):
        raise TypeError("params is a single group; put it in a list: [{'params': ...}]")
    if isinstance(params, (set, frozenset)):
        raise TypeError(_UNORDERED)
    if isinstance(params, (str, bytes)) or not isinstance(params, Iterable):
        raise TypeError(f"params must be an iterable of parameters, arrays or groups, got {params!r}")
    items = list(params)
    if not items:
        raise ValueError("optimizer got an empty parameter list; pass at least one parameter")
    if any(isinstance(item, Mapping) for item in items):
        for item in items:
            check_is_group(item)
        return [dict(item) for item in items]
    return [{"params": items}]


def check_is_group(group: Any) -> None:
    """Refuse what is not a dict with parameters."""
    if not isinstance(group, Mapping):
        raise TypeError(f"param_group must be a dict, but got {type(group)}; groups and parameters cannot be mixed")
    if "params" not in group:
        raise ValueError(f"param_group needs the key 'params', got {sorted(map(str, group))}")


def as_parameters(params: Any) -> tuple[list[Parameter], list[str] | None]:
    """Return the entries of a group as Parameters, and their names where they were given with names."""
    if isinstance(params, (set, frozenset)):
        raise TypeError(_UNORDERED)
    if _is_one_array(params):
        params = [params]
    elif isinstance(params, Mapping):
        params = params.items()
    elif isinstance(params, tuple) and len(params) == 2 and isinstance(params[0], str):
        params = [params]
    if isinstance(params, (str, bytes)) or not isinstance(params, Iterable):
        raise TypeError(f"'params' must be a parameter or an iterable of parameters, got {params!r}")
    parameters, names = [], []
    for item in params:
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            name, item = item
            names.append(name)
            parameters.append(_as_parameter(item, name))
        else:
            parameters.append(_as_parameter(item, None))
    if names and len(names) < len(parameters):
        raise ValueError("all optimizer params should be with/without names. Some param names are missing")
    return parameters, names or None


def _is_one_array(params: Any) -> bool:
    """Whether ``params`` is a parameter and not an iterable of parameters."""
    return (
        isinstance(params, (Parameter, np.ndarray)) or hasattr(params, "__array_interface__") or is_device_array(params)
    )


def _as_parameter(item: Any, name: str | None) -> Parameter:
    if isinstance(item, Parameter):
        return item
    if isinstance(item, np.ndarray) or is_device_array(item):
        parameter = Parameter.sharing(item, name)
        parameter.is_implicit = parameter.array is item
        return parameter
    raise TypeError(
        f"optimizer can only optimize Tensors, but one of the params is {type(item).__name__}; "
        f"pass a numbopt.Parameter or a NumPy array{f' for {name!r}' if name else ''}"
    )


def check_no_overlap(parameters: list[Parameter]) -> None:
    """Refuse parameters that are given twice or share memory."""
    if len({id(parameter) for parameter in parameters}) < len(parameters):
        raise ValueError("some parameters appear in more than one parameter group, or twice in one; give each once")
    spans = [parameter.span for parameter in parameters]
    order = sorted((i for i, (start, end) in enumerate(spans) if end > start), key=spans.__getitem__)
    for one, next_one in itertools.pairwise(order):
        if spans[next_one][0] < spans[one][1]:
            raise ValueError(
                f"{label(parameters[one])} and {label(parameters[next_one])} share memory: some parameters appear in "
                "more than one parameter group, or overlap; pass each piece of memory once"
            )


def unknown_key(key: str, known: Iterable[str]) -> ValueError:
    """Return the error about a key of a group that no one reads."""
    import difflib

    known = sorted(known)
    close = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return ValueError(f"unknown option {key!r} in a param group; {hint}")


_UNORDERED = (
    "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets will "
    "change between runs. Please use a list instead."
)
