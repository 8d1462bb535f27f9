"""Compiling ahead of the first step."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from numbopt.elementwise import ElementwiseOptimizer
from numbopt.optimizer import Optimizer, optimizers
from numbopt.parameter import Parameter
from numbopt.vectorwise import VectorOptimizer


def warmup(*named: Any, dtypes: Iterable[Any] = ("float32", "float64"), device: str = "cpu") -> None:
    """Compile everything that steps of the named optimizers may run, or load it from the cache on disk.

    Otherwise this happens at the first step of an optimizer with a dtype, and at the first step that is large enough
    for several threads. Each of these takes up to a second, with `LBFGS` several. Compiled code stays in the cache: if
    `warmup` is called while a container image is built, later processes compile nothing.

    Parameters
    ----------
    *named : str, type or Optimizer
        Optimizers by name or by class, with their default options; or an optimizer, with its options and for the dtypes
        and devices of its parameters. The optimizer is not changed.
    dtypes : iterable of dtype
        The dtypes of parameters, for optimizers that are given by name or class.
    device : {"cpu", "cuda"}
        The device of these parameters. On a GPU, only copies between host and device memory and the kernels of
        `Accumulate`, of averages and of `clip_grad_value_` are left for later.

    Raises
    ------
    TypeError, ValueError
        If something named is not an optimizer, or parameters cannot have a dtype.

    See Also
    --------
    numbopt.info : where the cache is.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> numbopt.warmup("Adam", dtypes=["float64"])
    >>> numbopt.warmup(numbopt.SGD([np.zeros(3)], momentum=0.9))
    """
    dtypes = [dtypes] if isinstance(dtypes, str) else list(dtypes)
    ready = []
    for item in named:
        if isinstance(item, Optimizer):
            ready.append(item)
        else:
            cls = _class_of(item)
            ready += [cls([Parameter(np.zeros(1, dtype), device=device)]) for dtype in dtypes]
    for optimizer in ready:
        optimizer._compile_ahead()


def _class_of(item: Any) -> Any:
    known = {**optimizers(ElementwiseOptimizer), **optimizers(VectorOptimizer)}
    if isinstance(item, str):
        if item.lower() not in known:
            names = sorted(cls.__name__ for cls in known.values())
            raise ValueError(f"there is no optimizer {item!r}; there are {names}")
        return known[item.lower()]
    if not (isinstance(item, type) and issubclass(item, (ElementwiseOptimizer, VectorOptimizer))):
        raise TypeError(f"warmup takes names of optimizers, their classes, or optimizers, got {item!r}")
    return item
