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
    """The kind of collective operation that an instruction performs, such as "all-gather"; None for other instructions.

    An asynchronous collective counts where it starts ("all-gather-start"). On a TPU a reduce-scatter may be printed as
    a computation named `all-reduce-scatter`, which holds an all-reduce and the slice that a device keeps of its result.
    Such an all-reduce is called "reduce-scatter" here, as it moves no more than one.

    Args:
      computation: the one that holds the instruction.
    """
    kind = instruction.opcode.removesuffix("-start")
    if kind not in _KINDS:
        return None
    return "reduce-scatter" if kind == "all-reduce" and "reduce-scatter" in computation.name else kind


def collective_bytes(kind: str, operands: Sequence[Shape], instruction: Instruction) -> float:
    """Number of bytes that one device sends in a collective operation; it receives as many.

    In a group of n devices, each sends (n - 1) / n of the full array in an all-gather (where the full array is the
    result), in a reduce-scatter and in an all-to-all (where it is the operand). It sends twice that in an all-reduce,
    and all of its operand in a permutation.

    Args:
      kind: the collective's kind, from `kind_of`.
      operands: shapes of the arrays that one device puts in.
      instruction: the collective; its attributes tell the size of the group.
    """
    operand_bytes = sum(shape.bytes for shape in operands)
    if kind == "collective-permute":
        return float(operand_bytes)
    n = group_size(instruction.rest)
    share = (n - 1) / n if n else 1.0
    whole_bytes = operand_bytes * n if kind == "all-gather" else operand_bytes
    return whole_bytes * share * (2 if kind == "all-reduce" else 1)


def group_size(attributes: str) -> int:
    """Number of devices in each group of a collective; 0 if `attributes` name no groups, which means all devices.

    Args:
      attributes: the text of the instruction's attributes (`Instruction.rest`).
    """
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
