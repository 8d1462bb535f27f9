"""Train a small network on handwritten digits: the shape of a training script with numbopt.

A 64-128-10 network on scikit-learn's 1797 bundled digits, with gradients written by hand in NumPy. Adam has two param
groups: the weights decay, the biases do not and learn faster. An Adam in plain NumPy receives the same gradients, to
compare results and time; leave out everything that says NumPy or seconds and a usual training script remains.
"""

import argparse
import math
import os
import sys
import time

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import trange

import numbopt

BATCH = 32
REQUIRED_ACCURACY = 0.96


def network(images, w1, w2, b1, b2):
    hidden = np.maximum(images @ w1 + b1, 0)
    return hidden, hidden @ w2 + b2


def loss_and_gradients(images, labels, w1, w2, b1, b2):
    """Return the mean softmax cross entropy and its gradient for each of the four parameters."""
    hidden, logits = network(images, w1, w2, b1, b2)
    rows = np.arange(len(images))
    logits -= logits.max(axis=1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    d_logits = np.exp(log_probabilities)
    d_logits[rows, labels] -= 1
    d_logits /= len(images)
    d_hidden = (d_logits @ w2.T) * (hidden > 0)
    gradients = [images.T @ d_hidden, hidden.T @ d_logits, d_hidden.sum(axis=0), d_logits.sum(axis=0)]
    return -log_probabilities[rows, labels].mean(), gradients


def numpy_adam_step(t, params, grads, ms, vs, lrs, decays, beta1=0.9, beta2=0.999, eps=1e-8):
    """Take the same step in plain NumPy, as many scripts have it."""
    for p, g, m, v, lr, decay in zip(params, grads, ms, vs, lrs, decays, strict=True):
        if decay:
            g = g + decay * p
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        p -= lr / (1 - beta1**t) * m / (np.sqrt(v) / math.sqrt(1 - beta2**t) + eps)


def seconds(function, *args, **kwargs):
    start = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - start


def save_plot(path, losses, accuracies):
    epochs = np.arange(1, len(accuracies) + 1)
    figure = Figure(figsize=(7, 6), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    top.semilogy(
        np.linspace(0, epochs[-1], len(losses)), losses, color="tab:blue", alpha=0.3, linewidth=0.7, label="mini-batch"
    )
    top.semilogy(epochs, np.reshape(losses, (len(epochs), -1)).mean(axis=1), ".-", color="tab:blue", label="epoch mean")
    top.set(ylabel="training loss (cross entropy)", title="Handwritten digits: a 64-128-10 network, numbopt.Adam")
    bottom.plot(epochs, 100 * np.array(accuracies), ".-", color="tab:orange", label="450 unseen digits")
    bottom.axhline(100 * REQUIRED_ACCURACY, color="gray", linestyle="--", label="required")
    bottom.set(xlabel="epoch", ylabel="test accuracy (%)")
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description="Train a small network on handwritten digits with numbopt.Adam.")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--output", default="digits_loss.png", help="where to save the loss curve")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")

    rng = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)

    # Plain arrays: the optimizer updates them in place.
    w1 = rng.normal(0, np.sqrt(2 / 64), (64, 128)).astype(np.float32)
    w2 = rng.normal(0, np.sqrt(2 / 128), (128, 10)).astype(np.float32)
    b1, b2 = np.zeros(128, np.float32), np.zeros(10, np.float32)
    opt = numbopt.Adam([{"params": [w1, w2], "weight_decay": 1e-4}, {"params": [b1, b2], "lr": 3e-3}], lr=1e-3)

    copies = [p.copy() for p in (w1, w2, b1, b2)]
    ms, vs = [np.zeros_like(c) for c in copies], [np.zeros_like(c) for c in copies]
    lrs, decays = (1e-3, 1e-3, 3e-3, 3e-3), (1e-4, 1e-4, 0, 0)

    losses, accuracies, numbopt_seconds, numpy_seconds = [], [], [], []
    progress = trange(args.epochs, desc="training", unit="epoch")
    for _ in progress:
        batches = len(x) // BATCH
        for batch in rng.permutation(len(x))[: batches * BATCH].reshape(batches, BATCH):
            loss, grads = loss_and_gradients(x[batch], y[batch], w1, w2, b1, b2)
            losses.append(loss)
            numbopt_seconds.append(seconds(opt.step, grads=grads))
            # NumPy goes second, when the gradients are warm in the cache: what bias there is favours it.
            numpy_seconds.append(seconds(numpy_adam_step, len(losses), copies, grads, ms, vs, lrs, decays))
        _, logits = network(x_test, w1, w2, b1, b2)
        accuracies.append(np.mean(logits.argmax(axis=1) == y_test))
        progress.set_postfix(loss=f"{loss:.4f}", test_accuracy=f"{accuracies[-1]:.1%}")

    save_plot(args.output, losses, accuracies)
    difference = max(np.abs(p - c).max() for p, c in zip((w1, w2, b1, b2), copies, strict=True))
    print(f"test accuracy: {accuracies[-1]:.2%} of {len(y_test)} digits")
    print(f"time of the optimizer, {len(losses)} steps: ", end="")
    print(f"numbopt {sum(numbopt_seconds[1:]):.3f} s, plain NumPy {sum(numpy_seconds[1:]):.3f} s")
    print(f"  and the first step, in which numbopt compiles or loads its kernel: {numbopt_seconds[0]:.3f} s")
    print(f"largest difference between their weights: {difference:.1e}")
    print(f"loss curve saved to {os.path.abspath(args.output)}")
    if accuracies[-1] < REQUIRED_ACCURACY:
        sys.exit(f"FAILED: the test accuracy is below {REQUIRED_ACCURACY:.0%}; train for more epochs")


if __name__ == "__main__":
    main()
