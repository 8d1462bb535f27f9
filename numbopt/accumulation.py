"""Where `Accumulate` was until 0.1; pickles of that time name this module."""

from numbopt.wrappers.accumulate import Accumulate

__all__ = ["Accumulate"]
