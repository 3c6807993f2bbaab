"""Where the parameters of a model are to lie, before there are any."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from sml_jax.errors import UserError
from sml_jax.models.decoder import Decoder, abstract_params


def params_on(model: Decoder, mesh: Mesh | None) -> Any:
    """Shapes, dtypes and shardings of the parameters: a tree of `jax.ShapeDtypeStruct`, `{"params": ...}`.

    Args:
      model: the decoder.
      mesh: lays them out by the rules of `sml_jax.sharding`; None puts them on the first device.

    Raises:
      UserError: a dimension that the mesh does not divide, naming the parameter.
    """
    # Imported here, since the mesh's room stands above this one.
    from sml_jax.sharding.mesh import by_rules

    boxed = abstract_params(model)
    shapes, specs = nn.unbox(boxed), nn.get_partition_spec(boxed)

    def place(path: tuple, leaf: jax.ShapeDtypeStruct, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
        sharding: Sharding
        if mesh is None:
            sharding = SingleDeviceSharding(jax.local_devices()[0])
        else:
            physical = by_rules(spec)
            for size, axis in zip(leaf.shape, physical, strict=False):
                if axis is not None and size % mesh.shape[axis]:
                    raise UserError(
                        f"mesh: parameter {jax.tree_util.keystr(path)} has a dimension of {size}, which {axis}="
                        f"{mesh.shape[axis]} does not divide: choose another {axis}"
                    )
            sharding = NamedSharding(mesh, physical)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree_util.tree_map_with_path(place, shapes, specs)


def shapes_by_path(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a tree, by its names with slashes between them."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
