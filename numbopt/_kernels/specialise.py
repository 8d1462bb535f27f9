"""From a template and the functions to put into it to a compiled kernel that the disk cache can find again.

Numba's disk cache names a function by its file, its qualified name and its line. It never finds closures again, and it
does not notice that a function called from another file was edited. So a kernel here is a clone of a module-level
template under a name that carries a hash of everything it is compiled from: no closure, no ``exec``, and an edited rule
is another kernel.
"""

import hashlib
import types
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from numba.extending import is_jitted


def specialise(template: Any, bindings: Mapping[str, Any], **options: Any) -> Any:
    """Compile ``template`` with the global names in ``bindings`` bound to the given values.

    Plain Python functions among the globals of the template, of the bound functions and of whatever these call are
    compiled along. Compilation itself happens at the first call.

    Parameters
    ----------
    template : function
        A module-level function without closure.
    bindings : mapping of str to object
        Values of global names, in the template and in all functions it reaches.
    **options
        Further options of `numba.njit`.

    Returns
    -------
    numba dispatcher
        Cached on disk where a cache folder can be written and where everything it depends on can be hashed.
    """
    digest = hashlib.sha256()
    _hash_code(_bind.__code__, digest)  # how clones are made decides what the machine code looks like, too
    cacheable = _hash_function(template, bindings, digest, set())
    kernel = _bind(template, bindings, digest.hexdigest()[:20], {})
    options["error_model"] = "numpy"  # Python's division, with its ZeroDivisionError, would not vectorise
    if cacheable:
        try:
            return numba.njit(cache=True, **options)(kernel)
        except RuntimeError:  # no folder for the cache can be written
            pass
    return numba.njit(**options)(kernel)


def _names(code: types.CodeType) -> list[str]:
    """Names that ``code`` and the functions nested in it look up in the globals or on a module."""
    nested = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return sorted({*code.co_names, *(name for inner in nested for name in _names(inner))})


def _bind(
    function: types.FunctionType, bindings: Mapping[str, Any], digest: str, done: dict[types.FunctionType, Any]
) -> types.FunctionType:
    """Clone ``function`` with ``bindings`` in its globals and the plain functions it calls compiled.

    The clones of these have the digest in their names, too: machine code of several kernels, each from the disk cache
    and compiled in a process of its own, meets in one process, where functions of the same name would take each other's
    place.
    """
    name = f"{function.__name__}_{digest}"
    namespace = {**function.__globals__, **bindings}
    for global_name in _names(function.__code__):
        value = namespace.get(global_name)
        if isinstance(value, types.FunctionType) and not is_jitted(value):
            if value not in done:
                done[value] = value  # a recursive function stays as it is, and Numba says what it thinks of it
                done[value] = numba.njit(error_model="numpy")(_bind(value, bindings, digest, done))
            namespace[global_name] = done[value]
    return types.FunctionType(
        function.__code__.replace(co_name=name, co_qualname=name),
        namespace,
        name,
        function.__defaults__,
        function.__closure__,
    )


def _hash_function(function: types.FunctionType, bindings: Mapping[str, Any], digest: Any, seen: set[int]) -> bool:
    """Add to ``digest`` all that ``function`` compiles from; False where something cannot be told apart by content."""
    if id(function) in seen:
        return True
    seen.add(id(function))
    _hash_code(function.__code__, digest)
    namespace = {**function.__globals__, **bindings}
    names = _names(function.__code__)
    values = [(name, namespace[name]) for name in names if name in namespace]
    # What is looked up on a module that is not a library with a version is as much part of the rule as a global.
    for name, module in list(values):
        if isinstance(module, types.ModuleType) and not _is_library(module.__name__):
            found = [attribute for attribute in names if hasattr(module, attribute)]
            values += [(f"{name}.{attribute}", getattr(module, attribute)) for attribute in found]
    values += [("", cell.cell_contents) for cell in function.__closure__ or ()]
    values += [("", default) for default in function.__defaults__ or ()]
    cacheable = True
    for name, value in values:
        digest.update(name.encode())
        cacheable &= _hash_value(value, bindings, digest, seen)
    return cacheable


def _is_library(module: str) -> bool:
    """Whether a name and Numba's own check of versions stand for the content of ``module``."""
    return module.partition(".")[0] in {"builtins", "llvmlite", "math", "numba", "numpy", "sys"}


def _hash_code(code: types.CodeType, digest: Any) -> None:
    digest.update(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars, code.co_flags)).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _hash_code(constant, digest)
        else:
            digest.update(repr(constant).encode())


def _hash_value(value: Any, bindings: Mapping[str, Any], digest: Any, seen: set[int]) -> bool:
    digest.update(type(value).__name__.encode())
    function = getattr(value, "py_func", None) or getattr(value, "_defn", None) or value  # a dispatcher, an intrinsic
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
        return True
    text = repr(value)
    digest.update(text.encode())
    return " at 0x" not in text
