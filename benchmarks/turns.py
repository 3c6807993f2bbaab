"""What a sampled token costs in long dialogues: seconds a token with 2, 4, 8 and 16 turns, and the ratio to 2.

Model, rows and way of playing are those of work b in `benchmarks/peers`, with an engine's own sizes of caches: every
turn `--said` tokens are sampled and `--given` are answered, at once in all rows. Repeats go round the numbers of turns.
Nothing is prefilled again, so what grows with the number of turns is what attention reads.

    XLA_FLAGS="--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false \\
        --xla_cpu_experimental_ynn_fusion_type= --xla_disable_hlo_passes=tree_reduction_rewriter" \\
        python benchmarks/turns.py
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import ours
from setting import Setting

TURNS = (2, 4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("prompts", 8), ("samples", 8), ("said", 32), ("given", 32), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    sizes = {name: getattr(args, name) for name in ("prompts", "samples", "said", "given")}
    settings = {turns: dataclasses.replace(Setting(), turns=turns, **sizes) for turns in TURNS}
    runs = {turns: ours.dialogue(s, s.rows, [1], s.rows, ours.Finer(parts=(1,))) for turns, s in settings.items()}
    took: dict[int, list[float]] = {turns: [] for turns in TURNS}
    for repeat in range(args.repeats + 1):
        for turns, run in runs.items():
            started = time.perf_counter()
            tokens = run(repeat)["units"]
            if repeat:  # the first is a warm-up
                took[turns].append((time.perf_counter() - started) / tokens)
    shortest = statistics.median(took[TURNS[0]])
    for turns, seconds in took.items():
        median, longest = statistics.median(seconds), settings[turns].dialogue_tokens
        spread = f"{min(seconds) * 1e3:.3f} to {max(seconds) * 1e3:.3f}"
        print(f"{turns:3} turns, contexts up to {longest:5}: {median * 1e3:.3f} ms a sampled token ({spread}), "
              f"{median / shortest:.2f} times that of {TURNS[0]} turns")  # fmt: skip


if __name__ == "__main__":
    main()
