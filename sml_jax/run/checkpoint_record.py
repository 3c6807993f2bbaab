"""What a checkpoint says besides arrays, and which checkpoints a run keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sml_jax.run.state import RunPosition


@dataclass(frozen=True)
class EvaluationState:
    """How far the evaluation while training has come.

    Attributes:
      last_step: after which step of the run it took place last; None for never.
      best_step, best_score: after which step the best model so far was evaluated, and its score, where higher is
        better; None for no model yet.
      suite: tells what was played, since scores of different suites cannot be compared.
    """

    last_step: int | None = None
    best_step: int | None = None
    best_score: float | None = None
    suite: str = ""


@dataclass(frozen=True)
class Record:
    """What a checkpoint holds besides the arrays of the state.

    Random keys and the order of problems are functions of the seed and the position, so they are not stored.

    Attributes:
      position: how far the run had come.
      seed: the run's, of everything random.
      config: the operative configuration as gin text.
      problems: fingerprint of the training problems.
      logs: length in bytes of each log file of the run's folder, by name.
      files: SHA-256 of other files of the run's folder that the stage needs to continue, by name.
      scores: of the steps since the last regular checkpoint; higher is better. Empty in a run that evaluates while it
        trains, since that chooses its best model.
      stage_end: whether the checkpoint was written after the last step of its stage.
      evaluation: how far the evaluation while training had come.
    """

    position: RunPosition
    seed: int = 0
    config: str = ""
    problems: str = ""
    logs: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    scores: Sequence[float] = ()
    stage_end: bool = False
    evaluation: EvaluationState = EvaluationState()

    @property
    def score(self) -> float | None:
        """The mean of the scores, higher is better; None if there are none, or if it is not finite."""
        mean = sum(self.scores) / len(self.scores) if self.scores else math.nan
        return mean if math.isfinite(mean) else None

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Record:
        """Makes a record from JSON values; the inverse of `dataclasses.asdict`.

        Raises:
          TypeError, KeyError: `values` are not those of a record.
        """
        position, evaluation = RunPosition(**values["position"]), EvaluationState(**values.get("evaluation", {}))
        return Record(**{**values, "position": position, "evaluation": evaluation})


def read_record(checkpoint: Path) -> Record | None:
    """Reads the record in a checkpoint's folder; None if it is missing or cannot be read."""
    # `metadata` is how Orbax names the file of an item that is written as JSON.
    try:
        return Record.from_json(json.loads((checkpoint / "position" / "metadata").read_text()))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def steps_to_keep(records: Mapping[int, Record | None], newest: int) -> set[int]:
    """Selects the checkpoints to keep: the newest, the best one of the latest stage, and the last one of each stage.

    Args:
      records: of all checkpoints, by step; None for one that cannot be read, or not yet.
      newest: how many of the newest are kept.

    Returns:
      The steps of the checkpoints to keep.
    """
    readable_records = {step: record for step, record in records.items() if record is not None}
    newest_steps = set(sorted(records)[-newest:])
    stage_end_steps = {step for step, record in readable_records.items() if record.stage_end}
    # Scores of different stages measure different things, so the best is looked for in the latest stage alone.
    scored_steps = [
        (record.position.stage, record.score, step)
        for step, record in readable_records.items()
        if record.score is not None
    ]
    best_step = {step for *_, step in sorted(scored_steps)[-1:]}
    return newest_steps | stage_end_steps | best_step
