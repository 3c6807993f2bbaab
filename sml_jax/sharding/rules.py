"""Which mesh axis splits which dimension of a parameter.

Modules name the dimensions of their parameters by what they mean ("embed", "heads", ...: logical axes). `RULES` maps
each logical axis to an axis of the device mesh, so a model says nothing about devices.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sml_jax.common.errors import UserError

# An fsdp shard holds a slice of every kernel along the hidden state; a tensor shard holds some heads and a slice of
# the MLP, so that one all-reduce after attention and one after the MLP suffice (Megatron, arXiv 1909.08053).
RULES: tuple[tuple[str, str | None], ...] = (
    ("vocab", "tensor"),
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("mlp", "tensor"),
    ("head_dim", None),
    ("per_layer", None),
    ("layers", None),
)
"""Pairs of a logical axis and the mesh axis that splits it; None leaves the dimension whole on every device."""


def to_mesh_axes(spec: PartitionSpec) -> PartitionSpec:
    """Translates a PartitionSpec of logical axes ("embed", ...) into one of mesh axes ("fsdp", ...), by `RULES`."""
    rules = dict(RULES)
    return PartitionSpec(*(rules[axis] if axis is not None else None for axis in spec))


def param_shardings(mesh: Mesh, specs: Any, params: Any) -> Any:
    """The sharding of each parameter on a mesh, by `RULES`.

    Args:
      mesh: the devices.
      specs: a tree of `PartitionSpec`, the logical axes of each parameter (`flax.linen.get_partition_spec`).
      params: a tree of the same structure whose leaves have a `shape`: arrays or `jax.ShapeDtypeStruct`.

    Returns:
      A tree of `NamedSharding`.

    Raises:
      UserError: a mesh axis does not divide the dimension that it splits; the error names the parameter.
    """

    def of_param(path: tuple, spec: PartitionSpec, param: Any) -> NamedSharding:
        mesh_spec = to_mesh_axes(spec)
        # An uneven split would be padded by the compiler in silence, or refused much later without a name.
        for size, axis in zip(param.shape, mesh_spec, strict=False):
            if axis is not None and size % mesh.shape[axis]:
                raise UserError(
                    f"mesh: parameter {jax.tree_util.keystr(path)} has a dimension of {size}, which {axis}="
                    f"{mesh.shape[axis]} does not divide: choose another {axis}"
                )
        return NamedSharding(mesh, mesh_spec)

    # A PartitionSpec is a tuple, which tree functions would otherwise take apart.
    return jax.tree_util.tree_map_with_path(
        of_param, specs, params, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec)
    )
