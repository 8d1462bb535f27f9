"""What torch's own tests ask of every optimizer, asked of numbopt's, over the whole table of cases."""

import copy
import inspect
import pickle
from itertools import product

import numpy as np
import pytest
from cases import problem
from cases.optimizers import CASES, DTYPES
from support.bits import assert_same_bits

import numbopt
from numbopt import Parameter

CLASSES = sorted({case.cls for case in CASES})
# Options that are missing from groups in state dicts that old releases of torch wrote.
LATER_OPTIONS = ("foreach", "differentiable", "fused", "maximize", "capturable")

for_every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
of_torch = pytest.mark.parametrize("cls", sorted({case.cls for case in CASES if case.is_torchs}))
apart = pytest.mark.parametrize("case", [case for case in CASES if case.sums_over != "all"], ids=lambda case: case.id)
without_sums = pytest.mark.parametrize("case", [case for case in CASES if not case.sums_over], ids=lambda case: case.id)
for_every_class = pytest.mark.parametrize("cls", CLASSES)


def optimizer_of(case, params, **options):
    return getattr(numbopt, case.cls)(params, **{**case.options, **options})


def cases_of(cls):
    return [case for case in CASES if case.cls == cls]


class LinearModel:
    """The sum of the squares of ``weight @ x + bias`` and its gradients, computed alike for every order of memory."""

    def __init__(self, dtype="float32", make=Parameter):
        random = np.random.default_rng(20)
        self.x = random.standard_normal(5).astype(dtype)
        self.weight = make(random.standard_normal((10, 5)).astype(dtype))
        self.bias = make(random.standard_normal(10).astype(dtype))
        self.parameters = [self.weight, self.bias]

    def loss_and_gradients(self):
        residual = np.ascontiguousarray(self.weight) @ self.x + np.asarray(self.bias)
        return float(residual @ residual), [np.outer(2 * residual, self.x), 2 * residual]

    def loss(self):
        return self.loss_and_gradients()[0]

    def fill_gradients(self):
        loss, gradients = self.loss_and_gradients()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def values(self):
        return [np.array(parameter) for parameter in self.parameters]

    def train(self, optimizer, steps=20):
        """Take steps; return the parameters after each of them."""
        iterates = []
        for _ in range(steps):
            self.fill_gradients()
            optimizer.step()
            iterates.append(self.values())
        return iterates


def assert_went_in_the_right_direction(case, before, after):
    assert np.isfinite(after)
    assert after > before if case.options.get("maximize") else after < before


def states_of(optimizer):
    return [dict(optimizer.state.get(parameter, {})) for parameter in all_parameters(optimizer)]


def all_parameters(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


# ---- the right direction


def _own_gradients(model, optimizer):
    model.fill_gradients()
    return optimizer.step()


def _given_gradients(model, optimizer):
    return optimizer.step(grads=model.loss_and_gradients()[1])


def _closure_that_adds(model, optimizer):
    def closure():
        optimizer.zero_grad()
        loss, gradients = model.loss_and_gradients()
        for parameter, gradient in zip(model.parameters, gradients, strict=True):
            parameter.grad += gradient
        return loss

    return optimizer.step(closure)


def _closure_that_returns_gradients(model, optimizer):
    return optimizer.step(model.loss_and_gradients)


LAYOUTS = {
    "parameter": Parameter,
    "Fortran parameter": lambda values: Parameter(np.asfortranarray(values)),
    "parameter from a strided array": lambda values: Parameter(np.stack([values, values], axis=-1)[..., 0]),
    "array": np.copy,
    "Fortran array": np.asfortranarray,
}
WAYS_FOR_PARAMETERS = (_own_gradients, _given_gradients, _closure_that_adds, _closure_that_returns_gradients)
WAYS_FOR_ARRAYS = (_given_gradients, _closure_that_returns_gradients)


@for_every_case
def test_goes_in_the_right_direction_and_the_same_way_however_it_is_called(case):
    results = []
    for make in LAYOUTS.values():
        is_array = isinstance(make(np.zeros(1)), np.ndarray)
        for step in WAYS_FOR_ARRAYS if is_array else WAYS_FOR_PARAMETERS:
            model = LinearModel(make=make)
            optimizer = optimizer_of(case, model.parameters)
            before = model.loss()
            for _ in range(20):
                expected_loss = None if step in (_own_gradients, _given_gradients) else model.loss()
                assert step(model, optimizer) == expected_loss
            assert_went_in_the_right_direction(case, before, model.loss())
            results.append(model.values())
    for values in results[1:]:
        assert_same_bits(values, results[0])


def test_arrays_with_gaps_are_refused_not_copied():
    with pytest.raises(ValueError, match="strided"):
        numbopt.SGD([np.zeros((10, 2))[:, 0]])


@for_every_case
def test_groups_with_different_lr_go_in_the_right_direction(case):
    model = LinearModel()
    optimizer = optimizer_of(case, [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.01}])
    before = model.loss()
    model.train(optimizer)
    assert_went_in_the_right_direction(case, before, model.loss())


@for_every_case
def test_lr_that_falls_with_time_goes_in_the_right_direction(case):
    model = LinearModel()
    optimizer = optimizer_of(case, model.parameters)
    before = model.loss()
    for _ in range(20):
        model.train(optimizer, steps=1)
        for group in optimizer.param_groups:
            group["lr"] = float(group["lr"]) * 0.9
    assert_went_in_the_right_direction(case, before, model.loss())


# ---- options


@for_every_case
def test_lr_as_an_array_equals_lr_as_a_float(case):
    for dtype in ("float32", "float64"):
        model = LinearModel(dtype)
        expected = model.train(optimizer_of(case, model.parameters, lr=1e-3), steps=5)
        for shape in ((), (1,), (1, 1)):
            model = LinearModel(dtype)
            optimizer = optimizer_of(case, model.parameters, lr=np.full(shape, 1e-3))
            assert_same_bits(model.train(optimizer, steps=5), expected)


@for_every_case
def test_group_without_weight_decay_goes_in_the_right_direction(case):
    if "weight_decay" not in optimizer_of(case, [np.zeros(1)]).defaults:
        pytest.skip("has no weight decay")
    model = LinearModel()
    groups = [
        {"params": [model.weight], **case.options},
        {"params": [model.bias], **case.options, "weight_decay": 0.0},
    ]
    optimizer = getattr(numbopt, case.cls)(groups)
    before = model.loss()
    model.train(optimizer)
    assert_went_in_the_right_direction(case, before, model.loss())


@apart
def test_group_with_vanishing_lr_stays_while_others_move(case):
    model = LinearModel()
    still = Parameter(np.random.default_rng(1).standard_normal((2, 2)))
    start = still.data.copy()
    defaults = {"lr": 1e-28} | {"Rprop": {"step_sizes": (0, 50)}, "MADGRAD": {"eps": 0}}.get(case.cls, {})
    moving = {"params": model.parameters, "lr": 1e-3, **case.options}
    optimizer = getattr(numbopt, case.cls)([moving, {"params": [still]}], **defaults)
    before = model.loss()
    for step in range(20):
        model.fill_gradients()
        still.grad = np.random.default_rng(step).random((2, 2))
        optimizer.step()
    assert_went_in_the_right_direction(case, before, model.loss())
    assert_same_bits(still.data, start)


@of_torch
def test_options_that_only_say_how_torch_computes_change_nothing(cls):
    signature = inspect.signature(getattr(numbopt, cls)).parameters
    case = cases_of(cls)[0]
    model = LinearModel()
    expected = model.train(optimizer_of(case, model.parameters), steps=3)
    for flag in {"foreach", "fused", "capturable"} & signature.keys():
        for value in (True, False):
            model = LinearModel()
            assert_same_bits(model.train(optimizer_of(case, model.parameters, **{flag: value}), steps=3), expected)
    with pytest.raises(ValueError, match="differentiable=True is not supported"):
        optimizer_of(case, model.parameters, differentiable=True)


ERRORS = (
    ("Adadelta", {"rho": 1.1}, "Invalid rho value: 1.1"),
    ("Adadelta", {"eps": -1}, "Invalid epsilon value: -1"),
    ("Adagrad", {"lr_decay": -0.5}, "Invalid lr_decay value: -0.5"),
    ("Adagrad", {"initial_accumulator_value": -1}, "Invalid initial_accumulator_value value: -1"),
    ("Adam", {"betas": (1.0, 0.0)}, "Invalid beta parameter at index 0: 1.0"),
    ("Adam", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
    ("Adam", {"eps": -1e-8}, "Invalid epsilon value: -1e-08"),
    ("AdamW", {"betas": (1.0, 0.0)}, "Invalid beta parameter at index 0: 1.0"),
    ("AdamW", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
    ("Adamax", {"betas": (0.0, 1.0)}, "Invalid beta parameter at index 1: 1.0"),
    ("ASGD", {"weight_decay": -0.5}, "Invalid weight_decay value: -0.5"),
    ("NAdam", {"betas": (1.0, 0.0)}, "Invalid beta parameter at index 0: 1.0"),
    ("NAdam", {"momentum_decay": -0.2}, "Invalid momentum_decay value: -0.2"),
    ("RAdam", {"betas": (1.0, 0.0)}, "Invalid beta parameter at index 0: 1.0"),
    ("RAdam", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
    ("RMSprop", {"momentum": -1.0}, "Invalid momentum value: -1.0"),
    ("RMSprop", {"alpha": -0.1}, "Invalid alpha value: -0.1"),
    ("Rprop", {"etas": (1.0, 0.5)}, "Invalid eta values: 1.0, 0.5"),
    ("SGD", {"momentum": -0.5}, "Invalid momentum value: -0.5"),
    ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
)


@pytest.mark.parametrize(("cls", "options", "message"), ERRORS)
def test_wrong_option_is_refused_with_the_message_of_torch(cls, options, message):
    # The options are looked at before the parameters are.
    with pytest.raises(ValueError, match=message):
        getattr(numbopt, cls)(None, lr=0.01, **options)


@for_every_class
def test_wrong_lr_or_parameters_are_refused_with_the_message_of_torch(cls):
    make = getattr(numbopt, cls)
    p, q = Parameter([[1.0]]), Parameter([[2.0]])
    twice = "some parameters appear in more than one parameter group"
    for error, params, options, message in (
        (ValueError, None, {"lr": -1.0}, "Invalid learning rate: -1.0"),
        (ValueError, None, {"lr": np.array([0.001, 0.001])}, "Tensor lr must be 1-element"),
        (TypeError, p, {}, "should be an iterable of Tensors or dicts"),
        (ValueError, [], {}, "optimizer got an empty parameter list"),
        (ValueError, [p, p], {}, twice),
        (ValueError, [{"params": p}, {"params": p}], {}, twice),
        (ValueError, [("weight", p), q], {}, "all optimizer params should be with/without names"),
        (ValueError, [{"params": [p]}, {"params": [("w", q)]}], {}, "param group with names to the optimizer"),
        (TypeError, [{"params": {p}}], {}, "Please use a list instead"),
        (TypeError, [1.0], {}, "optimizer can only optimize Tensors, but one of the params is float"),
    ):
        with pytest.raises(error, match=message):
            make(params, **options)


# ---- complex parameters


def _random_complex(name, dtype):
    random = np.random.default_rng(list(name.encode()))
    return (random.standard_normal(6) + 1j * random.standard_normal(6)).astype(dtype).reshape(2, 3)


def _real_view(array):
    """The real and imaginary parts on a last axis, as torch's view_as_real has them."""
    return array.view(array.real.dtype).reshape(*array.shape, 2)


def _same_as_real(array):
    """Complex arrays as their real view, in the order of the indices."""
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    return _real_view(array) if array.dtype.kind == "c" else array


@without_sums  # whose order is that of the memory
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_parameter_equals_its_real_view(case, dtype):
    start = _random_complex("start", dtype)
    mixed_in = start.real.copy()
    with_complex = [start.copy(), mixed_in.copy(), start.T.copy(order="F")]
    all_real = [_same_as_real(array).copy() for array in with_complex]
    one, other = optimizer_of(case, with_complex), optimizer_of(case, all_real)
    for step in range(5):
        gradient = _random_complex(f"gradient {step}", dtype)
        gradients = [gradient, mixed_in * (step - 2), gradient.T]
        one.step(grads=gradients)
        other.step(grads=[_same_as_real(array) for array in gradients])
        for array, real in zip(with_complex, all_real, strict=True):
            assert_same_bits(_same_as_real(array), real)
        for state, real_state in zip(states_of(one), states_of(other), strict=True):
            assert state.keys() == real_state.keys()
            for key in state:
                assert_same_bits(_same_as_real(state[key]), np.asarray(real_state[key]))


def _valley_gradient(x, y):
    """The gradient, in torch's convention, of the modulus of ``(1 - x)**2 + 10 * (y - x)**2`` for complex numbers."""
    value = (1 - x) ** 2 + 10 * (y - x) ** 2
    slopes = np.array([-2 * (1 - x) - 20 * (y - x), 20 * (y - x)])
    return slopes.conj() * (value / abs(value))


@without_sums  # which are over real and imaginary parts together
def test_complex_parameter_equals_its_real_and_imaginary_parts(case):
    for dtype, seed in product(("complex64", "complex128"), (1, 2, 3)):
        random = np.random.default_rng(seed)
        z = Parameter((random.standard_normal(2) + 1j * random.standard_normal(2)).astype(dtype))
        re, im = Parameter(z.real), Parameter(z.imag)
        one, other = optimizer_of(case, [z]), optimizer_of(case, [re, im])
        for _ in range(10):
            z.grad = _valley_gradient(*z)
            gradient = _valley_gradient(*(re.data + 1j * im.data))
            re.grad, im.grad = gradient.real, gradient.imag
            one.step()
            other.step()
            assert_same_bits(re.data + 1j * im.data, z.data)


def test_gradient_convention_is_that_of_torch():
    # A step against dL/dRe + i dL/dIm makes L = |z - c|^2 fall straight to c.
    z = np.array([3 + 4j])
    optimizer = numbopt.SGD([z], lr=0.25)
    for _ in range(60):
        optimizer.step(grads=[2 * (z - (1 - 2j))])
    np.testing.assert_allclose(z, [1 - 2j], rtol=1e-12)


# ---- nothing to do


@for_every_case
def test_step_without_gradients_changes_nothing(case):
    for dtype in DTYPES:
        model = [Parameter(array) for array in problem.starting_parameters(dtype)]
        start = [np.array(parameter) for parameter in model]
        optimizer = optimizer_of(case, model)
        for grads in (None, [None] * len(model)):
            assert optimizer.step(grads=grads) is None
        assert optimizer.step(lambda: 3.5) == 3.5
        assert_same_bits([np.array(parameter) for parameter in model], start)
        assert len(optimizer.state) == 0
        assert all(parameter.grad is None for parameter in model)


@for_every_case
def test_step_with_zero_gradients_moves_only_what_decays(case):
    for dtype in DTYPES:
        model = [Parameter(array) for array in problem.starting_parameters(dtype)]
        start = [np.array(parameter) for parameter in model]
        optimizer = optimizer_of(case, model)
        optimizer.zero_grad()
        for _ in range(5):
            optimizer.step()
        moved = any(np.any(parameter.data != before) for parameter, before in zip(model, start, strict=True))
        # What decays by less than the last digit of single precision stays there.
        assert moved == case.moves_without_gradient or (dtype in ("float32", "complex64") and not moved)


# ---- many parameters in one optimizer


@apart
def test_one_optimizer_for_many_parameters_equals_one_for_each(case):
    random = np.random.default_rng(3)
    shapes = [(3, 2), (3,), (), (0,), (1, 3), (2, 2), (2, 0, 3), ()]
    together, apart = [], []
    for shape, dtype in zip(shapes, DTYPES * 2, strict=True):
        values = np.asfortranarray(random.standard_normal(shape).astype(dtype))
        together.append(Parameter(values))
        apart.append(Parameter(values))
    one = optimizer_of(case, together)
    many = [optimizer_of(case, [parameter]) for parameter in apart]
    for step in range(7):
        for i, (parameter, other) in enumerate(zip(together, apart, strict=True)):
            frozen = step == 2 or (step in (3, 4) and i % 2 == 1)
            gradient = None if frozen else random.standard_normal(parameter.shape)
            parameter.grad = other.grad = gradient
        one.step()
        for optimizer in many:
            optimizer.step()
        for i, (parameter, other) in enumerate(zip(together, apart, strict=True)):
            assert_same_bits(parameter.data, other.data)
            assert_same_bits(dict(one.state.get(parameter, {})), dict(many[i].state.get(other, {})))


# ---- state dicts, copies and text


def _fresh(case, named, groups=True):
    model = LinearModel()
    weight, bias = (("0.weight", model.weight), ("0.bias", model.bias)) if named else model.parameters
    if not groups:
        return model, optimizer_of(case, [weight, bias])
    return model, optimizer_of(case, [{"params": [weight]}, {"params": [bias], **case.second_group}])


def _without_names(state_dict):
    groups = [
        {key: value for key, value in group.items() if key != "param_names"} for group in state_dict["param_groups"]
    ]
    return {**state_dict, "param_groups": groups}


@for_every_case
def test_clone_from_a_state_dict_goes_the_same_way(case):
    for named, named_clone in product((False, True), repeat=2):
        model, optimizer = _fresh(case, named)
        model.train(optimizer, steps=6)
        state_dict = optimizer.state_dict()
        untouched = copy.deepcopy(state_dict)

        clone_model, clone = _fresh(case, named_clone)
        for mine, theirs in zip(clone_model.parameters, model.parameters, strict=True):
            mine.data = theirs.data
        clone.load_state_dict(copy.deepcopy(state_dict))
        assert_same_bits(_without_names(clone.state_dict()), _without_names(state_dict))

        assert_same_bits(clone_model.train(clone, steps=6), model.train(optimizer, steps=6))
        assert_same_bits(_without_names(clone.state_dict()), _without_names(optimizer.state_dict()))
        assert_same_bits(state_dict, untouched)


@for_every_class
def test_repeated_groups_are_packed_alike(cls):
    _, optimizer = _fresh(cases_of(cls)[0], named=False, groups=False)
    optimizer.param_groups.extend(optimizer.param_groups)
    first, second = optimizer.state_dict()["param_groups"]
    assert first == second
    assert first["params"] == [0, 1]


@for_every_class
def test_state_dict_survives_pickling(cls):
    for case in cases_of(cls):
        model, optimizer = _fresh(case, named=True)
        model.train(optimizer, steps=3)
        state_dict = optimizer.state_dict()
        assert_same_bits(pickle.loads(pickle.dumps(state_dict)), state_dict)


@for_every_class
def test_state_dict_of_an_older_torch_loads(cls):
    for case in cases_of(cls):
        model, optimizer = _fresh(case, named=False)
        model.train(optimizer, steps=3)
        old = optimizer.state_dict()
        for group in old["param_groups"]:
            for key in LATER_OPTIONS:
                group.pop(key, None)
        options = [dict(group) for group in optimizer.param_groups]
        optimizer.load_state_dict(old)
        assert optimizer.param_groups == options
        same_model, same = copy.deepcopy((model, optimizer))
        assert_same_bits(model.train(optimizer, steps=3), same_model.train(same, steps=3))


@for_every_case
def test_steps_may_be_numbers_or_arrays_in_a_state_dict(case):
    results = []
    for number in (int, float, np.float64, np.float32, np.int64, np.array, lambda step: np.array([step])):
        model, optimizer = _fresh(case, named=False)
        model.train(optimizer, steps=3)
        state_dict = optimizer.state_dict()
        for state in state_dict["state"].values():
            if "step" in state:
                state["step"] = number(state["step"])
        optimizer.load_state_dict(state_dict)
        assert all(type(state.get("step", 0)) is int for state in states_of(optimizer))
        results.append(model.train(optimizer, steps=3))
    for result in results[1:]:
        assert_same_bits(result, results[0])


@for_every_class
def test_names_are_kept_if_either_side_has_them(cls):
    for case, named, named_clone in product(cases_of(cls)[:2], (False, True), (False, True)):
        model, optimizer = _fresh(case, named)
        model.train(optimizer, steps=2)
        _, clone = _fresh(case, named_clone)
        clone.load_state_dict(optimizer.state_dict())
        names = [group.get("param_names") for group in clone.param_groups]
        assert names == ([["0.weight"], ["0.bias"]] if named or named_clone else [None, None])
        assert ("param_names" in clone.state_dict()["param_groups"][0]) == (named or named_clone)
        # Names that came with the state dict are names, for gradients as in a copy.
        if named or named_clone:
            for optimizer_with_names in (clone, copy.deepcopy(clone)):
                optimizer_with_names.step(grads={"0.bias": np.ones(10, "float32")})


def test_adam_and_adamw_load_each_other():
    weight = Parameter([1.0, 2.0])
    adamw_dict = numbopt.AdamW([weight], weight_decay=0.1).state_dict()
    adam_dict = numbopt.Adam([weight], weight_decay=0.1).state_dict()
    assert adamw_dict["param_groups"][0]["decoupled_weight_decay"] is True
    assert adam_dict["param_groups"][0]["decoupled_weight_decay"] is False

    # Adam that loads the state dict of AdamW becomes AdamW.
    adam = numbopt.Adam([Parameter(weight)], weight_decay=0.1)
    adam.load_state_dict(adamw_dict)
    assert adam.param_groups[0]["decoupled_weight_decay"] is True

    without_key = copy.deepcopy(adam_dict)
    del without_key["param_groups"][0]["decoupled_weight_decay"]
    for state_dict in (adam_dict, without_key):
        adamw = numbopt.AdamW([Parameter(weight)], weight_decay=0.1)
        adamw.load_state_dict(state_dict)
        assert adamw.param_groups[0]["decoupled_weight_decay"] is True
        parameter = adamw.param_groups[0]["params"][0]
        parameter.grad, adam.param_groups[0]["params"][0].grad = [1.0, -1.0], [1.0, -1.0]
        adam.param_groups[0]["params"][0].data = parameter.data
        adam.load_state_dict(adamw.state_dict())
        adamw.step()
        adam.step()
        assert_same_bits(adam.param_groups[0]["params"][0].data, parameter.data)


@for_every_class
def test_state_of_each_stepped_parameter_is_complete(cls):
    for case in cases_of(cls):
        model, optimizer = _fresh(case, named=False)
        model.train(optimizer, steps=1)
        keeps_state = case.cls != "SGD" or "momentum" in case.options
        assert len(optimizer.state) == (2 if keeps_state else 0)
        for parameter, state in optimizer.state.items():
            assert len(state) > 0
            for value in state.values():
                assert not isinstance(value, np.ndarray) or value.shape == parameter.shape


def _public_attributes(optimizer):
    attributes = {name: value for name, value in vars(optimizer).items() if not name.startswith("_")}
    return attributes | {"step_count": optimizer.step_count}


@for_every_case
def test_deepcopy_and_pickle_copy_all_public_attributes_and_go_the_same_way(case):
    for named, copied in product((False, True), (copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value)))):
        model, optimizer = _fresh(case, named)
        optimizer.comment = {"a user's": ["own attribute"]}
        model.train(optimizer, steps=3)
        other_model, other = copied((model, optimizer))

        mine, theirs = _public_attributes(optimizer), _public_attributes(other)
        assert mine.keys() == theirs.keys() >= {"defaults", "param_groups", "step_count", "comment"}
        for name in mine.keys() - {"param_groups"}:
            assert mine[name] == theirs[name], name
        assert other.comment is not optimizer.comment
        assert_same_bits(other.state_dict(), optimizer.state_dict())

        # The copy works on the copied parameters, and the original does not notice.
        for parameter, copied_parameter in zip(model.parameters, other_model.parameters, strict=True):
            assert any(copied_parameter is one for one in all_parameters(other))
            assert not np.shares_memory(parameter.data, copied_parameter.data)
        start = model.values()
        after = other_model.train(other, steps=3)
        assert_same_bits(model.values(), start)
        assert_same_bits(model.train(optimizer, steps=3), after)


@for_every_class
def test_can_be_printed(cls):
    for case in cases_of(cls):
        _, optimizer = _fresh(case, named=True)
        text = repr(optimizer)
        assert str(optimizer) == text
        lines = text.splitlines()
        assert lines[0] == f"{case.cls} ("
        assert lines[-1] == ")"
        assert [line for line in lines if line.startswith("Parameter Group")] == [
            "Parameter Group 0",
            "Parameter Group 1",
        ]
        options = [line.strip().split(":")[0] for line in lines[2 : lines.index("Parameter Group 1")]]
        assert options == sorted(options)
        assert {"lr", *case.options} <= set(options)
        assert not {"params", "param_names"} & set(options)
        for key, value in case.second_group.items():
            assert f"    {key}: {value}" in lines


def test_text_of_adam_is_that_of_torch():
    assert repr(numbopt.Adam([np.zeros(1)])) == (
        "Adam (\n"
        "Parameter Group 0\n"
        "    amsgrad: False\n"
        "    betas: (0.9, 0.999)\n"
        "    capturable: False\n"
        "    decoupled_weight_decay: False\n"
        "    differentiable: False\n"
        "    eps: 1e-08\n"
        "    foreach: None\n"
        "    fused: None\n"
        "    lr: 0.001\n"
        "    maximize: False\n"
        "    weight_decay: 0\n"
        ")"
    )
