"""Where averages and `Lookahead` were until 0.1; pickles of that time name this module."""

from typing import Any

from numbopt.wrappers import averages, lookahead


def __getattr__(name: str) -> Any:
    """Return what this module had."""
    return lookahead.Lookahead if name == "Lookahead" else getattr(averages, name)
