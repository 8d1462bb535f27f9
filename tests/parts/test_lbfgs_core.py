"""The compiled core of L-BFGS and conjugate gradients, in reverse communication."""

import numpy as np
import pytest

from numbopt._kernels.quasi_newton import state as qn
from numbopt._launch import quasi_newton as cores


def rosenbrock(x):
    u = x[1:] - x[:-1] ** 2
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * u - 2 * (1 - x[:-1])
    g[1:] += 200 * u
    return float(100 * np.sum(u**2) + np.sum((1 - x[:-1]) ** 2)), g


def quadratic(x):
    eigenvalues = np.geomspace(1, 1e3, x.size).astype(x.dtype)
    return float(eigenvalues @ (x - 1) ** 2 / 2), eigenvalues * (x - 1)


def least_squares(x):
    rng = np.random.default_rng(0)
    matrix, target = rng.standard_normal((40, x.size)).astype(x.dtype), rng.standard_normal(40).astype(x.dtype)
    r = matrix @ x - target
    return float(r @ r) / 40, matrix.T @ r / 20


FUNCTIONS = [rosenbrock, quadratic, least_squares]
SEARCHING_RULES = [qn.LBFGS, qn.POLAK_RIBIERE, qn.HAGER_ZHANG, qn.DAI_KOU]


def run(function, x, state, evaluations=10_000):
    """Evaluate and advance in place until a stop or the given number of evaluations."""
    advance = cores.advance_function(state)
    answer = qn.EVALUATE
    for _ in range(evaluations):
        f, g = function(x)
        answer = advance(x, g, f)
        if answer != qn.EVALUATE:
            break
    return answer


def fresh(n, dtype=np.float64, rule=qn.LBFGS, history_size=10, **options):
    return qn.new_state(n, dtype, rule, history_size, **options)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("rule", SEARCHING_RULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-8), (np.float32, 1e-3)])
def test_converges(function, rule, dtype, tolerance):
    x = np.zeros(20, dtype)
    state = fresh(20, dtype, rule, tolerance_gradient=tolerance)
    assert run(function, x, state) == qn.GRADIENT_SMALL
    f, g = function(x)
    record = state[2][0]
    assert record["value"] == f
    assert record["gradient_norm"] == np.max(np.abs(g)) <= tolerance
    np.testing.assert_array_equal(state[0][qn.BASE_X], x)
    np.testing.assert_array_equal(state[0][qn.BASE_G], g)


@pytest.mark.parametrize("rule", [*SEARCHING_RULES, qn.FIXED_STEP])
@pytest.mark.parametrize("interruption", [1, 2, 7, 30])
def test_resumes_bitwise_from_copies_at_any_moment(rule, interruption):
    rate = 0.1 if rule == qn.FIXED_STEP else 1.0
    x = np.full(6, -1.0)
    state = fresh(6, rule=rule, learning_rate=rate)
    run(rosenbrock, x, state, interruption)
    resumed_x, resumed = x.copy(), tuple(array.copy() for array in state)
    run(rosenbrock, x, state, 20)
    run(rosenbrock, resumed_x, resumed, 20)
    np.testing.assert_array_equal(x, resumed_x)
    for array, copy in zip(state, resumed, strict=True):
        assert array.tobytes() == copy.tobytes()


@pytest.mark.parametrize("rule", SEARCHING_RULES)
def test_many_short_runs_make_the_iterates_of_a_long_one(rule):
    long_x, short_x = np.full(6, -1.0), np.full(6, -1.0)
    long_state, short_state = fresh(6, rule=rule, max_iterations=12), fresh(6, rule=rule, max_iterations=3)
    run(rosenbrock, long_x, long_state)
    for _ in range(4):
        assert run(rosenbrock, short_x, short_state) == qn.MAX_ITERATIONS
    np.testing.assert_array_equal(short_x, long_x)


@pytest.mark.parametrize("rule", [*SEARCHING_RULES, qn.FIXED_STEP])
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_evaluations_are_a_hard_limit_and_the_best_point_is_kept(rule, limit):
    seen = []

    def function(x):
        seen.append(rosenbrock(x)[0])
        return rosenbrock(x)

    x = np.full(6, -1.0)
    state = fresh(6, rule=rule, max_evaluations=limit, learning_rate=0.01 if rule == qn.FIXED_STEP else 1.0)
    assert run(function, x, state) == qn.MAX_EVALUATIONS or limit == 1
    assert len(seen) == state[2][0]["evaluations"] <= max(limit, 2)
    if rule != qn.FIXED_STEP:
        assert len(seen) == limit
        assert rosenbrock(x)[0] == min(seen)


@pytest.mark.parametrize("rule", SEARCHING_RULES)
def test_infinite_trial_never_reaches_the_point(rule):
    def function(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(np.sum(x - np.log(x))), 1 - 1 / x

    x = np.array([0.01, 30.0])
    assert run(function, x, fresh(2, rule=rule, tolerance_gradient=1e-6)) == qn.GRADIENT_SMALL
    np.testing.assert_allclose(x, 1, rtol=1e-5)


def test_huge_and_tiny_gradients_neither_overflow_nor_underflow():
    for scale in (1e-200, 1e200):
        x = np.array([1.0, 2.0])
        state = fresh(2, tolerance_gradient=1e-8 * scale)
        assert run(lambda x, s=scale: (s * float(x @ x), 2 * s * x), x, state) == qn.GRADIENT_SMALL


@pytest.mark.parametrize("n", [20, 100])
def test_rounding_errors_of_a_sum_do_not_end_a_search(n):
    """The value is off by up to 10 units of its last digit, the gradient is not."""

    def function(x):
        f, g = quadratic(x)
        return 1000 + f + 10 * np.spacing(1000.0) * np.sin(1e12 * np.sum(x)), g

    assert run(function, np.zeros(n), fresh(n, tolerance_gradient=1e-10)) == qn.GRADIENT_SMALL


def test_start_that_is_not_finite_is_left_alone():
    x = np.array([1.0, 2.0])
    assert run(lambda x: (1.0, np.array([np.nan, 1])), x, fresh(2)) == qn.START_NOT_FINITE
    np.testing.assert_array_equal(x, [1, 2])


def test_fixed_step_that_is_not_finite_is_taken_back():
    def function(x):
        return (float(x @ x), 2 * x) if np.all(np.abs(x) < 10) else (np.nan, x * np.nan)

    x = np.array([1.0, 2.0])
    state = fresh(2, rule=qn.FIXED_STEP, learning_rate=1e3)
    assert run(function, x, state) == qn.STEP_NOT_FINITE
    np.testing.assert_array_equal(x, [1, 2])


def test_wrong_gradient_is_named():
    x = np.full(4, -1.0)
    state = fresh(4)
    assert run(lambda x: (rosenbrock(x)[0], -rosenbrock(x)[1]), x, state) == qn.GRADIENT_WRONG
    np.testing.assert_array_equal(x, -1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_direction_is_that_of_the_dense_bfgs_formula(dtype):
    """The product of the recursion equals the inverse BFGS update, built from the same pairs as a matrix."""
    n = 8
    x = np.zeros(n, dtype)
    state = fresh(n, dtype, history_size=4, max_iterations=9)
    run(rosenbrock, x, state)
    s, y = (array.astype(float) for array in cores.pairs(state)[:2])
    assert s.shape == y.shape == (4, n)
    inverse = np.eye(n) * (s[-1] @ y[-1]) / (y[-1] @ y[-1])
    for pair_s, pair_y in zip(s, y, strict=True):
        projector = np.eye(n) - np.outer(pair_s, pair_y) / (pair_s @ pair_y)
        inverse = projector @ inverse @ projector.T + np.outer(pair_s, pair_s) / (pair_s @ pair_y)
    f, g = rosenbrock(x)
    cores.advance_function(state)(x, g, f)  # enters anew, with the memory it has
    expected = -inverse @ g.astype(float)
    tolerance = 1e-10 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(state[0][qn.DIRECTION], expected, rtol=tolerance, atol=tolerance * np.max(abs(expected)))


def test_pairs_come_in_the_order_in_which_they_were_made():
    x = np.full(6, -1.0)
    state = fresh(6, history_size=5)
    points = []
    for _ in range(40):
        iterations = int(state[2][0]["iterations"])
        f, g = rosenbrock(x)
        cores.advance_function(state)(x, g, f)
        if state[2][0]["iterations"] > iterations or not points:
            points.append(state[0][qn.BASE_X].copy())
    s, _, _ = cores.pairs(state)
    np.testing.assert_array_equal(s, np.diff(points, axis=0)[-5:])


@pytest.mark.parametrize("rule", [qn.LBFGS, qn.DAI_KOU])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_change_no_bit(monkeypatch, rule, dtype):
    n = 100_001
    results = []
    for parallel_from in (n + 1, n):
        monkeypatch.setattr(cores, "PARALLEL_FROM", parallel_from)
        x = np.zeros(n, dtype)
        state = fresh(n, dtype, rule, history_size=5, max_iterations=8)
        assert run(rosenbrock, x, state) == qn.MAX_ITERATIONS
        results.append([x, *state])
    for serial, shared in zip(*results, strict=True):
        assert serial.tobytes() == shared.tobytes()


def test_compiles_once_for_a_dtype():
    x = np.zeros(3)
    run(rosenbrock, x, fresh(3))
    specialisations = len(cores.kernel(qn.LBFGS).signatures)
    run(rosenbrock, np.zeros(7), fresh(7, rule=qn.DAI_KOU))
    run(quadratic, np.zeros(5), fresh(5, rule=qn.FIXED_STEP))
    assert len(cores.kernel(qn.LBFGS).signatures) == specialisations


# --- torch's rule without a line search ------------------------------------------------------------------------------


OPTIONS_OF_TORCH = dict(max_iter=4, max_eval=5, tolerance_grad=1e-5, tolerance_change=1e-9)
OPTIONS = dict(max_iterations=4, max_evaluations=5, tolerance_gradient=1e-5, tolerance_change=1e-9)


def torch_iterates(function, start, lr, history_size, shifts):
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.LBFGS([parameter], lr=lr, history_size=history_size, **OPTIONS_OF_TORCH)
    iterates = []
    for shift in shifts:

        def closure(shift=shift):
            f, g = function(parameter.detach().numpy() + shift)
            parameter.grad = torch.from_numpy(g)
            return f

        optimizer.step(closure)
        iterates.append(parameter.detach().numpy().copy())
    return np.array(iterates)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("dtype", "steps", "rtol", "atol"), [(np.float64, 8, 1e-7, 1e-7), (np.float32, 3, 1.3e-6, 1e-5)]
)
@pytest.mark.parametrize("history_size", [3, 100])
@pytest.mark.parametrize("batches", [1, 3])
def test_fixed_step_makes_the_iterates_of_torch(function, dtype, steps, rtol, atol, history_size, batches):
    """Steps over mini-batches; in float32, torch's own distance from its float64 iterates is granted on top."""
    rng = np.random.default_rng(1)
    start = rng.standard_normal(6).astype(np.float32)
    shifts = np.resize((rng.standard_normal((batches, 6)) / 10).astype(np.float32), (steps, 6))
    lr = 0.05 if function is rosenbrock else 0.5
    expected = torch_iterates(function, start.astype(dtype), lr, history_size, shifts.astype(dtype))
    exact = torch_iterates(function, start.astype(float), lr, history_size, shifts.astype(float))
    rounding = np.max(np.abs(expected - exact), axis=1)

    x = start.astype(dtype)
    state = fresh(6, dtype, qn.FIXED_STEP, history_size, learning_rate=lr, **OPTIONS)
    for step, shift in enumerate(shifts.astype(dtype)):
        run(lambda x, shift=shift: function(x + shift), x, state)
        np.testing.assert_allclose(x, expected[step], rtol=rtol, atol=atol + rounding[step])
