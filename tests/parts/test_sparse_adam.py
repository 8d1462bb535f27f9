"""SparseAdam: beside torch, and what it refuses."""

import copy
import pickle

import numpy as np
import pytest
from support.bits import assert_same_bits

import numbopt

SHAPES = ((10,), (10, 5), (6, 3, 2))


def gradients(step, dtype):
    """Rows without order, some twice, sometimes none."""
    random = np.random.default_rng(step)
    result = []
    for shape in SHAPES:
        count = int(random.integers(0, 8))
        values = random.standard_normal((count, *shape[1:])).astype(dtype)
        values[::3] = 0  # counts, too
        result.append((random.integers(0, shape[0], count), values))
    return result


def start(dtype="float64"):
    return [np.random.default_rng(1).standard_normal(shape).astype(dtype) for shape in SHAPES]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"lr": 0.01, "maximize": True}, {"betas": (0.5, 0.9), "eps": 1e-3}], ids=str)
def test_equals_torch(options, dtype):
    torch = pytest.importorskip("torch")
    parameters = [torch.nn.Parameter(torch.from_numpy(array)) for array in start(dtype)]
    other, arrays = torch.optim.SparseAdam(parameters, **options), start(dtype)
    optimizer = numbopt.SparseAdam(arrays, **options)
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == "float64" else {"rtol": 1.3e-6, "atol": 1e-5}
    for step in range(1, 31):
        given = [None if (step + i) % 4 == 0 else pair for i, pair in enumerate(gradients(step, dtype))]
        for parameter, pair in zip(parameters, given, strict=True):
            parameter.grad = None
            if pair is not None:
                values = torch.from_numpy(pair[1])
                parameter.grad = torch.sparse_coo_tensor(pair[0][None], values, parameter.shape, check_invariants=False)
        other.step()
        optimizer.step(grads=given)
        if step == 10:  # goes on with the state of torch
            state_dict = other.state_dict()
            state = {
                key: {name: value.numpy() if hasattr(value, "numpy") else value for name, value in entries.items()}
                for key, entries in state_dict["state"].items()
            }
            optimizer = numbopt.SparseAdam(arrays)
            optimizer.load_state_dict({"state": state, "param_groups": state_dict["param_groups"]})
        for array, parameter in zip(arrays, parameters, strict=True):
            np.testing.assert_allclose(array, parameter.detach().numpy(), **tolerance)
            assert optimizer.state[array]["step"] == other.state[parameter]["step"]


def test_equals_the_formula_for_single_rows():
    x, optimizer = np.zeros((5, 2)), None
    optimizer = numbopt.SparseAdam([x], lr=0.1)
    m, v = np.zeros((2, 5, 2))
    expected = x.copy()
    for t in range(1, 6):
        rows, values = np.array([t % 5, 0]), np.full((2, 2), float(t))
        optimizer.step(grads=[(rows, values)])
        dense = np.zeros((5, 2))
        np.add.at(dense, rows, values)
        at = np.unique(rows)
        m[at] += 0.1 * (dense[at] - m[at])
        v[at] += 0.001 * (dense[at] ** 2 - v[at])
        expected[at] -= 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m[at] / (np.sqrt(v[at]) + 1e-8)
        np.testing.assert_allclose(x, expected, rtol=1e-12)


def test_sparse_arrays_of_scipy_are_elements():
    sparse = pytest.importorskip("scipy.sparse")
    dense, x, y = np.zeros((4, 3)), np.ones((4, 3)), np.ones(12)
    dense[[1, 3, 0], [2, 0, 1]] = 1.0, -2.0, 3.0
    places = np.flatnonzero(dense)
    one, other = numbopt.SparseAdam([x], lr=0.1), numbopt.SparseAdam([y], lr=0.1)
    for make in (sparse.csr_array, sparse.coo_array, sparse.csc_matrix):
        one.step(grads=[make(dense)])
        other.step(grads=[(places, dense.ravel()[places])])
    assert_same_bits([x.ravel()], [y])
    with pytest.raises(ValueError, match=r"must have shape \(4, 3\)"):
        one.step(grads=[sparse.csr_array(dense.T)])


def test_goes_on_bit_by_bit_from_copies_state_dicts_and_closures():
    arrays = start()
    optimizer = numbopt.SparseAdam(arrays)
    for step in range(4):
        optimizer.step(grads=gradients(step, "float64"))
    again, deep = pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)
    copies = [array.copy() for array in arrays]
    loaded = numbopt.SparseAdam(copies)
    loaded.load_state_dict(optimizer.state_dict())
    for one in (optimizer, again, deep):
        one.step(grads=gradients(9, "float64"))
    assert loaded.step(lambda: (2.0, gradients(9, "float64"))) == 2.0
    assert_same_bits(copies, arrays)
    for one in (again, deep):
        assert_same_bits([parameter.data for parameter in one.parameters], arrays)


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (np.ones((4, 2)), TypeError, "does not support dense gradients, please consider Adam"),
        (([0, 4], np.ones((2, 2))), ValueError, "must be from 0 to 3, got 0 to 4"),
        (([-1], np.ones((1, 2))), ValueError, "must be from 0 to 3"),
        (([0.5], np.ones((1, 2))), TypeError, "must be integers"),
        (([[0]], np.ones((1, 2))), TypeError, "must be integers"),
        (([0], np.ones((2, 2))), ValueError, r"need \(1, 2\)"),
        (([0], np.ones((1, 2), complex)), TypeError, "must be real numbers"),
    ],
)
def test_gradients_that_cannot_be_are_refused_before_anything_changes(gradient, error, message):
    w, x = np.ones(3), np.ones((4, 2))
    optimizer = numbopt.SparseAdam([w, x])
    optimizer.step(grads=[([1], [1.0]), ([1], np.ones((1, 2)))])
    before = w.tobytes(), x.tobytes(), pickle.dumps(optimizer.state_dict()), optimizer.step_count
    with pytest.raises(error, match=message):
        optimizer.step(grads=[([0], [1.0]), gradient])
    assert (w.tobytes(), x.tobytes(), pickle.dumps(optimizer.state_dict()), optimizer.step_count) == before
    with pytest.raises(TypeError, match="takes its gradients from"):
        optimizer.step()


def test_parameters_and_options_that_cannot_be_are_refused():
    for array, message in ((np.ones(2, complex), "does not support complex"), (np.ones((3, 2)).T, "in C order")):
        with pytest.raises(ValueError, match=message):
            numbopt.SparseAdam([np.asfortranarray(array) if array.ndim > 1 else array])
    for options in ({"lr": 0.0}, {"eps": 0.0}, {"betas": (1.0, 0.9)}):
        with pytest.raises(ValueError, match="Invalid"):
            numbopt.SparseAdam([np.ones(2)], **options)


def test_is_compiled_ahead():
    numbopt.warmup("SparseAdam")
