"""Parameters as the engine reads them: a tree for each layer, in the compute dtype, laid out for rollouts."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import flax.struct
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sml_jax.models.decoder import Decoder, abstract_params
from sml_jax.models.layer_kinds import layer_places, layers_of_stacks
from sml_jax.sharding import to_mesh_axes

# Flax modules would cast these at each use, so they are cast once here. Norms and adapters are used as they are.
_CAST_NAMES = ("kernel", "bias", "embedding")


@flax.struct.dataclass
class LayerParams:
    """A decoder's parameters, with the stacked layers as one tree each. All trees are what Flax's `apply` takes.

    Attributes:
      outside: `{"params": ...}` of what is not in a layer: embedding, final norm, output layer.
      layers: `{"params": ...}` of each layer.
    """

    outside: Any
    layers: tuple[Any, ...]


def unstack_layers(model: Decoder, params: Any) -> LayerParams:
    """Splits a decoder's parameters into a tree for each layer, and one for the rest.

    Arrays that modules cast to the compute dtype at each use are cast once here.

    Args:
      params: `{"params": ...}` with layers stacked along axis 0, as the trainer holds them.
    """

    def cast(path: tuple, leaf: jax.Array) -> jax.Array:
        name = getattr(path[-1], "key", "")
        return leaf.astype(model.config.compute_dtype) if name in _CAST_NAMES else leaf

    cast_params = jax.tree_util.tree_map_with_path(cast, params["params"])
    # Slices of the stacked arrays become arrays of their own: a kernel would copy a slice at every step.
    outside = {"params": {name: value for name, value in cast_params.items() if name != "layers"}}
    by_layer = tuple(
        {"params": jax.tree.map(lambda x, i=index: x[i], _at(cast_params, path))}
        for path, index in layer_places(model.config)
    )
    return LayerParams(outside, by_layer)


def weight_shardings(model: Decoder, mesh: Mesh) -> LayerParams:
    """LayerParams that hold the sharding of each array on a mesh, by the same logical axis rules as the trainer's."""
    specs = nn.get_partition_spec(abstract_params(model))

    def shardings(subtree: Any, stacked: bool) -> Any:
        def sharding(spec: PartitionSpec) -> NamedSharding:
            axes = tuple(to_mesh_axes(spec))
            return NamedSharding(mesh, PartitionSpec(*(axes[1:] if stacked else axes)))  # axis 0 counts the layers

        return jax.tree.map(sharding, subtree, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))

    inner = specs["params"]
    outside = {name: shardings(inner[name], stacked=False) for name in inner if name != "layers"}
    of_stack = {path: {"params": shardings(_at(inner, path), stacked=True)} for path in layers_of_stacks(model.config)}
    return LayerParams({"params": outside}, tuple(of_stack[path] for path, _ in layer_places(model.config)))


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    """What nested dicts hold at a path of names."""
    for name in path:
        tree = tree[name]
    return tree
