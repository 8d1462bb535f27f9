"""Minimize with SciPy's interface: numbopt beside SciPy's own L-BFGS-B on the same problem, evaluations and time.

The problem: remove noise from a photograph bundled with scikit-learn, by the image that is near the noisy one and has
small total variation (the sum of the lengths of its gradients, rounded off at zero). One variable for each pixel.
"""

import argparse
import math
import sys
import time

import numba
import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_sample_image
from threadpoolctl import threadpool_limits

import numbopt

NOISE = 0.1
WEIGHT = 0.1
ROUNDING = 5e-3


@numba.njit
def denoising(x, noisy, weight, rounding):
    """Return half the squared distance from the noisy image plus weight times the total variation, and the gradient."""
    value, gradient = 0.0, np.empty_like(x)
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            gradient[i, j] = x[i, j] - noisy[i, j]
            value += gradient[i, j] ** 2 / 2
    for i in range(rows - 1):
        for j in range(columns - 1):
            down, right = x[i + 1, j] - x[i, j], x[i, j + 1] - x[i, j]
            length = math.sqrt(down**2 + right**2 + rounding**2)
            value += weight * length
            gradient[i + 1, j] += weight * down / length
            gradient[i, j + 1] += weight * right / length
            gradient[i, j] -= weight * (down + right) / length
    return value, gradient


def flat_denoising(x, noisy, weight, rounding):
    """Evaluate at a flat array, which is all that SciPy's methods work with."""
    value, gradient = denoising(x.reshape(noisy.shape), noisy, weight, rounding)
    return value, gradient.ravel()


def best_of(runs, function):
    """Return the result and the shortest time, in seconds, of several runs after one that compiles."""
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def main():
    parser = argparse.ArgumentParser(description="numbopt through SciPy's interface, beside SciPy's L-BFGS-B.")
    parser.add_argument("--size", type=int, default=96, help="pixels along an edge of the image")
    parser.add_argument("--maxiter", type=int, default=2000)
    args = parser.parse_args()

    clean = load_sample_image("flower.jpg").mean(axis=2)[100 : 100 + 2 * args.size : 2, 240 : 240 + 2 * args.size : 2]
    clean = clean / 255
    noisy = clean + NOISE * np.random.default_rng(0).standard_normal(clean.shape)
    start, arguments = noisy.ravel(), (noisy, WEIGHT, ROUNDING)
    # The same memory of 10 steps and the same tolerance for all; stopped by the gradient alone.
    options = {"maxcor": 10, "gtol": 1e-6, "ftol": 0, "maxiter": args.maxiter, "maxfun": 2 * args.maxiter}
    lbfgs = numbopt.scipy_method("lbfgs")

    def through_scipy(method):
        return minimize(flat_denoising, start, arguments, jac=True, method=method, options=options)

    runs = {
        "scipy.optimize.minimize, L-BFGS-B": lambda: through_scipy("L-BFGS-B"),
        "scipy.optimize.minimize, numbopt": lambda: through_scipy(lbfgs),
        "numbopt.minimize, compiled": lambda: numbopt.minimize(denoising, noisy, arguments, options=options),
    }
    evaluation = best_of(20, lambda: denoising(noisy, *arguments))[1]
    print(f"{noisy.size} pixels; one evaluation takes {1e3 * evaluation:.2f} ms")
    print(f"{'':34} {'evaluations':>11} {'value':>14} {'gradient':>9} {'ms':>7}  of which outside the function")
    results = []
    for name, run in runs.items():
        with threadpool_limits(1):  # one thread for all: with vectors as short as these, more only slow SciPy down
            result, seconds = best_of(3, run)
        results.append(result)
        outside = max(0, 1 - result.nfev * evaluation / seconds)
        largest = np.abs(result.jac).max()
        print(f"{name:34} {result.nfev:11} {result.fun:14.8f} {largest:9.1e} {1e3 * seconds:7.1f}  {outside:.0%}")

    values = [result.fun for result in results]
    error = np.sqrt(np.mean((results[-1].x - clean) ** 2))
    print(f"root mean square error: {NOISE} noisy, {error:.3f} denoised")
    print(f"largest relative difference of the values: {(max(values) - min(values)) / min(values):.1e}")
    failed = [f"{name}: {result.message}" for name, result in zip(runs, results, strict=True) if not result.success]
    if failed:
        sys.exit("FAILED: " + "; ".join(failed))


if __name__ == "__main__":
    main()
