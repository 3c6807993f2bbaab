"""What is left to do, and about how long it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from sml_jax.claims.job import TRIES, TRY_COUNT, Job
from sml_jax.claims.results import ResultStore, missing_arms

# On two cores, where no result tells it: a suite with one arm of 128 dialogues, and loading and compiling.
_ARM_SECONDS, _START_SECONDS, _TRY_SECONDS = 7.0, 30.0, 10.0


def seconds_left(job: Job, record: Mapping[str, Any], trainings: Mapping[str, float]) -> float:
    """About how long a job will take.

    Args:
      job: what is wanted. record: its results so far.
      trainings: seconds of the trainings that are done, by policy; the mean of them is taken before the guess.
    """
    missing = missing_arms(job, record)
    if not missing:
        return 0.0
    seconds = _START_SECONDS
    for suite, arms in missing.items():
        seconds += TRY_COUNT * _TRY_SECONDS if suite == TRIES else len(arms) * _ARM_SECONDS
    if job.training is not None and record["training"] is None:
        seconds += trainings.get(job.policy, job.training.seconds)
    return seconds


class Plan:
    """The jobs and the time that they take.

    Args:
      jobs: in the order in which they are done.
      store: of their results.
    """

    def __init__(self, jobs: Sequence[Job], store: ResultStore):
        self._jobs, self._store = jobs, store

    def seconds_by_job(self) -> dict[str, float]:
        """About how long each job will still take, by its name; 0 for those that are done."""
        records = [self._store.read(job) for job in self._jobs]
        measured: dict[str, list[float]] = {}
        for job, record in zip(self._jobs, records, strict=True):
            if "training" in record["seconds"]:
                measured.setdefault(job.policy, []).append(record["seconds"]["training"])
        # Machines differ, so what this one took goes before the guess.
        trainings = {policy: fmean(seconds) for policy, seconds in measured.items()}
        return {job.name: seconds_left(job, record, trainings) for job, record in zip(self._jobs, records, strict=True)}

    def text(self) -> str:
        """The plan in words: a line for each policy, and the time of all."""
        seconds_by_job = self.seconds_by_job()
        by_policy: dict[str, list[Job]] = {}
        for job in self._jobs:
            by_policy.setdefault(job.policy, []).append(job)
        lines = []
        for policy, jobs in by_policy.items():
            left = [job for job in jobs if seconds_by_job[job.name]]
            seconds = sum(seconds_by_job[job.name] for job in jobs)
            lines.append(f"  {policy:<17} {len(jobs) - len(left)} of {len(jobs)} jobs done, {in_words(seconds)} left")
        total = sum(seconds_by_job.values())
        return "\n".join([*lines, f"  about {in_words(total)} on two cores, in one process"])


def in_words(seconds: float | int) -> str:
    """A duration in hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
