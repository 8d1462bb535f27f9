"""Memory at addresses, as CUDA kernels read and write it: up to 128 bits at a time."""

from llvmlite import ir
from numba import types

from numbopt._devices import compiler
from numbopt._kernels.cube_root import write_seed

cuda = compiler.compiler()


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


load1, load4 = compiler.intrinsic(_loads(1)), compiler.intrinsic(_loads(4))
"""``load(addresses, index, like)``: a tuple for each lane, with a number of ``like``'s type from each array."""
store1, store4 = compiler.intrinsic(_stores(1)), compiler.intrinsic(_stores(4))
"""``store(addresses, index, values)``: write what the like ``load`` returns."""


@compiler.intrinsic
def reciprocal_seed(typingctx, x):
    """Return ``x ** (-1 / 3)`` to few digits."""
    return x(x), lambda context, builder, signature, arguments: write_seed(builder, arguments[0])


@compiler.intrinsic
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


def aligned(addresses):
    """Whether arrays may be read 128 bits at a time."""
    bits = 0
    for address in addresses:
        bits |= address
    return bits & 15 == 0
