"""Runs that an earlier version stopped in the middle, and the script that wrote what it kept of them.

Run with numbopt 0.1.0 as of commit dcc3c84, ``PYTHONPATH=<a clone of it> python tests/cases/written_before.py``, it
wrote the files in `written_before_files`:

- ``<run>.pickle``: the objects of a run, in the middle of it;
- ``<run>.npz``: a checkpoint of them;
- ``plain.pickle.gz``: of all runs the state dicts and parameters at that moment and at the end, without anything of
  numbopt's own;
- ``values.pickle``: objects of other kinds;
- ``names.pickle.gz``: pickles of the public classes and functions, by name.

They stand for what users have on their disks, so that they are never made anew, and the runs never change. Gradients
come from a hash, and betas have few binary digits, so that their powers are exact: no release of NumPy and no other C
library makes other numbers of them.
"""

import gzip
import hashlib
import io
import pickle
import sys
from functools import partial
from pathlib import Path

import numpy as np

import numbopt
from numbopt import lr_scheduler, schedules

FOLDER = Path(__file__).parent / "written_before_files"
PROTOCOL = 4
BEFORE, AFTER = range(1, 6), range(6, 10)

# ---- parameters and gradients

# By name: shape, dtype, and the steps with a gradient. The last one has no state yet when the run is stopped.
_PARAMETERS = {
    "weights": ((2, 3), "float32", range(1, 10)),
    "bias": ((3,), "float64", range(1, 10)),
    "phase": ((2,), "complex64", (1, 3, 5, 6, 8)),
    "late": ((), "float64", (7, 8)),
}
# The parameters of runs that are about something else.
FEW = ("weights", "phase")


def numbers(name, shape, dtype):
    """Return numbers in [-1, 1) that are the same everywhere."""
    parts = 2 if np.dtype(dtype).kind == "c" else 1
    count = int(np.prod(shape)) * parts
    values = np.frombuffer(hashlib.shake_128(name.encode()).digest(4 * count), "<u4") / 2.0**31 - 1
    return (values if parts == 1 else values.view(np.complex128)).astype(dtype).reshape(shape)


def start():
    """Return arrays by name, in Fortran order."""
    arrays = {name: numbers(f"start {name}", shape, dtype) / 4 for name, (shape, dtype, _) in _PARAMETERS.items()}
    return {name: np.array(array, _PARAMETERS[name][1], order="F") for name, array in arrays.items()}


def gradients(step, names):
    """Return the gradients of some parameters, None for those that have none in this step."""
    chosen = [(name, *_PARAMETERS[name]) for name in names]
    return [
        numbers(f"gradient {step} {name}", shape, dtype) if step in steps else None
        for name, shape, dtype, steps in chosen
    ]


def named_parameters(names=tuple(_PARAMETERS)):
    return [numbopt.Parameter(start()[name], name=name) for name in names]


def loss_and_gradients(parameters):
    """Return a smooth function of all parameters together, for optimizers that evaluate a closure."""
    x = np.concatenate([parameter.data.ravel() for parameter in parameters])
    weights = 3.0 ** np.arange(x.size)
    total = float(np.sum(x))
    gradient = weights * (x - 1) + total**3
    ends = np.cumsum([parameter.size for parameter in parameters])[:-1]
    pieces = np.split(gradient, ends)
    loss = float(np.sum(weights * (x - 1) ** 2)) / 2 + total**4 / 4
    return loss, [piece.reshape(parameter.shape) for piece, parameter in zip(pieces, parameters, strict=True)]


# ---- runs: by name, functions that return the objects of a run, new


def elementwise(cls, options, second, first=()):
    """An optimizer of two groups, of which the second has options of its own."""
    parameters = named_parameters()
    groups = [{"params": parameters[:2], **dict(first)}, {"params": parameters[2:], **second}]
    return {"optimizer": getattr(numbopt, cls)(groups, **options)}


def of_arrays():
    """Arrays of the user's without names, updated in place, and a learning rate that is an array."""
    arrays = [start()[name] for name in FEW]
    return {"optimizer": numbopt.SGD(arrays, lr=np.array(0.125), momentum=0.5), "arrays": arrays}


def of_pairs():
    """Names in the groups, and notes of the user's in the state."""
    optimizer = numbopt.Adam([(name, start()[name]) for name in FEW], lr=0.03, betas=BETAS)
    optimizer.state["note"] = {"losses": [1.0, 0.5]}
    return {"optimizer": optimizer}


def by_closure(cls, **options):
    parameters = [
        numbopt.Parameter(numbers("start x", (2, 2), "float64"), name="x"),
        numbopt.Parameter(numbers("start y", (3,), "float64"), name="y"),
    ]
    return {"optimizer": getattr(numbopt, cls)(parameters, **options)}


def sgd():
    weights, phase = named_parameters(FEW)
    return numbopt.SGD(
        [{"params": [weights], "weight_decay": 0.125}, {"params": [phase], "lr": 0.25}], lr=0.5, momentum=0.5
    )


def accumulating():
    return {"optimizer": numbopt.Accumulate(sgd(), steps=3)}


def looking_ahead():
    return {"optimizer": numbopt.Lookahead(sgd(), k=2, alpha=0.75)}


def accumulating_and_looking_ahead():
    return {"optimizer": numbopt.Accumulate(numbopt.Lookahead(sgd(), k=2), steps=2, reduction="sum")}


def averaging():
    optimizer = sgd()
    return {
        "optimizer": optimizer,
        "averages": numbopt.AveragedParameters(optimizer, numbopt.get_ema_avg_fn(0.9)),
        "means": numbopt.AveragedParameters(optimizer, numbopt.get_swa_avg_fn()),
    }


def scheduled(new_scheduler):
    optimizer = sgd()
    return {"optimizer": optimizer, "scheduler": new_scheduler(optimizer)}


def everything():
    optimizer = numbopt.AdamW(named_parameters(FEW), lr=0.05, betas=BETAS)
    return {
        "optimizer": optimizer,
        "scheduler": lr_scheduler.LinearLR(optimizer, total_iters=8),
        "averages": numbopt.AveragedParameters(optimizer, numbopt.get_ema_avg_fn(0.75)),
        "history": numbopt.History(optimizer),
    }


def warm_up_and_decay(optimizer):
    parts = [lr_scheduler.LinearLR(optimizer, 0.25, total_iters=3), lr_scheduler.StepLR(optimizer, 2, 0.5)]
    return lr_scheduler.SequentialLR(optimizer, parts, [3])


def chained(optimizer):
    half_way = partial(schedules.linear, start_factor=1.0, end_factor=0.5, total_iters=8)
    return lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(optimizer, 0.5, 7), lr_scheduler.ParamScheduler(optimizer, "weight_decay", half_way)]
    )


BETAS = (0.875, 0.96875)
RUNS = {
    "SGD": partial(
        elementwise,
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.25},
        {"lr": 0.05, "dampening": 0.0, "nesterov": True, "weight_decay": 0.125},
    ),
    "SGD_of_arrays": of_arrays,
    "Adam": partial(
        elementwise,
        "Adam",
        {"lr": 0.03, "betas": BETAS, "amsgrad": True},
        {"amsgrad": False, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "Adam_of_pairs": of_pairs,
    "AdamW": partial(
        elementwise,
        "AdamW",
        {"lr": 0.2, "betas": BETAS, "max_grad_norm": 1e6, "nonfinite": "skip"},
        {"weight_decay": 0.5, "maximize": True},
        {"bounds": (-0.375, np.array([0.25, 0.375, 0.5]))},  # which they reach
    ),
    "Adamax": partial(elementwise, "Adamax", {"lr": 0.03, "betas": BETAS}, {"weight_decay": 0.1}),
    # The powers of 0.96 that this takes are far from where rounding is in doubt.
    "NAdam": partial(
        elementwise, "NAdam", {"lr": 0.03, "betas": BETAS, "momentum_decay": 0.1}, {"momentum_decay": 0.0, "lr": 0.01}
    ),
    # The first group is rectified from the first step after the stop on, the second never.
    "RAdam": partial(elementwise, "RAdam", {"lr": 0.03, "betas": BETAS}, {"betas": (0.5, 0.75)}),
    "Adagrad": partial(
        elementwise,
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.125},
        {"lr": 0.05, "weight_decay": 0.1},
    ),
    "Adadelta": partial(elementwise, "Adadelta", {"lr": 0.5, "rho": 0.875}, {"rho": 0.5, "eps": 1e-3}),
    "RMSprop": partial(
        elementwise,
        "RMSprop",
        {"lr": 0.02, "alpha": 0.875, "momentum": 0.5, "centered": True},
        {"centered": False, "momentum": 0.0},
    ),
    "Rprop": partial(elementwise, "Rprop", {"lr": 0.01}, {"etas": (0.25, 1.5), "step_sizes": (1e-3, 0.5)}),
    # Averaging sets in before the run is stopped; a first power is exact.
    "ASGD": partial(elementwise, "ASGD", {"lr": 0.1, "lambd": 0.1, "t0": 2, "alpha": 1.0}, {"weight_decay": 0.1}),
    "LBFGS": partial(by_closure, "LBFGS", max_iter=3, lr=0.125, history_size=5),
    "LBFGS_strong_wolfe": partial(by_closure, "LBFGS", max_iter=2, line_search_fn="strong_wolfe"),
    "NonlinearCG": partial(by_closure, "NonlinearCG", max_iter=3),
    "Accumulate": accumulating,
    "Lookahead": looking_ahead,
    "Accumulate_of_Lookahead": accumulating_and_looking_ahead,
    "averages": averaging,
    "SequentialLR": partial(scheduled, warm_up_and_decay),
    "ChainedScheduler": partial(scheduled, chained),
    "CyclicLR": partial(
        scheduled, partial(lr_scheduler.CyclicLR, base_lr=0.125, max_lr=[0.5, 0.25], step_size_up=2, mode="triangular2")
    ),
    "ReduceLROnPlateau": partial(scheduled, partial(lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=1)),
    "everything": everything,
}
# Sums of several numbers depend on how many of them a processor adds at once.
WITH_SUMS = {"LBFGS", "LBFGS_strong_wolfe", "NonlinearCG"}

# What a checkpoint may hold beside the objects.
PLAIN_VALUES = {
    "epoch": 5,
    "best": float("inf"),
    "name": "Größe",
    "nothing": None,
    "big": 2**80,
    "done": (True, [1.5, -0.0], {"a": 1, 2: "b"}),
    "z": 1.5 - 2j,
    "single": np.float32(0.1),
    "counts": np.arange(3, dtype=np.int16),
}


def parameters_of(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def take_steps(objects, steps):
    """Do some steps of a run; return the losses, where there are any."""
    optimizer, losses = objects["optimizer"], []
    parameters = parameters_of(optimizer)
    names = FEW if "arrays" in objects else [parameter.name for parameter in parameters]
    for step in steps:
        if isinstance(optimizer, numbopt.VectorOptimizer):
            losses.append(optimizer.step(partial(loss_and_gradients, parameters)))
        else:
            optimizer.step(grads=gradients(step, names))
        for key in {"averages", "means"} & objects.keys():
            objects[key].update_parameters()
        if "history" in objects:
            objects["history"].record(loss=1 / step)
        if "scheduler" in objects:
            is_plateau = isinstance(objects["scheduler"], lr_scheduler.ReduceLROnPlateau)
            objects["scheduler"].step(*[1.0] * is_plateau)
    return losses


ATTRIBUTES = ("step_count", "max_grad_norm", "nonfinite", "skipped_steps", "result", "count", "counter", "k")


def plain(objects):
    """Return what there is to know about the objects of a run, without a class of numbopt."""
    optimizer = objects["optimizer"]
    attributes = {name: getattr(optimizer, name) for name in ATTRIBUTES if hasattr(optimizer, name)}
    if attributes.get("result"):
        attributes["result"] = attributes["result"]._asdict()
    return {
        "parameters": [parameter.data.copy(order="K") for parameter in parameters_of(optimizer)],
        "states": {key: thing.state_dict() for key, thing in objects.items() if key != "arrays"},
        "attributes": attributes,
    }


def restorable(objects):
    """Return the arguments of `numbopt.save` and `numbopt.load` for the objects of a run."""
    things = {key: thing for key, thing in objects.items() if key != "arrays"}
    return {"parameters": objects["optimizer"], **things}


# ---- single objects, and public names


def values():
    """Return objects of other kinds, by what they are."""
    w = numbopt.Parameter(start()["weights"], name="w")
    w.grad = numbers("gradient w", (2, 3), "float32")
    optimizer = numbopt.NonlinearCG([("x", np.array([3.0, -1.0]))], max_iter=1)
    optimizer.step(lambda: loss_and_gradients(parameters_of(optimizer)))
    return {
        "parameter": w,
        "parameter without a name": numbopt.Parameter(start()["phase"]),
        "shared": numbopt.Parameter.sharing(np.array([1.0, 2.0])),
        "pack": numbopt.pack({"a": [1.0, 2.0], "b": [[3.0]]}),
        "ema": numbopt.get_ema_avg_fn(0.9),
        "swa": numbopt.get_swa_avg_fn(),
        "result": optimizer.result,
        "required": numbopt.required,
        "rule": numbopt.Adam.rule_for({"amsgrad": False}),
        "error": numbopt.CheckpointError("a message"),
    }


def public():
    """Return the public classes and functions by name; a pickle has them by reference."""
    things = {name: getattr(numbopt, name) for name in numbopt.__all__}
    things |= {f"lr_scheduler.{name}": getattr(lr_scheduler, name) for name in lr_scheduler.__all__}
    things |= {f"schedules.{name}": thing for name, thing in vars(schedules).items() if not name.startswith("_")}
    named = {name: thing for name, thing in things.items() if hasattr(thing, "__qualname__")}
    return {name: thing for name, thing in named.items() if thing.__module__.startswith("numbopt")}


# ---- writing


class _Reader(pickle.Unpickler):
    """Refuses pickles that need anything but numbopt, NumPy and Python."""

    def find_class(self, module, name):
        package = module.partition(".")[0]
        assert package in {"numbopt", "numpy"} | sys.stdlib_module_names, f"a pickle refers to {module}.{name}"
        return super().find_class(module, name)


def pickled(value):
    data = pickle.dumps(value, PROTOCOL)
    _Reader(io.BytesIO(data)).load()
    return data


def main():
    FOLDER.mkdir(exist_ok=True)
    kept = {}
    for name, new in RUNS.items():
        objects = new()
        take_steps(objects, BEFORE)
        (FOLDER / f"{name}.pickle").write_bytes(pickled(objects))
        extra = PLAIN_VALUES if name == "everything" else {}
        numbopt.save(FOLDER / f"{name}.npz", **restorable(objects), **extra)
        saved = plain(objects)
        losses = take_steps(objects, AFTER)
        kept[name] = {"saved": saved, "expected": plain(objects), "losses": losses}
    (FOLDER / "plain.pickle.gz").write_bytes(gzip.compress(pickled(kept), mtime=0))
    (FOLDER / "values.pickle").write_bytes(pickled(values()))
    names = {name: pickled(thing) for name, thing in public().items()}
    (FOLDER / "names.pickle.gz").write_bytes(gzip.compress(pickled(names), mtime=0))


if __name__ == "__main__":
    main()
