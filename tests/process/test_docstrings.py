"""The examples in docstrings do what they say."""

import ast
import doctest
import importlib
import inspect
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


def test_all_examples_are_found():
    """`doctest` looks only at classes and functions that say that they are from the module that it looks at."""
    modules = [importlib.import_module(name) for name in MODULES if not name.startswith("numbopt._kernels.cuda")]
    found = [test for module in modules for test in doctest.DocTestFinder().find(module)]
    written = []
    for module in modules:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                written += doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
    assert len(written) > 200
    assert sorted(e.source for test in found for e in test.examples) == sorted(e.source for e in written)
