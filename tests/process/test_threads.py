"""Results do not depend on who does the work: one thread or several, threads of the user, other processes."""

import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from cases.optimizers import CASES, DTYPES

import numbopt
from numbopt._launch import blocks, cpu, threads

PACKAGE = Path(numbopt.__file__).parent
# One that is cut into many blocks, some that are one, a block of one element, complex numbers cut in two.
SIZES = (997, 1, 32, 33)


@pytest.fixture
def small_is_parallel(monkeypatch):
    """Launches of a few hundred elements are cut into many blocks and worked on by several threads."""
    monkeypatch.setattr(blocks, "BLOCK", 16)
    monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)


@pytest.fixture
def set_threads(monkeypatch):
    def set_threads(count):
        monkeypatch.setattr(threads, "_thread_count", count)

    return set_threads


def arrays_and_gradients(dtype, steps=3):
    generator = np.random.default_rng(0)

    def arrays():
        numbers = [generator.standard_normal(2 * size).view(complex) for size in SIZES]
        return [(z if np.dtype(dtype).kind == "c" else z.real).astype(dtype) for z in numbers]

    return arrays(), [arrays() for _ in range(steps)]


def trajectory(case, dtype, **more):
    """Step; return all bits of the parameters and of the state."""
    arrays, gradients = arrays_and_gradients(dtype)
    optimizer = getattr(numbopt, case.cls)(arrays, **case.options, **more)
    for step, grads in enumerate(gradients):
        optimizer.step(grads=[None, *grads[1:]] if step == 1 else grads)
    states = [dict(optimizer.state.get(array, {})) for array in arrays]
    flat = [value for state in states for value in state.values() if isinstance(value, np.ndarray)]
    return b"".join(array.tobytes() for array in (*arrays, *flat))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_serial_and_shared_launches_give_the_same_bits(case, dtype, monkeypatch, set_threads):
    expected = trajectory(case, dtype)
    monkeypatch.setattr(blocks, "BLOCK", 16)
    in_small_blocks = trajectory(case, dtype)
    assert in_small_blocks == expected or case.sums_over, "in blocks of another size"
    expected = in_small_blocks  # sums are rounded block by block
    monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    for count in (1, 2, 5):
        set_threads(count)
        assert trajectory(case, dtype) == expected, f"{count} threads"


@pytest.mark.filterwarnings("ignore:.*started outside its bounds")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["SGD-default", "Adam-amsgrad", "Rprop-default"])
def test_clipped_steps_within_bounds_of_each_element_give_the_same_bits(name, dtype, monkeypatch, set_threads):
    (case,) = (case for case in CASES if case.id == name)
    more = {"max_grad_norm": 0.5, "bounds": (np.array([-0.5]), 0.75)}
    expected = trajectory(case, dtype, **more)
    monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    for count in (1, 2, 5):
        set_threads(count)
        assert trajectory(case, dtype, **more) == expected, f"{count} threads"


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_have_the_same_bits_serially_and_shared(dtype, monkeypatch, set_threads):
    random = np.random.default_rng(0)
    sizes = [*range(1, 100), blocks.BLOCK - 1, blocks.BLOCK, blocks.BLOCK + 1, 10 * blocks.BLOCK + 37]
    arrays = [random.standard_normal(2 * size).view(complex) for size in sizes]
    arrays = [(z if np.dtype(dtype).kind == "c" else z.real).astype(dtype) for z in arrays]

    def norms():
        return [numbopt.get_total_norm(some) for some in (*([array] for array in arrays), arrays)]

    expected = norms()
    monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
    for count in (1, 2, 5):
        set_threads(count)
        assert norms() == expected, f"{count} threads"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_zero_grad_reaches_every_element(count, small_is_parallel, set_threads):
    set_threads(count)
    parameters = [numbopt.Parameter(array) for array in arrays_and_gradients("complex64")[0]]
    optimizer = numbopt.SGD(parameters)
    for _ in range(20):
        for parameter in parameters:
            parameter.grad = np.ones(parameter.shape)
        optimizer.zero_grad()
        assert not any(parameter.grad.any() for parameter in parameters)


def test_number_of_threads(set_threads):
    set_threads(0)
    assert 1 <= numbopt.get_num_threads() <= (os.cpu_count() or 1)
    numbopt.set_num_threads(3)
    assert numbopt.get_num_threads() == 3
    for bad in (0, -1, 2.0, True, None, "2"):
        with pytest.raises(ValueError, match="positive integer"):
            numbopt.set_num_threads(bad)
    assert numbopt.get_num_threads() == 3


# ---- threads of the user


def in_threads(count, work):
    """Call ``work(0)``, ``work(1)`` and so on, each in a thread of its own, all at once."""
    barrier = threading.Barrier(count, timeout=60)
    errors = []

    def run(number):
        try:
            barrier.wait()
            work(number)
        except BaseException as error:  # of a thread, which pytest would not see
            errors.append(error)

    workers = [threading.Thread(target=run, args=[number], daemon=True) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert not worker.is_alive()
    assert errors == []


@pytest.mark.parametrize("parallel", [False, True], ids=["serial", "shared"])
def test_several_threads_step_optimizers_of_their_own(parallel, monkeypatch, set_threads):
    if parallel:
        monkeypatch.setattr(blocks, "BLOCK", 16)
        monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
        set_threads(2)
    classes = [numbopt.Adam, numbopt.SGD, numbopt.RMSprop, numbopt.Adam]

    def results():
        return [np.linspace(number, 5, 2000) for number in range(len(classes))]

    def work(arrays):
        def steps(number):
            optimizer = classes[number]([arrays[number]], lr=0.01)
            for _ in range(50):
                optimizer.step(grads=[arrays[number] - number])

        return steps

    expected, actual = results(), results()
    for number in range(len(classes)):
        work(expected)(number)
    in_threads(len(classes), work(actual))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("parallel", [False, True], ids=["serial", "shared"])
def test_several_threads_step_one_optimizer(parallel, monkeypatch, set_threads):
    """Each step is done as a whole, so that their order does not show where all have one gradient."""
    if parallel:
        monkeypatch.setattr(blocks, "BLOCK", 16)
        monkeypatch.setattr(cpu, "BYTES_PER_THREAD", 1)
        set_threads(2)
    gradients = [np.linspace(-1, 1, 2000), np.linspace(-2, 3, 3)]

    def make():
        arrays = [np.ones(2000), np.zeros(3)]
        return arrays, numbopt.Adam(arrays, lr=0.01)

    expected, optimizer = make()
    for _ in range(120):
        optimizer.step(grads=gradients)
    actual, optimizer = make()
    in_threads(3, lambda _: [optimizer.step(grads=gradients) for _ in range(40)])
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert optimizer.state[actual[0]]["step"] == 120


# ---- helpers


def launch_of(array, gradient):
    """A shared launch of SGD on one array, with a learning rate of one, after its first step."""
    optimizer = numbopt.SGD([array], lr=1.0)
    optimizer.step(grads=[gradient])
    (table,) = optimizer._tables
    return table.launch, table.target.rows


def test_helper_that_wakes_late_touches_nothing(small_is_parallel, set_threads):
    set_threads(1)
    array, gradient = np.zeros(500), np.ones(500)
    launch, rows = launch_of(array, gradient)
    assert (array == -1).all()
    trap = np.zeros(500)
    rows[:, 2] += trap.ctypes.data - array.ctypes.data  # where a helper would write now
    for number in range(1, 4):
        launch._help(number)
    assert (array == -1).all()
    assert not trap.any()
    rows[:, 2] += array.ctypes.data - trap.ctypes.data
    launch._run()
    assert (array == -2).all()


def test_helper_that_wakes_before_the_first_launch_touches_nothing(small_is_parallel, monkeypatch):
    array = np.zeros(500)
    monkeypatch.setattr(cpu.Launch, "calls", lambda launch: [lambda: launch._help(1), launch._run])
    numbopt.SGD([array], lr=1.0).step(grads=[np.ones(500)])
    assert (array == -1).all()


@pytest.mark.parametrize("shares", [1, 2, 5])
def test_helper_does_what_the_launching_thread_has_not_begun(shares, small_is_parallel, set_threads):
    """Every chunk is done once, whoever comes when."""
    set_threads(shares)
    array, gradient = np.zeros(5000), np.ones(5000)
    launch, _ = launch_of(array, gradient)
    stop = threading.Event()

    def help_all_the_time(number):
        while not stop.is_set():
            launch._help(number)

    helpers = [threading.Thread(target=help_all_the_time, args=[number], daemon=True) for number in range(1, 4)]
    for helper in helpers:
        helper.start()
    for step in range(2, 300):
        launch._run()
        assert (array == -step).all()
    stop.set()
    for helper in helpers:
        helper.join(timeout=60)
        assert not helper.is_alive()


def test_helpers_are_woken_for_large_launches_only(monkeypatch):
    monkeypatch.setattr(threads, "_thread_count", 4)
    monkeypatch.setattr(threads, "_jobs", type(threads._jobs)())
    monkeypatch.setattr(threads, "_helpers", [None] * 3)  # they sleep
    assert threads.calls_for_help(print, 1) == []
    assert len(threads.calls_for_help(print, 2)) == 1
    assert len(threads.calls_for_help(print, 100)) == 3
    for call in threads.calls_for_help(print, 100):
        call()
    assert threads._jobs.qsize() == 3
    assert threads.calls_for_help(print, 100) == []  # they have not come to these yet


@pytest.mark.parametrize("sizes", [[8192] * 1000, [10] * 5000, [8192, 10, 1] * 100, [1], [100_000]])
def test_chunks_are_about_equal_and_cover_all_rows(sizes):
    work = np.array(sizes)
    chunks = blocks.equal_chunks(work)
    assert chunks[0] == 0 and chunks[-1] == len(work) and (np.diff(chunks) > 0).all()
    in_chunk = np.add.reduceat(work, chunks[:-1])
    assert (in_chunk < blocks.BLOCK + work.max()).all()
    assert (in_chunk[:-1] > blocks.BLOCK - work.max()).all()


def test_new_launches_know_what_others_of_the_same_work_took(small_is_parallel):
    launches = []
    for size in (1000, 1010, 3000):
        optimizer = numbopt.SGD([np.zeros(size)])
        optimizer.step(grads=[np.zeros(size)])
        launches.append(next(iter(optimizer._tables)).launch)
    assert launches[0]._choice is launches[1]._choice is not launches[2]._choice


def test_small_launches_are_serial(set_threads):
    set_threads(4)
    x = np.zeros(1000)
    optimizer = numbopt.SGD([x])
    optimizer.step(grads=[x.copy()])
    assert len(next(iter(optimizer._tables)).launch.calls()) == 1


# ---- processes, pools, and Numba's own parallel loops beside

PROCESSES = """
import json
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numba
import numpy as np

import numbopt
from numbopt._launch import blocks
from numbopt._launch import cpu

blocks.BLOCK, cpu.BYTES_PER_THREAD = 16, 1
numbopt.set_num_threads(3)
PARENT = os.getpid()


@numba.njit(parallel=True, cache=True)
def users_loop(x):
    y = np.empty_like(x)
    for i in numba.prange(x.size):
        y[i] = 2 * x[i]
    return y


def start():
    x = np.linspace(1, 2, 1000)
    return x, numbopt.Adam([x], lr=0.125)


def steps(x, optimizer, count):
    for _ in range(count):
        optimizer.step(grads=[x / 2])
    return x.tolist()


def work(count):
    return steps(*start(), count)


def work_with_users_loop(count):
    x, optimizer = start()
    for _ in range(count):
        optimizer.step(grads=[users_loop(x) / 4])
    return x.tolist()


if __name__ == "__main__":
    x, optimizer = start()
    steps(x, optimizer, 2)
    results = {"users loop": [work_with_users_loop(5)]}
    if hasattr(os, "fork"):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            with os.fdopen(write, "w") as file:
                json.dump(steps(x, optimizer, 3), file)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as file:
            results["child"] = [json.load(file)]
        os.wait()
    for method in {"fork", "spawn"}.intersection(multiprocessing.get_all_start_methods()):
        context = multiprocessing.get_context(method)
        # Under OpenMP, a parallel loop of Numba in a child that was forked after one ends the child.
        function = work if method == "fork" else work_with_users_loop
        with context.Pool(2) as pool:
            results[f"pool by {method}"] = pool.map(function, [5, 5])
        with ProcessPoolExecutor(2, context) as pool:
            results[f"executor by {method}"] = list(pool.map(function, [5, 5]))
    try:
        import joblib
    except ImportError:
        pass
    else:
        results["joblib"] = joblib.Parallel(n_jobs=2)(joblib.delayed(work_with_users_loop)(5) for _ in range(2))
        results["joblib threads"] = joblib.Parallel(n_jobs=3, backend="threading")(
            joblib.delayed(work)(5) for _ in range(6)
        )
    stop = threading.Event()

    def keep_calling():  # from one thread: under workqueue, two at once end the process
        while not stop.is_set():
            users_loop(x)

    caller = threading.Thread(target=keep_calling)
    caller.start()
    with ThreadPoolExecutor(4) as pool:
        results["threads"] = list(pool.map(work, [5] * 40))
    stop.set()
    caller.join()
    results["parent"] = [steps(x, optimizer, 3)]
    print(json.dumps([numba.threading_layer(), results]))
"""


@pytest.mark.parametrize("layer", ["omp", "tbb", "workqueue"])
def test_pools_of_processes_and_of_threads_give_the_same_result(layer, tmp_path):
    module = {"omp": "omppool", "tbb": "tbbpool"}.get(layer, layer)
    try:
        importlib.import_module(f"numba.np.ufunc.{module}")
    except ImportError as error:
        pytest.skip(str(error))
    script = tmp_path / "processes.py"
    script.write_text(PROCESSES, encoding="utf-8")
    done = subprocess.run(
        # Python warns of forks beside threads; joblib, of this and that.
        [sys.executable, "-W", "ignore", script],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "NUMBA_THREADING_LAYER": layer},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    used, results = json.loads(done.stdout)
    assert used == layer
    x = np.linspace(1, 2, 1000)
    optimizer = numbopt.Adam([x], lr=0.125)
    for _ in range(5):
        optimizer.step(grads=[x / 2])
    expected = x.tolist()
    assert {"users loop", "threads", "parent", "pool by spawn", "executor by spawn"} <= set(results)
    for name, values in results.items():
        assert values == [expected] * len(values), name


# ---- one thread or all, by what they took


class Machine:
    """Time that passes only in launches; a launch with help takes what is said, and one without."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(threads, "_clock", iter(lambda: self.now, None))
        self.choice = threads.HelpChoice()

    def launches(self, count, alone, with_help, work=1):
        """Do some launches; return how many had help."""
        helped = 0
        for _ in range(count):
            calls = self.choice.timed(lambda: [_help], _launch, work)
            for call in calls:
                call()
                if call is _launch:
                    self.now += work * (with_help if _help in calls else alone)
            helped += _help in calls
        return helped


def _help():
    pass


def _launch():
    pass


def test_the_faster_way_is_found_and_found_again(monkeypatch):
    machine = Machine(monkeypatch)
    assert machine.launches(100, alone=2.0, with_help=1.0) >= 95  # three alone to begin with, two tried later
    assert machine.launches(100, alone=2.0, with_help=5.0) <= 15
    assert 5 <= machine.launches(1000, alone=2.0, with_help=5.0) <= 20
    assert machine.launches(300, alone=2.0, with_help=1.0) >= 140


def test_trying_the_slower_way_costs_little(monkeypatch):
    machine = Machine(monkeypatch)
    machine.launches(5000, alone=32.0, with_help=1.0)
    start = machine.now
    machine.launches(50_000, alone=32.0, with_help=1.0)
    assert machine.now - start < 1.01 * 50_000


def test_launches_that_are_never_seen_to_end():
    """As where several threads share what they know, and each launch begins while another is under way."""
    choice = threads.HelpChoice()
    for _ in range(200):
        assert _launch in choice.timed(lambda: [_help], _launch, 1)


def test_a_slow_beginning_is_forgotten(monkeypatch):
    machine = Machine(monkeypatch)
    machine.launches(3, alone=1000.0, with_help=2.0)
    assert machine.launches(200, alone=1.0, with_help=2.0) < 110


def test_more_work_is_no_slowdown(monkeypatch):
    machine = Machine(monkeypatch)
    machine.launches(20, alone=2.0, with_help=1.0)
    assert machine.launches(20, alone=2.0, with_help=1.0, work=3) == 20


def test_a_single_slow_launch_changes_nothing(monkeypatch):
    machine = Machine(monkeypatch)
    machine.launches(20, alone=2.0, with_help=1.0)
    machine.launches(1, alone=2.0, with_help=100.0)
    assert machine.launches(20, alone=2.0, with_help=1.0) == 20
