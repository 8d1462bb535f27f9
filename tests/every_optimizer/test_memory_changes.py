"""What users do to arrays between steps, or in a closure, is found before a step: it is refused or it works."""

import gc
import itertools
import mmap
import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import pytest

import numbopt
from numbopt import Parameter
from numbopt._kernels.cpu import look as look_kernel
from numbopt._parameters.gradients import Gradients

SETTINGS = {
    "SGD": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "Adam": ("Adam", {"lr": 0.1}),
    "Adam, clipped": ("Adam", {"lr": 0.1, "max_grad_norm": 0.5}),
    "SGD, raising": ("SGD", {"lr": 0.1, "momentum": 0.9, "nonfinite": "raise"}),
    "Adam, skipping": ("Adam", {"lr": 0.1, "nonfinite": "skip", "max_grad_norm": 5.0}),
    "LBFGS": ("LBFGS", {"lr": 0.1, "max_iter": 3}),
    "LBFGS, searching": ("LBFGS", {"lr": 0.1, "max_iter": 3, "line_search_fn": "strong_wolfe"}),
    "NonlinearCG": ("NonlinearCG", {"lr": 0.1, "max_iter": 3}),
}
SEVERAL_EVALUATIONS = ("LBFGS", "LBFGS, searching", "NonlinearCG")
for_every_setting = pytest.mark.parametrize("setting", SETTINGS)
SHAPE = (10, 10)
SIZE = 100


@pytest.fixture(params=["compiled look", "objects cannot be read"], autouse=True)
def way_to_look(request, monkeypatch):
    """All tests run both ways, and with the same results."""
    with looking(request.param, monkeypatch):
        yield request.param


@contextmanager
def looking(way, monkeypatch):
    if way == "compiled look":
        assert look_kernel.compiled_look() is not None
        yield
        return
    try:
        with monkeypatch.context() as patch:
            patch.setattr(look_kernel, "object_layout", lambda: None)
            look_kernel.compiled_look.cache_clear()
            assert look_kernel.compiled_look() is None
            yield
    finally:
        look_kernel.compiled_look.cache_clear()


class Mine(Exception):
    """Raised by a closure."""


def start():
    return np.linspace(-2, 2, SIZE).reshape(SHAPE).copy()  # which owns its memory


class Run:
    """An optimizer of two parameters, which takes new gradients of a sum of squares at each evaluation.

    With ``keep``, the arrays of the gradients are the same at each step, though their numbers are not.
    """

    def __init__(self, setting, x=None, *, keep=False):
        cls, options = SETTINGS[setting]
        self.x = start() if x is None else x
        self.b = np.linspace(-1, 1, 3)
        self.several = setting in SEVERAL_EVALUATIONS
        named = [{"w": self.x}] if isinstance(self.x, np.ndarray) else [[("w", self.x)]]
        if self.several:
            params = [*dict(named[0]).items(), ("b", self.b)]
        else:
            params = [{"params": named[0]}, {"params": {"b": self.b}, "lr": 0.02}]
        self.optimizer = getattr(numbopt, cls)(params, **options)
        self.keep = [np.empty(SHAPE), np.empty(3)] if keep else None
        self.evaluations = 0

    def evaluate(self):
        """Loss and gradients; of some other point where x is not as it was."""
        x = np.asarray(self.x)
        if x.shape != SHAPE or x.dtype != np.float64:
            x = np.zeros(SHAPE)
        curvatures = np.geomspace(0.001, 1, SIZE).reshape(SHAPE)  # so different that no method is there soon
        grads = [curvatures * (x - 0.5), 2 * (self.b + 0.5)]
        loss = float(np.sum(grads[0] * (x - 0.5)) + np.sum(grads[1] * (self.b + 0.5))) / 2
        if self.keep:
            for kept, gradient in zip(self.keep, grads, strict=True):
                np.copyto(kept, gradient)
            grads = list(self.keep)
        return loss, grads

    def step(self, spoil=None, at=1):
        """Take a step; ``spoil`` may change what evaluation number ``at`` of this step has found."""
        if not self.several:
            _, grads = self.evaluate()
            self.optimizer.step(grads=spoil(grads) if spoil else grads)
            return
        evaluation = itertools.count(1)

        def closure():
            loss, grads = self.evaluate()
            self.evaluations += 1
            return loss, spoil(grads) if spoil and next(evaluation) == at else grads

        self.optimizer.step(closure)

    def fail(self, at=1):
        """Be the twin of an optimizer that refuses what it is given: that counts evaluations, where there are any."""

        def spoil(grads):
            raise Mine

        if self.several:
            with pytest.raises(Mine):
                self.step(spoil, at)

    def bits(self):
        """All but x, to the last bit."""
        state = self.optimizer.state_dict()["state"]
        states = [{k: v.tobytes("A") if isinstance(v, np.ndarray) else v for k, v in s.items()} for s in state.values()]
        return self.b.tobytes(), states, self.optimizer.step_count, getattr(self.optimizer, "skipped_steps", 0)

    def all_bits(self):
        return np.asarray(self.x).tobytes("A"), *self.bits()


def runs(setting, steps=3, **options):
    """Two that have taken the same steps."""
    both = [Run(setting, **options), Run(setting, **options)]
    for _, run in itertools.product(range(steps), both):
        run.step()
    return both


def assert_go_on_alike(*some):
    for _ in range(3):
        for run in some:
            run.step()
        for run in some[1:]:
            assert run.all_bits() == some[0].all_bits()


@contextmanager
def refused(run, *texts, error=ValueError):
    """Expect an error that has all the texts, and that nothing but x itself has changed."""
    before = run.bits()
    with pytest.raises(error) as caught:
        yield
    for text in texts:
        assert text in str(caught.value)
    assert run.bits() == before


def edit(array, attribute, value):
    """Assign to an attribute, which NumPy will give up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        setattr(array, attribute, value)


# ---- parameters

NEW_OPTIMIZER = ("the array of parameter 'w' has changed", "make a new optimizer")
LOCKED = ("the array of parameter 'w' is read-only now", "x.setflags(write=True)")
LOST = ("the array of parameter 'w' has lost its memory", "resized or closed", "make a new one")

# What is done to an array, what undoes it, and what the message has.
EDITS = {
    "shape": (lambda x: edit(x, "shape", (4, 25)), lambda x: edit(x, "shape", SHAPE), NEW_OPTIMIZER),
    "flat": (lambda x: edit(x, "shape", (SIZE,)), lambda x: edit(x, "shape", SHAPE), NEW_OPTIMIZER),
    "dtype": (lambda x: edit(x, "dtype", np.int64), lambda x: edit(x, "dtype", np.float64), NEW_OPTIMIZER),
    "dtype of half": (lambda x: edit(x, "dtype", np.float32), lambda x: edit(x, "dtype", np.float64), NEW_OPTIMIZER),
    "strides": (lambda x: edit(x, "strides", (8, 80)), lambda x: edit(x, "strides", (80, 8)), NEW_OPTIMIZER),
    "locked": (lambda x: x.setflags(write=False), lambda x: x.setflags(write=True), LOCKED),
}
RESIZES = {"larger": 30 * SIZE, "smaller": SIZE // 3, "empty": 0}


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("kind", EDITS)
@for_every_setting
def test_an_edited_array_is_refused_until_it_is_as_it_was(setting, kind, steps):
    change, undo, texts = EDITS[kind]
    run, twin = runs(setting, steps)
    memory = run.x.tobytes("A")
    change(run.x)
    for _ in range(2):
        with refused(run, *texts):
            run.step()
        twin.fail()
        assert run.x.tobytes("A") == memory
    undo(run.x)
    assert_go_on_alike(run, twin)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("setting", SEVERAL_EVALUATIONS)
def test_an_array_edited_by_the_closure_is_taken_back_where_the_search_was(setting, kind, at):
    change, undo, texts = EDITS[kind]
    run, twin = runs(setting)
    memory, other = run.x.tobytes("A"), run.b.tobytes()

    def spoil(grads):
        change(run.x)
        return grads

    with pytest.raises(ValueError) as caught:
        run.step(spoil, at)
    assert all(text in str(caught.value) for text in texts)
    assert (run.x.tobytes("A"), run.b.tobytes()) == (memory, other)
    twin.fail(at)
    undo(run.x)
    assert_go_on_alike(run, twin)


def test_a_locked_array_beside_one_of_another_dtype_is_taken_back():
    x, b = start(), np.ones(3, np.float32)
    optimizer = numbopt.LBFGS({"w": b, "v": x}, lr=0.1)
    evaluations = itertools.count(1)

    def closure():
        grads = [b - 3, x - 3]
        if next(evaluations) == 2:
            b.setflags(write=False)
        return float(np.sum(grads[0] ** 2) + np.sum(grads[1] ** 2)), grads

    with pytest.raises(ValueError, match="read-only now"):
        optimizer.step(closure)
    np.testing.assert_array_equal(x, start())
    np.testing.assert_array_equal(b, np.ones(3, np.float32))


def of_itself():
    x = start()
    return x, x


def of_a_view():
    base = start().reshape(-1).copy()
    return base[:].reshape(SHAPE), base


def of_a_view_of_a_part():
    base = np.concatenate([np.zeros(7), start().reshape(-1)])
    return base[7:].reshape(SHAPE), base


def of_a_subclass():
    x = start().view(Subclass).copy()
    return x, x


def of_a_field():
    base = np.zeros(SIZE, [("w", np.float64)])
    base["w"] = start().reshape(-1)
    return base["w"].reshape(SHAPE), base


def of_a_parameter():
    parameter = Parameter(start(), name="w")
    return parameter, parameter.data


class Subclass(np.ndarray):
    pass


OWNERS = [of_itself, of_a_view, of_a_view_of_a_part, of_a_subclass, of_a_field, of_a_parameter]


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("size", RESIZES.values(), ids=RESIZES)
@pytest.mark.parametrize("owner", OWNERS)
@for_every_setting
def test_a_resized_array_or_base_is_refused(setting, owner, size, steps):
    x, base = owner()
    run, twin = Run(setting, x), Run(setting)
    for _, one in itertools.product(range(steps), (run, twin)):
        one.step()
    assert run.bits() == twin.bits()
    values = np.array(base)
    base.resize(size, refcheck=False)
    if x is not base and not isinstance(x, Parameter):
        run.x = np.zeros(())  # nobody may look at it any more
    for _ in range(2):
        with refused(run, "the array of parameter 'w' has", "make a new o", "numbopt.Parameter(...)"):
            run.step()
        twin.fail()
    kept = min(size, SIZE)
    assert np.array(base).reshape(-1)[:kept].tobytes() == values.reshape(-1)[:kept].tobytes()
    # What is left to do: another optimizer over an array of the right shape, which continues.
    renewed = Run(setting, values.reshape(-1)[-SIZE:].astype(np.float64).reshape(SHAPE))
    renewed.b[:] = run.b
    renewed.optimizer.load_state_dict(run.optimizer.state_dict())
    for _ in range(3):
        renewed.step()
        twin.step()
        assert renewed.x.tobytes() == np.asarray(twin.x).tobytes()


@pytest.mark.parametrize("size", RESIZES.values(), ids=RESIZES)
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("setting", SEVERAL_EVALUATIONS)
def test_an_array_resized_by_the_closure_is_left_alone(setting, at, size):
    run, _ = runs(setting)
    other = run.b.tobytes()

    def spoil(grads):
        run.x.resize(size, refcheck=False)
        return grads

    with pytest.raises(ValueError) as caught:
        run.step(spoil, at)
    assert all(text in str(caught.value) for text in NEW_OPTIMIZER)
    assert run.b.tobytes() == other
    with refused(run, *NEW_OPTIMIZER):
        run.step()


@pytest.mark.parametrize("steps", [0, 3])
@for_every_setting
def test_an_array_that_looks_the_same_elsewhere_is_refused(setting, steps):
    """As after a resize there and back, or when it was unpickled once more."""
    run, _ = runs(setting, steps)
    address, values, rubbish = run.x.ctypes.data, run.x.copy(), []
    for size in (3, 1 << 20, 300, 1 << 10, 3 << 20) * 20:
        run.x.resize(size, refcheck=False)
        rubbish.append([np.empty(SHAPE) for _ in range(100)])  # one of them is where x was, sooner or later
        run.x.resize(SHAPE, refcheck=False)
        if run.x.ctypes.data != address:
            break
    else:
        pytest.skip("it is always given the same memory")
    run.x[...] = values
    for _ in range(2):
        with refused(run, *NEW_OPTIMIZER):
            run.step()
    np.testing.assert_array_equal(run.x, values, strict=True)


def test_a_subclass_may_have_another_shape():
    """The parameter is a view of it, which stays as it was."""
    x = start().view(Subclass).copy()
    run, twin = Run("Adam", x), Run("Adam")
    for one in (run, twin):
        one.step()
    edit(x, "shape", (4, 25))
    gradient = np.ones(SHAPE)
    for one in (run, twin):
        one.optimizer.step(grads=[gradient, None])
    assert x.tobytes() == twin.x.tobytes()


@for_every_setting
def test_a_base_may_have_another_shape(setting):
    x, base = of_a_view()
    run, twin = Run(setting, x), Run(setting)
    for one in (run, twin):
        one.step()
    edit(base, "shape", (4, 25))
    assert_go_on_alike(run, twin)
    base.setflags(write=False)  # does not lock views that are there already
    assert_go_on_alike(run, twin)


def test_a_field_between_others_is_strided():
    records = np.zeros(4, [("w", np.float64), ("n", np.float64)])
    with pytest.raises(ValueError, match=r"parameter 'w' is strided"):
        numbopt.SGD({"w": records["w"]})


@for_every_setting
def test_arrays_that_nobody_else_holds(setting):
    run, twin = Run(setting), Run(setting)
    run.step()
    twin.step()
    parameters = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    gradients = [np.linspace(0, 1, SIZE).reshape(SHAPE), np.ones(3)]
    optimizer = run.optimizer
    del run
    gc.collect()
    rubbish = [np.full(SHAPE, np.nan) for _ in range(50)]
    for one in (optimizer, twin.optimizer):
        one.step(lambda: (1.0, gradients))
    assert [p.data.tobytes() for p in parameters] == [twin.x.tobytes(), twin.b.tobytes()]
    del rubbish


# ---- memory that does not belong to an array


class Mapped:
    """Arrays in memory of other objects, and ways to give it back or to move it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.number = itertools.count()

    def memmap(self):
        return np.memmap(self.folder / f"mapped{next(self.number)}", np.float64, "w+", shape=SHAPE)

    def closed_memmap(self):
        x = self.memmap()
        return x, x._mmap.close

    def closed_below_a_view(self):
        x = self.memmap()
        return x[2:9].reshape(-1)[:].reshape(7, 10)[:3], x._mmap.close

    def closed_mmap(self):
        memory = mmap.mmap(-1, 8 * SIZE)
        return np.ndarray(SHAPE, np.float64, memory), memory.close

    def closed_shared_memory(self):
        memory = shared_memory.SharedMemory(create=True, size=8 * SIZE)
        x = np.ndarray(SHAPE, np.float64, memory.buf)
        memory.unlink()
        return x, memory.close

    def resized_mmap(self):
        memory = mmap.mmap(-1, 1 << 20)
        return np.ndarray(SHAPE, np.float64, memory, 8000), lambda: memory.resize(1 << 28)

    def emptied_bytearray(self):
        memory = bytearray(1 << 20)  # so much that it is given back to the system
        return np.ndarray(SHAPE, np.float64, memory, 1 << 19), memory.clear

    def grown_bytearray(self):
        memory = bytearray(1 << 20)
        return np.ndarray(SHAPE, np.float64, memory, 1 << 19), lambda: memory.extend(bytes(1 << 26))


LOSSES = [name for name in vars(Mapped) if name.split("_")[0] in ("closed", "resized", "emptied", "grown")]


def lose_memory(folder):
    """Have steps refused whose parameters have lost their memory; a touch of it ends the process."""
    mapped = Mapped(folder)
    for loss, setting, steps in itertools.product(LOSSES, SETTINGS, (0, 2)):
        print(loss, setting, steps, flush=True)
        x, lose = getattr(mapped, loss)()
        x[...] = 1.5
        cls, options = SETTINGS[setting]
        b = np.ones(3)
        optimizer = getattr(numbopt, cls)({"b": b, "w": x}, **options)
        for _ in range(steps):
            optimizer.step(lambda x=x, b=b: (float(np.sum(x**2) + np.sum(b**2)), [2 * b, 2 * x]))
        grads, before = [2 * b, 2 * x], (b.tobytes(), repr(optimizer.state_dict()))
        lose()
        for _ in range(2):
            with pytest.raises(ValueError) as caught:
                optimizer.step(lambda grads=grads: (1.0, grads))
            assert all(text in str(caught.value) for text in LOST)
        assert (b.tobytes(), repr(optimizer.state_dict())) == before
    for loss, setting, at in itertools.product(LOSSES, SEVERAL_EVALUATIONS, (1, 2)):
        for raising in (False, True):
            print(loss, setting, at, raising, flush=True)
            x, lose = getattr(mapped, loss)()
            x[...] = 1.5
            cls, options = SETTINGS[setting]
            b = np.ones(3)
            evaluation = itertools.count(1)

            def closure(x=x, b=b, evaluation=evaluation, at=at, lose=lose, raising=raising):
                loss, grads = float(np.sum(x**2) + np.sum(b**2)), [2 * b, 2 * x]
                if next(evaluation) == at:
                    lose()
                    if raising:
                        raise Mine
                return loss, grads

            with pytest.raises(Mine if raising else ValueError):
                getattr(numbopt, cls)({"b": b, "w": x}, **options).step(closure)
            np.testing.assert_array_equal(b, np.ones(3))
    print("done", flush=True)


@pytest.mark.skipif(not hasattr(mmap.mmap, "resize"), reason="memory of files cannot be resized here")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory that is in use is not given back")
def test_memory_that_was_given_back_is_not_touched(way_to_look, tmp_path):
    here = Path(__file__)
    code = f"""
import contextlib, sys
import pytest
import test_memory_changes as tests
with tests.looking({way_to_look!r}, pytest.MonkeyPatch):
    tests.lose_memory({str(tmp_path)!r})
"""
    paths = map(str, (Path(numbopt.__file__).parents[1], here.parents[1], here.parent))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.endswith("done\n") and done.returncode == 0, done.stdout[-200:] + done.stderr


# ---- gradients

SAME = ("gradient of parameter 'w' has shape", f"the parameter has shape {SHAPE}", "they must be the same")


def _edited(attribute, value):
    def spoil(gradient):
        edit(gradient, attribute, value)
        return gradient

    return spoil


def _resized(size):
    def spoil(gradient):
        gradient.resize(size, refcheck=False)
        return gradient

    return spoil


def _integers(gradient):
    gradient[...] = np.arange(SIZE).reshape(SHAPE) % 5 - 2
    return gradient


def _locked(gradient):
    gradient.setflags(write=False)
    return gradient


# What is done to an array that was a gradient before, and what the message has; None where that works.
SPOILS = {
    "larger": (_resized(30 * SIZE), SAME),
    "smaller": (_resized(SIZE // 3), SAME),
    "empty": (_resized(0), SAME),
    "shape": (_edited("shape", (4, 25)), SAME),
    "flat": (_edited("shape", (SIZE,)), SAME),
    "dtype of half": (_edited("dtype", np.float32), SAME),
    "dtype of twice": (_edited("dtype", np.complex128), ("gradient of parameter 'w' is complex128", ".real")),
    "masked": (np.ma.masked_array, ("gradient of parameter 'w' is a masked array", ".filled(...) or .data")),
    "dtype of objects": (lambda gradient: gradient.astype(object), ("gradient of parameter 'w' is object", "convert")),
    "integers in the same memory": (lambda gradient: _integers(_edited("dtype", np.int64)(gradient)), None),
    "a view of integers": (lambda gradient: _integers(gradient.view(np.int64)), None),
    "bytes swapped": (lambda gradient: gradient.byteswap(inplace=True).view(gradient.dtype.newbyteorder()), None),
    "a view of half as many digits": (lambda gradient: gradient.view(np.float32)[:, 1::2], None),
    "strides": (_edited("strides", (8, 80)), None),
    "one row again and again": (_edited("strides", (0, 8)), None),
    "transposed": (lambda gradient: gradient.T, None),
    "locked": (_locked, None),
    "a subclass": (lambda gradient: gradient.view(Subclass), None),
    "a list": (lambda gradient: gradient.tolist(), None),
    "float32": (lambda gradient: np.float32(gradient), None),
    "in Fortran order": (np.asfortranarray, None),
    "one that starts elsewhere": (lambda gradient: np.concatenate([np.zeros((1, 10)), gradient])[1:], None),
}


@pytest.mark.parametrize("keep", [False, True], ids=["new arrays", "the same arrays"])
@pytest.mark.parametrize("kind", SPOILS)
@for_every_setting
def test_an_edited_gradient_is_refused_or_converted(setting, kind, keep):
    spoil, texts = SPOILS[kind]
    run, twin = runs(setting, keep=keep)

    def spoilt(run):
        def take(grads):
            if run.keep:  # others from now on, as these are spoilt
                run.keep = [np.empty(SHAPE), np.empty(3)]
            gradient = spoil(grads[0])
            return [gradient if run is not twin else np.array(gradient, np.float64, order="C"), grads[1]]

        return take

    for at in (1, 2) if run.several else (1,):
        if texts:
            memory, other, count = run.x.tobytes(), run.b.tobytes(), run.optimizer.step_count
            with pytest.raises((ValueError, TypeError)) as caught:
                run.step(spoilt(run), at)
            assert all(text in str(caught.value) for text in texts), str(caught.value)
            assert (run.x.tobytes(), run.b.tobytes(), run.optimizer.step_count) == (memory, other, count)
            twin.fail(at)
        else:
            run.step(spoilt(run), at)
            twin.step(spoilt(twin), at)
        assert run.all_bits() == twin.all_bits()
        assert_go_on_alike(run, twin)


@for_every_setting
def test_a_refused_gradient_of_the_last_parameter_leaves_the_first_one_alone(setting):
    run, twin = runs(setting)
    for bad in (np.ones(4), np.ones(3, complex), np.ones((3, 1)), "abc", np.ma.ones(3), [1.0, 2.0]):
        with pytest.raises((ValueError, TypeError), match="gradient of parameter 'b'"):
            run.step(lambda grads, bad=bad: [grads[0].tolist(), bad])
        twin.fail()
        assert run.all_bits() == twin.all_bits()
    assert_go_on_alike(run, twin)


@for_every_setting
def test_gradients_freed_after_the_step(setting):
    """Their memory and their identity are those of others then."""
    run, twin = runs(setting)
    for step in range(20):
        _, grads = run.evaluate()
        identity = id(grads[0])
        copies = [gradient.copy() for gradient in grads]
        run.optimizer.step(lambda grads=grads: (1.0, grads))
        twin.optimizer.step(lambda copies=copies: (1.0, copies))
        assert run.all_bits() == twin.all_bits()
        del grads
        bad = np.full((4, 25), np.nan) if step % 2 else np.full(SHAPE, np.nan, np.complex128)
        if id(bad) == identity or step < 4:
            with pytest.raises((ValueError, TypeError), match="gradient of parameter 'w'"):
                run.step(lambda grads, bad=bad: [bad, grads[1]])
            twin.fail()


@for_every_setting
def test_lists_of_gradients_that_change(setting):
    """Entries are replaced, removed and added between steps."""
    run, twin = runs(setting)
    grads = run.evaluate()[1]

    def take():
        run.optimizer.step(lambda: (1.0, grads))

    def take_twin(*values):
        twin.optimizer.step(lambda: (1.0, [None if v is None else np.array(v, np.float64) for v in values]))
        assert run.all_bits() == twin.all_bits()

    for change in (
        lambda: grads.__setitem__(0, np.full(SHAPE, 0.25)),
        lambda: grads.__setitem__(1, [0.5, 0.25, 0.125]),
        lambda: grads.__setitem__(0, np.full(SHAPE, 0.5, np.float32)),
        lambda: grads.__setitem__(0, None),
        lambda: grads.__setitem__(1, np.ones(3)),
        lambda: grads[1].fill(-0.5),
        lambda: grads.__setitem__(slice(None), [np.full(SHAPE, 0.125), None]),
        lambda: grads.__setitem__(1, np.ones(3)),
    ):
        change()
        take()
        take_twin(*grads)
    for wrong in ([grads[0]], [*grads, grads[1]], [], [*reversed(grads)]):
        right = list(grads)
        grads[:] = wrong
        with pytest.raises(ValueError, match=r"for 2 parameters|gradient of parameter 'w'"):
            take()
        twin.fail()
        grads[:] = right
        take()
        take_twin(*grads)


FORMS = {
    "as they are": list,
    "a tuple": tuple,
    "a dict": lambda grads: dict(zip("wb", grads, strict=True)),
    "a dict in another order": lambda grads: {"b": grads[1], "w": grads[0]},
    "lists": lambda grads: [gradient.tolist() for gradient in grads],
    "float32": lambda grads: [gradient.astype(np.float32) for gradient in grads],
    "Fortran order": lambda grads: [np.asfortranarray(gradient) for gradient in grads],
    "one of each": lambda grads: (np.asfortranarray(grads[0]), grads[1].tolist()),
    "copies": lambda grads: [gradient.copy() for gradient in grads],
    "subclasses": lambda grads: [gradient.view(Subclass) for gradient in grads],
    "every second": lambda grads: [np.repeat(grads[0], 2, axis=0)[::2], np.repeat(grads[1], 2)[::2]],
    "a field": lambda grads: [_field(grads[0]), _field(grads[1])],
}


def _field(values):
    records = np.zeros(values.shape, [("n", np.int64), ("g", np.float64)])
    records["g"] = values
    return records["g"]


@for_every_setting
def test_forms_of_gradients_take_turns(setting):
    """Numbers with few bits, that float32 holds exactly."""
    run, twin = runs(setting)
    random = np.random.default_rng(5)
    grads = [np.zeros(SHAPE), np.zeros(3)]
    for form in random.permutation([*FORMS] * 3):
        for gradient in grads:
            gradient[...] = random.integers(-32, 32, gradient.shape) / 64
        run.optimizer.step(lambda form=form: (1.0, FORMS[form](grads)))
        twin.optimizer.step(lambda: (1.0, [gradient.copy() for gradient in grads]))
        assert run.all_bits() == twin.all_bits(), form


def test_forms_of_one_gradient_take_turns():
    x, y = np.linspace(-1, 1, 3), np.linspace(-1, 1, 3)
    one, other = numbopt.Adam({"x": x}, lr=0.1), numbopt.Adam([y], lr=0.1)
    g = np.array([0.5, -0.25, 2.0])
    for grads in (g, [g], (g,), {"x": g}, g.tolist(), tuple(g), [g.tolist()], g.astype(np.float32), list(g), g) * 2:
        one.step(grads=grads)
        other.step(grads=[g.copy()])
        assert x.tobytes() == y.tobytes()
    one.step(grads={})  # there is none
    for wrong in ([g, g], {"y": g}, [1.0], [[g]], np.ones(4), 3.0):
        with pytest.raises(ValueError):
            one.step(grads=wrong)
        assert x.tobytes() == y.tobytes()
    one.step(grads=g)
    other.step(grads=g)
    assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("setting", ["SGD", "Adam", "SGD, raising"])
def test_other_parameters_have_a_gradient_at_each_step(setting):
    """Against one optimizer for each parameter."""
    cls, options = SETTINGS[setting]
    random = np.random.default_rng(2)
    arrays = [random.standard_normal(size) for size in (3, 1, 0, 20, 7)]
    copies = [array.copy() for array in arrays]
    together = getattr(numbopt, cls)(arrays, **options)
    apart = [getattr(numbopt, cls)([array], **options) for array in copies]
    for _ in range(60):
        grads = [random.standard_normal(a.size) if random.random() < 0.6 else None for a in arrays]
        if random.random() < 0.2:
            grads = [gradient if gradient is None else gradient.tolist() for gradient in grads]
        together.step(grads=grads)
        for optimizer, gradient in zip(apart, grads, strict=True):
            if gradient is not None:
                optimizer.step(grads=[gradient])
        for one, other in zip(arrays, copies, strict=True):
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("setting", SEVERAL_EVALUATIONS)
def test_other_parameters_have_a_gradient_at_each_evaluation(setting):
    """None counts as zeros."""
    run, twin = runs(setting)
    random = np.random.default_rng(3)
    for _ in range(20):
        there = random.random(2) < 0.6
        for one, missing in ((run, lambda g: None), (twin, np.zeros_like)):
            one.step(lambda grads, m=missing: [g if t else m(g) for g, t in zip(grads, there, strict=True)])  # noqa: B023
        assert run.all_bits() == twin.all_bits()


# ---- gradients in the memory of parameters


def with_neighbors(setting):
    """A run whose x lies between other elements of one buffer."""
    buffer = np.concatenate([np.zeros(SIZE), start().reshape(-1), np.zeros(SIZE)])
    return buffer, Run(setting, buffer[SIZE : 2 * SIZE].reshape(SHAPE))


@pytest.mark.parametrize("shift", [-SIZE + 1, -1, 1, SIZE - 1])
@for_every_setting
def test_a_gradient_that_overlaps_its_parameter_is_refused(setting, shift):
    (buffer, run), twin = with_neighbors(setting), Run(setting)
    overlapping = buffer[SIZE + shift : 2 * SIZE + shift].reshape(SHAPE)
    for steps in range(3):
        before = run.x.tobytes()
        with refused(run, "gradient of parameter 'w' shares memory with a parameter", "pass a copy"):
            run.step(lambda grads: [overlapping, grads[1]])
        twin.fail()
        assert run.x.tobytes() == before
        for one in (run, twin):
            one.step()
        assert run.all_bits() == twin.all_bits(), steps
    copied = overlapping.copy()
    run.step(lambda grads: [overlapping.copy(), grads[1]])
    twin.step(lambda grads: [copied, grads[1]])
    assert run.all_bits() == twin.all_bits()


@pytest.mark.parametrize("side", [0, 2])
@for_every_setting
def test_a_gradient_beside_its_parameter_is_taken(setting, side):
    (buffer, run), twin = with_neighbors(setting), Run(setting)
    beside = buffer[side * SIZE : (side + 1) * SIZE].reshape(SHAPE)
    for _ in range(3):
        beside[...] = 0.25
        run.step(lambda grads: [beside, grads[1]])
        twin.step(lambda grads: [np.full(SHAPE, 0.25), grads[1]])
        assert run.all_bits() == twin.all_bits()


@for_every_setting
def test_a_gradient_that_is_its_parameter(setting):
    """The gradient of half the squared norm, beside others."""
    run, twin = runs(setting)
    for form in (lambda x: x, lambda x: x[:], lambda x: x[...], lambda x: x.view()):
        run.step(lambda grads, form=form: [form(run.x), grads[1]])
        twin.step(lambda grads: [twin.x.copy(), grads[1]])
        assert run.all_bits() == twin.all_bits()
        assert_go_on_alike(run, twin)


def test_a_gradient_that_becomes_another_parameter():
    x, y = np.ones(4), np.full(4, 2.0)
    optimizer = numbopt.SGD({"x": x, "y": y}, lr=0.5)
    for _ in range(2):
        optimizer.step(grads=[x, y])
        with pytest.raises(ValueError, match=r"gradient of parameter 'x' shares memory with a parameter; pass a copy"):
            optimizer.step(grads=[y, y])
        with pytest.raises(ValueError, match=r"gradient of parameter 'y' shares memory with a parameter; pass a copy"):
            optimizer.step(grads=[None, x])
    np.testing.assert_array_equal([x, y], [[0.25] * 4, [0.5] * 4])


# ---- several optimizers, and gradients of Parameters


def test_two_optimizers_over_the_same_gradients():
    one, other = Run("SGD", keep=True), Run("Adam")
    twins = Run("SGD"), Run("Adam")
    grads = one.keep
    random = np.random.default_rng(4)
    for step in range(12):
        for gradient in grads:
            gradient[...] = random.standard_normal(gradient.shape)
        given = [grads[0], None] if step % 3 == 2 else grads
        for run in (one, other, *twins):
            copied = [None if g is None else g.copy() for g in given]
            run.optimizer.step(grads=copied if run in twins else given)
        if step == 5:
            edit(grads[0], "shape", (4, 25))
            for run in (one, other):
                with refused(run, *SAME):
                    run.optimizer.step(grads=grads)
            edit(grads[0], "shape", SHAPE)
        assert [one.all_bits(), other.all_bits()] == [twin.all_bits() for twin in twins]


def own_gradients(setting):
    """Steps with gradients that Parameters have themselves."""
    cls, options = SETTINGS[setting]
    w, b = Parameter(start(), name="w"), Parameter(np.linspace(-1, 1, 3), name="b")
    optimizer = getattr(numbopt, cls)([w, b], **options)

    def step(change=None):
        def closure():
            w.grad, b.grad = w.data - 0.5, 2 * b.data
            loss = float(np.sum(w.grad**2) + np.sum(b.grad**2)) / 2
            if change:
                change(w)
            return loss

        return optimizer.step(closure)

    def bits():
        states = [dict(optimizer.state.get(p, {})) for p in (w, b)]
        flat = [v.tobytes() if isinstance(v, np.ndarray) else v for state in states for v in state.values()]
        return w.data.tobytes("A"), b.data.tobytes(), flat

    return w, step, bits


OWN_EDITS = {
    "shape": (lambda p: edit(p.grad, "shape", (4, 25)), lambda p: edit(p.grad, "shape", SHAPE), SAME),
    "dtype": (lambda p: edit(p.grad, "dtype", np.float32), lambda p: edit(p.grad, "dtype", np.float64), SAME),
    "shape of the data": (
        lambda p: edit(p.data, "shape", (4, 25)),
        lambda p: edit(p.data, "shape", SHAPE),
        NEW_OPTIMIZER,
    ),
    "locked data": (lambda p: p.data.setflags(write=False), lambda p: p.data.setflags(write=True), LOCKED),
}


@pytest.mark.parametrize("kind", OWN_EDITS)
@for_every_setting
def test_an_edited_gradient_of_a_parameter_is_refused_until_it_is_as_it_was(setting, kind):
    change, undo, texts = OWN_EDITS[kind]
    (w, step, bits), (_, twin_step, twin_bits) = own_gradients(setting), own_gradients(setting)
    for _ in range(2):
        for one in (step, twin_step):
            one()
        before = bits()
        with pytest.raises(ValueError) as caught:
            step(change)
        assert all(text in str(caught.value) for text in texts)
        assert bits() == before
        undo(w)
        if setting in SEVERAL_EVALUATIONS:

            def fail(p):
                raise Mine

            with pytest.raises(Mine):
                twin_step(fail)
    for one in (step, twin_step):
        one()
    assert bits() == twin_bits()


@pytest.mark.parametrize("setting", [setting for setting in SETTINGS if setting not in SEVERAL_EVALUATIONS])
def test_integers_in_the_memory_of_a_gradient_are_numbers(setting):
    (w, step, bits), (_, twin_step, twin_bits) = own_gradients(setting), own_gradients(setting)

    def change(p):
        edit(p.grad, "dtype", np.int64)
        p.grad[...] = 3

    def change_twin(p):
        p.grad[...] = 3

    step()
    twin_step()
    step(change)
    twin_step(change_twin)
    edit(w.grad, "dtype", np.float64)
    step()
    twin_step()
    assert bits() == twin_bits()


@pytest.mark.parametrize("setting", ["SGD", "Adam", "Adam, clipped"])
def test_gradients_of_parameters_are_replaced_and_none(setting):
    cls, options = SETTINGS[setting]
    random = np.random.default_rng(6)
    p, q = Parameter(np.ones(4)), Parameter(np.ones(5))
    x, y = np.ones(4), np.ones(5)
    one, other = getattr(numbopt, cls)([p, q], **options), getattr(numbopt, cls)([x, y], **options)
    for _ in range(60):
        for parameter in (p, q):
            choice = random.integers(5)
            values = random.standard_normal(parameter.size)
            if choice == 0:
                parameter.grad = None
            elif choice == 1:
                parameter.grad = values.tolist()
            elif choice == 2 and parameter.grad is not None:
                parameter.grad[...] = values
            elif choice == 3:
                parameter.grad = values[::-1]
        one.step()
        other.step(grads=[None if parameter.grad is None else parameter.grad.copy() for parameter in (p, q)])
        assert (p.data.tobytes(), q.data.tobytes()) == (x.tobytes(), y.tobytes())


# ---- NaN


@pytest.mark.parametrize("form", ["as they are", "lists", "Fortran order", "a field"])
def test_gradients_that_are_not_finite_change_nothing_in_any_form(form):
    for setting in ("SGD, raising", "Adam, skipping"):
        run, twin = runs(setting)
        for bad in (np.nan, np.inf):

            def spoil(grads, bad=bad):
                grads[0][3, 4] = bad
                return FORMS[form](grads)

            if setting == "SGD, raising":
                with refused(run, "gradient of parameter 'w' has NaN or infinity"):
                    run.step(spoil)
            else:
                memory = run.x.tobytes(), run.b.tobytes()
                run.step(spoil)
                assert (run.x.tobytes(), run.b.tobytes()) == memory
                twin.step(lambda grads: [np.full(SHAPE, np.nan), grads[1]])
            assert_go_on_alike(run, twin)


# ---- the two ways to look


def test_only_the_compiled_look_takes_gradients_that_lie_as_before(way_to_look, monkeypatch):
    """So that the tests here are tests of it."""
    taken = []
    take = Gradients.take
    monkeypatch.setattr(Gradients, "take", lambda self, given: (taken.append(given), take(self, given)))
    for setting in SETTINGS:
        run = Run(setting)
        run.step()
        taken.clear()
        for _ in range(3):
            run.step()
        assert bool(taken) == (way_to_look == "objects cannot be read")
        run.step(lambda grads: [np.asfortranarray(grads[0]), grads[1]])
        assert taken


def test_both_ways_give_the_same_results_and_the_same_errors(way_to_look, monkeypatch):
    if way_to_look == "objects cannot be read":
        pytest.skip("is compared with the other one, once")

    def story(setting):
        """Bits and messages of steps with everything in turn."""
        told = []
        run = Run(setting)
        steps = [(spoil, None) for spoil, _ in SPOILS.values()] + [(None, edits) for edits in EDITS.values()]
        for spoil, edits in steps:
            if edits:
                edits[0](run.x)
            try:
                run.step(spoil and (lambda grads, spoil=spoil: [spoil(grads[0]), grads[1]]))
            except (ValueError, TypeError) as error:
                told.append((type(error), str(error)))
            if edits:
                edits[1](run.x)
            told.append(run.all_bits())
            run.step()
            told.append(run.all_bits())
        return told

    for setting in SETTINGS:
        results = []
        for way in ("compiled look", "objects cannot be read"):
            with looking(way, monkeypatch):
                results.append(story(setting))
        assert results[0] == results[1]
