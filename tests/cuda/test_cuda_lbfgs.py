"""L-BFGS and nonlinear conjugate gradients with parameters on a GPU."""

import numpy as np
import pytest

import numbopt

OPTIMIZERS = {
    "fixed steps": lambda found, **more: numbopt.LBFGS(found, lr=0.02, max_iter=6, **more),
    "strong Wolfe": lambda found, **more: numbopt.LBFGS(found, max_iter=6, line_search_fn="strong_wolfe", **more),
    "short history": lambda found: numbopt.LBFGS(found, max_iter=9, history_size=2, line_search_fn="strong_wolfe"),
    "Dai-Kou": lambda found: numbopt.NonlinearCG(found, max_iter=6),
    "Hager-Zhang": lambda found: numbopt.NonlinearCG(found, max_iter=6, direction="hager-zhang"),
    "Polak-Ribiere": lambda found: numbopt.NonlinearCG(found, max_iter=6, direction="polak-ribiere"),
}
SHAPES = {"one": [(7,)], "several": [(3, 2), (), (5,)]}


def start(shapes, dtype, device):
    generator = np.random.default_rng(0)
    return [numbopt.Parameter(generator.standard_normal(shape).astype(dtype), device=device) for shape in shapes]


def host_values(parameters):
    return [parameter.to("cpu").data for parameter in parameters]


def objective(parameters, given):
    """A quartic with a condition number of 30, computed on the host."""

    def closure():
        loss, gradients = 0.0, []
        for parameter, values in zip(parameters, host_values(parameters), strict=True):
            weights = np.linspace(1, 30, values.size).reshape(values.shape)
            loss += float(np.sum(weights * np.abs(values) ** 2 / 2 + np.abs(values) ** 4 / 4))
            gradient = (weights * values + np.abs(values) ** 2 * values).astype(values.dtype)
            gradients.append(numbopt.Parameter(gradient, device=parameter.device).data)
        if given:
            return loss, gradients
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    return closure


def minimise(device, make, shapes, dtype=np.float64, given=False, steps=2):
    parameters = start(shapes, dtype, device)
    optimizer = make(parameters)
    losses = [optimizer.step(objective(parameters, given)) for _ in range(steps)]
    return parameters, optimizer, losses


@pytest.mark.parametrize(
    ("shapes", "given"), [(SHAPES["one"], False), (SHAPES["several"], True)], ids=["own gradients", "given gradients"]
)
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_like_on_the_host(make, shapes, given, gpu):
    host, on_host, losses = minimise("cpu", make, shapes, given=given)
    device, on_gpu, other_losses = minimise("cuda", make, shapes, given=given)
    np.testing.assert_allclose(other_losses, losses, rtol=1e-9)
    for one, other in zip(host_values(host), host_values(device), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-7, atol=1e-9)
    assert on_gpu.result.message == on_host.result.message
    assert on_gpu.result.evaluations == on_host.result.evaluations
    if not given and on_gpu.result.evaluations > 1:
        for one, other in zip(host, device, strict=True):
            np.testing.assert_allclose(other.grad.copy_to_host(), one.grad, rtol=1e-6, atol=1e-7)


def test_vectors_of_more_than_a_block(gpu):
    host, _, _ = minimise("cpu", OPTIMIZERS["strong Wolfe"], [(4099,), (6,)], steps=1)
    device, _, _ = minimise("cuda", OPTIMIZERS["strong Wolfe"], [(4099,), (6,)], steps=1)
    for one, other in zip(host_values(host), host_values(device), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.complex128])
def test_dtypes(dtype, gpu):
    host, _, losses = minimise("cpu", OPTIMIZERS["strong Wolfe"], [(4, 3)], dtype)
    device, _, other_losses = minimise("cuda", OPTIMIZERS["strong Wolfe"], [(4, 3)], dtype)
    tolerance = 1e-3 if np.finfo(dtype).bits == 32 else 1e-8
    np.testing.assert_allclose(other_losses, losses, rtol=tolerance)
    np.testing.assert_allclose(host_values(device)[0], host[0].data, rtol=tolerance, atol=tolerance)


def test_vectors_stay_on_the_gpu(gpu):
    parameters = start([(50,)], np.float64, "cuda")
    optimizer = OPTIMIZERS["strong Wolfe"](parameters)
    gradient = parameters[0].data

    def closure():
        values = float(np.sum(parameters[0].data.copy_to_host() ** 2)) / 2
        return values, [gradient]

    optimizer.step(closure)
    before = gpu.asked["cuMemcpyHtoDAsync"]
    optimizer.step(closure)
    assert gpu.asked["cuMemcpyHtoDAsync"] == before


@pytest.mark.parametrize("name", ["fixed steps", "strong Wolfe", "Dai-Kou"])
@pytest.mark.parametrize(("saved_on", "loaded_on"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_state_moves(name, saved_on, loaded_on, gpu):
    make, shapes = OPTIMIZERS[name], SHAPES["several"]
    straight, optimizer, _ = minimise(saved_on, make, shapes, steps=1)
    moved = [parameter.to(loaded_on) for parameter in straight]
    if saved_on == loaded_on:
        moved = [numbopt.Parameter(parameter.data) for parameter in straight]
    other = make(moved)
    other.load_state_dict(optimizer.state_dict())
    for parameters, found in ((straight, optimizer), (moved, other)):
        found.step(objective(parameters, given=True))
    exactly = {"rtol": 0, "atol": 0} if saved_on == loaded_on else {"rtol": 1e-8, "atol": 1e-10}
    for one, other_values in zip(host_values(straight), host_values(moved), strict=True):
        np.testing.assert_allclose(other_values, one, **exactly)


def test_parameters_here_and_there(gpu):
    host, _, _ = minimise("cpu", OPTIMIZERS["strong Wolfe"], SHAPES["several"])
    mixed = [
        parameter.to(device)
        for parameter, device in zip(start(SHAPES["several"], float, "cpu"), ("cuda", "cpu", "cuda"), strict=True)
    ]
    optimizer = OPTIMIZERS["strong Wolfe"](mixed)
    for _ in range(2):
        optimizer.step(objective(mixed, given=False))
    for one, other in zip(host_values(host), host_values(mixed), strict=True):
        np.testing.assert_array_equal(other, one)


def test_infinite_ahead(gpu):
    parameter = numbopt.Parameter([0.1, 5.0], device="cuda")
    optimizer = numbopt.LBFGS([parameter], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        x = parameter.data.copy_to_host()
        with np.errstate(all="ignore"):
            loss = np.sum(x - np.log(x))
        return float(loss), [numbopt.Parameter(1 - 1 / x, device="cuda").data]

    optimizer.step(closure)
    np.testing.assert_allclose(parameter.data.copy_to_host(), 1, rtol=1e-4)


def test_closure_that_raises(gpu):
    parameter = numbopt.Parameter([1.0, 2.0], device="cuda")
    optimizer = OPTIMIZERS["strong Wolfe"]([parameter])
    calls = []

    def closure():
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError
        return 2.5, [numbopt.Parameter(parameter.data).data]

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    np.testing.assert_array_equal(parameter.data.copy_to_host(), [1, 2])
