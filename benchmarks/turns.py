"""What a sampled token costs in long dialogues: seconds a token with 2, 4, 8 and 16 turns, and the ratio to 2.

Model, rows and way of playing are those of work b in `benchmarks/peers`, with an engine's own sizes of caches: every
turn `--said` tokens are sampled and `--given` are answered, at once in all rows. Repeats go round the numbers of turns.
Nothing is prefilled again, so what grows with the number of turns is what attention reads. Beside it stands how long
decoding's share of that takes at the speed at which this machine's memory is read. XLA_FLAGS are yours to set, see
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import ours
from setting import Setting

from sml_jax.common.cores import cores

TURNS = (2, 4, 8, 16)
ARRAY = 1 << 28  # bytes of each core's: beyond any cache


def bytes_read(s: Setting) -> float:
    """Of caches in float32, for one sampled token on average: all slots of its row, its own included."""
    slots = s.prompt + (s.turns - 1) / 2 * (s.said + s.given) + (s.said + 1) / 2
    return slots * s.layers * 2 * s.kv_heads * s.head_dim * 4


def memory_speed(size: int = ARRAY, repeats: int = 5) -> float:
    """Bytes a second that all cores together read where each looks for the largest number of an array, at best."""
    count = cores()
    arrays = [np.ones(size // 4, np.float32) for _ in range(count)]
    best = float("inf")
    with ThreadPoolExecutor(count) as pool:
        for _ in range(repeats):
            started = time.perf_counter()
            list(pool.map(np.max, arrays))
            best = min(best, time.perf_counter() - started)
    return size * count / best


def main(argv: Sequence[str] | None = None, base: Setting | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("prompts", 8), ("samples", 8), ("said", 32), ("given", 32), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args(argv)
    sizes = {name: getattr(args, name) for name in ("prompts", "samples", "said", "given")}
    settings = {turns: dataclasses.replace(base or Setting(), turns=turns, **sizes) for turns in TURNS}
    speed = memory_speed()
    runs = {turns: ours.dialogue(s, s.rows, [1], s.rows, ours.Finer(parts=(1,))) for turns, s in settings.items()}
    took: dict[int, list[float]] = {turns: [] for turns in TURNS}
    for repeat in range(args.repeats + 1):
        for turns, run in runs.items():
            started = time.perf_counter()
            tokens = run(repeat)["units"]
            if repeat:  # the first is a warm-up
                took[turns].append((time.perf_counter() - started) / tokens)
    print(f"memory is read at {speed / 1e9:.1f} GB/s")
    shortest = statistics.median(took[TURNS[0]])
    for turns, seconds in took.items():
        median, longest = statistics.median(seconds), settings[turns].dialogue_tokens
        spread = f"{min(seconds) * 1e3:.3f} to {max(seconds) * 1e3:.3f}"
        read = bytes_read(settings[turns])
        print(f"{turns:3} turns, contexts up to {longest:5}: {median * 1e3:.3f} ms a sampled token ({spread}), "
              f"{median / shortest:.2f} times that of {TURNS[0]} turns; {read / 1e6:.1f} MB of caches read a token, "
              f"{read / speed * 1e3:.3f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
