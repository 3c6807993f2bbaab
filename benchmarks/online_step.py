"""Shows where the time of an online step goes: `python benchmarks/online_step.py [--steps=4] [--gin_file=RECIPE]`.

It runs steps of the recipe twice. The first run is as usual, for the seconds of rollout and update. In the second the
host waits for each call of a kernel, so that the call's time can be told from the host's. Device and host no longer
overlap then, so this rollout is longer. The table has, for each kernel, the tokens that were wanted, the slots that
were computed for them, and the time that its products would take at the speed of a product of 2,048 x 2,048.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from sml_jax.cli.main import run_program

RECIPE = "gin/recipes/pocket_math_online.gin"


@dataclass
class Spent:
    """What one kernel took.

    Attributes:
      calls: number of calls.
      seconds: time of all calls.
      wanted: tokens that were asked for.
      slots: positions that were computed, padding included.
    """

    calls: int = 0
    seconds: float = 0.0
    wanted: int = 0
    slots: int = 0


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="of each of the two runs, after one that warms up")
    parser.add_argument("--gin_file", default=RECIPE)
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE", help="bindings of the recipe")
    flags = parser.parse_args(argv)
    plain = run(flags)
    print(f"one step (mean of {flags.steps}): rollout {plain['rollout_seconds']:.2f} s, update ", end="")
    print(f"{plain['update_seconds']:.2f} s, {plain['dialogues']:.0f} dialogues", flush=True)
    spent: dict[str, Spent] = defaultdict(Spent)
    parameters = watch(spent)
    waited = run(flags, spent.clear)
    print(table(spent, waited, flags.steps, parameters["count"], product_speed()))
    return 0


def run(flags: argparse.Namespace, begin: Callable[[], None] | None = None) -> dict[str, float]:
    """Trains in a temporary folder. Returns means over all steps but the first; `begin` is called after the first."""
    from sml_jax.gin_config.load import load_experiment
    from sml_jax.run.bookkeeper import Bookkeeper

    bindings = [f"Online.steps={flags.steps + 1}", "Experiment.suites=[]", *flags.gin]
    experiment, config = load_experiment([flags.gin_file], bindings)
    done = Bookkeeper.step_done

    def step_done(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = done(self, *args, **kwargs)
        if begin is not None and self.position.step == 1:
            begin()
        return result

    # `begin` must be called between two steps, where only the bookkeeper is told that one is over.
    with tempfile.TemporaryDirectory() as folder:
        Bookkeeper.step_done = step_done  # type: ignore[method-assign]
        try:
            experiment.train(Path(folder) / "run", config, "never")
        finally:
            Bookkeeper.step_done = done  # type: ignore[method-assign]
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    # The first step compiles, and is left out.
    steps = [row for row in map(json.loads, lines) if "rollout_seconds" in row][1:]
    found = {name: sum(row[name] for row in steps) / len(steps) for name in ("rollout_seconds", "update_seconds")}
    dialogues = [row["dialogues_per_second"] * (row["rollout_seconds"] + row["update_seconds"]) for row in steps]
    return {**found, "dialogues": sum(dialogues) / len(steps)}


def watch(spent: dict[str, Spent]) -> dict[str, int]:
    """Replaces methods of the engine and the learner by ones that wait for their results and count them in `spent`.

    Returns:
      A dictionary whose "count" is the number of the model's parameters after the first update.
    """
    import jax
    import numpy as np

    from sml_jax.engine import Engine
    from sml_jax.learn.update import Learner

    parameters = {"count": 0}

    def waiting(name: str, method: Callable, count: Callable[..., tuple[int, int]]) -> Callable:
        @wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            out = jax.block_until_ready(method(self, *args, **kwargs))
            kernel = spent[name]
            kernel.calls += 1
            kernel.seconds += time.perf_counter() - started
            wanted, slots = count(out, *args)
            kernel.wanted += wanted
            kernel.slots += slots
            return out

        return call

    def decoded(out: Any, *args: Any) -> tuple[int, int]:
        # A call computes as many steps for every row as its longest turn needs.
        count = np.asarray(out[1].count)
        return int(count.sum()), int(count.max(initial=0)) * len(count)

    def extended(
        out: Any, weights: Any, cache: Any, tokens: Any, start: Any, count: Any, *args: Any
    ) -> tuple[int, int]:
        return int(count.sum()), tokens.size

    def updated(out: Any, state: Any, parts: Any) -> tuple[int, int]:
        parameters["count"] = sum(leaf.size for leaf in jax.tree.leaves(out[0].params))
        # The common start of a block's rows is computed once.
        packed = [p.tokens if p.shared is None else jax.eval_shape(p.shared.pack, p.tokens) for p in parts]
        return sum(int(part.length.sum()) for part in parts), sum(tokens.size for tokens in packed)

    def nothing(*args: Any) -> tuple[int, int]:
        return 0, 0

    for owner, name, shown, count in (
        (Engine, "decode", "decode", decoded),
        (Engine, "extend", "extend and write", extended),
        (Engine, "write", "write what was sampled", nothing),
        (Engine, "copy_prefix", "copy openings", nothing),
        (Engine, "ensure_capacity", "grow caches", nothing),
        (Engine, "turn_keys", "random keys", nothing),
        (Engine, "prepare_params", "weights for the engine", nothing),
        (Learner, "update", "update", updated),
    ):
        setattr(owner, name, waiting(shown, getattr(owner, name), count))
    return parameters


def product_speed() -> float:
    """FLOPs a second of a product of 2,048 x 2,048 in float32: the best of five."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((2048, 2048))
    product, best = jax.jit(jnp.matmul), float("inf")
    product(a, a).block_until_ready()
    for _ in range(5):
        started = time.perf_counter()
        product(a, a).block_until_ready()
        best = min(best, time.perf_counter() - started)
    return float(2 * 2048**3 / best)


def table(spent: dict[str, Spent], waited: dict[str, float], steps: int, parameters: int, speed: float) -> str:
    """A Markdown table with a row for each kernel and one for the host."""
    total = waited["rollout_seconds"] + waited["update_seconds"]
    # Each parameter and token takes two FLOPs, six where gradients are taken (the embedding counts as a product here).
    flops = {"decode": 2, "extend and write": 2, "update": 6}
    lines = [
        f"{parameters:,} parameters; product of 2,048 x 2,048: {speed / 1e9:.0f} GFLOP/s",
        "",
        "| part | calls a step | s a step | of all | tokens wanted | slots computed | products alone, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    # What no kernel accounts for is the host's.
    host = total
    for name, kernel in sorted(spent.items(), key=lambda item: -item[1].seconds):
        seconds = kernel.seconds / steps
        host -= seconds
        floor = flops.get(name, 0) * parameters * kernel.slots / steps / speed
        counted = (
            [f"{kernel.wanted / steps:,.0f}", f"{kernel.slots / steps:,.0f}", f"{floor:.2f}"] if floor else [""] * 3
        )
        lines.append(
            f"| {name} | {kernel.calls / steps:.1f} | {seconds:.2f} | {seconds / total:.0%} | "
            + " | ".join(counted)
            + " |"
        )
    lines.append(f"| host: text, judging, records | | {host:.2f} | {host / total:.0%} | | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
