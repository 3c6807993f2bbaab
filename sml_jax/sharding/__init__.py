"""The device mesh and the layout of rows and parameters on it."""

from sml_jax.sharding.mesh import (
    make_mesh,
    place_params,
    place_rows,
    put_global,
    row_sharding,
    row_shards,
    shard_params,
)

__all__ = ["make_mesh", "place_params", "place_rows", "put_global", "row_sharding", "row_shards", "shard_params"]
