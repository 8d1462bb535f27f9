"""History: what it records, that it changes nothing, and what can be done with it."""

import csv
import sys

import numpy as np
import pytest

import numbopt
from numbopt import checkpoint
from numbopt.history import History

RATE = 0.25


def quadratic(**options):
    """An optimizer of x @ x, whose gradient is 2 x: with each step of this rate x is halved, exactly."""
    x = np.array([3.0, -4.0])
    return x, numbopt.SGD([x], lr=RATE, **options)


def assert_halving(history, count, name="loss", start=25.0, factor=0.25):
    np.testing.assert_array_equal(history[name], start * factor ** np.arange(count))


# ---- what is recorded


def closures():
    def loss_alone(x, opt):
        opt._parameters[0].grad = 2 * x
        return x @ x

    return {
        "loss": loss_alone,
        "pair": lambda x, opt: (x @ x, [2 * x]),
        "array": lambda x, opt: (np.array([x @ x]).reshape(()), [2 * x]),
    }


@pytest.mark.parametrize("kind", closures())
def test_closure_tells_loss_and_gradient(kind):
    x, opt = quadratic()
    history = History(opt, gradient_norm=True)
    for _ in range(5):
        assert opt.step(lambda: closures()[kind](x, opt)) is not None
    assert_halving(history, 5)
    assert_halving(history, 5, "gradient_norm", 10.0, 0.5)
    np.testing.assert_array_equal(history["step"], [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(history["lr"], [RATE] * 5)
    assert history["step"].dtype == np.int64
    assert {history[name].dtype for name in ("loss", "gradient_norm", "lr")} == {np.dtype("float64")}
    assert list(history) == ["step", "loss", "gradient_norm", "lr"]


@pytest.mark.parametrize("with_grads", [True, False])
def test_loss_that_is_told_after_the_step(with_grads):
    x, opt = quadratic()
    history = History(opt, gradient_norm=True)
    for count in range(4):
        loss = x @ x
        if with_grads:
            opt.step(grads=[2 * x])
        else:
            opt._parameters[0].grad = 2 * x
            opt.step()
        history.record(loss, accuracy=count)
        if count == 1:
            history.record(rare=7)
    assert_halving(history, 4)
    assert_halving(history, 4, "gradient_norm", 10.0, 0.5)
    np.testing.assert_array_equal(history["accuracy"], range(4))
    np.testing.assert_array_equal(history["rare"], [np.nan, 7, np.nan, np.nan])


def test_closure_with_separate_gradients():
    x, opt = quadratic()
    history = History(opt, gradient_norm=True)
    opt.step(lambda: 25.0, grads=[2 * x])
    assert (history["loss"].item(), history["gradient_norm"].item()) == (25, 10)


def test_norm_is_over_all_parameters_that_have_a_gradient():
    parameters = [numbopt.Parameter(np.zeros(shape, dtype)) for shape, dtype in [((2, 2), "f4"), (1, "c16"), (3, "f8")]]
    opt = numbopt.SGD(parameters)
    history = History(opt, gradient_norm=True)
    opt.step()
    opt.step(grads=[np.full((2, 2), 2, "f4"), np.array([3j]), None])
    opt.step(grads=[np.full((4, 4), 2, "f8")[::2, ::2], np.array([3]), np.zeros(3, ">f4")])
    np.testing.assert_allclose(history["gradient_norm"], [0, 5, 5], rtol=1e-7)


def test_first_of_several_evaluations_within_a_step_counts():
    class Searching(numbopt.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        def _step(self, closure, grads):
            losses = [self.evaluate(closure, grads)[0] for _ in range(3)]
            return losses[0]

    x = np.zeros(2)
    losses = iter(range(100))
    opt = Searching([x])
    history = History(opt, gradient_norm=True)
    for _ in range(3):
        opt.step(lambda: (loss := next(losses), [np.array([loss, 0.0])]))
    assert history["loss"].tolist() == history["gradient_norm"].tolist() == [0, 3, 6]
    assert np.isnan(history["lr"]).all()  # this optimizer has none


def test_every():
    x, opt = quadratic()
    history = History(opt, every=3, gradient_norm=True)
    other = History(opt, every=3)
    for count in range(8):
        opt.step(lambda: (x @ x, [2 * x]))
        other.record(count)
    np.testing.assert_array_equal(history["step"], [1, 4, 7])
    assert_halving(history, 3, factor=0.25**3)
    np.testing.assert_array_equal(other["loss"], [0, 3, 6])
    assert history.steps == 8


def test_rates_of_all_groups_as_they_were_in_the_step():
    x, y, z = np.zeros(1), np.zeros(2), np.zeros(3)
    opt = numbopt.Adam([{"params": [x]}, {"params": [y], "lr": np.array(0.5)}], lr=0.25)
    history = History(opt)
    for count in range(3):
        opt.step()
        for group in opt.param_groups:
            group["lr"] = group["lr"] / 2
        if count == 1:
            opt.add_param_group({"params": [z], "lr": 1.0})
    np.testing.assert_array_equal(history["lr"], [0.25, 0.125, 0.0625])
    np.testing.assert_array_equal(history["lr_1"], [0.5, 0.25, 0.125])
    np.testing.assert_array_equal(history["lr_2"], [np.nan, np.nan, 1])
    assert np.isnan(history["loss"]).all()


@pytest.mark.parametrize("loss", [None, np.nan, np.inf, -np.inf])
def test_losses_that_are_no_numbers(loss):
    _, opt = quadratic()
    history = History(opt)
    assert opt.step(lambda: loss) is loss
    np.testing.assert_array_equal(history["loss"], [np.nan if loss is None else loss])


def test_recording_changes_no_result():
    results = []
    for recorded in (False, True):
        x, opt = quadratic(momentum=0.9)
        if recorded:
            History(opt, gradient_norm=True, every=2)
        losses = [opt.step(lambda x=x: (x @ x, [2 * x])) for _ in range(6)]
        results.append((x.tobytes(), losses, opt.step_count))
    assert results[0] == results[1]


def test_a_refused_step_is_not_recorded():
    x, opt = quadratic()
    history = History(opt, gradient_norm=True)
    opt.step(lambda: (x @ x, [2 * x]))
    for closure in [lambda: (1.0, [np.zeros(3)]), lambda: (1, 2, 3), lambda: ("loss", [x]), lambda: 1 / 0]:
        with pytest.raises((TypeError, ValueError, ZeroDivisionError)):
            opt.step(closure)
    with pytest.raises(TypeError, match="closure must be callable"):
        opt.step(3)
    opt.step(grads=[2 * x])
    np.testing.assert_array_equal(history["loss"], [25, np.nan])
    np.testing.assert_array_equal(history["gradient_norm"], [10, 5])
    np.testing.assert_array_equal(history["step"], [1, 2])


def test_record_before_a_step_and_wrong_values():
    x, opt = quadratic()
    history = History(opt)
    with pytest.raises(RuntimeError, match=r"after optimizer.step\(\)"):
        history.record(1.0)
    opt.step(grads=[x])
    with pytest.raises(ValueError, match="numbers of the steps"):
        history.record(step=3)
    with pytest.raises((TypeError, ValueError)):
        history.record(1.0, accuracy="high")
    assert np.isnan(history["loss"]).all()
    assert list(history) == ["step", "loss", "lr"]
    with pytest.raises(KeyError):
        history["accuracy"]
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        History(opt, every=0)
    with pytest.raises(TypeError, match=r"every must be an integer, got 2\.5"):
        History(opt, every=2.5)


# ---- hooks


def test_detach_and_context_manager():
    x, opt = quadratic()
    with History(opt) as history:
        opt.step(grads=[x])
    opt.step(grads=[x])
    history.detach()
    assert history["step"].tolist() == [1]
    assert not opt._step_pre_hooks
    assert not opt._step_post_hooks


def test_several_histories_of_one_optimizer():
    x, opt = quadratic()
    first, second = History(opt), History(opt, gradient_norm=True)
    opt.step(lambda: (x @ x, [2 * x]))
    assert first["loss"].tolist() == second["loss"].tolist() == [25]
    assert second["gradient_norm"].tolist() == [10]
    assert first != second
    assert first == first
    assert len({first, second}) == 2


def test_columns_are_copies():
    x, opt = quadratic()
    history = History(opt)
    opt.step(lambda: (x @ x, [2 * x]))
    before = history["loss"]
    for _ in range(200):
        opt.step(lambda: (x @ x, [2 * x]))
    before[:] = 0
    assert_halving(history, 201)
    assert "201 steps: step, loss, lr" in repr(history)


# ---- state, files, pictures


def test_resumed_from_a_checkpoint(tmp_path):
    x, opt = quadratic()
    history = History(opt, gradient_norm=True, every=2)
    for _ in range(3):
        opt.step(lambda: (x @ x, [2 * x]))
        history.record(accuracy=0.5)
    checkpoint.save(tmp_path / "run.npz", optimizer=opt, parameters=opt, history=history)
    new_x, new_opt = quadratic()
    new = History(new_opt, gradient_norm=True, every=2)
    new_opt.step(grads=[new_x])
    checkpoint.load(tmp_path / "run.npz", optimizer=new_opt, parameters=new_opt, history=new)
    for y, o in [(x, opt), (new_x, new_opt)]:
        for _ in range(3):
            o.step(lambda y=y: (y @ y, [2 * y]))
    assert list(new) == list(history)
    for name in history:
        np.testing.assert_array_equal(new[name], history[name])
    np.testing.assert_array_equal(new["step"], [1, 3, 5])
    np.testing.assert_array_equal(new["accuracy"], [0.5, 0.5, np.nan])


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"steps": 1},
        {"steps": 1, "columns": {"step": [1]}},
        {"steps": 1, "columns": {"step": [1], "loss": [1.0, 2.0]}},
        {"steps": 1, "columns": {"step": [[1]], "loss": [[1.0]]}},
    ],
)
def test_a_wrong_state_changes_nothing(state):
    x, opt = quadratic()
    history = History(opt)
    opt.step(grads=[x])
    with pytest.raises(ValueError, match="History"):
        history.load_state_dict(state)
    assert history["step"].tolist() == [1]


def test_csv_has_all_digits(tmp_path):
    x, opt = quadratic()
    history = History(opt)
    for loss in (1 / 3, 1e-300, np.nan):
        opt.step(grads=[x])
        history.record(loss, **{"a, b": 2})
    history.to_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    assert names == ["step", "loss", "lr", "a, b"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    np.testing.assert_array_equal([float(row[1]) for row in rows], history["loss"])
    read = np.genfromtxt(tmp_path / "history.csv", delimiter=",", skip_header=1)
    np.testing.assert_array_equal(read[:, 1], history["loss"])


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def recorded(groups, losses, **options):
    opt = numbopt.SGD([{"params": [np.zeros(2)]} for _ in range(groups)], lr=0.1)
    history = History(opt, **options)
    for loss in losses:
        opt.step(lambda loss=loss: loss)
    return history


def test_plot_to_a_file(pyplot, tmp_path):
    history = recorded(2, [3.0, 2.0, np.nan, np.inf, 1.0], gradient_norm=True)
    ax = history.plot(tmp_path / "history.png")
    loss, norm, rate = ax.figure.axes
    assert (loss is ax, pyplot.get_fignums()) == (True, [])
    assert [a.get_ylabel() for a in (loss, norm, rate)] == ["loss", "gradient norm", "learning rate"]
    assert rate.get_xlabel() == "step"
    assert [a.get_yscale() for a in (loss, norm, rate)] == ["log", "linear", "linear"]
    np.testing.assert_array_equal(loss.lines[0].get_xydata(), [[1, 3], [2, 2], [5, 1]])
    assert [text.get_text() for text in rate.get_legend().get_texts()] == ["group 0", "group 1"]
    height, width, _ = pyplot.imread(tmp_path / "history.png").shape
    assert min(height, width) > 500


def test_plot_to_pyplot_and_into_given_axes(pyplot):
    history = recorded(1, [1.0, 0.0, -1.0])
    ax = history.plot()
    assert pyplot.get_fignums() == [1]
    assert len(ax.figure.axes) == 2
    assert ax.get_yscale() == "linear"
    assert ax.figure.axes[1].get_legend() is None
    _, own = pyplot.subplots()
    assert history.plot(ax=own) is own
    assert len(own.figure.axes) == 1
    assert len(own.lines) == 1


@pytest.mark.parametrize("losses", [[], [1.0], [np.nan, np.nan], [0.0]])
def test_plot_of_little(pyplot, tmp_path, losses):
    recorded(1, losses, gradient_norm=True).plot(tmp_path / "history.png")


def test_plot_says_what_it_needs(monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        recorded(1, [1.0]).plot()
