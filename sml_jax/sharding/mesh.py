"""The device mesh and where things lie on it: rows over `data` and `fsdp`, parameters by logical axis rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from sml_jax.errors import UserError
from sml_jax.models.decoder import Decoder, abstract_params

AXES = ("data", "fsdp", "tensor")

# Logical axis of a parameter -> mesh axis. What is not named here is not split.
RULES: tuple[tuple[str, str | None], ...] = (
    ("vocab", "tensor"),
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("mlp", "tensor"),
    ("head_dim", None),
    ("layers", None),
)


@dataclass(frozen=True)
class MeshShape:
    """Sizes of a mesh over all devices; see `make_mesh`."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, over: Sequence[Any] | None = None) -> Mesh:
    """A mesh over all devices of all processes (or `over` these); one of the sizes may be -1, for what is left.

    `tensor`, then `fsdp`, stays within a process as far as it goes: JAX lists devices process by process.
    """
    sizes, count = [data, fsdp, tensor], jax.device_count() if over is None else len(over)
    if sizes.count(-1) > 1 or any(size == 0 or size < -1 for size in sizes):
        raise UserError(f"mesh: sizes are {dict(zip(AXES, sizes, strict=True))}; give positive ones, at most one -1")
    if -1 in sizes:
        rest = int(np.prod([size for size in sizes if size != -1]))
        sizes[sizes.index(-1)] = max(count // rest, 1)
    if int(np.prod(sizes)) != count:
        raise UserError(
            f"mesh: {dict(zip(AXES, sizes, strict=True))} is not {count} devices: give sizes whose product is "
            f"{count}, or -1 for one of them"
        )
    types = (jax.sharding.AxisType.Auto,) * 3
    try:
        return jax.make_mesh(tuple(sizes), AXES, axis_types=types, devices=over)
    except NotImplementedError:
        # A TPU's torus has no axes of these sizes (data 4 x fsdp 4 x tensor 8 on 8 x 16 chips): let an axis be split.
        devices = jax.devices() if over is None else over
        laid = mesh_utils.create_device_mesh(tuple(sizes), devices, allow_split_physical_axes=True)
        return Mesh(laid, AXES, axis_types=types)


def by_rules(spec: PartitionSpec) -> PartitionSpec:
    """A spec of logical axes as one of mesh axes, by `RULES`."""
    rules = dict(RULES)
    return PartitionSpec(*(rules[axis] if axis is not None else None for axis in spec))


def row_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Splits the rows, which are array dimension `axis`, over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(*([None] * axis), ("data", "fsdp")))


def cache_sharding(mesh: Mesh, time_axis: int = 2) -> NamedSharding:
    """Splits caches [rows, kv_heads, ...]: rows as everywhere, heads over `tensor`."""
    heads = (None, "tensor") if time_axis == 1 else ("tensor",)
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp"), *heads))


def row_shards(mesh: Mesh) -> int:
    """How many parts rows are split into: row counts must be multiples of it."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def loops(mesh: Mesh) -> int:
    """Parts of the rows that decode in loops of their own, of which none waits for another at a step.

    As many as `data` has, but one where `fsdp` or `tensor` splits weights: XLA (of jaxlib 0.10.2) cannot partition a
    program for these within a `shard_map` over `data`.
    """
    return mesh.shape["data"] if mesh.shape["fsdp"] == mesh.shape["tensor"] == 1 else 1


def loop_sharding(mesh: Mesh) -> NamedSharding:
    """Where each loop's own number lies."""
    return NamedSharding(mesh, PartitionSpec("data")) if loops(mesh) > 1 else replicated(mesh)


def put_global(array: Any, sharding: Sharding) -> jax.Array:
    """An array that every process holds whole, laid out on the mesh: each process gives its own devices their parts.

    Args:
      array: NumPy or JAX (random keys too), the same in every process; or one that lies on the mesh already.
      sharding: where to. With one process this is `jax.device_put`.
    """
    on_the_mesh = isinstance(array, jax.Array) and not array.is_fully_addressable
    if sharding.is_fully_addressable or on_the_mesh:
        return jax.device_put(array, sharding)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = put_global(jax.random.key_data(array), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    # Not device_put: it would compare the array between all processes each time.
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def host_readable(mesh: Mesh) -> NamedSharding | None:
    """How a compiled function's small results go out so that every process can read them; None leaves it to XLA."""
    return None if replicated(mesh).is_fully_addressable else replicated(mesh)


def place_params(mesh: Mesh, model: Decoder, params: Any) -> Any:
    """Parameters on the mesh: as they are if they lie on it already, else laid out by `RULES`.

    Another mesh may be one of the same devices: a rollout is often best served by more `tensor` than an update.
    """
    devices = set(mesh.devices.flat)

    def lies_there(leaf: Any) -> bool:
        if not isinstance(leaf, jax.Array) or leaf.sharding.device_set != devices:
            return False
        return not isinstance(leaf.sharding, NamedSharding) or leaf.sharding.mesh == mesh

    if all(map(lies_there, jax.tree.leaves(params))):
        return params
    return shard_params(mesh, model, params)


def filled_rows(mesh: Mesh, rows: int) -> int:
    """A number of rows, rounded up to a multiple of the mesh's row shards."""
    return rows + -rows % row_shards(mesh)


def place_rows(mesh: Mesh, rows: Any) -> Any:
    """Arrays of rows on the mesh, split over `data` and `fsdp` and filled up with rows of zeros until these divide.

    Whole on every device, rows that do not divide would be computed by each of them.
    """

    def laid(leaf: np.ndarray) -> jax.Array:
        more = filled_rows(mesh, len(leaf)) - len(leaf)
        return put_global(np.pad(leaf, ((0, more),) + ((0, 0),) * (leaf.ndim - 1)), row_sharding(mesh))

    return jax.tree.map(laid, rows)


def shard_params(mesh: Mesh, model: Decoder, params: Any) -> Any:
    """Lays parameters out on the mesh by `RULES`; a dimension that does not divide is an error naming it."""
    specs = nn.get_partition_spec(abstract_params(model))

    def lay(path: tuple, spec: PartitionSpec, leaf: jax.Array) -> jax.Array:
        physical = by_rules(spec)
        for size, axis in zip(leaf.shape, physical, strict=False):
            if axis is not None and size % mesh.shape[axis]:
                raise UserError(
                    f"mesh: parameter {jax.tree_util.keystr(path)} has a dimension of {size}, which {axis}="
                    f"{mesh.shape[axis]} does not divide: choose another {axis}"
                )
        return put_global(leaf, NamedSharding(mesh, physical))

    return jax.tree_util.tree_map_with_path(lay, specs, params, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))
