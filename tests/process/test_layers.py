"""How the package is built, and what a step may cost: layers, imports, memory, the floating-point mode."""

import ast
import json
import platform
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cases.optimizers import CASES

import numbopt
from numbopt._launch import blocks, cpu

PACKAGE = Path(numbopt.__file__).parent

# From the ground up; a module may import those of the layers below its own, and a folder its own modules.
LAYERS = (
    {"_devices", "options", "hooks", "schedules"},
    {"_kernels", "parameter", "cuda"},
    {"_launch"},
    {"_parameters", "clip_grad"},
    {"optimizer"},
    {"elementwise", "vectorwise"},
    {"algorithms", "lr_scheduler", "checkpoint", "compiling", "_minimize"},
    {"wrappers", "history"},
    {"__init__", "info", "accumulation", "averaging"},
)
LAYER_OF = {module: layer for layer, modules in enumerate(LAYERS) for module in modules}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(node):
    """The modules of the package that are imported in a piece of code, but for those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        names = []
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0
            names = [f"{child.module}.{alias.name}" for alias in child.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "numbopt":
                yield rest.partition(".")[0] or "__init__"
        yield from imports(child)


def is_ours(module):
    return (PACKAGE / module).is_dir() or (PACKAGE / f"{module}.py").exists()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_to_lower_layers(path):
    module = module_of(path)
    assert module in LAYER_OF, "a new module: which layer is it in?"
    for other in imports(ast.parse(path.read_text(encoding="utf-8"))):
        other = other if is_ours(other) else "__init__"
        assert LAYER_OF[other] < LAYER_OF[module] or (other == module and path.parent != PACKAGE), f"imports {other}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_kernels_are_compiled(path):
    compilers = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "intrinsic"}
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = {getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None) for node in nodes}
    if module_of(path) not in ("_kernels", "_devices"):
        assert not names & compilers


@pytest.fixture(scope="module")
def after_import():
    script = """
import json, sys, threading
from numba.core import event  # brings SciPy where that is installed, and much else
known = set(sys.modules)
recorder = event.RecordingListener()
with event.install_listener("numba:compile", recorder):
    import numbopt
modules = sorted(set(sys.modules) - known)
from numba.extending import is_jitted
jitted = [name for module in modules for name, value in vars(sys.modules[module]).items() if is_jitted(value)]
print(json.dumps([modules, threading.active_count(), len(recorder.buffer), jitted]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_brings_only_what_is_needed(after_import):
    modules, *_ = after_import
    assert "numbopt" in modules
    packages = {module.partition(".")[0] for module in modules}
    assert packages <= {"numbopt", "numpy", "numba", "llvmlite"} | sys.stdlib_module_names
    assert not [module for module in modules if module.startswith("numba.cuda")]


def test_import_starts_no_thread_and_compiles_nothing(after_import):
    _, thread_count, compiled, jitted = after_import
    assert (thread_count, compiled) == (1, 0)
    assert not jitted  # Numba's decorators set up the compiler, which takes longer than importing


# ---- memory


def peak_of(optimizer, steps):
    """The most memory, in bytes, that steps have in use at one time beyond what was in use before."""
    for step in steps:
        step(optimizer)
    tracemalloc.start()
    try:
        for step in steps:
            step(optimizer)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(3):
            for step in steps:
                step(optimizer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


def parameters_of(count, size):
    parameters = [numbopt.Parameter(np.ones(size, np.float32)) for _ in range(count)]
    for parameter in parameters:
        parameter.grad = np.ones(size, np.float32)
    return parameters


@pytest.mark.parametrize("cls", sorted({case.cls for case in CASES}))
def test_step_allocates_nothing_that_grows_with_the_parameters(cls, monkeypatch):
    def peak(count, size):
        optimizer = getattr(numbopt, cls)(parameters_of(count, size))
        return peak_of(optimizer, [lambda opt: opt.step(), lambda opt: opt.zero_grad()])

    small = peak(1, 10)
    assert small < 4000
    assert peak(1, 100_000) < small + 1000
    assert peak(1000, 10) < small + 1000
    monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    small = peak(1, 10)  # with the stamps that large launches take
    assert small < 4000
    assert peak(1, 100_000) < small + 1000


def test_step_with_given_gradients_allocates_no_arrays():
    def peak(size):
        arrays, gradients = [np.ones(size) for _ in range(2)], [np.ones(size) for _ in range(2)]
        optimizer = numbopt.Adam(arrays)
        return peak_of(optimizer, [lambda opt: opt.step(grads=gradients), lambda opt: opt.step(grads=gradients[::-1])])

    assert peak(1000) < peak(10) + 1000
    shared = peak(100_000)  # with the stamps that large launches take
    assert shared < 4000
    assert peak(200_000) < shared + 1000


STATE_ARRAYS = {
    "SGD-default": 0,
    "SGD-momentum": 1,
    "Adam-default": 2,
    "Adam-amsgrad": 3,
    "AdamW-default": 2,
    "AdamW-amsgrad": 3,
    "Adamax-default": 2,
    "NAdam-default": 2,
    "RAdam-default": 2,
    "Adagrad-default": 1,
    "Adadelta-default": 2,
    "RMSprop-default": 1,
    "RMSprop-momentum": 2,
    "RMSprop-centered": 2,
    "RMSprop-centered-momentum": 3,
    "Rprop-default": 2,
    "ASGD-default": 1,
}


@pytest.mark.parametrize("case", [case for case in CASES if case.id in STATE_ARRAYS], ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_memory_is_parameters_gradients_and_state(case, dtype):
    """All that stays allocated after the first step: the arrays of the state, a few bytes for alignment, the table."""
    size = 100_000
    array, gradient = np.ones(size, dtype), np.ones(size, dtype)
    getattr(numbopt, case.cls)([array.copy()], **case.options).step(grads=[gradient])  # now all is compiled
    tracemalloc.start()
    try:
        optimizer = getattr(numbopt, case.cls)([array], **case.options)
        optimizer.step(grads=[gradient])
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    state = [value for value in dict(optimizer.state.get(array, {})).values() if isinstance(value, np.ndarray)]
    assert sum(value.nbytes for value in state) == STATE_ARRAYS[case.id] * array.nbytes
    assert 0 <= used - STATE_ARRAYS[case.id] * array.nbytes < 50_000


# ---- denormal numbers and the floating-point mode

FLUSHES = platform.machine().lower() in ("x86_64", "amd64", "aarch64", "arm64")
TINY = np.finfo(np.float32).tiny


def denormals(array):
    return np.count_nonzero((array != 0) & (np.abs(array) < TINY))


def test_how_denormal_numbers_are_counted():
    assert denormals(np.array([0, 1, 1e-40, -1e-44, TINY], np.float32)) == 2


@pytest.mark.skipif(not FLUSHES, reason="numbopt leaves the floating-point mode of this processor alone")
@pytest.mark.parametrize("parallel", [False, True], ids=["serial", "shared"])
@pytest.mark.parametrize(
    ("cls", "options"),
    [("SGD", {"momentum": 0.9}), ("Adam", {"betas": (0.9, 0.95)}), ("RMSprop", {"alpha": 0.9, "momentum": 0.9})],
)
def test_state_does_not_end_in_denormal_numbers(cls, options, parallel, monkeypatch):
    """Each step on these would take thirty times as long."""
    if parallel:
        monkeypatch.setattr(blocks, "BLOCK", 16)
        monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    x = np.ones(100, np.float32)
    optimizer = getattr(numbopt, cls)([x], **options)
    optimizer.step(grads=[np.linspace(-1, 1, 100, dtype=np.float32)])
    zeros = np.zeros(100, np.float32)
    for _ in range(2500):
        optimizer.step(grads=[zeros])
    state = [value for value in optimizer.state[x].values() if isinstance(value, np.ndarray)]
    assert state
    for array in state:
        assert denormals(array) == 0
        assert (array == 0).any()  # it decayed past them


def computes_with_denormals():
    """Whether this thread's own arithmetic takes and gives denormal numbers."""
    taken = np.full(9, 1e-40, np.float32) * np.full(9, 2, np.float32)
    given = np.full(9, 2e-38, np.float32) * np.full(9, 0.01, np.float32)
    return bool((taken != 0).all() and (given != 0).all())


@pytest.mark.parametrize("parallel", [False, True], ids=["serial", "shared"])
def test_floating_point_mode_of_the_caller_is_as_before(parallel, monkeypatch):
    if parallel:
        monkeypatch.setattr(blocks, "BLOCK", 16)
        monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    results = []

    def work():
        results.append(computes_with_denormals())
        parameters = parameters_of(3, 100)
        optimizer = numbopt.Adam(parameters)
        for _ in range(3):
            optimizer.step()
            results.append(computes_with_denormals())
            optimizer.zero_grad()
            results.append(computes_with_denormals())

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [True] * 14
