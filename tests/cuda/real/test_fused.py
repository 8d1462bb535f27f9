"""numbopt on a GPU against torch's own kernels there, and beside its gradients and graphs."""

from itertools import product

import numpy as np
import pytest
from cases import problem
from cases.optimizers import CASES, DTYPES
from support.runs import DeviceRun
from support.trajectory import GROUPINGS, assert_same, follow

import numbopt

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("torch finds no GPU", allow_module_level=True)

from support.torch_runs import FUSED, TorchRun  # noqa: E402


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case in CASES if case.is_torchs], ids=lambda case: case.id)
def test_every_step_equals_torch(case, dtype):
    for grouping, pattern in product(GROUPINGS, problem.PATTERNS):
        # With momentum, torch's fused SGD fails where some parameters have had a gradient and some not.
        fused = case.cls in FUSED and np.dtype(dtype).kind == "f" and pattern == "every gradient"
        run = TorchRun(case, dtype, grouping, device="cuda", fused=fused)
        expected = follow(run, dtype, pattern, kept_steps=problem.STEPS)
        actual = follow(
            DeviceRun(case, grouping, problem.starting_parameters(dtype)), dtype, pattern, kept_steps=problem.STEPS
        )
        assert_same(actual, expected, case, dtype, f"{grouping}, {pattern}")


def test_gradients_of_autograd():
    def train(step_of):
        torch.manual_seed(0)
        model = torch.nn.Linear(10, 3, device="cuda")
        inputs = torch.randn(50, 10, device="cuda")
        step = step_of(list(model.parameters()))
        for _ in range(5):
            model.zero_grad()
            (model(inputs) ** 2).mean().backward()
            step()
        return [parameter.detach().cpu().numpy() for parameter in model.parameters()]

    def with_numbopt(parameters):
        with pytest.raises(TypeError, match="detach"):
            numbopt.Adam(parameters)
        optimizer = numbopt.Adam([parameter.detach() for parameter in parameters], lr=0.1)
        return lambda: optimizer.step(grads=[parameter.grad for parameter in parameters])

    theirs = train(lambda parameters: torch.optim.Adam(parameters, lr=0.1, fused=True).step)
    for ours, other in zip(train(with_numbopt), theirs, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*CUDA Graph is empty")
def test_gradients_are_captured_in_a_graph_and_the_step_is_not():
    parameter, gradient = torch.ones(4, device="cuda"), torch.zeros(4, device="cuda")
    optimizer = numbopt.SGD([parameter], lr=0.25)
    optimizer.step(grads=[gradient])
    with pytest.raises(RuntimeError, match="cannot be part of a CUDA graph"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        optimizer.step(grads=[gradient])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gradient.copy_(2 * parameter)
    for _ in range(3):
        graph.replay()
        optimizer.step(grads=[gradient])
    np.testing.assert_array_equal(parameter.cpu().numpy(), 0.125)
