"""What stands around a step: closures, clipping, averages, schedulers."""

import numpy as np
from problems import work
from references import THREADS

import numbopt
from numbopt import lr_scheduler

SIZES = (10, 10**5, 10**7)

SCHEDULERS = {
    "StepLR": {"step_size": 30},
    "MultiStepLR": {"milestones": [30, 80]},
    "CosineAnnealingLR": {"T_max": 100},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 10**9},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 0.2},
    "WarmupCosineLR": {"warmup_steps": 10, "total_steps": 100},
}


class Closures:
    params = (SIZES,)
    param_names = ("size",)

    def setup(self, size):
        parameter, gradient = numbopt.Parameter(np.zeros(size, np.float32)), np.ones(size, np.float32)
        self.opt = numbopt.Adam([parameter])

        def accumulating():
            self.opt.zero_grad()
            parameter.grad += gradient
            return 0.0

        self.accumulating, self.returning = accumulating, lambda: (0.0, [gradient])
        self.time_closure_that_accumulates(size)
        self.time_closure_that_returns_gradients(size)

    def time_closure_that_accumulates(self, size):
        self.opt.step(self.accumulating)

    def time_closure_that_returns_gradients(self, size):
        self.opt.step(self.returning)


class Guards:
    params = (("max_grad_norm", "bounds", "bound arrays", "nonfinite"), SIZES)
    param_names = ("guard", "size")

    def setup(self, guard, size):
        numbopt.set_num_threads(THREADS)
        options = {
            "max_grad_norm": {"max_grad_norm": 1.0},
            "bounds": {"bounds": (-1.0, 1.0)},
            "bound arrays": {"bounds": (np.full(size, -1.0), np.full(size, 1.0))},
            "nonfinite": {"nonfinite": "raise"},
        }
        self.step = work.step("Adam", size, **options[guard])
        self.step()

    def time_step(self, guard, size):
        self.step()


class Clipping:
    """Functions that change gradients: 1000 parameters of 100."""

    def setup(self):
        _, self.parameters = work.adam_over(1000, 100)
        self.time_clip_grad_norm()

    def time_clip_grad_norm(self):
        numbopt.clip_grad_norm_(self.parameters, 1.0)

    def time_clip_grad_value(self):
        numbopt.clip_grad_value_(self.parameters, 1.0)


class Averages:
    params = (("ema", "swa"), SIZES)
    param_names = ("average", "size")

    def setup(self, average, size):
        numbopt.set_num_threads(THREADS)
        avg_fn = {"ema": numbopt.get_ema_avg_fn, "swa": numbopt.get_swa_avg_fn}[average]()
        self.averages = numbopt.AveragedParameters(work.arrays(size, 1), avg_fn)
        for _ in range(2):  # copies, compiles
            self.averages.update_parameters()

    def time_update(self, average, size):
        self.averages.update_parameters()


class Schedulers:
    params = (tuple(SCHEDULERS),)
    param_names = ("scheduler",)

    def setup(self, name):
        self.opt, _ = work.adam_over(1, 10)
        self.scheduler = getattr(lr_scheduler, name)(self.opt, **SCHEDULERS[name])

    def time_step_with_scheduler(self, name):
        self.opt.step()
        self.scheduler.step()
