"""Trees: dicts, lists, tuples, named tuples and dataclasses, within each other, with arrays and numbers as leaves."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

Leaf = tuple[str, Any]
"""The path of a leaf, such as ``layers[1].w``, and the leaf."""


def leaves_of(tree: Any, path: str = "") -> list[Leaf]:
    """Return the leaves of a tree in order."""
    if (children := _children(tree)) is None:
        return [(path, tree)]
    return [leaf for key, child in children for leaf in leaves_of(child, _longer(path, key))]


def matching(tree: Any, like: Any, what: str, path: str = "") -> Iterator[Any]:
    """Iterate over what ``tree`` has where ``like`` has leaves; None stands for nothing at any place.

    Raises
    ------
    ValueError
        If the structures differ; names the place.
    """
    children = _children(like)
    if tree is None:
        yield from [None] * len(leaves_of(like))
        return
    if children is None:
        if isinstance(tree, Mapping) or dataclasses.is_dataclass(tree):
            raise ValueError(f"{what}{path and ' at '}{path} is a {type(tree).__name__}, the parameter is an array")
        yield tree
        return
    own = None if isinstance(tree, np.ndarray) else _children(tree)
    keys = [key for key, _ in children]
    if own is None or [key for key, _ in sorted(own, key=_order)] != sorted(keys, key=lambda key: _order((key, None))):
        found = type(tree).__name__ if own is None else [key for key, _ in own]
        raise ValueError(f"{what}{path and ' at '}{path} must have the structure of parameters, {keys}, got {found}")
    by_key = dict(own)
    for key, child in children:
        yield from matching(by_key[key], child, what, _longer(path, key))


def rebuilt(tree: Any, leaves: Iterator[Any]) -> Any:
    """Return a tree of the same types with other leaves."""
    if isinstance(tree, Mapping):
        values = {key: rebuilt(child, leaves) for key, child in tree.items()}
        return values if type(tree) is dict else type(tree)(values)  # type: ignore[call-arg]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuilt(child, leaves) for child in tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(rebuilt(child, leaves) for child in tree)
    if dataclasses.is_dataclass(tree):
        changed = {field.name: rebuilt(getattr(tree, field.name), leaves) for field in dataclasses.fields(tree)}
        return dataclasses.replace(tree, **changed)  # type: ignore[type-var]
    return next(leaves)


def _children(tree: Any) -> list[tuple[Any, Any]] | None:
    """Return keys and children of a node, None for a leaf."""
    if isinstance(tree, Mapping):
        return list(tree.items())
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(zip(tree._fields, tree, strict=True))
    if isinstance(tree, (list, tuple)):
        return list(enumerate(tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    return None


def _order(item: tuple[Any, Any]) -> tuple[str, str]:
    return type(item[0]).__name__, repr(item[0])


def _longer(path: str, key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"


def paths(leaves: Iterable[Leaf]) -> tuple[str, ...]:
    """Return the paths of leaves."""
    return tuple(path for path, _ in leaves)
