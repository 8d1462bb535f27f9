"""One step of Adam by other packages, as fast as each of them does it.

Each function here takes arrays, which it may change or copy, and their gradients, and returns a function that does a
step with these gradients. It raises an ImportError where its package is not installed.
"""

import functools

import numpy as np
from references import THREADS


def torch_fused(arrays, gradients):
    import torch

    torch.set_num_threads(THREADS)
    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = torch.from_numpy(gradient)
    return torch.optim.Adam(tensors, fused=True).step


def optax_donated(arrays, gradients):
    """Jitted, and with the memory of parameters and state donated: XLA may update in place. It takes one thread."""
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    optimizer = optax.adam(1e-3)
    parameters, gradients = [[jax.numpy.array(array) for array in some] for some in (arrays, gradients)]
    state = optimizer.init(parameters)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(parameters, state, gradients):
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    def step():
        nonlocal parameters, state
        parameters, state = jax.block_until_ready(update(parameters, state, gradients))

    return step


def plain_numpy(arrays, gradients):
    """As it stands in many scripts."""
    m, v = ([np.zeros_like(array) for array in arrays] for _ in range(2))
    t = 0

    def step():
        nonlocal t
        t += 1
        for i, (p, g) in enumerate(zip(arrays, gradients, strict=True)):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            p -= 1e-3 * (m[i] / (1 - 0.9**t)) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)

    return step


PEERS = {"torch fused": torch_fused, "optax jitted, donated": optax_donated, "NumPy": plain_numpy}
