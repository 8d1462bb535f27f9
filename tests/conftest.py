"""Fixtures of all tests."""

import pytest


@pytest.fixture(scope="session")
def gpu():
    """A GPU in software, which numbopt takes for real; skips where the compiler for CUDA is not installed."""
    pytest.importorskip("numba_cuda")
    from software_gpu import install

    with pytest.MonkeyPatch.context() as patch:
        yield install(patch)
