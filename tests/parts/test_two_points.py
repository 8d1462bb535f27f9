"""Schedule-Free optimizers: where gradients are taken, the average, and the way between them."""

import pickle

import numpy as np
import pytest

import numbopt

CLASSES = (numbopt.AdamWScheduleFree, numbopt.SGDScheduleFree)
each_class = pytest.mark.parametrize("cls", CLASSES)


def trained(cls, steps=7, dtype=float, **options):
    random = np.random.default_rng(0)
    x, y = random.standard_normal((3, 2)).astype(dtype), random.standard_normal(4).astype(dtype)
    optimizer = cls([{"params": [x]}, {"params": [y], "lr": 0.05}], lr=0.1, **options)
    for _ in range(steps):
        optimizer.step(grads=[x + 0.1 * random.standard_normal(x.shape), 2 * y])
    return optimizer, [x, y]


@each_class
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_the_average_is_the_mean_of_the_fast_points(cls, dtype):
    """With weights of 1, it is their plain mean."""
    x = np.random.default_rng(0).standard_normal(5).astype(dtype)
    optimizer = cls([x], lr=0.1, weight_lr_power=0)
    fast = []
    for _ in range(10):
        optimizer.step(grads=[x])
        fast.append(optimizer.state[x]["z"].copy())
    (average,) = optimizer.average()
    np.testing.assert_allclose(average, np.mean(fast, axis=0), rtol=1e-5 if dtype != "float64" else 1e-13)
    assert average.dtype == dtype


@each_class
def test_eval_and_train_change_the_parameters_and_nothing_else(cls):
    optimizer, arrays = trained(cls)
    before, averages = [array.copy() for array in arrays], optimizer.average()
    state = pickle.dumps(optimizer.state_dict()["state"])
    for _ in range(2):  # a second call does nothing
        optimizer.eval()
        for array, average in zip(arrays, averages, strict=True):
            np.testing.assert_array_equal(array, average)
    assert [np.array_equal(one, other) for one, other in zip(optimizer.average(), averages, strict=True)] == [True] * 2
    for _ in range(2):
        optimizer.train()
        for array, value in zip(arrays, before, strict=True):
            np.testing.assert_allclose(array, value, rtol=1e-14)
    assert pickle.dumps(optimizer.state_dict()["state"]) == state


@each_class
def test_averaged_gives_everything_back_bit_by_bit(cls):
    optimizer, arrays = trained(cls)
    before, averages = [array.tobytes() for array in arrays], optimizer.average()
    with pytest.raises(KeyError), optimizer.averaged():
        np.testing.assert_array_equal(arrays[0], averages[0])
        arrays[1][:] = np.nan
        raise KeyError
    assert [array.tobytes() for array in arrays] == before
    assert all(group["train_mode"] for group in optimizer.param_groups)
    optimizer.step(grads=arrays)


@each_class
def test_no_step_begins_at_the_average(cls):
    optimizer, arrays = trained(cls)
    optimizer.eval()
    before = [array.tobytes() for array in arrays]
    with pytest.raises(RuntimeError, match=r"call opt\.train\(\) first"):
        optimizer.step(grads=arrays)
    assert [array.tobytes() for array in arrays] == before


@each_class
def test_the_mode_goes_along_with_parameters_and_state(cls):
    optimizer, arrays = trained(cls)
    optimizer.eval()
    copies = [array.copy() for array in arrays]
    other = cls([{"params": [copies[0]]}, {"params": [copies[1]]}])
    other.load_state_dict(optimizer.state_dict())
    again = pickle.loads(pickle.dumps(optimizer))
    for one in (optimizer, other, again):
        one.train()
        one.step(grads=[np.ones((3, 2)), np.ones(4)])
    for one in (copies, [parameter.data for parameter in again.parameters]):
        for array, value in zip(arrays, one, strict=True):
            np.testing.assert_array_equal(array, value)


@each_class
def test_all_three_points_stay_within_bounds(cls):
    lower = np.array([-0.5, -np.inf, 0.25])
    x = np.array([1.0, 1.0, 1.0])
    optimizer = cls([x], lr=0.5, bounds=(lower, 1.5))
    for step in range(50):
        optimizer.step(grads=[np.sin(step) + x + 1])
        for point in (x, optimizer.state[x]["z"], *optimizer.average()):
            assert np.all(point >= lower)
            assert np.all(point <= 1.5)


def test_parameters_that_come_with_every_call():
    tree, kept = {"w": np.ones(3), "b": 2.0}, [np.ones(3), np.array(2.0)]
    optimizer, other = numbopt.AdamWScheduleFree(lr=0.1), numbopt.AdamWScheduleFree(kept, lr=0.1)
    for _ in range(5):
        tree = optimizer.apply_gradients({"w": 2 * tree["w"], "b": 3.0}, tree)
        other.step(grads=[2 * kept[0], np.array(3.0)])
    average, expected = optimizer.average(tree), other.average()
    np.testing.assert_array_equal(average["w"], expected[0])
    assert average["b"] == expected[1]
    with pytest.raises(TypeError, match=r"average\(x\)"):
        optimizer.average()
    with pytest.raises(TypeError, match="parameters of its own"):
        other.average(kept)
    with pytest.raises(ValueError, match="depends on them"):
        optimizer.updates({"w": np.ones(3), "b": 1.0})


def test_minimize_returns_the_average_where_it_is_better():
    pytest.importorskip("scipy")
    random = np.random.default_rng(1)

    def noisy(x):
        return float(x @ x), 2 * x + random.standard_normal(x.size)

    options = {"lr": 1.0, "maxiter": 300, "ftol": 0.0}
    result = numbopt.minimize(noisy, np.full(20, 3.0), jac=True, method="sgdschedulefree", options=options)
    assert result.fun == result.x @ result.x < 1.0
