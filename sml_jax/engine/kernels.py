"""The kernels of every dialogue: `extend` runs given tokens through the model, `decode` samples turns; of `caches`,
`write` puts either's keys and values into the cache and `copy` shares an opening.

A row is a context that only grows. Its cache holds the keys and values of its first `start` tokens; a kernel is given
the tokens after these. The last token of a row is always left out of the cache until something follows it, so every
token goes through the model once, and only decoding computes logits.

Layers are unrolled and each has arrays of its own: a decoding step is bound by memory, and slicing stacked layers or
the live part of a longer cache would copy what the step only has to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sml_jax.engine.caches import Cache, CacheLayout, empty_cache, kv_segments
from sml_jax.engine.layer_params import LayerParams
from sml_jax.engine.sampling import Sampling, draws, logprob_of, sample, sampling_logits
from sml_jax.models.decoder import Decoder
from sml_jax.models.layers import Layer
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.models.ops.cached_attention import KVSegment
from sml_jax.models.ops.products import projection

AnyArray = jax.Array | np.ndarray  # on the device, or fetched from it


@flax.struct.dataclass
class Sampled:
    """What `decode` sampled. Slots from `count` on are meaningless.

    Attributes:
      tokens: int32 [batch, steps], the end-of-turn token included.
      count: int32 [batch], tokens sampled.
      ended: bool [batch], the last of them is an end of turn; if not, the limit or the steps ran out.
      logprob: float32 [batch, steps], of each token under the model at temperature 1, nothing forbidden.
      sampling_logprob: float32 [batch, steps], under the distribution that it was drawn from.
    """

    tokens: Int[AnyArray, "batch steps"]
    count: Int[AnyArray, " batch"]
    ended: Bool[AnyArray, " batch"]
    logprob: Float[AnyArray, "batch steps"]
    sampling_logprob: Float[AnyArray, "batch steps"]


def extend(
    model: Decoder,
    layout: CacheLayout,
    weights: LayerParams,
    cache: Cache,
    rows: Int[Array, "shards few"] | None,
    tokens: Int[Array, "batch time"],
    start: Int[Array, " batch"],
    count: Int[Array, " batch"],
) -> Cache:
    """Runs given tokens through the model, after what their rows' caches hold; `write` puts them there.

    The two are apart, since one program would write a layer before it has read the next, into copies of whole caches.

    Args:
      model: the decoder. layout: of the caches.
      weights: the decoder's, see `engine.weights`.
      cache: the rows' caches.
      rows: which rows, counted within their shard, as many in each; a number past the shard's rows is nobody's. None
        for all rows in order.
      tokens: new tokens of these rows, right padded. start: tokens that a row's cache holds. count: new tokens, 0 to
        leave a row be.

    Returns:
      The new tokens' keys and values, of each layer.
    """
    positions, valid = _span(start, count, tokens.shape[1])
    kept = kv_segments(layout, cache, rows, start, cache_backend(model.config.attention).selects_rows)
    _, new = _hidden(model, weights, tokens, positions, valid, [(past,) for past in kept])
    return new


def decode(
    model: Decoder,
    layout: CacheLayout,
    steps: int,
    sampling: Sampling,
    stop_ids: tuple[int, ...],
    weights: LayerParams,
    cache: Cache,
    rows: Int[Array, "shards few"] | None,
    last: Int[Array, " batch"],
    start: Int[Array, " batch"],
    limit: Int[Array, " batch"],
    keys: jax.Array,
    stop_count: Int[Array, " 1"],
    allowed: Bool[Array, " vocab"] | None,
) -> tuple[Cache, Sampled]:
    """Samples some tokens of the rows' turns: stops after `steps`, or when as many rows are done as `stop_count` says.

    A row that is stopped in the middle of its turn goes on in the next call as if nothing had been.

    Args:
      model: the decoder. layout, rows: see `extend`. steps: static; the most tokens of any row. sampling: static.
        ends: static; tokens that end a turn.
      weights: the decoder's.
      cache: the rows' caches. They are only read: new keys and values gather in a buffer of the loop's own, so that
        caches need room for them only when `write` puts them there.
      last: each row's last token, not yet in its cache. start: tokens that are.
      limit: tokens that a row may sample; 0 leaves it be.
      keys: each row's random key.
      stop_count: the loop stops once this many rows have come to their end or limit in this call; one number, in an
        array so that each of several loops can be given its own.
      allowed: tokens that may be said; None for any.

    Returns:
      Keys and values of each row's `steps` slots from its start on, which hold all but its last sampled token, and
      the samples.
    """
    config, batch = model.config, last.shape[0]
    backend = cache_backend(config.attention)
    product = backend.product(batch)
    if product is not None:
        model = model.clone(product=product)
    kept = kv_segments(layout, cache, rows, start, backend.selects_rows)
    shape = (batch, steps)
    slots = jnp.arange(steps, dtype=jnp.int32)
    end_ids = jnp.asarray(stop_ids, jnp.int32)
    asked = limit > 0
    as_it_is = allowed is None and sampling == Sampling()  # so that the two log-probabilities are one
    # Outside the loop, where all numbers are made in a few operations and not in as many at every step.
    uniform = draws(keys, start[:, None] + 1 + slots)

    def unfinished(carry: tuple) -> jax.Array:
        step, running = carry[0], carry[2]
        # One sum for both counts: devices that are in one loop exchange it at each step.
        going, done = jnp.sum(jnp.stack([running, asked & ~running]), axis=1, dtype=jnp.int32)
        return (step < steps) & (going > 0) & (done < stop_count[0])

    def step_fn(carry: tuple) -> tuple:
        step, token, running, fresh, out = carry
        position = start + step
        # The token itself is in this segment too: read before it is written, the buffer would be copied each time.
        here = start[:, None] + slots, jnp.broadcast_to(slots <= step, shape), step
        one = jnp.ones((batch, 1), bool)
        past = [(before, KVSegment(said, *here)) for before, said in zip(kept, fresh, strict=True)]
        hidden, fresh = _hidden(model, weights, token[:, None], position[:, None], one, past)
        logits: Any = model.apply(weights.outside, hidden[:, 0], method="logits")
        offered = sampling_logits(logits, allowed, sampling)
        chosen, sampling_logprob = sample(jax.lax.dynamic_index_in_dim(uniform, step, 1, keepdims=False), offered)
        is_end = jnp.any(chosen[:, None] == end_ids, axis=-1)

        def put(array: jax.Array, value: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(array, value.astype(array.dtype)[:, None], step, 1)

        out = Sampled(
            tokens=put(out.tokens, chosen),
            count=out.count + running,
            ended=out.ended | (running & is_end),
            logprob=put(out.logprob, sampling_logprob if as_it_is else logprob_of(logits, chosen)),
            sampling_logprob=put(out.sampling_logprob, sampling_logprob),
        )
        running = running & ~is_end & (step + 1 < limit)
        return step + 1, chosen, running, fresh, out

    nothing = Sampled(
        tokens=jnp.zeros(shape, jnp.int32),
        count=jnp.zeros(batch, jnp.int32),
        ended=jnp.zeros(batch, bool),
        logprob=jnp.zeros(shape, jnp.float32),
        sampling_logprob=jnp.zeros(shape, jnp.float32),
    )
    carry = (jnp.zeros((), jnp.int32), last, asked, empty_cache(config, batch, steps), nothing)
    _, _, _, fresh, out = jax.lax.while_loop(unfinished, step_fn, carry)
    return fresh, out


def _hidden(
    model: Decoder,
    weights: LayerParams,
    tokens: jax.Array,
    positions: jax.Array,
    valid: jax.Array,
    past: Sequence[tuple[KVSegment, ...]],
) -> tuple[jax.Array, Cache]:
    """`Decoder.hidden`, layer by layer: final hidden states, and the new tokens' keys and values of each layer."""
    run: Any = Layer(model.config, model.product or projection).apply
    x: Any = model.apply(weights.outside, tokens, method="embed")
    new = []
    for params, is_local, segments in zip(weights.layers, model.config.local_layers, past, strict=True):
        x, fresh = run(params, x, jnp.asarray(is_local), positions, segments, valid)
        new.append(fresh)
    normed: Any = model.apply(weights.outside, x, method="finish")
    return normed, tuple(new)


def _span(start: jax.Array, count: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Positions of `size` slots after `start`, and which of them hold tokens."""
    slots = jnp.arange(size, dtype=jnp.int32)
    return start[:, None] + slots, slots < count[:, None]
