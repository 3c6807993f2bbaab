"""The kernels of every dialogue: `extend` runs given tokens through the model, `decode` samples turns, `write` puts
either's keys and values into the cache, `copy` shares an opening.

A row is a context that only grows. Its cache holds the keys and values of its first `start` tokens; a kernel is given
the tokens after these. The last token of a row is always left out of the cache until something follows it, so every
token goes through the model once, and only decoding computes logits.

Layers are unrolled and each has arrays of its own: a decoding step is bound by memory, and slicing stacked layers or
the live part of a longer cache would copy what the step only has to read.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sml_jax.engine.sampling import Sampling, draws, logprob_of, sample, sampling_logits
from sml_jax.engine.weights import Weights
from sml_jax.models.cached_attention import KeyValues, Past, time_axis
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.layers import Layer
from sml_jax.models.native_product import native_product, pays
from sml_jax.models.products import projection

AnyArray = jax.Array | np.ndarray  # on the device, or fetched from it
Cache = tuple[KeyValues, ...]
"""For each layer, keys and values [rows, kv_heads, capacity, head_dim]; see `cached_attention.time_axis`."""


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


def empty_cache(config: DecoderConfig, rows: int, capacity: int) -> Cache:
    """A cache for `rows` contexts of up to `capacity` tokens, zeros.

    Rows come first, because a write is a scatter over rows, and XLA transposes whole caches where they do not.
    """
    some = [config.kv_heads, config.head_dim]
    some.insert(time_axis(config.attention) - 1, capacity)
    shape = (rows, *some)

    def zeros() -> jax.Array:
        return jnp.zeros(shape, config.compute_dtype)

    return tuple(KeyValues(zeros(), zeros()) for _ in range(config.layers))


def grow(axis: int, kept: jax.Array, capacity: int) -> jax.Array:
    """One array of a cache with room for more tokens; `axis` counts them."""
    return jnp.pad(kept, [(0, capacity - size if i == axis else 0) for i, size in enumerate(kept.shape)])


COPIED = 32  # slots of a row that are copied at a time


def copy(
    axis: int,
    cache: Cache,
    source: Int[Array, "shards few"],
    target: Int[Array, "shards few"],
    slots: Int[Array, ""],
) -> Cache:
    """Copies the first slots of rows within each shard; a target past the shard's rows copies nothing.

    Args:
      axis: static; see `write`. cache: donate it.
      source, target: rows counted within their shard.
      slots: how many, rounded up to windows of `COPIED`: one program for all lengths.
    """
    room = cache[0].keys.shape[axis]
    size = min(COPIED, room)
    count = jnp.ones(target.size, jnp.int32)

    def window(i: jax.Array, cache: Cache) -> Cache:
        # The last window of a cache begins where it still fits.
        at = jnp.minimum(i * size, room - size)
        part = jax.tree.map(partial(jax.lax.dynamic_slice_in_dim, start_index=at, slice_size=size, axis=axis), cache)
        few = _select(part, source)
        return write(source.shape[0], axis, cache, few, target, at * count, count)

    return jax.lax.fori_loop(0, (slots + size - 1) // size, window, cache)


def extend(
    model: Decoder,
    weights: Weights,
    cache: Cache,
    rows: Int[Array, "shards few"] | None,
    tokens: Int[Array, "batch time"],
    start: Int[Array, " batch"],
    count: Int[Array, " batch"],
) -> Cache:
    """Runs given tokens through the model, after what their rows' caches hold; `write` puts them there.

    The two are apart, since one program would write a layer before it has read the next, into copies of whole caches.

    Args:
      model: the decoder.
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
    _, new = _hidden(model, weights, tokens, positions, valid, (_kept(model, cache, rows, start),))
    return new


def decode(
    model: Decoder,
    steps: int,
    sampling: Sampling,
    ends: tuple[int, ...],
    weights: Weights,
    cache: Cache,
    rows: Int[Array, "shards few"] | None,
    last: Int[Array, " batch"],
    start: Int[Array, " batch"],
    limit: Int[Array, " batch"],
    keys: jax.Array,
    leave: Int[Array, " 1"],
    allowed: Bool[Array, " vocab"] | None,
) -> tuple[Cache, Sampled]:
    """Samples some tokens of the rows' turns: stops after `steps`, or when as many rows are done as `leave` says.

    A row that is stopped in the middle of its turn goes on in the next call as if nothing had been.

    Args:
      model: the decoder. rows: see `extend`. steps: static; the most tokens of any row. sampling: static.
        ends: static; tokens that end a turn.
      weights: the decoder's.
      cache: the rows' caches. They are only read: new keys and values gather in a buffer of the loop's own, so that
        caches need room for them only when `write` puts them there.
      last: each row's last token, not yet in its cache. start: tokens that are.
      limit: tokens that a row may sample; 0 leaves it be.
      keys: each row's random key.
      leave: rows that have come to their end or limit in this call when the loop stops; one number, in an array so that
        each of several loops can be given its own.
      allowed: tokens that may be said; None for any.

    Returns:
      Keys and values of each row's `steps` slots from its start on, which hold all but its last sampled token, and
      the samples.
    """
    config, batch = model.config, last.shape[0]
    if config.attention == "native" and pays(batch):
        model = model.clone(product=native_product)
    kept = _kept(model, cache, rows, start)
    shape = (batch, steps)
    slots = jnp.arange(steps, dtype=jnp.int32)
    end_ids = jnp.asarray(ends, jnp.int32)
    asked = limit > 0
    as_it_is = allowed is None and sampling == Sampling()  # so that the two log-probabilities are one
    # Outside the loop, where all numbers are made in a few operations and not in as many at every step.
    uniform = draws(keys, start[:, None] + 1 + slots)

    def unfinished(carry: tuple) -> jax.Array:
        step, running = carry[0], carry[2]
        # One sum for both counts: devices that are in one loop exchange it at each step.
        going, done = jnp.sum(jnp.stack([running, asked & ~running]), axis=1, dtype=jnp.int32)
        return (step < steps) & (going > 0) & (done < leave[0])

    def step_fn(carry: tuple) -> tuple:
        step, token, running, fresh, out = carry
        position = start + step
        # The token itself is in this segment too: read before it is written, the buffer would be copied each time.
        said = Past(fresh, start[:, None] + slots, jnp.broadcast_to(slots <= step, shape), step)
        one = jnp.ones((batch, 1), bool)
        hidden, fresh = _hidden(model, weights, token[:, None], position[:, None], one, (kept, said))
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
    weights: Weights,
    tokens: jax.Array,
    positions: jax.Array,
    valid: jax.Array,
    past: tuple[Past, ...],
) -> tuple[jax.Array, Cache]:
    """`Decoder.hidden`, layer by layer: final hidden states, and the new tokens' keys and values of each layer."""
    run: Any = Layer(model.config, model.product or projection).apply
    slots = tuple(segment[1:] for segment in past)
    x: Any = model.apply(weights.outside, tokens, method="embed")
    new = []
    for i, is_local in enumerate(model.config.local_layers):
        kept = tuple(segment.kv[i] for segment in past)
        x, fresh = run(weights.layers[i], x, kept, jnp.asarray(is_local), positions, valid, slots)
        new.append(fresh)
    normed: Any = model.apply(weights.outside, x, method="finish")
    return normed, tuple(new)


def _span(start: jax.Array, count: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Positions of `size` slots after `start`, and which of them hold tokens."""
    slots = jnp.arange(size, dtype=jnp.int32)
    return start[:, None] + slots, slots < count[:, None]


def _kept(model: Decoder, cache: Cache, rows: jax.Array | None, start: jax.Array) -> Past:
    """These rows' caches as a segment to look back at."""
    if model.config.attention != "native":  # which reads rows where they lie
        cache, rows = _select(cache, rows), None
    capacity = cache[0].keys.shape[time_axis(model.config.attention)]
    positions = jnp.broadcast_to(jnp.arange(capacity, dtype=jnp.int32), (start.shape[0], capacity))
    return Past(cache, positions, positions < start[:, None], rows=rows)


def _select(cache: Cache, rows: jax.Array | None) -> Cache:
    """These rows' caches, as arrays of their own; rows that are nobody's hold something."""
    if rows is None:
        return cache

    def take(kept: jax.Array) -> jax.Array:
        by_shard = kept.reshape(rows.shape[0], -1, *kept.shape[1:])
        few = jax.vmap(partial(jnp.take, axis=0, mode="clip"))(by_shard, rows)
        return few.reshape(-1, *kept.shape[1:])

    return jax.tree.map(take, cache)


def write(
    shards: int,
    axis: int,
    cache: Cache,
    new: Cache,
    rows: Int[Array, "shards few"] | None,
    start: Int[Array, " batch"],
    count: Int[Array, " batch"],
) -> Cache:
    """Writes all new slots of a row at its start. What lies past its tokens is not valid and is written over later.

    Args:
      shards: static; parts that the rows of the cache are split into.
      axis: static; the one that counts slots, see `time_axis`.
      cache: donate it. It must have room for all new slots after each row's start.
      new: keys and values of some slots, from `extend` or `decode`.
      rows: see `extend`. start: where a row's window begins.
      count: new tokens of a row. Where there are none, and where a row is nobody's, nothing is written: its place lies
        past the last row, which drops it.
    """
    size = cache[0].keys.shape[0] // shards
    if rows is None:
        rows = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), (shards, size))
    at = jnp.stack([jnp.where(count.reshape(rows.shape) > 0, rows, size), start.reshape(rows.shape)], axis=-1)
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

    return jax.tree.map(place, cache, new)
