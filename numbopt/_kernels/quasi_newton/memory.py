"""Pairs of steps and gradient changes: how they are kept, and what they make of a gradient."""

import math
from typing import Any

from numbopt._kernels.cpu.vectors import difference, dot, scaled_dot, update_dot
from numbopt._kernels.quasi_newton.bounded import remember_products
from numbopt._kernels.quasi_newton.state import BASE_G, BASE_X, BOUNDED, DIRECTION, FIXED_STEP, PAIRS


def remember_pair(x, g, slope, threshold, vectors, products, state, team):
    """Put the pair of the last step into the ring if its curvature ``s . y`` exceeds ``threshold``."""
    capacity = products.shape[1]
    if not (state.step * (slope - state.slope) > threshold and capacity > 0):
        return
    place = (state.newest + 1) % capacity
    s, y = vectors[PAIRS + place], vectors[PAIRS + capacity + place]
    if RULE == FIXED_STEP:
        scaled_dot(s, state.step, vectors[DIRECTION], vectors[DIRECTION], team)
    else:
        difference(s, x, vectors[BASE_X], team)
    difference(y, g, vectors[BASE_G], team)
    curvature, square = dot(s, y, team), dot(y, y, team)
    state.memory = min(state.memory, capacity - 1)  # the oldest pair has been overwritten
    if curvature > 0 and math.isfinite(1 / curvature) and math.isfinite(square):
        products[0, place] = 1 / curvature
        state.scale = curvature / square
        state.newest = place
        state.memory += 1
        if RULE == BOUNDED:
            remember_products(place, vectors, products, state, team)


def two_loop(vectors, products, state, team):
    """Set the direction to minus the inverse Hessian times the gradient, and return its slope (Nocedal 1980, p. 779).

    Every pass updates the direction by one pair and takes the dot that the next pair needs.
    """
    capacity = products.shape[1]
    rho, alpha = products[0], products[1]
    direction = vectors[DIRECTION]
    place = state.newest
    overlap = scaled_dot(direction, -1.0, vectors[BASE_G], vectors[PAIRS + place], team)
    for k in range(state.memory):
        alpha[place] = rho[place] * overlap
        previous = (place - 1) % capacity
        last = k == state.memory - 1
        probe = vectors[PAIRS + capacity + place] if last else vectors[PAIRS + previous]
        overlap = update_dot(direction, 1.0, -alpha[place], vectors[PAIRS + capacity + place], probe, team)
        if not last:
            place = previous
    scale = state.scale
    overlap *= scale
    for k in range(state.memory):
        following = (place + 1) % capacity
        last = k == state.memory - 1
        probe = vectors[BASE_G] if last else vectors[PAIRS + capacity + following]
        weight = alpha[place] - rho[place] * overlap
        overlap = update_dot(direction, scale, weight, vectors[PAIRS + place], probe, team)
        scale = 1.0
        place = following
    return overlap


RULE: Any  # bound by `kernel`

FIXED_STEP_CURVATURE = 1e-10  # torch's absolute threshold for s . y
