"""More elements than 32 bits count, and more memory than there is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import numbopt
from numbopt._devices import arrays


@pytest.mark.slow
def test_more_elements_than_32_bits_count():
    """Needs 18 GB."""
    size, chunk = 2_200_000_000, 1 << 24
    pattern = np.arange(chunk, dtype=np.float32)  # all exact, also times the number of a chunk modulo 8
    x, gradient = np.ones(size, np.float32), np.empty(size, np.float32)
    for number, start in enumerate(range(0, size, chunk)):
        part = gradient[start : start + chunk]
        np.multiply(pattern[: part.size], np.float32(number % 8), out=part)
    optimizer = numbopt.SGD([x], lr=0.5)
    optimizer.step(grads=[gradient])
    for number, start in enumerate(range(0, size, chunk)):
        part = x[start : start + chunk]
        expected = np.float32(1) - np.float32(0.5) * (pattern[: part.size] * np.float32(number % 8))
        assert np.array_equal(part, expected), f"from element {start}"


@pytest.mark.slow
def test_more_elements_than_32_bits_count_on_a_gpu(gpu):
    """Needs 18 GB there."""
    size, chunk = 2**31 + 5, 1 << 24
    pattern = np.arange(chunk, dtype=np.float32)  # as above
    try:
        x, gradient = (arrays.zeros(size, np.float32, "cuda") for _ in range(2))
    except MemoryError as error:
        pytest.skip(str(error))
    for number, start in enumerate(range(0, size, chunk)):
        part = gradient[start : start + chunk]
        arrays.copy_values(part, pattern[: part.size] * np.float32(number % 8))
    numbopt.SGD([x], lr=0.5).step(grads=[gradient])
    for number, start in enumerate(range(0, size, chunk)):
        part = x[start : start + chunk].copy_to_host()
        expected = np.float32(-0.5) * (pattern[: part.size] * np.float32(number % 8))
        assert np.array_equal(part, expected), f"from element {start}"


SCARCE_MEMORY = """
import contextlib
import resource

import numpy as np

import numbopt

SIZE = 20_000_000  # of float32: an array takes 80 MB, more than what glibc keeps reserved for a thread


@contextlib.contextmanager
def only(megabytes):
    with open("/proc/self/statm") as numbers:
        in_use = int(numbers.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (megabytes << 20), before[1]))
    try:
        yield
    except MemoryError:
        pass
    else:
        raise AssertionError("there was enough memory")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def state_of(optimizer):
    return repr(optimizer.state_dict()["state"])


numbopt.set_num_threads(1)
for dtype in ("float32", "float64"):  # compiles all that is used below
    for amsgrad in (False, True):
        numbopt.Adam([np.ones(3, dtype)], amsgrad=amsgrad).step(grads=[np.ones(3, dtype)])
small, big = np.ones(1000), np.ones(SIZE, np.float32)
grads = [np.ones(1000), np.ones(SIZE, np.float32)]
optimizer = numbopt.Adam([small, big], lr=0.5)
with only(120):  # one row of state fits, the second does not
    optimizer.step(grads=grads)
assert (small == 1).all() and (big == 1).all()
assert not optimizer.state
optimizer.step(grads=grads)
assert abs(small - 0.5).max() < 1e-6 and abs(big - 0.5).max() < 1e-6
before = state_of(optimizer)
optimizer.param_groups[0]["amsgrad"] = True
with only(40):
    optimizer.step(grads=grads)
assert abs(small - 0.5).max() < 1e-6 and abs(big - 0.5).max() < 1e-6
assert state_of(optimizer) == before
optimizer.param_groups[0]["amsgrad"] = False
with only(40):
    optimizer.step(grads=[grads[0], np.ones(SIZE)])  # to be converted
assert state_of(optimizer) == before
with only(120):
    optimizer.load_state_dict(optimizer.state_dict())
assert state_of(optimizer) == before
optimizer.step(grads=grads)
assert abs(small).max() < 1e-6 and abs(big).max() < 1e-6
assert optimizer.state[small]["step"] == optimizer.state[big]["step"] == 2
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits memory in the way of Linux")
def test_what_does_not_fit_into_memory_leaves_everything_as_it_was():
    environment = {**os.environ, "PYTHONPATH": str(Path(numbopt.__file__).parent.parent)}
    command = [sys.executable, "-c", SCARCE_MEMORY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
