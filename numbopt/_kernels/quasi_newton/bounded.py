"""Directions of L-BFGS within bounds: to a Cauchy point, and on to the minimum over the variables that it leaves free.

The Cauchy point is the first minimum of the quadratic model along the projected path of steepest descent. The model has
the matrix ``B = theta I - W M W^T``. A row of ``W`` belongs to a variable: its elements of all y, then those of all s
times theta. ``M`` is the inverse of ``[[-D, L^T], [L, theta S^T S]]``, where D is the diagonal of ``S^T Y`` and L the
part below it. Pairs are in the order of their age.

References
----------
R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A limited memory algorithm for bound constrained optimization", SIAM J. Sci.
Comput. 16 (1995) 1190-1208.
J. L. Morales, J. Nocedal, "Remark on Algorithm 778", ACM TOMS 38 (2011) 7.
"""

import math

import numpy as np

from numbopt._kernels.cpu.intrinsics import borrowed, never_inline
from numbopt._kernels.cpu.vectors import dot, point_on_line
from numbopt._kernels.quasi_newton.state import BASE_G, BASE_X, DIRECTION, GRAMS, PAIRS

_LOWER, _UPPER, _CAUCHY, _BREAKS, _EXTRA_ROWS = range(5)  # rows behind those of the pairs
_EPSILON = 2.220446049250313e-16


def extra_rows(vectors, products):
    """Return lower bounds, upper bounds and two vectors to work with."""
    start = PAIRS + 2 * products.shape[1]
    return vectors[start + _LOWER], vectors[start + _UPPER], vectors[start + _CAUCHY], vectors[start + _BREAKS]


def move_inside(x, vectors, products):
    """Move a point that rounding took across a bound back to it."""
    lower, upper, _, _ = extra_rows(vectors, products)
    for i in range(x.size):
        x[i] = min(max(x[i], lower[i]), upper[i])


def projected_norm(x, g, vectors, products):
    """Return the largest element of the gradient, each cut off where a step against it would leave the bounds."""
    lower, upper, _, _ = extra_rows(vectors, products)
    largest = 0.0
    for i in range(x.size):
        largest = max(largest, abs(min(max(g[i], x[i] - upper[i]), x[i] - lower[i])))
    return largest


def remember_products(place, vectors, products, state, team):
    """Add the products of the newest pair with all others to the Gram matrices S^T Y, S^T S and Y^T Y."""
    capacity = products.shape[1]
    sy, ss, yy = grams(products)
    s, y = vectors[PAIRS + place], vectors[PAIRS + capacity + place]
    for age in range(state.memory):
        other = (place - age) % capacity
        s_other, y_other = vectors[PAIRS + other], vectors[PAIRS + capacity + other]
        sy[place, other], sy[other, place] = dot(s, y_other, team), dot(s_other, y, team)
        ss[place, other] = ss[other, place] = dot(s, s_other, team)
        yy[place, other] = yy[other, place] = dot(y, y_other, team)


def restore_products(vectors, products, states, team):
    """Make the Gram matrices of pairs that were loaded, with the bits that they had."""
    vectors, state = borrowed(vectors), states[0]
    memory = state.memory
    for age in range(memory - 1, -1, -1):
        state.memory = memory - age
        remember_products((state.newest - age) % products.shape[1], vectors, products, state, team)


def grams(products):
    capacity = products.shape[1]
    start = GRAMS
    return (
        products[start : start + capacity],
        products[start + capacity : start + 2 * capacity],
        products[start + 2 * capacity : start + 3 * capacity],
    )


def bounded_direction(vectors, products, state, team):
    """Set the direction; return its slope and the longest step along it that stays within the bounds."""
    never_inline()
    x, g, direction = vectors[BASE_X], vectors[BASE_G], vectors[DIRECTION]
    lower, upper, _, _ = extra_rows(vectors, products)
    slope = 0.0
    if state.memory > 0 and _model_direction(vectors, products, state, team):
        slope = dot(g, direction, team)
    if not (slope < 0 and math.isfinite(slope)):
        state.memory = 0
        _gradient_direction(x, g, direction, lower, upper)
        slope = dot(g, direction, team)
    limit = math.inf
    for i in range(x.size):
        if direction[i] > 0:
            limit = min(limit, (upper[i] - x[i]) / direction[i])
        elif direction[i] < 0:
            limit = min(limit, (lower[i] - x[i]) / direction[i])
    return slope, max(limit, 1.0)


def _gradient_direction(x, g, direction, lower, upper):
    """Go where a step against the gradient is projected to, no farther than 1 unless all variables have two bounds."""
    largest, is_box = 0.0, True
    for i in range(x.size):
        direction[i] = min(max(x[i] - g[i], lower[i]), upper[i]) - x[i]
        largest = max(largest, abs(direction[i]))
        is_box = is_box and upper[i] - lower[i] < math.inf
    if is_box or largest == 0:
        return
    total = 0.0
    for i in range(x.size):
        total += (direction[i] / largest) ** 2
    length = math.sqrt(total)  # in units of the largest element, so that no square overflows
    if largest * length > 1:
        for i in range(x.size):
            direction[i] = direction[i] / largest / length


def _model_direction(vectors, products, state, team):
    """Set the direction to the model's minimum; False if the matrices do not allow that."""
    k, capacity = state.memory, products.shape[1]
    theta = 1 / state.scale
    places = np.empty(k, np.int64)
    for j in range(k):
        places[j] = (state.newest - k + 1 + j) % capacity
    sy, ss, yy = grams(products)
    middle = np.empty(k), np.zeros((k, k)), np.empty((k, k))
    if not _factorize(sy, ss, theta, places, middle):
        return False
    x, g, direction = vectors[BASE_X], vectors[BASE_G], vectors[DIRECTION]
    lower, upper, cauchy, work = extra_rows(vectors, products)
    s, y = vectors[PAIRS : PAIRS + capacity], vectors[PAIRS + capacity : PAIRS + 2 * capacity]
    c = _cauchy_point(x, g, lower, upper, direction, cauchy, work, s, y, theta, places, middle, team)
    return _subspace_point(
        x, g, lower, upper, direction, cauchy, work, s, y, sy, ss, yy, theta, places, middle, c, team
    )


def _factorize(sy, ss, theta, places, middle):
    """Set D, L D^-1 and the Cholesky factor of ``theta S^T S + L D^-1 L^T``; False if that is not positive definite."""
    diagonal, below, root = middle
    k = places.size
    for a in range(k):
        diagonal[a] = sy[places[a], places[a]]
        for b in range(a):
            below[a, b] = sy[places[a], places[b]] / diagonal[b]
    for a in range(k):
        for b in range(a + 1):
            total = theta * ss[places[a], places[b]]
            for j in range(b):
                total += below[a, j] * below[b, j] * diagonal[j] - root[a, j] * root[b, j]
            if a > b:
                root[a, b] = total / root[b, b]
            elif total > 0 and total < math.inf:
                root[a, a] = math.sqrt(total)
            else:
                return False
    return True


def _times_middle(v, out, middle):
    """Set ``out = M v``."""
    diagonal, below, root = middle
    k = diagonal.size
    for a in range(k):
        total = v[k + a]
        for j in range(a):
            total += below[a, j] * v[j] - root[a, j] * out[k + j]
        out[k + a] = total / root[a, a]
    for a in range(k - 1, -1, -1):
        total, opposite = out[k + a], 0.0
        for j in range(a + 1, k):
            total -= root[j, a] * out[k + j]
            opposite += below[j, a] * out[k + j]
        out[k + a] = total / root[a, a]
        out[a] = opposite - v[a] / diagonal[a]


def _row(i, s, y, theta, places, out):
    """Set ``out`` to the row of W that belongs to a variable."""
    k = places.size
    for j in range(k):
        out[j], out[k + j] = y[places[j], i], theta * s[places[j], i]


def _product(a, b):
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


def _cauchy_point(x, g, lower, upper, direction, cauchy, breaks, s, y, theta, places, middle, team):
    """Follow the projected steepest descent to the model's first minimum; return ``W^T (cauchy - x)``."""
    n, k = x.size, places.size
    heap, count, square = np.empty(n, np.int64), 0, 0.0
    for i in range(n):
        cauchy[i], direction[i], breaks[i] = x[i], -g[i], math.inf
        bound = upper[i] if g[i] < 0 else lower[i]
        if g[i] != 0 and abs(bound) < math.inf:
            breaks[i] = (x[i] - bound) / g[i]
            if breaks[i] <= 0:
                direction[i] = 0.0
            else:
                heap[count] = i
                count += 1
        square += float(direction[i]) ** 2
    p, c, row, product = np.empty(2 * k), np.zeros(2 * k), np.empty(2 * k), np.empty(2 * k)
    for j in range(k):
        p[j] = dot(y[places[j]], direction, team)
        p[k + j] = theta * dot(s[places[j]], direction, team)
    _times_middle(p, product, middle)
    first, least = -square, theta * square * _EPSILON
    second = max(theta * square - _product(p, product), least)
    if square == 0:
        return c
    for start in range(count // 2 - 1, -1, -1):
        _sift_down(heap, start, count, breaks)
    done, ahead = 0.0, -first / second
    while count > 0 and ahead >= breaks[heap[0]] - done:
        i = heap[0]
        count -= 1
        heap[0] = heap[count]
        _sift_down(heap, 0, count, breaks)
        step = breaks[i] - done
        cauchy[i] = upper[i] if direction[i] > 0 else lower[i]
        _row(i, s, y, theta, places, row)
        gradient, way = float(g[i]), float(cauchy[i]) - float(x[i])
        for j in range(2 * k):
            c[j] += step * p[j]
        _times_middle(row, product, middle)
        first += step * second + gradient * gradient + theta * gradient * way - gradient * _product(product, c)
        second += -theta * gradient * gradient - 2 * gradient * _product(product, p)
        second = max(second - gradient * gradient * _product(product, row), least)
        for j in range(2 * k):
            p[j] += gradient * row[j]
        direction[i] = 0.0
        done = breaks[i]
        ahead = max(-first / second, 0.0)
        if first >= 0:
            break
    for i in range(n):
        if direction[i] != 0:
            cauchy[i] = min(max(x[i] + (done + ahead) * direction[i], lower[i]), upper[i])
    for j in range(2 * k):
        c[j] += ahead * p[j]
    return c


def _sift_down(heap, start, count, keys):
    """Let an entry of a heap sink to its place; the smallest key, of equal ones the smallest entry, is on top."""
    entry, place = heap[start], start
    while 2 * place + 1 < count:
        child = 2 * place + 1
        if child + 1 < count and _is_before(heap[child + 1], heap[child], keys):
            child += 1
        if not _is_before(heap[child], entry, keys):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = entry


def _is_before(a, b, keys):
    return keys[a] < keys[b] or (keys[a] == keys[b] and a < b)


def _subspace_point(x, g, lower, upper, direction, cauchy, reduced, s, y, sy, ss, yy, theta, places, middle, c, team):
    """Set the direction to the model's minimum over the free variables; False if a matrix is singular."""
    n, k = x.size, places.size
    free, fixed, count = np.empty(n, np.int64), np.empty(n, np.int64), 0
    for i in range(n):
        reduced[i] = g[i] + theta * (cauchy[i] - x[i])
        if lower[i] < cauchy[i] < upper[i]:
            free[count] = i
            count += 1
        else:
            fixed[i - count] = i
    fixed = fixed[: n - count]
    column, product = np.empty(2 * k), np.empty(2 * k)
    _times_middle(c, product, middle)
    _add_rows(reduced, -1.0, product, s, y, theta, places, team)
    for i in fixed:
        reduced[i] = 0.0
    for j in range(k):
        column[j], column[k + j] = dot(y[places[j]], reduced, team), theta * dot(s[places[j]], reduced, team)
    system = _system_of_free(free[:count], fixed, s, y, sy, ss, yy, theta, places)
    if not _solve(system, column):
        return False
    for i in range(n):
        direction[i] = -reduced[i] / theta
    _add_rows(direction, -1 / (theta * theta), column, s, y, theta, places, team)
    for i in fixed:
        direction[i] = 0.0
    room, downhill = 1.0, 0.0
    for i in range(n):
        if direction[i] > 0:
            room = min(room, (upper[i] - cauchy[i]) / direction[i])
        elif direction[i] < 0:
            room = min(room, (lower[i] - cauchy[i]) / direction[i])
        downhill += float(g[i]) * (min(max(cauchy[i] + direction[i], lower[i]), upper[i]) - x[i])
    share = 1.0 if downhill < 0 else room  # projected, unless that leads uphill: then cut back
    for i in range(n):
        direction[i] = min(max(cauchy[i] + share * direction[i], lower[i]), upper[i]) - x[i]
    return True


def _add_rows(out, factor, weights, s, y, theta, places, team):
    """Add ``factor W weights``."""
    k = places.size
    for j in range(k):
        point_on_line(out, out, factor * weights[j], y[places[j]], team)
        point_on_line(out, out, factor * theta * weights[k + j], s[places[j]], team)


def _system_of_free(free, fixed, s, y, sy, ss, yy, theta, places):
    """Return ``M^-1 - W^T W / theta`` over the free variables, the lower triangle of a symmetric matrix.

    The products are those of the free variables, or all less those of the others, whichever are fewer.
    """
    k = places.size
    matrix = np.zeros((2 * k, 2 * k))
    members, part = (free, 1.0) if free.size <= fixed.size else (fixed, -1.0)
    row = np.empty(2 * k)
    for i in members:
        _row(i, s, y, 1.0, places, row)
        for a in range(2 * k):
            for b in range(a + 1):
                matrix[a, b] += row[a] * row[b]
    for a in range(k):
        for b in range(k):
            all_sy, all_ss, all_yy = sy[places[a], places[b]], ss[places[a], places[b]], yy[places[a], places[b]]
            if part > 0:
                matrix[k + a, b] = (all_sy if a > b else 0.0) - matrix[k + a, b]
            else:
                matrix[k + a, b] += 0.0 if a > b else -all_sy
            if b <= a and part > 0:
                matrix[a, b] /= -theta
                matrix[k + a, k + b] = theta * (all_ss - matrix[k + a, k + b])
            elif b <= a:
                matrix[a, b] = (matrix[a, b] - all_yy) / theta
                matrix[k + a, k + b] *= theta
        matrix[a, a] -= sy[places[a], places[a]]
    return matrix


def _solve(matrix, v):
    """Solve a symmetric system, of which the lower triangle is given; False if it is singular.

    No pivots are searched: the first half is negative definite, and what is left of the second positive definite.
    """
    size = v.size
    for c in range(size):
        pivot = matrix[c, c]
        if not (abs(pivot) > 0 and abs(pivot) < math.inf):
            return False
        for r in range(c + 1, size):
            factor = matrix[r, c] / pivot
            v[r] -= factor * v[c]
            for j in range(c + 1, r + 1):
                matrix[r, j] -= factor * matrix[j, c]
    for c in range(size - 1, -1, -1):
        for r in range(c + 1, size):
            v[c] -= matrix[r, c] * v[r]
        v[c] /= matrix[c, c]
    return True
