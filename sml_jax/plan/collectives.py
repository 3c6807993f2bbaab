"""Bytes that a device sends in a collective, by the algorithm that moves least: rings, in one direction."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sml_jax.plan.hlo import Computation, Instruction, Shape

_KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_COUNTED = re.compile(r"replica_groups=\[(\d+),(\d+)\]")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}")


def kind_of(instruction: Instruction, where: Computation) -> str | None:
    """Which collective an instruction is, None for none. An asynchronous one counts where it starts.

    On a TPU a reduce-scatter may be printed as a computation `all-reduce-scatter` that holds an all-reduce and the
    slice that a device keeps: it moves what a reduce-scatter does.
    """
    kind = instruction.opcode.removesuffix("-start")
    if kind not in _KINDS:
        return None
    return "reduce-scatter" if kind == "all-reduce" and "reduce-scatter" in where.name else kind


def collective_bytes(kind: str, operands: Sequence[Shape], instruction: Instruction) -> float:
    """Bytes that a device sends; it receives as many.

    Of n devices, each sends (n - 1) / n of the whole in an all-gather (the whole is the result), a reduce-scatter (the
    operand) or an all-to-all, twice that in an all-reduce, and its operand in a permutation.
    """
    given = sum(shape.bytes for shape in operands)
    if kind == "collective-permute":
        return float(given)
    n = group_size(instruction.rest)
    share = (n - 1) / n if n else 1.0
    whole = given * n if kind == "all-gather" else given
    return whole * share * (2 if kind == "all-reduce" else 1)


def group_size(attributes: str) -> int:
    """Devices that take part in a collective together, 0 where it is not said (all of them)."""
    if listed := _LISTED.search(attributes):
        return len(listed[1].split(","))
    if counted := _COUNTED.search(attributes):
        return int(counted[2])
    if mesh := _MESH.search(attributes):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']*)'=(\d+)", mesh[1])}
        # An axis may be cut: 'axis':(before)size.
        axes = re.findall(r"'([^']*)'(?::\(\d+\)(\d+))?", mesh[2])
        return math.prod(int(part) if part else sizes[name] for name, part in axes)
    return 0
