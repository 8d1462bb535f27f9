"""What `warmup` and a warm cache leave to be compiled: nothing. And `python -m numbopt.info`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from cases.optimizers import CASES, CLOSURE_CASES
from support.compilations import compilations

import numbopt
import numbopt.info
from numbopt._kernels import specialise

PACKAGE = Path(numbopt.__file__).parent
EVERY_ONE = sorted({case.cls for case in CASES})


@pytest.fixture(scope="module")
def warm_cache(tmp_path_factory):
    """A cache that one process filled with the kernels of all elementwise optimizers for float32."""
    folder = tmp_path_factory.mktemp("cache")
    run_script(f"import numbopt; numbopt.warmup(*{EVERY_ONE}, dtypes='float32')", folder)
    return folder


def run_script(script, cache):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_with_a_warm_cache_compiles_nothing(warm_cache):
    """Small steps and shared ones, gradients set to zero, and the norm."""
    script = f"""
import json
import numpy as np
import numbopt
from support.compilations import compilations

with compilations() as compiled:
    for name in {EVERY_ONE}:
        for size in (10, 1 << 21):
            parameter = numbopt.Parameter(np.zeros(size, np.float32))
            opt = getattr(numbopt, name)([parameter], max_grad_norm=1.0)
            opt.zero_grad()
            parameter.grad += np.float32(1)
            opt.step()
            opt.step()  # ADOPT only looks in its first one
            assert np.all(parameter.data != 0)
print(json.dumps(compiled))
"""
    assert json.loads(run_script(script, warm_cache)) == []


# ---- in this process


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Kernels are as if this process had just begun, and find nothing."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))


def own_optimizer():
    """An optimizer that no test has compiled yet."""

    def rule(p, g, state, h):
        (m,) = state
        return p - h.lr * g, (m + g,)

    class Own(numbopt.ElementwiseOptimizer):
        options = {"lr": numbopt.options.LR}  # noqa: RUF012

        def __init__(self, params, lr=0.125, **common):
            super().__init__(params, {"lr": lr}, **common)

        @staticmethod
        def advance(options, clock):
            return (clock[0] + 1,), (options["lr"],)

    Own.rule = numbopt.Rule(rule, state=("sum",), scalars=("lr",))
    return Own


def test_a_class(empty_cache):
    cls = own_optimizer()
    with compilations() as compiled:
        numbopt.warmup(cls, dtypes=[np.float32, "complex128"])
    assert compiled
    with compilations() as compiled:
        for dtype in ("float32", "float64", "complex64", "complex128"):
            for size in (1, 1 << 20):
                cls([np.zeros(size, dtype)]).step(grads=[np.ones(size, dtype)])
    assert compiled == []


def test_an_optimizer_as_it_is(empty_cache):
    """With its options, for the dtypes of its parameters; and nothing of it changes."""
    x, y = np.zeros(3, np.float32), np.zeros(2)
    opt = own_optimizer()([{"params": [x]}, {"params": [y], "bounds": (np.zeros(2), np.ones(2))}], nonfinite="skip")
    numbopt.warmup(opt)
    assert not opt.state
    assert x.tolist() == [0, 0, 0]
    with compilations() as compiled:
        opt.step(grads=[np.ones(3, np.float32), -np.ones(2)])
    assert compiled == []
    assert x.tolist() == [-0.125, -0.125, -0.125]
    assert y.tolist() == [0.125, 0.125]


CLOSURE_CASES_TO_COMPILE = [case for case in CLOSURE_CASES if case.name in ("strong-wolfe", "hager-zhang")]  # 10 s each


@pytest.mark.parametrize("case", CLOSURE_CASES_TO_COMPILE, ids=lambda case: case.id)
def test_closure_driven_optimizers(case):
    def closure(x):
        return float(x @ x), [2 * x]

    make = getattr(numbopt, case.cls)
    numbopt.warmup(make([np.zeros(1)], **case.options))
    with compilations() as compiled:
        for size in (2, 200_000):
            x = np.ones(size)
            make([x], **case.options).step(lambda x=x: closure(x))
    assert compiled == []


def test_names():
    numbopt.warmup()
    numbopt.warmup("SGD", "adamw", numbopt.Adam, dtypes=["float32"])
    numbopt.warmup("LBFGS", dtypes="float64")


@pytest.mark.parametrize(
    ("named", "options", "error", "message"),
    [
        ("Adem", {}, ValueError, "there is no optimizer 'Adem'; there are .*'Adam'"),
        (numbopt.Parameter, {}, TypeError, "names of optimizers, their classes, or optimizers"),
        (numbopt.Optimizer, {}, TypeError, "names of optimizers, their classes, or optimizers"),
        ("Adam", {"dtypes": ["int32"]}, TypeError, "int32"),
        ("Adam", {"device": "tpu"}, ValueError, "device"),
    ],
)
def test_bad_arguments(named, options, error, message):
    with pytest.raises(error, match=message):
        numbopt.warmup(named, **options)


def test_all_names_are_checked_before_anything_is_compiled():
    cls = own_optimizer()
    with compilations() as compiled, pytest.raises(ValueError, match="Adem"):
        numbopt.warmup(cls, "Adem")
    assert compiled == []


def test_on_a_gpu(gpu, monkeypatch):
    from numbopt._kernels.cuda.kernel import Kernel

    numbopt.warmup("Adam", numbopt.LBFGS, dtypes=["float32"], device="cuda")
    monkeypatch.setattr(Kernel, "ptx", None)  # nothing more is compiled
    opt = numbopt.Adam([numbopt.Parameter(np.zeros(5, np.float32), device="cuda")], max_grad_norm=1.0)
    (parameter,) = opt.param_groups[0]["params"]
    opt.step(grads=[numbopt.Parameter(np.ones(5, np.float32), device="cuda").data])
    assert (parameter.data.copy_to_host() < 0).all()


# ---- info


def test_info(warm_cache):
    out = run_script("import runpy; runpy.run_module('numbopt.info', run_name='__main__')", warm_cache)
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert list(lines) == ["versions", "platform", "processor", "threads", "cache", "devices"]
    assert (
        f"numbopt {numbopt.__version__}, Python {sys.version.split()[0]}, numpy {np.__version__}" in lines["versions"]
    )
    assert lines["threads"].startswith(f"{numbopt.get_num_threads()} ")
    assert lines["cache"].startswith(str(warm_cache))
    count = len(list(warm_cache.rglob("*.nbc")))
    assert f"holds {count} compiled functions" in lines["cache"]
    assert lines["devices"].split(",")[0] == "cpu"


def test_info_without_a_cache(monkeypatch):
    class NoCache:
        cache_path = None

    class Loop:
        stats = NoCache

    monkeypatch.setattr(numbopt.info, "zero_loop", lambda: Loop)
    assert numbopt.info.info()["cache"].startswith("none: no folder is writable")


def test_info_with_a_gpu(gpu):
    assert "cuda (number 0, compute capability" in numbopt.info.info()["devices"]


def test_long_compilation_is_announced_once_it_takes_long(empty_cache, monkeypatch, caplog):
    caplog.set_level("WARNING", logger="numbopt")  # other tests may have silenced it
    monkeypatch.setattr(specialise, "PATIENCE", 0.01)
    cls = own_optimizer()
    cls([np.zeros(3)]).step(grads=[np.ones(3)])
    assert "warmup" in caplog.text
    caplog.clear()
    monkeypatch.setattr(specialise, "PATIENCE", 60.0)
    own_optimizer()([np.zeros(3)]).step(grads=[np.ones(3)])
    assert not caplog.text
