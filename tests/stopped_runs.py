"""A run that is stopped from outside: the same toy run in a process of its own, and what two run folders differ in."""

import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np
from run_toys import OPTIMIZER, ToyTask, read_lines, same, toy_experiment, write_tokenizer

from sml_jax.cli.main import run_program
from sml_jax.dialogue.rules import QuestionInjection
from sml_jax.dialogue.teachers import Scripted
from sml_jax.evaluate.suites import Suite
from sml_jax.models.hf.checkpoint import load_model
from sml_jax.run.io import lock
from sml_jax.run.stages import Offline, Online

STAGES = (
    Offline(
        OPTIMIZER, problems=6, samples=4, epochs=2, batch=8, micro_batch_size=8, dialogues_logged=20,
        problems_per_chunk=2, injection=QuestionInjection(0.5), name="qpriming",
    ),
    Online(OPTIMIZER, steps=6, problems_per_step=4, group_size=4, micro_batch_size=8),
)  # fmt: skip
VALIDATION = Suite(ToyTask(), (Scripted(),), problems=6, max_turns=2)
SHORT_STAGES = (Online(OPTIMIZER, steps=6, problems_per_step=2, group_size=4, micro_batch_size=8),)


def train(workdir: Path, home: Path, resume: str = "auto", short: bool = False) -> int:
    """Runs everything, or `SHORT_STAGES`, as the program would run it; returns its exit code."""

    def program(_: object) -> int:
        stages, evaluate_every = (SHORT_STAGES, None) if short else (STAGES, 2)
        settings = {"evaluate_every": evaluate_every, "validation": VALIDATION, "checkpoint_every": 1}
        experiment = toy_experiment(home / "toy.model", stages, **settings)
        experiment.train(workdir, "# toy\n", resume)
        return 0

    return run_program(program, [])


def _child(workdir: Path, home: Path, short: bool, host: str) -> None:
    if host:
        # As a process of a machine that the others cannot look at, on a disk that knows no flock.
        identity = dataclasses.replace(lock.this_process(), host=host, boot=host)
        lock.this_process = lambda: identity
        lock._flock = lambda descriptor: None
        lock.FolderLock.__init__.__defaults__ = (0.1, 2.0)  # seconds: heartbeats, and the silence that is waited for
    out = os.open(home / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"  # no device has been asked for yet
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.exit(train(workdir, home, short=short))


def start(workdir: Path, home: Path, short: bool = False, host: str = "") -> multiprocessing.Process:
    """The run in a process of its own, forked from one that has everything imported and has used no device.

    With a `host` it runs as on that one, which no other can be looked at from.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stopped_runs"])
    process = context.Process(target=_child, args=(workdir, home, short, host))
    process.start()
    return process


def whole_run(home: Path) -> tuple[Path, float]:
    """A run that nobody stops, and its seconds."""
    write_tokenizer(home / "toy.model")
    for name in ("first", "whole"):  # the first one compiles
        began = time.monotonic()
        process = start(home / name, home)
        process.join()
        assert process.exitcode == 0, (home / "output.txt").read_text()
    return home / "whole", time.monotonic() - began


def stop(process: multiprocessing.Process, number: signal.Signals, after: float, writing: Path | None = None) -> int:
    """Sends a signal after `after` seconds, or as soon after that as a checkpoint is being written below `writing`.

    Returns:
      The exit code; 0 if the run was over before.
    """
    process.join(after)
    while writing is not None and process.is_alive() and not list(writing.glob("checkpoints/steps/*tmp*/*")):
        time.sleep(0.0005)
    if process.is_alive():
        os.kill(process.pid, number)
    process.join()
    return process.exitcode


def differences(one: Path, other: Path) -> list[str]:
    """What two finished run folders differ in, apart from what clocks and compilers say."""
    differing = []
    if not same(*(jax.tree.map(np.array, load_model(run)[1]) for run in (one, other))):
        differing.append("parameters")
    lines = [[_stable(line) for line in read_lines(run / "metrics.jsonl")] for run in (one, other)]
    if lines[0] != lines[1]:
        differing.append("metrics.jsonl")
    if len({json.dumps(line) for line in lines[1]}) < len(lines[1]):
        differing.append("a line of metrics.jsonl twice")
    if (one / "dialogues.jsonl").read_bytes() != (other / "dialogues.jsonl").read_bytes():
        differing.append("dialogues.jsonl")
    # The best model, where the runs evaluate while they train.
    bests = [run / "checkpoints" / "best" for run in (one, other) if (run / "checkpoints" / "best").exists()]
    if len(bests) == 1 or (bests and not same(*(jax.tree.map(np.array, load_model(best)[1]) for best in bests))):
        differing.append("the best model")
    if len({(best / "evaluation.json").read_text() for best in bests}) > 1:
        differing.append("the best model's evaluation")
    records = [_record(run) for run in (one, other)]
    if records[0] != records[1]:
        differing.append("the last checkpoint's record")
    return differing


def _record(run: Path) -> dict[str, object]:
    steps = sorted(int(path.name) for path in (run / "checkpoints" / "steps").iterdir())
    record = json.loads((run / "checkpoints" / "steps" / str(steps[-1]) / "position" / "metadata").read_text())
    return {name: value for name, value in record.items() if name not in ("logs",)}


def _stable(line: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in line.items() if "second" not in name and name != "compiled"}
