"""Pickles whose arrays lie in memory that must not be written: bytes, files that are mapped read-only."""

import pickle

import numpy as np
import pytest
from cases.optimizers import CASES, CLOSURE_CASES

import numbopt

SIZE = 40
TARGET = np.linspace(-1, 1, SIZE)


def loaded_from_bytes(thing):
    """Pickle a thing, load it over bytes, and return it with these bytes and copies of them."""
    buffers = []
    data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    memory = [bytes(buffer.raw()) for buffer in buffers]
    assert memory
    return pickle.loads(data, buffers=memory), memory, [bytes(bytearray(part)) for part in memory]


def steps(stepper, optimizer):
    x = optimizer.parameters[0].data

    def closure():
        return float((x - TARGET) @ (x - TARGET)), [2 * (x - TARGET)]

    for _ in range(5):
        stepper.step(closure)
    return x.copy()


@pytest.mark.parametrize("case", [*CASES, *CLOSURE_CASES], ids=lambda case: case.id)
def test_no_optimizer_writes_into_the_bytes_of_a_pickle(case):
    optimizer = getattr(numbopt, case.cls)([np.ones(SIZE)], **case.options)
    steps(optimizer, optimizer)
    copy, memory, before = loaded_from_bytes(optimizer)
    assert np.array_equal(steps(copy, copy), steps(optimizer, optimizer))
    assert memory == before


@pytest.mark.parametrize("wrapper", [numbopt.Lookahead, numbopt.Accumulate], ids=lambda wrapper: wrapper.__name__)
def test_no_wrapper_writes_into_the_bytes_of_a_pickle(wrapper):
    wrapped = wrapper(numbopt.Adam([np.ones(SIZE)]), 3)
    steps(wrapped, wrapped.optimizer)
    copy, memory, before = loaded_from_bytes(wrapped)
    assert np.array_equal(steps(copy, copy.optimizer), steps(wrapped, wrapped.optimizer))
    assert memory == before


def last(average, value, count):
    return value


@pytest.mark.parametrize("avg_fn", [None, numbopt.get_ema_avg_fn(0.9), last], ids=["mean", "exponential", "own"])
def test_no_average_writes_into_the_bytes_of_a_pickle(avg_fn):
    optimizer = numbopt.Adam([np.ones(SIZE)])
    averages = numbopt.AveragedParameters(optimizer, avg_fn)
    steps(optimizer, optimizer)
    averages.update_parameters()
    (copy, copied_optimizer), memory, before = loaded_from_bytes((averages, optimizer))
    for each, stepped in ((averages, optimizer), (copy, copied_optimizer)):
        steps(stepped, stepped)
        each.update_parameters()
        each.copy_to()
    assert np.array_equal(optimizer.parameters[0].data, copied_optimizer.parameters[0].data)
    assert memory == before


def test_a_gradient_is_copied_out_of_the_bytes():
    parameter = numbopt.Parameter(np.ones(SIZE))
    parameter.grad = TARGET
    copy, memory, before = loaded_from_bytes(parameter)
    copy.grad += 1
    copy.data += 1
    assert memory == before


def step_in_worker(optimizer):
    optimizer.step(grads=[np.ones(optimizer.parameters[0].shape)])
    return float(optimizer.parameters[0].data[0])


def test_workers_of_joblib_that_map_large_arrays_read_only():
    joblib = pytest.importorskip("joblib")
    optimizer = numbopt.Adam([np.ones(200_000)], lr=0.5)
    optimizer.step(grads=[np.ones(200_000)])
    run = joblib.Parallel(n_jobs=2, max_nbytes="100K")
    here = step_in_worker(pickle.loads(pickle.dumps(optimizer)))
    assert run(joblib.delayed(step_in_worker)(optimizer) for _ in range(2)) == [here, here]


def test_optimizer_with_a_function_that_only_cloudpickle_can_send():
    cloudpickle = pytest.importorskip("cloudpickle")
    optimizer = numbopt.Adam([np.ones(SIZE)], project=lambda data: np.clip(data, 0, 1))
    steps(optimizer, optimizer)
    buffers = []
    data = cloudpickle.dumps(optimizer, protocol=5, buffer_callback=buffers.append)
    copy = pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert np.array_equal(steps(copy, copy), steps(optimizer, optimizer))
