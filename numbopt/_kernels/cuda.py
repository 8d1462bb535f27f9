"""The loops around a rule on CUDA, and reductions; imported only when a device is used.

As on the CPU, a launch works on the rows of a table, but a row is for one block of threads, and the table lies in
columns, ``stride`` bytes apart, so that one column can be replaced: size, line, param, grad, states. All rows of a
launch share their scalars, which come by value. Memory is read and written 128 bits at a time where all arrays of a row
are aligned for it.

The functions here are templates: names in capitals are bound, and called functions compiled into them, by `kernel`.
"""

import functools
import math
import re
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from numbopt import _device
from numbopt._kernels.disk_cache import cached_text
from numbopt._kernels.rule import Rule, update_element
from numbopt._kernels.specialise import clone_of

cuda = _device.compiler()

COLUMNS: Any
SCALARS: Any
STATE_OF: Any
BOUNDS: Any
ELEMENT: Any
COMBINE: Any

THREADS = 256
"""Threads of a block."""


# ---- memory at addresses: integers, because a table of arrays can hold nothing else


def _loads(lanes):
    """Make the function that reads ``lanes`` neighbours of each of several arrays."""

    def load(typingctx, addresses, index, like):
        one_lane = types.UniTuple(like, len(addresses))
        signature = types.UniTuple(one_lane, lanes)(addresses, types.int64, like)

        def codegen(context, builder, signature, arguments):
            columns = []
            for k in range(len(addresses)):
                pointer, alignment = _pointer(context, builder, like, lanes, arguments[0], k, arguments[1])
                loaded = builder.load(pointer, align=alignment)
                columns.append(
                    [builder.extract_element(loaded, ir.IntType(32)(lane)) for lane in range(lanes)]
                    if lanes > 1
                    else [loaded]
                )
            rows = [context.make_tuple(builder, one_lane, row) for row in zip(*columns, strict=True)]
            return context.make_tuple(builder, signature.return_type, rows)

        return signature, codegen

    return load


def _stores(lanes):
    """Make the function that writes ``lanes`` neighbours of each of several arrays."""

    def store(typingctx, addresses, index, values):
        number = values.dtype.dtype
        signature = types.void(addresses, types.int64, values)

        def codegen(context, builder, signature, arguments):
            for k in range(len(addresses)):
                pointer, alignment = _pointer(context, builder, number, lanes, arguments[0], k, arguments[1])
                column = [builder.extract_value(arguments[2], [lane, k]) for lane in range(lanes)]
                vector = column[0]
                if lanes > 1:
                    vector = ir.Constant(pointer.type.pointee, ir.Undefined)
                    for lane, value in enumerate(column):
                        vector = builder.insert_element(vector, value, ir.IntType(32)(lane))
                builder.store(vector, pointer, align=alignment)
            return context.get_dummy_value()

        return signature, codegen

    return store


def _pointer(context, builder, number, lanes, addresses, k, index):
    """Return a pointer into array ``k`` in global memory, ``index`` vectors of ``lanes`` from its start; its alignment.

    A single number is no vector.
    """
    value = context.get_value_type(number)
    size = number.bitwidth // 8
    offset = builder.mul(index, ir.IntType(64)(size * lanes))
    address = builder.add(builder.extract_value(addresses, k), offset)
    kind = ir.VectorType(value, lanes) if lanes > 1 else value
    return builder.inttoptr(address, kind.as_pointer(1)), 16 if lanes > 1 else size


load1, load4 = _device.intrinsic(_loads(1)), _device.intrinsic(_loads(4))
"""``load(addresses, index, like)``: a tuple for each lane, with a number of ``like``'s type from each array."""

store1, store4 = _device.intrinsic(_stores(1)), _device.intrinsic(_stores(4))
"""``store(addresses, index, values)``: write what the like ``load`` returns."""


@_device.intrinsic
def columns_at(typingctx, row, stride, columns):
    """Return the words of a row of a table that stand in ``columns``, a tuple of their numbers."""
    signature = types.UniTuple(types.int64, len(columns))(types.int64, types.int64, columns)

    def codegen(context, builder, signature, arguments):
        word = ir.IntType(64)
        values = []
        for k in range(len(columns)):
            offset = builder.mul(arguments[1], builder.extract_value(arguments[2], k))
            address = builder.add(arguments[0], offset)
            values.append(builder.load(builder.inttoptr(address, word.as_pointer(1)), align=8))
        return context.make_tuple(builder, signature.return_type, values)

    return signature, codegen


# ---- the update


def update(rows, stride, factor, scalars):
    """Apply the rule to the row of this block of threads; ``factor``, if not 0, is where one of the gradients is."""
    h = SCALARS(*scalars)
    row = rows + 8 * cuda.blockIdx.x
    size = columns_at(row, stride, (0,))[0]
    arrays = columns_at(row, stride, COLUMNS)
    targets = (arrays[0],) + STATE_OF(arrays)
    scale = h.grad_scale
    if factor != 0:
        scale = scale * load1((factor,), 0, scale)[0][0]
    thread = cuda.threadIdx.x
    vectors = size // 4 if aligned(arrays) else 0
    for i in range(thread, vectors, cuda.blockDim.x):
        store4(targets, i, update_lanes(load4(arrays, i, scale), scale, h))
    for i in range(4 * vectors + thread, size, cuda.blockDim.x):
        store1(targets, i, (update_lane(load1(arrays, i, scale)[0], scale, h),))


def update_lane(lane, scale, h):
    lower, upper = BOUNDS(lane, h)
    p, state = update_element(lane[0], scale * lane[1], STATE_OF(lane), lower, upper, h)
    return (p,) + state


def update_lanes(lanes, scale, h):
    first, second = update_lane(lanes[0], scale, h), update_lane(lanes[1], scale, h)
    third, fourth = update_lane(lanes[2], scale, h), update_lane(lanes[3], scale, h)
    return first, second, third, fourth


def aligned(addresses):
    """Whether arrays may be read 128 bits at a time."""
    bits = 0
    for address in addresses:
        bits |= address
    return bits & 15 == 0


def _bounds_of_all(lane, h):
    return h.lower, h.upper


def _state_alone(row):
    return row[2:]


def _bounds_of_element(lane, h):
    return lane[-2], lane[-1]


def _state_before_bounds(row):
    return row[2:-2]


# ---- reductions: one number for each row, then one for all, always in the same order


def row_squares(rows, stride, partials, like):
    """Sum the squares of the gradient in the row of this block of threads, in double precision."""
    row = rows + 8 * cuda.blockIdx.x
    size, gradient = columns_at(row, stride, (0, 3))
    thread = cuda.threadIdx.x
    total = 0.0
    vectors = size // 4 if aligned((gradient,)) else 0
    for i in range(thread, vectors, cuda.blockDim.x):
        for lane in load4((gradient,), i, like):
            total += np.float64(lane[0]) * np.float64(lane[0])
    for i in range(4 * vectors + thread, size, cuda.blockDim.x):
        value = np.float64(load1((gradient,), i, like)[0][0])
        total += value * value
    total = over_threads(total)
    if thread == 0:
        store1((partials,), cuda.blockIdx.x, ((total,),))


def clip_coefficient(partials, count, max_norm, result):
    """Write the root of the sum of ``partials``, and what takes a gradient of that norm to ``max_norm``, to ``result``.

    There are float64 of the norm and of the coefficient, then the coefficient as a float32. One block of threads.
    """
    norm = math.sqrt(reduced(partials, count))
    if cuda.threadIdx.x == 0:
        coefficient = max_norm / (norm + 1e-6)
        coefficient = 1.0 if coefficient > 1.0 else coefficient
        store1((result,), 0, ((norm,),))
        store1((result,), 1, ((coefficient,),))
        store1((result,), 4, ((np.float32(coefficient),),))


def finish(partials, count, result):
    """Write what ``partials`` combine to into ``result``. One block of threads."""
    total = reduced(partials, count)
    if cuda.threadIdx.x == 0:
        store1((result,), 0, ((total,),))


def reduced(partials, count):
    """Combine numbers in memory, by one block of threads."""
    total = 0.0
    for i in range(cuda.threadIdx.x, count, cuda.blockDim.x):
        total = COMBINE(total, load1((partials,), i, total)[0][0])
    return over_threads(total)


def over_threads(value):
    """Combine one number of each thread of a block; all of them get the result."""
    shared = cuda.shared.array(THREADS, np.float64)
    thread = cuda.threadIdx.x
    shared[thread] = value
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            shared[thread] = COMBINE(shared[thread], shared[thread + half])
        cuda.syncthreads()
        half //= 2
    return shared[0]


def add(total, part):
    return total + part


def larger(total, part):
    return part if part > total else total


# ---- compiled


class Kernel:
    """A template with its names bound and its argument types.

    Parameters
    ----------
    template : function
        One of this module.
    bindings : dict
        Values of the names in capitals.
    argument_types : tuple of numba types
        A tuple of numbers is as many arguments.
    """

    def __init__(self, template: Any, bindings: dict[str, Any], argument_types: tuple[Any, ...]) -> None:
        self._clone = clone_of(template, bindings, _device.device_function, {})
        self._argument_types = argument_types

    def ptx(self, capability: tuple[int, int]) -> str:
        """Return the code for GPUs of a compute capability, from the disk cache if it is there."""

        def compiled() -> str:
            return _device.compile_ptx(self._clone.function, self._argument_types, capability)

        if not self._clone.cacheable:
            return compiled()
        key = f"{self._argument_types} {capability} {_device.compiler_version()}"
        return cached_text(self._clone.function, key, compiled)

    @functools.cached_property
    def loaded(self) -> Any:
        """The kernel on the device."""
        gpu = _device.device()
        ptx = self.ptx(gpu.capability)
        name = re.search(r"\.entry\s+(\w+)", ptx)
        assert name is not None
        return gpu.load(ptx, name[1])


@functools.cache
def update_kernel(rule: Rule, dtype: np.dtype[Any], bound_arrays: bool = False) -> Kernel:
    """Return the kernel that applies ``rule``: rows, stride, address of a factor or 0, all scalars."""
    bindings = rule.bindings() | {
        "COLUMNS": tuple(range(2, 4 + len(rule.state) + 2 * bound_arrays)),
        "STATE_OF": _state_before_bounds if bound_arrays else _state_alone,
        "BOUNDS": _bounds_of_element if bound_arrays else _bounds_of_all,
    }
    scalars = types.UniTuple(FLOATS[dtype], bindings["SCALAR_COUNT"])
    return Kernel(update, bindings, (types.int64, types.int64, types.int64, scalars))


@functools.cache
def squares_kernel(dtype: np.dtype[Any]) -> Kernel:
    """Return the kernel that sums the squares of gradients: rows, stride, address of a float64 for each row, any."""
    return Kernel(row_squares, {"COMBINE": add}, (types.int64, types.int64, types.int64, FLOATS[dtype]))


@functools.cache
def clip_kernel() -> Kernel:
    """Return the kernel of the second pass: partials, their number, the largest norm, where the result goes."""
    return Kernel(clip_coefficient, {"COMBINE": add}, (types.int64, types.int64, types.float64, types.int64))


@functools.cache
def sum_kernel() -> Kernel:
    """Return the kernel of the second pass of a sum: partials, their number, where the result goes."""
    return Kernel(finish, {"COMBINE": add}, (types.int64, types.int64, types.int64))


FLOATS = {np.dtype(np.float32): types.float32, np.dtype(np.float64): types.float64}
