"""The short lists of sizes that an engine compiles for, so that no length of a dialogue causes a recompilation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jax.sharding import Mesh

from sml_jax.common.errors import UserError
from sml_jax.common.lengths import powers_of_two_up_to
from sml_jax.engine.caches import align_slots
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.sharding import num_row_shards

CHUNK_SIZES = (16, 64)  # given tokens of a row that one `extend` takes
DECODE_STEPS = 32  # the most tokens that a row samples in one call, so that waiting rows get their turn soon
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
    return powers_of_two_up_to(max_length)


@dataclass(frozen=True)
class CallSizes:
    """The sizes of the calls that contexts can meet in caches of one length, with one number of rows.

    Attributes:
      capacity: slots of the caches.
      batch_size: rows of each shard that a call works on.
      chunk_sizes: given tokens of a row that an `extend` and its `write` take.
      samples: whether rows are sampled and copied, besides being extended.
    """

    capacity: int
    batch_size: int
    chunk_sizes: tuple[int, ...]
    samples: bool


def sizes_of_calls(
    cache_lengths: Sequence[int],
    batch_sizes: Sequence[int],
    chunk_sizes: Sequence[int],
    shortest_context: int,
    stops_anywhere: bool,
) -> list[CallSizes]:
    """The sizes of all calls that contexts can meet, caches rising.

    Args:
      cache_lengths, batch_sizes, chunk_sizes, shortest_context: see `Engine`.
      stops_anywhere: whether reading a context may have to stop at any token, as recurrent layers do.
    """
    sizes = []
    for capacity in cache_lengths:
        # A window that is longer than the cache is never written to it.
        fitting = tuple(size for size in chunk_sizes if size <= capacity)
        # Caches outgrow such a capacity before any row has read the whole opening of its context: nothing is sampled or
        # copied then, and openings are read in the largest chunks.
        passed_through = capacity < shortest_context - 1
        if passed_through and not stops_anywhere:
            fitting = tuple(size for size in fitting if size == chunk_sizes[-1])
        sizes += [CallSizes(capacity, batch_size, fitting, not passed_through) for batch_size in batch_sizes]
    return sizes


def check_rising(name: str, sizes: Sequence[int]) -> None:
    """Raises a UserError, which calls the list `name`, unless `sizes` are one or more numbers that rise strictly."""
    if not sizes or list(sizes) != sorted(set(sizes)):
        raise UserError(f"engine: {name} are {tuple(sizes)}; give at least one, each larger than the one before")
