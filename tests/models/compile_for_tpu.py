"""Compiles a small Gemma 3's loss and gradients for four TPU chips that are not here; prints its number of kernels."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import sharded_param_shapes
from sml_jax.sharding import AXES, row_sharding

CONFIG = DecoderConfig(
    vocab_size=512, embed_dim=256, layers=2, heads=4, kv_heads=2, head_dim=64, mlp_dim=512, max_length=512,
    dtype="bfloat16", layer_pattern=("local", "global"), window=128, qk_norm=True, post_norms=True, norm_plus_one=True,
    remat=True,
)  # fmt: skip


def main() -> None:
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    mesh = Mesh(np.array(devices).reshape(1, 2, 2), AXES, axis_types=(AxisType.Auto,) * 3)
    model = Decoder(CONFIG)
    tokens = jax.ShapeDtypeStruct((4, 500), jnp.int32, sharding=row_sharding(mesh))

    def loss(params: dict, rows: jax.Array) -> jax.Array:
        positions = jnp.broadcast_to(jnp.arange(rows.shape[1]), rows.shape)
        hidden = model.apply(params, rows, positions, method="hidden_states")
        return jnp.square(hidden.astype(jnp.float32)).mean()

    gradient = jax.grad(loss)
    program = jax.jit(gradient).lower(sharded_param_shapes(model, mesh), tokens).compile()
    print(program.as_text().count('custom_call_target="tpu_custom_call"'))


if __name__ == "__main__":
    main()
