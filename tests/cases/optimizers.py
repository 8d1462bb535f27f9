"""The table of cases: every optimizer with the options it is tested with, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

# (rtol, atol). In single precision those of torch.testing. In double precision far below its (1e-7, 1e-7), which would
# hide a scalar rounded to single precision; a plain NumPy transcription of the formulas is within 1e-15 of torch.
_SINGLE = (1.3e-6, 1e-5)
_DOUBLE = (1e-12, 1e-12)
# Where the reference sums over all parameters in single precision, and the next steps stand on the sum.
_SINGLE_SUMS = (1e-4, 1e-3)
# Where torch itself rounds a scalar to float32, whatever the parameters are.
_DOUBLE_WITH_SINGLE_CLOCK = (1e-7, 1e-7)
DTYPES = ("float32", "float64", "complex64", "complex128")


@dataclass(frozen=True, eq=False)
class Case:
    """One optimizer with one set of options, and the facts that tests need to know about it."""

    cls: str
    name: str
    options: Mapping[str, Any]
    # The options of the second of two groups.
    second_group: Mapping[str, Any]
    # A gradient of zeros moves a parameter. (A gradient of None never does.)
    moves_without_gradient: bool
    # (rtol, atol) against torch for float64 and complex128.
    double_tolerance: tuple[float, float]
    # torch has the class.
    is_torchs: bool
    # Its steps depend on sums over each "parameter" or over "all" parameters.
    sums_over: str | None

    @property
    def id(self) -> str:
        return f"{self.cls}-{self.name}"

    def tolerance(self, dtype: str) -> dict[str, float]:
        single = _SINGLE_SUMS if self.sums_over == "all" else _SINGLE
        rtol, atol = self.double_tolerance if dtype in ("float64", "complex128") else single
        return {"rtol": rtol, "atol": atol}


def _case(
    cls,
    name,
    *,
    second_group=None,
    moves_without_gradient=None,
    double_tolerance=_DOUBLE,
    is_torchs=True,
    sums_over=None,
    **options,
):
    if second_group is None:
        second_group = {"lr": 0.05, "weight_decay": 0.05}
    if moves_without_gradient is None:
        moves_without_gradient = options.get("weight_decay", 0) != 0
    return Case(cls, name, options, second_group, moves_without_gradient, double_tolerance, is_torchs, sums_over)


_sgd = partial(_case, "SGD")
_adam = partial(_case, "Adam")
# Decays by default.
_adamw = partial(_case, "AdamW", moves_without_gradient=True)
_adamax = partial(_case, "Adamax")
_nadam = partial(_case, "NAdam", double_tolerance=_DOUBLE_WITH_SINGLE_CLOCK)
_radam = partial(_case, "RAdam")
_adagrad = partial(_case, "Adagrad")
_adadelta = partial(_case, "Adadelta")
_rmsprop = partial(_case, "RMSprop")
# Has no weight decay.
_rprop = partial(_case, "Rprop", second_group={"lr": 0.05})
# `lambd` decays by default.
_asgd = partial(_case, "ASGD", moves_without_gradient=True, double_tolerance=_DOUBLE_WITH_SINGLE_CLOCK)

# Those that torch does not have.
_own = partial(_case, is_torchs=False)
_lion = partial(_own, "Lion")
_adabelief = partial(_own, "AdaBelief")
# Begins with a momentum.
_yogi = partial(_own, "Yogi", moves_without_gradient=True)
_ademamix = partial(_own, "AdEMAMix")
_adopt = partial(_own, "ADOPT")
_adan = partial(_own, "Adan")
_madgrad = partial(_own, "MADGRAD")
_adamw_schedule_free = partial(_own, "AdamWScheduleFree")
_sgd_schedule_free = partial(_own, "SGDScheduleFree")

_lamb = partial(_own, "LAMB", sums_over="parameter")
_lars = partial(_own, "LARS", sums_over="parameter")
_clipup = partial(_own, "ClipUp", sums_over="parameter", second_group={"lr": 0.05})
_dog = partial(_own, "DoG", sums_over="all", second_group={"lr": 0.5})
_prodigy = partial(_own, "Prodigy", sums_over="all", second_group={"weight_decay": 0.05})

# Each block begins with the rows of torch's own test grid.
CASES = (
    _sgd("default"),
    _sgd("lr", lr=0.01),
    _sgd("array-lr", lr=np.array(0.001)),
    _sgd("decay", weight_decay=0.5),
    _sgd("momentum", momentum=0.9),
    _sgd("maximize", weight_decay=0.1, maximize=True),
    _sgd("dampening", momentum=0.9, dampening=0.5),
    _sgd("momentum-decay", momentum=0.9, weight_decay=0.1),
    _sgd("nesterov", momentum=0.9, nesterov=True, weight_decay=0.1),
    # Beyond torch's grid.
    _sgd("dampening-maximize", lr=0.1, momentum=0.9, dampening=0.5, maximize=True),
    _sgd("nesterov-maximize", lr=0.1, momentum=0.8, nesterov=True, maximize=True),
    _sgd("dampening-decay-maximize", lr=0.1, momentum=0.5, dampening=0.2, weight_decay=0.1, maximize=True),
    _adam("default"),
    _adam("lr", lr=0.01),
    _adam("decay", weight_decay=0.1),
    _adam("maximize", weight_decay=0.1, maximize=True),
    _adam("amsgrad", weight_decay=0.1, amsgrad=True),
    # Beyond torch's grid.
    _adam("betas", lr=0.01, betas=(0.8, 0.95)),
    _adam("no-momentum", lr=0.01, betas=(0.0, 0.9)),
    _adam("eps", lr=0.1, eps=1e-3),
    _adam("amsgrad-maximize", lr=0.01, betas=(0.8, 0.95), amsgrad=True, maximize=True),
    _adam("decoupled-decay", lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    _adamw("default"),
    _adamw("lr", lr=0.01),
    _adamw("decay", weight_decay=0.1),
    _adamw("maximize", weight_decay=0.1, maximize=True),
    _adamw("amsgrad", weight_decay=0.1, amsgrad=True),
    # Beyond torch's grid.
    _adamw("no-decay", weight_decay=0, moves_without_gradient=False),
    _adamw("amsgrad-maximize", lr=0.1, betas=(0.8, 0.95), weight_decay=0.5, amsgrad=True, maximize=True),
    _adamax("default"),
    _adamax("lr", lr=0.1),
    _adamax("decay", weight_decay=0.1),
    _adamax("maximize", maximize=True),
    _adamax("decay-maximize", weight_decay=0.1, maximize=True),
    # Beyond torch's grid.
    _adamax("betas", lr=0.01, betas=(0.8, 0.7), eps=1e-3),
    _nadam("default"),
    _nadam("lr", lr=0.001),
    _nadam("momentum-decay", momentum_decay=0.006),
    _nadam("decay", weight_decay=0.1),
    _nadam("decay-momentum-decay", weight_decay=0.1, momentum_decay=0.006),
    _nadam("decoupled-decay", weight_decay=0.1, momentum_decay=0.006, decoupled_weight_decay=True),
    _nadam("maximize", weight_decay=0.1, maximize=True),
    # Beyond torch's grid.
    _nadam("betas", lr=0.05, betas=(0.8, 0.95), eps=1e-3, momentum_decay=0.5),
    _nadam("no-momentum-decay", lr=0.01, momentum_decay=0),
    _nadam("decoupled-maximize", lr=0.01, weight_decay=0.1, decoupled_weight_decay=True, maximize=True),
    _radam("default"),
    _radam("lr", lr=0.002),
    _radam("eps", eps=1e-6),
    _radam("decay", weight_decay=0.1),
    _radam("decoupled-decay", weight_decay=0.1, decoupled_weight_decay=True),
    _radam("maximize", weight_decay=0.1, maximize=True),
    # Beyond torch's grid: rectified from the tenth step on, never, from the sixth on.
    _radam("late-rectified", lr=0.01, betas=(0.9, 0.7)),
    _radam("never-rectified", lr=0.01, betas=(0.8, 0.5)),
    _radam(
        "decoupled-maximize", lr=0.1, betas=(0.8, 0.99), weight_decay=0.1, decoupled_weight_decay=True, maximize=True
    ),
    _adagrad("default"),
    _adagrad("decay", weight_decay=0.1),
    _adagrad("maximize", weight_decay=0.1, maximize=True),
    _adagrad("lr", lr=0.1),
    _adagrad("initial-accumulator", initial_accumulator_value=0.1, weight_decay=0.1),
    _adagrad("lr-decay", lr=0.1, lr_decay=0.5, weight_decay=0.1),
    _adagrad("array-lr", lr=np.array(0.001)),
    # Beyond torch's grid.
    _adagrad("eps-maximize", lr=0.1, lr_decay=0.1, initial_accumulator_value=0.5, eps=1e-3, maximize=True),
    _adadelta("default"),
    _adadelta("lr", lr=0.01),
    _adadelta("decay", weight_decay=0.1),
    _adadelta("maximize", maximize=True),
    _adadelta("decay-maximize", weight_decay=0.1, maximize=True),
    _adadelta("rho", rho=0.95, weight_decay=0.9),
    # Beyond torch's grid.
    _adadelta("eps", rho=0.5, eps=1e-3),
    _rmsprop("default"),
    _rmsprop("lr", lr=0.001),
    _rmsprop("decay", weight_decay=0.1),
    _rmsprop("maximize", maximize=True),
    _rmsprop("centered", weight_decay=0.1, centered=True),
    _rmsprop("decay-maximize", maximize=True, weight_decay=0.1),
    _rmsprop("centered-momentum", weight_decay=0.1, centered=True, momentum=0.1),
    _rmsprop("centered-momentum-maximize", weight_decay=0.1, centered=True, momentum=0.1, maximize=True),
    # Beyond torch's grid.
    _rmsprop("momentum", momentum=0.9),
    _rmsprop("alpha-eps", alpha=0.8, eps=1e-3),
    _rprop("default"),
    _rprop("lr", lr=0.0002),
    _rprop("etas", etas=(0.5, 1.5)),
    _rprop("step-sizes", step_sizes=(2e-6, 100)),
    _rprop("maximize", maximize=True),
    # Beyond torch's grid.
    _rprop("clamped", lr=0.1, etas=(0.4, 1.3), step_sizes=(0.03, 0.2)),
    _asgd("default"),
    _asgd("lambd", lambd=0.1),
    _asgd("lr", lr=0.02),
    _asgd("t0", t0=100),
    _asgd("maximize", maximize=True),
    _asgd("decay", weight_decay=0.1),
    _asgd("decay-maximize", weight_decay=0.1, maximize=True),
    # Beyond torch's grid: averaging sets in.
    _asgd("averaged", lr=0.1, lambd=0.5, t0=5),
    _asgd("averaged-decay-maximize", lr=0.1, lambd=0.3, alpha=0.5, t0=3, weight_decay=0.1, maximize=True),
    # Beyond torch.
    _lion("default", lr=0.01),
    _lion("decay-maximize", lr=0.02, betas=(0.8, 0.95), weight_decay=0.1, maximize=True),
    _adabelief("default"),
    _adabelief("decay-maximize", lr=0.01, betas=(0.8, 0.95), eps=1e-8, weight_decay=0.1, maximize=True),
    _yogi("default"),
    _yogi("decay-maximize", lr=0.05, betas=(0.8, 0.9), eps=1e-2, weight_decay=0.1, maximize=True),
    _yogi("initial", initial_accumulator_value=0.1),
    _ademamix("default"),
    _ademamix("warm-up", lr=0.01, betas=(0.8, 0.95, 0.999), t_alpha_beta3=15),
    _ademamix("decay-maximize", lr=0.01, alpha=2.0, weight_decay=0.1, maximize=True),
    _adopt("default", lr=0.01),
    _adopt("decay-maximize", lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, maximize=True),
    _adan("default"),
    _adan("decay-maximize", lr=0.01, betas=(0.9, 0.8, 0.95), weight_decay=0.1, maximize=True),
    _madgrad("default"),
    _madgrad("decay-maximize", lr=0.05, momentum=0.5, weight_decay=0.1, maximize=True),
    _adamw_schedule_free("default"),
    _adamw_schedule_free("warm-up", lr=0.01, betas=(0.8, 0.95), warmup_steps=5, r=0.5, weight_lr_power=1.0),
    _adamw_schedule_free("decay-maximize", lr=0.01, weight_decay=0.1, maximize=True),
    _sgd_schedule_free("default", lr=0.1),
    _sgd_schedule_free("decay-maximize", lr=0.1, momentum=0.8, weight_decay=0.1, warmup_steps=5, maximize=True),
    _lamb("default", lr=0.01),
    _lamb("decay-maximize", lr=0.02, betas=(0.8, 0.95), weight_decay=0.1, maximize=True),
    _lars("default", lr=0.1),
    _lars("nesterov-decay-maximize", lr=0.1, nesterov=True, weight_decay=0.1, trust_coefficient=0.01, maximize=True),
    _clipup("default", lr=0.01, max_speed=0.02),
    _clipup("maximize", lr=0.02, momentum=0.5, max_speed=0.03, maximize=True),
    _dog("default", reps_rel=1e-3),
    _dog("maximize", lr=0.5, reps_rel=1e-2, maximize=True),
    _prodigy("default", d0=1e-3),
    _prodigy("recommended", d0=1e-3, use_bias_correction=True, safeguard_warmup=True),
    _prodigy("maximize", d0=1e-2, betas=(0.8, 0.95), growth_rate=1.5, maximize=True),
    _prodigy("decay", moves_without_gradient=False, d0=1e-2, weight_decay=0.1),
    _prodigy("coupled-decay", d0=1e-2, beta3=0.9, d_coef=0.5, weight_decay=0.1, decouple=False),
)


@dataclass(frozen=True, eq=False)
class ClosureCase:
    """One optimizer that evaluates a closure several times in a step, with one set of options."""

    cls: str
    name: str
    options: Mapping[str, Any]
    # Has a line search: no step uphill, and parameters, loss and gradients of the best point after a step.
    searches: bool = True

    @property
    def id(self) -> str:
        return f"{self.cls}-{self.name}"


CLOSURE_CASES = (
    ClosureCase("LBFGS", "default", {}, searches=False),
    ClosureCase("LBFGS", "lr", {"lr": 0.5}, searches=False),
    ClosureCase("LBFGS", "strong-wolfe", {"line_search_fn": "strong_wolfe"}),
    ClosureCase("LBFGS", "strong-wolfe-history", {"line_search_fn": "strong_wolfe", "history_size": 5}),
    ClosureCase("NonlinearCG", "default", {}),
    ClosureCase("NonlinearCG", "hager-zhang", {"direction": "hager-zhang"}),
    ClosureCase("NonlinearCG", "polak-ribiere", {"direction": "polak-ribiere"}),
)
