"""Bytes that a device sends in a collective, by the algorithm that moves least: rings, in one direction."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sml_jax.plan.hlo import Computation, Instruction, Shape

_KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# Three ways in which XLA writes the groups of devices: a list of groups, a number and size of groups, mesh axes.
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_COUNTED = re.compile(r"replica_groups=\[(\d+),(\d+)\]")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}")


def kind_of(instruction: Instruction, computation: Computation) -> str | None:
    """Which collective an instruction of a computation is; None if it is none.

    An asynchronous collective counts where it starts. On a TPU a reduce-scatter may be printed as a computation
    `all-reduce-scatter` that holds an all-reduce and the slice that a device keeps; it moves what a reduce-scatter
    does.
    """
    kind = instruction.opcode.removesuffix("-start")
    if kind not in _KINDS:
        return None
    return "reduce-scatter" if kind == "all-reduce" and "reduce-scatter" in computation.name else kind


def collective_bytes(kind: str, operands: Sequence[Shape], instruction: Instruction) -> float:
    """Bytes that a device sends in a collective; it receives as many.

    Of n devices, each sends (n - 1) / n of the whole array in an all-gather (whose result is the whole), a
    reduce-scatter or an all-to-all (whose operand is the whole), twice that in an all-reduce, and all of its operand in
    a permutation.

    Args:
      kind: see `kind_of`.
      operands: shapes of what a device gives.
    """
    operand_bytes = sum(shape.bytes for shape in operands)
    if kind == "collective-permute":
        return float(operand_bytes)
    n = group_size(instruction.rest)
    share = (n - 1) / n if n else 1.0
    whole_bytes = operand_bytes * n if kind == "all-gather" else operand_bytes
    return whole_bytes * share * (2 if kind == "all-reduce" else 1)


def group_size(attributes: str) -> int:
    """How many devices take part in one collective together; 0 if its attributes do not say (then it is all)."""
    if listed := _LISTED.search(attributes):
        return len(listed[1].split(","))
    if counted := _COUNTED.search(attributes):
        return int(counted[2])
    if mesh := _MESH.search(attributes):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']*)'=(\d+)", mesh[1])}
        # A part of an axis may take part, written 'axis':(size before it)its size.
        axes = re.findall(r"'([^']*)'(?::\(\d+\)(\d+))?", mesh[2])
        return math.prod(int(part) if part else sizes[name] for name, part in axes)
    return 0
