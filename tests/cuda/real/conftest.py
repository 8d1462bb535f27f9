"""Tests in this folder need a GPU that is not in software, and meet other libraries there in person."""

import pytest
from support.gpu.libraries import LIBRARIES


@pytest.fixture(autouse=True)
def real_gpu(gpu):
    if not gpu.is_real:
        pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.__name__)
def library(request):
    """A library of arrays; skips where it is not installed or finds no GPU."""
    try:
        return request.param()
    except (ImportError, RuntimeError) as error:
        pytest.skip(str(error))
