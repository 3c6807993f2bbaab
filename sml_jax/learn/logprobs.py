"""Log-probabilities of given tokens, without the logits of a whole batch in memory at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from sml_jax.common.errors import UserError
from sml_jax.learn.shapes import shape_of
from sml_jax.models.decoder import Decoder, abstract_params
from sml_jax.models.ops.attention import platform_of
from sml_jax.models.prefix_sharing import SharedPrefix
from sml_jax.sharding import num_row_shards, row_sharding, to_mesh_axes

Params = Any
Head = Callable[[Params, jax.Array], jax.Array]

# Logits in one chunk, float32: 256 MiB a copy on a CPU. An accelerator takes 1 GiB, since it multiplies faster than it
# adds, and larger chunks add up the head's gradient less often.
_CHUNK_LOGITS_CPU, _CHUNK_LOGITS_ACCELERATOR = 2**26, 2**28
# A batch is cut into at least this many chunks, so that positions outside the mask are skipped in eighths.
_MIN_CHUNKS = 8


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


@dataclass(frozen=True, eq=False)
class HeadLayout:
    """The shardings of rows and of the head (the output layer) on a mesh while tokens are scored.

    Attributes:
      mesh: the devices; rows are split over its axes `data` and `fsdp`.
      specs: the PartitionSpec of each array of the head's parameters, without the axes that rows are split over: the
        head is gathered over those once, before the loop over chunks of positions.
    """

    mesh: Mesh
    specs: Any

    def constrain_rows(self, x: jax.Array) -> jax.Array:
        """The array `x` with a sharding constraint: its first axis, which counts rows, is split over the mesh."""
        return jax.lax.with_sharding_constraint(x, row_sharding(self.mesh))

    def constrain_head(self, params: Params) -> Params:
        """The head's parameters with the sharding that they have during the loop over chunks (see `specs`)."""
        return self._constrain(params, ())

    def constrain_sums(self, gradients: Params) -> Params:
        """Sums of the head's gradients, one for each group of rows (axis 0), put on the devices of that group."""
        return self._constrain(gradients, tuple(row_sharding(self.mesh).spec))

    def _constrain(self, params: Params, leading_axes: tuple) -> Params:
        return jax.tree.map(
            lambda x, spec: jax.lax.with_sharding_constraint(
                x, NamedSharding(self.mesh, PartitionSpec(*leading_axes, *spec))
            ),
            params,
            self.specs,
        )


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
    # Rows are handled in groups, one for each row shard of the mesh, so that no device needs another's rows.
    shape, width = tokens.shape, hidden.shape[-1]
    if layout is not None and shape[0] % num_row_shards(layout.mesh):
        layout = None
    groups = 1 if layout is None else num_row_shards(layout.mesh)
    flat_group_shape = (groups, shape[0] // groups * shape[1])
    vocabulary = jax.eval_shape(head, params, hidden[:1, 0]).shape[-1]
    if max_logits is None:
        max_logits = (
            _CHUNK_LOGITS_CPU if platform_of(jax.typeof(hidden).sharding.mesh) == "cpu" else _CHUNK_LOGITS_ACCELERATOR
        )
    chunk = min(max(max_logits // vocabulary, 1), -(-flat_group_shape[1] // _MIN_CHUNKS))
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
    # The hidden states, with a prefix that rows share computed once.
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    inputs = tokens, positions
    packed = inputs if shared is None else map(shared.pack, inputs)
    hidden: Any = model.apply(params, *packed, shared, method="hidden_states")
    hidden = hidden if shared is None else shared.unpack(hidden)
    # The head alone, as a function of its own parameters, is what chunks of logits are computed with.
    name = "embedding" if model.config.tied_embeddings else "output"

    def head(p: Params, states: jax.Array) -> jax.Array:
        logits: Any = model.apply({"params": {name: p}}, states, method="logits")
        return logits

    layout = None if mesh is None else HeadLayout(mesh, _head_specs(model, name))
    return hidden_logprobs(
        head, params["params"][name], hidden, tokens, mask, layout=layout, max_logits=max_logits, trained=trained
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
    order, starts, count = _mask_first(scored, plan.chunk)
    cast_params = _cast(plan, params, hidden)
    states, sorted_targets = (_sorted(plan, x, order) for x in (hidden, targets))

    def score(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = plan.head(cast_params, _chunk_of(states, at, plan.chunk)).astype(jnp.float32)
        total = jax.nn.logsumexp(logits, axis=-1)
        is_target = _is_target(logits, _chunk_of(sorted_targets, at, plan.chunk))
        return jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1) - total, total

    # Chunks past the last position in the mask are skipped.
    skipped = jnp.zeros((scored.shape[0], plan.chunk), jnp.float32)
    _, (chunk_scores, totals) = jax.lax.scan(
        lambda _, at: (None, jax.lax.cond(at < count, score, lambda _: (skipped, skipped), at)), None, starts
    )
    scores = jnp.where(scored, _unsorted(plan, chunk_scores, order, scored.shape[1]), 0.0)
    return scores, (params, hidden, targets, scored, totals)


def _backward(plan: _ChunkPlan, residuals: tuple, gradient: jax.Array) -> tuple:
    params, hidden, targets, scored, totals = residuals
    order, starts, count = _mask_first(scored, plan.chunk)
    cast_params = _cast(plan, params, hidden)
    to_sort = (hidden, targets, jnp.where(scored, gradient, 0.0))
    states, sorted_targets, slopes = (_sorted(plan, x, order) for x in to_sort)
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
        state, target, slope = (_chunk_of(x, at, plan.chunk) for x in (states, sorted_targets, slopes))
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
    return to_params, _unsorted(plan, to_states, order, scored.shape[1]), None, None


_scores.defvjp(_forward, _backward)


def _cast(plan: _ChunkPlan, params: Params, hidden: jax.Array) -> Params:
    """The head's parameters in the dtype of the hidden states, gathered: once, and not once a chunk."""
    cast = jax.tree.map(lambda leaf: leaf.astype(hidden.dtype), params)
    return cast if plan.layout is None else plan.layout.constrain_head(cast)


def _mask_first(scored: jax.Array, chunk: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The order that puts positions in the mask first.

    Args:
      scored: bool[groups, N], the mask.
      chunk: positions of a chunk.

    Returns:
      The order, int [groups, chunks * chunk], filled up with zeros to whole chunks; the start of each chunk; and the
      number of positions in the mask, of the group that has most.
    """
    starts = jnp.arange(0, scored.shape[1], chunk)
    order = jnp.argsort(~scored, axis=1, stable=True)
    padding = len(starts) * chunk - scored.shape[1]
    return jnp.pad(order, ((0, 0), (0, padding))), starts, jnp.max(jnp.sum(scored, axis=1))


def _sorted(plan: _ChunkPlan, x: jax.Array, order: jax.Array) -> jax.Array:
    """Takes [groups, N, ...] in the order given, without moving anything between groups."""
    x, order = (y if plan.layout is None else plan.layout.constrain_rows(y) for y in (x, order))
    out = jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), axis=1)
    return out if plan.layout is None else plan.layout.constrain_rows(out)


def _unsorted(plan: _ChunkPlan, chunks: jax.Array, order: jax.Array, time: int) -> jax.Array:
    """Undoes `_sorted`: from [chunks, groups, chunk, ...] to [groups, time, ...]."""
    packed = jnp.moveaxis(chunks, 0, 1).reshape(*order.shape, *chunks.shape[3:])
    # A gather by the inverse permutation is faster than the scatter that autodiff would make of the sort.
    return _sorted(plan, packed, jnp.argsort(order[:, :time], axis=1))


def _chunk_of(x: jax.Array, at: jax.Array, size: int) -> jax.Array:
    """`size` positions from `at` on."""
    return jax.lax.dynamic_slice_in_dim(x, at, size, axis=1)


def _is_target(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """True at each position's target, bool [..., V]."""
    # A gather would need communication where the vocabulary is split over devices.
    return jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1) == targets[..., None]


def _head_specs(model: Decoder, name: str) -> Any:
    """The PartitionSpecs of the output layer, without the axes that rows are split over."""
    specs = nn.get_partition_spec(abstract_params(model))["params"][name]
    return jax.tree.map(
        lambda spec: PartitionSpec(*(None if axis in ("data", "fsdp") else axis for axis in to_mesh_axes(spec))),
        specs,
        is_leaf=lambda spec: isinstance(spec, PartitionSpec),
    )
