"""Self-attention in plain JAX, block by block: the scores of a whole row are never held.

The arithmetic is that of FlashAttention-2 (arXiv 2307.08691): blocks of queries go over the blocks of keys that they
can see and no others; the forward pass keeps the log-sum-exp of each query's scores, from which the backward pass makes
the weights again.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Finite, so that a query that sees nothing of a block gives no NaN; what it adds shrinks to 0 at the next.
_HIDDEN = -1e30
# Both keep a step's arrays within a core's cache.
_LARGEST_BLOCK = 128
_SCORES_AT_ONCE = 2**18
# The sum over queries, with time last: XLA makes that product twice as fast on a CPU as the other way round.
_TO_KEYS = "bhgst,bhgsd->bhdt"


class _Rule(NamedTuple):
    """What is static: length of a block, tokens that a query sees (0 for all before it), factor and cap of scores."""

    block: int
    window: int
    scale: float
    softcap: float | None


def blocked_attention(
    query: Float[Array, "batch time heads dim"],
    key: Float[Array, "batch time kv_heads dim"],
    value: Float[Array, "batch time kv_heads dim"],
    *,
    window: int,
    scale: float,
    softcap: float | None = None,
    split: bool = False,
) -> Float[Array, "batch time heads dim"]:
    """Causal grouped-query attention of right-padded rows, any dtype, any device.

    Args:
      query, key, value: keys rotated; `heads` is a multiple of `kv_heads`.
      window: tokens that a query sees, itself included; 0 for all before it.
      scale: factor of the scores.
      softcap: tanh cap of the scores, None for none.
      split: the compiler splits rows or heads over a mesh. All are then computed at once; otherwise a few of them,
        one such set after the other, which is faster on a CPU and takes less memory.

    Returns:
      In the query's dtype. What lies past a row's end is finite and means nothing.
    """
    rows, time, heads, dim = query.shape
    kv_heads, group = key.shape[2], heads // key.shape[2]
    block = -(-time // -(-time // _LARGEST_BLOCK))
    rule = _Rule(block, window, scale, softcap)
    # [rows, kv_heads, queries of the group, time, dim]: each kv head serves a group of queries. What is added at the
    # end is ahead of every live query.
    end = ((0, 0), (0, -time % block), (0, 0), (0, 0))
    q, k, v = (jnp.pad(x, end) for x in (query, key, value))
    q = q.reshape(*q.shape[:2], kv_heads, group, dim).transpose(0, 2, 3, 1, 4)
    k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
    if split:
        out = _attend(q, k, v, rule)
    else:
        most = max(_SCORES_AT_ONCE // (group * block**2), 1)
        at_once = max(n for n in range(1, min(rows * kv_heads, most) + 1) if rows * kv_heads % n == 0)
        parts = tuple(x.reshape(-1, 1, at_once, *x.shape[2:]) for x in (q, k, v))
        out = jax.lax.map(lambda part: _attend(*part, rule), parts).reshape(q.shape)
    return out.transpose(0, 3, 1, 2, 4)[:, :time].reshape(query.shape)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attend(query: jax.Array, key: jax.Array, value: jax.Array, rule: _Rule) -> jax.Array:
    """Queries [batch, kv_heads, group, time, dim] over keys and values [batch, kv_heads, time, dim]."""
    return _forward(query, key, value, rule)[0]


def _forward(
    query: jax.Array, key: jax.Array, value: jax.Array, rule: _Rule
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    def step(state: tuple[jax.Array, ...], at: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        """Adds what one block of queries sees in one block of keys; sums are relative to the highest score so far."""
        old_out, old_top, old_sum = (_part(x, at[0], rule) for x in state)
        scores, _ = _scores(_part(query, at[0], rule), _part(key, at[1], rule), at, rule)
        top = jnp.maximum(old_top, scores.max(axis=-1, keepdims=True))
        weights, shrink = jnp.exp(scores - top), jnp.exp(old_top - top)
        out = old_out * shrink + _product("bhgst,bhtd->bhgsd", weights.astype(value.dtype), _part(value, at[1], rule))
        new = out, top, old_sum * shrink + weights.sum(axis=-1, keepdims=True)
        return tuple(_put(x, y, at[0], rule) for x, y in zip(state, new, strict=True)), None

    zeros = jnp.zeros(query.shape, jnp.float32)
    start: tuple[jax.Array, ...] = (zeros, zeros[..., :1] + _HIDDEN, zeros[..., :1])
    (out, top, total), _ = jax.lax.scan(step, start, jnp.asarray(_pairs(query.shape[3], rule)))
    result = (out / total).astype(query.dtype)
    return result, (query, key, value, result, top + jnp.log(total))


def _backward(rule: _Rule, kept: tuple[jax.Array, ...], d_out: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    query, key, value, out, log_sum = kept
    # What the softmax's own gradient takes off: for each query, the mean of its weights' gradients.
    mean = (out.astype(jnp.float32) * d_out.astype(jnp.float32)).sum(axis=-1, keepdims=True)

    def step(state: tuple[jax.Array, ...], at: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        d_query, d_key, d_value = state
        q, d, block_mean, block_sum = (_part(x, at[0], rule) for x in (query, d_out, mean, log_sum))
        k, v = (_part(x, at[1], rule) for x in (key, value))
        scores, slope = _scores(q, k, at, rule)
        weights = jnp.exp(scores - block_sum)
        d_scores = weights * (_product("bhgsd,bhtd->bhgst", d, v) - block_mean) * (rule.scale * slope)
        d_scores, weights = d_scores.astype(query.dtype), weights.astype(query.dtype)
        parts = (
            (d_query, _product("bhgst,bhtd->bhgsd", d_scores, k), at[0]),
            (d_key, _product(_TO_KEYS, d_scores, q).swapaxes(-1, -2), at[1]),
            (d_value, _product(_TO_KEYS, weights, d).swapaxes(-1, -2), at[1]),
        )
        return tuple(_put(x, _part(x, index, rule) + more, index, rule) for x, more, index in parts), None

    start = tuple(jnp.zeros(x.shape, jnp.float32) for x in (query, key, value))
    sums, _ = jax.lax.scan(step, start, jnp.asarray(_pairs(query.shape[3], rule)))
    d_query, d_key, d_value = (total.astype(x.dtype) for total, x in zip(sums, kept, strict=False))
    return d_query, d_key, d_value


_attend.defvjp(_forward, _backward)


def _pairs(time: int, rule: _Rule) -> np.ndarray:
    """Blocks of queries and of keys that they see any of, int32 [pairs, 2], a row's start first."""
    blocks = range(time // rule.block)
    first = [max(q * rule.block - rule.window + 1, 0) // rule.block if rule.window else 0 for q in blocks]
    return np.array([(q, k) for q in blocks for k in range(first[q], q + 1)], np.int32)


def _part(x: jax.Array, index: jax.Array, rule: _Rule) -> jax.Array:
    """A block of time of [..., time, dim]."""
    return jax.lax.dynamic_slice_in_dim(x, index * rule.block, rule.block, axis=x.ndim - 2)


def _put(x: jax.Array, part: jax.Array, index: jax.Array, rule: _Rule) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, index * rule.block, axis=x.ndim - 2)


def _scores(query: jax.Array, key: jax.Array, at: jax.Array, rule: _Rule) -> tuple[jax.Array, jax.Array | float]:
    """Masked float32 scores of a block of queries with a block of keys, and the soft cap's slope there."""
    scores = _product("bhgsd,bhtd->bhgst", query, key) * rule.scale
    slope: jax.Array | float = 1.0
    if rule.softcap is not None:
        capped = jnp.tanh(scores / rule.softcap)
        scores, slope = capped * rule.softcap, 1 - jnp.square(capped)
    near = jnp.arange(rule.block)
    ahead = (at[0] - at[1]) * rule.block + near[:, None] - near
    seen = (ahead >= 0) & (ahead < rule.window) if rule.window else ahead >= 0
    return jnp.where(seen, scores, _HIDDEN), slope


def _product(spec: str, left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.einsum(spec, left, right, preferred_element_type=jnp.float32)
