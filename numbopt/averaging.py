"""Where averages and `Lookahead` were until 0.1; pickles of that time name this module."""

from numbopt.wrappers.averages import (
    AveragedParameters,
    _Average,
    _Averager,
    _ema,
    _swa,
    get_ema_avg_fn,
    get_swa_avg_fn,
)
from numbopt.wrappers.lookahead import Lookahead

__all__ = [
    "AveragedParameters",
    "Lookahead",
    "_Average",
    "_Averager",
    "_ema",
    "_swa",
    "get_ema_avg_fn",
    "get_swa_avg_fn",
]
