"""Optimizer: param groups, checked options, hooks, state dicts; everything but the updates themselves."""

import copy
import functools
import operator
import os
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from numbopt import options as checks
from numbopt._devices.arrays import DeviceArray, host_copy, to_host
from numbopt._devices.interruptions import raised_by_handler
from numbopt._launch.calls import Calls, run, setting
from numbopt._launch.look import compiled_look
from numbopt._launch.many_arrays import compile_zeroing_and_copying, zeroing
from numbopt._parameters.groups import as_groups, as_parameters, check_is_group, check_no_overlap, unknown_key
from numbopt._parameters.rebinding import LAST_STEP, Names
from numbopt._parameters.state import Access, State
from numbopt._parameters.state_dict import PARAMETERS, by_number, loaded_options, matched_groups, packed_groups
from numbopt.functional import LAZY
from numbopt.hooks import Hook, Hooks, RemovableHandle, global_step_post_hooks, global_step_pre_hooks
from numbopt.parameter import Parameter, checked_values, gradient_changes

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required: Any = _Required()
"""Default of an option that each group has to give."""


class _OptionOfGroups:
    """Says, where an option is set as an attribute of an optimizer, that this changes nothing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, optimizer: Any, cls: type) -> Any:
        values = {} if optimizer is None else vars(optimizer)
        if self._name not in values:
            remedy = f"opt.param_groups[0][{self._name!r}]"
            raise AttributeError(f"{cls.__name__} has no attribute {self._name!r}; it is an option of groups: {remedy}")
        return values[self._name]

    def __set__(self, optimizer: Any, value: Any) -> None:
        name = self._name
        warnings.warn(
            f"{name} is an option of groups, and setting it as an attribute changes nothing: write "
            f"opt.param_groups[0][{name!r}] = {value!r}",
            stacklevel=2,
        )
        vars(optimizer)[name] = value


class GroupOptions:
    """The options of one group as plain values, checked, and what follows from them.

    Attributes
    ----------
    params : tuple of Parameter
        The parameters of the group.
    values : dict
        The options.
    options : Options
        The same in the form that algorithms take. This attribute and the following belong to optimizers that work by
        rules.
    common : CommonScalars
        The scalars that all rules have.
    bounds : (lower, upper)
        Of each element.
    rule : Rule
        The rule that the options ask for.
    bound_arrays : object
        The bounds as they were given if these are arrays, else None.
    """

    __slots__ = ("bound_arrays", "bounds", "common", "options", "params", "rule", "values")

    def __init__(self, params: tuple[Parameter, ...]) -> None:
        self.params = params
        self.values: dict[str, Any] = {}
        self.options: Any = None
        self.common: Any = None
        self.bounds = checks.UNBOUNDED
        self.rule: Any = None
        self.bound_arrays: Any = None


class Optimizer:
    """Base class of all optimizers.

    Parameters
    ----------
    params : iterable
        Of `Parameter` or ndarray, of pairs ``(name, parameter)``, or of dicts with the key ``"params"`` and options for
        that group; or a dict from names to parameters. Arrays are updated in place.
    defaults : dict
        Options for groups that do not give their own.

    Attributes
    ----------
    param_groups : list of dict
        Each with ``"params"``, a tuple of Parameters, and its options. Edited options count from the next step on.
    defaults : dict
        As given.
    step_count : int
        How often `step` was done; schedulers look at it.

    Raises
    ------
    TypeError, ValueError
        For parameters or options that cannot be; nothing has changed then.

    Notes
    -----
    Several threads may call `step` of one optimizer: the steps are done one after the other, each as a whole, but
    closures, which run before, side by side (those of `LBFGS` and `NonlinearCG` run within the step). While one thread
    steps, no other may add groups, edit options or load or edit state.
    """

    options: ClassVar[Mapping[str, checks.Check]] = {}
    """The checks of the options that a group must have, by name."""

    common_options: ClassVar[Mapping[str, tuple[checks.Check, Any]]] = checks.COMMON
    """Checks and defaults of options that a group may have."""

    trees: dict[Any, Any] | None
    """For parameters that come with every call, see `numbopt.functional`; else None."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Let a subclass say what to do where an option is set as an attribute."""
        super().__init_subclass__(**arguments)
        for name in cls.options.keys() | cls.common_options.keys():
            if not hasattr(cls, name):
                setattr(cls, name, _OptionOfGroups(name))

    def __init__(self, params: Any, defaults: Mapping[str, Any]) -> None:
        self._step_pre_hooks, self._step_post_hooks = Hooks(), Hooks()
        self._state_dict_pre_hooks, self._state_dict_post_hooks = Hooks(), Hooks()
        self._load_pre_hooks, self._load_post_hooks = Hooks(), Hooks()
        self.defaults: dict[str, Any] = dict(defaults)
        if not any(value is required for value in self.defaults.values()):
            self._checked_options(self.defaults)  # before the parameters are looked at, as torch does
        self._set_up()
        if params is LAZY:
            self.trees = {}
        else:
            self._add_groups(as_groups(params))

    def _set_up(self) -> None:
        """Create the attributes that pickle and deepcopy rebuild instead of copying."""
        self.param_groups: list[dict[str, Any]] = []
        self._step_counts = [0, 0]  # the present one first; made anew at every step, the other one is the next
        self._swap_counts = self._step_counts.reverse
        self._parameters: list[Parameter] = []
        self._names: list[str | None] = []
        self._notes: dict[str, Any] = {}
        self._group_options: list[GroupOptions] = []
        self._group_of: list[GroupOptions] = []  # of each parameter
        self._positions: dict[int, int] = {}  # by identities; made when it is first needed
        self._groups_seen: list[dict[str, Any]] | None = []
        self._lock: Any = threading.RLock()
        _optimizers.add(self)
        self._zeroing = _NOTHING_ZEROED
        self._names_seen: Names | None = None
        self._looks_at_names = True
        self.trees = None
        self._singles: dict[Any, int] = {}

    @property
    def step_count(self) -> int:
        """The number of steps so far; may be changed."""
        return self._step_counts[0]

    @step_count.setter
    def step_count(self, count: int) -> None:
        self._step_counts[0] = count

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters of all groups, in order; `add_param_group` adds to them."""
        return self._parameters

    @property
    def names(self) -> list[str | None]:
        """Their names, None where there is none."""
        return self._names

    # ---- groups and options

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, for example layers that are to be trained from now on.

        Parameters
        ----------
        param_group : dict
            With ``"params"`` and options that differ from the defaults.

        Raises
        ------
        TypeError, ValueError
            If the group, a parameter or an option is not valid, or a parameter is in the optimizer already.
        """
        self._refresh_options()  # refuses edited groups now, before anything has changed
        self._add_groups([param_group])

    def _add_groups(self, param_groups: list[dict[str, Any]]) -> None:
        groups: list[dict[str, Any]] = []
        added: list[GroupOptions] = []
        names: list[str | None] = []
        taken = {name for name in self._names if name}
        for param_group in param_groups:
            group, values = self._prepared(param_group, taken)
            first = (self.param_groups or groups or [group])[0]
            if ("param_names" in group) != ("param_names" in first):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if 'param_names' in group else 'without'} names to the optimizer"
                )
            known = GroupOptions(group["params"])
            self._take_options(known, values, group)
            groups.append(group)
            added.append(known)
            names += group.get("param_names", [parameter.name for parameter in known.params])
        everything = [*self._parameters, *(parameter for known in added for parameter in known.params)]
        check_no_overlap(everything)
        before, seen = self._groups_seen, self._seen(groups)
        calls = self._taking_parameters(everything, added)
        calls += setting(
            self,
            _parameters=everything,
            _names=[*self._names, *names],
            _group_options=[*self._group_options, *added],
            _group_of=[*self._group_of, *(known for known in added for _ in known.params)],
            _positions={},
            _groups_seen=None if before is None or seen is None else before + seen,
            _zeroing=_NOTHING_ZEROED,
        )
        run([*calls, functools.partial(self.param_groups.extend, groups)])

    def _prepared(self, param_group: dict[str, Any], taken: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a group with all its options, and these checked; add its names to those that are taken."""
        check_is_group(param_group)
        parameters, names = as_parameters(param_group["params"])
        group = {**self.defaults, **param_group, "params": tuple(parameters)}
        names = names or group.pop("param_names", None)
        for key, value in group.items():
            if value is required:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {key}")
        if names is not None:
            if len(names) != len(parameters) or len(set(names)) < len(names):
                raise ValueError(f"names of parameters must be distinct, one for each, got {names}")
            twice = taken.intersection(names)
            if twice:
                raise ValueError(f"names of parameters must be distinct, {sorted(twice)} are in the optimizer already")
            taken.update(names)
            group["param_names"] = list(names)
        return group, self._checked_options(group)

    def _taking_parameters(self, parameters: list[Parameter], added: list[GroupOptions]) -> Calls:
        """Return what `run` is to call so that groups are added; ``parameters`` are all that there will be."""
        return []

    def _checked_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of ``group`` as plain values, checked."""
        for key in group:
            if not any(key in known for known in (self.options, self.common_options, checks.NOTES, PARAMETERS)):
                raise unknown_key(str(key), {*self.options, *self.common_options})
        values = {key: check(key, group.get(key, default)) for key, (check, default) in self.common_options.items()}
        for key, check in self.options.items():
            if key not in group:
                raise ValueError(f"param group lacks the option {key!r}; set it, or give it to the constructor")
            values[key] = check(key, group[key])
        self.check_together(values)
        return values

    def check_together(self, options: Mapping[str, Any]) -> None:
        """Refuse combinations of options, each valid by itself, that make no sense; for subclasses."""

    def _take_options(self, known: GroupOptions, values: dict[str, Any], group: dict[str, Any]) -> None:
        """Let a group have other options, which have been checked."""
        known.values = values

    def _refresh_options(self) -> None:
        """Check what was edited in the groups since the last step."""
        groups, seen = self.param_groups, self._groups_seen
        try:
            if groups == seen or (seen is not None and self._take_edits(groups, seen)):
                return
        except (KeyError, ValueError) as error:
            # An array of several elements has no truth. What else is wrong is found again below.
            if raised_by_handler(error):
                raise
        checked = self._checked_groups(groups)
        self._groups_seen = None  # invalid until all is done; see `calls`
        for known, values, group in zip(self._group_options, checked, groups, strict=True):
            self._take_options(known, values, group)
        self._groups_seen = self._seen(groups)

    def _seen(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """Return copies of groups to compare them with later, or None if they can change without being unequal."""
        # The content of a list or an array may change at any time.
        fixed = all(checks.is_fixed(map(group.__getitem__, self.options)) for group in groups)
        return [dict(group) for group in groups] if fixed else None

    def _take_edits(self, groups: list[dict[str, Any]], seen: list[dict[str, Any]]) -> bool:
        """Take those options whose values were replaced; return False, and change nothing, if more was edited."""
        if len(groups) != len(seen):
            return False
        edits = []
        for position, group in enumerate(groups):
            before = seen[position]
            if group == before:
                continue
            known, now = self._group_options[position], before.copy()
            values = known.values.copy()
            for key, check in self.options.items():
                value = group[key]
                if value is not before[key]:
                    if not (type(value) is float or checks.is_fixed((value,))):
                        return False
                    now[key], values[key] = value, check(key, value)
            if now != group:
                return False
            self.check_together(values)
            edits.append((position, known, values, now))
        self._groups_seen = None  # invalid until all is done; see `calls`
        for position, known, values, now in edits:
            self._take_options(known, values, now)
            seen[position] = now
        self._groups_seen = seen
        return True

    def _checked_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the options of all groups as plain values, checked."""
        if len(groups) != len(self._group_options) or not all(
            group.get("params") is known.params for group, known in zip(groups, self._group_options, strict=True)
        ):
            raise ValueError("param_groups or their 'params' were replaced; use add_param_group, or a new optimizer")
        return [self._checked_options(group) for group in groups]

    def _compile_ahead(self) -> None:
        """Compile what steps and `zero_grad` may run; see `numbopt.warmup`."""
        compile_zeroing_and_copying()
        compiled_look()

    # ---- the step

    def step(self, closure: Callable[[], Any] | None = None, *, grads: Any = None) -> Any:
        """Update the parameters once.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model: fills the gradients and returns the loss, or returns ``(loss, grads)``.
        grads : list, dict or array, optional
            Gradients to use instead of those in ``parameter.grad``: a list in the order of the parameters (None skips
            one), a dict by name (a missing name is skipped), or one array for a single parameter. An array with dtype
            and memory order of its parameter is read in place, others are converted.

        Returns
        -------
        object
            The loss that the closure returned, or None.

        Raises
        ------
        TypeError, ValueError
            For gradients or options that are not valid; no parameter and no state has changed then.
        """
        if self._looks_at_names:
            self._look_for_rebinding(sys._getframe(1))
        if not (self._step_pre_hooks or self._step_post_hooks or global_step_pre_hooks or global_step_post_hooks):
            return self._step(closure, grads)
        args: tuple[Any, ...] = (self,) if closure is None else (self, closure)
        kwargs = {} if grads is None else {"grads": grads}
        for hook in (*global_step_pre_hooks.values(), *self._step_pre_hooks.values()):
            result = hook(self, args, kwargs)
            if result is not None:
                if not isinstance(result, tuple) or len(result) != 2:
                    raise RuntimeError(
                        f"{hook} must return None or a tuple of (new_args, new_kwargs), but got {result}."
                    )
                args, kwargs = result
        loss = self._step_with(*args[1:], **kwargs)
        for hook in (*self._step_post_hooks.values(), *global_step_post_hooks.values()):
            hook(self, args, kwargs)
        return loss

    @staticmethod
    def profile_hook_step(func: _Function) -> _Function:
        """Return ``func`` as it is: the decorator of ``step`` in optimizers that were written for torch."""
        return func

    def _look_for_rebinding(self, frame: types.FrameType) -> None:
        if self.trees is not None:
            raise RuntimeError(
                f"this {type(self).__name__} was made without parameters: call "
                "x = opt.apply_gradients(gradients, x), or give it parameters"
            )
        self._looks_at_names = self.step_count < LAST_STEP
        if self._names_seen is None:
            self._names_seen = Names(self._parameters, frame)
        else:
            self._names_seen.warn_of_rebinding(frame)

    def _step_with(self, closure: Callable[[], Any] | None = None, grads: Any = None) -> Any:
        return self._step(closure, grads)

    def _refuse_inside(self) -> None:
        """Refuse a step inside another one of this thread, which would wait for itself."""
        raise RuntimeError(
            f"step of {type(self).__name__} was called inside its own step: by its own closure, a hook, project= or "
            "the handler of a signal; call it after that step"
        )

    def _counting(self) -> Callable[[], object]:
        """Return the call that counts a step; see `calls`."""
        counts = self._step_counts
        counts[1] = counts[0] + 1
        return self._swap_counts

    def _step(self, closure: Callable[[], Any] | None, grads: Any) -> Any:
        """Do what `step` says, without hooks; count the step together with its last change, see `calls`."""
        raise NotImplementedError(f"{type(self).__name__} must implement _step")

    def evaluate(self, closure: Callable[[], Any], grads: Any = None) -> tuple[Any, Any]:
        """Call a closure; return the loss, and the gradients if the closure returned them or they were given."""
        if not callable(closure):
            raise TypeError(f"closure must be callable, got {type(closure).__name__}; gradients go to step(grads=...)")
        loss = closure()
        if not isinstance(loss, tuple):
            return loss, grads
        if len(loss) != 2:
            raise ValueError(f"a closure returns the loss or (loss, grads), got a tuple of {len(loss)}")
        if grads is not None:
            raise ValueError("gradients came from the closure and from grads=; give them once")
        return loss

    def gradients_in_order(self, grads: Any) -> tuple[Any, ...]:
        """Return ``grads``, in any of the forms that `step` takes, as a tuple with one entry for each parameter."""
        count = len(self._parameters)
        if isinstance(grads, Mapping):
            names = self._names
            if None in names:
                raise ValueError("grads is a dict, but not all parameters have names; pass a list, or name them")
            known = set(names)
            if len(known) < count:
                raise ValueError(f"grads is a dict, but parameters share names, {names}; pass a list, or rename them")
            unknown = [name for name in grads if name not in known]
            if unknown:
                raise ValueError(f"grads has names that no parameter has: {unknown}; there are {names}")
            return tuple(grads.get(name) for name in names)
        if isinstance(grads, (list, tuple)):
            if count == 1 and len(grads) and self._parameters[0].ndim and _is_number(grads[0]):
                return (grads,)  # a list of numbers is an array
            if len(grads) != count:
                raise ValueError(f"grads has {len(grads)} entries for {count} parameters; give one each, None to skip")
            return tuple(grads)
        if count != 1:
            raise TypeError(f"grads must be a list with one array for each of {count} parameters, or a dict by name")
        return (grads,)

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set the gradients of all parameters to zero.

        Parameters
        ----------
        set_to_none : bool
            Make them None instead, so that a step without new gradients skips the parameters.
        """
        if set_to_none:
            for parameter in self._parameters:
                parameter.grad = None
            return
        seen, addresses, launches = self._zeroing
        if seen != gradient_changes.count:
            for parameter in self._parameters:
                parameter._show_gradient()
            seen = gradient_changes.count
            found = [parameter.grad_address for parameter in self._parameters]
            if found != addresses:
                addresses = found
                launches = zeroing([parameter.grad_array for parameter in self._parameters])
            self._zeroing = (seen, addresses, launches)
        for launch in launches:
            run(launch.calls())

    # ---- state

    @property
    def state(self) -> State:
        """A mapping from parameters, or the arrays that were given as parameters, to their state.

        A state is a mapping with torch's names: ``step`` an int, and arrays of the parameter's shape that are views of
        what the optimizer works with. Entries appear with the first gradient. Entries under strings are the user's.
        """
        return State(
            Access(
                self._parameters,
                self._position,
                self._state_of,
                self._checked_state,
                self._replace_state,
                self._edit_state,
                self._notes,
            )
        )

    @state.setter
    def state(self, value: Any) -> None:
        raise AttributeError(
            "the state cannot be replaced: assign to the state of a parameter, opt.state[p] = {...}, or call "
            "opt.load_state_dict(...)"
        )

    def _state_of(self, position: int) -> dict[str, Any]:
        """Return the state of a parameter as it is now, arrays as views; empty before its first gradient."""
        raise NotImplementedError

    def _replace_state(self, position: int, state: Mapping[str, Any]) -> None:
        """Copy ``state``, which has been checked, into the state of a parameter."""
        run(self._replacing_state(position, state, self._group_of[position].values))

    def _edit_state(self, position: int, key: str, value: Any) -> None:
        """Replace one entry of the state of a parameter by a value that has been checked."""
        self._replace_state(position, {**self._state_of(position), key: value})

    def _replacing_state(self, position: int, state: Mapping[str, Any], options: Mapping[str, Any]) -> Calls:
        """Return what `run` is to call so that a parameter with these options has ``state``, which has been checked."""
        raise NotImplementedError

    def _position(self, key: Any) -> int:
        """Return the position of a parameter, given as itself or as the array behind it."""
        if not self._positions:
            numbered = list(enumerate(self._parameters))
            self._positions = {id(parameter._source): position for position, parameter in numbered}
            self._positions |= {id(parameter): position for position, parameter in numbered}
        position = self._positions.get(id(key))
        if position is None:
            raise KeyError(f"not a parameter of this optimizer: {type(key).__name__}")
        return position

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue, in torch's layout.

        Returns
        -------
        dict
            ``"state"``: for each parameter, by its running number, a dict of copies of its state;
            ``"param_groups"``: the groups with running numbers in ``"params"``, and with ``"param_names"`` if all
            parameters have names of their own.
        """
        for hook in tuple(self._state_dict_pre_hooks.values()):
            hook(self)
        states = ((position, self._state_of(position)) for position in range(len(self._parameters)))
        state: dict[Any, Any] = {position: _copied(state) for position, state in states if state}
        state.update(copy.deepcopy(self._notes))
        result: dict[str, Any] = {"state": state, "param_groups": packed_groups(self.param_groups, self._names)}
        for hook in tuple(self._state_dict_post_hooks.values()):
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned, here or in torch (tensors converted to arrays).

        Parameters are matched by name where both sides have names, by order otherwise. Everything is copied.

        Parameters
        ----------
        state_dict : dict
            Missing options are taken from the groups as they are.

        Raises
        ------
        ValueError, TypeError
            If groups, shapes or options do not fit; nothing has changed then.
        """
        state_dict = dict(state_dict)
        for hook in tuple(self._load_pre_hooks.values()):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        groups, numbers = matched_groups(state_dict, self.param_groups, self._names, self._loaded_group)
        of_numbers, notes = by_number(state_dict["state"], numbers)
        states = [
            {key: self._checked_state(position, key, value) for key, value in state.items() if value is not None}
            for position, state in enumerate(of_numbers.get(number) or {} for number in numbers)
        ]
        checked = self._checked_groups(groups)
        options = [values for group, values in zip(groups, checked, strict=True) for _ in group["params"]]
        calls = setting(
            self,
            _names=[name for group in groups for name in group.get("param_names", ())] or self._names,
            _notes=copy.deepcopy(notes),
            _groups_seen=None,  # the next step looks at them; see `calls`
        )
        for position, (state, values) in enumerate(zip(states, options, strict=True)):
            calls += self._replacing_state(position, state, values)
        run([*calls, functools.partial(operator.setitem, self.param_groups, slice(None), groups)])
        self._refresh_options()
        for hook in tuple(self._load_post_hooks.values()):
            hook(self)

    def _loaded_group(self, ours: dict[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a group with the options of ``theirs`` and the parameters of ``ours``."""
        return {**ours, **loaded_options(theirs)}

    def _checked_state(self, position: int, key: str, value: Any) -> Any:
        """Return one loaded entry: arrays checked for shape and type, numbers as they are."""
        if np.ndim(value) == 0 and self._parameters[position].ndim > 0:
            return value.item() if hasattr(value, "item") else value
        if isinstance(value, (int, float)):
            return value
        return checked_values(value, self._parameters[position], f"loaded state {key!r}")

    # ---- hooks

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Register ``hook(optimizer, args, kwargs)`` before each step; it may return new ``(args, kwargs)``."""
        return self._step_pre_hooks.add(hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Register ``hook(optimizer, args, kwargs)`` after each step."""
        return self._step_post_hooks.add(hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Register ``hook(optimizer)`` before `state_dict`."""
        return self._state_dict_pre_hooks.add(hook, prepend=prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Register ``hook(optimizer, state_dict)`` after `state_dict`; it may return another one."""
        return self._state_dict_post_hooks.add(hook, prepend=prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Register ``hook(optimizer, state_dict)`` before `load_state_dict`; it may return another state dict."""
        return self._load_pre_hooks.add(hook, prepend=prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Register ``hook(optimizer)`` after `load_state_dict`."""
        return self._load_post_hooks.add(hook, prepend=prepend)

    # ---- copies and text

    def __getstate__(self) -> dict[str, Any]:
        """Return what `copy.deepcopy` and `pickle` need; hooks are left out."""
        own = {key: value for key, value in vars(self).items() if not key.startswith("_")}
        states = [self._state_of(position) for position in range(len(self._parameters))]
        hosted = [{key: to_host(value) for key, value in state.items()} for state in states]
        return {**own, "step_count": self.step_count, "_notes": self._notes, "_states": hosted}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild from what `__getstate__` gave."""
        state = dict(state)
        states, notes, groups = state.pop("_states"), state.pop("_notes"), state.pop("param_groups")
        Optimizer.__init__(self, groups, state.pop("defaults"))
        self.step_count = state.pop("step_count")
        vars(self).update(state)
        self._notes = notes
        for position, values in enumerate(states):
            self._replace_state(position, values)

    def __repr__(self) -> str:
        """Show the options of each group."""
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key not in ("params", "param_names")]
        return "\n".join([*lines, ")"])


def _is_number(value: Any) -> bool:
    return not isinstance(value, np.ndarray) and np.isscalar(value)  # in this order, because most are arrays


class _HeldAtFork:
    """The lock of an optimizer in a child process that was forked while another thread was in a step."""

    def _is_owned(self) -> bool:
        return False

    def __enter__(self) -> None:
        raise RuntimeError(
            "this process was forked while another thread was in a step of this optimizer: parameters and state are "
            "between two steps; fork at another moment, or make the optimizer and its arrays in the child"
        )

    def __exit__(self, *exception: object) -> None:
        """Do nothing: there is nothing to leave."""


def _refuse_torn_steps() -> None:
    for optimizer in _optimizers:
        if optimizer._lock.acquire(blocking=False):
            optimizer._lock.release()
        else:
            optimizer._lock = _HeldAtFork()


_optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_refuse_torn_steps)


_NOTHING_ZEROED: tuple[int, list[int], list[Any]] = (-1, [], [])


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state with copies of its arrays, on the host."""
    arrays = np.ndarray, DeviceArray
    return {key: host_copy(value) if isinstance(value, arrays) else value for key, value in state.items()}


_Kind = TypeVar("_Kind", bound=Optimizer)


def optimizers(kind: type[_Kind]) -> dict[str, type[_Kind]]:
    """Return the optimizers of a kind by name in lower case, those that users have written among them."""

    def descendants(cls: type[_Kind]) -> Iterator[type[_Kind]]:
        for child in cls.__subclasses__():
            yield child
            yield from descendants(child)

    return {cls.__name__.lower(): cls for cls in descendants(kind) if cls.options and not cls.__name__.startswith("_")}
