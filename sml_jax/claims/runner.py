"""Does the jobs: trains a policy, measures it, and keeps what the claims need. A job that was stopped goes on."""

from __future__ import annotations

import gc
import importlib.metadata
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sml_jax.claims.compose import evaluation_of, tries_of
from sml_jax.claims.extract import evaluation_summary, training_summary, tries_entry
from sml_jax.claims.job import TRIES, TRY_COUNT, Job
from sml_jax.claims.results import ResultStore, missing_arms
from sml_jax.common.errors import UserError
from sml_jax.gin_config.load import load_experiment
from sml_jax.run.io.lock import FolderHeld, FolderLock

BASE_MODEL = "pocket"
# What is kept of an arm besides the turns at which problems were solved.
_MEASURES = {"feedback": ("questions", "loglik_change")}


def run_jobs(
    jobs: Sequence[Job],
    workdir: Path,
    store: ResultStore,
    *,
    share: tuple[int, int] = (0, 1),
    tell: Callable[[Job, int], None] = lambda job, number: None,
) -> list[Job]:
    """Does all jobs that nobody else is doing.

    Several processes, also of several machines that share the folder, may do so at once.

    Args:
      jobs: in the order in which they are done.
      workdir: the folder of the runs.
      store: where results are kept; what is there already is not measured again.
      share: (number of this process, number of processes). It begins with its own share, and then helps the others.
      tell: called with a job that begins, and its number in the order of this process.

    Returns:
      The jobs that another process held.

    Raises:
      UserError: a job cannot be done.
      Stopped: the process was asked to stop.
    """
    first, processes = share
    # Each process begins elsewhere, so that two seldom want the same job.
    in_order = [job for offset in range(processes) for job in jobs[(first + offset) % processes :: processes]]
    held = []
    for number, job in enumerate(in_order):
        if not missing_arms(job, store.read(job)):
            continue
        try:
            with _holding(workdir / "runs" / job.name):
                tell(job, number)
                _run_job(job, workdir / "runs" / job.name, store)
        except FolderHeld:
            held.append(job)
    return held


def _run_job(job: Job, folder: Path, store: ResultStore) -> None:
    """Trains and measures a policy, as far as that was not done before. The folder is held."""
    # Another process may have done it while this one looked at others.
    record = store.read(job)
    missing = missing_arms(job, record)
    if not missing:
        return
    checkpoint = BASE_MODEL
    if job.training is not None:
        checkpoint = str(folder / "training")
        if record["training"] is None or not (folder / "training" / "checkpoints" / "final").is_dir():
            started = time.monotonic()
            record["training"] = _train(job, folder / "training")
            record["versions"] = {name: importlib.metadata.version(name) for name in ("sml-jax", "jax")}
            record["seconds"]["training"] = round(time.monotonic() - started)
            store.write(job, record)
    started = time.monotonic()
    if TRIES in missing:
        del missing[TRIES]
        record["suites"][TRIES] = {"feedback": _tries(job, checkpoint, folder)}
    if missing:
        # A folder of its own for each set of arms: a run's folder holds one evaluation.
        evaluation = folder / "evaluation"
        shutil.rmtree(evaluation, ignore_errors=True)
        _evaluate(checkpoint, evaluation, evaluation_of(job.domain, job.seed, missing))
        for suite, entries in evaluation_summary(evaluation, _MEASURES).items():
            record["suites"].setdefault(suite, {}).update(entries)
    record["seconds"]["evaluation"] = record["seconds"].get("evaluation", 0) + round(time.monotonic() - started)
    left = missing_arms(job, record)
    if left:
        raise UserError(f"{job.name}: the evaluation in {folder} holds nothing of {left}: see what its log says")
    store.write(job, record)
    # The job's engines and optimiser states refer to themselves, so they would stay for a while.
    gc.collect()


def _train(job: Job, workdir: Path) -> dict[str, Any]:
    """Trains a policy without evaluating it, and returns what is kept of that."""
    recipe = job.recipe
    experiment, config = load_experiment(recipe["files"], [*recipe["bindings"], "Experiment.suites=[]"])
    experiment.train(workdir, config)
    generations = dialogues_by_step = 0
    for stage in experiment.stages:
        rollout = stage.workload(experiment.rules).rollout
        assert rollout is not None, "every stage of these recipes rolls out"
        # A stage whose length is in steps rolls out in each of them, the others once.
        length_setting = getattr(stage, "length_setting", "")
        rollouts = 1
        if length_setting == "steps":
            rollouts, dialogues_by_step = getattr(stage, length_setting), rollout.dialogues
        generations += rollouts * rollout.dialogues * rollout.rules.max_turns
    return training_summary(workdir, dialogues_by_step, generations)


def _evaluate(checkpoint: str, workdir: Path, files_and_bindings: tuple[list[str], list[str]]) -> None:
    """Plays some suites and arms with a model."""
    experiment, config = load_experiment(*files_and_bindings)
    experiment.evaluate(checkpoint, workdir, config)


def _tries(job: Job, checkpoint: str, folder: Path) -> dict[str, Any]:
    """Plays single turns about each held-out problem, several times."""
    entries = []
    for attempt in range(TRY_COUNT):
        workdir = folder / f"try_{attempt}"
        # A try that is done is not made again.
        if not (workdir / "eval.json").is_file():
            _evaluate(checkpoint, workdir, tries_of(job.domain, attempt))
        (by_arm,) = evaluation_summary(workdir, {}).values()
        entries.append(by_arm["feedback"])
    return tries_entry(entries)


@contextmanager
def _holding(folder: Path) -> Iterator[None]:
    """A context manager that keeps other processes out of a job.

    Raises:
      FolderHeld: one does it already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder / "job.lock")
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
