"""Compiled programs as XLA prints them: computations, their instructions, and the shapes of these."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_BITS = {"pred": 8, "token": 0, "opaque": 0, "s4": 4, "u4": 4, "s2": 2, "u2": 2, "bf16": 16, "c64": 64, "c128": 128}
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_END = re.compile(r"^\}(, execution_thread=.*)?\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_SHAPE = re.compile(r"(\w+)\[([\d,<=]*)\](\{[^{}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_NAME = re.compile(r"%?([\w.\-]+)$")
_COMMENT = re.compile(r"/\*.*?\*/")
_METADATA = re.compile(r'op_name="([^"]*)"')
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|async_execution_thread)=(\{[^}]*\}|%[\w.\-]+)"
)


@dataclass(frozen=True)
class Shape:
    """An array on one device.

    Attributes:
      space: where the compiler puts it: 0 the device's main memory, 1 a memory on the chip, others host or registers.
    """

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Its bytes, padding aside."""
        return -(-self.size * bits_of(self.dtype) // 8)

    @property
    def main_bytes(self) -> int:
        """Its bytes in the main memory: 0 where it lies elsewhere."""
        return self.bytes if self.space == 0 else 0


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
      shapes: of its result, of each part where it is a tuple. operands: names. rest: its attributes as text.
      inside: what stands between its brackets (a constant's value).
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    inside: str
    rest: str
    root: bool

    @property
    def op_name(self) -> str:
        """Where in the traced program it comes from."""
        found = _METADATA.search(self.rest)
        return found[1] if found else ""

    def called(self, *kinds: str) -> list[str]:
        """Names of the computations that it calls by these attributes."""
        return [
            name.strip().lstrip("%")
            for kind, names in _CALLED.findall(self.rest)
            if kind in kinds
            for name in names.strip("{}").split(",")
        ]


@dataclass
class Computation:
    """A list of instructions, the last of them (or the one marked so) its root."""

    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)

    @property
    def root(self) -> Instruction:
        return next((i for i in self.instructions.values() if i.root), list(self.instructions.values())[-1])

    @property
    def parameters(self) -> list[Instruction]:
        """In their order."""
        found = [i for i in self.instructions.values() if i.opcode == "parameter"]
        return sorted(found, key=lambda i: int(i.inside))

    def users(self, name: str) -> list[Instruction]:
        return [i for i in self.instructions.values() if name in i.operands]


@dataclass(frozen=True)
class Module:
    """A compiled program of one device."""

    computations: Mapping[str, Computation]
    entry: str


def bits_of(dtype: str) -> int:
    """Bits of an element, by XLA's name of its type."""
    if dtype in _BITS:
        return _BITS[dtype]
    found = re.match(r"[a-z]+(\d+)", dtype)
    return int(found[1]) if found else 0


def parse(text: str) -> Module:
    """Reads what `jax.stages.Compiled.as_text()` gives.

    Raises:
      ValueError: there is no program in the text.
    """
    bodies: dict[str, list[str]] = {}
    body, entry = None, ""
    for line in text.splitlines():
        if body is None:
            header = _HEADER.match(line)
            if header:
                body = bodies.setdefault(header[2], [])
                entry = header[2] if header[1] else entry
        elif _END.match(line):
            body = None
        elif _INSTRUCTION.match(line):
            body.append(line)
        elif body:  # a kernel's attributes take several lines; splash attention's last, "}}", begins as a body ends
            body[-1] += " " + line
    if not entry:
        raise ValueError("no entry computation: this is not the text of a compiled program")
    return Module({name: Computation(name, _instructions(lines)) for name, lines in bodies.items()}, entry)


def _instructions(lines: list[str]) -> dict[str, Instruction]:
    found = (_INSTRUCTION.match(line) for line in lines)
    return {one[2]: _instruction(one[2], one[3], bool(one[1])) for one in found if one}


def _instruction(name: str, text: str, root: bool) -> Instruction:
    text = _COMMENT.sub("", text)
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    opcode = _OPCODE.match(text, end)
    assert opcode is not None, text[:200]
    close = _closing(text, opcode.end() - 1)
    inside = text[opcode.end() : close]
    return Instruction(name, opcode[1], shapes_in(text[:end]), _operands(inside), inside, text[close + 1 :], root)


def shapes_in(text: str) -> tuple[Shape, ...]:
    """Every array shape that a text names, in order."""
    shapes = []
    for dtype, dims, layout in _SHAPE.findall(text):
        space = _SPACE.search(layout)
        sizes = tuple(int(size.lstrip("<=")) for size in dims.split(",") if size)
        shapes.append(Shape(dtype, sizes, int(space[1]) if space else 0))
    return tuple(shapes)


def _operands(inside: str) -> tuple[str, ...]:
    """Names of operands: what ends each part between commas, brackets kept whole."""
    parts, depth, start = [], 0, 0
    for i, sign in enumerate(inside):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append(inside[start:i])
            start = i + 1
    names = (_NAME.search(part.strip()) for part in [*parts, inside[start:]])
    return tuple(found[1] for found in names if found)


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    raise ValueError(f"a bracket is never closed: {text[start : start + 200]}")
