"""The device mesh, and how rows and parameters are split over it. This room knows arrays and meshes, no models."""

from sml_jax.sharding.arrays import padded_row_count, put_global, shard_bytes, shard_rows
from sml_jax.sharding.mesh import (
    AXES,
    MeshShape,
    cache_sharding,
    decode_loop_sharding,
    host_readable,
    make_mesh,
    num_decode_loops,
    num_row_shards,
    replicated,
    row_sharding,
)
from sml_jax.sharding.rules import RULES, param_shardings, to_mesh_axes

__all__ = [
    "AXES",
    "RULES",
    "MeshShape",
    "cache_sharding",
    "decode_loop_sharding",
    "host_readable",
    "make_mesh",
    "num_decode_loops",
    "num_row_shards",
    "padded_row_count",
    "param_shardings",
    "put_global",
    "replicated",
    "row_sharding",
    "shard_bytes",
    "shard_rows",
    "to_mesh_axes",
]
