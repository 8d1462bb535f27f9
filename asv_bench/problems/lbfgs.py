"""Smooth unconstrained problems for the comparison of quasi-Newton and conjugate gradient methods.

Sources: More, Garbow, Hillstrom, "Testing unconstrained optimization software", ACM TOMS 7 (1981), for the functions
marked MGH; the CUTEst collection (Gould, Orban, Toint 2015) for the classics; quadratics of known condition; data fits
on the data sets bundled with scikit-learn. All functions are analytic and return ``(f, g)``;
`check_gradient` compares ``g`` with the complex step derivative of ``f``.

A problem counts as **solved** at the first evaluation with ``f - f* <= TOLERANCE * min(f0 - f*, max(|f*|, 1))``, where
``f*`` is the best known minimum, or, since many problems have other local minima, with
``|g|_inf <= TOLERANCE * min(1, |g0|_inf)``. The criterion was fixed before anything was measured with it.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn import datasets

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Problem:
    """A function returning ``(f, g)``, its usual starting point and its best known minimum."""

    name: str
    function: Callable[[np.ndarray], tuple[float, np.ndarray]]
    start: np.ndarray
    minimum: float

    @functools.cached_property
    def at_start(self) -> tuple[float, float]:
        """Value and largest gradient element at the start."""
        f, g = self.function(self.start)
        return float(f), float(np.max(np.abs(g)))

    def solved(self, f: float, g: np.ndarray, tolerance: float = TOLERANCE) -> bool:
        """Whether a point with value ``f`` and gradient ``g`` counts as a solution."""
        f0, g0 = self.at_start
        scale = min(f0 - self.minimum, max(abs(self.minimum), 1.0))
        return bool(f - self.minimum <= tolerance * scale or np.max(np.abs(g)) <= tolerance * min(1.0, g0))


def check_gradient(problem: Problem, directions: int = 3, seed: int = 0) -> float:
    """Return the largest relative error of the gradient along random directions near the start."""
    rng = np.random.default_rng(seed)
    error = 0.0
    for _ in range(directions):
        x = problem.start + 1e-2 * rng.standard_normal(problem.start.size) * np.maximum(np.abs(problem.start), 0.1)
        direction = rng.standard_normal(x.size)
        slope = problem.function(x)[1] @ direction
        exact = np.imag(problem.function(x + 1e-30j * direction)[0]) / 1e-30
        error = max(error, abs(slope - exact) / max(abs(exact), np.abs(problem.function(x)[1]) @ np.abs(direction)))
    return error


PROBLEMS: dict[str, Callable[[], Problem]] = {}


def problem(start, minimum=0.0, name=None):
    """Register a function returning (f, g) under its name."""

    def register(function):
        key = name or function.__name__
        PROBLEMS[key] = lambda: Problem(key, function, np.array(start, dtype=float), minimum)
        return function

    return register


def least_squares(start, minimum=0.0, name=None):
    """Register the sum of squares of a function returning (residuals, Jacobian)."""

    def register(function):
        def sum_of_squares(x):
            r, jacobian = function(x)
            return r @ r, 2 * (jacobian.T @ r)

        problem(start, minimum, name or function.__name__)(sum_of_squares)
        return function

    return register


def columns(*values):
    """Return the Jacobian with the given columns, scalars broadcast."""
    return np.stack(np.broadcast_arrays(*values), axis=-1)


# --- More, Garbow, Hillstrom -----------------------------------------------------------------------------------------


@least_squares([-1.2, 1])
def rosenbrock(x):  # MGH 1
    a, b = x
    return np.array([10 * (b - a**2), 1 - a]), np.array([[-20 * a, 10], [-1, 0]])


@least_squares([0.5, -2])
def freudenstein_roth(x):  # MGH 2; local minimum 48.9842
    a, b = x
    r = np.array([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])
    return r, np.array([[1, 10 * b - 3 * b**2 - 2], [1, 3 * b**2 + 2 * b - 14]])


@least_squares([0, 1])
def powell_badly_scaled(x):  # MGH 3
    a, b = x
    r = np.array([1e4 * a * b - 1, np.exp(-a) + np.exp(-b) - 1.0001])
    return r, np.array([[1e4 * b, 1e4 * a], [-np.exp(-a), -np.exp(-b)]])


@least_squares([1, 1])
def brown_badly_scaled(x):  # MGH 4
    a, b = x
    return np.array([a - 1e6, b - 2e-6, a * b - 2]), np.array([[1, 0], [0, 1], [b, a]])


@least_squares([1, 1])
def beale(x):  # MGH 5
    a, b = x
    k = np.arange(1, 4)
    return np.array([1.5, 2.25, 2.625]) - a * (1 - b**k), columns(b**k - 1, a * k * b ** (k - 1))


@least_squares([0.3, 0.4], 124.36218235561489)
def jennrich_sampson(x):  # MGH 6
    a, b = x
    i = np.arange(1, 11)
    return 2 + 2 * i - (np.exp(i * a) + np.exp(i * b)), columns(-i * np.exp(i * a), -i * np.exp(i * b))


@least_squares([-1, 0, 0])
def helical_valley(x):  # MGH 7
    a, b, c = x
    theta = np.arctan(b / a) / (2 * np.pi) + (0.5 if a.real < 0 else 0.0)
    square = a**2 + b**2
    radius = np.sqrt(square)
    jacobian = [
        [50 / np.pi * b / square, -50 / np.pi * a / square, 10],
        [10 * a / radius, 10 * b / radius, 0],
        [0, 0, 1],
    ]
    return np.array([10 * (c - 10 * theta), 10 * (radius - 1), c]), np.array(jacobian)


BARD = np.array([14, 18, 22, 25, 29, 32, 35, 39, 37, 58, 73, 96, 134, 210, 439]) / 100


@least_squares([1, 1, 1], 8.214877306578963e-3)
def bard(x):  # MGH 8
    a, b, c = x
    u = np.arange(1.0, 16)
    v = 16 - u
    w = np.minimum(u, v)
    q = v * b + w * c
    return BARD - a - u / q, columns(-1.0, u * v / q**2, u * w / q**2)


GAUSSIAN = np.array([9, 44, 175, 540, 1295, 2420, 3521, 3989, 3521, 2420, 1295, 540, 175, 44, 9]) / 1e4


@least_squares([0.4, 1, 0], 1.1279327696189e-8)
def gaussian(x):  # MGH 9
    a, b, c = x
    t = (8 - np.arange(1.0, 16)) / 2 - c
    e = np.exp(-b * t**2 / 2)
    return a * e - GAUSSIAN, columns(e, -a * e * t**2 / 2, a * e * b * t)


MEYER = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872]
)


@least_squares([0.02, 4000, 250], 87.94585517018605)
def meyer(x):  # MGH 10
    a, b, c = x
    t = 45 + 5 * np.arange(1.0, 17) + c
    e = np.exp(b / t)
    return a * e - MEYER, columns(e, a * e / t, -a * e * b / t**2)


@least_squares([5, 2.5, 0.15])
def gulf(x):  # MGH 11
    a, b, c = x
    t = np.arange(1, 100) / 100
    u = 25 + (-50 * np.log(t)) ** (2 / 3) - b
    sign = np.sign(u.real)
    power = np.exp(c * np.log(sign * u))
    e = np.exp(-power / a)
    return e - t, columns(e * power / a**2, e * c * power / u / a, -e * power * np.log(sign * u) / a)


@least_squares([0, 10, 20])
def box_3d(x):  # MGH 12
    a, b, c = x
    t = np.arange(1, 11) / 10
    d = np.exp(-t) - np.exp(-10 * t)
    return np.exp(-t * a) - np.exp(-t * b) - c * d, columns(-t * np.exp(-t * a), t * np.exp(-t * b), -d)


KOWALIK_Y = np.array([1957, 1947, 1735, 1600, 844, 627, 456, 342, 323, 235, 246]) / 1e4
KOWALIK_U = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])


@least_squares([0.25, 0.39, 0.415, 0.39], 3.075056038492366e-4)
def kowalik_osborne(x):  # MGH 15
    a, b, c, d = x
    u = KOWALIK_U
    p = u**2 + u * b
    q = u**2 + u * c + d
    return KOWALIK_Y - a * p / q, columns(-p / q, -a * u / q, a * p * u / q**2, a * p / q**2)


@least_squares([25, 5, -5, -1], 85822.20162635628)
def brown_dennis(x):  # MGH 16
    a, b, c, d = x
    t = np.arange(1, 21) / 5
    u = a + t * b - np.exp(t)
    v = c + d * np.sin(t) - np.cos(t)
    return u**2 + v**2, columns(2 * u, 2 * u * t, 2 * v, 2 * v * np.sin(t))


OSBORNE_1 = (
    np.array(
        [844, 908, 932, 936, 925, 908, 881, 850, 818, 784, 751, 718, 685, 658, 628, 603, 580, 558, 538, 522, 506, 490]
        + [478, 467, 457, 448, 438, 431, 424, 420, 414, 411, 406]
    )
    / 1e3
)


@least_squares([0.5, 1.5, -1, 0.01, 0.02], 5.464894697482664e-5)
def osborne_1(x):  # MGH 17
    a, b, c, d, e = x
    t = 10 * np.arange(33.0)
    p, q = np.exp(-t * d), np.exp(-t * e)
    return OSBORNE_1 - (a + b * p + c * q), columns(-1.0, -p, -q, b * t * p, c * t * q)


@least_squares([1, 2, 1, 1, 1, 1])
def biggs_exp6(x):  # MGH 18; local minimum 5.65565e-3
    t = np.arange(1, 14) / 10
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    p, q, s = np.exp(-t * x[0]), np.exp(-t * x[1]), np.exp(-t * x[4])
    r = x[2] * p - x[3] * q + x[5] * s - y
    return r, columns(-x[2] * t * p, x[3] * t * q, p, -q, -x[5] * t * s, s)


OSBORNE_2 = (
    np.array(
        [1366, 1191, 1112, 1013, 991, 885, 831, 847, 786, 725, 746, 679, 608, 655, 616, 606, 602, 626, 651, 724, 649]
        + [649, 694, 644, 624, 661, 612, 558, 533, 495, 500, 423, 395, 375, 372, 391, 396, 405, 428, 429, 523, 562]
        + [607, 653, 672, 708, 633, 668, 645, 632, 591, 559, 597, 625, 739, 710, 729, 720, 636, 581, 428, 292, 162]
        + [98, 54]
    )
    / 1e3
)


@least_squares([1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5], 4.0137736293547e-2)
def osborne_2(x):  # MGH 19
    t = np.arange(65) / 10
    e0 = np.exp(-t * x[4])
    u = [t - x[8 + k] for k in range(3)]
    e = [np.exp(-(u[k] ** 2) * x[5 + k]) for k in range(3)]
    r = OSBORNE_2 - (x[0] * e0 + x[1] * e[0] + x[2] * e[1] + x[3] * e[2])
    widths = [x[1 + k] * u[k] ** 2 * e[k] for k in range(3)]
    centres = [-2 * x[1 + k] * x[5 + k] * u[k] * e[k] for k in range(3)]
    return r, columns(-e0, -e[0], -e[1], -e[2], x[0] * t * e0, *widths, *centres)


def watson(x):  # MGH 20
    n = x.size
    t = (np.arange(1, 30) / 29)[:, None]
    powers = t ** np.arange(n)
    slopes = np.concatenate([np.zeros((29, 1)), np.arange(1, n) * powers[:, :-1]], axis=1)
    s = powers @ x
    r = np.concatenate([slopes @ x - s**2 - 1, [x[0], x[1] - x[0] ** 2 - 1]])
    jacobian = np.zeros((31, n), x.dtype)
    jacobian[:29] = slopes - 2 * s[:, None] * powers
    jacobian[29, 0] = 1
    jacobian[30, :2] = -2 * x[0], 1
    return r, jacobian


for n, value in (6, 2.287670053552e-3), (9, 1.399760138e-6), (12, 4.7223811e-10):
    least_squares(np.zeros(n), value, f"watson_{n}")(watson)


def extended_rosenbrock(x):  # MGH 21
    a, b = x[0::2], x[1::2]
    u = b - a**2
    g = np.empty_like(x)
    g[0::2] = -400 * a * u - 2 * (1 - a)
    g[1::2] = 200 * u
    return 100 * (u @ u) + (1 - a) @ (1 - a), g


problem(np.tile([-1.2, 1], 500), name="extended_rosenbrock_1000")(extended_rosenbrock)
problem(np.tile([-1.2, 1], 5000), name="extended_rosenbrock_10000")(extended_rosenbrock)


def extended_powell_singular(x):  # MGH 13 and 22
    a, b, c, d = x[0::4], x[1::4], x[2::4], x[3::4]
    p, q, r, s = a + 10 * b, c - d, b - 2 * c, a - d
    g = np.empty_like(x)
    g[0::4] = 2 * p + 40 * s**3
    g[1::4] = 20 * p + 4 * r**3
    g[2::4] = 10 * q - 8 * r**3
    g[3::4] = -10 * q - 40 * s**3
    return p @ p + 5 * (q @ q) + np.sum(r**4) + 10 * np.sum(s**4), g


problem([3, -1, 0, 1], name="powell_singular")(extended_powell_singular)
problem(np.tile([3, -1, 0, 1], 250), name="extended_powell_singular_1000")(extended_powell_singular)


def extended_wood(x):  # MGH 14, WOODS of CUTEst
    a, b, c, d = x[0::4], x[1::4], x[2::4], x[3::4]
    p, q = b - a**2, d - c**2
    f = 100 * (p @ p) + np.sum((1 - a) ** 2) + 90 * (q @ q) + np.sum((1 - c) ** 2)
    f += 10 * np.sum((b + d - 2) ** 2) + np.sum((b - d) ** 2) / 10
    g = np.empty_like(x)
    g[0::4] = -400 * a * p - 2 * (1 - a)
    g[1::4] = 200 * p + 20 * (b + d - 2) + (b - d) / 5
    g[2::4] = -360 * c * q - 2 * (1 - c)
    g[3::4] = 180 * q + 20 * (b + d - 2) - (b - d) / 5
    return f, g


problem([-3, -1, -3, -1], name="wood")(extended_wood)
problem(np.tile([-3, -1, -3, -1], 1000), name="woods_4000")(extended_wood)


@least_squares(np.arange(1, 11), 7.087651467e-5)
def penalty_1(x):  # MGH 23
    n = x.size
    r = np.concatenate([np.sqrt(1e-5) * (x - 1), [x @ x - 0.25]])
    return r, np.concatenate([np.sqrt(1e-5) * np.eye(n), 2 * x[None]])


@least_squares(np.full(10, 0.5), 2.9366053745676e-4)
def penalty_2(x):  # MGH 24
    n = x.size
    root = np.sqrt(1e-5)
    i = np.arange(2, n + 1)
    e = np.exp(x / 10)
    y = np.exp(i / 10) + np.exp((i - 1) / 10)
    weights = np.arange(n, 0, -1)
    r = np.concatenate([[x[0] - 0.2], root * (e[1:] + e[:-1] - y), root * (e[1:] - np.exp(-0.1)), [weights @ x**2 - 1]])
    jacobian = np.zeros((2 * n, n), x.dtype)
    jacobian[0, 0] = 1
    rows = np.arange(n - 1)
    jacobian[1 + rows, rows + 1] = jacobian[n + rows, rows + 1] = root * e[1:] / 10
    jacobian[1 + rows, rows] = root * e[:-1] / 10
    jacobian[-1] = 2 * weights * x
    return r, jacobian


def variably_dimensioned(x):  # MGH 25, VARDIM
    j = np.arange(1, x.size + 1)
    u = x - 1
    s = j @ u
    return u @ u + s**2 + s**4, 2 * u + (2 * s + 4 * s**3) * j


problem(1 - np.arange(1, 11) / 10, name="variably_dimensioned_10")(variably_dimensioned)
problem(1 - np.arange(1, 201) / 200, name="variably_dimensioned_200")(variably_dimensioned)


def trigonometric(x):  # MGH 26; local minimum 2.79506e-5 for n = 10
    n = x.size
    i = np.arange(1, n + 1)
    r = n - np.sum(np.cos(x)) + i * (1 - np.cos(x)) - np.sin(x)
    return r @ r, 2 * (np.sum(r) * np.sin(x) + r * (i * np.sin(x) - np.cos(x)))


problem(np.full(10, 0.1), name="trigonometric_10")(trigonometric)
problem(np.full(200, 1 / 200), name="trigonometric_200")(trigonometric)


@least_squares(np.full(10, 0.5))
def brown_almost_linear(x):  # MGH 27; local minimum 1
    n = x.size
    products = np.array([np.prod(np.delete(x, k)) for k in range(n)])
    jacobian = np.eye(n, dtype=x.dtype) + 1
    jacobian[-1] = products
    return np.concatenate([(x + np.sum(x) - (n + 1))[:-1], [np.prod(x) - 1]]), jacobian


@least_squares((np.arange(1, 101) / 101) * (np.arange(1, 101) / 101 - 1))
def discrete_boundary_value(x):  # MGH 28
    n = x.size
    h = 1 / (n + 1)
    u = x + h * np.arange(1, n + 1) + 1
    r = 2 * x + h**2 * u**3 / 2
    r[1:] -= x[:-1]
    r[:-1] -= x[1:]
    return r, np.diag(2 + 1.5 * h**2 * u**2) - np.eye(n, k=1) - np.eye(n, k=-1)


@least_squares((np.arange(1, 101) / 101) * (np.arange(1, 101) / 101 - 1))
def discrete_integral_equation(x):  # MGH 29
    n = x.size
    h = 1 / (n + 1)
    t = h * np.arange(1, n + 1)
    kernel = np.where(t[:, None] >= t, (1 - t[:, None]) * t, t[:, None] * (1 - t)) * h / 2
    u = x + t + 1
    return x + kernel @ u**3, np.eye(n) + kernel * (3 * u**2)


@problem(np.full(500, -1.0))
def broyden_tridiagonal(x):  # MGH 30
    r = (3 - 2 * x) * x + 1
    r[1:] -= x[:-1]
    r[:-1] -= 2 * x[1:]
    g = 2 * r * (3 - 4 * x)
    g[:-1] -= 2 * r[1:]
    g[1:] -= 4 * r[:-1]
    return r @ r, g


@least_squares(np.full(50, -1.0))
def broyden_banded(x):  # MGH 31
    i = np.arange(x.size)
    band = (i >= i[:, None] - 5) & (i <= i[:, None] + 1) & (i != i[:, None])
    return x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x)), np.diag(2 + 15 * x**2) - band * (1 + 2 * x)


@problem(np.ones(10), 10 * 9 / (2 * 21))
def linear_rank_1(x):  # MGH 33
    i = np.arange(1, x.size + 1)
    r = i * (i @ x) - 1
    return r @ r, 2 * (i @ r) * i


def chebyquad(x):  # MGH 35
    n = x.size
    u = 2 * x - 1
    values, slopes = [np.ones_like(u), u], [np.zeros_like(u), np.full_like(u, 2)]
    for _ in range(n - 1):
        values.append(2 * u * values[-1] - values[-2])
        slopes.append(4 * values[-2] + 2 * u * slopes[-1] - slopes[-2])
    i = np.arange(1, n + 1)
    integral = np.where(i % 2 == 0, -1 / np.maximum(i**2 - 1, 1), 0)
    return np.mean(values[1:], axis=1) - integral, np.array(slopes[1:]) / n


for n, value in (8, 3.516873725677e-3), (9, 0.0), (10, 4.772713829e-3):
    least_squares(np.arange(1, n + 1) / (n + 1), value, f"chebyquad_{n}")(chebyquad)


# --- CUTEst classics -------------------------------------------------------------------------------------------------


def arwhead(x):
    a, z = x[:-1], x[-1]
    u = a**2 + z**2
    return u @ u - 4 * np.sum(a) + 3 * a.size, np.append(4 * a * u - 4, 4 * z * np.sum(u))


problem(np.ones(1000), name="arwhead_1000")(arwhead)


@problem(np.ones(1000), 3983.8179505765)
def bdqrtic(x):
    n = x.size - 4
    parts = [x[k : n + k] for k in range(4)]
    u = sum((k + 1) * part**2 for k, part in enumerate(parts)) + 5 * x[-1] ** 2
    linear = -4 * parts[0] + 3
    g = np.zeros_like(x)
    for k, part in enumerate(parts):
        g[k : n + k] += 4 * (k + 1) * part * u
    g[:n] -= 8 * linear
    g[-1] += 20 * x[-1] * np.sum(u)
    return linear @ linear + u @ u, g


def chained_rosenbrock(x):
    u = x[1:] - x[:-1] ** 2
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * u - 2 * (1 - x[:-1])
    g[1:] += 200 * u
    return 100 * (u @ u) + np.sum((1 - x[:-1]) ** 2), g


problem(np.tile([-1.2, 1], 10), name="chained_rosenbrock_20")(chained_rosenbrock)
problem(np.tile([-1.2, 1], 100), name="chained_rosenbrock_200")(chained_rosenbrock)


@problem([0, -1], 0.1997866136777)
def cliff(x):
    a, b = x
    e = np.exp(20 * (a - b))
    return ((a - 3) / 100) ** 2 - (a - b) + e, np.array([(a - 3) / 5000 - 1 + 20 * e, 1 - 20 * e])


@problem(np.ones(1000), -999.0)
def cosine(x):
    u = x[:-1] ** 2 - x[1:] / 2
    g = np.zeros_like(x)
    g[:-1] = -2 * x[:-1] * np.sin(u)
    g[1:] += np.sin(u) / 2
    return np.sum(np.cos(u)), g


@problem([1.0] + [2.0] * 999, 269.49954348721)
def cragglvy(x):
    a, b, c, d = x[0:-2:2], x[1:-2:2], x[2::2], x[3::2]
    p, q, tangent = np.exp(a) - b, b - c, np.tan(c - d)
    f = np.sum(p**4 + 100 * q**6 + tangent**4 + a**8 + (d - 1) ** 2)
    slope = 4 * tangent**3 * (1 + tangent**2)
    g = np.zeros_like(x)
    g[0:-2:2] += 4 * p**3 * np.exp(a) + 8 * a**7
    g[1:-2:2] += -4 * p**3 + 600 * q**5
    g[2::2] += -600 * q**5 + slope
    g[3::2] += -slope + 2 * (d - 1)
    return f, g


def dixmaan(alpha, beta, gamma, delta, k1, k2, k3, k4):
    def function(x):
        n, m = x.size, x.size // 3
        i = np.arange(1, n + 1) / n
        a, b, c, d = alpha * i**k1, (beta * i**k2)[:-1], (gamma * i**k3)[: 2 * m], (delta * i**k4)[:m]
        u, v = x[:-1], x[1:] + x[1:] ** 2
        p, q = x[: 2 * m], x[m : 3 * m]
        r, s = x[:m], x[2 * m : 3 * m]
        f = 1 + a @ x**2 + b @ (u**2 * v**2) + c @ (p**2 * q**4) + d @ (r * s)
        g = 2 * a * x
        g[:-1] += 2 * b * u * v**2
        g[1:] += 2 * b * u**2 * v * (1 + 2 * x[1:])
        g[: 2 * m] += 2 * c * p * q**4
        g[m : 3 * m] += 4 * c * p**2 * q**3
        g[:m] += d * s
        g[2 * m : 3 * m] += d * r
        return f, g

    return function


for letter, size, parameters in (
    ("a", 3000, (1, 0, 0.125, 0.125, 0, 0, 0, 0)),
    ("b", 3000, (1, 0.0625, 0.0625, 0.0625, 0, 0, 0, 0)),
    ("e", 3000, (1, 0, 0.125, 0.125, 1, 0, 0, 1)),
    ("h", 3000, (1, 0.26, 0.26, 0.26, 1, 0, 0, 1)),
    ("i", 3000, (1, 0, 0.125, 0.125, 2, 0, 0, 2)),
    ("l", 300, (1, 0.26, 0.26, 0.26, 2, 0, 0, 2)),
):
    problem(np.full(size, 2.0), 1.0, f"dixmaan_{letter}_{size}")(dixmaan(*parameters))


@problem(np.full(5000, 3.0))
def dqdrtic(x):
    weights = np.full(x.size, 201.0)
    weights[[0, 1, -2, -1]] = 1, 101, 200, 100
    return weights @ x**2, 2 * weights * x


@problem(np.full(1000, 2.0))
def quartc(x):
    u = x - np.arange(1, x.size + 1)
    return np.sum(u**4), 4 * u**3


@problem(np.zeros(2000), 12003.284592021)
def edensch(x):
    a, b = x[:-1], x[1:]
    u = a * b - 2 * b
    g = np.zeros_like(x)
    g[:-1] = 4 * (a - 2) ** 3 + 2 * u * b
    g[1:] += 2 * u * (a - 2) + 2 * (b + 1)
    return 16 + np.sum((a - 2) ** 4 + u**2 + (b + 1) ** 2), g


@problem(np.zeros(1000), -998.94739330097)
def eg2(x):
    u = x[0] + x[:-1] ** 2 - 1
    g = np.zeros_like(x)
    g[:-1] = 2 * x[:-1] * np.cos(u)
    g[0] += np.sum(np.cos(u))
    g[-1] = x[-1] * np.cos(x[-1] ** 2)
    return np.sum(np.sin(u)) + np.sin(x[-1] ** 2) / 2, g


@problem(np.full(5000, 2.0), 5548.6684194158)
def engval1(x):
    a, b = x[:-1], x[1:]
    u = a**2 + b**2
    g = np.zeros_like(x)
    g[:-1] = 4 * a * u - 4
    g[1:] += 4 * b * u
    return u @ u - 4 * np.sum(a) + 3 * a.size, g


@problem(np.full(10, -1.0))
def extrosnb(x):
    u = x[1:] - x[:-1] ** 2
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * u
    g[1:] += 200 * u
    g[0] += 2 * (x[0] - 1)
    return 100 * (u @ u) + (x[0] - 1) ** 2, g


@problem(np.zeros(200))
def fletchcr(x):
    a, b = x[:-1], x[1:]
    u = b - a + 1 - a**2
    g = np.zeros_like(x)
    g[:-1] = -200 * u * (1 + 2 * a)
    g[1:] += 200 * u
    return 100 * (u @ u), g


@problem([0.5, -2] + [0.0] * 998, 121469.71010945)
def freuroth(x):
    a, b = x[:-1], x[1:]
    p = -13 + a + ((5 - b) * b - 2) * b
    q = -29 + a + ((b + 1) * b - 14) * b
    g = np.zeros_like(x)
    g[:-1] = 2 * (p + q)
    g[1:] += 2 * (p * (10 * b - 3 * b**2 - 2) + q * (3 * b**2 + 2 * b - 14))
    return p @ p + q @ q, g


@problem(np.arange(1, 101) / 101, 1.0)
def genrose(x):
    a, b = x[:-1], x[1:]
    u = b - a**2
    g = np.zeros_like(x)
    g[:-1] = -400 * a * u
    g[1:] += 200 * u + 2 * (b - 1)
    return 1 + 100 * (u @ u) + np.sum((b - 1) ** 2), g


@problem(np.full(5000, 4.0))
def liarwhd(x):
    u = x**2 - x[0]
    g = 16 * x * u + 2 * (x - 1)
    g[0] -= 8 * np.sum(u)
    return 4 * (u @ u) + np.sum((x - 1) ** 2), g


@problem(np.full(5000, -1.0))
def nondia(x):
    u = x[0] - x[:-1] ** 2
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * u
    g[0] += 2 * (x[0] - 1) + 200 * np.sum(u)
    return (x[0] - 1) ** 2 + 100 * (u @ u), g


@problem(np.tile([1.0, -1], 50))
def nondquar(x):
    a, b = x[0] - x[1], x[-2] - x[-1]
    u = x[:-2] + x[1:-1] + x[-1]
    g = np.zeros_like(x)
    g[:-2] += 4 * u**3
    g[1:-1] += 4 * u**3
    g[-1] += 4 * np.sum(u**3) - 2 * b
    g[0] += 2 * a
    g[1] -= 2 * a
    g[-2] += 2 * b
    return a**2 + b**2 + np.sum(u**4), g


@problem(np.ones(1000))
def power(x):
    i = np.arange(1, x.size + 1)
    s = i @ x**2
    return s**2, 4 * s * i * x


@problem(np.full(100, 0.5), -294.0)
def schmvett(x):
    a, b, c = x[:-2], x[1:-1], x[2:]
    p, q = a - b, (np.pi * b + c) / 2
    u = (a + c) / b - 2
    e = np.exp(-(u**2))
    slope_p, slope_q, slope_u = 2 * p / (1 + p**2) ** 2, -np.cos(q), 2 * u * e
    g = np.zeros_like(x)
    g[:-2] += slope_p + slope_u / b
    g[1:-1] += -slope_p + slope_q * np.pi / 2 - slope_u * (a + c) / b**2
    g[2:] += slope_q / 2 + slope_u / b
    return -np.sum(1 / (1 + p**2) + np.sin(q) + e), g


@problem(np.full(50, 0.1))
def sinquad(x):
    middle = x[1:-1]
    u = np.sin(middle - x[-1]) - x[0] ** 2 + middle**2
    v = x[-1] ** 2 - x[0] ** 2
    cosines = np.cos(middle - x[-1])
    g = np.zeros_like(x)
    g[0] = 4 * (x[0] - 1) ** 3 - 4 * x[0] * np.sum(u) - 4 * x[0] * v
    g[1:-1] = 2 * u * (cosines + 2 * middle)
    g[-1] = -2 * (u @ cosines) + 4 * x[-1] * v
    return (x[0] - 1) ** 4 + u @ u + v**2, g


@problem([1, 0.1])
def sisser(x):
    a, b = x
    return 3 * a**4 - 2 * (a * b) ** 2 + 3 * b**4, np.array([12 * a**3 - 4 * a * b**2, 12 * b**3 - 4 * a**2 * b])


@problem(np.full(1000, 3.0), 9.98)
def tointgss(x):
    a, b, c = x[:-2], x[1:-1], x[2:]
    weight, width = 10 / x.size + c**2, 0.1 + c**2
    u = (a - b) ** 2 / width
    e = np.exp(-u)
    slope = weight * e * 2 * (a - b) / width
    g = np.zeros_like(x)
    g[:-2] += slope
    g[1:-1] -= slope
    g[2:] += 2 * c * (2 - e) - weight * e * u / width * 2 * c
    return weight @ (2 - e), g


@problem(np.full(1000, 0.1))
def tquartic(x):
    u = x[0] ** 2 - x[1:] ** 2
    return (x[0] - 1) ** 2 + u @ u, np.append(2 * (x[0] - 1) + 4 * x[0] * np.sum(u), -4 * x[1:] * u)


@problem(np.ones(500))
def tridia(x):
    i = np.arange(2, x.size + 1)
    u = 2 * x[1:] - x[:-1]
    g = np.append(2 * (x[0] - 1), 4 * i * u)
    g[:-1] -= 2 * i * u
    return (x[0] - 1) ** 2 + i @ u**2, g


@problem([-4, -4])
def himmelblau(x):
    a, b = x
    p, q = a**2 + b - 11, a + b**2 - 7
    return p**2 + q**2, np.array([4 * a * p + 2 * q, 2 * p + 4 * b * q])


@problem(np.full(900, 1.0), 1.8567741440443)
def minimal_surface(x):
    """Area of the graph over the unit square with boundary values x**2 - y**2 on a grid of triangles."""
    k = int(np.sqrt(x.size))
    t = np.linspace(0, 1, k + 2)
    z = (t[:, None] ** 2 - t**2).astype(x.dtype)
    z[1:-1, 1:-1] = x.reshape(k, k)
    h = t[1]
    area = 0.0
    g = np.zeros_like(z)
    corners = z[:-1, :-1], z[1:, :-1], z[:-1, 1:], z[1:, 1:]
    slots = g[:-1, :-1], g[1:, :-1], g[:-1, 1:], g[1:, 1:]
    for centre, right, upper in (0, 1, 2), (3, 2, 1):
        a, b = corners[right] - corners[centre], corners[upper] - corners[centre]
        triangle = np.sqrt(h**2 + a**2 + b**2)
        area = area + np.sum(triangle) * h / 2
        slots[right][...] += a / triangle * h / 2
        slots[upper][...] += b / triangle * h / 2
        slots[centre][...] -= (a + b) / triangle * h / 2
    return area, g[1:-1, 1:-1].ravel()


# --- quadratics of known condition -----------------------------------------------------------------------------------


def quadratic(n, condition, rotated=False):
    eigenvalues = np.geomspace(1, condition, n)
    normal = np.random.default_rng(n).standard_normal(n)
    normal *= np.sqrt(2) / np.linalg.norm(normal)

    def reflect(x):
        return x - (normal @ x) * normal if rotated else x

    def function(x):
        u = reflect(x - 1)
        return (eigenvalues @ u**2) / 2, reflect(eigenvalues * u)

    return function


for n, condition, rotated in (
    (100, 1e2, True),
    (50, 1e4, True),
    (1000, 1e4, False),
    (100, 1e6, True),
    (20, 1e8, True),
    (50, 1e8, False),
    (10000, 1e3, False),
):
    problem(np.zeros(n), name=f"quadratic_{n}_{condition:.0e}")(quadratic(n, condition, rotated))


@problem(np.zeros(200), -200 * 201 * 202 / 240000)
def poisson_1d(x):
    padded = np.concatenate([[0], x, [0]])
    slopes = np.diff(padded)
    return slopes @ slopes / 2 - np.sum(x) / 100, (slopes[:-1] - slopes[1:]) - 1 / 100


@problem(np.full(12, 1.0))
def hilbert(x):
    i = np.arange(x.size)
    matrix = 1 / (1 + i + i[:, None])
    return x @ matrix @ x / 2, matrix @ x


# --- fits to the data sets bundled with scikit-learn -----------------------------------------------------------------


@functools.cache
def data(name):
    """Return standardised features with a column of ones, and the target."""
    features, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return np.column_stack([features, np.ones(len(features))]), target


def log1p_exp(z):
    """Return log(1 + exp(z)) and its derivative, both without overflow."""
    positive = z.real > 0
    e = np.exp(np.where(positive, -z, z))
    return np.log1p(e) + np.where(positive, z, 0), np.where(positive, 1, e) / (1 + e)


def logistic(l2):
    def function(w):
        features, target = data("breast_cancer")
        z = features @ w
        loss, probability = log1p_exp(z)
        return np.mean(loss - target * z) + l2 / 2 * (w @ w), features.T @ (probability - target) / len(z) + l2 * w

    return function


def softmax(name, l2):
    def function(w):
        features, target = data(name)
        one_hot = np.eye(target.max() + 1)[target]
        z = features @ w.reshape(features.shape[1], -1)
        z = z - np.max(z.real, axis=1, keepdims=True)
        e = np.exp(z)
        total = np.sum(e, axis=1, keepdims=True)
        f = np.mean(np.log(total[:, 0]) - np.sum(one_hot * z, axis=1)) + l2 / 2 * (w @ w)
        return f, (features.T @ (e / total - one_hot) / len(z)).ravel() + l2 * w

    return function


for l2, value in (1e-2, 0.10044630378121), (1e-4, 0.04265562727049), (1e-6, 0.025888502334849):
    problem(np.zeros(31), value, f"logistic_{l2:.0e}")(logistic(l2))
for name, n, l2, value in (
    ("iris", 15, 1e-3, 0.11398660263599),
    ("iris", 15, 1e-6, 0.04003871402202),
    ("wine", 42, 1e-4, 0.0061403280684893),
    ("digits", 650, 1e-3, 0.087528983641644),
    ("digits", 650, 1e-5, 0.005357536122185),
):
    problem(np.zeros(n), value, f"softmax_{name}_{l2:.0e}")(softmax(name, l2))


@problem(np.zeros(11), -622.39265225932)
def poisson_regression(w):
    features, target = data("diabetes")
    rate = np.exp(features @ w)
    return np.mean(rate - target * (features @ w)), features.T @ (rate - target) / len(target)


@problem(np.zeros(11), 42.093897060257)
def robust_regression(w):
    features, target = data("diabetes")
    r = features @ w - target
    root = np.sqrt(1 + r**2)
    return np.mean(root - 1), features.T @ (r / root) / len(r)


@problem(np.sin(np.arange(49)), 0.97780633399604)
def tanh_network(w):
    """Least squares of a network with one hidden layer of 8 units on the iris classes."""
    features, target = data("iris")
    hidden = w[:40].reshape(5, 8)
    h = np.tanh(features @ hidden)
    r = h @ w[40:48] + w[48] - target
    back = r[:, None] * w[40:48] * (1 - h**2)
    g = np.concatenate([(features.T @ back).ravel(), h.T @ r, [np.sum(r)]])
    return (r @ r) / 2 + 5e-3 * (w @ w), g + 1e-2 * w


@problem(np.zeros(11), 632020.3310472)
def ridge(w):
    features, target = data("diabetes")
    r = features @ w - target
    return (r @ r) / 2 + 1e-3 * (w @ w), features.T @ r + 2e-3 * w
