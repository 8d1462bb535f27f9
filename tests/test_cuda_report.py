"""The report that a machine with a GPU makes runs to its end, with the packages beside it and without them."""

import contextlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import numbopt

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def report(gpu, monkeypatch):
    path = ROOT / "asv_bench" / "gpu_report.py"
    if not path.exists():
        pytest.skip("asv_bench is not here")
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("gpu_report", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for peer in ("torch", "cupy", "jax"):
        monkeypatch.setitem(sys.modules, peer, None)  # importing it is an ImportError
    monkeypatch.setattr(module.shutil, "which", lambda tool: None)
    return module


@pytest.fixture
def sizes(report):
    return report.Sizes(large=5000, small=10, parameters=3, rounds=2, host_steps=3)


class Tensor:
    """What the report uses of torch's tensors, over memory of the GPU in software."""

    def __init__(self, values):
        self.array = numbopt.Parameter(values, device="cuda").data
        self.size = values.size
        self.grad = None

    @property
    def __cuda_array_interface__(self):
        return self.array.__cuda_array_interface__

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self.array.copy_to_host()


def torch_in_software():
    torch = ModuleType("torch")

    def new(values, device, requires_grad=False):
        assert device == "cuda"
        return Tensor(np.array(values, np.float32))

    class Optimizer:
        def __init__(self, tensors, fused, **options):
            assert fused and all(tensor.grad is not None or tensor.size == 1027 for tensor in tensors)

        def step(self):
            pass

    torch.tensor = new
    torch.zeros = lambda size, **where: new(np.zeros(size), **where)
    torch.ones = lambda size, **where: new(np.ones(size), **where)
    torch.zeros_like = lambda tensor: new(np.zeros(tensor.size), "cuda")
    torch.ones_like = lambda tensor: new(np.ones(tensor.size), "cuda")
    torch.optim = SimpleNamespace(**dict.fromkeys(("SGD", "Adam", "AdamW", "Adagrad"), Optimizer))
    torch.cuda = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: False,
        synchronize=lambda: None,
        CUDAGraph=SimpleNamespace,
    )
    return torch


def cells(line):
    return line.count("|")


def test_without_other_packages(report, sizes, monkeypatch):
    monkeypatch.setattr("cases.CASES", [case for case in __import__("cases").CASES if case.cls in ("SGD", "Rprop")])
    lines = report.report(sizes)
    text = "\n".join(lines)
    assert "a GPU in software, driver for CUDA 13.5" in text
    assert "torch is not installed" in text and "compute-sanitizer: not installed" in text
    start = lines.index("| optimizer | against the CPU | against torch fused, float32 |") + 2
    assert {line.split("|")[1].strip() for line in lines[start : start + 2]} == {"SGD", "Rprop"}
    assert all(float(line.split("|")[2]) <= 16 for line in lines[start : start + 2])
    for name in report.RULES:
        (line,) = [line for line in lines if line.startswith(f"| {name} | ") and "of its bandwidth" in line]
        assert "GB/s" in line
        assert cells(line) == 6


def test_beside_torch(report, sizes, gpu, monkeypatch):
    torch = torch_in_software()
    monkeypatch.setitem(sys.modules, "torch", torch)
    (line,) = [line for line in report.bandwidth(sizes) if line.startswith("| AMSGrad") and "torch fused" in line]
    assert cells(line) == 6
    assert all("torch fused" in line for line in report.host_time(sizes)[-2:])
    assert any(line.startswith("| torch | right") for line in report.other_libraries(sizes))
    stream = gpu.new_stream()

    @contextlib.contextmanager
    def graph(captured):
        gpu.capturing.add(stream)
        yield
        raise AssertionError("not refused")

    torch.cuda.graph = graph
    monkeypatch.setattr(gpu, "capturing", set())
    with numbopt.cuda.stream(stream):
        assert "refused, what numbopt launches cannot be part of a CUDA graph" in report.graph(sizes)[0]
    assert float(report.distance_to_torch(torch, "SGD")) > 0  # this torch does not step


def test_cupy_and_jax(report, sizes, gpu, monkeypatch):
    cupy, jax = ModuleType("cupy"), ModuleType("jax")
    cupy.zeros = lambda size, dtype: Tensor(np.zeros(size, dtype))
    cupy.ones = lambda size, dtype: Tensor(np.ones(size, dtype))
    cupy.asnumpy = Tensor.numpy
    cupy.cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=0))
    jax.devices = lambda kind: ["GPU"]
    jax.device_put = lambda values, device: Tensor(values)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "jax", jax)
    lines = report.other_libraries(sizes)
    for name in ("cupy", "jax"):
        assert any(line.startswith(f"| {name} | right | ") for line in lines)


def test_sanitizer(report, sizes, monkeypatch):
    monkeypatch.setattr(report.shutil, "which", lambda tool: tool)
    outcome = SimpleNamespace(stdout="========= ERROR SUMMARY: 0 errors\n", stderr="")
    commands = []
    monkeypatch.setattr(report.subprocess, "run", lambda command, **how: commands.append(command) or outcome)
    assert report.sanitizer(sizes) == ["compute-sanitizer: ========= ERROR SUMMARY: 0 errors"]
    compile(commands[0][-1], "script", "exec")
