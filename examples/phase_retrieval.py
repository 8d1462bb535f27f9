"""Recover a complex image from intensities alone: phase retrieval with a complex parameter.

A coherent light wave carries amplitude and phase, a camera sees only the intensity. Here the wave passes six known
random phase masks, one after the other, and the camera records the far field (a Fourier transform) behind each:
coded-diffraction imaging. The amplitude and phase of the object come from two photographs bundled with scikit-learn.
"""

import argparse
import math
import os
import sys

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_image
from tqdm import trange

import numbopt

SIZE = 128
PATTERNS = 6
LR = 0.1
REQUIRED_ERROR = 1e-3


def photograph(name):
    """Return the middle of a photograph as SIZE x SIZE grey values in [0, 1], each the mean of 3 x 3 pixels."""
    grey = load_sample_image(name).mean(axis=2) / 255
    top, left = ((n - 3 * SIZE) // 2 for n in grey.shape)
    return grey[top : top + 3 * SIZE, left : left + 3 * SIZE].reshape(SIZE, 3, SIZE, 3).mean(axis=(1, 3))


def gradient(x, masks, amplitudes):
    """Return the gradient of sum((abs(F(masks * x)) - amplitudes)**2) in torch's convention, dL/dRe + i dL/dIm."""
    far_field = np.fft.fft2(masks * x, norm="ortho")
    far_field *= 1 - amplitudes / np.maximum(np.abs(far_field), 1e-12)
    return 2 * np.sum(masks.conj() * np.fft.ifft2(far_field, norm="ortho"), axis=0)


def align(x, truth):
    """Return x times the global phase that no intensity can show, chosen so that it comes closest to the truth."""
    return x * np.exp(1j * np.angle(np.vdot(x, truth)))


def relative_error(x, truth):
    return np.linalg.norm(align(x, truth) - truth) / np.linalg.norm(truth)


def save_plot(path, intensities, start, recovered, truth, errors):
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplot_mosaic("abcd;efgh")
    columns = {"object (unknown)": truth, "start": start, "recovered": align(recovered, truth)}
    for (title, wave), upper, lower in zip(columns.items(), "abc", "efg", strict=True):
        axes[upper].set_title(title)
        amplitude = axes[upper].imshow(np.abs(wave), cmap="gray", vmin=0, vmax=1)
        phase = axes[lower].imshow(np.angle(wave), cmap="twilight", vmin=-1.2, vmax=1.2)
    figure.colorbar(amplitude, ax=axes["c"], label="amplitude")
    figure.colorbar(phase, ax=axes["g"], label="phase (rad)")
    axes["d"].imshow(np.log10(np.fft.fftshift(intensities[0]) + 1e-3), cmap="magma")
    axes["d"].set_title(f"first of {PATTERNS} measurements")
    for name in "abcdefg":
        axes[name].set(xticks=[], yticks=[])
    axes["h"].semilogy(errors, color="tab:blue")
    axes["h"].axhline(REQUIRED_ERROR, color="gray", linestyle="--", label="required")
    axes["h"].set(xlabel="optimizer step", title="relative error")
    axes["h"].grid(alpha=0.3)
    axes["h"].legend()
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description="Recover a complex image from intensities with numbopt.Adam.")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", default="phase_retrieval.png", help="where to save the picture")
    args = parser.parse_args()

    truth = (0.2 + 0.8 * photograph("china.jpg")) * np.exp(1j * (2 * photograph("flower.jpg") - 1))
    masks = np.random.default_rng(0).choice([1, 1j, -1, -1j], (PATTERNS, SIZE, SIZE))
    intensities = np.abs(np.fft.fft2(masks * truth, norm="ortho")) ** 2  # all that is known of the truth from here on
    amplitudes = np.sqrt(intensities)

    x = np.ones((SIZE, SIZE), np.complex128)  # a plane wave; the optimizer updates this array in place
    opt = numbopt.Adam([x], lr=LR)
    start, errors = x.copy(), [relative_error(x, truth)]
    for step in trange(args.steps, desc="recovering", unit="step"):
        opt.param_groups[0]["lr"] = LR * (1 + math.cos(math.pi * step / args.steps)) / 2
        opt.step(grads=[gradient(x, masks, amplitudes)])
        errors.append(relative_error(x, truth))

    save_plot(args.output, intensities, start, x, truth, errors)
    print(f"{PATTERNS} intensity patterns of {SIZE} x {SIZE} pixels, {args.steps} steps")
    print(f"relative error up to a global phase: {errors[0]:.1e} at the start, {errors[-1]:.1e} recovered")
    print(f"picture saved to {os.path.abspath(args.output)}")
    if not errors[-1] < REQUIRED_ERROR:
        sys.exit(f"FAILED: the image was not recovered to {REQUIRED_ERROR:.0e}; take more steps")


if __name__ == "__main__":
    main()
