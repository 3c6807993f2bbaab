"""Measures the peak memory of an update with a large vocabulary, beside the plain loss on whole logits.

Each update is compiled and run in a process of its own. For both the script prints the bytes that the compiled gradient
program needs beside its arguments and results (by XLA's account), the peak of the process's resident memory over what
it held before the update, and the seconds of a second update. The default is Gemma's vocabulary on 8 rows of 1,024
tokens that are all trained on; the plain loss then takes some 20 GB.

    python benchmarks/loss_memory.py
    python benchmarks/loss_memory.py --vocabulary=32768 --time=256
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time as clock
from functools import partial
from pathlib import Path
from typing import Any

KINDS = ("chunked", "whole")


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("vocabulary", 262_144), ("rows", 8), ("time", 1024), ("width", 256), ("layers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--max_logits", type=int, default=None, help="logits of a chunk; the library's default if not given"
    )
    parser.add_argument(
        "--kind", choices=KINDS, help="measure this update alone, in this process, and print a line of JSON"
    )
    parser.add_argument("--compile_only", action="store_true", help="print XLA's account and run nothing")
    return parser.parse_args()


def gradients(kind: str, model: Any, max_logits: int | None) -> Any:
    """Returns `(summed gradients, parameters, micro-batch) -> summed gradients`.

    It is the learner's own for the kind "chunked", and one on whole logits for "whole".
    """
    import jax
    import jax.numpy as jnp
    import optax

    from sml_jax.learn.gradients import add_gradients

    if kind == "chunked":
        return lambda total, params, part: add_gradients(
            model, model, None, (total, jnp.zeros(())), params, {}, None, part, max_logits=max_logits
        )[0][0]

    def loss(params: Any, part: Any) -> jax.Array:
        logits = model.apply(params, part.tokens)
        # Targets and weights are shifted, not the logits: a slice of the logits would be one more copy of them.
        nll = optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.roll(part.tokens, -1, axis=1))
        return jnp.sum(nll * jnp.roll(part.likelihood.weights.at[:, 0].set(0.0), -1, axis=1))

    return lambda total, params, part: jax.tree.map(jnp.add, total, jax.grad(loss)(params, part))


def measure(kind: str, args: argparse.Namespace) -> dict[str, float]:
    """Compiles one update's gradient program and, unless only compiling is asked for, runs it twice.

    Returns:
      Name of a measure -> its value, in bytes or seconds.
    """
    import jax
    import numpy as np

    from sml_jax.learn.batches import MicroBatch
    from sml_jax.learn.signals import LikelihoodSignal
    from sml_jax.models.config import DecoderConfig
    from sml_jax.models.decoder import Decoder, init_params

    # Only the vocabulary is large; the layers are small, so that the loss decides the peak.
    heads = max(args.width // 32, 1)
    config = DecoderConfig(
        vocab_size=args.vocabulary,
        embed_dim=args.width,
        layers=args.layers,
        heads=heads,
        kv_heads=heads,
        head_dim=32,
        mlp_dim=4 * args.width,
        max_length=args.time,
        remat=True,
    )
    model = Decoder(config)
    shape = (args.rows, args.time)
    tokens = np.random.default_rng(0).integers(0, args.vocabulary, shape).astype(np.int32)
    part = MicroBatch(
        tokens,
        np.full(args.rows, args.time, np.int32),
        likelihood=LikelihoodSignal(np.full(shape, 1 / tokens.size, np.float32)),
    )
    # Compiled from shapes alone, so that XLA's account is there before any memory is taken.
    step = jax.jit(gradients(kind, model, args.max_logits), donate_argnums=0)
    shapes = jax.eval_shape(partial(init_params, model), jax.random.key(0))
    program = step.lower(shapes, shapes, part).compile()
    measured = {"temp_bytes": float(program.memory_analysis().temp_size_in_bytes)}
    if args.compile_only:
        return measured
    # Parameters and the gradients' sum lie in memory before the peak is taken: both updates need them alike.
    params = jax.block_until_ready(jax.jit(partial(init_params, model))(jax.random.key(0)))
    total = jax.block_until_ready(jax.tree.map(jax.numpy.zeros_like, params))
    with Peak() as peak:
        for _ in range(2):
            started = clock.monotonic()
            total = jax.block_until_ready(program(total, params, part))
            measured["seconds"] = clock.monotonic() - started
    return measured | {
        "peak_bytes": float(peak.bytes),
        "process_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
    }


class Peak:
    """Measures, in a `with` block, the most resident memory over what was held at its start, every 5 ms.

    Attributes:
      bytes: that difference.
    """

    def __enter__(self) -> Peak:
        self.start, self.bytes, self._done = resident(), 0, threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)
        self._thread.start()
        return self

    def _measure(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, resident() - self.start)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def resident() -> int:
    """Bytes of this process that lie in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    args = parse()
    if args.kind:
        print(json.dumps(measure(args.kind, args)))
        return
    results = {}
    for kind in KINDS:
        # A process of its own for each, since the peak of a process never falls.
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], f"--kind={kind}"], capture_output=True, text=True
        )
        if done.returncode:
            print(f"{kind}: ended with code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
            continue
        results[kind] = json.loads(done.stdout.strip().splitlines()[-1])
        print(
            f"{kind:8}", {k: round(v, 2) if k == "seconds" else f"{v / 1e9:.3f} GB" for k, v in results[kind].items()}
        )
    if len(results) == len(KINDS):
        for name in results["chunked"]:
            print(f"chunked / whole, {name}: {results['chunked'][name] / results['whole'][name]:.3f}")


if __name__ == "__main__":
    main()
