"""Scoring positions in chunks: what keeps the logits of a whole batch out of memory, on one device or a mesh.

The positions that are scored are sorted to the front and cut into chunks, and the head (the output layer) is applied to
one chunk at a time. `logprobs` and `divergence` are the two scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

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


def decoder_states(
    model: Decoder, params: Params, tokens: Int[Array, "batch time"], shared: SharedPrefix | None = None
) -> Float[Array, "batch time width"]:
    """A decoder's hidden states for right-padded rows; the state at t - 1 predicts the token at t.

    Args:
      model, params: a decoder and its parameters.
      tokens: i32[B, T].
      shared: the prefix that blocks of rows have in common, which the model computes once.
    """
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    inputs = tokens, positions
    packed = inputs if shared is None else map(shared.pack, inputs)
    hidden: Any = model.apply(params, *packed, shared, method="hidden_states")
    return hidden if shared is None else shared.unpack(hidden)


def decoder_head(model: Decoder, params: Params, mesh: Mesh | None) -> tuple[Head, Params, HeadLayout | None]:
    """A decoder's output layer as a function of its own parameters, these parameters, and its layout on a mesh."""
    name = "embedding" if model.config.tied_embeddings else "output"

    def head(p: Params, states: jax.Array) -> jax.Array:
        logits: Any = model.apply({"params": {name: p}}, states, method="logits")
        return logits

    layout = None if mesh is None else HeadLayout(mesh, _head_specs(model, name))
    return head, params["params"][name], layout


def cut_rows(
    head: Head,
    params: Params,
    hidden: Float[Array, "batch time width"],
    layout: HeadLayout | None,
    max_logits: int | None,
) -> tuple[HeadLayout | None, int, int, int]:
    """How a batch's positions are cut: (layout, groups of rows, positions of a group, positions of a chunk).

    Rows are handled in groups, one for each row shard of the mesh, so that no device needs another's rows. Where the
    rows cannot be split evenly, the layout is None and all rows are one group.

    Args:
      head, params, hidden: `head(params, hidden)` gives the logits.
      layout: on a mesh. max_logits: see `chunk_size`.
    """
    rows, time, _ = hidden.shape
    if layout is not None and rows % num_row_shards(layout.mesh):
        layout = None
    groups = 1 if layout is None else num_row_shards(layout.mesh)
    positions = rows // groups * time
    vocabulary = jax.eval_shape(head, params, hidden[:1, 0]).shape[-1]
    return layout, groups, positions, chunk_size(hidden, vocabulary, positions, max_logits)


def chunk_size(hidden: jax.Array, vocabulary: int, positions: int, max_logits: int | None) -> int:
    """Positions of a chunk.

    Args:
      hidden: the hidden states, of which only the platform is read.
      vocabulary: logits of a position. positions: of a group of rows.
      max_logits: the most logits of a chunk; None for 2**26 on a CPU and 2**28 elsewhere.
    """
    if max_logits is None:
        max_logits = (
            _CHUNK_LOGITS_CPU if platform_of(jax.typeof(hidden).sharding.mesh) == "cpu" else _CHUNK_LOGITS_ACCELERATOR
        )
    return min(max(max_logits // vocabulary, 1), -(-positions // _MIN_CHUNKS))


def mask_first(scored: jax.Array, chunk: int) -> tuple[jax.Array, jax.Array, jax.Array]:
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


def sort_positions(layout: HeadLayout | None, x: jax.Array, order: jax.Array) -> jax.Array:
    """Takes [groups, N, ...] in the order given, without moving anything between groups."""
    x, order = (y if layout is None else layout.constrain_rows(y) for y in (x, order))
    out = jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), axis=1)
    return out if layout is None else layout.constrain_rows(out)


def unsort_positions(layout: HeadLayout | None, chunks: jax.Array, order: jax.Array, time: int) -> jax.Array:
    """Undoes `sort_positions`: from [chunks, groups, chunk, ...] to [groups, time, ...]."""
    packed = jnp.moveaxis(chunks, 0, 1).reshape(*order.shape, *chunks.shape[3:])
    # A gather by the inverse permutation is faster than the scatter that autodiff would make of the sort.
    return sort_positions(layout, packed, jnp.argsort(order[:, :time], axis=1))


def chunk_of(x: jax.Array, at: jax.Array, size: int) -> jax.Array:
    """`size` positions from `at` on."""
    return jax.lax.dynamic_slice_in_dim(x, at, size, axis=1)


def _head_specs(model: Decoder, name: str) -> Any:
    """The PartitionSpecs of the output layer, without the axes that rows are split over."""
    specs = nn.get_partition_spec(abstract_params(model))["params"][name]
    return jax.tree.map(
        lambda spec: PartitionSpec(*(None if axis in ("data", "fsdp") else axis for axis in to_mesh_axes(spec))),
        specs,
        is_leaf=lambda spec: isinstance(spec, PartitionSpec),
    )
