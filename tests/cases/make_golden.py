"""Write the golden trajectories: what torch's optimizers, and those of other packages, do to the problem.

Run by hand, with the supported version of torch, `python tests/cases/make_golden.py`, or for some classes,
`python tests/cases/make_golden.py Lion Yogi`, with the packages that `support.reference_runs` names.
"""

import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.reference_runs import reference_run
from support.torch_runs import SUPPORTED_TORCH, TorchRun, torch_closure
from support.trajectory import GROUPINGS, follow

from cases import problem
from cases.functions import FUNCTIONS, STEPS, starting_point
from cases.optimizers import CASES, DTYPES

FOLDER = Path(__file__).parent / "golden"


def golden_record(case, dtype):
    """The records of one case, indexed by grouping and pattern of gradients."""
    run_class = TorchRun if case.is_torchs else reference_run
    return np.stack(
        [
            np.stack([follow(run_class(case, dtype, grouping), dtype, pattern) for pattern in problem.PATTERNS])
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
    classes = sys.argv[1:] or [*{case.cls: None for case in CASES}, "LBFGS"]
    for cls, cases in groupby(CASES, key=lambda case: case.cls):
        if cls not in classes:
            continue
        records = {f"{case.name}/{dtype}": golden_record(case, dtype) for case in cases for dtype in DTYPES}
        np.savez_compressed(FOLDER / f"{cls}.npz", **records)
    if "LBFGS" in classes:
        np.savez_compressed(FOLDER / "LBFGS.npz", **closure_records())


if __name__ == "__main__":
    main()
