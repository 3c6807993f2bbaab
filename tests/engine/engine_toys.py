"""The tiny model's shape and its tokens, shared by the engine's tests."""

import jax
from jax.sharding import Mesh

from sml_jax.models.config import DecoderConfig
from sml_jax.sharding import AXES

END, OTHER_END, SUPPRESSED = 2, 9, 5
CONFIG = DecoderConfig(
    vocab_size=14,
    embed_dim=16,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    mlp_dim=16,
    max_length=64,
    layer_pattern=("local", "global"),
    window=5,
    rope_base=1e5,
    rope_local_base=1e4,
    qk_norm=True,
)


def mesh_of(data: int, fsdp: int, tensor: int) -> Mesh:
    """A mesh over the first devices."""
    devices = jax.devices()[: data * fsdp * tensor]
    return jax.make_mesh((data, fsdp, tensor), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3, devices=devices)
