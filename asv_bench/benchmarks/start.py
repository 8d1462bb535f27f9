"""What a process takes before its first step is done, and what lies in memory after it."""

import tracemalloc

import fresh_process
from problems import work
from references import BOUND_BY_BYTES, C_LOOPS

ALGORITHMS = (*BOUND_BY_BYTES, *C_LOOPS)


ONE_STEP_OF_EACH = """
import numpy as np, numbopt
for name in "SGD Adam AdamW Adamax NAdam RAdam Adagrad Adadelta RMSprop Rprop ASGD".split():
    getattr(numbopt, name)([np.zeros(10)]).step(grads=[np.ones(10)])
"""
PROGRAMS = {
    "one step of Adam": fresh_process.FIRST_STEP,
    "one step of each algorithm": ONE_STEP_OF_EACH,
    "warmup of Adam": "import numbopt; numbopt.warmup('Adam', dtypes=['float64'])",
}


def timeraw_import_numbopt():
    return "import numbopt"


def timeraw_import_numba():
    return "import numba"


class FirstStep:
    """Seconds from the start of a process to its end."""

    params = (("cold", "warm"),)
    param_names = ("cache",)
    unit = "seconds"

    def track_process(self, cache):
        return fresh_process.first_step(warm=cache == "warm")


class Compiled:
    """Kernels that a process compiles where the cache is empty."""

    params = (tuple(PROGRAMS),)
    param_names = ("program",)
    unit = "kernels"

    def track_kernels(self, program):
        with fresh_process.FreshCaches() as caches:
            caches.seconds(PROGRAMS[program])
            return caches.compiled()


class Memory:
    """Bytes beside parameters and gradients, for each element of float32."""

    params = (ALGORITHMS,)
    param_names = ("algorithm",)
    unit = "bytes"

    def track_state(self, algorithm):
        size = 10**6
        parameter, gradient = work.arrays(size, 2)
        work.step(algorithm, size)()  # now all is compiled
        opt = work.optimizer(algorithm, [parameter])
        tracemalloc.start()
        opt.step(grads=[gradient])
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return used / size
