"""Fit a logistic curve to real data: Adam goes most of the way, L-BFGS takes the same Parameters to the minimum.

The data are scikit-learn's 569 breast tumours: 30 measurements of cell nuclei each, and whether it was malignant. The
logistic model says that the probability of that is a sigmoid of a weighted sum of the measurements. These are so
correlated that first-order steps crawl along the valley of the loss; L-BFGS learns its curvature on the way.
"""

import argparse
import os
import sys

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import numbopt

PENALTY = 1e-3
REQUIRED_GRADIENT = 1e-8


def sigmoid(z):
    return (1 + np.tanh(z / 2)) / 2


def make_closure(x, y, w, b, losses):
    """Return a closure that fills the gradients of w and b, and returns the loss and notes it."""

    def closure():
        z = x @ w.data + b.data
        residual = (sigmoid(z) - y) / len(y)
        w.grad = x.T @ residual + PENALTY * w.data
        b.grad = residual.sum()
        losses.append(np.mean(np.logaddexp(0, z) - y * z) + PENALTY / 2 * (w.data @ w.data))
        return losses[-1]

    return closure


def save_plot(path, score, y, losses, adam_alone, handover):
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    jitter = np.random.default_rng(0).uniform(-0.03, 0.03, len(y))
    for label, name, colour in ((0, "benign", "tab:blue"), (1, "malignant", "tab:red")):
        left.plot(score[y == label], (y + jitter)[y == label], ".", color=colour, alpha=0.4, label=name)
    grid = np.linspace(-12, 12, 400)
    left.plot(grid, sigmoid(grid), color="black", linewidth=2, label="fitted probability")
    bins = np.array_split(np.argsort(score), 24)
    share = [y[i].mean() for i in bins]
    left.plot(
        [score[i].mean() for i in bins], share, "o", color="black", fillstyle="none", label="share in 1/24 of all"
    )
    left.set(xlim=(-12, 12), xlabel="fitted score w·x + b", ylabel="probability of malignant", title="The fit")
    lowest = min(losses)
    right.semilogy(np.array(adam_alone) - lowest, "--", color="tab:blue", alpha=0.7, label="Adam alone, for comparison")
    right.semilogy(np.array(losses[:handover]) - lowest, color="tab:blue", label="Adam")
    calls = np.arange(handover, len(losses))
    right.semilogy(calls, np.maximum(np.array(losses[handover:]) - lowest, 1e-16), color="tab:orange", label="L-BFGS")
    right.set(xlabel="evaluations of the loss", ylabel="loss above its minimum", title="Convergence")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description="Fit a logistic curve with numbopt.Adam, then numbopt.LBFGS.")
    parser.add_argument("--adam-steps", type=int, default=100)
    parser.add_argument("--max-iter", type=int, default=500, help="iterations of L-BFGS")
    parser.add_argument("--output", default="curve_fit.png", help="where to save the picture")
    args = parser.parse_args()

    data = load_breast_cancer()
    x, malignant = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0), 1.0 - data.target
    x, x_test, y, y_test = train_test_split(x, malignant, test_size=0.25, stratify=malignant, random_state=0)

    w, b = numbopt.Parameter(np.zeros(x.shape[1]), name="w"), numbopt.Parameter(0.0, name="b")
    losses = []
    closure = make_closure(x, y, w, b, losses)
    adam = numbopt.Adam([w, b], lr=0.05)
    for _ in range(args.adam_steps):
        adam.step(closure)
    handover = len(losses)
    w_alone, b_alone = numbopt.Parameter(w.data), numbopt.Parameter(b.data)

    lbfgs = numbopt.LBFGS(
        [w, b],
        max_iter=args.max_iter,
        tolerance_grad=REQUIRED_GRADIENT / 10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    after_adam = lbfgs.step(closure)
    result = lbfgs.result

    alone = numbopt.Adam([w_alone, b_alone], lr=0.05)
    alone.load_state_dict(adam.state_dict())
    adam_alone = losses[:handover]
    for _ in range(result.evaluations):
        alone.step(make_closure(x, y, w_alone, b_alone, adam_alone))

    save_plot(args.output, x @ w.data + b.data, y, losses, adam_alone, handover)
    correct = np.mean((x_test @ w.data + b.data > 0) == y_test)
    print(f"start:  loss {losses[0]:.10f}")
    print(f"Adam:   loss {after_adam:.10f} after {handover} evaluations")
    print(f"L-BFGS: loss {result.loss:.10f} after {result.evaluations} more: {result.message}")
    print(f"        (Adam alone: {adam_alone[-1]:.10f})")
    print(f"largest element of the gradient: {result.gradient_norm:.1e}")
    print(f"right for {correct:.1%} of {len(y_test)} unseen tumours")
    print(f"picture saved to {os.path.abspath(args.output)}")
    if not result.gradient_norm <= REQUIRED_GRADIENT:
        sys.exit(f"FAILED: the gradient is not below {REQUIRED_GRADIENT:.0e}; allow more iterations")


if __name__ == "__main__":
    main()
