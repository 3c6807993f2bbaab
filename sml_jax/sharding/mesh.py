"""The device mesh and the shardings that belong to it.

A mesh has three axes. `data` and `fsdp` both split rows (dialogues, micro-batches); `fsdp` also splits parameters,
which are gathered where they are used; `tensor` splits heads and the inside of the MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sml_jax.common.errors import UserError

AXES = ("data", "fsdp", "tensor")


@dataclass(frozen=True)
class MeshShape:
    """The sizes of a mesh's axes; see `make_mesh`. One may be -1: all devices divided by the product of the others."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, over: Sequence[Any] | None = None) -> Mesh:
    """Makes a mesh with the axes `data`, `fsdp` and `tensor`.

    JAX lists devices process by process, so `tensor`, then `fsdp`, stays within one process as far as possible.

    Args:
      data, fsdp, tensor: the sizes of the axes. One may be -1: the number of devices divided by the product of the
        others.
      over: the devices to use; None for all devices of all processes.

    Raises:
      UserError: the sizes do not multiply to the number of devices, or more than one is -1.
    """
    sizes, count = [data, fsdp, tensor], jax.device_count() if over is None else len(over)
    # At most one size may be left open, and it takes the devices that the others leave.
    if sizes.count(-1) > 1 or any(size == 0 or size < -1 for size in sizes):
        raise UserError(f"mesh: sizes are {dict(zip(AXES, sizes, strict=True))}; give positive ones, at most one -1")
    if -1 in sizes:
        product_of_others = int(np.prod([size for size in sizes if size != -1]))
        sizes[sizes.index(-1)] = max(count // product_of_others, 1)
    if int(np.prod(sizes)) != count:
        raise UserError(
            f"mesh: {dict(zip(AXES, sizes, strict=True))} is not {count} devices: give sizes whose product is "
            f"{count}, or -1 for one of them"
        )
    # Auto: the compiler decides how intermediate arrays are split.
    axis_types = (jax.sharding.AxisType.Auto,) * 3
    try:
        return jax.make_mesh(tuple(sizes), AXES, axis_types=axis_types, devices=over)
    except NotImplementedError:
        # A TPU's torus may have no axes of these sizes (data 4 x fsdp 4 x tensor 8 on 8 x 16 chips): allow JAX to
        # split one of the torus' axes.
        devices = jax.devices() if over is None else over
        device_grid = mesh_utils.create_device_mesh(tuple(sizes), devices, allow_split_physical_axes=True)
        return Mesh(device_grid, AXES, axis_types=axis_types)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array of which every device holds a complete copy."""
    return NamedSharding(mesh, PartitionSpec())


def host_readable(mesh: Mesh) -> NamedSharding | None:
    """The output sharding for small results of a compiled function that every process must be able to read.

    It is `replicated`, or None (XLA chooses) if one process owns all devices and can read every array anyway.
    """
    return None if replicated(mesh).is_fully_addressable else replicated(mesh)


def row_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding of arrays of rows: dimension `axis`, which counts rows, is split over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(*([None] * axis), ("data", "fsdp")))


def num_row_shards(mesh: Mesh) -> int:
    """Into how many shards a mesh splits rows: data * fsdp. The number of rows of an array must be a multiple of it."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def cache_sharding(mesh: Mesh, time_axis: int = 2, kv_heads: int | None = None) -> NamedSharding:
    """The sharding of key-value caches: rows over `data` and `fsdp`, heads over `tensor`.

    Args:
      mesh: the devices.
      time_axis: the dimension that counts tokens: 2 for [rows, kv_heads, time, head_dim], 1 for
        [rows, time, kv_heads, head_dim].
      kv_heads: number of heads. A single one, which all query heads share, is whole on every device.
    """
    if kv_heads == 1:
        return row_sharding(mesh)
    # The head axis stands before or after the time axis.
    head_axes = (None, "tensor") if time_axis == 1 else ("tensor",)
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp"), *head_axes))


def num_decode_loops(mesh: Mesh) -> int:
    """Number of independent decode loops: one per `data` shard, or 1 when `fsdp` or `tensor` shard the weights.

    Independent loops do not wait for each other at every step. XLA (jaxlib 0.10.2) cannot partition a program over
    `fsdp` or `tensor` inside a `shard_map` over `data`, hence the single loop there.
    """
    return mesh.shape["data"] if mesh.shape["fsdp"] == mesh.shape["tensor"] == 1 else 1


def decode_loop_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of an array with one number for each decode loop: each number is on the devices of its loop."""
    return NamedSharding(mesh, PartitionSpec("data")) if num_decode_loops(mesh) > 1 else replicated(mesh)
