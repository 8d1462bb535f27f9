"""A fit with all that a long run needs, stopped in the middle and continued from its checkpoint.

    python examples/fit_with_everything.py

A small network of radial basis functions learns the progression of diabetes from ten measurements of 442 patients (the
data set comes with scikit-learn). Param groups, a warm-up with cosine decay, clipping of gradients, bounds on the
widths, an exponential moving average, a checkpoint and a history of the run.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes
from tqdm import trange

import numbopt

BATCH = 50


def model(x, centers, widths, weights, bias):
    """Return the prediction, and a function from its derivative to those of the parameters."""
    offset = x[:, None, :] - centers
    distance2 = np.sum(offset**2, axis=2)
    basis = np.exp(-distance2 / (2 * widths**2))

    def backward(d_prediction):
        d_exponent = d_prediction[:, None] * weights * basis
        return {
            "centers": np.einsum("nk,nkd->kd", d_exponent, offset) / widths[:, None] ** 2,
            "widths": np.sum(d_exponent * distance2, axis=0) / widths**3,
            "weights": basis.T @ d_prediction,
            "bias": np.sum(d_prediction),
        }

    return basis @ weights + bias, backward


class Fit:
    """The parameters and all that works on them."""

    def __init__(self, x, epochs):
        rng = np.random.default_rng(0)
        start = x[rng.choice(len(x), 12, replace=False)]
        self.parameters = {
            "centers": numbopt.Parameter(start, name="centers"),
            "widths": numbopt.Parameter(np.full(12, 3.0), name="widths"),
            "weights": numbopt.Parameter(np.zeros(12), name="weights"),
            "bias": numbopt.Parameter(0.0, name="bias"),
        }
        p = self.parameters
        groups = [
            {"params": {"centers": p["centers"]}},
            {"params": {"widths": p["widths"]}, "bounds": (0.5, 10.0), "lr": 2e-3},
            {"params": {"weights": p["weights"]}, "weight_decay": 1.0},
            {"params": {"bias": p["bias"]}},
        ]
        self.optimizer = numbopt.AdamW(groups, lr=1e-2, weight_decay=0.0, max_grad_norm=1.0)
        steps = epochs * (len(x) // BATCH)
        self.scheduler = numbopt.lr_scheduler.WarmupCosineLR(
            self.optimizer, warmup_steps=steps // 20, total_steps=steps
        )
        self.average = numbopt.AveragedParameters(self.optimizer, numbopt.get_ema_avg_fn(0.99))
        self.history = numbopt.History(self.optimizer, gradient_norm=True)
        self.epoch = 0

    def train(self, x, y, epochs, label):
        """Go on to the given epoch."""
        for epoch in trange(self.epoch, epochs, desc=label, unit="epoch"):
            order = np.random.default_rng(epoch).permutation(len(x))
            for start in range(0, len(x) - BATCH + 1, BATCH):
                batch = order[start : start + BATCH]
                self.optimizer.step(lambda batch=batch: self.loss(x[batch], y[batch]))
                self.scheduler.step()
                self.average.update_parameters()
            self.epoch = epoch + 1

    def loss(self, x, y):
        """Return the mean square error and its gradients."""
        prediction, backward = model(x, **self.values())
        error = prediction - y
        return np.mean(error**2), backward(2 * error / len(y))

    def values(self):
        """Return the arrays of the parameters by name."""
        return {name: parameter.data for name, parameter in self.parameters.items()}

    def explained(self, x, y):
        """Return the part of the variance of ``y`` that the model explains."""
        return 1 - np.mean((model(x, **self.values())[0] - y) ** 2) / np.var(y)

    def state(self):
        """Return all that a checkpoint has to hold."""
        names = ("optimizer", "scheduler", "average", "history")
        return {**{name: getattr(self, name) for name in names}, "parameters": list(self.parameters.values())}


def data():
    """Return standardised measurements and targets, for training and for the test."""
    x, y = load_diabetes(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = (y - y.mean()) / y.std()
    order = np.random.default_rng(1).permutation(len(x))
    train, test = order[:350], order[350:]
    return x[train], y[train], x[test], y[test]


def main():
    """Fit, stop, continue, and compare with a run that was never stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--output", type=Path, default=Path("fit_with_everything.png"), help="picture of the history")
    arguments = parser.parse_args()
    epochs = arguments.epochs
    x, y, x_test, y_test = data()

    whole = Fit(x, epochs)
    whole.train(x, y, epochs, "one run")

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "half.npz")
        first = Fit(x, epochs)
        first.train(x, y, epochs // 2, "first half")
        numbopt.save(checkpoint, **first.state(), epoch=first.epoch)

        second = Fit(x, epochs)  # as a new process would
        second.epoch = numbopt.load(checkpoint, **second.state())["epoch"]
        second.train(x, y, epochs, "second half")

    same = all(np.array_equal(second.values()[name], value) for name, value in whole.values().items())
    print(f"stopped and continued: {'the same bits as' if same else 'DIFFERS from'} the run in one piece")
    plain = second.explained(x_test, y_test)
    with second.average.swapped():
        averaged = second.explained(x_test, y_test)
    print(f"variance explained in 92 patients not seen: {plain:.1%}, by the averaged parameters {averaged:.1%}")
    second.history.plot(arguments.output)
    print(f"history saved to {arguments.output}")
    if not same or averaged < 0.4:
        sys.exit("FAILED: expected the same bits, and at least 40 % of the variance explained")


if __name__ == "__main__":
    main()
