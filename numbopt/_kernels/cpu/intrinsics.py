"""The few machine operations that Python cannot say: memory at an address, atomics, denormal mode.

Everything here is used inside compiled code only.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

from numbopt._kernels.specialise import INTRINSIC

ir: Any
types: Any
cgutils: Any
errors: Any
populate_array: Any


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that writes LLVM instructions; `specialise` has it made an intrinsic of Numba when it is used.

    So that importing this module does not import Numba.
    """
    function.__dict__[INTRINSIC] = functools.cache(lambda: _made(function))
    return function


def _made(function: Callable[..., Any]) -> Any:
    global ir, types, cgutils, errors, populate_array
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils, errors
    from numba.extending import intrinsic
    from numba.np.arrayobj import populate_array

    return intrinsic(function)


@intrinsic
def pointer_to(typingctx, address, dtype):
    """Reinterpret an integer address as a pointer to elements of ``dtype``."""
    signature = types.CPointer(dtype.dtype)(address, dtype)

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return signature, codegen


@intrinsic
def call_block(typingctx, address, kind, a, b, out, u, v, size):
    """Call `numbopt._kernels.cpu.vectors.block_at`, compiled for a dtype, at its address."""
    number, real = types.int64, types.float64
    return real(number, number, real, real, number, number, number, number), _call


@intrinsic
def call_pass(typingctx, address, kind, a, b, out, u, v, size, bytes_per_block, team):
    """Call `numbopt._kernels.cpu.vectors.run_blocks` at its address."""
    number, real = types.int64, types.float64
    return real(number, number, real, real, number, number, number, number, number, team), _call


def _call(context, builder, signature, arguments):
    """Call a function that Numba has compiled, and that does not raise, at the address of its entry point for C."""
    address, *arguments = arguments
    result, _, *others = map(context.get_value_type, (signature.return_type, *signature.args))
    return builder.call(builder.inttoptr(address, ir.FunctionType(result, others).as_pointer()), arguments)


@intrinsic
def call_loop(typingctx, address, rows, scalars):
    """Call one of the loops in `numbopt._kernels.cpu.rows`, compiled for a dtype, at its address."""
    return types.void(types.int64, rows, scalars), _call


@intrinsic
def array_at(typingctx, address, size, dtype):
    """Return the 1-D contiguous array of ``size`` elements of ``dtype`` that starts at ``address``.

    It does what `numba.carray` does, and takes much less time to compile.
    """
    array_type = types.Array(dtype.dtype, 1, "C")

    def codegen(context, builder, signature, arguments):
        start, size, _ = arguments
        element = context.get_data_type(array_type.dtype)
        itemsize = context.get_constant(types.intp, context.get_abi_sizeof(element))
        array = context.make_array(array_type)(context, builder)
        data = builder.inttoptr(start, element.as_pointer())
        populate_array(array, data, [size], [itemsize], itemsize, meminfo=None)
        return array._getvalue()

    return array_type(types.int64, types.int64, dtype), codegen


@intrinsic
def pointers_in(typingctx, rows, r, columns, dtype):
    """Return a tuple of pointers to elements of ``dtype``: the addresses ``rows[r, column]`` for some ``columns``."""
    pointers = types.UniTuple(types.CPointer(dtype.dtype), len(columns))

    def codegen(context, builder, signature, arguments):
        array, kind = context.make_array(rows)(context, builder, arguments[0]), context.get_value_type(pointers.dtype)
        places = [(arguments[1], column) for column in cgutils.unpack_tuple(builder, arguments[2])]
        addresses = [builder.load(cgutils.get_item_pointer(context, builder, rows, array, place)) for place in places]
        return context.make_tuple(builder, pointers, [builder.inttoptr(address, kind) for address in addresses])

    return pointers(rows, types.int64, columns, dtype), codegen


@intrinsic
def load(typingctx, pointers, i):
    """Return a tuple of the elements ``i`` behind a tuple of pointers."""
    values = types.UniTuple(pointers.dtype.dtype, len(pointers))

    def codegen(context, builder, signature, arguments):
        starts = cgutils.unpack_tuple(builder, arguments[0])
        loaded = [builder.load(builder.gep(start, [arguments[1]])) for start in starts]
        return context.make_tuple(builder, values, loaded)

    return values(pointers, types.int64), codegen


@intrinsic
def store(typingctx, pointers, i, values):
    """Write numbers to the elements ``i`` behind a tuple of pointers, as numbers of their type."""
    if len(values) < len(pointers):
        raise errors.TypingError(f"{len(values)} numbers for {len(pointers)} arrays, the parameter and its state")
    number = pointers.dtype.dtype

    def codegen(context, builder, signature, arguments):
        starts, given = (cgutils.unpack_tuple(builder, arguments[k]) for k in (0, 2))
        for start, value, kind in zip(starts, given, signature.args[2], strict=False):
            builder.store(context.cast(builder, value, kind, number), builder.gep(start, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(pointers, types.int64, values), codegen


@intrinsic
def int64_at(typingctx, address, place):
    """Return the integer at a place in an array; unlike an indexed `array_at`, it takes no time to compile."""

    def codegen(context, builder, signature, arguments):
        array = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load(builder.gep(array, [arguments[1]]))

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def int32_at(typingctx, address):
    """Return the integer of 32 bits at an address, as an int64."""

    def codegen(context, builder, signature, arguments):
        number = builder.load(builder.inttoptr(arguments[0], ir.IntType(32).as_pointer()))
        return builder.sext(number, ir.IntType(64))

    return types.int64(types.int64), codegen


@intrinsic
def store_int64(typingctx, address, place, value):
    """Write an integer to a place in an array."""

    def codegen(context, builder, signature, arguments):
        array = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        builder.store(arguments[2], builder.gep(array, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def borrowed(typingctx, array):
    """Return the contiguous ``array`` without its reference count.

    Counting the views of a short vector takes longer than a pass over it. The caller keeps the memory alive.
    """

    def codegen(context, builder, signature, arguments):
        owned = context.make_array(array)(context, builder, arguments[0])
        view = context.make_array(array)(context, builder)
        shape, strides = (cgutils.unpack_tuple(builder, field) for field in (owned.shape, owned.strides))
        populate_array(view, owned.data, shape, strides, owned.itemsize, meminfo=None)
        return view._getvalue()

    return array(array), codegen


@intrinsic
def multiply_add(typingctx, a, b, c):
    """Return ``a * b + c`` of float64, rounded once where the processor can, else twice."""

    def codegen(context, builder, signature, arguments):
        number = ir.DoubleType()
        kind = ir.FunctionType(number, [number] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.f64"), arguments)

    return types.float64(types.float64, types.float64, types.float64), codegen


def _atomic(operation, array):
    """Signature and code of an indivisible operation on one element that returns what was there before."""

    def codegen(context, builder, signature, arguments):
        array_type = signature.args[0]
        array_struct = context.make_array(array_type)(context, builder, arguments[0])
        position = cgutils.get_item_pointer(context, builder, array_type, array_struct, [arguments[1]])
        return builder.atomic_rmw(operation, position, arguments[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def atomic_add(typingctx, array, index, value):
    """Add ``value`` to ``array[index]`` of int64 in one indivisible step; return what was there before."""
    return _atomic("add", array)


@intrinsic
def atomic_exchange(typingctx, array, index, value):
    """Put ``value`` into ``array[index]`` of int64 in one indivisible step; return what was there before."""
    return _atomic("xchg", array)


def _x86_codegen(flags):
    """Return code that sets the bits ``flags`` of the SSE control word and returns the old word."""

    def codegen(context, builder, signature, arguments):
        word = ir.IntType(32)
        byte_pointer = ir.IntType(8).as_pointer()
        function_type = ir.FunctionType(ir.VoidType(), [byte_pointer])
        store = cgutils.get_or_insert_function(builder.module, function_type, "llvm.x86.sse.stmxcsr")
        load = cgutils.get_or_insert_function(builder.module, function_type, "llvm.x86.sse.ldmxcsr")
        slot = cgutils.alloca_once(builder, word)
        slot_bytes = builder.bitcast(slot, byte_pointer)
        if flags is None:
            builder.store(builder.trunc(arguments[0], word), slot)
            builder.call(load, [slot_bytes])
            return context.get_dummy_value()
        builder.call(store, [slot_bytes])
        old = builder.load(slot)
        builder.store(builder.or_(old, word(flags)), slot)
        builder.call(load, [slot_bytes])
        return builder.zext(old, ir.IntType(64))

    return codegen


def _arm64_codegen(flags):
    """Do the same with the floating-point control register of 64-bit ARM."""

    def codegen(context, builder, signature, arguments):
        word = ir.IntType(64)
        get = cgutils.get_or_insert_function(builder.module, ir.FunctionType(word, []), "llvm.aarch64.get.fpcr")
        put = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [word]), "llvm.aarch64.set.fpcr"
        )
        if flags is None:
            builder.call(put, [arguments[0]])
            return context.get_dummy_value()
        old = builder.call(get, [])
        builder.call(put, [builder.or_(old, word(flags))])
        return old

    return codegen


def _no_codegen(flags):
    """Leave the mode alone on processors not named above."""

    def codegen(context, builder, signature, arguments):
        return context.get_dummy_value() if flags is None else ir.IntType(64)(0)

    return codegen


def _mode_codegen(flush):
    """Return the code that sets the bits for flushing, or puts the old mode back."""
    import platform

    # Flush to zero and denormals are zero: bits 15 and 6 on x86; FZ, bit 24, on ARM.
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64", "i686", "x86"):
        return _x86_codegen(0x8040 if flush else None)
    if machine in ("aarch64", "arm64"):
        return _arm64_codegen(1 << 24 if flush else None)
    return _no_codegen(1 if flush else None)


@intrinsic
def flush_denormals(typingctx):
    """Treat denormal numbers as zero on this thread; return the mode to give to `restore_denormals`.

    A moment that decays under zero gradients would otherwise end in denormal numbers, and each later step on it would
    be thirty times slower.
    """
    return types.int64(), _mode_codegen(flush=True)


@intrinsic
def restore_denormals(typingctx, mode):
    """Put the floating-point mode of this thread back."""
    return types.void(types.int64), _mode_codegen(flush=False)


@intrinsic
def yield_processor(typingctx):
    """Let the thread that we wait for run on this core, where another program keeps its own core busy."""

    def codegen(context, builder, signature, arguments):
        if sys.platform != "win32":  # which has no `sched_yield`
            function_type = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function_type, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def never_inline(typingctx):
    """Keep the function that calls this a function of its own in machine code.

    That keeps compilation short where many places call a large function, and its results the same, bit for bit, from
    wherever it is called.
    """

    def codegen(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen
