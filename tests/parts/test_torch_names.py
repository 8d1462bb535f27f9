"""Names of torch that old scripts use."""

import numpy as np

import numbopt
from numbopt.hooks import OptimizerPostHook, OptimizerPreHook
from numbopt.lr_scheduler import LRScheduler, _LRScheduler


def test_names_are_those_of_torch():
    assert _LRScheduler is LRScheduler
    assert OptimizerPreHook is OptimizerPostHook
    assert numbopt.swa_utils.SWALR is numbopt.lr_scheduler.SWALR
    assert numbopt.swa_utils.get_ema_avg_fn is numbopt.get_ema_avg_fn


def test_a_step_that_was_decorated_for_torch_works():
    class Own(numbopt.SGD):
        @numbopt.Optimizer.profile_hook_step
        def step(self, closure=None, *, grads=None):
            return super().step(closure, grads=grads)

    x, calls = np.ones(2), []
    optimizer = Own([x], lr=0.5)
    optimizer.register_step_post_hook(lambda *given: calls.append(1))
    optimizer.step(grads=[np.ones(2)])
    assert (x.tolist(), calls) == ([0.5, 0.5], [1])
