"""Checkpoints: what goes in comes out bit for bit, and no accident leaves half a file or half a restored run."""

import contextlib
import errno
import functools
import hashlib
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
from cases.problem import gradients, starting_parameters
from cases.schedulers import ROWS
from support.bits import assert_same_bits

import numbopt
import numbopt.lr_scheduler
from numbopt import checkpoint
from numbopt.checkpoint import CheckpointError, load, save
from numbopt.history import History
from numbopt.lr_scheduler import OneCycleLR
from numbopt.wrappers.accumulate import Accumulate
from numbopt.wrappers.averages import AveragedParameters, get_ema_avg_fn
from numbopt.wrappers.lookahead import Lookahead

DTYPES = ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "g", "F", "D", "G", ">f4", ">i8", ">c16"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.ckpt"


def files_in(folder):
    return sorted(file.name for file in folder.iterdir())


# ---- values


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**63 - 1,
        2**63,
        -(2**63),
        -(2**63) - 1,
        -(3**20000),
        0.1,
        -0.0,
        5e-324,
        1.7976931348623157e308,
        1e22,
        float("inf"),
        float("-inf"),
        float("nan"),
        -float("nan"),
        struct.unpack(">d", bytes.fromhex("7ff8000000000123"))[0],
        1 - 2j,
        complex(float("nan"), -0.0),
        "",
        "wörter \x00\n\"'\\ 数 \U0001f600",
        "\ud800 alone",
        [],
        (),
        {},
        [(), [], {}, ((),)],
        (1, [2, (3, {"a": (4,)})]),
        {1: "int", "1": "str", -5: 0, 2**70: 0, "": 0, "a/b": {"c": 1}, "a": {"b/c": 2}},
        {"dict": [["x", 1]], "array": "y", "tuple": 3},
        np.random.default_rng(3).bit_generator.state,
        np.random.MT19937(3).state,
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_round_trip(path, value):
    save(path, value=value, nested=[value, (value, {"key": value, 7: value})])
    loaded = load(path)
    assert_same_bits(loaded, {"value": value, "nested": [value, (value, {"key": value, 7: value})]})


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_and_numbers_of_numpy_round_trip(path, dtype):
    rng = np.random.default_rng(0)
    for shape in [(), (0,), (1,), (7,), (3, 4), (0, 3), (2, 1, 3)]:
        # Any bits, which makes NaNs with payloads too; for bool and long double not all bits are values.
        count = int(np.prod(shape))
        raw = np.frombuffer(rng.bytes(count * np.dtype(dtype).itemsize), dtype).reshape(shape)
        array = raw.copy() if dtype not in "?gG" else rng.normal(size=shape).astype(dtype)
        array = np.asarray(array)
        save(path, array=array, fortran=np.asfortranarray(array), scalars=list(array.ravel()[:2]))
        loaded = load(path)
        assert_same_bits(loaded["array"], array)
        assert_same_bits(loaded["fortran"], np.asfortranarray(array))
        assert loaded["fortran"].flags.f_contiguous
        assert_same_bits(loaded["scalars"], list(array.ravel()[:2]))
        assert loaded["array"].flags.writeable


def test_views_and_mapped_arrays_are_saved_as_their_values(path, tmp_path):
    array = np.arange(24.0).reshape(4, 6)
    mapped = np.memmap(tmp_path / "mapped", "f4", "w+", shape=(3,))
    mapped[:] = 1, 2, 3
    save(path, strided=array[::2, ::3], reversed=array[::-1, 1], mapped=mapped, parameter=numbopt.Parameter([1.0]))
    loaded = load(path)
    assert_same_bits(loaded["strided"], array[::2, ::3].copy())
    assert_same_bits(loaded["reversed"], array[::-1, 1].copy())
    assert_same_bits(loaded["mapped"], np.array([1, 2, 3], "f4"))
    assert_same_bits(loaded["parameter"], np.array([1.0]))


def test_random_trees_round_trip(path):
    rng = random.Random(0)
    leaves = [
        lambda: rng.choice([None, True, False, "", "text", 0, float("nan")]),
        lambda: rng.getrandbits(rng.choice([3, 64, 500])) * rng.choice([1, -1]),
        lambda: struct.unpack("d", rng.randbytes(8))[0],
        lambda: np.frombuffer(rng.randbytes(24), rng.choice(["f4", "i8", "c8", "u1"])).copy(),
        lambda: np.frombuffer(rng.randbytes(8), rng.choice(["f4", "i8", "c8", "u1"]))[0],
    ]

    def tree(depth):
        kind = rng.randrange(5) if depth else 0
        items = [tree(depth - 1) for _ in range(rng.randrange(4))] if kind else []
        if kind in (1, 2):
            return items if kind == 1 else tuple(items)
        if kind > 2:
            return {rng.choice([rng.randrange(5), rng.choice("abc/.")]): item for item in items}
        return rng.choice(leaves)()

    for _ in range(100):
        value = tree(5)
        save(path, value=value)
        assert_same_bits(load(path), {"value": value})


def test_numpy_reads_a_checkpoint_under_readable_names(tmp_path):
    w = numbopt.Parameter(np.ones((2, 3)), name="w")
    opt = numbopt.Adam([w])
    opt.step(grads=[np.ones((2, 3))])
    save(tmp_path / "run.npz", optimizer=opt, parameters=opt, **{"../e": np.ones(2), "": np.zeros(1)})
    with np.load(tmp_path / "run.npz", allow_pickle=False) as members:
        names = ["optimizer/state/0/exp_avg", "optimizer/state/0/exp_avg_sq", "parameters/w", "___e", "_"]
        assert sorted(members) == sorted(["numbopt.json", *names])
        np.testing.assert_array_equal(members["parameters/w"], w.data)
        json.loads(members["numbopt.json"])


def test_keys_that_look_alike_stay_apart(path):
    keys = [1, "1", "a/b", "a.b", "ä", "b", "B", "long" * 100 + "1", "long" * 100 + "2"]
    value = {"x": {key: np.array(number) for number, key in enumerate(keys)}, "x/1": np.array(-1)}
    save(path, value=value)
    assert_same_bits(load(path), {"value": value})


def test_what_is_nested_as_deep_as_can_be_is_read(path):
    value, depth = 0, 0
    while True:
        value, depth = {"key": (value,)}, depth + 2
        try:
            save(path, value=value)
        except ValueError:
            break
        assert_same_bits(load(path), {"value": value})
    assert 90 < depth <= 102


def test_same_content_gives_the_same_bytes(tmp_path):
    for name in "ab":
        save(tmp_path / name, x=np.arange(5.0), text="t")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---- what cannot be stored

Point = namedtuple("Point", "x y")
LIST_OF_ITSELF = []
LIST_OF_ITSELF.append(LIST_OF_ITSELF)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        print,
        lambda: 0,
        numbopt.Adam,
        {1, 2},
        b"bytes",
        Path("p"),
        range(3),
        OrderedDict(a=1),
        Point(1, 2),
        np.array([object()]),
        np.array(["text"]),
        np.zeros(2, [("a", "f4")]),
        np.array(["2020-01-01"], "M8[D]"),
        np.str_("text"),
        np.ma.masked_array([1.0], [True]),
        np.dtype("f4"),
        {1.5: 0},
        {True: 0},
        {None: 0},
        {(1,): 0},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_stored_is_named_before_anything_is_written(path, tmp_path, value):
    save(path, old=1)
    with pytest.raises(TypeError, match=r"cannot save 'run/deep/1"):
        save(path, run={"deep": [np.ones(3), value]})
    assert files_in(tmp_path) == [path.name]
    assert load(path) == {"old": 1}


def test_what_contains_itself_is_refused(path, tmp_path):
    with pytest.raises(ValueError, match="'run': it contains itself"):
        save(path, run=LIST_OF_ITSELF)
    assert files_in(tmp_path) == []


# ---- runs

OPTIMIZERS = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.01},
    "Adam": {"amsgrad": True},
    "NAdam": {},
    "ASGD": {"lr": 0.05, "t0": 3, "lambd": 0.1},
    "Rprop": {},
    "RMSprop": {"centered": True, "momentum": 0.5},
}


class Halving:
    """The simplest scheduler."""

    def __init__(self, optimizer):
        self.optimizer, self.count = optimizer, 0

    def step(self):
        self.count += 1
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.5 if self.count % 3 == 0 else 1.0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state_dict):
        self.count = state_dict["count"]


def new_run(cls, dtype="float64"):
    parameters = starting_parameters(dtype)
    groups = [{"params": parameters[:1], "lr": 0.03}, {"params": parameters[1:]}]
    optimizer = getattr(numbopt, cls)(groups, **OPTIMIZERS[cls])
    return optimizer, Halving(optimizer), parameters


def train(optimizer, scheduler, steps, dtype="float64"):
    for step in steps:
        optimizer.step(grads=gradients(step, dtype, "some None"))
        scheduler.step()


def alone(cls):
    """Return what is saved of a run, and the function that does one step of it."""
    dtype = "complex64" if cls == "Adam" else "float64"
    optimizer, scheduler, parameters = new_run(cls, dtype)
    saved = {"optimizer": optimizer, "scheduler": scheduler, "parameters": parameters}
    return saved, lambda step: train(optimizer, scheduler, [step], dtype)


def with_everything_around():
    inner, _, _ = new_run("SGD")
    optimizer = Accumulate(inner, 3)
    scheduler = OneCycleLR(inner, max_lr=0.1, total_steps=10)
    averages = AveragedParameters(inner, get_ema_avg_fn(0.9))
    history = History(optimizer, gradient_norm=True)

    def step(number):
        optimizer.step(grads=gradients(number, "float64", "some None"))
        if optimizer.count == 0:
            history.record(number)
            scheduler.step()
            averages.update_parameters()

    saved = {"optimizer": optimizer, "scheduler": scheduler, "averages": averages, "history": history}
    return {**saved, "parameters": optimizer}, step


def with_line_search():
    x = np.array([-1.2, 1.0])
    optimizer = numbopt.LBFGS({"x": x}, max_iter=1, line_search_fn="strong_wolfe")

    def rosenbrock():
        a, slope = x[0], x[1] - x[0] ** 2
        return (1 - a) ** 2 + 100 * slope**2, {"x": np.array([2 * (a - 1) - 400 * a * slope, 200 * slope])}

    return {"optimizer": optimizer, "parameters": optimizer}, lambda step: optimizer.step(rosenbrock)


def with_lookahead():
    optimizer, _, parameters = new_run("NAdam")
    optimizer = Lookahead(optimizer, k=4)
    saved = {"optimizer": optimizer, "parameters": parameters}
    return saved, lambda step: optimizer.step(grads=gradients(step, "float64", "every gradient"))


RUNS = {cls: functools.partial(alone, cls) for cls in OPTIMIZERS}
RUNS |= {run.__name__: run for run in (with_everything_around, with_line_search, with_lookahead)}


def resume_all(folder):
    """Continue each run for ten steps; is called in a process of its own."""
    for name, run in RUNS.items():
        saved, step = run()
        load(Path(folder) / f"{name}-middle", **saved)
        for number in range(11, 21):
            step(number)
        save(Path(folder) / f"{name}-resumed", **saved)


def test_a_run_resumed_in_another_process_continues_bitwise(tmp_path):
    for name, run in RUNS.items():
        saved, step = run()
        for number in range(1, 21):
            step(number)
            if number in (10, 20):
                save(tmp_path / f"{name}-{'middle' if number == 10 else 'end'}", **saved)
    run_python("import sys, test_checkpoint; test_checkpoint.resume_all(sys.argv[1])", tmp_path)
    for name in RUNS:
        middle, end, resumed = (tmp_path / f"{name}-{when}" for when in ("middle", "end", "resumed"))
        assert_same_bits(load(resumed), load(end))
        assert resumed.read_bytes() == end.read_bytes() != middle.read_bytes()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_states_of_all_schedulers(path, row):
    _, cls, arguments, other_arguments = row
    schedulers = []
    for given in (arguments, other_arguments):
        groups = [{"params": [np.ones(2)]}, {"params": [np.ones(3)], "lr": 0.02}]
        optimizer = numbopt.SGD(groups, lr=0.1, momentum=0.9)
        schedulers.append(getattr(numbopt.lr_scheduler, cls)(optimizer, **given))
    optimizer.step()
    for _ in range(5):
        schedulers[0].optimizer.step()
        schedulers[0].step(*([1.0] if cls == "ReduceLROnPlateau" else []))
    save(path, optimizer=schedulers[0].optimizer, scheduler=schedulers[0])
    loaded = load(path, optimizer=optimizer, scheduler=schedulers[1])
    assert_same_bits(loaded["scheduler"], schedulers[0].state_dict())
    assert_same_bits(schedulers[1].state_dict(), schedulers[0].state_dict())


def run_python(code, *arguments):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_state_dicts_and_containers_of_objects(path):
    optimizer, scheduler, _ = new_run("Adam")
    other = new_run("SGD")[0]
    train(optimizer, scheduler, range(1, 4))
    save(path, optimizer={"a": optimizer, "b": other}, scheduler=[scheduler], averages=(scheduler, [scheduler]))
    loaded = load(path)
    assert_same_bits(loaded["optimizer"], {"a": optimizer.state_dict(), "b": other.state_dict()})
    assert_same_bits(loaded["averages"], ({"count": 3}, [{"count": 3}]))
    new, new_scheduler, _ = new_run("Adam")
    average = Halving(new)
    returned = load(
        path, optimizer={"b": other, "a": new}, scheduler=[new_scheduler], averages=(average, [Halving(new)])
    )
    assert_same_bits(returned, loaded)
    assert_same_bits(new.state_dict(), optimizer.state_dict())
    assert (new_scheduler.count, average.count) == (3, 3)
    with pytest.raises(
        CheckpointError, match=r"'scheduler' in .*run.ckpt has the entries \[0\], asked for are \[0, 1\]"
    ):
        load(path, scheduler=[new_scheduler, new_scheduler])
    with pytest.raises(CheckpointError, match=r"'optimizer' in .*\['a', 'b'\], asked for are \['a'\]"):
        load(path, optimizer={"a": new})
    with pytest.raises(CheckpointError, match=r"'scheduler' in .* is no state dict but a list"):
        load(path, scheduler=new_scheduler)
    with pytest.raises(TypeError, match="'optimizer/a' cannot be restored in place: a int has no load_state_dict"):
        load(path, optimizer={"a": 1, "b": 2})


# ---- parameters


@pytest.mark.parametrize(
    "form",
    [
        lambda arrays: [numbopt.Parameter.sharing(a, n) for n, a in arrays.items()],
        lambda arrays: arrays,
        lambda arrays: arrays.items(),
        lambda arrays: numbopt.SGD(arrays),
        lambda arrays: numbopt.SGD([{"params": [numbopt.Parameter.sharing(a, n)]} for n, a in arrays.items()]),
        lambda arrays: numbopt.SGD(arrays).param_groups,
        lambda arrays: list(arrays.values()),
        lambda arrays: numbopt.SGD(list(arrays.values())),
    ],
)
def test_parameters_in_every_form(path, form):
    arrays = {"w": np.arange(6.0).reshape(2, 3), "b": np.float32([[1, 2]]).T, "z": np.array(1j)}
    save(path, parameters=form(arrays))
    saved = load(path)["parameters"]
    has_names = isinstance(saved, dict)
    assert_same_bits(list(saved.values()) if has_names else saved, list(arrays.values()))
    new = {name: np.zeros_like(array) for name, array in arrays.items()}
    load(path, parameters=form(new))
    assert_same_bits(new, arrays)
    if has_names:  # then the order does not matter
        new = {name: np.zeros_like(arrays[name]) for name in ("z", "w", "b")}
        load(path, parameters=new)
        assert_same_bits(new, {name: arrays[name] for name in new})
        load(path, parameters=[np.zeros_like(array) for array in arrays.values()])


def test_names_that_are_not_distinct_are_left_out(path):
    save(path, parameters=[numbopt.Parameter([1.0], name="w"), numbopt.Parameter([2.0], name="w")])
    assert_same_bits(load(path)["parameters"], [np.array([1.0]), np.array([2.0])])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"w": np.zeros(2)},
            r"the parameters in .*run.ckpt have other names: it has \['w', 'b'\], asked for are \['w'\]",
        ),
        ([np.zeros(2)], "run.ckpt holds 2 parameters, asked for are 1"),
        ({"w": np.zeros(3), "b": np.zeros(1)}, r"saved data of parameter 'w' has shape \(2,\)"),
        ({"w": np.zeros(2), "b": np.zeros(())}, r"saved data of parameter 'b' has shape \(1,\)"),
    ],
)
def test_parameters_that_do_not_fit_change_nothing(path, parameters, message):
    optimizer, scheduler, _ = new_run("Adam")
    train(optimizer, scheduler, range(1, 4))
    save(path, optimizer=optimizer, parameters={"w": np.ones(2), "b": np.ones(1)})
    new = new_run("Adam")[0]
    with pytest.raises(ValueError, match=message):
        load(path, optimizer=new, parameters=parameters)
    assert_same_bits(new.state_dict(), new_run("Adam")[0].state_dict())
    assert not any(np.any(p) for p in (parameters.values() if isinstance(parameters, dict) else parameters))


# ---- all or nothing


class Refusing(Halving):
    """Changes and then fails."""

    def __init__(self, error):
        self.count, self.error = 0, error

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        if state_dict["count"] == 3:
            raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("no"), KeyboardInterrupt()])
def test_a_failed_restore_changes_nothing(path, error):
    optimizer, scheduler, parameters = new_run("Adam")
    train(optimizer, scheduler, range(1, 4))
    save(path, optimizer=optimizer, scheduler=scheduler, averages=scheduler, last=scheduler, parameters=parameters)
    new, new_scheduler, new_parameters = new_run("Adam")
    train(new, new_scheduler, range(1, 2))
    before = new.state_dict(), new_scheduler.state_dict(), [p.copy() for p in new_parameters]
    refusing, last = Refusing(error), Halving(new)
    with pytest.raises(type(error)) as caught:
        load(path, optimizer=new, scheduler=new_scheduler, parameters=new_parameters, averages=refusing, last=last)
    assert caught.value is error
    assert "while restoring 'averages' from" in caught.value.__notes__[-1]
    assert_same_bits((new.state_dict(), new_scheduler.state_dict(), new_parameters), before)
    assert (refusing.count, last.count) == (0, 0)
    train(new, new_scheduler, range(2, 4))
    load(path, scheduler=new_scheduler)
    assert_same_bits(new.state_dict(), optimizer.state_dict())
    assert_same_bits(new_parameters, parameters)


def test_an_optimizer_that_does_not_fit_changes_nothing(path):
    optimizer, scheduler, parameters = new_run("Adam")
    train(optimizer, scheduler, range(1, 4))
    save(path, scheduler=scheduler, optimizer=numbopt.Adam(parameters), parameters=parameters)
    new, new_scheduler, new_parameters = new_run("Adam")
    with pytest.raises(ValueError, match="different number of parameter groups"):
        load(path, scheduler=new_scheduler, optimizer=new, parameters=new_parameters)
    assert new_scheduler.count == 0
    assert_same_bits(new_parameters, new_run("Adam")[2])


@pytest.mark.parametrize("key", ["optimizer", "scheduler", "parameters", "averages"])
def test_what_is_missing_is_named(path, key):
    save(path, something=1)
    optimizer, scheduler, parameters = new_run("Adam")
    thing = {"optimizer": optimizer, "parameters": parameters}.get(key, scheduler)
    with pytest.raises(CheckpointError, match=rf"run.ckpt holds no '{key}'; it holds \['something'\]"):
        load(path, **{key: thing})


# ---- accidents while writing


def test_file_is_flushed_before_it_gets_its_name_and_the_folder_after(path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("folder" if is_folder(fd) else "file"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    save(path, x=1)
    assert calls == (["file", "replace", "folder"] if os.name == "posix" else ["file", "replace"])


def is_folder(descriptor):
    import stat

    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [full, interrupted])
@pytest.mark.parametrize("place", ["os.fsync", "os.replace", "write_array", "_digest"])
def test_a_failed_save_leaves_the_old_file_whole(path, tmp_path, monkeypatch, place, failure):
    save(path, old=np.arange(3.0))
    name = {"write_array": "numpy.lib.format.write_array", "_digest": "numbopt.checkpoint._digest"}.get(place, place)
    with monkeypatch.context() as patch:
        patch.setattr(name, failure)
        with pytest.raises((OSError, KeyboardInterrupt)):
            save(path, new=np.arange(4.0))
        with pytest.raises((OSError, KeyboardInterrupt)):
            save(tmp_path / "another", new=np.arange(4.0))
    assert files_in(tmp_path) == [path.name]
    assert_same_bits(load(path), {"old": np.arange(3.0)})


def test_a_folder_that_cannot_be_flushed_is_no_failure(path, monkeypatch):
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: full() if is_folder(fd) else fsync(fd))
    save(path, x=1)
    assert load(path) == {"x": 1}


def test_a_full_disk_at_any_byte_leaves_the_old_file_whole(path, tmp_path):
    resource = pytest.importorskip("resource")  # a limit on the size of files fails as a full disk does
    new = {"array": np.arange(2000.0), "text": "t" * 500}
    save(path, **new)
    size = path.stat().st_size
    save(path, old=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in [0, 1, 100, 1000, 8192, size - 200, size - 100, size - 1]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                save(path, **new)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert files_in(tmp_path) == [path.name]
        assert load(path) == {"old": 1}
    save(path, **new)
    assert_same_bits(load(path), new)


KILLS = 50
SAVE_UNTIL_KILLED = """
import os, random, signal, sys, time
import numpy as np
from numbopt.checkpoint import load, save

path, kills = sys.argv[1], int(sys.argv[2])
rng = random.Random(0)
seen, hits = set(), 0
leftovers = lambda: len([name for name in os.listdir(os.path.dirname(path)) if name.endswith(".tmp")])
for kill in range(kills):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        number = 0
        while True:
            save(path, kill=kill, number=number, array=np.full(rng.randrange(1, 30_000), number))
            if number == 0:
                os.write(writing, b"!")
            number += 1
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    time.sleep(rng.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    loaded = load(path)
    assert loaded["kill"] == kill
    assert (loaded["array"] == loaded["number"]).all()
    seen.add((kill, loaded["number"]))
    hits += leftovers()
save(path, done=True)
print(len(seen), hits, leftovers())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes made by fork")
def test_a_process_killed_while_it_saves_leaves_a_whole_file(path):
    seen, hit_while_writing, left = map(int, run_python(SAVE_UNTIL_KILLED, path, KILLS).split())
    assert seen == KILLS
    assert hit_while_writing > 0
    assert left == 0


def test_threads_that_save_to_one_file_leave_a_whole_one(path, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def write_and_read(number):
        save(path, number=number, array=np.full(1000, number))
        loaded = load(path)
        assert (loaded["array"] == loaded["number"]).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_and_read, range(40)))
    assert files_in(tmp_path) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_are_those_of_a_file_that_is_rewritten(path, tmp_path):
    save(path, x=1)
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    save(link, x=2)
    assert link.is_symlink()
    assert load(path) == {"x": 2}
    assert path.stat().st_mode & 0o777 == 0o640


# ---- accidents with files


def sample():
    rng = np.random.default_rng(0)
    state = {0: {"step": 5, "exp_avg": rng.normal(size=30)}, 1: {"step": 5, "exp_avg": rng.normal(size=30)}}
    return {"optimizer": {"state": state, "lr": 0.1}, "complex": rng.normal(size=4).astype("c8"), "text": "hello"}


def sealed(content):
    """Let the checksum at the end fit whatever precedes it."""
    return content[:-64] + hashlib.sha256(content[:-64]).hexdigest().encode()


def with_members(path, change):
    """Return a checkpoint rebuilt after ``change`` of its list of names and contents."""
    with zipfile.ZipFile(path) as archive:
        members, comment = [[name, archive.read(name)] for name in archive.namelist()], archive.comment
    change(members)
    rebuilt = path.with_name("rebuilt")
    with zipfile.ZipFile(rebuilt, "w") as archive:
        archive.comment = comment
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return rebuilt.read_bytes()


def mutations(path, rng):
    """Yield damaged versions of a file, for ever."""
    whole = path.read_bytes()
    size = len(whole)

    def bit_flip(content):
        content[rng.randrange(size)] ^= 1 << rng.randrange(8)

    def random_bytes(content):
        for _ in range(rng.choice([1, 2, 10, 200])):
            content[rng.randrange(size)] = rng.randrange(256)

    def cut_off(content):
        del content[rng.randrange(size) :]

    def piece_lost(content):
        start = rng.randrange(size)
        del content[start : start + rng.choice([1, 8, 512])]

    def piece_of_zeros(content):
        start = rng.randrange(size)
        end = min(size, start + rng.choice([8, 64, 512]))
        content[start:end] = bytes(end - start)

    def piece_inserted(content):
        start = rng.choice([0, size, rng.randrange(size)])
        content[start:start] = rng.randbytes(rng.choice([1, 64]))

    def pieces_swapped(content):
        length = rng.choice([8, 64, 240])
        one, other = rng.randrange(size - length), rng.randrange(size - length)
        content[one : one + length], content[other : other + length] = (
            content[other : other + length],
            content[one : one + length],
        )

    def members_swapped(content):
        def swap(members):
            one, other = rng.sample(members, 2)
            one[1], other[1] = other[1], one[1]

        content[:] = with_members(path, swap)

    def member_lost(content):
        content[:] = with_members(path, lambda members: members.pop(rng.randrange(len(members))))

    kinds = [
        bit_flip,
        bit_flip,
        random_bytes,
        cut_off,
        piece_lost,
        piece_of_zeros,
        piece_inserted,
        pieces_swapped,
        members_swapped,
        member_lost,
    ]
    while True:
        content = bytearray(whole)
        rng.choice(kinds)(content)
        if content != whole:
            yield bytes(content)


def test_a_damaged_file_is_never_read_as_something_else(path):
    value = sample()
    save(path, **value)
    assert_same_bits(load(path), value)
    damaged = path.with_name("damaged")
    some = mutations(path, random.Random(0))
    for _ in range(1000):
        damaged.write_bytes(next(some))
        with pytest.raises(CheckpointError, match=r"damaged|not a checkpoint"):
            load(damaged)


def test_every_single_bit_matters(path):
    save(path, x=1.0)
    damaged = path.with_name("damaged")
    whole = path.read_bytes()
    for position in range(len(whole)):
        content = bytearray(whole)
        content[position] ^= 1 << (position % 8)
        damaged.write_bytes(content)
        with pytest.raises(CheckpointError):
            load(damaged)


def test_a_damaged_file_with_a_forged_checksum_crashes_nothing(path):
    save(path, **sample())
    damaged = path.with_name("damaged")
    some = mutations(path, random.Random(1))
    for _ in range(300):
        damaged.write_bytes(sealed(next(some)))
        with contextlib.suppress(CheckpointError, MemoryError):
            load(damaged)


@pytest.mark.parametrize(
    "tree",
    [
        "",
        "{",
        "[]",
        "1",
        "{}",
        '{"dict": 1}',
        '{"dict": [["a", 1]], "tuple": []}',
        '{"dict": [["a", {"what": 1}]]}',
        '{"dict": [["a", {"array": "missing"}]]}',
        '{"dict": [["a", {"scalar": ["O", "00"]}]]}',
        '{"dict": [["a", {"int": "x"}]]}',
        '{"dict": [[{"dict": []}, 1]]}',
        "[" * 100_000,
    ],
)
def test_a_wrong_tree_with_a_forged_checksum_is_refused(path, tree):
    save(path, x=np.ones(3))
    path.write_bytes(sealed(with_members(path, lambda members: members[0].__setitem__(1, tree.encode()))))
    with pytest.raises(CheckpointError, match=r"run.ckpt is not a valid checkpoint"):
        load(path)


def test_pickles_are_not_read(path):
    import io

    class Trap:
        def __reduce__(self):
            return os.abort, ()

    pickled = io.BytesIO()
    np.save(pickled, np.array([Trap()], object), allow_pickle=True)
    save(path, x=np.ones(3))
    path.write_bytes(sealed(with_members(path, lambda members: members[1].__setitem__(1, pickled.getvalue()))))
    with pytest.raises(CheckpointError, match="allow_pickle"):
        load(path)


def test_files_of_others_are_refused(path, tmp_path):
    np.savez(tmp_path / "foreign.npz", x=np.ones(3))
    np.save(tmp_path / "foreign.npy", np.ones(3))
    foreign = [(tmp_path / name).read_bytes() for name in ("foreign.npz", "foreign.npy")]
    for content in [*foreign, b"hello " * 100, b"PK"]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"run.ckpt is not a checkpoint of numbopt"):
            load(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"run.ckpt is empty"):
        load(path)


def test_paths_that_cannot_be_read_or_written(path, tmp_path):
    save(path, x=1)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing")
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "missing" / "run.npz", x=1)
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        save(tmp_path, x=1)
    assert files_in(tmp_path) == [path.name]


def test_a_newer_format_is_named(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_FORMAT", 12)
        save(path, x=1)
    with pytest.raises(CheckpointError, match=r"run.ckpt was written by a newer numbopt: it has format 12"):
        load(path)


def test_paths_in_every_form(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, path in enumerate(["a.npz", b"b", Path("c.d"), "x" * 250]):
        save(path, path=number)
        assert load(path) == {"path": number}
    shutil.copy("a.npz", "copy")
    assert load("copy") == {"path": 0}
    with pytest.raises(TypeError):
        save(None, x=1)


def test_signal_of_a_full_disk_is_ignored():
    """Else the limit on the size of files would kill the process instead of raising an OSError."""
    if hasattr(signal, "SIGXFSZ"):
        assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN


# ---- what save never writes


def rebuilt(path, write):
    """Return a sealed file of the members of a checkpoint, as ``write(archive, name, content)`` writes them."""
    with zipfile.ZipFile(path) as archive:
        members, comment = [(name, archive.read(name)) for name in archive.namelist()], archive.comment
    with zipfile.ZipFile(path.with_name("rebuilt"), "w") as archive:
        archive.comment = comment
        for name, content in members:
            write(archive, name, content)
    return sealed(path.with_name("rebuilt").read_bytes())


def compressed(archive, name, content):
    archive.writestr(name, content, zipfile.ZIP_DEFLATED)


def twice(archive, name, content):
    for _ in range(2):
        archive.writestr(zipfile.ZipInfo(name), content)


def cut(archive, name, content):
    archive.writestr(zipfile.ZipInfo(name), content[:-8] if name.endswith(".npy") else content)


def huge(archive, name, content):
    claimed = (
        content.replace(b"(3,), }                ", b"(3000000000000000000,)}") if name.endswith("npy") else content
    )
    archive.writestr(zipfile.ZipInfo(name), claimed)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    ("write", "text"),
    [
        (compressed, "compressed or encrypted"),
        (twice, "a member is there twice"),
        (cut, "holds 16 bytes for an array of shape"),
        (huge, "holds 24 bytes for an array of shape"),
    ],
    ids=["compressed", "twice", "cut", "huge"],
)
def test_what_save_never_writes_is_refused_before_memory_is_taken(path, write, text):
    save(path, x=np.ones(3))
    path.write_bytes(rebuilt(path, write))
    with pytest.raises(CheckpointError, match=text):
        load(path)


@pytest.mark.skipif(os.name != "posix", reason="nothing tells whether a process lives")
def test_leftovers_of_killed_processes_are_removed(path, tmp_path):
    prefix = checkpoint._own_prefix()
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    leftovers = [f"{prefix}{number}-{'0' * 16}.tmp" for number in (killed.pid, os.getpid())]
    for name in (*leftovers, ".numbopt-elsewhere-1-" + "0" * 16 + ".tmp"):
        (tmp_path / name).write_bytes(b"unfinished")
    save(path, x=1)
    assert files_in(tmp_path) == sorted([path.name, leftovers[1], ".numbopt-elsewhere-1-" + "0" * 16 + ".tmp"])
