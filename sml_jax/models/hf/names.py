"""How each parameter is stored in a Hugging Face folder: the tensor's name, and how its axes map onto ours.

Our parameters have separate axes for heads and are stacked over the layers. Stored tensors are matrices [out, in], one
for each layer. The names come from `sml_jax.families`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from sml_jax.models.config import DecoderConfig
from sml_jax.models.hf.config import family_of_config

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
    """

    name: str
    shape: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def stacked(self) -> bool:
        """Whether the parameter has a leading axis of layers, each of which is stored as its own tensor."""
        return "{layer}" in self.name

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of the stored tensor, of one layer if the parameter is stacked."""
        return tuple(prod(self.shape[axis] for axis in group) for group in self.groups)

    def names(self, layers: int) -> list[str]:
        """The names of the tensors that hold the parameter: `layers` names if it is stacked, else one."""
        return [self.name.format(layer=i) for i in range(layers)] if self.stacked else [self.name]

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
            outer, *inner = group
            start, stop, _ = index[outer].indices(self.shape[outer])
            # Slices of an inner axis would not be contiguous in the stored tensor.
            assert all(index[axis].indices(self.shape[axis]) == (0, self.shape[axis], 1) for axis in inner)
            inner_size = prod(self.shape[axis] for axis in inner)
            stored_slices.append(slice(start * inner_size, stop * inner_size))
        return tuple(stored_slices)

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

    def placement(
        ours: str, shape: tuple[int, ...], groups: tuple[tuple[int, ...], ...], kind: str = "weight"
    ) -> Placement:
        return Placement(f"{names[ours]}.{kind}", shape, groups)

    placement_of: dict[ParamPath, Placement] = {
        ("embedding", "embedding"): placement("embedding", (c.vocab_size, c.embed_dim), ((0,), (1,))),
        ("final_norm", "scale"): placement("final_norm", (c.embed_dim,), ((0,),)),
    }
    if not c.tied_embeddings:
        placement_of["output", "kernel"] = placement("output", (c.embed_dim, c.vocab_size), ((1,), (0,)))

    # Attention: the stored matrices merge the axes of heads and of numbers in a head.
    for name, heads in (("query", c.heads), ("key", c.kv_heads), ("value", c.kv_heads)):
        shape = (c.embed_dim, heads, c.head_dim)
        placement_of["layers", "attention", name, "kernel"] = placement(name, shape, ((1, 2), (0,)))
        if c.qkv_bias:
            placement_of["layers", "attention", name, "bias"] = placement(name, shape[1:], ((0, 1),), "bias")
        # Values are never normed.
        if c.qk_norm and name != "value":
            norm_name = f"{name}_norm"
            placement_of["layers", "attention", norm_name, "scale"] = placement(norm_name, (c.head_dim,), ((0,),))
    out_shape = (c.heads, c.head_dim, c.embed_dim)
    placement_of["layers", "attention", "out", "kernel"] = placement("out", out_shape, ((2,), (0, 1)))

    for name in ("gate", "up", "down"):
        mlp_shape = (c.mlp_dim, c.embed_dim) if name == "down" else (c.embed_dim, c.mlp_dim)
        placement_of["layers", "mlp", name, "kernel"] = placement(name, mlp_shape, ((1,), (0,)))

    # Every family has the norms before attention and MLP; only some have those after.
    post_norms = ("attention_post_norm", "mlp_post_norm") if c.post_norms else ()
    for name in ("attention_norm", "mlp_norm", *post_norms):
        placement_of["layers", name, "scale"] = placement(name, (c.embed_dim,), ((0,),))
    return placement_of
