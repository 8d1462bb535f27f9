"""Schedulers: they write the values of schedules into an optimizer's groups, epoch by epoch.

Names, arguments and values are those of ``torch.optim.lr_scheduler``, with ``SWALR`` of ``torch.optim.swa_utils``.
numbopt adds `WarmupCosineLR`, `WarmupStableDecayLR` and `InverseSquareRootLR`, `ParamScheduler` for any other option of
a group, and `FactorLR`, a base class for your own schedulers. The formulas are in `numbopt.schedules`.
"""

from numbopt.lr_scheduler.base import EPOCH_DEPRECATION_WARNING, LRScheduler, Scheduler
from numbopt.lr_scheduler.compound import ChainedScheduler, SequentialLR
from numbopt.lr_scheduler.cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from numbopt.lr_scheduler.factors import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    FactorLR,
    InverseSquareRootLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
    WarmupCosineLR,
    WarmupStableDecayLR,
)
from numbopt.lr_scheduler.functions import LambdaLR, MultiplicativeLR, ParamScheduler
from numbopt.lr_scheduler.plateau import ReduceLROnPlateau
from numbopt.lr_scheduler.swa import SWALR

_LRScheduler = LRScheduler  # its name in old scripts

__all__ = [
    "EPOCH_DEPRECATION_WARNING",
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "FactorLR",
    "InverseSquareRootLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "ParamScheduler",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "Scheduler",
    "SequentialLR",
    "StepLR",
    "WarmupCosineLR",
    "WarmupStableDecayLR",
]

for _public in map(globals().get, __all__):
    if callable(_public):  # pickles and tracebacks name what is public, not the folder that it is in
        _public.__module__ = __name__
