"""How each parameter is stored in a Hugging Face folder: the tensor's name, and how its axes map onto ours.

Our parameters have separate axes for heads and are stacked over the layers of a kind. Stored tensors are matrices
[out, in], one for each layer. The names come from `sml_jax.families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from sml_jax.models.config import DecoderConfig
from sml_jax.models.hf.config import family_of_config
from sml_jax.models.layer_kinds import LayerKind, layer_kinds, layers_of_stacks

ParamPath = tuple[str, ...]
"""Names of nested dicts down to a parameter, below "params"."""

Index = tuple[slice, ...]
"""A slice for each axis of an array."""


@dataclass(frozen=True)
class Placement:
    """The tensor of a Hugging Face folder that holds one parameter, and how the parameter's axes map to its axes.

    Attributes:
      name: the tensor's name. It contains "{layer}" if each layer has its own tensor.
      shape: the parameter's shape, without the axis of layers.
      groups: for each axis of the stored tensor, the axes of the parameter that are merged in it, outermost first.
      layers: the numbers of the layers that the parameter holds, in the order of its leading axis; () if it belongs to
        no layer and has no such axis.
      first_row: where the parameter begins on the first axis of the stored tensor, which holds others too.
      all_rows: length of that axis; None if the tensor holds this parameter alone.
    """

    name: str
    shape: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    layers: tuple[int, ...] = ()
    first_row: int = 0
    all_rows: int | None = None

    @property
    def stacked(self) -> bool:
        """Whether the parameter has a leading axis of layers, each of which is stored as its own tensor."""
        return bool(self.layers)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of the stored tensor, of one layer if the parameter is stacked."""
        rows, *others = (prod(self.shape[axis] for axis in group) for group in self.groups)
        return (rows if self.all_rows is None else self.all_rows, *others)

    def names(self) -> list[str]:
        """The names of the tensors that hold the parameter: one for each of its layers if it is stacked, else one."""
        return [self.name.format(layer=i) for i in self.layers] if self.stacked else [self.name]

    def stored_index(self, index: Index) -> Index:
        """Where the stored tensor holds a block of the parameter.

        Args:
          index: the block: a slice for each axis of `shape`. Where several axes are merged into one stored axis, only
            the outermost may be sliced.

        Returns:
          A slice for each axis of the stored tensor.
        """
        stored_slices = []
        for group in self.groups:
            # An axis of length one, which the parameter does not have.
            if not group:
                stored_slices.append(slice(0, 1))
                continue
            outer, *inner = group
            start, stop, _ = index[outer].indices(self.shape[outer])
            # Slices of an inner axis would not be contiguous in the stored tensor.
            assert all(index[axis].indices(self.shape[axis]) == (0, self.shape[axis], 1) for axis in inner)
            inner_size = prod(self.shape[axis] for axis in inner)
            stored_slices.append(slice(start * inner_size, stop * inner_size))
        first, *others = stored_slices
        return (slice(self.first_row + first.start, self.first_row + first.stop), *others)

    def stored_view(self, block: np.ndarray) -> np.ndarray:
        """A view of a block of the parameter (axes as in `shape`) with the axes of the stored tensor.

        It shares the block's memory: writing to it fills the block.
        """
        order = [axis for group in self.groups for axis in group]
        # Merged axes are neighbours in both layouts, so this reshape never copies.
        return block.transpose(order).reshape([prod(block.shape[axis] for axis in group) for group in self.groups])


def placements(config: DecoderConfig) -> dict[ParamPath, Placement]:
    """How each parameter of a model is stored, keyed by its path below "params".

    Adapters cannot be stored in a Hugging Face folder: merge them first.

    Raises:
      UserError: the configuration belongs to none of the families.
    """
    c = config
    names = family_of_config(c).tensors

    def placement(ours: str, shape: tuple[int, ...], groups: tuple[tuple[int, ...], ...]) -> Placement:
        return Placement(f"{names[ours]}.weight", shape, groups)

    placement_of: dict[ParamPath, Placement] = {
        ("embedding", "embedding"): placement("embedding", (c.vocab_size, c.embed_dim), ((0,), (1,))),
        ("final_norm", "scale"): placement("final_norm", (c.embed_dim,), ((0,),)),
    }
    if not c.tied_embeddings:
        placement_of["output", "kernel"] = placement("output", (c.embed_dim, c.vocab_size), ((1,), (0,)))
    if c.per_layer_dim:
        width, rows = c.layers * c.per_layer_dim, c.per_layer_vocab_size or c.vocab_size
        placement_of |= {
            ("per_layer", "table", "embedding"): placement("per_layer_table", (rows, width), ((0,), (1,))),
            ("per_layer", "projection", "kernel"): placement(
                "per_layer_projection", (c.embed_dim, width), ((1,), (0,))
            ),
            ("per_layer", "norm", "scale"): placement("per_layer_projection_norm", (c.per_layer_dim,), ((0,),)),
        }
    kinds = layer_kinds(c)
    for stack, layers in layers_of_stacks(c).items():
        in_layer = _in_layer(c, kinds[layers[0]], names)
        placement_of |= {(*stack, *path): replace(place, layers=layers) for path, place in in_layer.items()}
    return placement_of


def unused_tensors(config: DecoderConfig) -> tuple[str, ...]:
    """Names of tensors that files may hold and no layer uses: keys and values of layers that read those of others."""
    names = family_of_config(config).tensors
    sharing = [layer for layer, kind in enumerate(layer_kinds(config)) if kind.shares_kv]
    return tuple(f"{names[ours]}.weight".format(layer=i) for i in sharing for ours in ("key", "value", "key_norm"))


def _in_layer(c: DecoderConfig, kind: LayerKind, names: Mapping[str, str]) -> dict[ParamPath, Placement]:
    """How each parameter of a layer of one kind is stored, keyed by its path below its stack."""
    placement_of: dict[ParamPath, Placement] = {}

    def add(
        path: ParamPath, ours: str, shape: tuple[int, ...], groups: tuple[tuple[int, ...], ...], suffix: str = ".weight"
    ) -> None:
        placement_of[path] = Placement(names[ours] + suffix, shape, groups)

    if kind.mixer == "delta_net":
        placement_of |= _in_delta_net(c, names)
    # Attention: the stored matrices merge the axes of heads and of numbers in a head.
    heads_of = {"query": c.heads, "key": kind.kv_heads, "value": kind.kv_heads}
    absent = {"key", "value"} if kind.shares_kv else {"value"} if kind.key_as_value else set()
    for name in [name for name in heads_of if name not in absent and kind.mixer == "attention"]:
        # The gate of a head's output is stored behind the head's query.
        dim = 2 * kind.head_dim if name == "query" and c.output_gate else kind.head_dim
        shape = (c.embed_dim, heads_of[name], dim)
        add(("attention", name, "kernel"), name, shape, ((1, 2), (0,)))
        if c.qkv_bias:
            add(("attention", name, "bias"), name, shape[1:], ((0, 1),), ".bias")
        # The norm of values, where there is one, has no weight.
        if c.qk_norm and name != "value":
            add(("attention", f"{name}_norm", "scale"), f"{name}_norm", (kind.head_dim,), ((0,),))
    if kind.mixer == "attention":
        add(("attention", "out", "kernel"), "out", (c.heads, kind.head_dim, c.embed_dim), ((2,), (0, 1)))

    for name in ("gate", "up", "down"):
        mlp_shape = (kind.mlp_dim, c.embed_dim) if name == "down" else (c.embed_dim, kind.mlp_dim)
        add(("mlp", name, "kernel"), name, mlp_shape, ((1,), (0,)))

    # Every family has the norms before attention and MLP; only some have those after.
    post_norms = ("attention_post_norm", "mlp_post_norm") if c.post_norms else ()
    for name in ("attention_norm", "mlp_norm", *post_norms):
        add((name, "scale"), name, (c.embed_dim,), ((0,),))
    if c.per_layer_dim:
        add(("per_layer_gate", "kernel"), "per_layer_gate", (c.embed_dim, c.per_layer_dim), ((1,), (0,)))
        add(("per_layer_out", "kernel"), "per_layer_out", (c.per_layer_dim, c.embed_dim), ((1,), (0,)))
        add(("per_layer_norm", "scale"), "per_layer_norm", (c.embed_dim,), ((0,),))
    if c.layer_scalar:
        # It is stored under the layer's own name, as no module's weight.
        add(("layer_scalar",), "layer_scalar", (1,), ((0,),), "")
    return placement_of


def _in_delta_net(c: DecoderConfig, names: Mapping[str, str]) -> dict[ParamPath, Placement]:
    """How each parameter of a delta net is stored, keyed by its path below its stack.

    Queries, keys and values share one stored matrix and one convolution, each a range of their rows.
    """
    d, net = c.delta_net, "delta_net"
    assert d is not None
    keys, values = (d.key_heads, d.key_dim), (d.value_heads, d.value_dim)
    placement_of: dict[ParamPath, Placement] = {}
    all_rows, first_row = 2 * prod(keys) + prod(values), 0
    for name, heads in (("query", keys), ("key", keys), ("value", values)):
        rows: dict[str, Any] = {"first_row": first_row, "all_rows": all_rows}
        matrix = Placement(f"{names['delta_in']}.weight", (c.embed_dim, *heads), ((1, 2), (0,)), **rows)
        # The stored convolution has an axis of one input channel for each output channel.
        conv = Placement(f"{names['delta_conv']}.weight", (*heads, d.taps), ((0, 1), (), (2,)), **rows)
        placement_of |= {(net, f"delta_{name}", "kernel"): matrix, (net, f"{name}_conv"): conv}
        first_row += prod(heads)

    def add(path: ParamPath, ours: str, shape: tuple[int, ...], groups: tuple[tuple[int, ...], ...]) -> None:
        # What is no module's weight is stored under its own name.
        suffix = "" if ours.startswith("decay_") else ".weight"
        placement_of[net, *path] = Placement(names[ours] + suffix, shape, groups)

    add(("delta_gate", "kernel"), "delta_gate", (c.embed_dim, *values), ((1, 2), (0,)))
    for name in ("delta_beta", "delta_decay"):
        add((name, "kernel"), name, (c.embed_dim, d.value_heads), ((1,), (0,)))
    for name in ("decay_log_rate", "decay_bias"):
        add((name,), name, (d.value_heads,), ((0,),))
    add(("delta_norm", "scale"), "delta_norm", (d.value_dim,), ((0,),))
    add(("delta_out", "kernel"), "delta_out", (*values, c.embed_dim), ((2,), (0, 1)))
    return placement_of
