"""Programs of deep models told from shallow ones: what layers add when they stand one after another is a straight line.

The engine's kernels unroll their layers, so that compiling one for 48 layers takes minutes. Every layer (every period
of a pattern of local and global ones) adds the same arrays and the same work; only the temporaries that are alive at
the peak do not grow with depth, or, where the compiler keeps copies of all layers, do.
"""

from __future__ import annotations

from sml_jax.models.config import DecoderConfig
from sml_jax.plan.compiling import Compiled, Memory
from sml_jax.plan.counting import Count

_LEAST = 4  # layers: fewer would be all edge


def few_layers(config: DecoderConfig) -> tuple[int, int] | None:
    """Two depths, whole periods of the layers' pattern; None for a model that is hardly deeper."""
    period = len(config.layer_pattern)
    first = -(-_LEAST // period) * period
    return (first, 2 * first) if config.layers > 3 * first else None


def scaled(one: Compiled, two: Compiled, first: int, second: int, layers: int) -> Compiled:
    """A program at `layers` from the same at two smaller depths, on the line through both."""

    def line(a: float, b: float) -> float:
        return a + (b - a) * (layers - first) / (second - first)

    useful = line(one.useful_flops, two.useful_flops)
    seconds = one.seconds + two.seconds
    if one.memory is None or two.memory is None or one.work is None or two.work is None:
        needs = [c.wanted if c.memory is None else c.memory.total for c in (one, two)]
        wanted = None if needs[0] is None or needs[1] is None else max(line(needs[0], needs[1]), needs[1])
        return Compiled(None, wanted, None, useful, seconds)
    memory = Memory(*(max(line(a, b), 0.0) for a, b in zip(_numbers(one.memory), _numbers(two.memory), strict=True)))
    kinds = {kind for work in (one.work, two.work) for kind in work.by_kind()}
    sent = {
        (kind, ""): max(line(one.work.by_kind().get(kind, 0.0), two.work.by_kind().get(kind, 0.0)), 0.0)
        for kind in kinds
    }
    work = Count(line(one.work.flops, two.work.flops), line(one.work.bytes, two.work.bytes), sent)
    return Compiled(memory, None, work, useful, seconds)


def _numbers(memory: Memory) -> tuple[float, float, float, float]:
    return memory.arguments, memory.outputs, memory.temporaries, memory.aliased
