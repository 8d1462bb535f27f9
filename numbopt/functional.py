"""Steps for code that writes ``x = x - step``: parameters come with every call, the optimizer keeps the state."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from numbopt import options as checks
from numbopt._parameters.trees import Leaf, leaves_of, matching, paths, rebuilt
from numbopt.parameter import Parameter, checked_values


class _Lazy:
    def __repr__(self) -> str:
        return "<taken from the first call>"


LAZY: Any = _Lazy()
"""Stands for the parameters of an optimizer that `FunctionalSteps.apply_gradients` gets."""


class Tree(NamedTuple):
    """Which parameters of an optimizer a tree of arrays stands for."""

    group: int
    first: int
    """The position of the first one."""
    paths: tuple[str, ...]


class FunctionalSteps:
    """What an optimizer without parameters of its own can do: ``numbopt.Adam(lr=0.1)``."""

    trees: dict[Any, Any] | None
    """By key; None if the parameters were given to the constructor."""
    param_groups: list[dict[str, Any]]
    _parameters: list[Parameter]
    _looks_at_names: bool
    _singles: dict[Any, int]
    """The positions of parameters that are single arrays, by key, for the short way."""
    clock_names: ClassVar[tuple[str, ...]]
    depends_on_parameters: ClassVar[bool]
    defaults: dict[str, Any]

    def apply_gradients(
        self, gradients: Any, parameters: Any, *, step: int | None = None, key: Any = None, **options: Any
    ) -> Any:
        """Return new parameters after a step; those that are given stay as they are.

        The first call takes the structure of the parameters: an array, a float, or a tree of these made of dicts,
        lists, tuples, named tuples and dataclasses. State belongs to the optimizer and to the places in the tree.

        Parameters
        ----------
        gradients : tree of arrays
            Of the structure of the parameters; None at any place skips what is there.
        parameters : tree of arrays
            Real or complex floating point of 32 or 64 bits, with any strides; floats.
        step : int, optional
            The number of this step, from 1 on, for schedules within the algorithm such as the correction of the bias of
            Adam. By default one more than in the last call.
        key : hashable, optional
            Tells apart parameters that come in calls of their own, for example ``("linear", "W")``.
        **options
            Options of the group for this step alone, for example ``lr``.

        Returns
        -------
        tree of arrays
            New arrays, floats where floats were given, in containers of the same types.

        Raises
        ------
        RuntimeError
            If the optimizer was made with parameters, which `step` updates.
        TypeError, ValueError
            For structures that differ, for parameters, gradients and options that are not valid; no state has changed.

        See Also
        --------
        updates : What the step adds.

        Examples
        --------
        >>> import numpy as np, numbopt
        >>> opt = numbopt.SGD(lr=0.25)
        >>> x = np.array([2.0, -4.0])
        >>> for _ in range(2):
        ...     x = opt.apply_gradients(2 * x, x)
        >>> x
        array([ 0.5, -1. ])
        >>> opt.apply_gradients({"w": x, "b": 1.0}, {"w": x, "b": 3.0}, key="model", lr=1.0)
        {'w': array([0., 0.]), 'b': 2.0}
        """
        single = self._singles.get(key)
        if single is not None and type(parameters) is np.ndarray and step is None and not options:
            return self._step_single(gradients, parameters, single)
        leaves, tree = self._taken(parameters, key)
        self._step_tree(gradients, parameters, tree, leaves, step, options)
        if type(parameters) is np.ndarray:
            self._singles[key] = tree.first
        members = self._parameters[tree.first : tree.first + len(leaves)]
        results = [_like(leaf, member) for (_, leaf), member in zip(leaves, members, strict=True)]
        return results[0] if tree.paths == ("",) else rebuilt(parameters, iter(results))

    def updates(
        self, gradients: Any, parameters: Any = None, *, step: int | None = None, key: Any = None, **options: Any
    ) -> Any:
        """Return what a step adds to the parameters, with the state advanced.

        Parameters
        ----------
        gradients, step, key, **options
            As for `apply_gradients`.
        parameters : tree of arrays, optional
            Needed only for weight decay, bounds and ``project``, which depend on them.

        Returns
        -------
        tree of arrays
            Of the structure of the gradients.

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As for `apply_gradients`; ValueError, too, if the parameters are needed.

        Examples
        --------
        >>> import numpy as np, numbopt
        >>> numbopt.SGD(lr=0.5).updates(np.array([1.0, -2.0]))
        array([-0.5,  1. ])
        """
        if parameters is not None:
            after = leaves_of(self.apply_gradients(gradients, parameters, step=step, key=key, **options))
            differences = [new - old for (_, new), (_, old) in zip(after, leaves_of(parameters), strict=True)]
            return rebuilt(parameters, iter(differences))
        if self.depends_on_parameters:
            raise ValueError(f"updates needs the parameters, because a step of {type(self).__name__} depends on them")
        needed = {**self.defaults, **options}
        for name in ("weight_decay", "bounds", "project"):
            if needed.get(name):
                raise ValueError(f"updates needs the parameters, because the step depends on them by {name}")
        zeros = rebuilt(gradients, iter([np.zeros_like(leaf) for _, leaf in leaves_of(gradients)]))
        return self.apply_gradients(gradients, zeros, step=step, key=key, **options)

    def init(self, parameters: Any, *, key: Any = None) -> None:
        """Take the structure of parameters without a step, for example before `load_state_dict`.

        Parameters
        ----------
        parameters, key
            As for `apply_gradients`.
        """
        self._taken(parameters, key)

    def _taken(self, parameters: Any, key: Any) -> tuple[list[Leaf], Tree]:
        """Return the leaves of parameters, and which of ours they are; new ones in the first call."""
        if self.trees is None:
            name = type(self).__name__
            raise RuntimeError(
                f"this {name} was made with parameters, which step(grads=...) updates in place; make one without, "
                f"{name}(lr=...), for parameters that come with every call"
            )
        leaves = [("", parameters)] if type(parameters) is np.ndarray else leaves_of(parameters)
        tree: Tree | None = self.trees.get(key)
        if tree is None:
            prefix = "" if key is None else f"{key!r}"
            members = [
                Parameter(_as_array(path, leaf), name=f"{prefix}{path and prefix and ': '}{path}" or "parameters")
                for path, leaf in leaves
            ]
            if not members:
                raise ValueError("parameters has no arrays")
            tree = Tree(len(self.param_groups), len(self._parameters), paths(leaves))
            self.add_param_group({"params": [(member.name, member) for member in members]})  # type: ignore[attr-defined]
            self.trees = {**self.trees, key: tree}
        elif tree.paths != paths(leaves):
            changed = sorted(path or "the root" for path in {*tree.paths} ^ {*paths(leaves)}) or ["its order"]
            raise ValueError(
                f"parameters had another structure in the first call; it differs at {', '.join(changed[:5])}: use key= "
                "for other parameters, or another optimizer"
            )
        return leaves, tree

    def _step_tree(
        self,
        gradients: Any,
        parameters: Any,
        tree: Tree,
        leaves: list[Leaf],
        step: int | None,
        options: Mapping[str, Any],
    ) -> None:
        group = self.param_groups[tree.group]
        unknown = [name for name in options if name not in group]
        if unknown:
            known = sorted(name for name in group if name not in ("params", "param_names"))
            raise TypeError(f"{type(self).__name__} has no option {unknown[0]!r}; there are {known}")
        found = [gradients] if tree.paths == ("",) else list(matching(gradients, parameters, "gradients"))
        grads: list[Any] = [None] * len(self._parameters)
        grads[tree.first : tree.first + len(leaves)] = found
        members = self._parameters[tree.first : tree.first + len(leaves)]
        for (path, leaf), member in zip(leaves, members, strict=True):
            values = leaf if type(leaf) is np.ndarray else _as_array(path, leaf)
            np.copyto(member.array, checked_values(values, member, "the value"), casting="same_kind")
        before = {name: group[name] for name in options}
        group.update(options)
        self._looks_at_names = False  # which lets `step` pass
        try:
            if step is not None:
                self._set_steps(range(tree.first, tree.first + len(leaves)), step - 1)
            self.step(grads=grads)  # type: ignore[attr-defined]
        finally:
            self._looks_at_names = True
            group.update(before)

    def _step_single(self, gradient: Any, array: Any, position: int) -> Any:
        """Do the same for what most codes have, one array and nothing else."""
        member = self._parameters[position]
        memory = member.array
        if array.dtype is not memory.dtype or array.shape != memory.shape:
            checked_values(array, member, "the value")
        np.copyto(memory, array, casting="same_kind")
        grads = [gradient]
        if len(self._parameters) > 1:
            grads = [None] * len(self._parameters)
            grads[position] = gradient
        self._looks_at_names = False
        try:
            self.step(grads=grads)  # type: ignore[attr-defined]
        finally:
            self._looks_at_names = True
        return memory.copy(order="K")

    def _set_steps(self, positions: range, step: int) -> None:
        """Let parameters have made so many steps."""
        checks.as_integer("step", step + 1, low=1)
        for position in positions:
            if state := self._state_of(position):  # type: ignore[attr-defined]
                if "step" in state:
                    self._edit_state(position, "step", step)  # type: ignore[attr-defined]
            elif "step" in self.clock_names:
                self._replace_state(position, {"step": step})  # type: ignore[attr-defined]


def _as_array(path: str, leaf: Any) -> Any:
    """Return a leaf as an array, refusing what is no floating point number."""
    checks.check_is_plain(f"parameters{path and ' at '}{path}", leaf)
    if isinstance(leaf, (float, complex, np.inexact, np.ndarray)):
        return np.asarray(leaf)
    raise TypeError(
        f"parameters{path and ' at '}{path} must be arrays or floats, got {type(leaf).__name__}; convert it first"
    )


def _like(leaf: Any, member: Parameter) -> Any:
    """Return a copy of a parameter of the type of a leaf."""
    if isinstance(leaf, np.ndarray):
        return member.array.copy(order="K")
    value = member.array[()]
    return value if isinstance(leaf, np.generic) else value.item()
