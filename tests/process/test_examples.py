"""Every example, and the README's code, runs as a user would run it: in a process of its own, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


class Example(NamedTuple):
    """What an example must print, as a pattern with one number, and the largest or smallest number that is good."""

    prints: str
    good: tuple[float, float]
    picture: bool = True
    too_short: tuple[str, ...] = ()  # arguments with which it cannot reach its aim, to see that it says so


CASES = {
    "curve_fit.py": Example(r"^largest element of the gradient: (\S+)$", (0, 1e-8), too_short=("--max-iter", "3")),
    "digits.py": Example(r"^test accuracy: ([\d.]+)% of 450 digits$", (96, 100), too_short=("--epochs", "1")),
    "fit_with_everything.py": Example(
        r"^variance explained in 92 patients not seen: \S+%, by the averaged parameters ([\d.]+)%$",
        (40, 60),
        too_short=("--epochs", "2"),
    ),
    "phase_retrieval.py": Example(
        r"^relative error up to a global phase: \S+ at the start, (\S+) recovered$",
        (0, 1e-3),
        too_short=("--steps", "5"),
    ),
    "scipy_minimize.py": Example(
        r"^largest relative difference of the values: (\S+)$",
        (0, 1e-10),
        picture=False,
        too_short=("--maxiter", "5"),
    ),
    "your_own_optimizer.py": Example(r"^  Lion +([\d.]+)$", (0.09, 0.11), picture=False),
}


def run(script, folder, *arguments):
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def run_example(name, folder, *arguments):
    for package in ("sklearn", "matplotlib", "tqdm", *(["scipy"] if "scipy" in name else [])):
        pytest.importorskip(package)
    return run(EXAMPLES / name, folder, *arguments)


def test_every_example_has_a_row():
    assert {path.name for path in EXAMPLES.glob("*.py")} == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_example_reaches_its_aim(name, tmp_path):
    case = CASES[name]
    output = tmp_path / "picture.png"
    result = run_example(name, tmp_path, *(["--output", output] if case.picture else []))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Warning" not in result.stderr
    (number,) = re.findall(case.prints, result.stdout, re.MULTILINE)
    low, high = case.good
    assert low <= float(number) <= high
    assert [path.name for path in tmp_path.iterdir()] == (["picture.png"] if case.picture else [])
    if case.picture:
        assert str(output) in result.stdout
        assert_is_picture(output)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.too_short])
def test_example_says_when_it_missed_its_aim(name, tmp_path):
    result = run_example(name, tmp_path, *CASES[name].too_short)
    assert result.returncode == 1
    assert "FAILED: " in result.stderr
    assert "Traceback" not in result.stderr


def test_code_of_the_readme_runs_and_finds_the_minimum(tmp_path):
    """Its blocks are one script; after each that optimizes, what it found is compared with what is true."""
    pytest.importorskip("scipy")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    checks = [
        "",
        "assert np.allclose([*w, *b], [1, -2, 3, 0.5], atol=1e-2)",
        "assert np.allclose([*parameters['w'], *parameters['b']], [1, -2, 3, 0.5], atol=1e-2)",
        "assert np.allclose([*w.data, *b.data], [1, -2, 3, 0.5], atol=1e-2)",
        "",
        "assert np.allclose(z, target, atol=1e-2)",
        "assert opt.state_dict()['state'][0]['step'] == 500 and epoch == 3",
        "assert loss_of_the_averages < 0.5 and len(history['loss']) == 200",
        "assert np.allclose([*w.data, *b.data], [1, -2, 3, 0.5], atol=1e-4) and result.success",
        "",
        """
opt = HeavyBall([w, b])
w.data[...], b.data[...] = 0, 0
for _ in range(1000):
    opt.step(closure)
assert np.allclose([*w.data, *b.data], [1, -2, 3, 0.5], atol=1e-2)
""",
    ]
    script = tmp_path / "readme.py"
    script.write_text("\n".join(map("\n".join, zip(blocks, checks, strict=True))), encoding="utf-8")
    result = run(script, tmp_path)
    assert result.returncode == 0, result.stderr


def assert_is_picture(path):
    from matplotlib.image import imread

    height, width, _ = (pixels := imread(path)).shape
    assert min(height, width) > 300
    colours = np.unique((pixels.reshape(-1, pixels.shape[2]) * 255).astype(int), axis=0)
    assert len(colours) > 50  # an empty frame with its labels has only greys, a plot with curves has many colours
    assert np.ptp(colours[:, :3], axis=1).max() > 100
