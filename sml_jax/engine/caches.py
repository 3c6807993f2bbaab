"""Caches of keys and values: how long each layer's is, where in it a token lies, and what new tokens look back at.

A layer that looks back at everything keeps everything, slot by slot. A local one keeps its last tokens alone: they go
round in a ring of slots, so that long contexts cost it no more memory and no more reading than its window does.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.models.ops.cached_attention import KVCache, KVSegment

Cache = tuple[KVCache, ...]
"""For each layer, keys and values [rows, kv_heads, slots, head_dim]; see `CacheBackend.time_axis`."""
Kept = TypeVar("Kept", Cache, KVCache)

COPIED = 32  # slots of a row that are copied at a time
ALIGNED = 16  # XLA for GPUs fills up other numbers of slots, by copying values at every step


def aligned(slots: int) -> int:
    """A number of slots rounded up to what all compilers read as it is."""
    return slots + -slots % ALIGNED


@dataclass(frozen=True)
class CacheLayout:
    """Where in a row's cache its tokens lie.

    A local layer's cache has one slot for each token until there would be more than `ring`. Then it has `spare` slots,
    the ring, and `spare` slots again: windows of new tokens are written whole, and may run over the ring's end.

    Attributes:
      axis: of an array of keys or values, the one that counts slots.
      local: for each layer, whether it goes round.
      window: tokens that a local layer sees.
      ring: tokens that a local layer keeps, 0 where none goes round.
      spare: the most new tokens that are written at once.
    """

    axis: int
    local: tuple[bool, ...]
    window: int = 0
    ring: int = 0
    spare: int = 0

    @classmethod
    def of(cls, config: DecoderConfig, capacity: int, most: int, max_rewind: int = 0) -> CacheLayout:
        """For contexts of up to `capacity` slots, to which up to `most` tokens are written at once.

        `max_rewind` tokens of a row, once written, can be taken back, and what is left is still there.
        """
        backend, spare = cache_backend(config.attention), aligned(most)
        ring = aligned(config.window + max_rewind) + spare
        # A ring gains nothing where only filled slots of a window are read anyway, or where it is no shorter.
        rings_pay = backend.reads_full_capacity and ring + 2 * spare < capacity
        if not rings_pay or not any(config.local_layers):
            return cls(backend.time_axis, (False,) * config.layers)
        return cls(backend.time_axis, config.local_layers, config.window, ring, spare)

    def slots(self, layer: int, capacity: int) -> int:
        """Slots of a layer's cache that has room for contexts of `capacity`."""
        return self.ring + 2 * self.spare if self.local[layer] and capacity > self.ring else capacity

    def round(self, layer: int, slots: int) -> bool:
        """Whether a layer's tokens go round in a cache of so many slots."""
        return self.local[layer] and slots > self.ring

    def room(self, cache: Cache) -> int:
        """Slots that a row has in a cache, those of layers that go round aside; no end of them if all do."""
        sizes = [layer.keys.shape[self.axis] for layer in cache]
        return min((size for i, size in enumerate(sizes) if not self.round(i, size)), default=sys.maxsize)

    def lost(self, written: int, length: int) -> bool:
        """Whether tokens that a row of `length` looks back at are gone, places up to `written` being written to."""
        return bool(self.ring) and written > self.ring and written - length > self.ring - self.window


def empty_cache(config: DecoderConfig, rows: int, capacity: int, layout: CacheLayout | None = None) -> Cache:
    """A cache for `rows` contexts of up to `capacity` tokens, zeros; without a layout all layers keep all.

    Rows come first, because a write is a scatter over rows, and XLA transposes whole caches where they do not.
    """
    axis = cache_backend(config.attention).time_axis

    def zeros(layer: int) -> jax.Array:
        shape = [rows, config.kv_heads, config.head_dim]
        shape.insert(axis, capacity if layout is None else layout.slots(layer, capacity))
        return jnp.zeros(shape, config.compute_dtype)

    return tuple(KVCache(zeros(layer), zeros(layer)) for layer in range(config.layers))


def grow(axis: int, kept: jax.Array, slots: int, before: int) -> jax.Array:
    """One array of a cache with more slots, of which `before` lie before those that there were; `axis` counts them."""
    more = slots - kept.shape[axis]
    return jnp.pad(kept, [(before, more - before) if i == axis else (0, 0) for i in range(kept.ndim)])


def kv_segments(
    layout: CacheLayout,
    cache: Cache,
    rows: Int[Array, "shards few"] | None,
    start: Int[Array, " batch"],
    in_place: bool,
) -> tuple[KVSegment, ...]:
    """For each layer, the slots that the tokens from `start` on look back at.

    Args:
      rows: of the caches, counted within their shard; None for all in order. start: tokens that a row's cache holds.
      in_place: whether attention finds `rows` in the caches itself (`CacheBackend.selects_rows`).
    """

    def of_layer(layer: int, kept: KVCache) -> KVSegment:
        slots = kept.keys.shape[layout.axis]
        positions = jnp.broadcast_to(jnp.arange(slots, dtype=jnp.int32), (start.shape[0], slots))
        if not layout.round(layer, slots):
            valid = positions < start[:, None]
        else:
            place, last = positions - layout.spare, start[:, None] - 1
            positions = last - (last - place) % layout.ring  # the last token that was put there
            valid = (place >= 0) & (place < layout.ring) & (positions >= 0)
        return (
            KVSegment(kept, positions, valid, rows=rows)
            if in_place
            else KVSegment(selected(kept, rows), positions, valid)
        )

    return tuple(of_layer(layer, kept) for layer, kept in enumerate(cache))


def selected(kept: Kept, rows: Int[Array, "shards few"] | None) -> Kept:
    """These rows' caches, as arrays of their own; rows that are nobody's hold something."""
    if rows is None:
        return kept

    def take(array: jax.Array) -> jax.Array:
        by_shard = array.reshape(rows.shape[0], -1, *array.shape[1:])
        few = jax.vmap(partial(jnp.take, axis=0, mode="clip"))(by_shard, rows)
        return few.reshape(-1, *array.shape[1:])

    return jax.tree.map(take, kept)


def copy(
    layout: CacheLayout,
    cache: Cache,
    source: Int[Array, "shards few"],
    target: Int[Array, "shards few"],
    slots: Int[Array, ""],
) -> Cache:
    """Copies the first slots of rows within each shard; a target past the shard's rows copies nothing.

    Args:
      layout: static. cache: donate it.
      source, target: rows counted within their shard.
      slots: how many, rounded up to windows of `COPIED`: one program for all lengths. Of a ring, all if it has fewer.
    """
    axis = layout.axis
    size = min(COPIED, *(layer.keys.shape[axis] for layer in cache))
    each = jnp.ones(target.size, bool)

    def window(i: jax.Array, cache: Cache) -> Cache:
        def of_layer(kept: KVCache) -> KVCache:
            # The last window of a cache begins where it still fits.
            at = jnp.minimum(i * size, kept.keys.shape[axis] - size)
            part = jax.tree.map(partial(jax.lax.dynamic_slice_in_dim, start_index=at, slice_size=size, axis=axis), kept)
            return _put(axis, kept, selected(part, source), target, jnp.full(target.size, at, jnp.int32), each)

        return tuple(map(of_layer, cache))

    return jax.lax.fori_loop(0, (slots + layout.spare + size - 1) // size, window, cache)


def write(
    shards: int,
    layout: CacheLayout,
    cache: Cache,
    new: Cache,
    rows: Int[Array, "shards few"] | None,
    start: Int[Array, " batch"],
    count: Int[Array, " batch"],
) -> Cache:
    """Writes all new slots of a row at its start. What lies past its tokens is not valid and is written over later.

    Args:
      shards: static; parts that the rows of the cache are split into.
      layout: static.
      cache: donate it. It must have room for all new slots after each row's start.
      new: keys and values of some slots, from `extend` or `decode`.
      rows: see `extend`. start: where a row's window begins.
      count: new tokens of a row. Where there are none, and where a row is nobody's, nothing is written.
    """
    axis = layout.axis
    if rows is None:
        size = cache[0].keys.shape[0] // shards
        rows = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), (shards, size))

    def of_layer(layer: int, kept: KVCache, fresh: KVCache) -> KVCache:
        if not layout.round(layer, kept.keys.shape[axis]):
            return _put(axis, kept, fresh, rows, start, count > 0)
        at = start % layout.ring
        over = at + fresh.keys.shape[axis] > layout.ring
        kept = _put(axis, kept, fresh, rows, layout.spare + at, count > 0)
        # What ran over the end, at the beginning, where it belongs; the rest of the window falls into the spare slots.
        return _put(axis, kept, fresh, rows, layout.spare + at - layout.ring, (count > 0) & over)

    return tuple(of_layer(i, kept, fresh) for i, (kept, fresh) in enumerate(zip(cache, new, strict=True)))


def _put(axis: int, kept: KVCache, fresh: KVCache, rows: jax.Array, start: jax.Array, wanted: jax.Array) -> KVCache:
    """A layer's cache with windows put into `rows` [shards, few] from slot `start` on, where `wanted`."""
    shards = rows.shape[0]
    size = kept.keys.shape[0] // shards
    # An unwanted window's place lies past the last row, which drops it.
    at = jnp.stack([jnp.where(wanted.reshape(rows.shape), rows, size), start.reshape(rows.shape)], axis=-1)
    windows = jax.lax.ScatterDimensionNumbers((1, 2, 3), (0,), (0, axis))

    def scatter(kept: jax.Array, fresh: jax.Array, at: jax.Array) -> jax.Array:
        drop = jax.lax.GatherScatterMode.FILL_OR_DROP
        return jax.lax.scatter(kept, at, fresh, windows, unique_indices=True, mode=drop)

    def place(kept: jax.Array, fresh: jax.Array) -> jax.Array:
        fresh = fresh.astype(kept.dtype)
        if shards == 1:
            return scatter(kept, fresh, at[0])
        by_shard = kept.reshape(shards, -1, *kept.shape[1:]), fresh.reshape(shards, -1, *fresh.shape[1:])
        return jax.vmap(scatter)(by_shard[0], by_shard[1], at).reshape(kept.shape)

    return jax.tree.map(place, kept, fresh)
