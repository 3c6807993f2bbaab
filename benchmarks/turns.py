"""Measures what a sampled token costs in long dialogues: seconds a token with 2, 4, 8 and 16 turns, and the ratio to 2.

Model and rows are those of work b in `benchmarks/peers`, with the engine's default cache capacities. In every turn
`--said` tokens are sampled and `--given` tokens are answered, in all rows at once. Repeats take the numbers of turns by
turns. Nothing is prefilled again, so only what attention reads grows with the number of turns. The script also prints
how long reading that much takes at the speed of this machine's memory. You set XLA_FLAGS yourself, as in
`decode_step.py`.

    XLA_FLAGS="--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false \\
        --xla_disable_hlo_passes=tree_reduction_rewriter --xla_cpu_prefer_vector_width=512" \\
        python benchmarks/turns.py
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import ours
from ceiling import memory_speed
from setting import Setting

TURNS = (2, 4, 8, 16)


def bytes_read(s: Setting, cache_dtype: str = "float32") -> float:
    """Bytes of caches that a sampled token reads on average: all slots of its row, its own included."""
    slots = s.prompt + (s.turns - 1) / 2 * (s.said + s.given) + (s.said + 1) / 2
    return slots * s.layers * 2 * s.kv_heads * s.head_dim * jnp.dtype(cache_dtype).itemsize


def main(argv: Sequence[str] | None = None, base: Setting | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("prompts", 8), ("samples", 8), ("said", 32), ("given", 32), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cache_dtype", choices=("float32", "bfloat16"), default="float32")
    args = parser.parse_args(argv)
    sizes = {name: getattr(args, name) for name in ("prompts", "samples", "said", "given")}
    settings = {turns: dataclasses.replace(base or Setting(), turns=turns, **sizes) for turns in TURNS}
    # Memory is measured before anything else is loaded.
    speed = memory_speed()
    shapes = ours.EngineShapes(fractions=(1,), cache_dtype=args.cache_dtype)
    runs = {turns: ours.dialogue(s, s.rows, [1], s.rows, shapes) for turns, s in settings.items()}
    token_seconds: dict[int, list[float]] = {turns: [] for turns in TURNS}
    for repeat in range(args.repeats + 1):
        for turns, run in runs.items():
            started = time.perf_counter()
            tokens = run(repeat)["units"]
            # The first repeat is a warm-up.
            if repeat:
                token_seconds[turns].append((time.perf_counter() - started) / tokens)
    print(f"memory is read at {speed / 1e9:.1f} GB/s")
    # Everything is compared with the shortest dialogues.
    shortest = statistics.median(token_seconds[TURNS[0]])
    for turns, seconds in token_seconds.items():
        median, longest = statistics.median(seconds), settings[turns].dialogue_tokens
        spread = f"{min(seconds) * 1e3:.3f} to {max(seconds) * 1e3:.3f}"
        read = bytes_read(settings[turns], args.cache_dtype)
        print(f"{turns:3} turns, contexts up to {longest:5}: {median * 1e3:.3f} ms a sampled token ({spread}), "
              f"{median / shortest:.2f} times that of {TURNS[0]} turns; {read / 1e6:.1f} MB of caches read a token, "
              f"{read / speed * 1e3:.3f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
