"""What executables of deep models need, scaled from shallow ones: each unrolled layer adds the same.

The engine's kernels unroll their layers, so that compiling one for 48 layers takes minutes. But every layer (every
period of a pattern of local and global layers) adds the same arrays and the same work, so that all of these lie on a
line over the depth. Temporaries that are alive at the peak lie on one too: it is level, or, where the compiler keeps
copies of all layers, it rises.
"""

from __future__ import annotations

from sml_jax.models.config import DecoderConfig
from sml_jax.plan.compiling import Compiled, Memory
from sml_jax.plan.counting import Count

_MIN_LAYERS = 4  # with fewer, the first and the last layer are most of the model


def few_layers(config: DecoderConfig) -> tuple[int, int] | None:
    """The two depths to compile, whole periods of the layers' pattern; None if the model is hardly deeper than that."""
    period = len(config.layer_pattern)
    first = -(-_MIN_LAYERS // period) * period
    return (first, 2 * first) if config.layers > 3 * first else None


def scaled(one: Compiled, two: Compiled, first: int, second: int, layers: int) -> Compiled:
    """What an executable needs at `layers` layers, on the line through what it needs at `first` and `second` layers."""

    def line(a: float, b: float) -> float:
        return a + (b - a) * (layers - first) / (second - first)

    useful = line(one.useful_flops, two.useful_flops)
    compile_seconds = one.seconds + two.seconds
    if one.memory is None or two.memory is None or one.work is None or two.work is None:
        # A shallow model that does not compile tells that the deep one will not either, and about how much it wants.
        needs = [c.wanted if c.memory is None else c.memory.total for c in (one, two)]
        wanted = None if needs[0] is None or needs[1] is None else max(line(needs[0], needs[1]), needs[1])
        return Compiled(None, wanted, None, useful, compile_seconds)
    sizes = zip(_sizes(one.memory), _sizes(two.memory), strict=True)
    memory = Memory(*(max(line(a, b), 0.0) for a, b in sizes))
    # Collectives of two depths share no channels, so they are compared by kind.
    kinds = {kind for work in (one.work, two.work) for kind in work.by_kind()}
    sent = {
        (kind, ""): max(line(one.work.by_kind().get(kind, 0.0), two.work.by_kind().get(kind, 0.0)), 0.0)
        for kind in kinds
    }
    work = Count(line(one.work.flops, two.work.flops), line(one.work.bytes, two.work.bytes), sent)
    return Compiled(memory, None, work, useful, compile_seconds)


def _sizes(memory: Memory) -> tuple[float, float, float, float]:
    """The fields of `Memory` in their order."""
    return memory.arguments, memory.outputs, memory.temporaries, memory.aliased
