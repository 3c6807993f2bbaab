"""Parameters as the engine reads them: a tree for each layer, in the compute type, laid out for rollouts."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import flax.struct
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sml_jax.models.decoder import Decoder, abstract_params
from sml_jax.sharding import to_mesh_axes

_CAST = ("kernel", "bias", "embedding")  # what modules would cast at each use; norms and adapters stay as they are


@flax.struct.dataclass
class LayerParams:
    """A decoder's parameters taken apart: `outside` the layers, and one tree for each of the `layers`.

    Both are of the form that Flax's `apply` takes.
    """

    outside: Any
    layers: tuple[Any, ...]


def unstack_layers(model: Decoder, params: Any) -> LayerParams:
    """Parameters, `{"params": ...}`, as Weights; arrays that modules would cast are cast to the compute type."""

    def cast(path: tuple, leaf: jax.Array) -> jax.Array:
        name = getattr(path[-1], "key", "")
        return leaf.astype(model.config.compute_dtype) if name in _CAST else leaf

    inner = jax.tree_util.tree_map_with_path(cast, params["params"])
    layers = inner["layers"]
    outside = {"params": {name: value for name, value in inner.items() if name != "layers"}}
    each = tuple({"params": jax.tree.map(lambda x, i=i: x[i], layers)} for i in range(model.config.layers))
    return LayerParams(outside, each)


def weight_shardings(model: Decoder, mesh: Mesh) -> LayerParams:
    """Where each array of the Weights lies on a mesh, by the logical axis rules: a tree of NamedSharding."""
    specs = nn.get_partition_spec(abstract_params(model))

    def lay(spec: PartitionSpec, stacked: bool) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*tuple(to_mesh_axes(spec))[stacked:]))

    is_spec = {"is_leaf": lambda leaf: isinstance(leaf, PartitionSpec)}
    inner = specs["params"]
    outside = {
        name: jax.tree.map(lambda s: lay(s, False), inner[name], **is_spec) for name in inner if name != "layers"
    }
    layer = {"params": jax.tree.map(lambda s: lay(s, True), inner["layers"], **is_spec)}
    return LayerParams({"params": outside}, (layer,) * model.config.layers)
