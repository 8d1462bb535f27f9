"""The problems that closures evaluate: smooth functions with gradients, the same on every machine."""

import numpy as np


def starting_point(dtype):
    return np.array([0.5, -1.0, 0.25, 0.75, -0.5, 1.5], dtype)


def _shift(x, step):
    """The mini-batch of a step: three that take turns, each with its function a little to the side."""
    return (0.05 * np.sin(np.arange(x.size) + step % 3)).astype(np.float32).astype(x.dtype)


def rosenbrock(x, step=None):
    x = x if step is None else x + _shift(x, step)
    u = x[1:] - x[:-1] ** 2
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * u - 2 * (1 - x[:-1])
    g[1:] += 200 * u
    return float(100 * np.sum(u**2) + np.sum((1 - x[:-1]) ** 2)), g


def quadratic(x, step=None):
    x = x if step is None else x + _shift(x, step)
    eigenvalues = np.linspace(1, 12, x.size).astype(x.dtype)
    return float(eigenvalues @ (x - 1) ** 2 / 2), eigenvalues * (x - 1)


def least_squares(x, step=None):
    x = x if step is None else x + _shift(x, step)
    row, column = np.indices((40, x.size))
    matrix = np.sin(1.0 + row * (column + 1)).astype(np.float32).astype(x.dtype)
    r = matrix @ x - np.cos(np.arange(40)).astype(np.float32).astype(x.dtype)
    return float(r @ r) / 40, matrix.T @ r / 20


# What torch's rule without a line search is followed on, with the options of the optimizer.
_OPTIONS = {"max_iter": 4, "tolerance_grad": 1e-5, "tolerance_change": 1e-9}
FUNCTIONS = {
    "quadratic": (quadratic, {"lr": 0.5, **_OPTIONS}),
    "quadratic, short history": (quadratic, {"lr": 0.5, "history_size": 2, **_OPTIONS}),
    "least squares": (least_squares, {"lr": 0.5, **_OPTIONS}),
    "rosenbrock": (rosenbrock, {"lr": 0.05, **_OPTIONS}),
    "rosenbrock, few evaluations": (rosenbrock, {"lr": 0.05, **_OPTIONS, "max_eval": 3}),
}
# Rounding grows along a trajectory; in single precision it soon exceeds what torch's own tolerances allow.
STEPS = {"float32": 4, "float64": 10}
