"""Hessians and covariances by differences of the gradient."""

import numpy as np
import pytest

import numbopt

RNG = np.random.default_rng(0)


def test_the_hessian_of_a_quartic():
    x = np.array([[1.0, -2.0], [300.0, 1e-3]])
    found = numbopt.hessian(lambda p, power: p ** (power - 1), x, (4,))
    np.testing.assert_allclose(found, np.diag(3 * x.ravel() ** 2), rtol=1e-6, atol=1e-4)
    assert np.array_equal(found, found.T)


def line_fit(sigma):
    t = np.linspace(0, 1, 200)
    data = 1 + 2 * t + sigma * RNG.standard_normal(t.size)
    design = np.stack([np.ones_like(t), t], axis=1)
    return t, data, lambda p: design.T @ (design @ p - data), design


def test_the_covariance_is_that_of_curve_fit():
    optimize = pytest.importorskip("scipy.optimize")
    t = np.linspace(0, 3, 60)
    data = 2 * np.exp(-1.3 * t) + 0.5 + 0.05 * RNG.standard_normal(t.size)

    def model(t, a, rate, offset):
        return a * np.exp(-rate * t) + offset

    def gradient(p):
        decay = np.exp(-p[1] * t)
        jacobian = np.stack([decay, -p[0] * t * decay, np.ones_like(t)], axis=1)
        return jacobian.T @ (model(t, *p) - data)

    expected, theirs = optimize.curve_fit(model, t, data, [1, 1, 0])
    residuals = model(t, *expected) - data
    ours = numbopt.covariance(gradient, expected, scale=residuals @ residuals / (t.size - 3))
    np.testing.assert_allclose(np.sqrt(np.diag(ours)), np.sqrt(np.diag(theirs)), rtol=0.05)  # theirs lacks residuals
    jacobian = np.linalg.inv(theirs)
    assert np.linalg.norm(np.linalg.inv(ours) - jacobian) < 0.1 * np.linalg.norm(jacobian)


def test_a_line_and_what_is_fixed():
    _, _, gradient, design = line_fit(0.1)
    exact = 0.01 * np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(numbopt.covariance(gradient, [1.0, 2.0], scale=0.01), exact, rtol=1e-6)
    held = numbopt.covariance(gradient, [1.0, 2.0], scale=0.01, fixed=[True, False])
    np.testing.assert_allclose(held, [[0, 0], [0, 0.01 / (design[:, 1] @ design[:, 1])]], rtol=1e-6)


def test_errors_of_repeated_fits():
    """The spread of fits to repeated data is what the covariance says."""
    t, _, _, design = line_fit(0.0)
    fits = []
    for _ in range(400):
        noisy = 1 + 2 * t + 0.1 * RNG.standard_normal(t.size)
        fits.append(np.linalg.lstsq(design, noisy, rcond=None)[0])
    found = numbopt.covariance(lambda p: design.T @ (design @ p - 1 - 2 * t), [1.0, 2.0], scale=0.01)
    np.testing.assert_allclose(np.sqrt(np.diag(found)), np.std(fits, axis=0), rtol=0.15)


def test_no_minimum_has_no_covariance():
    assert np.isnan(numbopt.covariance(lambda x: -x, np.ones(3))).all()
    assert np.isnan(numbopt.covariance(lambda x: np.zeros(3), np.ones(3))).all()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: numbopt.hessian(lambda x: x[:2], np.ones(3)), ValueError, "as many elements as x, 3"),
        (lambda: numbopt.hessian(lambda x: x * np.nan, np.ones(3)), ValueError, "not finite beside x, where element 0"),
        (lambda: numbopt.hessian(lambda x: x, np.ma.array([1.0], mask=[True])), TypeError, "masked"),
        (lambda: numbopt.covariance(lambda x: x, np.ones(3), fixed=[True]), ValueError, "fixed must have"),
        (lambda: numbopt.covariance(lambda x: x, np.ones(3), scale="big"), TypeError, "scale must be a real number"),
    ],
)
def test_what_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
