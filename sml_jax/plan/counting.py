"""What a compiled program does on one device: arithmetic, main-memory traffic, collectives; loops by their trips."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sml_jax.plan.collectives import collective_bytes, kind_of
from sml_jax.plan.hlo import Computation, Instruction, Module, Shape
from sml_jax.plan.loops import trips
from sml_jax.plan.products import product_flops
from sml_jax.plan.traffic import call_bytes

# (kind, channel): the pieces of an asynchronous collective share a channel and are one.
Collectives = dict[tuple[str, str], float]
_BRANCHES = re.compile(r"\b(?:true_computation|false_computation)=%?([\w.\-]+)")


@dataclass
class Count:
    """Work of one device.

    Attributes:
      flops: of matrix products and convolutions, a multiply and an add counted as two.
      bytes: read from and written to the main memory.
      collectives: bytes that a device sends (and as many that it receives), by (kind, channel).
    """

    flops: float = 0.0
    bytes: float = 0.0
    collectives: Collectives = field(default_factory=dict)

    def add(self, other: Count, times: int = 1) -> None:
        self.flops += other.flops * times
        self.bytes += other.bytes * times
        for key, moved in other.collectives.items():
            self.collectives[key] = self.collectives.get(key, 0.0) + moved * times

    def by_kind(self) -> dict[str, float]:
        """Bytes of collectives by their kind."""
        kinds: dict[str, float] = {}
        for (kind, _), moved in self.collectives.items():
            kinds[kind] = kinds.get(kind, 0.0) + moved
        return kinds


def count(module: Module, open_trips: int | None = None, kernels: Mapping[str, float] | None = None) -> Count:
    """Counts a program's work.

    Args:
      module: as compiled for one device of many.
      open_trips: how often loops run that something computed may end; None for the most that they can.
      kernels: FLOPs of a call of those that say none themselves, by name.

    Raises:
      ValueError: a loop whose trips cannot be told.
    """
    return _Counter(module, open_trips, kernels or {}).computation(module.computations[module.entry])


class _Counter:
    def __init__(self, module: Module, open_trips: int | None, kernels: Mapping[str, float]):
        self._module, self._open_trips, self._kernels = module, open_trips, kernels
        self._done: dict[str, Count] = {}

    def computation(self, where: Computation) -> Count:
        """Work of a computation that is run instruction by instruction."""
        if where.name not in self._done:
            total = Count()
            for instruction in list(where.instructions.values()):
                self._instruction(where, instruction, total)
            self._done[where.name] = total
        return self._done[where.name]

    def _instruction(self, where: Computation, instruction: Instruction, total: Count) -> None:
        opcode = instruction.opcode
        if opcode == "while":
            times = self._trips(where, instruction)
            for part in instruction.called("body", "condition"):
                total.add(self.computation(self._module.computations[part]), times)
        elif opcode == "conditional":
            names = [*instruction.called("branch_computations"), *_BRANCHES.findall(instruction.rest)]
            branches = [self.computation(self._module.computations[name]) for name in names]
            if branches:  # the dearest: which one runs is not known here
                total.add(max(branches, key=lambda branch: (branch.flops, branch.bytes)))
        elif opcode in ("call", "async-start"):
            for name in instruction.called("calls", "to_apply"):
                total.add(self.computation(self._module.computations[name]))
        else:
            total.flops += self._flops(where, instruction)
            total.bytes += call_bytes(self._module, where, instruction)
            for key, moved in self._collectives(where, instruction).items():
                total.collectives[key] = max(total.collectives.get(key, 0.0), moved)

    def _trips(self, where: Computation, instruction: Instruction) -> int:
        loop = trips(self._module, where, instruction)
        return loop.trips if loop.exact or self._open_trips is None else min(self._open_trips, loop.trips)

    def _flops(self, where: Computation, instruction: Instruction) -> float:
        if instruction.opcode == "fusion":
            inner = self._module.computations[instruction.called("calls")[0]]
            return float(sum(self._flops(inner, part) for part in inner.instructions.values()))
        return product_flops(where, instruction, self._kernels)

    def _collectives(self, where: Computation, instruction: Instruction) -> Mapping[tuple[str, str], float]:
        if instruction.opcode == "fusion":
            inner = self._module.computations[instruction.called("calls")[0]]
            found: Collectives = {}
            for part in inner.instructions.values():
                found |= self._collectives(inner, part)
            return found
        kind = kind_of(instruction, where)
        if kind is None:
            return {}
        operands: list[Shape] = [shape for name in instruction.operands for shape in where.instructions[name].shapes]
        channel = re.search(r"channel_id=(\d+)", instruction.rest)
        key = (kind, channel[1] if channel else instruction.name)
        return {key: collective_bytes(kind, operands, instruction)}
