"""The examples in docstrings do what they say."""

import doctest
import importlib
import pkgutil

import pytest

import numbopt

MODULES = ["numbopt", *(module.name for module in pkgutil.walk_packages(numbopt.__path__, "numbopt."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    if name.startswith("numbopt._minimize"):
        pytest.importorskip("scipy")
    if name.startswith("numbopt._kernels.cuda"):
        pytest.importorskip("numba_cuda")
    assert doctest.testmod(importlib.import_module(name)).failed == 0
