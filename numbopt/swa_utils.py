"""What numbopt has of ``torch.optim.swa_utils``; `AveragedParameters` takes the place of its ``AveragedModel``."""

from numbopt.lr_scheduler import SWALR
from numbopt.wrappers.averages import AveragedParameters, get_ema_avg_fn, get_swa_avg_fn

__all__ = ["SWALR", "AveragedParameters", "get_ema_avg_fn", "get_swa_avg_fn"]
