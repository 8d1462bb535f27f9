"""Compilation before the first step."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from numbopt.optimizer import Optimizer, optimizers
from numbopt.parameter import Parameter


def warmup(*named: Any, dtypes: Iterable[Any] = ("float32", "float64"), device: str = "cpu") -> None:
    """Compile the code that steps of the named optimizers may run, or load it from the cache on disk.

    Without `warmup`, numbopt compiles in the first step of an optimizer with a dtype, and in the first step that is
    large enough for several threads. Each of these takes up to a second, for `LBFGS` several seconds. Compiled code
    stays in the cache: if you call `warmup` while a container image is built, later processes compile nothing.

    Parameters
    ----------
    *named : str, type or Optimizer
        A name or a class stands for an optimizer with default options. An optimizer stands for its own options and for
        the dtypes and devices of its parameters; it is not changed.
    dtypes : iterable of dtype
        The dtypes of parameters, for names and classes.
    device : {"cpu", "cuda"}
        The device of parameters, for names and classes. On a GPU, the kernels of `Accumulate`, of averages and of
        `clip_grad_value_` and copies between host and device memory are compiled later, when they are needed.

    Raises
    ------
    TypeError, ValueError
        If something named is not an optimizer, or parameters cannot have a dtype.

    See Also
    --------
    numbopt.info : Shows the folder of the cache.

    Examples
    --------
    >>> import numpy as np, numbopt
    >>> numbopt.warmup("Adam", dtypes=["float64"])
    >>> numbopt.warmup(numbopt.SGD([np.zeros(3)], momentum=0.9))
    """
    dtypes = [dtypes] if isinstance(dtypes, str) else list(dtypes)
    ready: list[Optimizer] = []  # all of them first, so that a wrong name is refused before anything is compiled
    for item in named:
        if isinstance(item, Optimizer):
            ready.append(item)
        else:
            cls = _class_of(item)
            ready += [cls([Parameter(np.zeros((1, 1), dtype), device=device)]) for dtype in dtypes]
    for optimizer in ready:
        optimizer._compile_ahead()


def _class_of(item: Any) -> Any:
    known = optimizers(Optimizer)
    if isinstance(item, str):
        if item.lower() not in known:
            names = sorted(cls.__name__ for cls in known.values())
            raise ValueError(f"there is no optimizer {item!r}; there are {names}")
        return known[item.lower()]
    if not (isinstance(item, type) and issubclass(item, Optimizer) and item.options):
        raise TypeError(f"warmup takes names of optimizers, their classes, or optimizers, got {item!r}")
    return item
