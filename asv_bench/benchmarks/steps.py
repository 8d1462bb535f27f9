"""The time of a step."""

from problems import work
from references import BOUND_BY_BYTES, C_LOOPS, THREADS

import numbopt


class EveryAlgorithm:
    """One array."""

    params = ((*BOUND_BY_BYTES, *C_LOOPS), (10, 10**3, 10**5, 10**7), ("float32", "float64"), (1, THREADS))
    param_names = ("algorithm", "size", "dtype", "threads")
    sample_time = 0.02

    def setup(self, algorithm, size, dtype, threads):
        if threads > 1 and size < 10**5:
            raise NotImplementedError  # one thread, however many there are
        numbopt.set_num_threads(threads)
        self.step = work.step(algorithm, size, dtype)
        self.step()

    def time_step(self, algorithm, size, dtype, threads):
        self.step()


class Complex:
    """Real and imaginary parts are what the same loop runs over."""

    params = ((10**3, 10**7), ("complex64", "complex128"))
    param_names = ("size", "dtype")

    def setup(self, size, dtype):
        numbopt.set_num_threads(THREADS)
        self.step = work.step("Adam", size, dtype)
        self.step()

    def time_adam(self, size, dtype):
        self.step()


class ManyParameters:
    """As many elements in many small parameters as in one."""

    params = ((1, 10, 1000),)
    param_names = ("parameters",)

    def setup(self, parameters):
        numbopt.set_num_threads(THREADS)
        self.opt, _ = work.adam_over(parameters, 10**5 // parameters)

    def time_step(self, parameters):
        self.opt.step()

    def time_zero_grad(self, parameters):
        self.opt.zero_grad()


class Overhead:
    """Work that takes as long as Python needs for it; the bars are in `work.SMALL`."""

    params = (tuple(work.SMALL),)
    param_names = ("work",)

    def setup(self, name):
        self.call = work.SMALL[name][0]()
        self.call()

    def time_call(self, name):
        self.call()
