"""Every optimizer with parameters on a GPU does what it does on the CPU."""

import numpy as np
import pytest
from cases import problem
from cases.optimizers import CASES, DTYPES

import numbopt


def both(case, dtype, **more):
    cls = getattr(numbopt, case.cls)
    host = [numbopt.Parameter(value) for value in problem.starting_parameters(dtype)]
    device = [numbopt.Parameter(value, device="cuda") for value in problem.starting_parameters(dtype)]
    return cls(host, **case.options, **more), cls(device, **case.options, **more)


def step(optimizer, gradients):
    for parameter, gradient in zip(optimizer.param_groups[0]["params"], gradients, strict=True):
        if gradient is not None and parameter.device == "cuda":
            gradient = numbopt.Parameter(gradient, device="cuda").data
        parameter.grad = gradient
    optimizer.step()


def assert_alike(host, device, dtype):
    eps = np.finfo(dtype).eps
    for one, other in zip(host.state_dict()["state"].values(), device.state_dict()["state"].values(), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(other[name], one[name], rtol=8 * eps, atol=8 * eps, err_msg=name)
    for one, other in zip(host._parameters, device._parameters, strict=True):
        np.testing.assert_allclose(other.data.copy_to_host(), one.data, rtol=8 * eps, atol=8 * eps)


@pytest.mark.parametrize("pattern", problem.PATTERNS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_step(case, dtype, pattern, gpu):
    host, device = both(case, dtype)
    for number in range(1, 6):
        for optimizer in (host, device):
            step(optimizer, problem.gradients(number, dtype, pattern))
    assert_alike(host, device, dtype)
