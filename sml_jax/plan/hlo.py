"""Compiled modules as XLA prints them (HLO text): computations, their instructions, and the instructions' shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Bits of an element. Types that are not listed are named after theirs (f32, s8).
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
      dtype: XLA's name of the element type ("f32", "pred", ...).
      dims: size of each dimension.
      space: number of the memory space that holds the array: 0 for the device's main memory, 1 for memory on the chip,
        others for the host's memory or registers.
    """

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Number of bytes of all elements, without padding."""
        return -(-self.size * bits_of(self.dtype) // 8)

    @property
    def main_bytes(self) -> int:
        """`bytes` if the array is in the device's main memory, else 0."""
        return self.bytes if self.space == 0 else 0


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
      name: unique in its computation.
      opcode: what it does, such as "dot" or "fusion".
      shapes: the shape of its result, or of each element of a result that is a tuple.
      operands: names of the instructions of the same computation whose results it takes.
      inside: the text in the brackets after the opcode: its operands, a constant's value or a parameter's number.
      rest: the text after these brackets: its attributes.
      root: whether it is marked as the instruction whose result the computation returns.
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
        """The operation of the traced function that it comes from ("jit(f)/dot_general"); "" if it has no metadata."""
        match = _METADATA.search(self.rest)
        return match[1] if match else ""

    def called(self, *kinds: str) -> list[str]:
        """Names of the computations that the instruction calls.

        Args:
          kinds: the attributes to look in, such as "body" and "calls"; all others are ignored.
        """
        return [
            name.strip().lstrip("%")
            for kind, names in _CALLED.findall(self.rest)
            if kind in kinds
            for name in names.strip("{}").split(",")
        ]


@dataclass
class Computation:
    """A function of a compiled module.

    Attributes:
      name: unique in the module.
      instructions: by name, in the order of the text.
    """

    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)

    @property
    def root(self) -> Instruction:
        """The instruction whose result the computation returns: the one marked ROOT, or the last one if none is."""
        return next((i for i in self.instructions.values() if i.root), list(self.instructions.values())[-1])

    @property
    def parameters(self) -> list[Instruction]:
        """The "parameter" instructions, which give the computation's arguments, in the order of the arguments."""
        unordered = [i for i in self.instructions.values() if i.opcode == "parameter"]
        return sorted(unordered, key=lambda i: int(i.inside))

    def users(self, name: str) -> list[Instruction]:
        """The instructions of this computation that take the result of the instruction `name` as an operand."""
        return [i for i in self.instructions.values() if name in i.operands]


@dataclass(frozen=True)
class Module:
    """A compiled module: what one device runs.

    Attributes:
      computations: by name.
      entry: name of the computation that runs first; it calls the others.
    """

    computations: Mapping[str, Computation]
    entry: str


def bits_of(dtype: str) -> int:
    """Number of bits of one element. `dtype` is XLA's name, such as "bf16"; 0 for a type without elements ("token")."""
    if dtype in _BITS:
        return _BITS[dtype]
    match = re.match(r"[a-z]+(\d+)", dtype)  # f32, s8, ... say it themselves
    return int(match[1]) if match else 0


def parse_hlo(text: str) -> Module:
    """Parses the text of a compiled module.

    Args:
      text: from `jax.stages.Compiled.as_text()`.

    Raises:
      ValueError: the text has no entry computation.
    """
    bodies: dict[str, list[str]] = {}
    body, entry = None, ""
    for line in text.splitlines():
        if body is None:
            # Between computations: the next header opens one. The entry is marked.
            header = _HEADER.match(line)
            if header:
                body = bodies.setdefault(header[2], [])
                entry = header[2] if header[1] else entry
        elif _END.match(line):
            body = None
        elif _INSTRUCTION.match(line):
            body.append(line)
        elif body:
            # A kernel's attributes may take several lines. (The last of splash attention's is "}}", which `_END` does
            # not match.)
            body[-1] += " " + line
    if not entry:
        raise ValueError("no entry computation: this is not the text of a compiled module")
    return Module({name: Computation(name, _instructions(lines)) for name, lines in bodies.items()}, entry)


def _instructions(lines: list[str]) -> dict[str, Instruction]:
    """A computation's instructions by name, from its lines."""
    matches = (_INSTRUCTION.match(line) for line in lines)
    return {match[2]: _instruction(match[2], match[3], bool(match[1])) for match in matches if match}


def _instruction(name: str, text: str, root: bool) -> Instruction:
    """Reads the text after "name = ": result shapes, opcode, operands in brackets, attributes."""
    text = _COMMENT.sub("", text)
    # The shapes end at the first space, or at the bracket that closes a tuple of them.
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    # The opcode's bracket holds the operands, and attributes follow it.
    opcode = _OPCODE.match(text, end)
    assert opcode is not None, text[:200]
    close = _closing(text, opcode.end() - 1)
    inside = text[opcode.end() : close]
    return Instruction(name, opcode[1], shapes_in(text[:end]), _operands(inside), inside, text[close + 1 :], root)


def shapes_in(text: str) -> tuple[Shape, ...]:
    """Every array shape that a piece of HLO text names, in the order of the text."""
    shapes = []
    for dtype, dims, layout in _SHAPE.findall(text):
        # A layout such as {1,0:T(8,128)S(1)} names the memory space last; without S it is the main memory. A bounded
        # dynamic dimension is written "<=8" and counts as its bound.
        space = _SPACE.search(layout)
        sizes = tuple(int(size.lstrip("<=")) for size in dims.split(",") if size)
        shapes.append(Shape(dtype, sizes, int(space[1]) if space else 0))
    return tuple(shapes)


def _operands(inside: str) -> tuple[str, ...]:
    """Names of operands: the last word of each part between commas that are in no inner bracket."""
    # Operands may carry their shapes in front, "f32[8,16]{1,0} %x", whose commas are in brackets and do not count.
    parts, depth, start = [], 0, 0
    for i, sign in enumerate(inside):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append(inside[start:i])
            start = i + 1
    matches = (_NAME.search(part.strip()) for part in [*parts, inside[start:]])
    return tuple(match[1] for match in matches if match)


def _closing(text: str, start: int) -> int:
    """The index of the bracket that closes the one at `start`. Raises ValueError if there is none."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    raise ValueError(f"a bracket is never closed: {text[start : start + 200]}")
