"""What a compiled module does on one device: arithmetic, main-memory traffic and collectives, with loops unrolled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sml_jax.plan.collectives import collective_bytes, kind_of
from sml_jax.plan.hlo import Computation, Instruction, Module, Shape
from sml_jax.plan.loops import trip_count
from sml_jax.plan.products import product_flops
from sml_jax.plan.traffic import call_bytes

# (kind, channel): the parts of an asynchronous collective share a channel and count once.
Collectives = dict[tuple[str, str], float]
_BRANCHES = re.compile(r"\b(?:true_computation|false_computation)=%?([\w.\-]+)")


@dataclass
class Count:
    """Work that one device does.

    Attributes:
      flops: operations of matrix products and convolutions; a multiply and an add count as two.
      bytes: number of bytes read from and written to the main memory.
      collectives: number of bytes that the device sends (it receives as many), by (kind, channel). The channel is XLA's
        channel id as text, or the instruction's name where it has none.
    """

    flops: float = 0.0
    bytes: float = 0.0
    collectives: Collectives = field(default_factory=dict)

    def add(self, other: Count, times: int = 1) -> None:
        """Adds `other`, multiplied by `times`, to this count in place."""
        self.flops += other.flops * times
        self.bytes += other.bytes * times
        for key, sent_bytes in other.collectives.items():
            self.collectives[key] = self.collectives.get(key, 0.0) + sent_bytes * times

    def by_kind(self) -> dict[str, float]:
        """Number of bytes that the device sends in collectives of each kind ("all-gather", ...)."""
        bytes_by_kind: dict[str, float] = {}
        for (kind, _), sent_bytes in self.collectives.items():
            bytes_by_kind[kind] = bytes_by_kind.get(kind, 0.0) + sent_bytes
        return bytes_by_kind


def count_work(module: Module, loop_steps: int | None = None, kernels: Mapping[str, float] | None = None) -> Count:
    """Counts the work that one device does in one run of a compiled module.

    Args:
      module: what one device runs.
      loop_steps: iterations to count for a loop that may end early, depending on its data; None for its maximum.
      kernels: FLOPs of one call, by name, of custom kernels whose instruction states none.

    Raises:
      ValueError: the number of iterations of a loop cannot be found, see `loops.trip_count`.
    """
    return _Counter(module, loop_steps, kernels or {}).of_computation(module.computations[module.entry])


class _Counter:
    """Walks the computations of a module, each once."""

    def __init__(self, module: Module, loop_steps: int | None, kernels: Mapping[str, float]):
        self._module, self._loop_steps, self._kernels = module, loop_steps, kernels
        self._counted: dict[str, Count] = {}

    def of_computation(self, computation: Computation) -> Count:
        """Work of a computation whose instructions run one by one (not fused)."""
        if computation.name not in self._counted:
            total = Count()
            # A copy of the list: `loops` may add constants to the computation while it is walked.
            for instruction in list(computation.instructions.values()):
                self._add_instruction(computation, instruction, total)
            self._counted[computation.name] = total
        return self._counted[computation.name]

    def _add_instruction(self, computation: Computation, instruction: Instruction, total: Count) -> None:
        """Adds an instruction's work, and that of the computations that it calls, to `total`."""
        opcode = instruction.opcode
        # Control flow does nothing itself. Its computations count as often as they run.
        if opcode == "while":
            times = self._iterations(computation, instruction)
            for name in instruction.called("body", "condition"):
                total.add(self.of_computation(self._module.computations[name]), times)
        elif opcode == "conditional":
            names = [*instruction.called("branch_computations"), *_BRANCHES.findall(instruction.rest)]
            branches = [self.of_computation(self._module.computations[name]) for name in names]
            if branches:  # which branch runs is not known here, so the most expensive one counts
                total.add(max(branches, key=lambda branch: (branch.flops, branch.bytes)))
        elif opcode in ("call", "async-start"):
            for name in instruction.called("calls", "to_apply"):
                total.add(self.of_computation(self._module.computations[name]))
        else:
            total.flops += self._flops(computation, instruction)
            total.bytes += call_bytes(self._module, computation, instruction)
            for key, sent_bytes in self._collectives(computation, instruction).items():
                total.collectives[key] = max(total.collectives.get(key, 0.0), sent_bytes)

    def _iterations(self, computation: Computation, loop: Instruction) -> int:
        """The number of iterations that a loop counts with: its exact number, else at most `loop_steps`."""
        trips = trip_count(self._module, computation, loop)
        if trips.exact or self._loop_steps is None:
            return trips.most
        return min(self._loop_steps, trips.most)

    def _flops(self, computation: Computation, instruction: Instruction) -> float:
        """FLOPs of an instruction that calls nothing, or of all instructions of a fusion."""
        if instruction.opcode == "fusion":
            # Arithmetic counts inside a fusion as outside; only its memory traffic differs.
            fused = self._module.computations[instruction.called("calls")[0]]
            return float(sum(self._flops(fused, inner) for inner in fused.instructions.values()))
        return product_flops(computation, instruction, self._kernels)

    def _collectives(self, computation: Computation, instruction: Instruction) -> Collectives:
        """Bytes that an instruction sends, by collective; a fusion may hold several."""
        if instruction.opcode == "fusion":
            fused = self._module.computations[instruction.called("calls")[0]]
            in_fusion: Collectives = {}
            for inner in fused.instructions.values():
                in_fusion |= self._collectives(fused, inner)
            return in_fusion
        kind = kind_of(instruction, computation)
        if kind is None:
            return {}
        operands: list[Shape] = [
            shape for name in instruction.operands for shape in computation.instructions[name].shapes
        ]
        # The start and the update of an asynchronous collective share a channel, and count once.
        channel = re.search(r"channel_id=(\d+)", instruction.rest)
        key = (kind, channel[1] if channel else instruction.name)
        return {key: collective_bytes(kind, operands, instruction)}
