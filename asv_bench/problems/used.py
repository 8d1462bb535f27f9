"""Steps as real codes call them: new gradient arrays at every step, edited options, schedulers.

Each function here returns a function to be called again and again.
"""

import itertools

import numpy as np

import numbopt

SETS = 16
"""Sets of gradients that take turns: each step gets other arrays than the one before, whatever the allocator does."""


def gradients(count, size, dtype=np.float64):
    """Iterate over lists of gradients."""
    return itertools.cycle([[np.full(size, 1e-3, dtype) for _ in range(count)] for _ in range(SETS)])


def adam(count, size, dtype=np.float64):
    """Adam over so many arrays."""
    opt, given = numbopt.Adam([np.zeros(size, dtype) for _ in range(count)]), gradients(count, size, dtype)
    return lambda: opt.step(grads=next(given))


def numpy_adam(count, size, dtype=np.float64):
    """The Adam that scripts carry: it makes a new array of each parameter."""
    given = gradients(count, size, dtype)
    x, m, v = ([np.zeros(size, dtype) for _ in range(count)] for _ in range(3))
    t = 0

    def step():
        nonlocal t
        t += 1
        for i, g in enumerate(next(given)):
            m[i] = 0.1 * g + 0.9 * m[i]
            v[i] = 0.001 * g**2 + 0.999 * v[i]
            mean, square = m[i] / (1 - 0.9**t), v[i] / (1 - 0.999**t)
            x[i] = x[i] - 1e-3 * mean / (np.sqrt(square) + 1e-8)

    return step


def torch_adam(count, size, dtype=np.float64):
    """Torch's fused Adam over the memory of arrays, with gradients that are arrays of NumPy."""
    import torch

    torch.set_num_threads(1)
    given = gradients(count, size, dtype)
    tensors = [torch.zeros(size, dtype=getattr(torch, np.dtype(dtype).name), requires_grad=True) for _ in range(count)]
    opt = torch.optim.Adam(tensors, fused=True)

    def step():
        for tensor, gradient in zip(tensors, next(given), strict=True):
            tensor.grad = torch.from_numpy(gradient)
        opt.step()

    return step


def edited_lr(size):
    """A learning rate that is written at every step."""
    opt, given, rates = numbopt.Adam([np.zeros(size)]), gradients(1, size), itertools.cycle([1e-3, 2e-3, 3e-3])

    def step():
        opt.param_groups[0]["lr"] = next(rates)
        opt.step(grads=next(given))

    return step


def scheduled(size):
    """A scheduler at every step."""
    opt, given = numbopt.Adam([np.zeros(size)]), gradients(1, size)
    scheduler = numbopt.lr_scheduler.ExponentialLR(opt, 0.999999)

    def step():
        opt.step(grads=next(given))
        scheduler.step()

    return step


def edited_step(size):
    """The number of the step, written at every step."""
    x, given, numbers = np.zeros(size), gradients(1, size), itertools.count(1)
    opt = numbopt.Adam([x])
    opt.step(grads=next(given))

    def step():
        opt.state[x]["step"] = next(numbers)
        opt.step(grads=next(given))

    return step


def minimize_adam(n, iterations):
    """`minimize` by Adam of a function that takes no time."""
    value, gradient, x0 = 1.0, np.full(n, 1e-3), np.zeros(n)
    options = {"maxiter": iterations, "gtol": 0.0, "ftol": 0.0}
    return lambda: numbopt.minimize(lambda x: (value, gradient), x0, jac=True, method="adam", options=options)


def numpy_adam_steps(n, iterations):
    """As many steps of the Adam that scripts carry."""
    step = numpy_adam(1, n)
    return lambda: [step() for _ in range(iterations)]
