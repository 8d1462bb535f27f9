"""ElementwiseOptimizer: from a rule, the names of its state and its scalars to an optimizer."""

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypedDict

import numpy as np

from numbopt._devices.arrays import Array, DeviceArray, copy_values, to_host
from numbopt._kernels.norms import clip_coefficient
from numbopt._kernels.rule import CommonScalars, Rule
from numbopt._launch.calls import Calls, run, setting
from numbopt._launch.tables import Clock as Clock
from numbopt._launch.tables import Tables, are_arrays, kind_of
from numbopt._parameters.bounds import check_bounds, moving_inside
from numbopt._parameters.gradients import Given, Gradients
from numbopt.functional import FunctionalSteps
from numbopt.optimizer import GroupOptions, Optimizer
from numbopt.options import COMMON, CONSTRAINTS, UNBOUNDED, Number, as_float, options_type
from numbopt.parameter import Parameter, checked_values, label


class _Signature:
    """What `inspect.signature` shows of a class: its constructor, with the flags that ``**common`` stands for."""

    def __get__(self, instance: Any, cls: "type[ElementwiseOptimizer]") -> inspect.Signature:
        signature = inspect.signature(functools.partial(cls.__init__, instance))
        shown = list(signature.parameters.values())
        if shown and shown[-1].kind is inspect.Parameter.VAR_KEYWORD:
            types = AllFlags.__annotations__
            shown[-1:-1] = [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=COMMON[name][1], annotation=types[name])
                for name in cls.torch_flags
            ]
        return signature.replace(parameters=shown)


class ElementwiseOptimizer(FunctionalSteps, Optimizer):
    """An optimizer whose rule computes each element for itself.

    A subclass states its `rule`, its `options` with their checks, a constructor with the defaults and `advance`, and
    has groups, state, hooks, state dicts and all loops. Its constructor hands on as ``**common`` what all share: the
    arguments below.

    Parameters
    ----------
    params : iterable
        See `Optimizer`.
    defaults : dict
        Options for groups that do not give their own.
    bounds : (lower, upper), optional
        Numbers, arrays that broadcast to the shape of each parameter, or None; a step ends within them. Parameters that
        start outside are moved to the nearest bound, with a warning. Real parameters only. Groups may have their own.
    project : callable, optional
        Called with the data of each parameter that was updated, after the step; changes it in place or returns an array
        to take its place. Groups may have their own.
    max_grad_norm : float, optional
        If the 2-norm of all gradients together is larger, the step uses gradients scaled down to it (the gradients
        themselves stay as they are). See `numbopt.clip_grad_norm_`.
    nonfinite : {"propagate", "raise", "skip"}
        What a step does about a gradient with NaN or infinity: use it as it is; raise a ValueError that names the
        parameter, with nothing changed; or change nothing and count it in `skipped_steps`.

    maximize : bool
        Go up instead of down. An option of groups, as those that follow.
    foreach, capturable, fused, differentiable
        For compatibility with torch: each class accepts those that torch's class has. ``differentiable=True`` is
        refused, the others change nothing.

    Attributes
    ----------
    max_grad_norm, nonfinite
        As given; may be changed.
    skipped_steps : int
        Steps that did nothing because of ``nonfinite="skip"``.

    Notes
    -----
    Before the rule, the loop applies what is common to all algorithms: ``maximize`` changes the sign of the gradient
    ``g``; ``weight_decay`` makes it ``g + weight_decay * p``, or, where `is_decoupled` says so, multiplies ``p`` by
    ``1 - lr * weight_decay``. Complex parameters are updated as their real and imaginary parts.
    """

    common_options = COMMON | CONSTRAINTS

    torch_flags: ClassVar[tuple[str, ...]] = ()
    """Those of the options in `COMMON` that torch's class has and the constructor takes as ``**common``."""

    __signature__ = _Signature()

    rule: ClassVar[Rule]
    """The formula; `rule_for` may choose another one by the options of a group."""

    clock_names: ClassVar[tuple[str, ...]] = ("step",)
    """Names of the scalars that each parameter keeps from step to step, in the order of a clock."""

    decoupled_weight_decay: ClassVar[bool] = False
    """Whether ``weight_decay`` shrinks the parameter instead of entering the gradient."""

    weight_decay_in_rule: ClassVar[bool] = False
    """Whether the rule itself applies ``weight_decay``."""

    depends_on_parameters: ClassVar[bool] = False
    """Whether a step depends on the parameters by more than weight decay, bounds and ``project``."""

    def __init__(
        self,
        params: Any,
        defaults: Mapping[str, Any],
        *,
        max_grad_norm: float | None = None,
        nonfinite: str = "propagate",
        **common: Any,
    ) -> None:
        unknown = common.keys() - {*CONSTRAINTS, *self.torch_flags}
        if unknown:
            raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {min(unknown)!r}")
        self.max_grad_norm, self.nonfinite = max_grad_norm, nonfinite
        self.skipped_steps = 0
        self._check_guards()
        flags = {name: COMMON[name][1] for name in self.torch_flags if name not in defaults}
        super().__init__(params, {**defaults, **flags, **common})

    # ---- what an algorithm states

    @classmethod
    def rule_for(cls, options: Mapping[str, Any]) -> Rule:
        """Return the rule for a group with these options."""
        return cls.rule

    @classmethod
    def is_decoupled(cls, options: Mapping[str, Any]) -> bool:
        """Return whether the weight decay of a group with these options is decoupled from the gradient."""
        return bool(options.get("decoupled_weight_decay", cls.decoupled_weight_decay))

    @classmethod
    def initial_clock(cls, options: Mapping[str, Any]) -> Clock:
        """Return the clock of a parameter before its first step: a 0 for each of `clock_names`, unless overridden."""
        return (0,) * len(cls.clock_names)

    @classmethod
    def initial_state(cls, options: Mapping[str, Any]) -> dict[str, float | str]:
        """Return what state arrays begin with where that is not zero: numbers, or "parameter" for a copy of it."""
        return {}

    @staticmethod
    def advance(o: Any, clock: Clock) -> tuple[Clock | None, tuple[float, ...]]:
        """Return the clock after a step, and the scalars of that step in the order of ``rule.scalars``.

        If it always returns clocks and scalars of the same types, Numba compiles it as it stands, along with functions
        that it calls.

        Parameters
        ----------
        o : named tuple
            The checked options of a group: floats, tuples of floats, bools, read as ``o.lr`` or ``o["lr"]``.
        clock : tuple
            Before the step.
        """
        raise NotImplementedError

    def over_all(self, o: Any, sums: Any) -> dict[str, float]:
        """Return options that a step changes, for rules with terms; those of all groups change.

        Parameters
        ----------
        o : named tuple
            The options of a group that takes part in the step.
        sums : named tuple
            ``sums.size``, the number of real elements, and the sums that the rule names, over all parameters that have
            a gradient.
        """
        return {}

    def changing(self, changed: dict[str, float]) -> Calls:
        """Return what `run` is to call so that options of all groups change."""
        return [functools.partial(group.update, changed) for group in self.param_groups if changed]

    @staticmethod
    def combine(o: Any, clock: Clock, sums: Any, changed: Mapping[str, float]) -> tuple[float, ...]:
        """Return the scalars in ``rule.found``, for rules with terms.

        Parameters
        ----------
        o : named tuple
            The options of the group.
        clock : tuple
            After the step.
        sums : named tuple
            As in `over_all`, over one parameter.
        changed : dict
            What `over_all` returned.
        """
        raise NotImplementedError

    @classmethod
    def clock_to_state(cls, clock: Clock) -> dict[str, Any] | None:
        """Return the clock as entries of a state, or None if there is no state yet."""
        return dict(zip(cls.clock_names, clock, strict=True))

    @classmethod
    def clock_from_state(cls, state: Mapping[str, Any], options: Mapping[str, Any]) -> Clock | None:
        """Return the clock that a state, loaded from a state dict, stands for."""
        start = zip(cls.clock_names, cls.initial_clock(options), strict=True)
        values = ((float(state.get(name, default)), default) for name, default in start)
        return tuple(round(value) if isinstance(default, int) else value for value, default in values)

    # ---- parameters and options

    def _set_up(self) -> None:
        super()._set_up()
        self._tables = Tables()
        self._options_type = options_type(tuple(self.options))
        self._gradients: Gradients | None = None  # made when a step needs it
        self._has_projects = False  # or had any
        self._grad_norm: Callable[[], float | None] = lambda: None

    def _checked_options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._checked_options(group)
        if values["bounds"] is not UNBOUNDED:
            for parameter in group.get("params", ()):
                check_bounds(parameter, values["bounds"])
        return values

    def _taking_parameters(self, parameters: list[Parameter], added: list[GroupOptions]) -> Calls:
        calls = [*self._tables.adding(parameters[len(self._parameters) :]), *setting(self, _gradients=None)]
        for known in added:
            if known.bounds is not UNBOUNDED:
                for parameter in known.params:
                    calls += moving_inside(parameter, known.bounds)
        return calls

    def _take_options(self, known: GroupOptions, values: dict[str, Any], group: dict[str, Any]) -> None:
        known.values, known.options = values, self._options_type.of(values)
        known.common = self._common_scalars(values)
        known.bounds = bounds = values["bounds"]
        bound_arrays = bounds if bounds is not UNBOUNDED and are_arrays(bounds) else None
        rule = self.rule_for(values)
        if rule is not known.rule or bound_arrays is not known.bound_arrays:
            self._tables.forget()  # first; see `calls`
            known.rule, known.bound_arrays = rule, bound_arrays
            if bound_arrays:
                group["bounds"] = bounds  # copies, because edits of the user's arrays would have no effect
        if values["project"] is not None:
            self._has_projects = True

    def _common_scalars(self, options: Mapping[str, Any]) -> CommonScalars:
        l2, shrink, bounds = options.get("weight_decay", 0.0), 1.0, options["bounds"]
        if self.weight_decay_in_rule:
            l2 = 0.0
        if not l2 and bounds is UNBOUNDED and not options["maximize"]:
            return _NEUTRAL  # most are, and learning rates are often edited
        if l2 and self.is_decoupled(options):
            l2, shrink = 0.0, 1.0 - options["lr"] * l2
        lower, upper = (0.0, 0.0) if are_arrays(bounds) else bounds
        return CommonScalars(-1.0 if options["maximize"] else 1.0, l2, shrink, lower, upper)

    def _compile_ahead(self) -> None:
        super()._compile_ahead()
        self._refresh_options()
        for group in self._group_options:
            for kind in {kind_of(parameter, self, group) for parameter in group.params}:
                kind.update.compile_ahead(kind.rule, kind.dtype, kind.bound_arrays)

    # ---- the step

    def _step(self, closure: Callable[[], Any] | None, grads: Any) -> Any:
        loss = None
        if closure is not None:
            loss, grads = self.evaluate(closure, grads)
        if self._lock._is_owned():
            self._refuse_inside()
        with self._lock:
            self._refresh_options()
            gradients, tables = self._gradients or self._new_gradients(), self._tables
            given = gradients.own() if grads is None else gradients.given(grads, self.gradients_in_order)
            if not gradients.retake(given, tables.targets):
                if grads is not None:
                    given = self.gradients_in_order(grads)
                if grads is None and given and all(array is None for array in given):
                    _warn_of_no_gradient(closure, loss)
                tables.targets = None  # until the tables agree with the gradients; see `calls`
                gradients.take(given)
                tables.use(gradients.addresses, self, self._group_of)
            scale: float | None = 1.0
            if self.max_grad_norm is not None or self.nonfinite != "propagate":
                scale = self._gradient_scale(gradients, given)
            if scale is None:
                self.skipped_steps += 1
                self.step_count += 1
                return loss
            self._prepare(gradients, given, scale)
            calls = tables.advancing(self, scale)
            calls.append(self._counting())
            run(calls)
            if self._has_projects:
                for parameter, known, address in zip(
                    self._parameters, self._group_of, gradients.addresses, strict=True
                ):
                    if address and known.values["project"] is not None:
                        _project(parameter, known.values["project"])
        return loss

    def _prepare(self, gradients: Gradients, given: Given, scale: float) -> None:
        """Compute from gradients, before anything changes, what a rule finds in arrays that are no state."""

    def _new_gradients(self) -> Gradients:
        self._gradients = Gradients(self._parameters)
        return self._gradients

    # ---- looking at the gradients before the step

    @property
    def grad_norm(self) -> float | None:
        """The norm of the gradients at the last step that needed it; fetched from a GPU when it is asked for."""
        return self._grad_norm()

    def _check_guards(self) -> None:
        if self.max_grad_norm is not None and not as_float("max_grad_norm", self.max_grad_norm) >= 0:
            raise ValueError(f"max_grad_norm must be None or a number >= 0, got {self.max_grad_norm!r}")
        if self.nonfinite not in ("propagate", "raise", "skip"):
            raise ValueError(f"nonfinite must be 'propagate', 'raise' or 'skip', got {self.nonfinite!r}")

    def _gradient_scale(self, gradients: Gradients, given: Given) -> float | None:
        """Return the factor that ``max_grad_norm`` asks for, or None if the step is to be skipped."""
        self._check_guards()
        if self.nonfinite == "propagate":
            assert self.max_grad_norm is not None
            fetch_norm = self._tables.clip(self.max_grad_norm)
            if fetch_norm is not None:
                self._grad_norm = fetch_norm
                return 1.0
        norm = math.sqrt(self._tables.sum_of_squares())
        self._grad_norm = lambda: norm
        if self.nonfinite != "propagate" and not math.isfinite(norm):
            for position, parameter in enumerate(self._parameters):
                gradient = gradients.array(position, given)
                if gradient is not None and not np.isfinite(to_host(gradient)).all():
                    if self.nonfinite == "skip":
                        return None
                    raise ValueError(
                        f"gradient of {label(parameter)} has NaN or infinity; correct it, or use nonfinite='skip'"
                    )
        return 1.0 if self.max_grad_norm is None else clip_coefficient(self.max_grad_norm, norm)

    # ---- state

    def _state_of(self, position: int) -> dict[str, Any]:
        clock = self._tables.clock_of(position)
        of_clock = None if clock is None else self.clock_to_state(clock)
        return {} if of_clock is None else {**of_clock, **self._tables.arrays_of(position)}

    def _checked_state(self, position: int, key: str, value: Any) -> Any:
        parameter = self._parameters[position]
        if key not in self.clock_names:
            return checked_values(value, parameter, f"state {key!r}")
        low = 0 if key == "step" else -math.inf
        if type(value) is int and low <= value < 1 << 53:
            return float(value)
        return Number("state", low)(f"state {key!r} of {label(parameter)}", value)

    def _edit_state(self, position: int, key: str, value: Any) -> None:
        clock, arrays = self._tables.clock_of(position), self._tables.arrays_of(position)
        if clock is not None and key in self.clock_names:
            place = self.clock_names.index(key)
            number = round(value) if isinstance(clock[place], int) else value
            self._tables.set_clock(position, (*clock[:place], number, *clock[place + 1 :]))
        elif clock is not None and key in arrays:
            copy_values(arrays[key], value)
        else:
            super()._edit_state(position, key, value)

    def _replacing_state(self, position: int, state: Mapping[str, Any], options: Mapping[str, Any]) -> Calls:
        arrays = {
            name: value
            for name, value in state.items()
            if isinstance(value, (np.ndarray, DeviceArray)) and name not in self.clock_names
        }
        return self._tables.replacing(position, arrays, self.clock_from_state(state, options) if state else None)


class Common(TypedDict, total=False):
    """Keyword arguments that all algorithms share; see `ElementwiseOptimizer`."""

    bounds: tuple[Any, Any] | None
    project: Callable[[Array], Any] | None
    max_grad_norm: float | None
    nonfinite: str


class Maximizable(Common, total=False):
    """The same, and the one flag of algorithms that torch does not have."""

    maximize: bool


class Flags(Maximizable, total=False):
    """The same, and those flags that torch takes by keyword only; each class has some of them."""

    capturable: bool
    differentiable: bool
    fused: bool | None


class AllFlags(Flags, total=False):
    """The same where torch takes ``foreach`` by keyword only, too."""

    foreach: bool | None


_NEUTRAL = CommonScalars()


def _warn_of_no_gradient(closure: Callable[[], Any] | None, loss: Any) -> None:
    remedy = "give them by step(grads=[...]), or as the grad of a numbopt.Parameter"
    if closure is not None:
        returned = "None" if loss is None else "gradients without a loss" if np.ndim(loss) else "only the loss"
        remedy = f"the closure returned {returned}, return (loss, grads)"
    warnings.warn(f"no parameter has a gradient, so the step changed nothing: {remedy}", stacklevel=4)


def _project(parameter: Parameter, project: Callable[[Array], Any]) -> None:
    projected = project(parameter.data)
    if projected is not None:
        parameter.data = projected
