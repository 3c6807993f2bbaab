"""The short lists of sizes that an engine compiles for, so that no length of a dialogue causes a recompilation."""

from __future__ import annotations

from collections.abc import Sequence

from jax.sharding import Mesh

from sml_jax.common.errors import UserError
from sml_jax.engine.caches import align_slots
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.sharding import num_row_shards

CHUNK_SIZES = (16, 64)  # given tokens of a row that one `extend` takes
DECODE_STEPS = 32  # the most tokens that a row samples in one call, so that waiting rows get their turn soon
_SMALLEST_CAPACITY = 64
_MIN_ROWS_TO_SPLIT = 32  # below this, calls of fewer rows save less time than their compilation costs
_MIN_BATCH_SIZE = 4


def rows_of_a_shard(max_concurrent: int, mesh: Mesh) -> int:
    """How many of an engine's `max_concurrent` rows each of the mesh's row shards holds.

    Raises:
      UserError: the number of rows is not a multiple of the number of shards.
    """
    shards = num_row_shards(mesh)
    if max_concurrent % shards:
        raise UserError(
            f"engine: max_concurrent is {max_concurrent}, but {max_concurrent} rows do not divide over {shards} shards "
            f"of the mesh: give a multiple of {shards}"
        )
    return max_concurrent // shards


def longest_cache_length(max_length: int, chunk_sizes: Sequence[int], decode_steps: int) -> int:
    """Slots of the longest cache that contexts of `max_length` tokens need.

    Kernels write windows of a fixed size, and the last window may begin at the last token of a full context: it needs
    room after `max_length`. Of `chunk_sizes` (rising) the smallest is enough here, because the engine falls back to it
    near the end (see `Engine.chunk_size_for`).
    """
    return align_slots(max_length + max(chunk_sizes[0], decode_steps))


def default_batch_sizes(rows: int) -> tuple[int, ...]:
    """Default numbers of rows of a shard for one call, rising: a sixteenth and a quarter of `rows`, then all.

    The fractions are left out for fewer than 32 rows, or where they are below 4.
    """
    fractions = (rows // 16, rows // 4) if rows >= _MIN_ROWS_TO_SPLIT else ()
    return (*(size for size in fractions if size >= _MIN_BATCH_SIZE), rows)


def default_capacities(max_length: int, attention: str) -> tuple[int, ...]:
    """Default capacities of caches, in tokens: powers of two from 64 on, then `max_length`.

    Only `max_length` where attention reads filled slots alone: shorter caches save nothing there (see
    `CacheBackend.reads_full_capacity`). `attention` is a value of `DecoderConfig.attention`.
    """
    if not cache_backend(attention).reads_full_capacity:
        return (max_length,)
    sizes, size = [], _SMALLEST_CAPACITY
    while size < max_length:
        sizes.append(size)
        size *= 2
    return (*sizes, max_length)


def check_rising(name: str, sizes: Sequence[int]) -> None:
    """Raises a UserError, which calls the list `name`, unless `sizes` are one or more numbers that rise strictly."""
    if not sizes or list(sizes) != sorted(set(sizes)):
        raise UserError(f"engine: {name} are {tuple(sizes)}; give at least one, each larger than the one before")
