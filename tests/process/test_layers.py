"""How the package is laid out: layers, imports, where code is compiled, and what objects know of each other."""

import ast
import graphlib
import pickle
from pathlib import Path
from types import FunctionType

import pytest

import numbopt

PACKAGE = Path(numbopt.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# From the ground up; a module may import those of the layers below its own, and a folder its own modules.
LAYERS = (
    {"_devices", "options", "hooks", "schedules"},
    {"_kernels", "parameter", "cuda", "curvature"},
    {"_launch"},
    {"_parameters", "clip_grad"},
    {"functional"},
    {"optimizer"},
    {"elementwise", "vectorwise", "two_points"},
    {"one_for_all"},
    {"algorithms", "lr_scheduler", "checkpoint", "compiling", "_minimize"},
    {"wrappers", "history"},
    {"swa_utils"},
    {"__init__", "info", "accumulation", "averaging"},
)
LAYER_OF = {module: layer for layer, modules in enumerate(LAYERS) for module in modules}

# Accesses to private members of other objects, in the whole package. It may only become less.
MOST_PRIVATE_ACCESSES = 30

# Numba's ways to compile, and where they may be used beside _kernels.
COMPILERS = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "overload", "intrinsic", "register_jitable"}
MAY_COMPILE = {
    "schedules.py": "its functions are called in loops that users compile",
    "_devices/compiler.py": "gives out what numba-cuda has, where that is installed",
}

each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))


def module_of(path):
    """The name of a module, "numbopt._devices.arrays"."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def room_of(module):
    """What a layer is made of: a module of the root or a folder there."""
    return module.split(".")[1] if "." in module else "__init__"


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(node):
    """The modules of the package that are imported in a piece of code, but for those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name in MODULES)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0
            for alias in child.names:
                name = f"{child.module}.{alias.name}"
                yield from [module for module in (name, child.module) if module in MODULES][:1]
        yield from imports(child)


def test_private_folders_are_the_only_private_names_in_the_root():
    assert [path.name for path in PACKAGE.glob("_*.py") if path.name != "__init__.py"] == []


@each_source
def test_imports_point_to_lower_layers(path):
    room = room_of(module_of(path))
    assert room in LAYER_OF, "a new module: which layer is it in?"
    for other in map(room_of, imports(tree_of(path))):
        assert LAYER_OF[other] < LAYER_OF[room] or (other == room and path.parent != PACKAGE), f"imports {other}"


def test_no_module_imports_itself_in_a_circle():
    """Imports within functions count, too."""
    graph = {module: set(imports(tree_of(path))) for module, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()  # names the circle


@each_source
def test_only_kernels_are_compiled(path):
    nodes = ast.walk(tree_of(path))
    names = {getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None) for node in nodes}
    if room_of(module_of(path)) != "_kernels" and path.relative_to(PACKAGE).as_posix() not in MAY_COMPILE:
        assert not names & COMPILERS


class PrivateAccesses(ast.NodeVisitor):
    """Where an object's private members are used from outside, as ruff's SLF001 sees it."""

    OWN = ("self", "cls", "mcs", "super()", "type(self)", "self.__class__")
    PUBLIC = ("_make", "_asdict", "_replace", "_fields", "_field_defaults")  # of named tuples

    def __init__(self):
        self.found = []
        self._classes = []
        self._made = set()  # names of objects that a class made of itself

    def visit_ClassDef(self, node):
        self._classes.append(node.name)
        self.generic_visit(node)
        self._classes.pop()

    def visit_FunctionDef(self, node):
        self._made, before = set(), self._made
        self.generic_visit(node)
        self._made = before

    def visit_Assign(self, node):
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in self._classes:
            self._made.update(map(ast.unparse, node.targets))
        self.generic_visit(node)

    def visit_Attribute(self, node):
        name, owner = node.attr, ast.unparse(node.value)
        is_private = name.startswith("_") and not name.endswith("__") and name not in self.PUBLIC
        if is_private and owner not in (*self.OWN, *self._classes, *self._made):
            self.found.append((node.lineno, f"{owner}.{name}"))
        self.generic_visit(node)


def test_objects_leave_the_private_members_of_others_alone():
    accesses = []
    for path in SOURCES:
        visitor = PrivateAccesses()
        visitor.visit(tree_of(path))
        accesses += [f"{path.relative_to(PACKAGE)}:{line} {access}" for line, access in visitor.found]
    assert len(accesses) <= MOST_PRIVATE_ACCESSES, "\n".join(accesses)


PUBLIC = (numbopt, numbopt.lr_scheduler, numbopt.cuda, numbopt.schedules, numbopt.options)


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_public_names_say_where_they_are_public(module):
    """Pickles and tracebacks do not depend on folders."""
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    values = {name: getattr(module, name) for name in names}
    public = {name: value for name, value in values.items() if isinstance(value, (type, FunctionType))}
    if not hasattr(module, "__all__"):  # what it imports is not meant
        public = {name: value for name, value in public.items() if value.__module__.startswith("numbopt")}
    assert public
    assert {name: value.__module__ for name, value in public.items()} == dict.fromkeys(public, module.__name__)
    assert pickle.loads(pickle.dumps(public)) == public
