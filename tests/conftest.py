"""Fixtures of all tests, and the option that lets slow ones run."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run tests that take minutes or many gigabytes, too")
    parser.addoption("--software-gpu", action="store_true", help="use no real GPU, even where there is one")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--run-slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs --run-slow"))


@pytest.fixture(scope="session")
def gpu(request):
    """The driver of the GPU; where there is none, of one in software; skips without the compiler for CUDA."""
    pytest.importorskip("numba_cuda")
    from support.gpu import real, software

    with pytest.MonkeyPatch.context() as patch:
        found = None if request.config.getoption("--software-gpu") else real.install(patch)
        yield found or software.install(patch)
