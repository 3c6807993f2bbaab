"""Caches of recurrent layers: two states of each row, of which the host says which is read and which is written.

A state is replaced as a whole by every call, so nothing of it can be taken back. The second place is for the state at
the start of a row's turn (`turn_states`). A call reads the state at one place and writes to the same or to the other.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int

from sml_jax.models.config import DecoderConfig
from sml_jax.models.delta_net import DeltaState, empty_state

PLACES = 2  # states of a row


def empty_states(config: DecoderConfig, rows: int) -> DeltaState:
    """One layer's states of zeros, [rows, 2, ...]."""
    return jax.tree.map(lambda array: jnp.stack([array] * PLACES, axis=1), empty_state(config, rows))


def state_shardings(config: DecoderConfig, mesh: Mesh, of_results: bool) -> DeltaState:
    """The sharding of each array of a layer's states on a mesh: rows over `data` and `fsdp`, heads over `tensor`.

    Args:
      config: the model's configuration.
      mesh: the devices.
      of_results: of what calls return, one state of each row, in place of the cache's two.
    """
    d = config.delta_net
    assert d is not None
    rows = (("data", "fsdp"),) if of_results else (("data", "fsdp"), None)
    memory, value = (NamedSharding(mesh, PartitionSpec(*rows, *axes)) for axes in (("tensor",), (None, "tensor")))
    # A single key head, which all value heads share, is whole on every device.
    key = NamedSharding(mesh, PartitionSpec(*rows)) if d.key_heads == 1 else value
    shardings: tuple = (memory, key, key, value)
    return DeltaState(*shardings)


def read_states(states: DeltaState, start: Int[Array, " batch"], places: Int[Array, "batch 2"] | None) -> DeltaState:
    """The state that each row of a batch goes on from, [batch, ...].

    Args:
      states: of the batch's rows, [batch, 2, ...].
      start: tokens that a row's cache holds. A row that holds none begins with zeros, whatever the cache says.
      places: the place of the state that a row reads, and of the one that it writes.
    """
    assert places is not None

    def read(array: jax.Array) -> jax.Array:
        by_row = (-1, *[1] * (array.ndim - 2))
        present = jnp.where((places[:, 0] == 0).reshape(by_row), array[:, 0], array[:, 1])
        return jnp.where((start > 0).reshape(by_row), present, 0)

    return jax.tree.map(read, states)


def write_states(
    old: DeltaState,
    new: DeltaState,
    rows: Int[Array, "shards few"],
    wanted: Bool[Array, " batch"],
    places: Int[Array, "batch 2"] | None,
) -> DeltaState:
    """One layer's states with a new one for each of some rows.

    Args:
      old: of all rows, [rows, 2, ...].
      new: of the batch, [batch, ...].
      rows: row numbers within their shard; nothing is written for a number past the shard's rows.
      wanted: which rows are written at all.
      places: see `read_states`.
    """
    assert places is not None
    shards = rows.shape[0]
    rows_per_shard = old.memory.shape[0] // shards
    # The scatter drops a state whose row does not exist, so an unwanted one is sent past the last row.
    targets = jnp.where(wanted.reshape(rows.shape), rows, rows_per_shard)
    target_places = places[:, 1].reshape(rows.shape)

    def put(array: jax.Array, updates: jax.Array) -> jax.Array:
        # With the shards as an axis of its own, the partitioner sees that no state crosses to another device.
        by_shard = array.reshape(shards, -1, *array.shape[1:]), updates.reshape(shards, -1, *updates.shape[1:])
        written = jax.vmap(
            lambda states, new, row, place: states.at[row, place].set(new.astype(states.dtype), mode="drop")
        )(*by_shard, targets, target_places)
        return written.reshape(array.shape)

    return jax.tree.map(put, old, new)


def copy_states(
    states: DeltaState, source: DeltaState, target: Int[Array, "shards few"], places: Int[Array, "batch 2"] | None
) -> DeltaState:
    """One layer's states with those of some rows copied to others of their shard.

    Args:
      states: of all rows, [rows, 2, ...].
      source: both states of the row that each target copies from, [batch, 2, ...].
      target: row numbers within their shard; nothing is copied for a number past the shard's rows.
      places: the place of the state that is copied, and the place that it is copied to.
    """
    all_rows = jnp.ones(target.size, bool)
    return write_states(states, read_states(source, all_rows.astype(jnp.int32), places), target, all_rows, places)
