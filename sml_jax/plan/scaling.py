"""What executables of deep models need, scaled from shallow ones: each unrolled layer adds the same.

The engine's kernels unroll their layers, so that compiling one for 48 layers takes minutes. But every layer (every
period of a pattern of local and global layers) adds the same arrays and the same work, so that all of these lie on a
line over the depth. Temporaries that are alive at the peak lie on one too: it is level, or it rises where the compiler
keeps copies of all layers.
"""

from __future__ import annotations

from sml_jax.common.executables import Memory
from sml_jax.models.config import DecoderConfig
from sml_jax.plan.compiling import Compiled
from sml_jax.plan.counting import Count

_MIN_LAYERS = 4  # with fewer, the first and the last layer are most of the model


def shallow_depths(config: DecoderConfig) -> tuple[int, int] | None:
    """The two numbers of layers to compile a deep model with; both are multiples of the period of `layer_pattern`.

    None if the model is hardly deeper than that, or if its last layers read the keys and values of others, so that not
    every period adds the same: then it is compiled at its full depth.
    """
    if config.kv_sharing_layers:
        return None
    period = len(config.layer_pattern)
    first = -(-_MIN_LAYERS // period) * period
    return (first, 2 * first) if config.layers > 3 * first else None


def scale_to_depth(at_first: Compiled, at_second: Compiled, first: int, second: int, layers: int) -> Compiled:
    """Extrapolates what an executable needs with `layers` layers, in a straight line through two smaller depths.

    Args:
      at_first: the executable compiled with `first` layers.
      at_second: the same compiled with `second` layers, `second` being larger.
      first, second: numbers of layers.
      layers: the number of layers asked for.

    Returns:
      Memory, work and FLOPs at that depth. Its `seconds` are those that compiling both took. If one of them could not
      be compiled for lack of memory, `memory` and `work` are None.
    """

    def line(a: float, b: float) -> float:
        return a + (b - a) * (layers - first) / (second - first)

    useful_flops = line(at_first.useful_flops, at_second.useful_flops)
    compile_seconds = at_first.seconds + at_second.seconds
    if at_first.memory is None or at_second.memory is None or at_first.work is None or at_second.work is None:
        # If a shallow model does not compile, a deep one will not either. The line says about how much it would want.
        needs = [c.wanted if c.memory is None else c.memory.total for c in (at_first, at_second)]
        wanted = None if needs[0] is None or needs[1] is None else max(line(needs[0], needs[1]), needs[1])
        return Compiled(None, wanted, None, useful_flops, compile_seconds)
    sizes = zip(_sizes(at_first.memory), _sizes(at_second.memory), strict=True)
    memory = Memory(*(max(line(a, b), 0.0) for a, b in sizes))
    # Collectives of two depths share no channels, so they are compared by kind.
    kinds = {kind for work in (at_first.work, at_second.work) for kind in work.by_kind()}
    sent_bytes = {
        (kind, ""): max(line(at_first.work.by_kind().get(kind, 0.0), at_second.work.by_kind().get(kind, 0.0)), 0.0)
        for kind in kinds
    }
    work = Count(
        line(at_first.work.flops, at_second.work.flops), line(at_first.work.bytes, at_second.work.bytes), sent_bytes
    )
    return Compiled(memory, None, work, useful_flops, compile_seconds)


def _sizes(memory: Memory) -> tuple[float, float, float, float]:
    """The fields of `Memory` in their order."""
    return memory.arguments, memory.outputs, memory.temporaries, memory.aliased
