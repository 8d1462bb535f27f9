"""What numbopt is timed at: each function here returns a function to be called again and again."""

import functools

import numpy as np

import numbopt

OPTIONS = {"momentum": ("SGD", {"momentum": 0.9}), "AMSGrad": ("Adam", {"amsgrad": True})}
"""Names that stand for an optimizer with options."""


def arrays(size, count, dtype=np.float32):
    """Return arrays of small random numbers."""
    rng = np.random.default_rng(0)
    real = np.empty(0, dtype).real.dtype
    values = [(rng.standard_normal(size, dtype=real) * 1e-3 + 1e-3).astype(dtype, copy=False) for _ in range(count)]
    return values


def optimizer(name, parameters, **options):
    """Return the optimizer that a name stands for."""
    cls, more = OPTIONS.get(name, (name, {}))
    return getattr(numbopt, cls)(parameters, **more, **options)


def step(name, size, dtype=np.float32, **options):
    """A step over one array, with its gradient given."""
    parameter, gradient = arrays(size, 2, dtype)
    return functools.partial(optimizer(name, [parameter], **options).step, grads=[gradient])


def adam_over(count, size):
    """Return Adam over so many Parameters that have gradients, and them."""
    parameters = [numbopt.Parameter(np.zeros(size, np.float32)) for _ in range(count)]
    for parameter in parameters:
        parameter.grad = np.full(size, 1e-3, np.float32)
    opt = numbopt.Adam(parameters)
    opt.step()
    return opt, parameters


def many_given():
    """1000 plain arrays of 100, and their gradients in a list."""
    values, gradients = ([np.full(100, 1e-3, np.float32) for _ in range(1000)] for _ in range(2))
    return functools.partial(numbopt.Adam(values).step, grads=gradients)


def rebuilt():
    """Twenty gradients of 1000 come or go, then a step."""
    opt, parameters = adam_over(1000, 100)
    gradient = parameters[0].grad.copy()

    def step():
        for parameter in parameters[:20]:
            parameter.grad = None if parameter.grad is not None else gradient
        opt.step()

    return step


def half_none():
    opt, parameters = adam_over(1000, 100)
    for parameter in parameters[::2]:
        parameter.grad = None
    return opt.step


def distinct_step_counts():
    """1000 parameters, ten each of which have been stepped 1, 2, ... 100 times."""
    opt, parameters = adam_over(1000, 100)
    gradient = parameters[0].grad.copy()
    for step in range(100):
        for i, parameter in enumerate(parameters):
            parameter.grad = gradient if i % 100 <= step else None
        opt.step()
    return opt.step


SMALL = {
    "step(), one parameter of 10, gradients that stay": (lambda: adam_over(1, 10)[0].step, 3e-6),
    "step(), 1000 parameters of 100, gradients that stay": (lambda: adam_over(1000, 100)[0].step, 60e-6),
    "step(grads=), 1000 arrays of 100, the same each time": (many_given, 60e-6),
    "zero_grad(), 1000 parameters of 100": (lambda: adam_over(1000, 100)[0].zero_grad, 30e-6),
    "step() after 20 gradients of 1000 came or went": (rebuilt, 300e-6),
    "step(), half of 1000 gradients None": (half_none, 100e-6),
    "step(), 100 distinct step counts": (distinct_step_counts, 100e-6),
}
"""Work that is mostly overhead, and the time in seconds that it may take."""
