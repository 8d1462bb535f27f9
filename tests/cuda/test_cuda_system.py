"""What stands around parameters on a GPU works: groups, clipping, bounds, averages, checkpoints, hooks."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.rules import OfFourStates

import numbopt
from numbopt.wrappers.accumulate import zeros_like

START = {"w": np.linspace(-1, 1, 12).reshape(3, 4), "b": np.linspace(0, 1, 5)}


def parameters(device, dtype=np.float64):
    return [numbopt.Parameter(values.astype(dtype), name=name, device=device) for name, values in START.items()]


def give_gradients(parameters, seed):
    generator = np.random.default_rng(seed)
    for parameter in parameters:
        gradient = numbopt.Parameter(generator.standard_normal(parameter.shape).astype(parameter.dtype))
        parameter.grad = gradient.to(parameter.device).data


def values(parameters):
    return [parameter.to("cpu").data.copy() for parameter in parameters]


def assert_equal(host, device, **tolerance):
    for one, other in zip(values(host), values(device), strict=True):
        np.testing.assert_allclose(other, one, **({"rtol": 1e-13, "atol": 1e-15} | tolerance))


def both(run, **tolerance):
    """Run a training on the host and on the GPU, and compare what became of the parameters."""
    results = []
    for device in ("cpu", "cuda"):
        results.append(parameters(device))
        run(results[-1])
    assert_equal(*results, **tolerance)
    assert not np.array_equal(results[0][0].data, START["w"])


def steps(optimizer, parameters, count=4):
    for seed in range(count):
        give_gradients(parameters, seed)
        optimizer.step()


# ---- steps


def test_groups_and_edited_options(gpu):
    def run(found):
        optimizer = numbopt.AdamW([{"params": found[:1], "lr": 0.1}, {"params": found[1:], "weight_decay": 0.3}])
        steps(optimizer, found)
        optimizer.param_groups[0]["lr"] = 0.5
        steps(optimizer, found)

    both(run)


def test_options_switched_on_later(gpu):
    def run(found):
        optimizer = numbopt.SGD(found, lr=0.1)
        steps(optimizer, found)
        optimizer.param_groups[0]["momentum"] = 0.9
        steps(optimizer, found)

    both(run)


def test_unequal_step_counts(gpu):
    def run(found):
        optimizer = numbopt.Adam(found, lr=0.1)
        for seed in range(5):
            give_gradients(found, seed)
            if seed % 2:
                found[0].grad = None
            optimizer.step()
            if seed == 3:
                assert [optimizer.state[p]["step"] for p in found] == [2, 4]

    both(run)


def test_parameters_here_and_there_in_one_optimizer(gpu):
    def run(found):
        steps(numbopt.Adam(found, lr=0.1, max_grad_norm=0.5), found)

    host, mixed = parameters("cpu"), [parameters("cuda")[0], parameters("cpu")[1]]
    run(host)
    run(mixed)
    assert_equal(host, mixed)


def test_double_and_single_precision_in_one_optimizer(gpu):
    def run(found):
        steps(numbopt.Adam(found, lr=0.1, max_grad_norm=0.5), found)

    results = []
    for device in ("cpu", "cuda"):
        results.append([parameters(device)[0], parameters(device, np.complex64)[1]])
        run(results[-1])
    assert_equal(*results, rtol=1e-6, atol=1e-7)


def test_closure_and_zero_grad(gpu):
    (parameter,) = found = [numbopt.Parameter(np.ones(1027, np.float32), device="cuda")]
    optimizer = numbopt.SGD(found, lr=0.25)

    def closure():
        optimizer.zero_grad()
        np.testing.assert_array_equal(parameter.grad.copy_to_host(), 0)
        return 1.5, [parameter.data]

    assert [optimizer.step(closure) for _ in range(2)] == [1.5, 1.5]
    np.testing.assert_array_equal(parameter.data.copy_to_host(), 0.75**2)
    optimizer.zero_grad(set_to_none=True)
    assert parameter.grad is None
    optimizer.step()


def test_your_own_rule(gpu):
    def heavy_ball(p, g, state, h):
        (v,) = state
        v = h.momentum * v - h.lr * g
        return p + v, (v,)

    class HeavyBall(numbopt.ElementwiseOptimizer):
        rule = numbopt.Rule(heavy_ball, state=("velocity",), scalars=("momentum", "lr"))
        options = {"lr": numbopt.options.LR}  # noqa: RUF012

        @staticmethod
        def advance(options, clock):
            return (clock[0] + 1,), (0.9, options["lr"])

    both(lambda found: steps(HeavyBall(found, {"lr": 0.1}), found))


def test_a_rule_of_four_state_arrays(gpu):
    both(lambda found: steps(OfFourStates(found), found))


# ---- what a step costs


def test_a_step_is_one_launch_and_waits_for_nothing(gpu):
    found = [numbopt.Parameter(np.ones(7, np.float32), device="cuda") for _ in range(50)]
    give_gradients(found, 0)
    optimizer = numbopt.Adam(found, lr=0.1)
    optimizer.step()
    before = Counter(gpu.asked)
    optimizer.step()
    assert gpu.asked - before == {"cuLaunchKernel": 1}


def test_new_gradients_replace_one_column_of_the_table(gpu):
    found = [numbopt.Parameter(np.ones(7, np.float32), device="cuda") for _ in range(50)]
    optimizer = numbopt.Adam(found, lr=0.1)
    optimizer.step(grads=[parameter.data for parameter in found])
    gradients = [numbopt.Parameter(np.ones(7, np.float32), device="cuda").data for _ in found]
    before = Counter(gpu.asked)
    optimizer.step(grads=gradients)
    assert gpu.asked - before == {"cuLaunchKernel": 1, "cuMemcpyHtoDAsync": 1}


def test_clipping_waits_for_nothing(gpu):
    found = parameters("cuda")
    give_gradients(found, 0)
    optimizer = numbopt.SGD(found, lr=0.1, max_grad_norm=0.1)
    optimizer.step()
    before = Counter(gpu.asked)
    optimizer.step()
    assert "cuStreamSynchronize" not in gpu.asked - before
    assert optimizer.grad_norm == pytest.approx(numbopt.get_total_norm([p.grad for p in found]), rel=1e-14)


def test_zero_grad_is_one_launch(gpu):
    found = [numbopt.Parameter(np.ones(7), device="cuda") for _ in range(50)]
    optimizer = numbopt.Adam(found)
    optimizer.zero_grad()
    before = Counter(gpu.asked)
    optimizer.zero_grad()
    assert gpu.asked - before == {"cuLaunchKernel": 1}


def test_memory_is_given_back(gpu):
    def train():
        found = parameters("cuda")
        optimizer = numbopt.Adam(found, max_grad_norm=1.0)
        give_gradients(found, 0)
        optimizer.step()
        optimizer.zero_grad()

    train()
    before = len(gpu.allocations)
    train()
    assert len(gpu.allocations) == before


# ---- threads and processes


def test_several_threads(gpu):
    def train(device):
        found = parameters(device)
        steps(numbopt.Adam(found, lr=0.1, max_grad_norm=0.5), found)
        return found

    with ThreadPoolExecutor(4) as pool:
        for device in pool.map(train, ["cuda"] * 8):
            assert_equal(train("cpu"), device)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_says_that_it_has_no_gpu(gpu):
    found = parameters("cuda")
    optimizer = numbopt.Adam(found, lr=0.1)
    steps(optimizer, found)
    child = os.fork()
    if not child:
        try:
            optimizer.step()
        except RuntimeError as error:
            os._exit(0 if "use the start method 'spawn'" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    steps(optimizer, found)
    host = parameters("cpu")
    optimizer = numbopt.Adam(host, lr=0.1)
    for _ in range(2):
        steps(optimizer, host)
    assert_equal(host, found)


# ---- clipping and bounds


@pytest.mark.parametrize("largest", [0.1, 1e3, np.inf])
def test_clipping_in_the_step(largest, gpu):
    def run(found):
        optimizer = numbopt.Adam(found, lr=0.1, max_grad_norm=largest)
        steps(optimizer, found)
        optimizer.max_grad_norm = None
        steps(optimizer, found)

    both(run)


@pytest.mark.parametrize("order", [2, 1, np.inf])
def test_clipping_of_gradients(order, gpu):
    norms = []

    def run(found):
        optimizer = numbopt.SGD(found, lr=1.0)
        give_gradients(found, 0)
        norms.append(numbopt.clip_grad_norm_(found, 0.5, order))
        numbopt.clip_grad_value_(found[0], 0.05)
        optimizer.step()

    both(run)
    assert norms[0] == pytest.approx(norms[1], rel=1e-14)


def test_clipping_of_arrays(gpu):
    gradient = numbopt.Parameter(np.array([3.0, 4.0]), device="cuda").data
    assert numbopt.clip_grad_norm_(gradient, 1.0) == 5.0
    np.testing.assert_allclose(gradient.copy_to_host(), [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("bounds", [(-0.2, 0.3), (np.linspace(-1, 0, 4), None)], ids=["numbers", "arrays"])
def test_bounds(bounds, gpu):
    def run(found):
        with pytest.warns(UserWarning, match="started outside its bounds"):
            optimizer = numbopt.SGD([{"params": found[:1], "bounds": bounds}, {"params": found[1:]}], lr=0.1)
        steps(optimizer, found)

    both(run)


def test_projection(gpu):
    def run(found):
        def project(data):
            return np.abs(data if isinstance(data, np.ndarray) else data.copy_to_host())

        steps(numbopt.SGD(found, lr=0.1, project=project), found)

    both(run)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite(bad, gpu):
    found = parameters("cuda")
    give_gradients(found, 0)
    found[1].grad = numbopt.Parameter(np.full(5, bad), device="cuda").data
    before = values(found)
    optimizer = numbopt.SGD(found, lr=0.1, nonfinite="raise")
    with pytest.raises(ValueError, match="gradient of parameter 'b' has NaN or infinity"):
        optimizer.step()
    optimizer.nonfinite = "skip"
    optimizer.step()
    assert optimizer.skipped_steps == 1
    for one, other in zip(before, values(found), strict=True):
        np.testing.assert_array_equal(one, other)


# ---- what is kept


@pytest.mark.parametrize(("saved_on", "loaded_on"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_state_dicts_move(saved_on, loaded_on, gpu):
    straight, first, second = parameters("cpu"), parameters(saved_on), parameters(loaded_on)
    optimizer = numbopt.Adam(straight, lr=0.1)
    steps(optimizer, straight)
    steps(optimizer, straight)
    one, other = numbopt.Adam(first, lr=0.1), numbopt.Adam(second, lr=0.1)
    steps(one, first)
    state = one.state_dict()
    assert all(type(state["state"][0][name]) is np.ndarray for name in ("exp_avg", "exp_avg_sq"))
    other.load_state_dict(state)
    for target, source in zip(second, first, strict=True):
        target.data = source.data
    steps(other, second)
    assert_equal(straight, second)


def test_checkpoints_move(gpu, tmp_path):
    straight, first, second = parameters("cpu"), parameters("cuda"), parameters("cpu")
    for found in (straight, first):
        optimizer = numbopt.Adam(found, lr=0.1)
        steps(optimizer, found)
    steps(numbopt.Adam(second), second)
    other = numbopt.Adam(second, lr=0.1)
    numbopt.save(tmp_path / "run.npz", optimizer=optimizer, parameters=first, more=first[0].data)
    numbopt.load(tmp_path / "run.npz", optimizer=other, parameters=second)
    assert_equal(straight, second)


def test_copies_of_an_optimizer(gpu):
    import copy
    import pickle

    found = parameters("cuda")
    optimizer = numbopt.Adam(found, lr=0.1)
    steps(optimizer, found)
    twins = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    steps(optimizer, found)
    for twin in twins:
        own = [parameter for group in twin.param_groups for parameter in group["params"]]
        assert [parameter.device for parameter in own] == ["cuda", "cuda"]
        steps(twin, own)
        assert_equal(found, own, rtol=0, atol=0)


# ---- around the optimizer


@pytest.mark.parametrize("avg_fn", [None, numbopt.get_ema_avg_fn(0.9)], ids=["SWA", "EMA"])
def test_averages(avg_fn, gpu):
    def run(found):
        optimizer = numbopt.SGD(found, lr=0.1)
        averages = numbopt.AveragedParameters(optimizer, avg_fn)
        for seed in range(4):
            give_gradients(found, seed)
            optimizer.step()
            averages.update_parameters()
        before = values(found)
        with averages.swapped():
            assert not np.array_equal(values(found)[0], before[0])
        np.testing.assert_array_equal(values(found)[0], before[0])
        twin = numbopt.AveragedParameters(optimizer, avg_fn)
        twin.load_state_dict(averages.state_dict())
        twin.copy_to()

    both(run)


def test_average_by_a_function_of_ones_own(gpu):
    found = parameters("cuda")
    averages = numbopt.AveragedParameters(found, lambda averaged, parameter, n: parameter)
    averages.update_parameters()
    for parameter in found:
        parameter.data = np.zeros(parameter.shape)
    averages.update_parameters()
    np.testing.assert_array_equal(averages.parameters[0].data.copy_to_host(), 0)


def test_zeros_like(gpu):
    parameter = numbopt.Parameter(np.ones((2, 3)).T, device="cuda")
    zeros = zeros_like(parameter)
    assert zeros.device == "cuda" and zeros.data.strides == parameter.data.strides


def test_lookahead(gpu):
    both(lambda found: steps(numbopt.Lookahead(numbopt.Adam(found, lr=0.1), k=2), found, 5))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_accumulation(reduction, gpu):
    def run(found):
        accumulate = numbopt.Accumulate(numbopt.Adam(found, lr=0.1), steps=3, reduction=reduction)
        steps(accumulate, found, 4)
        state = accumulate.state_dict()
        accumulate.load_state_dict(state)
        accumulate.flush()

    both(run)


def test_scheduler_history_and_hooks(gpu):
    norms = []

    def run(found):
        optimizer = numbopt.SGD(found, lr=0.1)
        scheduler = numbopt.lr_scheduler.ExponentialLR(optimizer, 0.5)
        history = numbopt.History(optimizer, gradient_norm=True)
        seen = []
        optimizer.register_step_post_hook(lambda *arguments: seen.append(1))
        for seed in range(3):
            give_gradients(found, seed)
            optimizer.step()
            scheduler.step()
        assert len(seen) == 3
        norms.append(history["gradient_norm"])

    both(run)
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-13)
