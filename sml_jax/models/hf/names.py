"""Where each parameter lies in a Hugging Face folder: the tensor's name, and how its axes map onto ours.

Ours are split into heads and stacked over the layers; theirs are matrices [out, in], one for each layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from sml_jax.models.config import DecoderConfig
from sml_jax.models.families import family_of

Path = tuple[str, ...]
Index = tuple[slice, ...]


@dataclass(frozen=True)
class Placement:
    """How one parameter is stored.

    Attributes:
      name: of the tensor, with "{layer}" where there is one for each layer.
      shape: of the parameter, of one layer where it is stacked.
      groups: for each axis of the stored tensor, the axes of the parameter that it merges, outermost first.
    """

    name: str
    shape: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def stacked(self) -> bool:
        """Whether the parameter has a leading axis of layers, each stored as a tensor of its own."""
        return "{layer}" in self.name

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of the stored tensor."""
        return tuple(prod(self.shape[axis] for axis in group) for group in self.groups)

    def names(self, layers: int) -> list[str]:
        """The names of the tensors that hold the parameter."""
        return [self.name.format(layer=i) for i in range(layers)] if self.stacked else [self.name]

    def stored_index(self, index: Index) -> Index:
        """The block of the stored tensor that holds a block of the parameter.

        Args:
          index: a slice for each axis of `shape`. Of merged axes only the outermost may be split.
        """
        block = []
        for group in self.groups:
            outer, *inner = group
            start, stop, _ = index[outer].indices(self.shape[outer])
            assert all(index[axis].indices(self.shape[axis]) == (0, self.shape[axis], 1) for axis in inner)
            size = prod(self.shape[axis] for axis in inner)
            block.append(slice(start * size, stop * size))
        return tuple(block)

    def stored_view(self, block: np.ndarray) -> np.ndarray:
        """A block of the parameter as the stored tensor has it: a view, so that either side can be written to."""
        order = [axis for group in self.groups for axis in group]
        # Merged axes are neighbours in both, so that this reshape never copies.
        return block.transpose(order).reshape([prod(block.shape[axis] for axis in group) for group in self.groups])


def placements(config: DecoderConfig) -> dict[Path, Placement]:
    """Where each parameter of a model lies, by its path below "params".

    Adapters have no place: merge them first.

    Raises:
      UserError: the configuration belongs to none of the families.
    """
    c = config
    gemma = family_of(c).gemma
    layer = "model.layers.{layer}."
    found: dict[Path, Placement] = {
        ("embedding", "embedding"): Placement("model.embed_tokens.weight", (c.vocab_size, c.embed_dim), ((0,), (1,))),
        ("final_norm", "scale"): Placement("model.norm.weight", (c.embed_dim,), ((0,),)),
    }
    if not c.tied_embeddings:
        found["output", "kernel"] = Placement("lm_head.weight", (c.embed_dim, c.vocab_size), ((1,), (0,)))

    for ours, theirs, heads in (("query", "q", c.heads), ("key", "k", c.kv_heads), ("value", "v", c.kv_heads)):
        name = f"{layer}self_attn.{theirs}_proj"
        shape = (c.embed_dim, heads, c.head_dim)
        found["layers", "attention", ours, "kernel"] = Placement(f"{name}.weight", shape, ((1, 2), (0,)))
        if c.qkv_bias:
            found["layers", "attention", ours, "bias"] = Placement(f"{name}.bias", shape[1:], ((0, 1),))
        if c.qk_norm and ours != "value":
            norm = Placement(f"{layer}self_attn.{theirs}_norm.weight", (c.head_dim,), ((0,),))
            found["layers", "attention", f"{ours}_norm", "scale"] = norm
    out = Placement(f"{layer}self_attn.o_proj.weight", (c.heads, c.head_dim, c.embed_dim), ((2,), (0, 1)))
    found["layers", "attention", "out", "kernel"] = out

    for ours in ("gate", "up", "down"):
        shape2 = (c.mlp_dim, c.embed_dim) if ours == "down" else (c.embed_dim, c.mlp_dim)
        found["layers", "mlp", ours, "kernel"] = Placement(f"{layer}mlp.{ours}_proj.weight", shape2, ((1,), (0,)))

    norms = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    if gemma:
        norms |= {
            "attention_post_norm": "post_attention_layernorm",
            "mlp_norm": "pre_feedforward_layernorm",
            "mlp_post_norm": "post_feedforward_layernorm",
        }
    for ours, theirs in norms.items():
        found["layers", ours, "scale"] = Placement(f"{layer}{theirs}.weight", (c.embed_dim,), ((0,),))
    return found
