"""Attention of new tokens over segments of kept ones and over themselves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Bool, Float, Int

from sml_jax.models.ops.attention import is_split, platform_of

_NEVER = -1e30  # a score that no softmax counts, and finite, so that a row that sees nothing is not NaN


class KVCache(NamedTuple):
    """Keys (rotated) and values: [batch, kv_heads, time, head_dim], with a leading [layers] where stacked.

    [batch, time, kv_heads, head_dim] where `CacheBackend.time_axis` says so.
    """

    keys: jax.Array
    values: jax.Array


class KVSegment(NamedTuple):
    """Tokens that new ones may look back at, for every layer.

    Attributes:
      kv: keys and values: of one layer, or of all, stacked [layers, batch, kv_heads, time, head_dim] or one by one.
      positions: position of each slot in its row's context.
      valid: which slots hold a token; told by length, never by token id.
      slot: where the new tokens are put into this segment, which says that they are there already; the new keys and
        values are then the whole segment's. For a loop, which can so keep one buffer and never copy it.
      rows: which of the rows of `kv` the batch is, None for all in order; for the native way alone.
    """

    kv: Any
    positions: Int[Array, "batch time"]
    valid: Bool[Array, "batch time"]
    slot: Any = None
    rows: Any = None


def put(kv: KVCache, new: KVCache, slot: jax.Array, axis: int) -> KVCache:
    """Keys and values with new ones written from `slot` on; `axis` counts slots."""
    return jax.tree.map(partial(jax.lax.dynamic_update_slice_in_dim, start_index=slot, axis=axis), kv, new)


def visible(
    query_positions: Int[Array, "batch query"],
    key_positions: Int[Array, "batch key"],
    key_valid: Bool[Array, "batch key"],
    is_local: Bool[Array, ""],
    window: int,
) -> Bool[Array, "batch query key"]:
    """The attention mask: a query sees valid keys at or before it; in a local layer only the last `window`."""
    ahead = query_positions[:, :, None] - key_positions[:, None, :]
    near = jnp.logical_or(~is_local, ahead < window) if window else True
    return key_valid[:, None, :] & (ahead >= 0) & near


def cached_attention(
    query: Float[Array, "batch time heads dim"],
    segments: Sequence[KVSegment],
    positions: Int[Array, "batch time"],
    is_local: Bool[Array, ""],
    *,
    window: int,
    scale: float,
    softcap: float | None,
) -> Float[Array, "batch time heads dim"]:
    """One softmax over all segments, which are never joined: what is kept is read where it lies.

    Args:
      query: rotated. segments: keys and values [batch, kv_heads, size, dim] with the position of each slot and whether
        it holds a token; each kv head serves heads / kv_heads queries.
      positions: of the queries.
      is_local, window: whether, and how far back, the layer looks only a window back.
      scale: of the scores. softcap: tanh cap of them (Gemma 2), None for none.
    """
    batch, time, heads, dim = query.shape
    kv_heads = segments[0].kv.keys.shape[1]
    # [batch, kv_heads, queries of the group and time, dim]
    grouped = query.reshape(batch, time, kv_heads, -1, dim).transpose(0, 2, 3, 1, 4)
    mesh = jax.typeof(query).sharding.mesh
    on_gpu = platform_of(mesh) == "gpu"
    scores = []
    for segment in segments:
        keys = segment.kv.keys.astype(query.dtype)
        if on_gpu:
            grouped, keys = _where_they_lie(grouped, keys, is_split(mesh))
        score = jnp.einsum("bhgsd,bhtd->bhgst", grouped, keys, preferred_element_type=jnp.float32) * scale
        if softcap is not None:
            score = jnp.tanh(score / softcap) * softcap
        mask = visible(positions, segment.positions, segment.valid, is_local, window)
        scores.append(jnp.where(mask[:, None, None], score, _NEVER))
    highest = reduce(jnp.maximum, [jnp.max(score, axis=-1, keepdims=True) for score in scores])
    total, out = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)
    for score, segment in zip(scores, segments, strict=True):
        weight = jnp.exp(score - highest)
        total = total + jnp.sum(weight, axis=-1, keepdims=True)
        values = segment.kv.values.astype(query.dtype)
        weight = weight.astype(query.dtype)
        out = out + jnp.einsum("bhgst,bhtd->bhgsd", weight, values, preferred_element_type=jnp.float32)
    # Divided after the sum over values: as many divisions as there are outputs, not as there are scores.
    out = (out / total).astype(query.dtype)
    return out.transpose(0, 3, 1, 2, 4).reshape(batch, time, heads, dim)


def _where_they_lie(grouped: jax.Array, keys: jax.Array, split: bool) -> tuple[jax.Array, jax.Array]:
    """Queries and a segment's keys such that XLA for GPUs (of jaxlib 0.10.2) reads the keys and copies none.

    It would join all segments to one product, whole caches copied for that at every step, were the queries seen to be
    the same; and give a loop's keys the layout that a product likes best, in a transposed copy of the whole cache.
    Where the compiler splits the arrays the layout is left to it: to constrain one, it would gather it.
    """
    grouped = jax.lax.optimization_barrier(grouped)
    return grouped, keys if split else with_layout_constraint(keys, Layout(tuple(range(keys.ndim))))
