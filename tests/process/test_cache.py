"""The disk cache: what was compiled is found again, what was edited is not, and nothing that lies there does harm."""

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import numbopt
from numbopt._kernels.cpu.rows import loop_around
from numbopt._kernels.specialise import specialise

PACKAGE = Path(numbopt.__file__).parent

WORKER = """
import json
import logging
import sys

import numpy as np

import numbopt

logging.getLogger("numbopt").setLevel("ERROR")  # long compilations are announced, and here they may be long


def work(name, dtype):
    if name in ("first", "second"):
        import users_rules

        make = getattr(users_rules, name)
    else:
        make = getattr(numbopt, name)
    parameters = [np.linspace(1, 2, size).astype(dtype) for size in (12, 5, 1)]
    optimizer = make(parameters, lr=0.125)
    for factor in (1, -0.25, 2):
        optimizer.step(grads=[(factor * p).astype(dtype) for p in parameters])
    stats = next(iter(optimizer._tables)).launch.loop.stats
    return {
        "values": np.concatenate(parameters).tolist(),
        "hits": sum(stats.cache_hits.values()),
        "misses": sum(stats.cache_misses.values()),
        "path": stats.cache_path,
    }


if __name__ == "__main__":
    print(json.dumps([work(*argument.split()) for argument in sys.argv[1:]]))
"""

# So large that the compiler makes no part of its caller of it.
USERS_RULES = """
import math

import numba

import numbopt


def make(sign):
    @numba.njit
    def long_way(x, n):
        total = 0.0
{loops}
        return sign * x + 0 * total

    def rule(p, g, state, h):
        return p - h.lr * (long_way(g, 3) + long_way(p, 2)), state

    class Users(numbopt.ElementwiseOptimizer):
        options = {{"lr": numbopt.options.LR}}

        def __init__(self, params, lr):
            super().__init__(params, {{"lr": lr}})

        @staticmethod
        def advance(options, clock):
            return (clock[0] + 1,), (options["lr"],)

    Users.rule = numbopt.Rule(rule, scalars=("lr",))
    return Users


first, second = make(1), make(-1)
""".format(loops="\n".join(f"        for i in range(n): total += math.exp(-x / {i + 2}) * {i}.5" for i in range(16)))


class Process:
    """A process of its own that does the work named by its arguments."""

    def __init__(self, folder, *arguments, package=PACKAGE, **environment):
        environment = {
            **os.environ,
            "PYTHONPATH": str(package.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NUMBA_CACHE_DIR": str(folder / "cache"),
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "worker.py"), *arguments],
            cwd=folder,
            env={name: value for name, value in environment.items() if value is not None},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self):
        self.process.kill()
        self.process.communicate()

    def results(self):
        output, errors = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, errors
        assert errors == ""
        return json.loads(output)


@pytest.fixture
def start(tmp_path):
    """Start processes, which do not outlive the test."""
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    (tmp_path / "users_rules.py").write_text(USERS_RULES, encoding="utf-8")
    with contextlib.ExitStack() as stack:

        def start(*arguments, **options):
            process = Process(tmp_path, *arguments, **options)
            stack.callback(process.stop)
            return process

        yield start


def values_of(results):
    return [result["values"] for result in results]


def expected_values(*arguments):
    namespace = {"__name__": "worker"}
    exec(WORKER, namespace)
    return [namespace["work"](*argument.split())["values"] for argument in arguments]


# ---- found again


def test_processes_that_fill_an_empty_cache_at_once_and_one_that_reads_it(tmp_path, start):
    work = ["SGD float32", "SGD float64"]
    expected = expected_values(*work)
    writers = [start(*work), start(*reversed(work))]
    assert values_of(writers[0].results()) == expected
    assert values_of(writers[1].results()) == expected[::-1]
    indices, data = list(tmp_path.rglob("*.nbi")), list(tmp_path.rglob("*.nbc"))
    # Two kernels and the look at arrays; else one process could point to what the other wrote.
    assert len(indices) == len(data) == 3
    results = start(*work).results()
    assert values_of(results) == expected
    assert [(result["hits"], result["misses"]) for result in results] == [(1, 0), (2, 0)]  # one kernel, two types


@pytest.mark.slow
def test_twenty_processes_that_fill_a_cache_at_once_again_and_again(tmp_path, start):
    """An empty one, then one that is half damaged."""
    work = ["SGD float32", "SGD float64", "Adam float32"]
    expected = dict(zip(work, expected_values(*work), strict=True))
    for _ in range(5):
        for _ in ("empty", "damaged"):
            orders = [(work * 2)[first : first + 3] for first in range(3)] * 7
            processes = [(order, start(*order)) for order in orders[:20]]
            for order, process in processes:
                assert values_of(process.results()) == [expected[some] for some in order]
            files = sorted((tmp_path / "cache").rglob("*.nb?"))
            assert len(files) == 8  # three kernels and the look at arrays
            for file in files[::2]:
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        shutil.rmtree(tmp_path / "cache")


def test_kernels_compiled_in_several_processes_meet_in_one(start):
    """Functions of one name in the machine code of two kernels would take each other's place."""
    work = ["Adam float32", "SGD float32", "Rprop float32", "first float64", "second float64"]
    writers = [start(some) for some in work]
    alone = [result["values"] for writer in writers for result in writer.results()]
    assert alone[:3] == expected_values(*work[:3])
    assert alone[3] != alone[4]
    results = start(*work).results()
    assert values_of(results) == alone
    assert [(result["hits"], result["misses"]) for result in results] == [(1, 0)] * len(work)


# ---- edited


def test_an_edited_rule_is_compiled_anew(tmp_path, start):
    """In the file of the algorithm, and in one with a function that several rules call."""
    package = tmp_path / "numbopt"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    work = ["SGD float32", "Adam float32", "Rprop float32"]
    before = start(*work, package=package).results()
    assert values_of(before) == expected_values(*work)

    edit(package / "algorithms" / "sgd.py", "return p - h.lr * g, state", "return p + h.lr * g, state")
    edit(package / "algorithms" / "_arithmetic.py", "weight_new * new", "weight_new * new + weight_new")
    after = start(*work, package=package).results()
    assert [(result["hits"], result["misses"]) for result in after] == [(0, 1), (0, 1), (1, 0)]
    assert after[0]["values"][0] == 1.0 * 1.125 * (1 - 0.25 / 8) * 1.25
    assert after[1]["values"] != before[1]["values"]
    assert after[2]["values"] == before[2]["values"]


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


EDITS = {
    "rule": ({"rules": "def rule(p, g, state, h): return p - g, state"}, "p - g", "p + g"),
    "literals that look alike in a row": (
        {"rules": "def rule(p, g, state, h): return p * 1 - g * 23, state"},
        "p * 1 - g * 23",
        "p * 12 - g * 3",
    ),
    "constant": ({"rules": "K = 2.0\ndef rule(p, g, state, h): return p - K * g, state"}, "K = 2.0", "K = 3.0"),
    "array": (
        {"rules": "import numpy\nK = numpy.array([1., 2.])\ndef rule(p, g, state, h): return p - K[1] * g, state"},
        "2.]",
        "3.]",
    ),
    "default": ({"rules": "def rule(p, g, state, h, k=2.0): return p - k * g, state"}, "k=2.0", "k=3.0"),
    "closure": (
        {
            "rules": "def make(k):\n"
            "    def rule(p, g, state, h): return p - k * g, state\n"
            "    return rule\n"
            "rule = make(2.0)"
        },
        "make(2.0)",
        "make(3.0)",
    ),
    "helper": (
        {
            "rules": "from helpers import helper\ndef rule(p, g, state, h): return p - helper(g), state",
            "helpers": "def helper(g): return inner(g)\ndef inner(g): return g * g",
        },
        "g * g",
        "g + g",
    ),
    "helper that changes places": (
        {
            "rules": "from helpers import one, two\ndef rule(p, g, state, h): return one(two(f(p))), state\nf = one",
            "helpers": "def one(g): return g + 1\ndef two(g): return g + 2",
        },
        "f = one",
        "f = two",
    ),
    "compiled helper": (
        {
            "rules": "import helpers\ndef rule(p, g, state, h): return p - helpers.helper(g), state",
            "helpers": "import numba\n@numba.njit\ndef helper(g): return g * g",
        },
        "g * g",
        "g + g",
    ),
    "how a helper is compiled": (
        {
            "rules": "from helpers import helper\ndef rule(p, g, state, h): return p - helper(g), state",
            "helpers": "import numba\n@numba.njit(fastmath=False)\ndef helper(g): return g * g + 1",
        },
        "False",
        "True",
    ),
    "ufunc": (
        {
            "rules": "from helpers import helper\ndef rule(p, g, state, h): return p - helper(g), state",
            "helpers": "import numba\n@numba.vectorize\ndef helper(g): return g * g",
        },
        "g * g",
        "g + g",
    ),
    "module in a package": (
        {
            "rules": "import tools.helpers\ndef rule(p, g, state, h): return p - tools.helpers.K * g, state",
            "tools/__init__": "",
            "tools/helpers": "K = 2.0",
        },
        "K = 2.0",
        "K = 3.0",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_in_a_users_file_makes_another_kernel(name, tmp_path, monkeypatch):
    sources, old, new = EDITS[name]
    monkeypatch.syspath_prepend(tmp_path)
    before = kernel_name(sources, tmp_path, monkeypatch)
    assert kernel_name(sources, tmp_path, monkeypatch) == before
    assert sum(source.count(old) for source in sources.values()) == 1
    edited = {module: source.replace(old, new) for module, source in sources.items()}
    assert kernel_name(edited, tmp_path, monkeypatch) != before


def kernel_name(sources, folder, monkeypatch):
    """Write modules and import the first; the name under which the cache finds a kernel of its rule."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for module, source in sources.items():
        path = folder / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")
        sys.modules.pop(module.removesuffix("/__init__").replace("/", "."), None)
    importlib.invalidate_caches()
    rules = importlib.import_module("rules")
    kernel = loop_around(numbopt.Rule(rules.rule))
    assert kernel.stats.cache_path is not None
    sys.modules.pop("rules")
    return kernel.py_func.__name__


def test_what_cannot_be_told_apart_by_content_is_not_cached():
    class Constants:
        K = 2.0

    def rule(p, g, state, h):
        return p - Constants.K * g, state

    assert loop_around(numbopt.Rule(rule)).stats.cache_path is None


# ---- no folder, no space, damage


@pytest.mark.skipif(sys.platform == "win32", reason="takes the home away in the way of Unix")
def test_install_that_nobody_can_write_to_without_a_home(tmp_path, start):
    """Files in the place of folders stop root, too, whom permissions do not."""
    install, no_home = tmp_path / "install", tmp_path / "home"
    shutil.copytree(PACKAGE, install / "numbopt", ignore=shutil.ignore_patterns("__pycache__"))
    (install / "numbopt" / "_kernels" / "__pycache__").touch()
    no_home.touch()
    before = sorted(install.rglob("*"))
    for path in (install, *before):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        work = ["Adam float32", "SGD float64"]
        process = start(
            *work,
            package=install / "numbopt",
            HOME=str(no_home),
            NUMBA_CACHE_DIR=None,
            XDG_CACHE_HOME=None,
        )
        results = process.results()
        assert values_of(results) == expected_values(*work)
        assert [result["path"] for result in results] == [None, None]
        assert sorted(install.rglob("*")) == before
    finally:
        for path in (install, *before):
            path.chmod(0o755)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    return folder


ADDEND = 0.0  # what kernels are bound to is another


def template(x):
    return x + ADDEND


def result(kernel):
    """Call a kernel; return what it gave, hits and misses of the cache."""
    value = kernel(1.0)
    return value, sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())


COMPILED, FOUND = (3.0, 0, 1), (3.0, 1, 0)


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_files_are_written_anew(suffix, cache):
    def new_kernel():
        return specialise(template, {"ADDEND": 2.0})

    assert result(new_kernel()) == COMPILED
    (path,) = cache.rglob("*" + suffix)
    whole = path.read_bytes()
    for damaged in (whole[:-10], whole[: len(whole) // 2], b"", bytes(len(whole)), b"\xff" + whole[1:]):
        path.write_bytes(damaged)
        assert result(new_kernel()) == COMPILED
        assert result(new_kernel()) == FOUND
    path.unlink()
    assert result(new_kernel()) == COMPILED
    assert result(new_kernel()) == FOUND


def test_folder_that_can_no_longer_be_written(cache):
    kernel = specialise(template, {"ADDEND": 2.0})
    shutil.rmtree(cache)
    cache.touch()
    assert result(kernel) == COMPILED


def test_types_and_processors_have_files_of_their_own(cache):
    """Numba numbers the files of one index; of two processes that add to it at once, each would write number 1."""
    kernel = specialise(template, {"ADDEND": 2.0})
    for value in (1.0, 1, 1j):
        kernel(value)
    names = sorted(path.name for path in cache.rglob("*.nb?"))
    assert len(names) == len({name.removesuffix(".1.nbc").removesuffix(".nbi") for name in names}) * 2 == 6
