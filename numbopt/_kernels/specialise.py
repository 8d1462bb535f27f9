"""From a template and the functions to put into it to a compiled kernel that the disk cache can find again.

Numba's disk cache names a function by its file, its qualified name and its line. It never finds closures again, and it
does not notice that a function called from another file was edited. So a kernel here is a clone of a module-level
template under a name that carries a hash of everything it is compiled from: no closure, no ``exec``, and an edited rule
is another kernel.
"""

import contextlib
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from numbopt._devices.interruptions import deferred


def specialise(template: Any, bindings: Mapping[str, Any], *, cached: bool = True, **options: Any) -> Any:
    """Compile ``template`` with the global names in ``bindings`` bound to the given values.

    Functions among the globals of the template, of the bound functions and of whatever these call are compiled along,
    plain ones and those with a decorator of Numba. Compilation itself happens at the first call.

    Parameters
    ----------
    template : function
        A module-level function without closure.
    bindings : mapping of str to object
        Values of global names, in the template and in all functions it reaches.
    cached : bool
        Whether to use the disk cache; of no use for what only other compiled code calls.
    **options
        Further options of `numba.njit`.

    Returns
    -------
    numba dispatcher
        Cached on disk where a cache folder can be written and where everything it depends on can be hashed.
    """
    import numba

    from numbopt._kernels.disk_cache import DiskCache

    if numba.config.DISABLE_JIT:
        raise RuntimeError("numbopt works with compiled code only; unset the environment variable NUMBA_DISABLE_JIT")

    clone = clone_of(template, bindings, _compile_for_cpu, {**_OPTIONS, **options})
    kernel = clone.function
    dispatcher = numba.jit(**_OPTIONS, **options)(kernel)
    if cached and clone.cacheable:
        with deferred(), contextlib.suppress(RuntimeError):  # no folder for the cache can be written
            dispatcher._cache = DiskCache(kernel)  # what `cache=True` does with Numba's own
            setattr(dispatcher, _WHOLE, True)
    return dispatcher


def entry_point(dispatcher: Any, argument_types: tuple[Any, ...]) -> Callable[..., Any]:
    """Compile a function for types of arguments, or load it from the disk cache, and return its entry point.

    Calling an entry point spares Numba's look at the types of the arguments, which takes as long as a small launch, so
    that the caller has to know them. Compiling that takes longer than `PATIENCE` is announced in the log.
    """
    if argument_types in dispatcher.overloads:
        return dispatcher.overloads[argument_types].entry_point  # type: ignore[no-any-return]
    import logging
    import threading

    announcement = threading.Timer(PATIENCE, logging.getLogger("numbopt").warning, [_ANNOUNCEMENT])
    announcement.daemon = True
    with deferred():
        announcement.start()
        try:
            return dispatcher.compile(argument_types)  # type: ignore[no-any-return]
        finally:
            announcement.cancel()


def address(dispatcher: Any, argument_types: tuple[Any, ...]) -> int:
    """Return the address of the entry point for C of a function, compiled for types of arguments.

    What calls by an address compiles faster than what the function is compiled into, and once for all functions.
    """
    entry_point(dispatcher, argument_types)
    compiled = dispatcher.overloads[argument_types]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name))


PATIENCE = 2.0
"""Seconds of compilation after which the user is told why nothing seems to happen."""
_ANNOUNCEMENT = (
    "numbopt compiles what is used for the first time, which takes some seconds, and keeps it in a cache on disk; "
    "numbopt.warmup(...) does it ahead"
)


def compiled_with(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that has `specialise` compile a function with more options of `numba.njit` when it is called.

    It leaves the function as it is. Numba's own decorators set up the compiler, which would double the time that it
    takes to import numbopt.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__dict__[_OPTIONS_NAME] = options
        return function

    return decorate


def is_jitted(value: Any) -> bool:
    """Whether a value is a function that Numba has decorated."""
    if not hasattr(value, "py_func"):  # so that Numba is not imported to say no
        return False
    from numba.extending import is_jitted

    return bool(is_jitted(value))


def _is_whole(value: Any) -> bool:
    """Whether a value came from `specialise`: its name says all about it, and it is linked as it is."""
    return is_jitted(value) and hasattr(value, _WHOLE)


def _own_options(function: Any) -> Mapping[str, Any]:
    """Return the options of a function that was decorated by Numba or by `compiled_with`."""
    return getattr(function, "targetoptions", None) or getattr(function, _OPTIONS_NAME, {})


_OPTIONS_NAME = "_numba_options"
_WHOLE = "_is_specialised"
INTRINSIC = "_make_intrinsic"
"""The attribute of functions in `cpu.intrinsics` that makes an intrinsic of Numba."""

# Python's division, with its ZeroDivisionError, would not vectorise.
_OPTIONS = {"nopython": True, "error_model": "numpy"}


def _compile_for_cpu(function: types.FunctionType, original: Any) -> Any:
    import numba

    options = _own_options(original) if is_jitted(original) else {**_OPTIONS, **_own_options(original)}
    # Only compiled code calls it; wrappers for Python and C would take longer to compile than many a function.
    return numba.jit(**{**options, "no_cpython_wrapper": True, "no_cfunc_wrapper": True})(function)


class Clone(NamedTuple):
    """A template with its names bound, not compiled yet."""

    function: Any
    digest: str
    """A hash of everything it is compiled from; a part of the function's name."""
    cacheable: bool
    """Whether the hash tells everything apart."""


def clone_of(
    template: Any, bindings: Mapping[str, Any], compile_called: Callable[..., Any], options: Mapping[str, Any]
) -> Clone:
    """Clone ``template`` with ``bindings`` in its globals, and what it calls compiled.

    Parameters
    ----------
    template, bindings
        As for `specialise`.
    compile_called : callable
        Compiles a clone of a function that is called, given the clone and the original.
    options : dict
        What else decides how things are compiled.
    """
    import hashlib

    digest = hashlib.sha256()
    # How clones are made and compiled decides what the machine code looks like, too.
    _hash_code(_bind.__code__, digest)
    _hash_code(compile_called.__code__, digest)
    _hash_options(options, digest)
    cacheable = _hash_function(template, bindings, digest, {})
    name = digest.hexdigest()[:20]
    return Clone(_bind(template, bindings, compile_called, name, {}), name, cacheable)


def _names(code: types.CodeType) -> list[str]:
    """Names that ``code`` and the functions nested in it look up in the globals or on a module."""
    nested = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return sorted({*code.co_names, *(name for inner in nested for name in _names(inner))})


def _bind(
    function: types.FunctionType,
    bindings: Mapping[str, Any],
    compile_called: Callable[..., Any],
    digest: str,
    done: dict[Any, Any],
) -> types.FunctionType:
    """Clone ``function`` with ``bindings`` in its globals and the functions it calls compiled.

    The clones of these have the digest in their names, too: machine code of several kernels, each from the disk cache
    and compiled in a process of its own, meets in one process, where functions of the same name would take each other's
    place.
    """

    def compiled(value: Any) -> Any:
        if make_intrinsic := getattr(value, INTRINSIC, None):
            return make_intrinsic()
        if _is_whole(value):
            return value
        called = value.py_func if is_jitted(value) else value
        if not isinstance(called, types.FunctionType) or _is_library(called.__module__ or ""):
            return value
        if value not in done:
            done[value] = value  # a recursive function stays as it is, and Numba says what it thinks of it
            done[value] = compile_called(_bind(called, bindings, compile_called, digest, done), value)
        return done[value]

    name = f"{function.__name__}_{digest}"
    namespace = {**function.__globals__, **bindings}
    namespace |= {used: compiled(namespace[used]) for used in _names(function.__code__) if used in namespace}
    return types.FunctionType(
        function.__code__.replace(co_name=name, co_qualname=name),
        namespace,
        name,
        function.__defaults__,
        tuple(types.CellType(compiled(cell.cell_contents)) for cell in function.__closure__ or ()),
    )


def _hash_function(
    function: types.FunctionType, bindings: Mapping[str, Any], digest: Any, seen: dict[types.FunctionType, int]
) -> bool:
    """Add to ``digest`` all that ``function`` compiles from; False where something cannot be told apart by content."""
    if function in seen:
        digest.update(b"%d" % seen[function])  # which one it is matters where two names change places
        return True
    seen[function] = len(seen)
    _hash_code(function.__code__, digest)
    namespace = {**function.__globals__, **bindings}
    names = _names(function.__code__)
    values = [(name, namespace[name]) for name in names if name in namespace]
    values += [("", cell.cell_contents) for cell in function.__closure__ or ()]
    values += [("", default) for default in function.__defaults__ or ()]
    # What is looked up on a module that is not a library with a version is as much part of the rule as a global.
    modules: list[types.ModuleType] = []
    cacheable = True
    for name, value in values:
        if isinstance(value, types.ModuleType) and not _is_library(value.__name__) and value not in modules:
            modules.append(value)
            values += [(f"{name}.{other}", getattr(value, other)) for other in names if hasattr(value, other)]
        digest.update(f"\0{name}\0{type(value).__name__}\0".encode())
        cacheable &= _hash_value(value, bindings, digest, seen)
    return cacheable


def _is_library(module: str) -> bool:
    """Whether a name and Numba's own check of versions stand for the content of ``module``."""
    return module.partition(".")[0] in {"builtins", "llvmlite", "math", "numba", "numpy", "sys"}


def _hash_code(code: types.CodeType, digest: Any) -> None:
    digest.update(code.co_code)
    nested = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    constants = [constant for constant in code.co_consts if constant not in nested]
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars, code.co_flags, constants)).encode())
    for inner in nested:
        _hash_code(inner, digest)


def _hash_options(options: Mapping[str, Any], digest: Any) -> None:
    for name, value in sorted(options.items()):
        digest.update(f"{name} {sorted(value) if isinstance(value, set) else value}\0".encode())


def _hash_value(value: Any, bindings: Mapping[str, Any], digest: Any, seen: dict[types.FunctionType, int]) -> bool:
    if make_intrinsic := getattr(value, INTRINSIC, None):
        value = make_intrinsic()
    if _is_whole(value):
        digest.update(value.py_func.__name__.encode())
        return True
    function = value
    if not isinstance(value, (types.FunctionType, type)):  # a dispatcher, a ufunc, an intrinsic: what it was made from
        made_from = (getattr(value, name, None) for name in ("py_func", "__wrapped__", "_defn"))
        function = next((f for f in made_from if isinstance(f, types.FunctionType)), value)
    _hash_options(_own_options(value), digest)
    if isinstance(function, types.FunctionType) and not _is_library(function.__module__ or ""):
        return _hash_function(function, bindings, digest, seen)
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
        return True
    if isinstance(value, types.ModuleType):
        digest.update(f"{value.__name__} {getattr(value, '__version__', '')}".encode())
        return True
    if isinstance(value, (type, types.FunctionType)):
        digest.update(f"{value.__module__}.{value.__qualname__} {getattr(value, '_fields', '')}".encode())
        return _is_library(value.__module__) or hasattr(value, "_fields")
    text = repr(value)
    digest.update(text.encode())
    return " at 0x" not in text
