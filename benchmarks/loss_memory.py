"""Peak memory of an update with a large vocabulary: ours beside the plain loss on whole logits.

Each update is compiled and run in a process of its own. Printed for both: the bytes that the compiled gradient program
needs beside its arguments and results (XLA's own account), the peak of the process's resident memory over what it held
before the update, and the seconds of a second update. The default is Gemma's vocabulary on 8 rows of 1,024 tokens, all
of them trained on; the plain loss then takes some 20 GB.

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("vocabulary", 262_144), ("rows", 8), ("time", 1024), ("width", 256), ("layers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--logit_numbers", type=int, default=None, help="of a chunk; None for the library's default")
    parser.add_argument("--kind", choices=KINDS, help="one update alone, in this process, as a line of JSON")
    parser.add_argument("--compile_only", action="store_true", help="XLA's account alone; nothing is run")
    return parser.parse_args()


def gradients(kind: str, model: Any, numbers: int | None) -> Any:
    """`(summed gradients, parameters, micro-batch) -> summed gradients`: the learner's own, or one on whole logits."""
    import jax
    import jax.numpy as jnp
    import optax

    from sml_jax.learn.update import add_gradients

    if kind == "chunked":
        return lambda total, params, part: add_gradients(
            model, model, None, (total, jnp.zeros(())), params, {}, None, part, numbers=numbers
        )[0][0]

    def loss(params: Any, part: Any) -> jax.Array:
        logits = model.apply(params, part.tokens)
        # Targets and weights move, not the logits: a slice of these would be one more copy.
        nll = optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.roll(part.tokens, -1, axis=1))
        return jnp.sum(nll * jnp.roll(part.weights.at[:, 0].set(0.0), -1, axis=1))

    return lambda total, params, part: jax.tree.map(jnp.add, total, jax.grad(loss)(params, part))


def measure(kind: str, args: argparse.Namespace) -> dict[str, float]:
    """Compiles one update's gradient program, and runs it twice unless told not to."""
    import jax
    import numpy as np

    from sml_jax.learn.batches import MicroBatch
    from sml_jax.models.config import DecoderConfig
    from sml_jax.models.decoder import Decoder, init_params

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
        np.full(shape, 1 / tokens.size, np.float32),
        np.zeros(shape, np.float32),
        np.ones(args.rows, np.float32),
    )
    step = jax.jit(gradients(kind, model, args.logit_numbers), donate_argnums=0)
    shapes = jax.eval_shape(partial(init_params, model), jax.random.key(0))
    program = step.lower(shapes, shapes, part).compile()
    found = {"temp_bytes": float(program.memory_analysis().temp_size_in_bytes)}
    if args.compile_only:
        return found
    params = jax.block_until_ready(jax.jit(partial(init_params, model))(jax.random.key(0)))
    total = jax.block_until_ready(jax.tree.map(jax.numpy.zeros_like, params))
    with Peak() as peak:
        for _ in range(2):
            started = clock.monotonic()
            total = jax.block_until_ready(program(total, params, part))
            found["seconds"] = clock.monotonic() - started
    return found | {
        "peak_bytes": float(peak.bytes),
        "process_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
    }


class Peak:
    """The most resident memory within the block over that at its start, looked at every 5 ms."""

    def __enter__(self) -> Peak:
        self.start, self.bytes, self._done = resident(), 0, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, resident() - self.start)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    args = parse()
    if args.kind:
        print(json.dumps(measure(args.kind, args)))
        return
    found = {}
    for kind in KINDS:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], f"--kind={kind}"], capture_output=True, text=True
        )
        if done.returncode:
            print(f"{kind}: ended with code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
            continue
        found[kind] = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"{kind:8}", {k: round(v, 2) if k == "seconds" else f"{v / 1e9:.3f} GB" for k, v in found[kind].items()})
    if len(found) == len(KINDS):
        for name in found["chunked"]:
            print(f"chunked / whole, {name}: {found['chunked'][name] / found['whole'][name]:.3f}")


if __name__ == "__main__":
    main()
