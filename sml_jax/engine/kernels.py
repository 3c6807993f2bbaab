"""The kernels of every dialogue: `extend` runs given tokens through the model, `decode` samples turns, and `score`
tells the log-probabilities of given continuations.

A row is a context that only grows. Its cache holds the keys and values of its first `start` tokens, and a kernel is
given the tokens after these. The last token of a row always stays out of the cache until something follows it: its
logits are needed to sample the next token, so it goes through the model as the first input of `decode` (or with the
tokens that are appended to it). Every token so goes through the model once, and only decoding computes logits.

Both kernels only read the cache and return the new tokens' keys and values; `caches.write` puts these into the cache.
In one executable XLA would write a layer's cache before it has read the next one's, and copy whole caches for that.

Layers are unrolled and each has cache arrays of its own: a decoding step is bound by memory, and a slice of stacked
layers, or of the used part of a longer cache, would be a copy of what the step only has to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sml_jax.engine.caches import Cache, CacheLayout, LayerCache, empty_results, kv_segments
from sml_jax.engine.layer_params import LayerParams
from sml_jax.engine.sampling import Sampling, logprob_of, sample, sampling_logits, token_uniforms
from sml_jax.models.attention import with_new_tokens
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.delta_net import DeltaState
from sml_jax.models.layer_kinds import LayerKind, kv_sources, layer_kinds
from sml_jax.models.layers import Layer
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.models.ops.cached_attention import KVSegment, NoCache
from sml_jax.models.ops.products import Product, projection

AnyArray = jax.Array | np.ndarray  # on the device, or fetched from it


@flax.struct.dataclass
class Sampled:
    """What `decode` sampled. Slots from `count` on are meaningless.

    Attributes:
      tokens: int32 [batch, steps], the end-of-turn token included.
      count: int32 [batch], tokens sampled.
      ended: bool [batch], the last of them is an end-of-turn token. If not, the row stopped at its limit, or the call
        ended before the row did.
      logprob: float32 [batch, steps], of each token under the model at temperature 1 with every token allowed.
      sampling_logprob: float32 [batch, steps], under the distribution that the token was drawn from.
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
    places: Int[Array, "batch 2"] | None = None,
) -> Cache:
    """Runs given tokens through the model, as continuations of what their rows' caches hold.

    Args:
      model: the decoder; static. layout: of the cache; static.
      weights: the decoder's, see `layer_params.unstack_layers`.
      cache: of all rows; it is only read.
      rows: row numbers within their shard, as many in each shard; a number past the shard's rows belongs to no row.
        None for all rows in order.
      tokens: new tokens of these rows, right padded.
      start: tokens that a row's cache holds. count: new tokens of a row, 0 to skip it.
      places: which of its two recurrent states a row reads and writes, see `state_cache`; None for other models.

    Returns:
      The new tokens' keys and values in each layer, or its state after them, for `caches.write`. Values past a row's
      count are meaningless.
    """
    _, new = _run_behind_cache(model, layout, weights, cache, rows, tokens, start, count, places)
    return new


def score(
    model: Decoder,
    layout: CacheLayout,
    weights: LayerParams,
    cache: Cache,
    rows: Int[Array, "shards few"] | None,
    tokens: Int[Array, "batch time"],
    start: Int[Array, " batch"],
    count: Int[Array, " batch"],
    places: Int[Array, "batch 2"] | None = None,
) -> Float[Array, "batch time"]:
    """Log-probabilities of given tokens as continuations of what their rows' caches hold. Nothing is written.

    Args:
      model, layout, weights, cache, rows, tokens, start, count, places: see `extend`. The first token of a row is the
        last one of its context, which is not cached yet; the others are the continuation that is scored.

    Returns:
      float32 [batch, time]: of each token given all before it, at temperature 1 with every token allowed. Position 0
      has 0, and values past a row's count are meaningless.
    """
    hidden, _ = _run_behind_cache(model, layout, weights, cache, rows, tokens, start, count, places)

    # One position at a time: the logits of all positions together may not fit in memory.
    def score_next(states_and_next: tuple[jax.Array, jax.Array]) -> jax.Array:
        states, next_tokens = states_and_next
        logits: Any = model.apply(weights.outside, states, method="logits")
        return logprob_of(logits, next_tokens)

    by_position = jax.lax.map(score_next, (hidden[:, :-1].swapaxes(0, 1), tokens[:, 1:].T))
    return jnp.pad(by_position.T, ((0, 0), (1, 0)))


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
    places: Int[Array, "batch 2"] | None,
    stop_count: Int[Array, " 1"],
    allowed: Bool[Array, " vocab"] | None,
) -> tuple[Cache, Sampled]:
    """Samples some tokens of the rows' turns, until `steps` tokens a row or `stop_count` finished rows are reached.

    A row whose turn is interrupted continues in the next call and samples the same tokens as without the interruption,
    because a token's random key depends on its dialogue, turn and position alone.

    Args:
      model, layout, weights, rows: see `extend`.
      steps: static; the most tokens that any row samples in this call.
      sampling: static. stop_ids: static; tokens that end a turn.
      cache: of all rows; it is only read. New keys and values are collected in a buffer of `steps` slots, so that the
        cache needs room for them only when `caches.write` puts them there.
      last: each row's last token, which is not in its cache yet. start: tokens that its cache holds.
      limit: tokens that a row may sample; 0 skips it.
      keys: a random key for each row's turn.
      places: see `extend`.
      stop_count: the loop ends once this many rows have sampled an end-of-turn token or reached their limit in this
        call. It is an array of one number, so that each of several loops can be given its own.
      allowed: tokens that may be sampled; None for all.

    Returns:
      Keys and values for each row's `steps` slots from position `start` on, for `caches.write`: those of `last`, then
      those of all sampled tokens but the last one; or a recurrent layer's state after these. And the samples.
    """
    config, batch = model.config, last.shape[0]
    backend = cache_backend(config.attention)
    product = backend.product(batch)
    if product is not None:
        model = model.clone(product=product)
    cached = kv_segments(layout, cache, rows, start, backend.selects_rows, places)
    shape = (batch, steps)
    slots = jnp.arange(steps, dtype=jnp.int32)
    stop_tokens = jnp.asarray(stop_ids, jnp.int32)
    requested = limit > 0
    # Nothing then separates the sampling distribution from the model's, so one log-probability serves for both.
    same_distribution = allowed is None and sampling == Sampling()
    # Random numbers of all steps are made before the loop: a few large operations in place of many small ones at each
    # step. The token sampled at step i gets position start + 1 + i, since position `start` is that of `last`.
    uniforms_of_steps = token_uniforms(keys, start[:, None] + 1 + slots)

    def goes_on(carry: tuple) -> jax.Array:
        step, running = carry[0], carry[2]
        # One sum for both counts: devices that share a loop exchange it at every step.
        running_count, done_count = jnp.sum(jnp.stack([running, requested & ~running]), axis=1, dtype=jnp.int32)
        return (step < steps) & (running_count > 0) & (done_count < stop_count[0])

    def step_fn(carry: tuple) -> tuple:
        step, token, running, buffer, out = carry
        position = start + step

        # The input token attends to the cache, then to the buffer's slots up to and including its own. The layer
        # writes the token's own keys and values to slot `step` before it reads the buffer: read first, XLA would copy
        # the buffer at every step.
        buffer_slots = start[:, None] + slots, jnp.broadcast_to(slots <= step, shape), step

        def past_of(seen: Any, new: LayerCache) -> Any:
            # A recurrent layer reads the state that its last step left.
            if isinstance(new, DeltaState):
                return new
            return () if seen is None else (seen, KVSegment(new, *buffer_slots))

        past = [past_of(seen, new) for seen, new in zip(cached, buffer, strict=True)]
        # Rows that are done run along, but what they read must not change their states.
        hidden, buffer = _run_layers(model, weights, token[:, None], position[:, None], running[:, None], past)
        logits: Any = model.apply(weights.outside, hidden[:, 0], method="logits")

        # Rows that are done are sampled too, but nothing of theirs is counted.
        sampling_scores = sampling_logits(logits, allowed, sampling)
        uniform = jax.lax.dynamic_index_in_dim(uniforms_of_steps, step, 1, keepdims=False)
        chosen, sampling_logprob = sample(uniform, sampling_scores)
        is_stop = jnp.any(chosen[:, None] == stop_tokens, axis=-1)

        def put(array: jax.Array, value: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(array, value.astype(array.dtype)[:, None], step, 1)

        out = Sampled(
            tokens=put(out.tokens, chosen),
            count=out.count + running,
            ended=out.ended | (running & is_stop),
            logprob=put(out.logprob, sampling_logprob if same_distribution else logprob_of(logits, chosen)),
            sampling_logprob=put(out.sampling_logprob, sampling_logprob),
        )
        # This step's token is the row's number step + 1; it may sample another one if that is still within its limit.
        running = running & ~is_stop & (step + 1 < limit)
        return step + 1, chosen, running, buffer, out

    no_samples = Sampled(
        tokens=jnp.zeros(shape, jnp.int32),
        count=jnp.zeros(batch, jnp.int32),
        ended=jnp.zeros(batch, bool),
        logprob=jnp.zeros(shape, jnp.float32),
        sampling_logprob=jnp.zeros(shape, jnp.float32),
    )
    buffer = tuple(
        seen if isinstance(seen, DeltaState) else empty
        for seen, empty in zip(cached, empty_results(config, batch, steps), strict=True)
    )
    carry = (jnp.zeros((), jnp.int32), last, requested, buffer, no_samples)
    _, _, _, buffer, out = jax.lax.while_loop(goes_on, step_fn, carry)
    return buffer, out


def _run_behind_cache(
    model: Decoder,
    layout: CacheLayout,
    weights: LayerParams,
    cache: Cache,
    rows: jax.Array | None,
    tokens: jax.Array,
    start: jax.Array,
    count: jax.Array,
    places: jax.Array | None,
) -> tuple[jax.Array, Cache]:
    """Hidden states of given tokens behind what their rows' caches hold, and their keys and values; see `extend`."""
    offsets = jnp.arange(tokens.shape[1], dtype=jnp.int32)
    positions, valid = start[:, None] + offsets, offsets < count[:, None]
    cached = kv_segments(layout, cache, rows, start, cache_backend(model.config.attention).selects_rows, places)
    past = [() if seen is None else seen if isinstance(seen, DeltaState) else (seen,) for seen in cached]
    return _run_layers(model, weights, tokens, positions, valid, past)


def _run_layers(
    model: Decoder,
    weights: LayerParams,
    tokens: jax.Array,
    positions: jax.Array,
    valid: jax.Array,
    past_by_layer: Sequence[tuple[KVSegment, ...] | DeltaState],
) -> tuple[jax.Array, Cache]:
    """`Decoder.hidden_states`, layer by layer with what each layer sees of the tokens before.

    A layer without keys and values of its own attends to what the layer that has them attended to. Where only the new
    keys and values are used, as in `extend`, the compiler leaves out the last layers that have none: they do no work.

    Returns:
      Final hidden states [batch, time, embed_dim], and each layer's new keys and values: those of `tokens`, or the
      buffer with these in it where the last segment has a slot to write to; or its state after the valid tokens.
    """
    config = model.config
    x: Any = model.apply(weights.outside, tokens, method="embed")
    per_layer: Any = model.apply(weights.outside, tokens, x, method="per_layer_inputs")
    kinds, sources = layer_kinds(config), kv_sources(config)
    new: list[LayerCache] = []
    attended_to: dict[int, tuple[KVSegment, ...]] = {}  # by layer, what those that read its keys and values attend to
    for layer, (params, own_past) in enumerate(zip(weights.layers, past_by_layer, strict=True)):
        kind, source = kinds[layer], sources[layer]
        past = own_past if source is None else attended_to[source]
        layer_inputs = None if per_layer is None else per_layer[layer]
        run_layer = _layer_function(config, kind, model.product or projection)
        x, layer_new = run_layer(params, x, positions, past, valid, layer_inputs)
        new.append(NoCache() if layer_new is None else layer_new)
        if layer in sources:
            assert not isinstance(own_past, DeltaState)
            attended_to[layer] = with_new_tokens(own_past, layer_new, positions, valid)
    hidden: Any = model.apply(weights.outside, x, method="apply_final_norm")
    return hidden, tuple(new)


@lru_cache(maxsize=64)
def _layer_function(config: DecoderConfig, kind: LayerKind, product: Product) -> Any:
    """`Layer.apply` of one kind of layer, jitted: layers with arguments of the same shapes are traced only once.

    Tracing 30 layers one by one takes longer than it takes to read their executable from the compilation cache. XLA
    puts the calls' bodies in place of the calls before it does anything else, so the executable is the same.
    """

    def run_layer(
        params: Any, x: jax.Array, positions: jax.Array, past: Any, valid: jax.Array, per_layer: jax.Array | None
    ) -> tuple[jax.Array, LayerCache | None]:
        apply_layer: Any = Layer(config, kind, product).apply
        is_local = jnp.asarray(kind.is_local)
        out: tuple[jax.Array, LayerCache | None] = apply_layer(
            params, x, is_local, positions, past, valid, per_layer=per_layer
        )
        return out

    return jax.jit(run_layer)
