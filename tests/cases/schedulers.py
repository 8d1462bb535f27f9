"""The table of schedulers that property tests run over."""

EPOCHS = 45


class Halves:
    """A callable object, whose attributes belong to the state."""

    def __init__(self, every):
        self.every = every

    def __call__(self, epoch):
        return 0.5 ** (epoch // self.every)


def root(epoch):
    return 1 / (1 + epoch) ** 0.5


def nearly_one(epoch):
    return 0.9 + 0.02 * (epoch % 3)


# Name, class, arguments, arguments of a scheduler that takes over the state. At least two full cycles in EPOCHS.
ROWS = [
    ("lambda", "LambdaLR", {"lr_lambda": root}, {"lr_lambda": root}),
    ("lambdas", "LambdaLR", {"lr_lambda": [Halves(7), root]}, {"lr_lambda": [Halves(3), root]}),
    (
        "multiplicative",
        "MultiplicativeLR",
        {"lr_lambda": [nearly_one, Halves(9)]},
        {"lr_lambda": [nearly_one, Halves(2)]},
    ),
    ("step", "StepLR", {"step_size": 7, "gamma": 0.3}, {"step_size": 2}),
    ("step every epoch", "StepLR", {"step_size": 1, "gamma": 1.1}, {"step_size": 2}),
    ("multi step", "MultiStepLR", {"milestones": [9, 4, 9, 30], "gamma": 0.5}, {"milestones": [1]}),
    ("constant", "ConstantLR", {}, {"factor": 0.9}),
    ("constant 1/7", "ConstantLR", {"factor": 1 / 7, "total_iters": 11}, {"factor": 0.9}),
    ("linear", "LinearLR", {}, {"start_factor": 0.9}),
    ("linear down", "LinearLR", {"start_factor": 0.9, "end_factor": 0.0, "total_iters": 13}, {}),
    ("exponential", "ExponentialLR", {"gamma": 0.93}, {"gamma": 0.5}),
    ("polynomial", "PolynomialLR", {"total_iters": 17, "power": 1.7}, {}),
    ("polynomial default", "PolynomialLR", {}, {"power": 3.0}),
    ("cosine", "CosineAnnealingLR", {"T_max": 7}, {"T_max": 3}),
    ("cosine eta_min", "CosineAnnealingLR", {"T_max": 10, "eta_min": 0.003}, {"T_max": 3}),
    ("restarts", "CosineAnnealingWarmRestarts", {"T_0": 6, "eta_min": 0.001}, {"T_0": 3}),
    ("restarts x2", "CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2}, {"T_0": 3}),
    ("restarts x3", "CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 3}, {"T_0": 3}),
    ("triangular", "CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 5}, {"base_lr": 0.1, "max_lr": 0.2}),
    (
        "triangular2",
        "CyclicLR",
        {
            "base_lr": [0.01, 0.02],
            "max_lr": [0.2, 0.1],
            "step_size_up": 3,
            "step_size_down": 8,
            "mode": "triangular2",
            "base_momentum": [0.5, 0.6],
            "max_momentum": [0.8, 0.9],
        },
        {"base_lr": 0.1, "max_lr": 0.2},
    ),
    (
        "exp_range",
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.2,
            "step_size_up": 4,
            "mode": "exp_range",
            "gamma": 0.95,
            "cycle_momentum": False,
        },
        {"base_lr": 0.1, "max_lr": 0.2},
    ),
    (
        "scale_fn by cycle",
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 2.5, "scale_fn": Halves(2)},
        {"base_lr": 0.1, "max_lr": 0.2, "scale_fn": Halves(1)},
    ),
    (
        "scale_fn by epoch",
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 4, "scale_fn": root, "scale_mode": "iterations"},
        {"base_lr": 0.1, "max_lr": 0.2, "scale_fn": root},
    ),
    ("one cycle", "OneCycleLR", {"max_lr": 0.3, "total_steps": EPOCHS + 1}, {"max_lr": 0.3, "total_steps": 9}),
    (
        "one cycle linear",
        "OneCycleLR",
        {
            "max_lr": [0.3, 0.2],
            "epochs": 2,
            "steps_per_epoch": 23,
            "anneal_strategy": "linear",
            "pct_start": 0.45,
            "base_momentum": [0.3, 0.4],
        },
        {"max_lr": 0.3, "total_steps": 9},
    ),
    (
        "one cycle, three phases",
        "OneCycleLR",
        {"max_lr": 0.3, "total_steps": EPOCHS + 1, "three_phase": True, "div_factor": 5.0, "final_div_factor": 10.0},
        {"max_lr": 0.3, "total_steps": 9},
    ),
    (
        "one cycle, no momentum",
        "OneCycleLR",
        {"max_lr": 0.3, "total_steps": EPOCHS + 1, "cycle_momentum": False},
        {"max_lr": 0.3, "total_steps": 9},
    ),
    ("swa", "SWALR", {"swa_lr": 0.004}, {"swa_lr": 0.1}),
    ("swa linear", "SWALR", {"swa_lr": [0.2, 0.3], "anneal_epochs": 17, "anneal_strategy": "linear"}, {"swa_lr": 0.1}),
    ("swa at once", "SWALR", {"swa_lr": 0.004, "anneal_epochs": 0}, {"swa_lr": 0.1}),
]
ARGUMENTS = {name: (cls, arguments) for name, cls, arguments, _ in ROWS}
OTHER_ARGUMENTS = {name: (cls, other) for name, cls, _, other in ROWS}

BEYOND_TORCH = {
    "warm-up and cosine": ("WarmupCosineLR", {"warmup_steps": 5, "total_steps": 20, "end_factor": 0.1}),
    "warm-up, stable, decay": (
        "WarmupStableDecayLR",
        {"warmup_steps": 5, "stable_steps": 10, "decay_steps": 20, "start_factor": 0.1, "decay_shape": "sqrt"},
    ),
    "inverse square root": ("InverseSquareRootLR", {"warmup_steps": 6}),
}
