"""The worker's side of the pipe: it builds one work, warms up, and then runs it once for each line that it reads.

It is started as `python SCRIPT WORK SETTING_JSON` and answers on its standard output with one JSON object a line;
whatever libraries print goes to standard error. Between runs it waits in a read, which costs no CPU. "start_up" is the
time from the start of the process to the end of its first run, "peak_gb" the most memory that it has held.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
from setting import Setting

# A run takes a seed and returns what it did: "units" (tokens, steps) and whatever else it reports. A run that times
# only a part of itself, or a mean of many, returns "seconds" too.
Run = Callable[[int], dict[str, float]]
Work = Callable[[Setting], Run]
# The environment variable that says when the process was started, from `time.time`.
SPAWNED = "PEERS_SPAWNED"


def serve(works: Mapping[str, Work], warm_ups: int = 2) -> None:
    """Serves the work that the command line names until standard input ends."""
    # Libraries print to standard output too: the answers keep it, all else goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, setting = sys.argv[1], Setting.from_json(sys.argv[2])
    started, spawned = time.perf_counter(), float(os.environ.get(SPAWNED, time.time()))
    run = works[name](setting)
    warm_ups, start_up = min(warm_ups, setting.warm_ups), None
    for seed in range(warm_ups):
        run(seed)
        start_up = start_up or time.time() - spawned
    ready = {"ready": True, "warm_up_seconds": time.perf_counter() - started, "peak_gb": peak_gb()}
    print(json.dumps(ready if start_up is None else {**ready, "start_up": start_up}), file=answers)
    for seed, _ in enumerate(sys.stdin, start=warm_ups):
        started = time.perf_counter()
        answer = run(seed)
        answer.setdefault("seconds", time.perf_counter() - started)
        answer.setdefault("peak_gb", peak_gb())
        print(json.dumps(answer), file=answers)


def peak_gb() -> float:
    """The most memory that this process has held so far, in GB."""
    # Linux counts in kB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)


def check_samples(lengths: np.ndarray, most: int, logprobs: np.ndarray | None = None) -> None:
    """Ends the program if samples are not what was asked for, so that no such side is timed."""
    if lengths.min() < 1 or lengths.max() > most:
        raise SystemExit(f"turns of {lengths.min()} to {lengths.max()} tokens, asked for 1 to {most}")
    if logprobs is not None and not (np.isfinite(logprobs).all() and (logprobs <= 1e-5).all()):
        raise SystemExit("log-probabilities that are not finite, or above 0")


def lengths_to_end(tokens: np.ndarray, ends: list[int]) -> np.ndarray:
    """The number of tokens of each row up to its first end token, itself included; all of them if there is none."""
    is_end = np.isin(tokens, ends)
    return np.where(is_end.any(1), is_end.argmax(1) + 1, tokens.shape[1])
