"""The time from the start of a process to its first token, each run in a new process.

Ours is what `benchmarks/start_up.py` measures: the model is loaded, an engine for all rows of a dialogue compiled, and
one token sampled, with an empty compilation cache or with what the start before has left. A peer loads the same
weights and samples one token of one row.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from setting import Setting
from side import SPAWNED, Run, serve

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))


def ours(s: Setting, cache_is_empty: bool) -> Run:
    """Starts of ours. Those with a full cache read what the last one with an empty cache left beside the weights."""
    from start_up import start_in_new_process

    cache = Path(f"{s.weights}-cache")

    def run(seed: int) -> dict[str, float]:
        if cache_is_empty:
            shutil.rmtree(cache, ignore_errors=True)
        elif not cache.exists():
            raise SystemExit(f"{cache} is not there: it is left by the side whose cache is empty")
        found = start_in_new_process(Path(s.weights), s.rows, s.dialogue_tokens, s.prompt, cache)
        return {"units": 1.0, "seconds": found.pop("first_token"), **found}

    return run


def peer(s: Setting, script: str) -> Run:
    """Starts of a peer's script, up to the end of its first run."""
    one_token = dataclasses.replace(s, sample=1, warm_ups=1).to_json()

    def run(seed: int) -> dict[str, float]:
        environment = {**os.environ, SPAWNED: str(time.time())}
        done = subprocess.run(
            [sys.executable, str(HERE / script), "one", one_token],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=HERE,
        )
        ready = json.loads(done.stdout.splitlines()[0])
        return {"units": 1.0, "seconds": ready["start_up"], "peak_gb": ready["peak_gb"]}

    return run


WORKS = {
    "ours_empty": partial(ours, cache_is_empty=True),
    "ours_full": partial(ours, cache_is_empty=False),
    "hf": partial(peer, script="hf.py"),
    "tunix": partial(peer, script="tunix_sampler.py"),
}

if __name__ == "__main__":
    serve(WORKS, warm_ups=0)
