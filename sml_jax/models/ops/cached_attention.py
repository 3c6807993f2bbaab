"""Attention of new tokens over cached ones and over themselves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Bool, Float, Int

from sml_jax.models.ops.attention import is_split, platform_of

# A score that the softmax turns into 0. It is finite, so a query that sees nothing does not become NaN.
_MASKED_SCORE = -1e30


class KVCache(NamedTuple):
    """Keys (already rotated) and values of one layer.

    Both are [rows, kv_heads, time, head_dim], or [rows, time, kv_heads, head_dim] where `CacheBackend.time_axis` is 1.
    """

    keys: jax.Array
    values: jax.Array


class NoCache(NamedTuple):
    """The cache of a layer that has no keys and values of its own, see `LayerKind.shares_kv`: no array at all."""


class KVSegment(NamedTuple):
    """Slots of keys and values of one layer that new tokens attend to.

    Attributes:
      kv: the keys and values.
      positions: position of each slot's token in its row's context.
      valid: which slots hold a token. This is known by length, never by token id.
      slot: None for a segment of earlier tokens. For a decode loop's buffer, the first slot to which the layer writes
        the new tokens: `positions` and `valid` already include them, and the layer returns the complete buffer as its
        new keys and values. So the loop has one buffer that is never copied.
      rows: numbers of the rows of `kv` that belong to the batch; None if these are all rows in order. See
        `CacheBackend.selects_rows`.
    """

    kv: Any
    positions: Int[Array, "batch time"]
    valid: Bool[Array, "batch time"]
    slot: Any = None
    rows: Any = None


def write_slots(kv: KVCache, new: KVCache, slot: jax.Array, axis: int) -> KVCache:
    """The keys and values `kv` with `new` written into them, from slot `slot` on along the axis of slots, `axis`."""
    return jax.tree.map(partial(jax.lax.dynamic_update_slice_in_dim, start_index=slot, axis=axis), kv, new)


def attention_mask(
    query_positions: Int[Array, "batch query"],
    key_positions: Int[Array, "batch key"],
    key_valid: Bool[Array, "batch key"],
    is_local: Bool[Array, ""],
    window: int,
) -> Bool[Array, "batch query key"]:
    """True where a query sees a key: valid keys at or before its position; in a local layer only within the window.

    Args:
      query_positions, key_positions: positions in their row's context.
      key_valid: which keys are those of a token.
      is_local: whether the layer is local.
      window: positions that a query of a local layer sees, its own included; 0 for a model without local layers.
    """
    distance = query_positions[:, :, None] - key_positions[:, None, :]
    # Without local layers no comparison with the window is compiled.
    in_window = jnp.logical_or(~is_local, distance < window) if window else True
    return key_valid[:, None, :] & (distance >= 0) & in_window


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
    """Grouped-query attention with one softmax over several segments, which are never joined into one array.

    Args:
      query: rotated queries.
      segments: keys and values [batch, kv_heads, slots, dim]; each kv head serves heads / kv_heads queries.
      positions: position of each query in its row's context.
      is_local: whether the layer sees only the last `window` tokens.
      window: tokens that a local layer sees, the query's own included; 0 for a model without local layers.
      scale: factor of the scores.
      softcap: scores become `softcap * tanh(scores / softcap)` (Gemma 2); None for none.

    Returns:
      The attended values of each query head, in the query's dtype; the softmax is float32.
    """
    batch, time, heads, dim = query.shape
    kv_heads = segments[0].kv.keys.shape[1]
    # [batch, kv_heads, queries of a kv head * time, dim]
    grouped = query.reshape(batch, time, kv_heads, -1, dim).transpose(0, 2, 3, 1, 4)
    mesh = jax.typeof(query).sharding.mesh
    on_gpu = platform_of(mesh) == "gpu"
    # The masked scores of each segment.
    scores = []
    for segment in segments:
        keys = segment.kv.keys.astype(query.dtype)
        if on_gpu:
            grouped, keys = _keep_gpu_from_copying(grouped, keys, is_split(mesh))
        score = jnp.einsum("bhgsd,bhtd->bhgst", grouped, keys, preferred_element_type=jnp.float32) * scale
        if softcap is not None:
            score = jnp.tanh(score / softcap) * softcap
        mask = attention_mask(positions, segment.positions, segment.valid, is_local, window)
        scores.append(jnp.where(mask[:, None, None], score, _MASKED_SCORE))
    # One softmax over all of them, relative to the highest score of any segment.
    highest_score = reduce(jnp.maximum, [jnp.max(score, axis=-1, keepdims=True) for score in scores])
    weight_sum, weighted_values = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)
    for score, segment in zip(scores, segments, strict=True):
        weight = jnp.exp(score - highest_score)
        weight_sum = weight_sum + jnp.sum(weight, axis=-1, keepdims=True)
        values = segment.kv.values.astype(query.dtype)
        weight = weight.astype(query.dtype)
        weighted_values = weighted_values + jnp.einsum(
            "bhgst,bhtd->bhgsd", weight, values, preferred_element_type=jnp.float32
        )
    # Dividing after the sum over values takes one division per output instead of one per score.
    weighted_values = (weighted_values / weight_sum).astype(query.dtype)
    return weighted_values.transpose(0, 3, 1, 2, 4).reshape(batch, time, heads, dim)


def _keep_gpu_from_copying(grouped: jax.Array, keys: jax.Array, split: bool) -> tuple[jax.Array, jax.Array]:
    """The queries and a segment's keys, marked so that XLA for GPUs (jaxlib 0.10.2) copies no cache.

    Without the barrier XLA sees the same queries in every segment's product, merges these products into one, and
    copies all caches side by side for it at every step. Without the layout constraint it keeps a transposed copy of a
    loop's cache in the layout that the product likes best. Where the compiler splits the arrays over a mesh no layout
    is set, since XLA would gather the array to apply it.
    """
    grouped = jax.lax.optimization_barrier(grouped)
    return grouped, keys if split else with_layout_constraint(keys, Layout(tuple(range(keys.ndim))))
