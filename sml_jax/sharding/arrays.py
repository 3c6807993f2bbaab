"""Moving host arrays onto a mesh, also where several processes hold a part of its devices each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding

from sml_jax.sharding.mesh import num_row_shards, row_sharding


def put_global(array: Any, sharding: Sharding) -> jax.Array:
    """Puts an array of which every process has a complete copy onto a mesh: each process fills its own devices.

    Args:
      array: a NumPy or JAX array (random keys too) with the same values in every process, or an array that is on the
        mesh already.
      sharding: the sharding of the result.

    Returns:
      The array on the mesh. With one process this is `jax.device_put(array, sharding)`.
    """
    is_on_mesh = isinstance(array, jax.Array) and not array.is_fully_addressable
    if sharding.is_fully_addressable or is_on_mesh:
        return jax.device_put(array, sharding)
    # NumPy cannot hold random keys: send the numbers that they consist of.
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        key_numbers = put_global(jax.random.key_data(array), sharding)
        return jax.random.wrap_key_data(key_numbers, impl=jax.random.key_impl(array))
    # jax.device_put would compare the array between all processes on each call.
    host_array = np.asarray(array)
    return jax.make_array_from_callback(host_array.shape, sharding, lambda index: host_array[index])


def padded_row_count(mesh: Mesh, rows: int) -> int:
    """A number of rows, rounded up to a multiple of the mesh's row shards (`num_row_shards`)."""
    return rows + -rows % num_row_shards(mesh)


def shard_rows(mesh: Mesh, rows: Any) -> Any:
    """Puts arrays of rows onto a mesh, with their first dimension split over `data` and `fsdp`.

    Rows of zeros are added until the number of rows is a multiple of the row shards. Otherwise JAX could not split the
    rows, and every device would compute all of them.

    Args:
      mesh: the devices.
      rows: a tree of NumPy arrays, with the same values in every process.

    Returns:
      A tree of the same structure with the arrays on the mesh.
    """

    def pad_and_put(leaf: np.ndarray) -> jax.Array:
        rows_to_add = padded_row_count(mesh, len(leaf)) - len(leaf)
        return put_global(np.pad(leaf, ((0, rows_to_add),) + ((0, 0),) * (leaf.ndim - 1)), row_sharding(mesh))

    # Every array of the tree counts the same rows, so all of them are padded alike.
    return jax.tree.map(pad_and_put, rows)


def shard_bytes(tree: Any) -> float:
    """Number of bytes that the (abstract) arrays of a tree take on one device."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape)
        # A random key has no itemsize of its own; it is stored as unsigned integers.
        dtype = jnp.uint32 if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype
        total += int(np.prod(shape)) * jnp.dtype(dtype).itemsize
    return float(total)
