"""Handlers of signals that raise, or that step, also while something is compiled; forks; no compiler."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import numbopt
from numbopt._devices.interruptions import deferred, raised_by_handler

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGALRM")


def own_optimizer():
    """A class of its own, which finds its machine code on the disk."""

    def rule(p, g, state, h):
        return p - h.lr * (g + state[0]), (state[0] + g,)

    class Own(numbopt.ElementwiseOptimizer):
        options = {"lr": numbopt.options.LR}  # noqa: RUF012

        def __init__(self, params, lr=0.125, **common):
            super().__init__(params, {"lr": lr}, **common)

        @staticmethod
        def advance(options, clock):
            return (clock[0] + 1,), (options["lr"],)

    Own.rule = numbopt.Rule(rule, state=("sum",), scalars=("lr",))
    return Own


@pytest.fixture
def alarm():
    """A handler of SIGALRM that raises, and how often it has run."""
    count = [0]

    def too_long(number, frame):
        count[0] += 1
        raise TimeoutError("too long")

    before = signal.signal(signal.SIGALRM, too_long)
    gc.collect()
    gc.disable()  # Python itself drops what is raised in callbacks and finalizers
    yield count
    gc.enable()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_what_a_handler_raises_in_a_first_step_arrives(alarm):
    def first_step(delay):
        optimizer = own_optimizer()([np.zeros(3)])
        arrived = False
        alarm[0] = 0
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                optimizer.step(grads=[np.ones(3)])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except TimeoutError:
            arrived = True
        assert arrived == bool(alarm[0])
        assert optimizer.step_count == np.count_nonzero(optimizer.parameters[0].data[:1])
        return arrived

    first_step(60)
    start = time.perf_counter()
    first_step(60)
    longest = time.perf_counter() - start
    chance = random.Random(0)
    assert sum(first_step(chance.random() * longest + 1e-6) for _ in range(150)) > 30


def test_signals_wait_for_the_end_of_a_compilation(alarm):
    with pytest.raises(TimeoutError), deferred():
        signal.raise_signal(signal.SIGALRM)
        assert alarm == [0]
    assert alarm == [1]
    with pytest.raises(TimeoutError):  # the handler is there again
        signal.raise_signal(signal.SIGALRM)


def test_other_threads_compile_without_touching_handlers(alarm):
    thread = threading.Thread(target=lambda: deferred().__enter__())
    thread.start()
    thread.join()
    with pytest.raises(TimeoutError):
        signal.raise_signal(signal.SIGALRM)


class Slow:
    """An array that takes so long to be computed that a time limit ends it."""

    def __array__(self, dtype=None, copy=None):
        signal.raise_signal(signal.SIGALRM)


@pytest.mark.parametrize(
    "use",
    [
        lambda: numbopt.Parameter(Slow()),
        lambda: numbopt.Adam([np.zeros(3)]).step(grads=[Slow()]),
        lambda: numbopt.Adam([np.zeros(3)], bounds=(Slow(), None)),
    ],
    ids=["parameter", "gradient", "bounds"],
)
def test_what_a_handler_raises_during_a_conversion_arrives(alarm, use):
    with pytest.raises(TimeoutError):
        use()


def test_handlers_of_any_kind_are_recognized():
    class Limit:
        def __call__(self, number, frame):
            raise OSError

        def method(self, number, frame):
            raise OSError

    for handler in (Limit(), Limit().method, lambda number, frame: Limit()(number, frame)):
        before = signal.signal(signal.SIGUSR1, handler)
        try:
            with pytest.raises(OSError) as caught:
                signal.raise_signal(signal.SIGUSR1)
            assert raised_by_handler(caught.value) is caught.value
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert raised_by_handler(OSError()) is None


@pytest.mark.parametrize("name", ["Adam", "LBFGS"])
def test_a_handler_that_steps_the_optimizer_that_it_interrupts(name):
    x = np.ones(3)

    def value():
        signal.raise_signal(signal.SIGUSR1)
        return float(x @ x), [2 * x]

    def inside(data):
        signal.raise_signal(signal.SIGUSR1)

    optimizer = numbopt.Adam([x], project=inside) if name == "Adam" else numbopt.LBFGS([x])
    step = (lambda: optimizer.step(grads=[x])) if name == "Adam" else lambda: optimizer.step(value)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: step())
    try:
        with pytest.raises(RuntimeError, match="inside its own step"):
            step()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_that_was_forked_while_another_thread_was_in_a_step():
    inside, leave = threading.Event(), threading.Event()

    def wait(data):
        inside.set()
        leave.wait()

    x, gradient = np.ones(3), np.ones(3)
    optimizer, other = numbopt.SGD([x], project=wait), numbopt.SGD([np.ones(3)])
    thread = threading.Thread(target=optimizer.step, kwargs={"grads": [gradient]})
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        answer = 1
        try:
            other.step(grads=[gradient])
            optimizer.step(grads=[gradient])
        except RuntimeError as error:
            answer = 0 if "forked" in str(error) else 2
        finally:
            os._exit(answer)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert optimizer.step_count == 1


def test_without_a_compiler():
    script = "import numpy as np, numbopt; numbopt.SGD([np.ones(3)]).step(grads=[np.ones(3)])"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "RuntimeError: numbopt works with compiled code only; unset" in done.stderr
