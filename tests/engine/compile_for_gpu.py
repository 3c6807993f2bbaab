"""Compiles a small Gemma 3's decoding and update for an H100 that is not here; prints what the compiler made of them.

JAX asks the GPU at hand what it can do; here it is told.
"""

import dataclasses
import json
import re
from typing import Any

import jax
from jax._src.cudnn import fused_attention_stablehlo as cudnn
from jax.experimental import topologies
from jax.sharding import Mesh
from jax_plugins import xla_cuda13

from sml_jax.engine.sampling import Sampling
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.optimizers import adamw
from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops import attention
from sml_jax.plan.job import Dialogues, Job, Update
from sml_jax.plan.phases import phases_of
from sml_jax.sharding import make_mesh, shard_bytes

# As XLA describes the card: https://github.com/openxla/xla/tree/main/xla/backends/gpu/target_config/specs
H100 = """gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 } runtime_version { major: 13 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
CONFIG = DecoderConfig(
    vocab_size=4096, embed_dim=256, layers=4, heads=4, kv_heads=1, head_dim=256, mlp_dim=512, max_length=4096,
    dtype="bfloat16", layer_pattern=("local", "global"), window=128, qk_norm=True, post_norms=True, norm_plus_one=True,
    remat=True,
)  # fmt: skip
LENGTH = 2003


def devices(count: int) -> list[Any]:
    """Devices of an H100 machine that is not here."""
    try:
        xla_cuda13.initialize()
    except Exception as error:
        # Importing JAX has registered the plugin already, which then looked for a GPU in vain.
        if "ALREADY_EXISTS" not in str(error):
            raise
    found = topologies.get_topology_desc("h100", platform="cuda", topology=f"1x1x{count}", target_config=H100)
    return list(found.devices)


def compile_all(config: DecoderConfig, mesh: Mesh) -> dict[str, Any]:
    """By the first word of each executable's name: bytes of a device, and how many fused attentions it calls.

    "cache" holds the bytes of each of the cache's arrays on a device.
    """
    dialogues = Dialogues("online", LENGTH, 16, 2, 256, 256, 64, 64, 64, 64, teacher=False)
    update = Update("online", adamw(1e-3), PolicyLoss(), 4, 1024, 16, 1)
    job = Job(config, 16, *mesh.devices.shape, Sampling(), ((dialogues, update),), None, ())
    numbers: dict[str, Any] = {}
    planned = phases_of(job, mesh)
    for executable in (executable for phase in planned for executable in phase.executables):
        compiled = executable.jitted.trace(*executable.args).lower(lowering_platforms=("cuda",)).compile()
        text, memory = compiled.as_text(), compiled.memory_analysis()
        numbers[executable.name.split()[0]] = {
            "arguments": memory.argument_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
            "fused attention": len(re.findall(r'custom_call_target="__cudnn\$fmha', text)),
        }
    return numbers | {"cache": [shard_bytes(leaf) for leaf in jax.tree.leaves(planned[0].state["student's cache"])]}


def main() -> None:
    # JAX and our attention ask the GPU at hand for its generation.
    attention._cuda_generation = lambda: 9  # type: ignore[assignment]
    cudnn.check_compute_capability = lambda capability: True
    split = dataclasses.replace(CONFIG, kv_heads=2)
    found = {
        "one": compile_all(CONFIG, make_mesh(over=devices(1))),
        "loops": compile_all(split, make_mesh(8, over=devices(8))),
        "split": compile_all(split, make_mesh(2, 2, 2, over=devices(8))),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
