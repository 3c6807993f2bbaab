"""Measures how long one step of decoding takes.

The model is the benchmarks' one of 8.4 M parameters; the rows' contexts fill three quarters of their caches; a repeat
is one call of `--steps` steps. You set XLA_FLAGS yourself (below: for a CPU with AVX-512; see "On a CPU" in
docs/engine.md).

    XLA_FLAGS="--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false \\
        --xla_disable_hlo_passes=tree_reduction_rewriter --xla_cpu_prefer_vector_width=512" \\
        python benchmarks/decode_step.py --rows=64 --capacity=192
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from ours import EngineShapes, engine_of, model_of
from setting import Setting

from sml_jax.models.ops import native_product


def main(argv: Sequence[str] | None = None, setting: Setting | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 64), ("capacity", 192), ("steps", 32), ("repeats", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--attention", choices=("native", "xla"), default="native", help="over the caches")
    parser.add_argument("--one_core", action="store_true", help="one core computes the products of few rows (XLA's)")
    flags, setting = parser.parse_args(argv), setting or Setting()
    if flags.one_core:
        native_product.MAX_ROWS = 0
    model, params = model_of(setting, flags.attention)
    shapes = EngineShapes(capacity_step=flags.capacity, decode_steps=flags.steps)
    engine = engine_of(setting, model, flags.rows, flags.capacity, flags.steps, [1], shapes)
    weights, cache = engine.prepare_params(params), engine.empty_cache(flags.capacity)
    tokens = np.full(flags.rows, 5, np.int32)
    start, limit = np.full_like(tokens, 3 * flags.capacity // 4), np.full_like(tokens, flags.steps)
    keys = engine.turn_keys(jax.random.key(0), tokens, np.arange(flags.rows, dtype=np.uint32))
    milliseconds = []
    for _ in range(flags.repeats + 1):
        started = time.perf_counter()
        _, out = engine.decode(weights, cache, tokens, start, limit, keys)
        jax.block_until_ready(out)
        seconds = time.perf_counter() - started
        # Where all rows happen to end early, the call has fewer steps.
        milliseconds.append(1e3 * seconds / int(out.count.max()))
    # The first call is a warm-up.
    median, least = statistics.median(milliseconds[1:]), min(milliseconds[1:])
    setup = f"{flags.rows} rows on {engine.mesh.size} devices, caches of {flags.capacity}"
    print(f"{setup}: {median:.2f} ms a step, least {least:.2f}")


if __name__ == "__main__":
    main()
