"""Write the golden trajectories: what torch's optimizers do to the problem, for every case.

Run by hand, with the supported version of torch: `python tests/make_golden.py`.
"""

from itertools import groupby
from pathlib import Path

import numpy as np
from cases import problem
import torch
from cases.optimizers import CASES, DTYPES
from cases.functions import FUNCTIONS, STEPS, starting_point
from support.trajectory import GROUPINGS, follow, parameter_groups

SUPPORTED_TORCH = "2.13.0"
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")  # the classes with fused kernels on CUDA, for real numbers
FOLDER = Path(__file__).parent / "golden"


class TorchRun:
    """A run of torch's optimizer; its loop over single tensors is the reference."""

    def __init__(self, case, dtype, grouping, *, device="cpu", fused=False):
        self._device = device
        self.parameters = [torch.nn.Parameter(self._tensor(p)) for p in problem.starting_parameters(dtype)]
        options = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in case.options.items()
        }
        implementation = {"fused": True} if fused else {"foreach": False}  # most classes know no fused
        groups = parameter_groups(case, self.parameters, grouping)
        self.optimizer = getattr(torch.optim, case.cls)(groups, **implementation, **options)

    def _tensor(self, array):
        return torch.from_numpy(array).to(self._device)

    def step(self, gradients):
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else self._tensor(gradient)
        self.optimizer.step()

    def values(self):
        return [parameter.detach().cpu().numpy().copy() for parameter in self.parameters]

    def states(self):
        return [
            {name: tensor.cpu().numpy().copy() for name, tensor in self.optimizer.state[parameter].items()}
            for parameter in self.parameters
        ]


def golden_record(case, dtype):
    """The records of one case, indexed by grouping and pattern of gradients."""
    return np.stack(
        [
            np.stack([follow(TorchRun(case, dtype, grouping), dtype, pattern) for pattern in problem.PATTERNS])
            for grouping in GROUPINGS
        ]
    )


def closure_trajectory(function, options, dtype):
    """Parameters, and counts of evaluations and iterations, after every step of torch's L-BFGS over mini-batches."""
    parameter = torch.nn.Parameter(torch.from_numpy(starting_point(dtype)))
    optimizer = torch.optim.LBFGS([parameter], **options)
    values, counts = [], []
    for step in range(STEPS[dtype]):
        optimizer.step(torch_closure(function, parameter, step))
        state = optimizer.state[parameter]
        values.append(parameter.detach().numpy().copy())
        counts.append((state["func_evals"], state["n_iter"]))
    return np.stack(values), np.array(counts)


def torch_closure(function, parameter, step):
    def closure():
        loss, gradient = function(parameter.detach().numpy(), step)
        parameter.grad = torch.from_numpy(gradient)
        return loss

    return closure


def closure_records():
    records = {}
    for name, (function, options) in FUNCTIONS.items():
        for dtype in STEPS:
            key = f"{name}/{dtype}"
            records[key], records[f"{key}/counts"] = closure_trajectory(function, options, dtype)
    return records


def main():
    if not torch.__version__.startswith(SUPPORTED_TORCH):
        raise SystemExit(f"needs torch {SUPPORTED_TORCH}, found {torch.__version__}")
    FOLDER.mkdir(exist_ok=True)
    for cls, cases in groupby(CASES, key=lambda case: case.cls):
        records = {f"{case.name}/{dtype}": golden_record(case, dtype) for case in cases for dtype in DTYPES}
        np.savez_compressed(FOLDER / f"{cls}.npz", **records)
    np.savez_compressed(FOLDER / "LBFGS.npz", **closure_records())


if __name__ == "__main__":
    main()
