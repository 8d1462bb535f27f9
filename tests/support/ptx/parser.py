"""From PTX text to kernels: lists of instructions with their operands read.

Reference: NVIDIA, "Parallel Thread Execution ISA", chapters 4 to 6.
"""

import re
from dataclasses import dataclass, field

import numpy as np

TYPES = {
    **{f"{letter}{bits}": np.dtype(f"u{bits // 8}") for letter in "bu" for bits in (8, 16, 32, 64)},
    **{f"s{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"f{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
    "pred": np.dtype(bool),
}


class Fault(Exception):
    """What a kernel may not do, or what is not understood; says in which line of the PTX."""


@dataclass(frozen=True)
class Register:
    name: str


@dataclass(frozen=True)
class Constant:
    bits: int
    """Of a float, its bits."""


@dataclass(frozen=True)
class Symbol:
    """A variable, whose value is its address, or a label."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Address:
    base: "Register | Symbol | Constant"
    offset: int


Operand = Register | Constant | Symbol | Address | tuple["Operand", ...]


@dataclass(frozen=True)
class Instruction:
    index: int
    line: int
    text: str
    opcode: str
    operands: tuple[Operand, ...]
    guard: str | None
    """The predicate that decides which threads execute it."""
    negated: bool

    @property
    def parts(self) -> list[str]:
        return self.opcode.split(".")

    def fault(self, problem: object) -> Fault:
        return Fault(f"line {self.line}, {self.text!r}: {problem}")


@dataclass(frozen=True)
class Variable:
    """Named memory: a parameter, a shared, local, constant or global variable."""

    space: str
    name: str
    align: int
    dtype: np.dtype
    count: int
    values: tuple[int, ...] = ()
    """Initial values, zeros where there are none."""

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize

    def content(self) -> np.ndarray:
        """Return the bits that it starts with."""
        content = np.zeros(self.count, f"u{self.dtype.itemsize}")
        content[: len(self.values)] = [value % (1 << 8 * self.dtype.itemsize) for value in self.values]
        return content


@dataclass
class Kernel:
    name: str
    parameters: list[Variable]
    variables: list[Variable]
    registers: dict[str, np.dtype] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


@dataclass
class Module:
    kernels: dict[str, Kernel]

    @property
    def kernel(self) -> Kernel:
        """The only one, as Numba makes one per module."""
        (kernel,) = self.kernels.values()
        return kernel


def parse(text: str) -> Module:
    """Read the kernels of a module; functions, which no kernel may call, are left out."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", lambda comment: re.sub(r"[^\n]", " ", comment[0]), text, flags=re.DOTALL)
    outside, entries, position = "", [], 0
    for head in re.finditer(r"\.(entry|func)\b[^{;]*([{;])", text):
        outside += text[position : head.start()]
        position = head.end()
        if head[2] == "{":
            position = _closing_brace(text, head.end())
            if head[1] == "entry":
                entries.append((head[0], head.end(), position - 1))
    outside += text[position:]
    variables = [variable for statement in outside.split(";") for variable in _variables(statement)]
    kernels = [_kernel(head, text, start, stop, variables) for head, start, stop in entries]
    return Module({kernel.name: kernel for kernel in kernels})


def _closing_brace(text: str, start: int) -> int:
    """The position behind the brace that closes the one before ``start``."""
    depth = 1
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return start + brace.end()
    raise Fault("a brace is never closed")


_VARIABLE = re.compile(
    r"\.(?P<space>global|const|shared|local|param)\s+(?:\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)"
    r"(?:\s+\.(?:ptr|global|const|shared|local|align\s+\d+))*\s+(?P<name>[\w$]+)"
    r"(?:\[(?P<count>\d*)\])?(?:\s*=\s*(?:\{(?P<list>[^}]*)\}|(?P<value>[^;\s]+)))?"
)


def _variables(text: str) -> list[Variable]:
    found = []
    for match in _VARIABLE.finditer(text):
        if match["count"] == "":
            raise Fault(f"{match['name']} has no size")
        dtype = TYPES[match["type"]]
        values = re.findall(r"[^,\s]+", match["list"] or match["value"] or "")
        found.append(
            Variable(
                space=match["space"],
                name=match["name"],
                align=int(match["align"] or dtype.itemsize),
                dtype=dtype,
                count=int(match["count"] or 1),
                values=tuple(_constant(value).bits for value in values),
            )
        )
    return found


_STATEMENT = re.compile(r"\s*(?:(?P<label>[\w$]+):(?!:)|[{}]|(?P<text>[^;{}][^;]*);)")


def _kernel(head: str, text: str, start: int, stop: int, variables: list[Variable]) -> Kernel:
    name = re.search(r"\.entry\s+([\w$]+)", head)[1]
    kernel = Kernel(name, _variables(head), list(variables))
    while statement := _STATEMENT.match(text, start, stop):
        start = statement.end()
        if statement["label"]:
            kernel.labels[statement["label"]] = len(kernel.instructions)
        elif statement["text"]:
            line = text.count("\n", 0, statement.start("text")) + 1
            _add_statement(kernel, " ".join(statement["text"].split()), line)
    if text[start:stop].strip():
        raise Fault(f"cannot read {text[start:stop].strip()!r}")
    return kernel


def _add_statement(kernel: Kernel, text: str, line: int) -> None:
    if text.startswith(".reg"):
        _, kind, names = text.split(" ", 2)
        for name, count in re.findall(r"(%[\w$]+)(?:<(\d+)>)?", names):
            numbered = [f"{name}{i}" for i in range(int(count))] if count else [name]
            kernel.registers |= dict.fromkeys(numbered, TYPES[kind[1:]])
    elif text.startswith((".shared", ".local")):
        kernel.variables += _variables(text)
    elif not text.startswith((".pragma", ".loc ")):
        negation, guard, opcode, rest = re.match(r"(?:@(!?)(%[\w$]+)\s+)?([\w.:]+)\s*(.*)", text).groups()
        operands = tuple(map(_operand, _split(rest)))
        index = len(kernel.instructions)
        kernel.instructions.append(Instruction(index, line, text, opcode, operands, guard, bool(negation)))


def _split(text: str) -> list[str]:
    return [part.strip() for part in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", text)]


def _operand(text: str) -> Operand:
    if text[0] == "{":
        return tuple(map(_operand, _split(text[1:-1])))
    if text[0] == "[":
        base, offset = re.fullmatch(r"\[\s*([^\s+]+)\s*(?:\+\s*(-?\w+))?\s*\]", text).groups("0")
        return Address(_operand(base), int(offset, 0))
    if "|" in text:
        return tuple(map(_operand, text.split("|")))
    if text[0] == "%" or text == "_":
        return Register(text)
    if text[0] in "-0123456789":
        return _constant(text)
    name, _, offset = text.partition("+")
    return Symbol(name, int(offset or 0))


def _constant(text: str) -> Constant:
    if text[:2].lower() in ("0f", "0d"):
        return Constant(int(text[2:], 16))
    return Constant(int(text.rstrip("U"), 0))
