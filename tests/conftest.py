"""Fixtures of all tests, and the option that lets slow ones run."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run tests that take minutes or many gigabytes, too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--run-slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs --run-slow"))


@pytest.fixture(scope="session")
def gpu():
    """A GPU in software, which numbopt takes for real; skips where the compiler for CUDA is not installed."""
    pytest.importorskip("numba_cuda")
    from software_gpu import install

    with pytest.MonkeyPatch.context() as patch:
        yield install(patch)
