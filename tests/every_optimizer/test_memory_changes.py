"""What happens to arrays between steps: seen at the next step, refused or followed, and nothing is half done."""

from multiprocessing import shared_memory

import numpy as np
import pytest

import numbopt
from numbopt._devices import objects
from numbopt._kernels.cpu import look

OPTIMIZERS = {
    "SGD": lambda params: numbopt.SGD(params, lr=0.5, momentum=0.9),
    "Adam": lambda params: numbopt.Adam(params, lr=0.5),
    "clipped": lambda params: numbopt.Adam(params, lr=0.5, max_grad_norm=1.0, nonfinite="raise"),
    "LBFGS": lambda params: numbopt.LBFGS(params, lr=0.5, max_iter=2),
}
SIZE = 100

pytestmark = pytest.mark.filterwarnings("ignore:Setting the .* on a NumPy array:DeprecationWarning")


@pytest.fixture(params=["compiled look", "Python alone"], autouse=True)
def road(request, monkeypatch):
    """With and without compiled code that reads the objects of arrays."""
    if request.param == "Python alone":
        monkeypatch.setattr(look, "object_layout", lambda: None)
    look.compiled_look.cache_clear()
    yield
    look.compiled_look.cache_clear()


def step(opt, grads):
    """A step with given gradients; of L-BFGS, with a closure that returns them."""
    if isinstance(opt, numbopt.LBFGS):
        return opt.step(lambda: (1.0, grads))
    return opt.step(grads=grads)


def snapshot(opt):
    states = [{key: np.copy(value) for key, value in opt.state[p].items()} for p in opt.parameters if p in opt.state]
    return repr(states), opt.step_count


def refused(make, before, change, match):
    """Make a change after three steps: the next step refuses it, and leaves all as it was.

    ``before`` returns the parameter and a gradient; ``change`` gets both.
    """
    for name, optimizer in OPTIMIZERS.items():
        x, gradient = before()
        other = np.zeros(3)
        opt = optimizer([x, other])
        for _ in range(3):
            step(opt, [gradient, np.ones(3)])
        seen, values = snapshot(opt), other.copy()
        change(x, gradient)
        with pytest.raises((ValueError, TypeError), match=match):
            step(opt, [gradient, np.ones(3)])
        assert name == "LBFGS" or snapshot(opt) == seen
        np.testing.assert_array_equal(other, values)


def plain():
    return np.zeros(SIZE), np.ones(SIZE)


def view_of_larger():
    return np.zeros(3 * SIZE)[SIZE : 2 * SIZE], np.ones(SIZE)


def resize_base(size):
    return lambda x, _: x.base.resize(size, refcheck=False)


PARAMETER_CHANGES = {
    "resized larger": (plain, lambda x, _: x.resize(10_000, refcheck=False)),
    "resized smaller": (plain, lambda x, _: x.resize(3, refcheck=False)),
    "its base resized larger": (view_of_larger, resize_base(10**6)),
    "its base resized smaller": (view_of_larger, resize_base(SIZE)),
    "another shape": (plain, lambda x, _: setattr(x, "shape", (4, 25))),
    "another dtype": (plain, lambda x, _: setattr(x, "dtype", np.int64)),
    "locked": (plain, lambda x, _: x.setflags(write=False)),
}
GRADIENT_CHANGES = {
    "another shape": (lambda g: setattr(g, "shape", (4, 25)), "shape"),
    "resized": (lambda g: g.resize(3, refcheck=False), "shape"),
    "complex": (lambda g: setattr(g, "dtype", np.complex128), "complex128"),
}


@pytest.mark.parametrize(("before", "change"), PARAMETER_CHANGES.values(), ids=PARAMETER_CHANGES.keys())
def test_a_parameter_that_changed_is_refused(before, change):
    refused(OPTIMIZERS, before, change, r"parameter 0.*(new optimizer|setflags|new one).*numbopt.Parameter")


@pytest.mark.parametrize(("change", "match"), GRADIENT_CHANGES.values(), ids=GRADIENT_CHANGES.keys())
def test_a_gradient_that_no_longer_fits_is_refused(change, match):
    refused(OPTIMIZERS, plain, lambda _, g: change(g), rf"gradient of parameter 0.*{match}")


def test_memory_that_was_given_back(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=SIZE)
    shared = shared_memory.SharedMemory(create=True, size=8 * SIZE)
    try:
        closings = [
            (mapped, mapped._mmap.close),
            (np.ndarray(SIZE, np.float64, shared.buf), shared.close),
        ]
        for x, close in closings:
            opt = numbopt.SGD([x], lr=0.5)
            opt.step(grads=[np.ones(SIZE)])
            close()
            with pytest.raises(ValueError, match=r"parameter 0.*closed"):
                opt.step(grads=[np.ones(SIZE)])
    finally:
        shared.unlink()


def test_an_edited_dtype_of_a_gradient_is_followed():
    """An integer is a number: what the array now holds is converted, as any array of integers is."""
    x, gradient = plain()
    opt = numbopt.SGD([x], lr=1.0)
    opt.step(grads=[gradient])
    gradient.dtype = np.int64
    gradient[...] = 2
    opt.step(grads=[gradient])
    np.testing.assert_array_equal(x, -3.0)


def test_edited_strides_of_a_gradient_are_followed():
    x = np.zeros((2, 2))
    opt = numbopt.SGD([x], lr=1.0)
    gradient = np.array([[1.0, 2.0], [3.0, 4.0]])
    opt.step(grads=[gradient])
    gradient.strides = gradient.strides[::-1]
    opt.step(grads=[gradient])
    np.testing.assert_array_equal(x, [[-2.0, -5.0], [-5.0, -8.0]])


@pytest.mark.parametrize("form", [list, tuple, lambda given: dict(zip("ab", given, strict=True))], ids=str)
def test_gradients_come_and_go(form):
    """In every form, with other arrays each time, with None in turns, plain and converted ones."""
    ours = [numbopt.Parameter(np.zeros((3, 2)), name="a"), numbopt.Parameter(np.zeros(4, np.float32), name="b")]
    expected = [np.zeros((3, 2)), np.zeros(4)]
    opt = numbopt.SGD(ours, lr=1.0)
    kinds = (np.copy, np.asfortranarray, np.ndarray.tolist, lambda g: g.astype(np.float32), lambda g: None, np.copy)
    for number in range(24):
        given = [
            kinds[(number + 2 * place) % 6](np.full(p.shape, number + place, p.dtype)) for place, p in enumerate(ours)
        ]
        opt.step(grads=form(given))
        for place, gradient in enumerate(given):
            if gradient is not None:
                expected[place] -= number + place
        for parameter, values in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(parameter.data, values)


def test_a_list_that_is_edited_between_steps():
    x, y = np.zeros(3), np.zeros(3)
    opt = numbopt.SGD([x, y], lr=1.0)
    grads = [np.ones(3), np.ones(3)]
    opt.step(grads=grads)
    grads[1] = np.full(3, 5.0)
    opt.step(grads=grads)
    grads[0] = None
    opt.step(grads=grads)
    np.testing.assert_array_equal([x[0], y[0]], [-2.0, -11.0])


def test_arrays_that_the_caller_forgets():
    x, other = np.zeros(10_000), np.zeros(10_000)
    opt = numbopt.Adam([x, other], lr=0.1)
    twin_x = np.zeros(10_000)
    twin = numbopt.Adam([twin_x], lr=0.1)
    del other
    for number in range(20):
        gradient = np.full(10_000, 1.0 + number)
        opt.step(grads=[gradient, gradient.copy()])
        twin.step(grads=[gradient])
        del gradient
    np.testing.assert_array_equal(x, twin_x)
    np.testing.assert_array_equal(opt.parameters[1].data, twin_x)


def test_gradients_in_the_memory_of_parameters():
    memory = np.ones(2 * SIZE)
    x, y = memory[:SIZE], memory[SIZE:]
    opt = numbopt.SGD([x, y], lr=0.5)
    opt.step(grads=[np.ones(SIZE), np.ones(SIZE)])
    for gradient in (memory[1 : SIZE + 1], y):
        with pytest.raises(ValueError, match=r"parameter 0.*shares memory"):
            opt.step(grads=[gradient, np.ones(SIZE)])
    opt.step(grads=[x, y])  # all of their own parameters
    np.testing.assert_array_equal(memory, 0.25)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_structured_views_and_subclasses(dtype):
    record = np.zeros(5, [("a", dtype), ("b", dtype)])
    with pytest.raises(ValueError, match="strided"):
        numbopt.SGD([record["a"]])

    class Sub(np.ndarray):
        pass

    x = np.zeros(5, dtype).view(Sub)
    opt = numbopt.SGD([x], lr=1.0)
    record["a"] = 1
    for gradient in (record["a"], np.ones(5, dtype).view(Sub), np.ones(5, dtype)):
        opt.step(grads=[gradient])
    np.testing.assert_array_equal(x, np.full(5, -3, dtype))


def test_own_gradients_that_were_reshaped():
    p = numbopt.Parameter(np.zeros((4, 25)))
    opt = numbopt.SGD([p], lr=1.0)
    p.grad = np.ones((4, 25))
    opt.step()
    p.grad.shape = (25, 4)
    with pytest.raises(ValueError, match="shape"):
        opt.step()
    p.grad.shape = (4, 25)
    p.grad = np.full((4, 25), 2.0)
    opt.step()
    p.grad = None
    opt.step()
    np.testing.assert_array_equal(p.data, -3.0)


def test_layout_of_objects_is_probed(monkeypatch):
    objects.object_layout.cache_clear()
    assert objects.object_layout() is not None
    monkeypatch.setattr(objects, "_integer", lambda address: 0)  # as if a field were elsewhere
    objects.object_layout.cache_clear()
    assert objects.object_layout() is None
    objects.object_layout.cache_clear()
