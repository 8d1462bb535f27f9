"""numbopt: torch.optim's system for NumPy arrays, compiled by Numba.

>>> import numpy as np, numbopt
>>> x = np.array([2.0, -1.0])
>>> opt = numbopt.Adam([x], lr=0.1)
>>> opt.step(grads=[2 * x])
>>> x
array([ 1.9, -0.9])
"""

import sys

from numbopt import cuda, lr_scheduler, options, schedules, swa_utils
from numbopt._kernels.rule import Rule, rule
from numbopt._launch.threads import get_num_threads, set_num_threads
from numbopt._minimize.front import minimize, scipy_method
from numbopt.algorithms.adabelief import AdaBelief
from numbopt.algorithms.adadelta import Adadelta
from numbopt.algorithms.adagrad import Adagrad
from numbopt.algorithms.adam import Adam
from numbopt.algorithms.adamax import Adamax
from numbopt.algorithms.adamw import AdamW
from numbopt.algorithms.adan import Adan
from numbopt.algorithms.ademamix import AdEMAMix
from numbopt.algorithms.adopt import ADOPT
from numbopt.algorithms.asgd import ASGD
from numbopt.algorithms.clipup import ClipUp
from numbopt.algorithms.dog import DoG
from numbopt.algorithms.lamb import LAMB
from numbopt.algorithms.lars import LARS
from numbopt.algorithms.lbfgs import LBFGS
from numbopt.algorithms.lion import Lion
from numbopt.algorithms.madgrad import MADGRAD
from numbopt.algorithms.muon import Muon
from numbopt.algorithms.nadam import NAdam
from numbopt.algorithms.nonlinear_cg import NonlinearCG
from numbopt.algorithms.prodigy import Prodigy
from numbopt.algorithms.radam import RAdam
from numbopt.algorithms.rmsprop import RMSprop
from numbopt.algorithms.rprop import Rprop
from numbopt.algorithms.schedule_free import AdamWScheduleFree, SGDScheduleFree
from numbopt.algorithms.sgd import SGD
from numbopt.algorithms.sparse_adam import SparseAdam
from numbopt.algorithms.yogi import Yogi
from numbopt.checkpoint import CheckpointError, load, save
from numbopt.clip_grad import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from numbopt.compiling import warmup
from numbopt.curvature import covariance, hessian
from numbopt.elementwise import ElementwiseOptimizer
from numbopt.history import History
from numbopt.hooks import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from numbopt.optimizer import Optimizer, required
from numbopt.parameter import Pack, Parameter, pack
from numbopt.vectorwise import VectorOptimizer
from numbopt.wrappers.accumulate import Accumulate
from numbopt.wrappers.averages import AveragedParameters, get_ema_avg_fn, get_swa_avg_fn
from numbopt.wrappers.lookahead import Lookahead

__version__ = "0.1.0"

__all__ = [
    "ADOPT",
    "ASGD",
    "LAMB",
    "LARS",
    "LBFGS",
    "MADGRAD",
    "SGD",
    "Accumulate",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdamWScheduleFree",
    "Adamax",
    "Adan",
    "AveragedParameters",
    "CheckpointError",
    "ClipUp",
    "DoG",
    "ElementwiseOptimizer",
    "History",
    "Lion",
    "Lookahead",
    "Muon",
    "NAdam",
    "NonlinearCG",
    "Optimizer",
    "Pack",
    "Parameter",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rprop",
    "Rule",
    "SGDScheduleFree",
    "SparseAdam",
    "VectorOptimizer",
    "Yogi",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "covariance",
    "cuda",
    "get_ema_avg_fn",
    "get_num_threads",
    "get_swa_avg_fn",
    "get_total_norm",
    "hessian",
    "load",
    "lr_scheduler",
    "minimize",
    "options",
    "pack",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "required",
    "rule",
    "save",
    "schedules",
    "scipy_method",
    "set_num_threads",
    "swa_utils",
    "warmup",
]

for _public in map(globals().get, __all__):
    if callable(_public):  # pickles and tracebacks name what is public, not the folder that it is in
        _public.__module__ = __name__

# Pickles of 0.1 name these modules. As files, `minimize` and `warmup` would hide the functions once they were imported.
for _old, _new in {"minimize": "_minimize.front", "warmup": "compiling", "_kernels.threads": "_launch.threads"}.items():
    sys.modules[f"{__name__}.{_old}"] = sys.modules[f"{__name__}.{_new}"]
