"""Caches of keys and values: how long each layer's cache is, where a token lies in it, and what new tokens attend to.

The cache of a global layer keeps every token, slot by slot. The cache of a local (sliding-window) layer keeps the last
tokens alone, in a ring of slots that is written round and round, so that long contexts cost it no more memory and no
more reading than its window does. A layer that attends to the keys and values of an earlier layer has no cache.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from sml_jax.engine import state_cache
from sml_jax.models.config import DecoderConfig
from sml_jax.models.delta_net import DeltaState, empty_state
from sml_jax.models.layer_kinds import LayerKind, layer_kinds
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.models.ops.cached_attention import KVCache, KVSegment, NoCache

LayerCache = KVCache | DeltaState | NoCache
"""What one layer caches. The first axis of each of its arrays counts rows."""
Cache = tuple[LayerCache, ...]
"""For each layer, keys and values [rows, kv_heads, slots, head_dim], see `CacheBackend.time_axis`; the two recurrent
states of each row, see `state_cache`; or `NoCache`."""
CacheOrLayer = TypeVar("CacheOrLayer", Cache, KVCache, DeltaState)

COPY_WINDOW = 32  # slots of a row that one iteration of `copy_prefix` copies
SLOT_MULTIPLE = 16  # XLA for GPUs pads other numbers of slots, and copies all values at every step to do so


def align_slots(slots: int) -> int:
    """Rounds a number of slots up to a multiple of `SLOT_MULTIPLE` (16), which XLA reads without padding it."""
    return slots + -slots % SLOT_MULTIPLE


@dataclass(frozen=True)
class CacheLayout:
    """Which slot of a row's cache holds which of the row's tokens.

    A local layer's cache has one slot for each token as long as it has at most `ring_size` slots. A longer one is
    `margin` slots, the ring, and `margin` slots again: new tokens are written as one window, which may extend past
    the ring's end. It is then written a second time, so that its last part comes to the ring's start and its first
    part extends into the margin in front.

    Attributes:
      slot_axis: the axis of an array of keys or values that counts slots.
      local: for each layer, whether its cache becomes a ring once it has more than `ring_size` slots.
      window: tokens that a local layer sees, the query's own included.
      ring_size: the last tokens of a row that a ring holds; 0 where no layer has a ring.
      margin: slots on each side of a ring: the most tokens that are written at once, rounded up by `align_slots`.
    """

    slot_axis: int
    local: tuple[bool, ...]
    window: int = 0
    ring_size: int = 0
    margin: int = 0

    @classmethod
    def for_config(cls, config: DecoderConfig, capacity: int, largest_write: int, max_rewind: int = 0) -> CacheLayout:
        """The layout for a model's caches: with rings for its local layers if these are shorter than full caches.

        Args:
          config: the model's configuration.
          capacity: slots of the longest cache.
          largest_write: the most tokens of a row that one call writes.
          max_rewind: longest rewind, in tokens, after which a local layer must still hold its window.
        """
        backend, margin = cache_backend(config.attention), align_slots(largest_write)
        # A rewind of max_rewind leaves a full window only if the ring outlasts the rewind and the window written last.
        ring_size = align_slots(config.window + max_rewind) + margin
        # A ring gains nothing where attention reads only the filled slots of a window anyway, nor where it is no
        # shorter than a cache that keeps every token.
        rings_pay = backend.reads_full_capacity and ring_size + 2 * margin < capacity
        if not rings_pay or not any(config.local_layers):
            return cls(backend.time_axis, (False,) * config.layers)
        return cls(backend.time_axis, config.local_layers, config.window, ring_size, margin)

    def slot_count(self, layer: int, capacity: int) -> int:
        """Slots to allocate for a layer (by number, from 0) in a cache for contexts of `capacity` tokens."""
        return self.ring_size + 2 * self.margin if self.local[layer] and capacity > self.ring_size else capacity

    def is_ring(self, layer: int, slots: int) -> bool:
        """Whether the cache of a layer (by number, from 0) is a ring when it has this many slots."""
        return self.local[layer] and slots > self.ring_size

    def capacity_of(self, cache: Cache) -> int:
        """The most tokens that each row of a cache can hold; `sys.maxsize` if every layer's cache is a ring."""
        slots = {i: layer.keys.shape[self.slot_axis] for i, layer in enumerate(cache) if isinstance(layer, KVCache)}
        return min((n for layer, n in slots.items() if not self.is_ring(layer, n)), default=sys.maxsize)

    def window_overwritten(self, written: int, length: int) -> bool:
        """Whether a row can no longer continue from its first `length` tokens, because a ring has lost some of them.

        A local layer needs the last `window` of these tokens. False if no layer has a ring.

        Args:
          written: the highest position, plus one, that was ever written in the row's cache, padding included.
          length: tokens that the row is to continue from; after a rewind fewer than were written.
        """
        return bool(self.ring_size) and written > self.ring_size and written - length > self.ring_size - self.window


def empty_cache(config: DecoderConfig, rows: int, capacity: int, layout: CacheLayout | None = None) -> Cache:
    """A cache of zeros for `rows` contexts of up to `capacity` tokens.

    Without a layout no layer has a ring. Rows are the first axis because a write is a scatter over rows, and XLA
    transposes whole caches where they are not.
    """
    slot_axis = cache_backend(config.attention).time_axis

    def of_layer(layer: int, kind: LayerKind) -> LayerCache:
        if kind.shares_kv:
            return NoCache()
        if kind.mixer == "delta_net":
            return state_cache.empty_states(config, rows)
        shape = [rows, kind.kv_heads, kind.head_dim]
        shape.insert(slot_axis, capacity if layout is None else layout.slot_count(layer, capacity))
        return KVCache(jnp.zeros(shape, config.kv_dtype), jnp.zeros(shape, config.kv_dtype))

    return tuple(of_layer(layer, kind) for layer, kind in enumerate(layer_kinds(config)))


def empty_results(config: DecoderConfig, rows: int, slots: int) -> Cache:
    """What a call returns for `rows` rows, in zeros: `slots` slots of keys and values, and one state of each row."""
    cache = empty_cache(config, rows, slots)
    return tuple(empty_state(config, rows) if isinstance(layer, DeltaState) else layer for layer in cache)


def grow(slot_axis: int, array: jax.Array, slots: int, front: int) -> jax.Array:
    """One array of a cache, padded with zeros to `slots` slots; `front` of the new slots precede the old ones."""
    added_slots = slots - array.shape[slot_axis]
    return jnp.pad(array, [(front, added_slots - front) if i == slot_axis else (0, 0) for i in range(array.ndim)])


def kv_segments(
    layout: CacheLayout,
    cache: Cache,
    rows: Int[Array, "shards few"] | None,
    start: Int[Array, " batch"],
    in_place: bool,
    places: Int[Array, "batch 2"] | None = None,
) -> tuple[KVSegment | DeltaState | None, ...]:
    """For each layer, what tokens from position `start` on see of those before: keys and values, or a state, or None.

    Args:
      layout: of the cache.
      cache: of all rows.
      rows: numbers of the rows in the batch, counted within their shard; None for all rows in order.
      start: for each row in the batch, the number of tokens that its cache holds.
      in_place: attention finds `rows` in the cache itself (`CacheBackend.selects_rows`); else they are gathered here.
      places: see `state_cache.read_states`; None without recurrent layers.
    """

    def segment_of(layer: int, layer_cache: LayerCache) -> KVSegment | DeltaState | None:
        if isinstance(layer_cache, NoCache):
            return None
        if isinstance(layer_cache, DeltaState):
            return state_cache.read_states(take_rows(layer_cache, rows), start, places)
        slots = layer_cache.keys.shape[layout.slot_axis]
        positions = jnp.broadcast_to(jnp.arange(slots, dtype=jnp.int32), (start.shape[0], slots))
        if not layout.is_ring(layer, slots):
            # Slot i holds the token at position i.
            valid = positions < start[:, None]
        else:
            # Ring index r holds the last cached token whose position is r modulo the ring's size. It does not exist
            # (a negative position) before the first round is complete, and slots in the margins hold no token.
            ring_index, last = positions - layout.margin, start[:, None] - 1
            positions = last - (last - ring_index) % layout.ring_size
            valid = (ring_index >= 0) & (ring_index < layout.ring_size) & (positions >= 0)
        if in_place:
            return KVSegment(layer_cache, positions, valid, rows=rows)
        return KVSegment(take_rows(layer_cache, rows), positions, valid)

    return tuple(segment_of(layer, layer_cache) for layer, layer_cache in enumerate(cache))


def take_rows(cache: CacheOrLayer, rows: Int[Array, "shards few"] | None) -> CacheOrLayer:
    """The caches of the rows with these numbers, gathered shard by shard; the cache unchanged if `rows` is None.

    A number past the shard's rows belongs to no row. Its place holds a copy of the shard's last row, which the caller
    must not use.
    """
    if rows is None:
        return cache

    def take(array: jax.Array) -> jax.Array:
        # Rows are gathered within their shard, so that no keys or values move between devices.
        by_shard = array.reshape(rows.shape[0], -1, *array.shape[1:])
        gathered = jax.vmap(partial(jnp.take, axis=0, mode="clip"))(by_shard, rows)
        return gathered.reshape(-1, *array.shape[1:])

    return jax.tree.map(take, cache)


def copy_prefix(
    layout: CacheLayout,
    cache: Cache,
    source: Int[Array, "shards few"],
    target: Int[Array, "shards few"],
    slots: Int[Array, ""],
    places: Int[Array, "batch 2"] | None = None,
) -> Cache:
    """Copies the first slots of some rows to others of their shard; a target past the shard's rows copies nothing.

    Args:
      layout: of the cache; static.
      cache: of all rows. A jitted caller should donate it, so that it is changed in place.
      source, target: row numbers within their shard.
      slots: how many slots to copy. It is rounded up to a multiple of `COPY_WINDOW`, so that one executable serves all
        lengths. A ring that has fewer slots is copied completely.
      places: for each target, which of the source's states is copied, and to which of its own; None without recurrent
        layers.

    Returns:
      The changed cache.
    """
    slot_axis = layout.slot_axis
    slot_counts = [layer.keys.shape[slot_axis] for layer in cache if isinstance(layer, KVCache)]
    window_size = min([COPY_WINDOW, *slot_counts])
    all_rows_wanted = jnp.ones(target.size, bool)

    def copy_window(i: jax.Array, cache: Cache) -> Cache:
        def of_layer(layer_cache: LayerCache) -> LayerCache:
            if not isinstance(layer_cache, KVCache):
                return layer_cache
            # The last window of a cache begins where it still fits, and copies some slots a second time.
            first_slot = jnp.minimum(i * window_size, layer_cache.keys.shape[slot_axis] - window_size)
            window = jax.tree.map(
                partial(jax.lax.dynamic_slice_in_dim, start_index=first_slot, slice_size=window_size, axis=slot_axis),
                layer_cache,
            )
            starts = jnp.full(target.size, first_slot, jnp.int32)
            return _put_windows(slot_axis, layer_cache, take_rows(window, source), target, starts, all_rows_wanted)

        return tuple(map(of_layer, cache))

    # The tokens of a ring lie behind its margin, so the margin's slots are counted on top.
    copied: Cache = jax.lax.fori_loop(0, (slots + layout.margin + window_size - 1) // window_size, copy_window, cache)
    # A state is copied as a whole.
    return tuple(
        state_cache.copy_states(layer, take_rows(layer, source), target, places)
        if isinstance(layer, DeltaState)
        else layer
        for layer in copied
    )


def write(
    shards: int,
    layout: CacheLayout,
    cache: Cache,
    new: Cache,
    rows: Int[Array, "shards few"] | None,
    start: Int[Array, " batch"],
    count: Int[Array, " batch"],
    places: Int[Array, "batch 2"] | None = None,
) -> Cache:
    """Writes the keys and values of new tokens to rows' caches: a window of slots from each row's `start` on.

    Recurrent states are written as a whole.

    All slots of the window are written, so that their number is static. Those past the row's new tokens hold no token:
    attention masks them, and the next write overwrites them.

    Args:
      shards: static; number of shards that the rows of the cache are split into.
      layout: of the cache; static.
      cache: of all rows, with room for the window after each row's start. A jitted caller should donate it.
      new: keys and values of the window, from `kernels.extend` or `kernels.decode`.
      rows: row numbers within their shard; None for all in order.
      start: position in the row's context of the window's first token.
      count: new tokens of a row. Nothing is written for a count of 0, nor for a row number past the shard's rows.
      places: see `state_cache.write_states`; None without recurrent layers.

    Returns:
      The changed cache.
    """
    slot_axis = layout.slot_axis
    if rows is None:
        rows_per_shard = jax.tree.leaves(cache)[0].shape[0] // shards
        rows = jnp.broadcast_to(jnp.arange(rows_per_shard, dtype=jnp.int32), (shards, rows_per_shard))

    def of_layer(layer: int, old: LayerCache, window: LayerCache) -> LayerCache:
        if isinstance(old, NoCache) or isinstance(window, NoCache):
            return old
        if isinstance(old, DeltaState):
            assert isinstance(window, DeltaState)
            return state_cache.write_states(old, window, rows, count > 0, places)
        assert isinstance(window, KVCache)
        if not layout.is_ring(layer, old.keys.shape[slot_axis]):
            return _put_windows(slot_axis, old, window, rows, start, count > 0)
        ring_slot = start % layout.ring_size
        overruns = ring_slot + window.keys.shape[slot_axis] > layout.ring_size
        written = _put_windows(slot_axis, old, window, rows, layout.margin + ring_slot, count > 0)
        # The part that ran over the ring's end belongs at its start. The window is written again, one ring's size
        # earlier: that part comes to lie at the start, and the rest falls into the front margin.
        wrapped_start = layout.margin + ring_slot - layout.ring_size
        return _put_windows(slot_axis, written, window, rows, wrapped_start, (count > 0) & overruns)

    return tuple(of_layer(layer, old, window) for layer, (old, window) in enumerate(zip(cache, new, strict=True)))


def _put_windows(
    slot_axis: int, layer_cache: KVCache, windows: KVCache, rows: jax.Array, start: jax.Array, wanted: jax.Array
) -> KVCache:
    """A layer's cache with a window put into each of `rows` [shards, few], from slot `start` on, where `wanted`."""
    shards = rows.shape[0]
    rows_per_shard = layer_cache.keys.shape[0] // shards
    # The scatter drops a window whose row does not exist, so an unwanted window is sent past the last row.
    row_or_past_end = jnp.where(wanted.reshape(rows.shape), rows, rows_per_shard)
    places = jnp.stack([row_or_past_end, start.reshape(rows.shape)], axis=-1)
    dimensions = jax.lax.ScatterDimensionNumbers((1, 2, 3), (0,), (0, slot_axis))

    def scatter(array: jax.Array, updates: jax.Array, places: jax.Array) -> jax.Array:
        drop_mode = jax.lax.GatherScatterMode.FILL_OR_DROP
        return jax.lax.scatter(array, places, updates, dimensions, unique_indices=True, mode=drop_mode)

    def put(array: jax.Array, updates: jax.Array) -> jax.Array:
        updates = updates.astype(array.dtype)
        if shards == 1:
            return scatter(array, updates, places[0])
        # With the shards as an axis of its own, the partitioner sees that no window crosses to another device.
        by_shard = array.reshape(shards, -1, *array.shape[1:]), updates.reshape(shards, -1, *updates.shape[1:])
        return jax.vmap(scatter)(by_shard[0], by_shard[1], places).reshape(array.shape)

    return jax.tree.map(put, layer_cache, windows)
