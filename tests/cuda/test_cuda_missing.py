"""What is said where there is no GPU, or no package to use one."""

import importlib.util

import numpy as np
import pytest

import numbopt
from numbopt._devices import compiler, driver


@pytest.fixture(autouse=True)
def nothing_found_yet():
    driver.device.cache_clear()
    compiler.compiler.cache_clear()
    yield
    compiler.compiler.cache_clear()


@pytest.mark.parametrize("use", [lambda p: p.to("cuda"), lambda p: numbopt.Parameter(p, device="cuda")])
def test_no_package(use, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not numbopt.cuda.is_available()
    parameter = numbopt.Parameter([1.0])
    with pytest.raises(RuntimeError, match=r'numba-cuda, which is not installed: pip install "numbopt\[cuda13\]"'):
        use(parameter)
    assert parameter.device == "cpu"


def test_no_gpu(monkeypatch):
    class Driver:
        def cuInit(self, flags):
            raise RuntimeError("no driver library is installed")

    monkeypatch.setattr(driver, "compiler", lambda: None)
    monkeypatch.setattr(driver, "_driver_and_linker", lambda: (Driver(), None))
    assert not numbopt.cuda.is_available()
    with pytest.raises(RuntimeError, match="there is no GPU to use: no driver library is installed"):
        numbopt.Parameter([1.0], device="cuda")


def test_shim_for_numpy_2_5(monkeypatch):
    pytest.importorskip("numba_cuda")
    monkeypatch.delitem(vars(np), "row_stack", raising=False)
    compiler.compiler()
    assert vars(np)["row_stack"] is np.vstack
