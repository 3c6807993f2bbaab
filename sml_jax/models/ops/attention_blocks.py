"""Self-attention in plain JAX, block by block, so that the scores of a whole row are never in memory at once.

The algorithm is FlashAttention-2 (arXiv 2307.08691). Each block of queries visits the blocks of keys that it can see.
The forward pass keeps the log-sum-exp of each query's scores, from which the backward pass computes the attention
weights again.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# A score that the softmax turns into 0. It is finite, so a query that sees nothing of a block gives no NaN: what that
# block adds is multiplied by 0 as soon as a real score comes.
_MASKED_SCORE = -1e30
# Together these keep the arrays of one step within a CPU core's cache.
_LARGEST_BLOCK = 128
_SCORES_AT_ONCE = 2**18
# A sum over queries that gives [..., dim, time]: on a CPU XLA computes it twice as fast as [..., time, dim].
_SUM_OVER_QUERIES = "bhgst,bhgsd->bhdt"


class _Rule(NamedTuple):
    """The static arguments.

    Attributes:
      block: tokens of a block of queries or keys; it divides the padded length.
      window: tokens that a query sees, its own included; 0 for all up to its own.
      scale: factor of the scores.
      softcap: tanh cap of the scores, None for none.
    """

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
      query, key, value: queries and keys are rotated; `heads` is a multiple of `kv_heads`.
      window: tokens that a query sees, its own included; 0 for all up to its own.
      scale: factor of the scores.
      softcap: tanh cap of the scores, None for none.
      split: whether XLA splits rows or heads over a mesh. If so, all rows and heads are computed at once. If not, a few
        at a time, which is faster on a CPU and takes less memory.

    Returns:
      The attended values of each query head, in the query's dtype. Results at padding are finite and meaningless.
    """
    rows, time, heads, dim = query.shape
    kv_heads, group = key.shape[2], heads // key.shape[2]
    block = -(-time // -(-time // _LARGEST_BLOCK))
    rule = _Rule(block, window, scale, softcap)
    # Pad time to whole blocks. The added keys come after every real query, which therefore never sees them.
    padding = ((0, 0), (0, -time % block), (0, 0), (0, 0))
    q, k, v = (jnp.pad(x, padding) for x in (query, key, value))
    # To [rows, kv_heads, group, time, dim]: each kv head serves a group of query heads.
    q = q.reshape(*q.shape[:2], kv_heads, group, dim).transpose(0, 2, 3, 1, 4)
    k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
    if split:
        out = _attend(q, k, v, rule)
    else:
        # As many pairs of row and kv head at a time as their scores fit the cache.
        max_pairs = max(_SCORES_AT_ONCE // (group * block**2), 1)
        pairs_at_once = max(n for n in range(1, min(rows * kv_heads, max_pairs) + 1) if rows * kv_heads % n == 0)
        pair_sets = tuple(x.reshape(-1, 1, pairs_at_once, *x.shape[2:]) for x in (q, k, v))
        out = jax.lax.map(lambda part: _attend(*part, rule), pair_sets).reshape(q.shape)
    return out.transpose(0, 3, 1, 2, 4)[:, :time].reshape(query.shape)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attend(query: jax.Array, key: jax.Array, value: jax.Array, rule: _Rule) -> jax.Array:
    """Attention of queries [batch, kv_heads, group, time, dim] to keys and values [batch, kv_heads, time, dim]."""
    return _forward(query, key, value, rule)[0]


def _forward(
    query: jax.Array, key: jax.Array, value: jax.Array, rule: _Rule
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The result, and what the backward pass needs: the arguments, the result, and each query's log-sum-exp."""

    def step(state: tuple[jax.Array, ...], pair: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        """Adds one block of keys to one block of queries; sums are relative to the highest score so far."""
        q_block, k_block = pair
        old_out, old_max, old_sum = (_block(x, q_block, rule) for x in state)
        scores, _ = _scores(_block(query, q_block, rule), _block(key, k_block, rule), pair, rule)
        new_max = jnp.maximum(old_max, scores.max(axis=-1, keepdims=True))
        # A higher maximum shrinks what was added up before.
        weights, rescale = jnp.exp(scores - new_max), jnp.exp(old_max - new_max)
        values = _block(value, k_block, rule)
        out = old_out * rescale + _product("bhgst,bhtd->bhgsd", weights.astype(value.dtype), values)
        new_state = out, new_max, old_sum * rescale + weights.sum(axis=-1, keepdims=True)
        return tuple(_with_block(x, y, q_block, rule) for x, y in zip(state, new_state, strict=True)), None

    zeros = jnp.zeros(query.shape, jnp.float32)
    initial_state: tuple[jax.Array, ...] = (zeros, zeros[..., :1] + _MASKED_SCORE, zeros[..., :1])
    (out, highest_score, weight_sum), _ = jax.lax.scan(
        step, initial_state, jnp.asarray(_visible_pairs(query.shape[3], rule))
    )
    result = (out / weight_sum).astype(query.dtype)
    return result, (query, key, value, result, highest_score + jnp.log(weight_sum))


def _backward(rule: _Rule, residuals: tuple[jax.Array, ...], d_out: jax.Array) -> tuple[jax.Array, ...]:
    query, key, value, out, log_sum_exp = residuals
    # The gradient of a softmax subtracts, for each query, the weighted mean of the gradients of its weights. That mean
    # equals the product of the output with its gradient.
    mean = (out.astype(jnp.float32) * d_out.astype(jnp.float32)).sum(axis=-1, keepdims=True)

    def step(state: tuple[jax.Array, ...], pair: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        """Adds the gradients that flow through one block of queries and one block of keys."""
        d_query, d_key, d_value = state
        q_block, k_block = pair
        q, d_o, block_mean, block_log_sum_exp = (_block(x, q_block, rule) for x in (query, d_out, mean, log_sum_exp))
        k, v = (_block(x, k_block, rule) for x in (key, value))
        # The forward pass's weights once more, then through softmax, soft cap and scale.
        scores, cap_slope = _scores(q, k, pair, rule)
        weights = jnp.exp(scores - block_log_sum_exp)
        d_scores = weights * (_product("bhgsd,bhtd->bhgst", d_o, v) - block_mean) * (rule.scale * cap_slope)
        d_scores, weights = d_scores.astype(query.dtype), weights.astype(query.dtype)
        additions = (
            (d_query, _product("bhgst,bhtd->bhgsd", d_scores, k), q_block),
            (d_key, _product(_SUM_OVER_QUERIES, d_scores, q).swapaxes(-1, -2), k_block),
            (d_value, _product(_SUM_OVER_QUERIES, weights, d_o).swapaxes(-1, -2), k_block),
        )
        return tuple(_with_block(x, _block(x, i, rule) + addition, i, rule) for x, addition, i in additions), None

    zero_gradients = tuple(jnp.zeros(x.shape, jnp.float32) for x in (query, key, value))
    gradient_sums, _ = jax.lax.scan(step, zero_gradients, jnp.asarray(_visible_pairs(query.shape[3], rule)))
    return tuple(gradient_sum.astype(x.dtype) for gradient_sum, x in zip(gradient_sums, residuals, strict=False))


_attend.defvjp(_forward, _backward)


def _visible_pairs(time: int, rule: _Rule) -> np.ndarray:
    """Pairs of a block of queries and a block of keys that it sees some of, in order of time: int32 [pairs, 2]."""
    blocks = range(time // rule.block)
    first_key_block = [max(q * rule.block - rule.window + 1, 0) // rule.block if rule.window else 0 for q in blocks]
    return np.array([(q, k) for q in blocks for k in range(first_key_block[q], q + 1)], np.int32)


def _block(x: jax.Array, index: jax.Array, rule: _Rule) -> jax.Array:
    """Block `index` of time of an array [..., time, dim]."""
    return jax.lax.dynamic_slice_in_dim(x, index * rule.block, rule.block, axis=x.ndim - 2)


def _with_block(x: jax.Array, block: jax.Array, index: jax.Array, rule: _Rule) -> jax.Array:
    """The array [..., time, dim] with its block `index` of time replaced."""
    return jax.lax.dynamic_update_slice_in_dim(x, block, index * rule.block, axis=x.ndim - 2)


def _scores(query: jax.Array, key: jax.Array, pair: jax.Array, rule: _Rule) -> tuple[jax.Array, jax.Array | float]:
    """Masked float32 scores of a block of queries with a block of keys, and the derivative of the soft cap there."""
    scores = _product("bhgsd,bhtd->bhgst", query, key) * rule.scale
    cap_slope: jax.Array | float = 1.0
    if rule.softcap is not None:
        capped = jnp.tanh(scores / rule.softcap)
        scores, cap_slope = capped * rule.softcap, 1 - jnp.square(capped)
    offsets = jnp.arange(rule.block)
    distance = (pair[0] - pair[1]) * rule.block + offsets[:, None] - offsets
    visible = (distance >= 0) & (distance < rule.window) if rule.window else distance >= 0
    return jnp.where(visible, scores, _MASKED_SCORE), cap_slope


def _product(spec: str, left: jax.Array, right: jax.Array) -> jax.Array:
    """`jnp.einsum` that adds up in float32."""
    return jnp.einsum(spec, left, right, preferred_element_type=jnp.float32)
