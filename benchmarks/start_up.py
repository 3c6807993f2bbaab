"""Measures the time from the start of a process to its first sampled token, with an empty and with a full cache.

    python benchmarks/start_up.py [--rows=8] [--length=512] [--opening=100] [--layers=30] [--repeats=1]

Each line is one process: it imports the package, loads a model folder with random weights of the shape of SmolLM2-135M,
warms up an engine as a run does, and samples one token. The first process of a pair finds the compilation cache empty,
the second finds what the first has left. Any other load of the cores shows in the times; `cpu` is what the process
itself spent on all of its threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

END = 2  # the token that ends a turn
SAMPLED = 64  # the most tokens of a turn


def config_fields(layers: int, length: int) -> dict[str, int]:
    """SmolLM2-135M's shape, https://huggingface.co/HuggingFaceTB/SmolLM2-135M/blob/main/config.json."""
    return {
        "vocab_size": 49_152,
        "embed_dim": 576,
        "layers": layers,
        "heads": 9,
        "kv_heads": 3,
        "head_dim": 64,
        "mlp_dim": 1_536,
        "max_length": length,
    }


def write_model(folder: Path, layers: int, length: int) -> None:
    """Writes a model folder with random float32 weights."""
    import jax

    from sml_jax.models import Decoder, DecoderConfig, init_params
    from sml_jax.models.hf.checkpoint import save_model

    config = DecoderConfig(**config_fields(layers, length))
    save_model(folder, config, jax.jit(lambda key: init_params(Decoder(config), key))(jax.random.key(0)))


def start_in_new_process(folder: Path, rows: int, length: int, opening: int, cache: Path) -> dict[str, float]:
    """What `start` returns in a process of its own, whose compilation cache lies below the folder `cache`."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    sizes = [f"--rows={rows}", f"--length={length}", f"--opening={opening}"]
    command = [sys.executable, __file__, *sizes, f"--child={folder}", f"--spawned={time.time()}"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def start(folder: Path, rows: int, length: int, tokens: int, spawned: float) -> dict[str, float]:
    """Does what a run does up to its first token.

    Args:
      folder: a model's folder.
      rows, length: contexts at once, and the most tokens of one.
      tokens: tokens that open the context.
      spawned: when its process was started, from `time.time`.
    """
    import jax

    from sml_jax.common.compilation_cache import executables_read, keep_executables
    from sml_jax.engine.context_batch import ContextBatch
    from sml_jax.engine.engine import Engine
    from sml_jax.models.hf.checkpoint import load_model
    from sml_jax.sharding import make_mesh

    keep_executables()
    executables_read()
    imported = time.time()
    mesh = make_mesh()
    model, params = load_model(folder, mesh)
    loaded = time.time()
    engine = Engine(model, rows, length, SAMPLED, (END,), mesh=mesh)
    opening = range(3, 3 + tokens)
    engine.shortest_context = len(opening)
    engine.warm_up(params)
    warm = time.time()
    contexts = ContextBatch(engine, params, jax.random.key(0))
    contexts.start(0, 0, opening)
    (utterance,) = contexts.sample([0], 1)
    assert len(utterance.tokens) == 1
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "first_token": time.time() - spawned,
        "import": imported - spawned,
        "load": loaded - imported,
        "warm_up": warm - loaded,
        "cpu": usage.ru_utime + usage.ru_stime,
        "executables": engine.executable_count(),
        "read": executables_read(),
        "peak_gb": usage.ru_maxrss / 1e6,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 8), ("length", 512), ("opening", 100), ("layers", 30), ("repeats", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--child", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--spawned", type=float, help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    if flags.child:
        print(json.dumps(start(Path(flags.child), flags.rows, flags.length, flags.opening, flags.spawned)))
        return
    print(f"{flags.layers} layers of SmolLM2's width, {flags.rows} rows of {flags.length} tokens, float32")
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch, "model")
        write_model(model, flags.layers, flags.length)
        for repeat in range(flags.repeats):
            for cache in ("empty", "full"):
                folder = Path(scratch, f"cache{repeat}")
                measured = start_in_new_process(model, flags.rows, flags.length, flags.opening, folder)
                shown = ", ".join(f"{name} {value:.1f}" for name, value in measured.items())
                print(f"cache {cache}: {shown}", flush=True)


if __name__ == "__main__":
    main()
