"""Moving host arrays onto a mesh, also where several processes hold a part of its devices each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding

from sml_jax.sharding.mesh import num_row_shards, row_sharding


def put_global(array: Any, sharding: Sharding) -> jax.Array:
    """Puts an array that every process holds in full onto a mesh: each process fills the devices that it owns.

    Args:
      array: a NumPy or JAX array (random keys too) with the same values in every process, or an array that lies on
        the mesh already.
      sharding: where the array goes. With one process this function is `jax.device_put`.
    """
    on_the_mesh = isinstance(array, jax.Array) and not array.is_fully_addressable
    if sharding.is_fully_addressable or on_the_mesh:
        return jax.device_put(array, sharding)
    # NumPy cannot hold random keys: send the numbers that they consist of.
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = put_global(jax.random.key_data(array), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    # jax.device_put would compare the array between all processes on each call.
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def padded_row_count(mesh: Mesh, rows: int) -> int:
    """`rows` rounded up to a multiple of the number of parts that the mesh splits rows into."""
    return rows + -rows % num_row_shards(mesh)


def shard_rows(mesh: Mesh, rows: Any) -> Any:
    """Splits the first dimension of each array of a tree over `data` and `fsdp`, padded with zeros until it divides.

    Without the padding JAX could not split the rows, and every device would compute all of them.
    """

    def pad_and_put(leaf: np.ndarray) -> jax.Array:
        missing = padded_row_count(mesh, len(leaf)) - len(leaf)
        return put_global(np.pad(leaf, ((0, missing),) + ((0, 0),) * (leaf.ndim - 1)), row_sharding(mesh))

    return jax.tree.map(pad_and_put, rows)
