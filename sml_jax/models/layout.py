"""How the parameters of a decoder are laid out on a mesh: their shardings before they exist, and moving them there."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding

from sml_jax.models.decoder import Decoder, abstract_params
from sml_jax.sharding import param_shardings, put_global


def sharded_param_shapes(model: Decoder, mesh: Mesh | None) -> Any:
    """Shapes, dtypes and shardings of a decoder's parameters; no array is made.

    Args:
      model: the decoder.
      mesh: the devices, over which `sml_jax.sharding.RULES` split the parameters; None for the first device alone.

    Returns:
      A tree of `jax.ShapeDtypeStruct`, `{"params": ...}`.

    Raises:
      UserError: a mesh axis does not divide the dimension that it splits; the error names the parameter.
    """
    # Each abstract parameter is boxed together with its logical axes.
    boxed = abstract_params(model)
    shapes = nn.unbox(boxed)
    if mesh is None:
        # Without a mesh everything lies on the first device, as in a fresh JAX program.
        first_device = SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: first_device, shapes)
    else:
        shardings = param_shardings(mesh, nn.get_partition_spec(boxed), shapes)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )


def shard_params(mesh: Mesh, model: Decoder, params: Any) -> Any:
    """Moves parameters onto a mesh, split by `sml_jax.sharding.RULES`.

    Args:
      mesh: the devices.
      model: the decoder that the parameters belong to.
      params: `{"params": ...}` or a part of it, such as the adapters alone; the same in every process.

    Returns:
      The parameters as arrays on the mesh.

    Raises:
      UserError: a mesh axis does not divide the dimension that it splits; the error names the parameter.
    """
    # The parameters themselves carry no axis names; those come from the model.
    specs = _of_names(nn.get_partition_spec(abstract_params(model)), params)
    return jax.tree.map(put_global, params, param_shardings(mesh, specs, params))


def _of_names(tree: Any, like: Any) -> Any:
    """The part of a nested dict that has the names of another one."""
    return {name: _of_names(tree[name], value) for name, value in like.items()} if isinstance(like, dict) else tree


def place_params(mesh: Mesh, model: Decoder, params: Any) -> Any:
    """Parameters on a mesh: returned unchanged if they are on it already, else moved by `shard_params`.

    The parameters may come from another mesh of the same devices: a rollout often runs best with more `tensor` than an
    update.
    """
    devices = set(mesh.devices.flat)

    # An array whose sharding names no mesh counts as placed if it is on exactly the mesh's devices.
    def is_on_mesh(leaf: Any) -> bool:
        if not isinstance(leaf, jax.Array) or leaf.sharding.device_set != devices:
            return False
        return not isinstance(leaf.sharding, NamedSharding) or leaf.sharding.mesh == mesh

    return params if all(map(is_on_mesh, jax.tree.leaves(params))) else shard_params(mesh, model, params)


def shapes_by_path(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a tree, keyed by its path with slashes, such as "params/layers/mlp/up/kernel"."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
