"""What a run counts of its memory, beside what the compiler says and what the process then takes.

python benchmarks/memory_account.py             # several shapes: counted and compiled, MB beside the arguments
python benchmarks/memory_account.py --resident  # one update, run: the process's peak beside the compiler's figure
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sml_jax.common.executables import Executable, memory_of
from sml_jax.engine.engine import Engine
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.optimizers import adamw
from sml_jax.learn.train_state import abstract_state
from sml_jax.learn.update import Learner
from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import sharded_param_shapes
from sml_jax.run.memory_liveness import temporary_bytes
from sml_jax.sharding import make_mesh

MB = 1e6
TINY = dict(vocab_size=512, embed_dim=64, layers=4, heads=4, kv_heads=2, head_dim=16, mlp_dim=192, max_length=512)
SMOLLM2 = dict(
    vocab_size=49152, embed_dim=576, layers=30, heads=9, kv_heads=3, head_dim=64, mlp_dim=1536, max_length=2048
)
# Name, changes of the shape, rows and tokens of a micro-batch.
UPDATES: list[tuple[str, dict[str, Any], int, int]] = [
    ("tiny", TINY, 8, 128),
    ("tiny, dots", {**TINY, "remat": "dots"}, 8, 128),
    ("tiny, layer", {**TINY, "remat": "layer"}, 8, 128),
    ("tiny, bfloat16", {**TINY, "dtype": "bfloat16"}, 16, 128),
    ("tiny, long rows", TINY, 4, 512),
    ("tiny, adapters", {**TINY, "lora": LoraConfig(rank=4), "tied_embeddings": False}, 16, 128),
    ("SmolLM2", SMOLLM2, 16, 256),
    ("SmolLM2, dots", {**SMOLLM2, "remat": "dots"}, 16, 256),
    ("SmolLM2, layer", {**SMOLLM2, "remat": "layer"}, 16, 256),
]


def gradients(shape: dict[str, Any], rows: int, length: int) -> Executable:
    """The executable that adds up the gradients of a micro-batch."""
    model, mesh, optimizer = Decoder(DecoderConfig(**shape)), make_mesh(over=jax.devices()[:1]), adamw(1e-3)
    learner = Learner(model, optimizer, PolicyLoss(), None, mesh)
    state = abstract_state(sharded_param_shapes(model, mesh), optimizer, mesh)
    return learner.programs(state, rows, length)[0]


def show(name: str, executable: Executable) -> None:
    """Prints a line of the table."""
    started = time.perf_counter()
    traced = executable.jitted.trace(*executable.args)
    counted = temporary_bytes(traced, wide_bfloat16=True)
    traced_at = time.perf_counter()
    compiled = memory_of(traced.lower().compile()).added
    seconds = f"{traced_at - started:.1f} s | {time.perf_counter() - traced_at:.1f} s"
    ratio = compiled / counted
    print(
        f"| {name}: {executable.name} | {counted / MB:,.1f} | {compiled / MB:,.1f} | {ratio:.2f} | {seconds} |",
        flush=True,
    )


def status(field: str) -> float:
    """A field of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MB for line in lines if line.startswith(f"{field}:"))


def run_one(shape: dict[str, Any], rows: int, length: int) -> None:
    """Runs an update of SmolLM2's shape and prints how far the process grew while it ran."""
    executable = gradients(shape, rows, length)
    compiled = executable.jitted.lower(*executable.args).compile()
    arguments = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding), executable.args)
    jax.block_until_ready(arguments)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    jax.block_until_ready(compiled(*arguments))
    grown, added = status("VmHWM") - before, memory_of(compiled).added / MB
    print(f"{executable.name}: the process grew by {grown:,.0f} MB; the compiler says {added:,.0f} MB")


def main() -> None:
    """Prints the table, or runs one update."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resident", action="store_true")
    if parser.parse_args().resident:
        run_one({**SMOLLM2, "remat": "layer"}, 16, 256)
        return
    print("| what | counted, MB | compiler, MB | compiler / counted | traced | compiled |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, shape, rows, length in UPDATES:
        show(name, gradients(shape, rows, length))
    for name, shape in (("tiny", TINY), ("SmolLM2", SMOLLM2)):
        engine = Engine(
            Decoder(DecoderConfig(**shape)), 16, 256, 32, (0,), (1,), mesh=make_mesh(over=jax.devices()[:1])
        )
        for number in (1, 3):
            show(name, engine.programs()[number])


if __name__ == "__main__":
    main()
