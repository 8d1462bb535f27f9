"""What importing the package brings, starts and compiles: little, nothing and nothing."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

import numbopt

PACKAGE = Path(numbopt.__file__).parent


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
    return json.loads(output_of(script))


def output_of(script):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_does_not_bring_numba():
    loaded = output_of(
        "import sys, numbopt, numbopt.schedules; print([name for name in sys.modules if 'numba' in name])"
    )
    assert loaded.strip() == "[]"


def test_schedules_are_known_to_numba_in_whatever_order_both_are_imported():
    function = "@numba.njit\ndef f(): return schedules.cosine_annealing(1, 4)\nprint(round(f(), 6))"
    for first, second in itertools.permutations(["import numba", "from numbopt import schedules"]):
        assert output_of(f"{first}\n{second}\n{function}") == "0.853553\n"


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
