"""Muon: beside torch with exact matrix products, beside its own definition, and what it refuses."""

import copy
import pickle

import numpy as np
import pytest
from support.bits import assert_same_bits

import numbopt
from numbopt.algorithms.muon import orthogonalized

SHAPES = ((10, 5), (4, 8), (16, 16), (1, 6), (6, 1))
OPTIONS = (
    {},
    {"lr": 0.01, "weight_decay": 0.2},
    {"momentum": 0.8, "nesterov": False},
    {"ns_steps": 6, "ns_coefficients": (3.4, -4.7, 2.0), "eps": 1e-3},
    {"adjust_lr_fn": "match_rms_adamw", "lr": 0.02},
    {"adjust_lr_fn": "original", "ns_steps": 0},
)


def matrices(seed, dtype="float64", shapes=SHAPES):
    random = np.random.default_rng(seed)
    arrays = [random.standard_normal(shape) for shape in shapes]
    if np.dtype(dtype).kind == "c":
        arrays = [array + 1j * random.standard_normal(array.shape) for array in arrays]
    return [array.astype(dtype) for array in arrays]


def trained(steps, dtype="float64", order="C", **options):
    arrays = [np.array(array, order=order) for array in matrices(0, dtype)]
    optimizer = numbopt.Muon(arrays, **options)
    for step in range(steps):
        optimizer.step(grads=matrices(step + 1, dtype))
    return optimizer, arrays


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_torch_with_exact_matrix_products(options, dtype, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    parameters = [torch.nn.Parameter(torch.from_numpy(array)) for array in matrices(0, dtype)]
    other = torch.optim.Muon(parameters, **options)
    arrays = matrices(0, dtype)
    optimizer = numbopt.Muon(arrays, **options)
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-5}
    for step in range(1, 31):
        gradients = [None if (step + i) % 4 == 0 else g for i, g in enumerate(matrices(step, dtype))]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else torch.from_numpy(gradient)
        other.step()
        optimizer.step(grads=gradients)
        if step == 10:  # goes on with the state of torch
            state_dict = other.state_dict()
            state = {k: {"momentum_buffer": s["momentum_buffer"].numpy()} for k, s in state_dict["state"].items()}
            optimizer = numbopt.Muon(arrays)
            optimizer.load_state_dict({"state": state, "param_groups": state_dict["param_groups"]})
        for array, parameter in zip(arrays, parameters, strict=True):
            np.testing.assert_allclose(array, parameter.detach().numpy(), **tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_the_direction_has_singular_values_near_one(dtype):
    for matrix in matrices(3, dtype):
        values = np.linalg.svd(orthogonalized(matrix, (3.4445, -4.7750, 2.0315), 9, 1e-7), compute_uv=False)
        assert np.all((values > 0.6) & (values < 1.3))


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_goes_on_bit_by_bit_from_copies_and_state_dicts(dtype):
    optimizer, arrays = trained(3, dtype)
    again, deep = pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)
    copies = [array.copy() for array in arrays]
    loaded = numbopt.Muon(copies)
    loaded.load_state_dict(optimizer.state_dict())
    assert [state.keys() for state in optimizer.state_dict()["state"].values()] == [{"momentum_buffer"}] * len(SHAPES)
    for one in (optimizer, again, deep, loaded):
        one.step(grads=matrices(9, dtype))
    assert_same_bits(copies, arrays)
    for one in (again, deep):
        assert_same_bits([parameter.data for parameter in one.parameters], arrays)


def test_memory_order_maximize_and_clipping():
    _, arrays = trained(3)
    _, fortran = trained(3, order="F")
    for array, other in zip(arrays, fortran, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-12, atol=1e-12)
    x, y = np.ones((3, 2)), np.ones((3, 2))
    up, clipped = numbopt.Muon([x], maximize=True), numbopt.Muon([y], max_grad_norm=0.5)
    for step in range(4):
        gradient = np.random.default_rng(step).standard_normal((3, 2))
        up.step(grads=[-gradient * min(1.0, 0.5 / (np.linalg.norm(gradient) + 1e-6))])
        clipped.step(grads=[gradient])
    np.testing.assert_allclose(x, y, rtol=1e-12)


def test_a_gradient_of_zeros_moves_only_what_decays():
    x, empty = np.ones((2, 3)), np.ones((0, 3))
    optimizer = numbopt.Muon([x, empty], lr=0.5, weight_decay=0.5)
    optimizer.step(grads=[np.zeros((2, 3)), empty])
    np.testing.assert_array_equal(x, np.full((2, 3), 0.75))


def test_parameters_that_come_with_every_call():
    kept = np.ones((3, 2))
    optimizer, other, x = numbopt.Muon(lr=0.1), numbopt.Muon([kept], lr=0.1), np.ones((3, 2))
    for step in range(3):
        gradient = np.random.default_rng(step).standard_normal((3, 2))
        x = optimizer.apply_gradients(gradient, x)
        other.step(grads=[gradient])
    assert_same_bits([x], [kept])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "Invalid learning rate"),
        ({"momentum": 2.0}, "Invalid momentum value"),
        ({"weight_decay": -1.0}, "Invalid weight_decay value"),
        ({"eps": -1.0}, "Invalid epsilon value"),
        ({"ns_steps": 100}, "Number of steps must be less than 100"),
        ({"ns_steps": -1}, "Invalid ns_steps"),
        ({"adjust_lr_fn": "x"}, "adjust_lr_fn must be one of"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        numbopt.Muon([np.ones((2, 2))], **options)


def test_what_is_no_matrix_is_refused():
    for shape in ((), (3,), (2, 2, 2)):
        with pytest.raises(ValueError, match=r"only supports 2D parameters .* give it to AdamW"):
            numbopt.Muon([np.ones(shape)])
    optimizer = numbopt.Muon([np.ones((2, 2))])
    with pytest.raises(ValueError, match="only supports 2D"):
        optimizer.add_param_group({"params": [np.ones(3)]})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(TypeError, match="three numbers"):
        numbopt.Muon([np.ones((2, 2))], ns_coefficients=(1.0, 2.0))


def test_is_compiled_ahead():
    numbopt.warmup("Muon")
