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

# Numbers in one chunk of float32 logits: 256 MiB a copy on a CPU, 1 GiB on what multiplies faster than it adds: larger
# chunks add up the head's gradient less often.
_ON_A_CPU, _ELSEWHERE = 2**26, 2**28
# Chunks that a batch is cut into at least, so that positions that are not asked for are left out in eighths.
_LEAST_CHUNKS = 8


def token_logprobs(
    logits: Float[Array, "batch time vocabulary"], tokens: Int[Array, "batch time"]
) -> Float[Array, "batch time"]:
    """The temperature-1 log-probability of each token given the tokens before it, from whole logits.

    The logits at position t - 1 predict the token at t. So the last position's logits are not used, and the first
    token, which nothing predicts, gets 0. Training takes `hidden_logprobs`, which needs no such array.

    Args:
      logits: [B, T, V], what the model gave for `tokens`.
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
    """How rows and the head lie on a mesh while tokens are scored.

    Attributes:
      mesh: rows are split over its `data` and `fsdp`.
      specs: for each array of the head's parameters its PartitionSpec, in which only other axes stand: the head is
        gathered over the rows' axes once, before the loop.
    """

    mesh: Mesh
    specs: Any

    def rows(self, x: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, row_sharding(self.mesh))

    def head(self, params: Params) -> Params:
        return self._lay(params, ())

    def sums(self, gradients: Params) -> Params:
        """A sum for each group of rows, on the devices that hold the group."""
        return self._lay(gradients, tuple(row_sharding(self.mesh).spec))

    def _lay(self, params: Params, before: tuple) -> Params:
        return jax.tree.map(
            lambda x, spec: jax.lax.with_sharding_constraint(
                x, NamedSharding(self.mesh, PartitionSpec(*before, *spec))
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
    numbers: int | None = None,
    trained: bool = True,
) -> Float[Array, "batch time"]:
    """The temperature-1 log-probability of each token in the mask, from the hidden states before it.

    What the mask asks for is sorted to the front, then cut into chunks. A chunk's logits live only while it is scored:
    the backward pass makes them anew. Chunks without such a token are skipped at run time, so time and memory follow
    the tokens that are trained on, and the shapes do not.

    Args:
      head: `head(params, hidden)` gives float32 logits [..., V] for hidden states [..., width].
      params: the head's alone: gradients of their size are added up, in float32, once a chunk.
      hidden: [B, T, width], what the model gave for `tokens`; that at t - 1 predicts the token at t.
      tokens: i32[B, T].
      mask: bool[B, T], True at tokens to score. The first of a row is predicted by nothing.
      layout: on a mesh. Each device sorts and cuts its own rows, where B divides into the mesh's shards of rows; the
        head's gradients are added up between devices once, at the end.
      numbers: the most logits that a device holds at a time, were the vocabulary not split; None for 2**26 on a CPU and
        2**28 elsewhere.
      trained: whether `params` get a gradient; without one none is computed.

    Returns:
      f32[B, T], aligned with `tokens`; 0 where the mask is False and at the first token of a row.

    References:
      Cross-entropy in chunks: "Cut Your Losses in Large-Vocabulary Language Models", arXiv 2411.09009; here the chunks
      are of positions, for the head may be any function.
    """
    shape, width = tokens.shape, hidden.shape[-1]
    if layout is not None and shape[0] % num_row_shards(layout.mesh):
        layout = None
    groups = 1 if layout is None else num_row_shards(layout.mesh)
    flat = (groups, shape[0] // groups * shape[1])
    vocabulary = jax.eval_shape(head, params, hidden[:1, 0]).shape[-1]
    if numbers is None:
        numbers = _ON_A_CPU if platform_of(jax.typeof(hidden).sharding.mesh) == "cpu" else _ELSEWHERE
    chunk = min(max(numbers // vocabulary, 1), -(-flat[1] // _LEAST_CHUNKS))
    ahead, wanted = (jnp.pad(x[:, 1:], ((0, 0), (0, 1))).reshape(flat) for x in (tokens, mask))
    scores = _scores(_Way(head, chunk, trained, layout), params, hidden.reshape(*flat, width), ahead, wanted)
    return jnp.pad(scores.reshape(shape)[:, :-1], ((0, 0), (1, 0)))


def decoder_logprobs(
    model: Decoder,
    params: Params,
    tokens: Int[Array, "batch time"],
    length: Int[Array, " batch"],
    mask: Bool[Array, "batch time"],
    *,
    mesh: Mesh | None = None,
    numbers: int | None = None,
    trained: bool = True,
    shared: SharedPrefix | None = None,
) -> Float[Array, "batch time"]:
    """`hidden_logprobs` under a decoder.

    Args:
      model, params: a decoder and its parameters.
      tokens: right-padded rows. length: live tokens of each.
      mask, numbers: see `hidden_logprobs`.
      mesh: that rows and parameters lie on; None for one device.
      trained: whether the output layer gets a gradient; with adapters it does not.
      shared: blocks of rows begin alike, and the model computes their start once.

    Returns:
      f32[B, T], aligned with `tokens`; 0 where the mask is False and at the first token of a row.
    """
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    inputs = tokens, positions
    packed = inputs if shared is None else map(shared.pack, inputs)
    hidden: Any = model.apply(params, *packed, shared, method="hidden_states")
    hidden = hidden if shared is None else shared.unpack(hidden)
    name = "embedding" if model.config.tied_embeddings else "output"

    def head(p: Params, states: jax.Array) -> jax.Array:
        logits: Any = model.apply({"params": {name: p}}, states, method="logits")
        return logits

    layout = None if mesh is None else HeadLayout(mesh, _head_specs(model, name))
    return hidden_logprobs(
        head, params["params"][name], hidden, tokens, mask, layout=layout, numbers=numbers, trained=trained
    )


@dataclass(frozen=True, eq=False)
class _Way:
    """What of `hidden_logprobs` is no array."""

    head: Head
    chunk: int
    trained: bool
    layout: HeadLayout | None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scores(way: _Way, params: Params, hidden: jax.Array, targets: jax.Array, wanted: jax.Array) -> jax.Array:
    """Log-probs [groups, N] of the targets, 0 where they are not wanted, from hidden states [groups, N, width]."""
    return _forward(way, params, hidden, targets, wanted)[0]


def _forward(
    way: _Way, params: Params, hidden: jax.Array, targets: jax.Array, wanted: jax.Array
) -> tuple[jax.Array, tuple]:
    order, chunks, live = _front(wanted, way.chunk)
    cast = _cast(way, params, hidden)
    states, goals = (_sorted(way, x, order) for x in (hidden, targets))

    def score(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = way.head(cast, _cut(states, at, way.chunk)).astype(jnp.float32)
        total = jax.nn.logsumexp(logits, axis=-1)
        return jnp.sum(jnp.where(_is_target(logits, _cut(goals, at, way.chunk)), logits, 0.0), axis=-1) - total, total

    nothing = jnp.zeros((wanted.shape[0], way.chunk), jnp.float32)
    _, (found, totals) = jax.lax.scan(
        lambda _, at: (None, jax.lax.cond(at < live, score, lambda _: (nothing, nothing), at)), None, chunks
    )
    scores = jnp.where(wanted, _unsorted(way, found, order, wanted.shape[1]), 0.0)
    return scores, (params, hidden, targets, wanted, totals)


def _backward(way: _Way, kept: tuple, gradient: jax.Array) -> tuple:
    params, hidden, targets, wanted, totals = kept
    order, chunks, live = _front(wanted, way.chunk)
    cast = _cast(way, params, hidden)
    states, goals, slopes = (_sorted(way, x, order) for x in (hidden, targets, jnp.where(wanted, gradient, 0.0)))
    slopes = jnp.where(jnp.arange(order.shape[1]) < wanted.shape[1], slopes, 0.0)
    summed: Params = ()
    if way.trained:
        summed = jax.tree.map(lambda leaf: jnp.zeros((wanted.shape[0], *leaf.shape), jnp.float32), params)
        summed = summed if way.layout is None else way.layout.sums(summed)

    def of_group(state: jax.Array, goal: jax.Array, slope: jax.Array, total: jax.Array) -> tuple[Params, jax.Array]:
        trainable = cast if way.trained else ()
        logits, pull = jax.vjp(lambda p, x: way.head(p if way.trained else cast, x), trainable, state)
        exact = logits.astype(jnp.float32)
        error = (_is_target(exact, goal) - jnp.exp(exact - total[:, None])) * slope[:, None]
        return pull(error.astype(logits.dtype))

    def add(summed: Params, at: jax.Array, total: jax.Array) -> tuple[Params, jax.Array]:
        state, goal, slope = (_cut(x, at, way.chunk) for x in (states, goals, slopes))
        new, towards = jax.vmap(of_group)(state, goal, slope, total)
        return jax.tree.map(lambda a, b: a + b.astype(jnp.float32), summed, new), towards

    nothing = jnp.zeros((wanted.shape[0], way.chunk, hidden.shape[-1]), hidden.dtype)
    summed, towards = jax.lax.scan(
        lambda s, x: jax.lax.cond(x[0] < live, add, lambda s, *_: (s, nothing), s, *x), summed, (chunks, totals)
    )
    to_params = None
    if way.trained:
        to_params = jax.tree.map(lambda a, leaf: jnp.sum(a, axis=0).astype(leaf.dtype), summed, params)
    return to_params, _unsorted(way, towards, order, wanted.shape[1]), None, None


_scores.defvjp(_forward, _backward)


def _cast(way: _Way, params: Params, hidden: jax.Array) -> Params:
    """The head as the loops read it: cast, and gathered, once and not once a chunk."""
    cast = jax.tree.map(lambda leaf: leaf.astype(hidden.dtype), params)
    return cast if way.layout is None else way.layout.head(cast)


def _front(wanted: jax.Array, chunk: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The order that puts what is wanted first, filled up to whole chunks; where these start; how far the wanted go."""
    starts = jnp.arange(0, wanted.shape[1], chunk)
    order = jnp.argsort(~wanted, axis=1, stable=True)
    fill = len(starts) * chunk - wanted.shape[1]
    return jnp.pad(order, ((0, 0), (0, fill))), starts, jnp.max(jnp.sum(wanted, axis=1))


def _sorted(way: _Way, x: jax.Array, order: jax.Array) -> jax.Array:
    x, order = (y if way.layout is None else way.layout.rows(y) for y in (x, order))
    out = jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), axis=1)
    return out if way.layout is None else way.layout.rows(out)


def _unsorted(way: _Way, chunks: jax.Array, order: jax.Array, time: int) -> jax.Array:
    """[chunks, groups, chunk, ...] put back to where [groups, time, ...] was sorted from."""
    packed = jnp.moveaxis(chunks, 0, 1).reshape(*order.shape, *chunks.shape[3:])
    # The inverse of a permutation: a gather, where the transpose of one would be a scatter.
    return _sorted(way, packed, jnp.argsort(order[:, :time], axis=1))


def _cut(x: jax.Array, at: jax.Array, size: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, at, size, axis=1)


def _is_target(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Not a gather: over a vocabulary that is split, this needs none of the other parts."""
    return jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1) == targets[..., None]


def _head_specs(model: Decoder, name: str) -> Any:
    """Where the output layer lies, but for the axes that rows are split over."""
    specs = nn.get_partition_spec(abstract_params(model))["params"][name]
    return jax.tree.map(
        lambda spec: PartitionSpec(*(None if axis in ("data", "fsdp") else axis for axis in to_mesh_axes(spec))),
        specs,
        is_leaf=lambda spec: isinstance(spec, PartitionSpec),
    )
