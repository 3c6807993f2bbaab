"""The results of finished jobs: small JSON files, one a job, from which a fresh machine goes on without training."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sml_jax.claims.job import DOMAINS, TRIES, Job
from sml_jax.common.atomic import replacing
from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.run.io.folder import to_json
from sml_jax.run.io.json_lines import writing

# The task's name, under which an evaluation files its results, by the suite's name in the gin files.
_TASKS = {
    **{domain: f"pocket_{domain}" for domain in DOMAINS},
    **{f"evolving_{domain}": f"pocket_{domain}_evolving" for domain in DOMAINS},
    **{f"sharded_{domain}": f"pocket_{domain}_underspecified sharded" for domain in DOMAINS},
    "maze": "pocket_maze",
    "words": "pocket_words",
    TRIES: TRIES,
}


@dataclass(frozen=True)
class ResultStore:
    """A folder of results.

    Attributes:
      folder: made when the first file is written.
    """

    folder: Path

    def read(self, job: Job) -> dict[str, Any]:
        """The results of a job; those of one that was not begun are empty.

        Raises:
          UserError: the file is damaged, or was made by another recipe than the job's.
        """
        path = self.folder / f"{job.name}.json"
        try:
            record = parse_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"recipe": job.recipe, "training": None, "suites": {}, "seconds": {}}
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): remove it, and the job is done again") from error
        # Numbers of another recipe must not stand under this policy's name.
        if not isinstance(record, dict) or record.get("recipe") != job.recipe:
            raise UserError(
                f"{path} holds results of another recipe than {job.recipe}: remove it, or give other --results"
            )
        return record

    def write(self, job: Job, record: Mapping[str, Any]) -> None:
        """Writes the results of a job, whole or not at all.

        Raises:
          UserError: the file cannot be written.
        """
        path = self.folder / f"{job.name}.json"
        text = json.dumps(to_json(record), indent=1, allow_nan=False)
        # A list of numbers stands on one line, so that a change is seen in a few lines of a diff.
        text = re.sub(r"\[[^\[\]{}\"]*\]", lambda numbers: "".join(numbers[0].split()), text)
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(f"{text}\n".encode())


def missing_arms(job: Job, record: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The suites and arms of a job that its results do not have, as `Job.wanted` names them."""
    missing = {}
    for suite, arms in job.wanted.items():
        entries = record["suites"].get(_TASKS[suite], {})
        left = tuple(arm for arm in arms if arm not in entries)
        if left:
            missing[suite] = left
    return missing


@dataclass(frozen=True)
class Results:
    """The results that the claims are computed from.

    Attributes:
      records: what `ResultStore.read` returns, by policy, domain and seed.
      domains: that the claims are asked for.
    """

    records: Mapping[tuple[str, str, int], Mapping[str, Any]]
    domains: Sequence[str] = field(default=DOMAINS)

    def seeds(self, policy: str, domain: str) -> list[int]:
        """The seeds of a policy of which there are results."""
        return sorted(seed for name, trained_on, seed in self.records if (name, trained_on) == (policy, domain))

    def training(self, policy: str, domain: str, seed: int) -> Mapping[str, Any] | None:
        """What is known of a policy's training; None where it has not been trained."""
        return self.records.get((policy, domain, seed), {}).get("training")

    def entry(self, policy: str, domain: str, seed: int, suite: str, arm: str) -> Mapping[str, Any] | None:
        """The numbers of a suite, by its name in the gin files, and an arm; None where they were not measured."""
        suites = self.records.get((policy, domain, seed), {}).get("suites", {})
        return suites.get(_TASKS[suite], {}).get(arm)


def read_results(store: ResultStore, jobs: Sequence[Job], domains: Sequence[str]) -> Results:
    """The results of jobs, as far as there are any.

    Raises:
      UserError: a file is damaged, or of another recipe.
    """
    return Results({(job.policy, job.domain, job.seed): store.read(job) for job in jobs}, domains)
