"""How the package is built, and what a step may cost: layers, imports, memory, the floating-point mode."""

import ast
from pathlib import Path

import pytest

import numbopt

PACKAGE = Path(numbopt.__file__).parent

# From the ground up; a module may import those of the layers below its own, and a folder its own modules.
LAYERS = (
    {"_devices", "options", "hooks", "schedules"},
    {"_kernels", "parameter", "cuda"},
    {"_launch"},
    {"_parameters", "clip_grad"},
    {"optimizer"},
    {"elementwise", "vectorwise"},
    {"algorithms", "lr_scheduler", "checkpoint", "compiling", "_minimize"},
    {"wrappers", "history"},
    {"__init__", "info", "accumulation", "averaging"},
)
LAYER_OF = {module: layer for layer, modules in enumerate(LAYERS) for module in modules}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(node):
    """The modules of the package that are imported in a piece of code, but for those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        names = []
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0
            names = [f"{child.module}.{alias.name}" for alias in child.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "numbopt":
                yield rest.partition(".")[0] or "__init__"
        yield from imports(child)


def is_ours(module):
    return (PACKAGE / module).is_dir() or (PACKAGE / f"{module}.py").exists()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_to_lower_layers(path):
    module = module_of(path)
    assert module in LAYER_OF, "a new module: which layer is it in?"
    for other in imports(ast.parse(path.read_text(encoding="utf-8"))):
        other = other if is_ours(other) else "__init__"
        assert LAYER_OF[other] < LAYER_OF[module] or (other == module and path.parent != PACKAGE), f"imports {other}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_kernels_are_compiled(path):
    compilers = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "intrinsic"}
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = {getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None) for node in nodes}
    if module_of(path) not in ("_kernels", "_devices"):
        assert not names & compilers
