"""Log-probabilities of given tokens, without the logits of a whole batch in memory at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from sml_jax.common.errors import UserError
from sml_jax.learn.position_chunks import (
    Head,
    HeadLayout,
    Params,
    chunk_of,
    cut_rows,
    decoder_head,
    decoder_states,
    mask_first,
    sort_positions,
    unsort_positions,
)
from sml_jax.learn.shapes import shape_of
from sml_jax.models.decoder import Decoder
from sml_jax.models.prefix_sharing import SharedPrefix


def token_logprobs(
    logits: Float[Array, "batch time vocabulary"], tokens: Int[Array, "batch time"]
) -> Float[Array, "batch time"]:
    """The temperature-1 log-probability of each token given the tokens before it, from all logits of a batch.

    The logits at position t - 1 predict the token at t. So the last position's logits are not used, and the first
    token, which nothing predicts, gets 0. Training uses `hidden_logprobs`, which never has all logits in memory.

    Args:
      logits: [B, T, V], the model's for `tokens`.
      tokens: i32[B, T].

    Returns:
      f32[B, T], aligned with `tokens`.

    Raises:
      UserError: the shapes do not belong together.
    """
    if len(shape_of(logits)) != 3 or shape_of(logits)[:2] != shape_of(tokens):
        raise UserError(
            f"token_logprobs: logits have shape {list(shape_of(logits))} and tokens {list(shape_of(tokens))}: give "
            "[batch, time, vocabulary] and [batch, time]."
        )
    predictions = logits[:, :-1].astype(jnp.float32)
    logprobs = -optax.losses.softmax_cross_entropy_with_integer_labels(predictions, tokens[:, 1:])
    return jnp.pad(logprobs, ((0, 0), (1, 0)))


def hidden_logprobs(
    head: Head,
    params: Params,
    hidden: Float[Array, "batch time width"],
    tokens: Int[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    *,
    layout: HeadLayout | None = None,
    max_logits: int | None = None,
    trained: bool = True,
) -> Float[Array, "batch time"]:
    """The temperature-1 log-probability of each token in the mask, from the hidden states before it.

    The positions in the mask are sorted to the front, then cut into chunks. A chunk's logits exist only while it is
    scored, and the backward pass computes them again. Chunks without a position in the mask are skipped at run time. So
    time and memory grow with the number of tokens that are trained on, although the shapes are fixed.

    Args:
      head: `head(params, hidden)` gives float32 logits [..., V] for hidden states [..., width].
      params: parameters of the head alone. For each chunk float32 gradients of their size are added up.
      hidden: [B, T, width], the model's for `tokens`; the state at t - 1 predicts the token at t.
      tokens: i32[B, T].
      mask: bool[B, T], True at tokens to score. The first token of a row is never scored: no state predicts it.
      layout: the shardings on a mesh; None for one device. Each device sorts and cuts its own rows if B is a
        multiple of the mesh's row shards; the head's gradients are added up between devices once, at the end.
      max_logits: the most logits that are computed at a time for one group of rows, which sets the size of chunks. None
        for 2**26 on a CPU and 2**28 elsewhere.
      trained: whether to compute the gradient of `params`; that of `hidden` is always computed.

    Returns:
      f32[B, T], aligned with `tokens`; 0 where the mask is False and at the first token of a row.

    References:
      Cross-entropy in chunks: "Cut Your Losses in Large-Vocabulary Language Models", arXiv 2411.09009; here
      positions are cut and not the vocabulary, because the head may be any function.
    """
    shape, width = tokens.shape, hidden.shape[-1]
    layout, groups, positions, chunk = cut_rows(head, params, hidden, layout, max_logits)
    flat_group_shape = (groups, positions)
    # The hidden state at t predicts the token at t + 1: targets are shifted, and so are the scores that come back.
    targets, scored = (jnp.pad(x[:, 1:], ((0, 0), (0, 1))).reshape(flat_group_shape) for x in (tokens, mask))
    chunk_plan = _ChunkPlan(head, chunk, trained, layout)
    scores = _scores(chunk_plan, params, hidden.reshape(*flat_group_shape, width), targets, scored)
    return jnp.pad(scores.reshape(shape)[:, :-1], ((0, 0), (1, 0)))


def decoder_logprobs(
    model: Decoder,
    params: Params,
    tokens: Int[Array, "batch time"],
    length: Int[Array, " batch"],
    mask: Bool[Array, "batch time"],
    *,
    mesh: Mesh | None = None,
    max_logits: int | None = None,
    trained: bool = True,
    shared: SharedPrefix | None = None,
) -> Float[Array, "batch time"]:
    """The temperature-1 log-probability of each token in the mask under a decoder; see `hidden_logprobs`.

    Args:
      model, params: a decoder and its parameters.
      tokens: i32[B, T], right-padded rows. length: i32[B], tokens of each row before its padding.
      mask, max_logits: see `hidden_logprobs`.
      mesh: the mesh that rows and parameters are split over; None for one device.
      trained: whether the output layer gets a gradient; with adapters it does not.
      shared: the prefix that blocks of rows have in common, which the model computes once.

    Returns:
      f32[B, T], aligned with `tokens`; 0 where the mask is False and at the first token of a row.
    """
    hidden = decoder_states(model, params, tokens, shared)
    head, head_params, layout = decoder_head(model, params, mesh)
    return hidden_logprobs(
        head, head_params, hidden, tokens, mask, layout=layout, max_logits=max_logits, trained=trained
    )


@dataclass(frozen=True, eq=False)
class _ChunkPlan:
    """Static arguments of the custom VJP, as `hidden_logprobs` has them."""

    head: Head
    chunk: int
    trained: bool
    layout: HeadLayout | None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scores(plan: _ChunkPlan, params: Params, hidden: jax.Array, targets: jax.Array, scored: jax.Array) -> jax.Array:
    """Log-probs [groups, N] of the targets in the mask, 0 elsewhere, from hidden states [groups, N, width]."""
    return _forward(plan, params, hidden, targets, scored)[0]


def _forward(
    plan: _ChunkPlan, params: Params, hidden: jax.Array, targets: jax.Array, scored: jax.Array
) -> tuple[jax.Array, tuple]:
    order, starts, count = mask_first(scored, plan.chunk)
    cast_params = _cast(plan, params, hidden)
    states, sorted_targets = (sort_positions(plan.layout, x, order) for x in (hidden, targets))

    def score(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = plan.head(cast_params, chunk_of(states, at, plan.chunk)).astype(jnp.float32)
        total = jax.nn.logsumexp(logits, axis=-1)
        is_target = _is_target(logits, chunk_of(sorted_targets, at, plan.chunk))
        return jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1) - total, total

    # Chunks past the last position in the mask are skipped.
    skipped = jnp.zeros((scored.shape[0], plan.chunk), jnp.float32)
    _, (chunk_scores, totals) = jax.lax.scan(
        lambda _, at: (None, jax.lax.cond(at < count, score, lambda _: (skipped, skipped), at)), None, starts
    )
    scores = jnp.where(scored, unsort_positions(plan.layout, chunk_scores, order, scored.shape[1]), 0.0)
    return scores, (params, hidden, targets, scored, totals)


def _backward(plan: _ChunkPlan, residuals: tuple, gradient: jax.Array) -> tuple:
    params, hidden, targets, scored, totals = residuals
    order, starts, count = mask_first(scored, plan.chunk)
    cast_params = _cast(plan, params, hidden)
    to_sort = (hidden, targets, jnp.where(scored, gradient, 0.0))
    states, sorted_targets, slopes = (sort_positions(plan.layout, x, order) for x in to_sort)
    # The last chunk is filled up with copies of a position, which must add nothing.
    slopes = jnp.where(jnp.arange(order.shape[1]) < scored.shape[1], slopes, 0.0)
    # The head's gradient, one sum for each group of rows, added up over chunks in float32.
    head_gradients: Params = ()
    if plan.trained:
        head_gradients = jax.tree.map(lambda leaf: jnp.zeros((scored.shape[0], *leaf.shape), jnp.float32), params)
        head_gradients = head_gradients if plan.layout is None else plan.layout.constrain_sums(head_gradients)

    def group_gradients(
        state: jax.Array, target: jax.Array, slope: jax.Array, total: jax.Array
    ) -> tuple[Params, jax.Array]:
        trainable = cast_params if plan.trained else ()
        logits, pull_back = jax.vjp(lambda p, x: plan.head(p if plan.trained else cast_params, x), trainable, state)
        # The gradient of a log-prob by the logits: one at the target, minus the probabilities.
        logits_f32 = logits.astype(jnp.float32)
        error = (_is_target(logits_f32, target) - jnp.exp(logits_f32 - total[:, None])) * slope[:, None]
        return pull_back(error.astype(logits.dtype))

    def add(head_gradients: Params, at: jax.Array, total: jax.Array) -> tuple[Params, jax.Array]:
        state, target, slope = (chunk_of(x, at, plan.chunk) for x in (states, sorted_targets, slopes))
        to_head, to_states = jax.vmap(group_gradients)(state, target, slope, total)
        return jax.tree.map(lambda a, b: a + b.astype(jnp.float32), head_gradients, to_head), to_states

    skipped = jnp.zeros((scored.shape[0], plan.chunk, hidden.shape[-1]), hidden.dtype)
    head_gradients, to_states = jax.lax.scan(
        lambda s, x: jax.lax.cond(x[0] < count, add, lambda s, *_: (s, skipped), s, *x),
        head_gradients,
        (starts, totals),
    )
    to_params = None
    if plan.trained:
        to_params = jax.tree.map(lambda a, leaf: jnp.sum(a, axis=0).astype(leaf.dtype), head_gradients, params)
    return to_params, unsort_positions(plan.layout, to_states, order, scored.shape[1]), None, None


_scores.defvjp(_forward, _backward)


def _cast(plan: _ChunkPlan, params: Params, hidden: jax.Array) -> Params:
    """The head's parameters in the dtype of the hidden states, gathered: once, and not once a chunk."""
    cast = jax.tree.map(lambda leaf: leaf.astype(hidden.dtype), params)
    return cast if plan.layout is None else plan.layout.constrain_head(cast)


def _is_target(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """True at each position's target, bool [..., V]."""
    # A gather would need communication where the vocabulary is split over devices.
    return jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1) == targets[..., None]
