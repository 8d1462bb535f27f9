"""The report of a GPU runs to its end: all of it, at small sizes and for once each, whatever times that gives."""

import sys
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from cases.optimizers import CASES, CLOSURE_CASES

import numbopt
from numbopt._launch import calls

pytest.importorskip("numba_cuda")


@pytest.fixture
def gpu_report(gpu, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(numbopt.__file__).parents[1] / "asv_bench"))
    from reports import gpu_report

    for name, value in {
        "HOLD": 8,
        "RUNS": 1,
        "CALLS": 1,
        "MANY": 3,
        "TORCH_DEVICE": "cuda" if gpu.is_real else "cpu",
    }.items():
        monkeypatch.setattr(gpu_report, name, value)
    monkeypatch.setattr(gpu_report, "CASES", [case for case in CASES if case.id in ("Adam-default", "ASGD-default")])
    monkeypatch.setattr(gpu_report, "CLOSURE_CASES", CLOSURE_CASES[2:])
    monkeypatch.setattr(gpu_report, "DTYPES", ("float32", "complex128"))
    return gpu_report


class Library:
    """A library of arrays whose arrays are those of numbopt."""

    version = "1.2.3"

    def array(self, values):
        return numbopt.Parameter(values, device="cuda").data


class Missing:
    def __init__(self):
        raise ImportError("no such library")


def test_all_of_the_report(gpu_report, monkeypatch, tmp_path):
    commands = []

    def python(*arguments, before=()):
        commands.append([*before, *arguments])
        return CompletedProcess(arguments, 0, "...\n25 passed\n", "")

    monkeypatch.setattr(gpu_report, "python", python)
    monkeypatch.setattr(gpu_report, "LIBRARIES", (Library, Missing))
    monkeypatch.setattr(gpu_report.shutil, "which", lambda name: name)
    output = tmp_path / "results.md"
    assert gpu_report.report(output, 1100) == 0, output.read_text()
    text = output.read_text()
    assert "a GPU in software, driver" in text and "Library: 1.2.3, Missing: not here (no such library)" in text
    for title in ("Results", "Tests", "Bandwidth", "Loads", "Blocks", "Host", "compute-sanitizer"):
        assert f"\n## {title}\n" in text
    rows = ("Adam | 2", "ASGD | 2", "LBFGS-strong-wolfe | 1", "RMSprop | 1e+03 | 20", "two vectors", "65536", "step()")
    for row in rows:
        assert f"\n| {row}" in text
    assert text.count("| 25 passed |") == 5
    assert [command[0] for command in commands] == ["-m"] + ["compute-sanitizer"] * 4


def test_a_section_that_fails_does_not_end_the_report(gpu_report, monkeypatch, tmp_path):
    def fail(*arguments, **more):
        raise RuntimeError("no such call")

    monkeypatch.setattr(gpu_report, "follow", fail)
    monkeypatch.setattr(
        gpu_report, "python", lambda *arguments, **more: CompletedProcess(arguments, 3, "a\nb\n", "c\n")
    )
    for name in ("bandwidth", "memory_access", "blocks", "host"):
        section = getattr(gpu_report, name)
        monkeypatch.setattr(gpu_report, name, lambda size: iter(()))
        getattr(gpu_report, name).__doc__ = section.__doc__
    monkeypatch.setattr(gpu_report.shutil, "which", lambda name: None)
    output = tmp_path / "results.md"
    assert gpu_report.report(output, 10) == 1
    text = output.read_text()
    assert "RuntimeError: no such call" in text
    assert "exit status 3: a <br> b <br> c" in text
    assert "| compute-sanitizer | not here |" in text


def test_other_ways_to_load_compute_the_same(gpu_report):
    from reports import gpu_variants

    results = []
    for template in (None, gpu_variants.four_numbers_ahead, gpu_variants.two_vectors_ahead):
        optimizer, _ = gpu_report.stepping("Adam", 4096 + 1024 + 8)
        (table,) = optimizer._tables
        launch = gpu_variants.launch(optimizer, template) if template else table.launch
        calls.run(launch.calls())
        results.append(optimizer.param_groups[0]["params"][0].to("cpu").data)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_what_the_sanitizer_runs(gpu_report, capsys):
    exec(gpu_report.CHECKED, {})
    assert float(capsys.readouterr().out) == pytest.approx(np.sqrt(2 * 1027), rel=1e-6)


def test_programs(gpu_report):
    done = gpu_report.python("-c", "import numbopt; print(numbopt.__file__)")
    assert gpu_report.summary(done) == numbopt.__file__
    assert gpu_report.output_of(sys.executable, "-c", "print(7)") == "7\n"
    assert "no-such-program" in gpu_report.output_of("no-such-program")


def test_without_a_gpu(gpu_report, monkeypatch):
    monkeypatch.setattr(numbopt.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_report.sys, "argv", ["gpu_report.py"])

    def nothing(*arguments, **more):
        raise RuntimeError("there is no GPU to use")

    monkeypatch.setattr(numbopt, "Parameter", nothing)
    with pytest.raises(RuntimeError, match="there is no GPU to use"):
        gpu_report.main()
