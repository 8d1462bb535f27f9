"""LBFGS with line_search_fn=None against the installed torch, step by step, and continuing what torch began."""

import numpy as np
import pytest
from cases.functions import FUNCTIONS, STEPS, starting_point

import numbopt

torch = pytest.importorskip("torch")

# Imports torch, so only after its presence is known.
from support.torch_runs import SUPPORTED_TORCH, torch_closure, with_arrays  # noqa: E402

pytestmark = pytest.mark.skipif(
    not torch.__version__.startswith(SUPPORTED_TORCH),
    reason=f"compared with torch {SUPPORTED_TORCH}, found {torch.__version__}",
)
TOLERANCE = {"float32": {"rtol": 1.3e-6, "atol": 1e-5}, "float64": {"rtol": 1e-7, "atol": 1e-7}}


def for_every_problem(test):
    test = pytest.mark.parametrize("dtype", STEPS)(test)
    return pytest.mark.parametrize("name", FUNCTIONS)(test)


def torch_run(name, dtype, **options):
    parameter = torch.nn.Parameter(torch.from_numpy(starting_point(dtype)))
    return parameter, torch.optim.LBFGS([parameter], **{**FUNCTIONS[name][1], **options})


def our_closure(function, parameter, step):
    def closure():
        loss, gradient = function(parameter.data, step)
        parameter.grad = gradient
        return loss

    return closure


def assert_steps_agree(name, dtype, theirs, their_optimizer, ours, optimizer, steps, batches):
    function = FUNCTIONS[name][0]
    for step in steps:
        batch = step if batches else None
        loss = optimizer.step(our_closure(function, ours, batch))
        expected = their_optimizer.step(torch_closure(function, theirs, batch))
        np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5, err_msg=f"loss of step {step}")
        np.testing.assert_allclose(
            ours, theirs.detach().numpy(), **TOLERANCE[dtype], err_msg=f"parameters after step {step}"
        )
        state, expected = optimizer.state[ours], their_optimizer.state[theirs]
        for count in ("func_evals", "n_iter"):
            assert state[count] == expected[count], f"{count} after step {step}"
        assert len(state["ro"]) == len(expected["ro"])


@for_every_problem
def test_learning_rate_that_begins_at_zero_equals_torch(name, dtype):
    theirs, their_optimizer = torch_run(name, dtype)
    ours = numbopt.Parameter(starting_point(dtype))
    optimizer = numbopt.LBFGS([ours], **FUNCTIONS[name][1])
    for step, rate in enumerate([0.0, 0.01, 0.02]):
        optimizer.param_groups[0]["lr"] = their_optimizer.param_groups[0]["lr"] = rate
        assert_steps_agree(name, dtype, theirs, their_optimizer, ours, optimizer, [step], batches=False)


@for_every_problem
@pytest.mark.parametrize("batches", [False, True], ids=["one closure", "mini-batches"])
def test_every_step_equals_torch(name, dtype, batches):
    theirs, their_optimizer = torch_run(name, dtype)
    ours = numbopt.Parameter(starting_point(dtype))
    optimizer = numbopt.LBFGS([ours], **FUNCTIONS[name][1])
    assert_steps_agree(name, dtype, theirs, their_optimizer, ours, optimizer, range(STEPS[dtype]), batches)


@for_every_problem
@pytest.mark.parametrize("steps_of_torch", [1, 2, 3])
def test_continues_from_a_state_dict_of_torch(name, dtype, steps_of_torch):
    theirs, their_optimizer = torch_run(name, dtype)
    for step in range(steps_of_torch):
        their_optimizer.step(torch_closure(FUNCTIONS[name][0], theirs, step))
    ours = numbopt.Parameter(theirs.detach().numpy())
    optimizer = numbopt.LBFGS([ours])
    optimizer.load_state_dict(with_arrays(their_optimizer.state_dict()))
    steps = range(steps_of_torch, STEPS[dtype])
    assert_steps_agree(name, dtype, theirs, their_optimizer, ours, optimizer, steps, True)


def test_state_dict_of_torch_with_its_line_search_loads():
    theirs, their_optimizer = torch_run("rosenbrock", "float64", lr=1, line_search_fn="strong_wolfe")
    for _ in range(3):
        their_optimizer.step(torch_closure(FUNCTIONS["rosenbrock"][0], theirs, None))
    ours = numbopt.Parameter(theirs.detach().numpy())
    optimizer = numbopt.LBFGS([ours])
    optimizer.load_state_dict(with_arrays(their_optimizer.state_dict()))
    assert len(optimizer.state[ours]["ro"]) == len(their_optimizer.state[theirs]["ro"])
    optimizer.param_groups[0].update(max_iter=100, max_eval=None)
    optimizer.step(our_closure(FUNCTIONS["rosenbrock"][0], ours, None))
    assert optimizer.result.gradient_norm <= 1e-5


def test_last_step_of_torch_that_is_not_finite_leaves_the_parameters_where_they_are():
    """torch does not keep the point before it."""
    theirs, their_optimizer = torch_run("quadratic", "float64")
    their_optimizer.step(torch_closure(FUNCTIONS["quadratic"][0], theirs, None))
    ours = numbopt.Parameter(np.zeros(6))
    optimizer = numbopt.LBFGS([ours])
    optimizer.load_state_dict(with_arrays(their_optimizer.state_dict()))
    ours.data = theirs.detach().numpy()  # in whichever order they are loaded
    optimizer.step(lambda: (np.nan, [np.ones(6)]))
    np.testing.assert_array_equal(ours, theirs.detach().numpy())


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_parameters_equal_torch(dtype):
    target = torch.tensor([1 + 2j, -3j, 2], dtype=getattr(torch, dtype))
    weight = torch.tensor([1.0, 3.0, 5.0], dtype=torch.float32 if dtype == "complex64" else torch.float64)
    theirs = torch.nn.Parameter(torch.zeros(3, dtype=target.dtype))
    ours = numbopt.Parameter(np.zeros(3, dtype))
    options = {"lr": 0.5, "max_iter": 4}
    their_optimizer, optimizer = torch.optim.LBFGS([theirs], **options), numbopt.LBFGS([ours], **options)

    def their_closure():
        theirs.grad = None
        loss = (weight * (theirs - target).abs() ** 2).sum()
        loss.backward()
        return loss

    def our_closure():
        difference = ours.data - target.numpy()
        ours.grad = 2 * weight.numpy() * difference
        return float(np.sum(weight.numpy() * np.abs(difference) ** 2))

    for _ in range(3):
        their_optimizer.step(their_closure)
        optimizer.step(our_closure)
        tolerance = TOLERANCE["float32" if dtype == "complex64" else "float64"]
        np.testing.assert_allclose(ours, theirs.detach().numpy(), **tolerance)
