"""PTX from the disk cache: found by other processes, never stale, never trusted when it is damaged."""

import subprocess
import sys
from pathlib import Path

import pytest

import numbopt
from numbopt._kernels import disk_cache

pytest.importorskip("numba_cuda")

SCRIPT = """
import sys
import numpy as np
import numbopt
from numbopt._devices import compiler
from numbopt._kernels.cuda.rows import update_kernel

def rule(p, g, state, h):
    return p - h.lr * g{change}, state

compiled = []
compile_ptx = compiler.compile_ptx
compiler.compile_ptx = lambda *arguments: compiled.append(1) or compile_ptx(*arguments)
for dtype in (np.float32, np.float64):
    ptx = update_kernel(numbopt.Rule(rule, scalars=("lr",)), np.dtype(dtype)).ptx((9, 0))
    assert ptx.count(".visible .entry") == 1
print(len(compiled))
"""


@pytest.fixture
def compiled_in_a_process(tmp_path):
    """Run the script in a process of its own, with a cache in a folder; return how many kernels it compiled."""

    def run(change="", folder=tmp_path):
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(change=change))
        environment = {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(Path(numbopt.__file__).parents[1])}
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    return run


def test_the_second_process_compiles_nothing_until_the_rule_is_edited(compiled_in_a_process):
    assert [compiled_in_a_process() for _ in range(2)] == [2, 0]
    assert [compiled_in_a_process(change=" * h.lr") for _ in range(2)] == [2, 0]
    assert compiled_in_a_process() == 0


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"\xff" + data, lambda data: b""])
def test_damaged_files_are_compiled_anew(damage, compiled_in_a_process, tmp_path):
    compiled_in_a_process()
    files = [path for path in tmp_path.rglob("update_*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        path.write_bytes(damage(path.read_bytes()))
    assert [compiled_in_a_process() for _ in range(2)] == [2, 0]


@pytest.mark.parametrize("error", [RuntimeError("no locator available"), OSError("read-only file system")])
def test_no_folder_can_be_written(error, monkeypatch):
    def no_cache(function):
        raise error

    monkeypatch.setattr(disk_cache, "DiskCache", no_cache)
    made = []
    assert disk_cache.cached_text(no_cache, "key", lambda: made.append(1) or "text") == "text"
    assert made == [1]
