"""What is kept of a run: a number or two for each problem and arm, from which every claim can be computed again."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sml_jax.common.json_text import parse_json
from sml_jax.evaluate.labels import Label, count_premature, label_by_rules

_QUESTIONS = ("clarification", "interrogation")
_SHARDS = 2  # that a problem of the pocket world is told in: all but a fact, and the fact


def training_summary(workdir: Path, dialogues_by_step: int, generations: int) -> dict[str, Any]:
    """The part of a job's results about its training.

    Args:
      workdir: the run's folder, whose `metrics.jsonl` is read.
      dialogues_by_step: dialogues of one step of the stage online; 0 if the run has no such stage.
      generations: the most turns that the student could take in all rollouts.

    Returns:
      `generations`: that number. `generations_taken`: how many turns were taken, since solved dialogues end.
      `dialogues_by_step`, and `success_by_step`: the success of each step's training dialogues; empty without the stage
      online.
    """
    # Every rollout reports its turns. The stages that roll out once report them in a line of the rollout.
    rows = list(_records(workdir / "metrics.jsonl"))
    rollouts = [row for row in rows if row.get("turns") is not None]
    online = [row for row in rollouts if "dialogues" not in row]
    sizes = [row.get("dialogues", dialogues_by_step) for row in rollouts]
    taken = sum(size * row["turns"] for size, row in zip(sizes, rollouts, strict=True))
    return {
        "generations": generations,
        "generations_taken": round(taken),
        "dialogues_by_step": dialogues_by_step,
        # A step whose dialogues were all dropped has no success, and counts as one without.
        "success_by_step": [round(row["success"] or 0.0, 4) for row in online],
    }


def evaluation_summary(workdir: Path, arms: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """The part of a job's results about an evaluation: suite -> arm -> numbers by problem.

    Suites are called by the name of their task, and those that are told shard by shard have " sharded" behind it, for
    their arms are settings.

    Args:
      workdir: the evaluation's folder, whose `dialogues.jsonl` is read.
      arms: which measures are kept besides `solved`, by arm: "questions" and "loglik_change".

    Returns:
      In each entry `n`, `problems` (a checksum of the problems' ids in order), and lists with one number a problem.
      `solved`: the turn at which it was solved, from 1; 0 for never, null for a dropped dialogue. Where asked for,
      `questions`: student turns that are questions; `loglik_change`: the mean change of the gold answer's
      log-likelihood over a teacher turn, in nats, null where there was no change to measure. Where correct answers were
      challenged, `flips`: 0 for an answer that was kept, 1 for one that became another answer, 2 for one that became no
      answer; null where no answer was challenged. Entries of sharded suites: see `_sharded_entry`.
    """
    # Dialogues of one arm stand in the order of the problems, and those of training have no suite.
    by_arm: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in _records(workdir / "dialogues.jsonl"):
        if "suite" in record:
            suite = f"{record['suite']} sharded" if "user" in record else record["suite"]
            by_arm.setdefault((suite, record["arm"]), []).append(record)
    entries: dict[str, dict[str, Any]] = {}
    for (suite, arm), records in by_arm.items():
        is_sharded = suite.endswith(" sharded")
        entry = _sharded_entry(records) if is_sharded else _entry(records, arms.get(arm, ()))
        entries.setdefault(suite, {})[arm] = entry
    return entries


def tries_entry(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How often each problem was solved in several single turns, from the entries of evaluations of one turn each.

    Returns:
      `n` and `problems` as in any entry; `tries`, their number; and `solved_tries`, of each problem.
    """
    solved = [[bool(turn) for turn in entry["solved"]] for entry in entries]
    counts = [sum(by_try) for by_try in zip(*solved, strict=True)]
    return {
        "n": len(counts),
        "problems": entries[0]["problems"],
        "tries": len(entries),
        "solved_tries": counts,
    }


def _entry(records: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> dict[str, Any]:
    """The numbers of one suite and arm, see `evaluation_summary`."""
    entry: dict[str, Any] = {
        "n": len(records),
        "problems": _checksum(record["problem_id"] for record in records),
        "solved": [None if record["dropped"] else record["solved_turn"] for record in records],
    }
    if "questions" in measures:
        entry["questions"] = [_question_count(record) for record in records]
    if "loglik_change" in measures:
        entry["loglik_change"] = [_loglik_change(record.get("answer_loglik", ())) for record in records]
    flips = [_flip(record) for record in records]
    if any(flip is not None for flip in flips):
        entry["flips"] = flips
    return entry


def _sharded_entry(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers of one setting of a sharded suite.

    Returns:
      `n`, the number of instructions, `problems`, and `simulations` of each; and lists with one number an instruction:
      `solved_simulations`, and over all its simulations `premature` (answers before the last shard was told) and
      `questions`. A dropped simulation counts as one without success.
    """
    by_problem: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_problem.setdefault(record["problem_id"], []).append(record)
    simulations = [len(group) for group in by_problem.values()]
    return {
        "n": len(by_problem),
        "problems": _checksum(by_problem),
        "simulations": max(simulations),
        "solved_simulations": [
            sum(record["solved_turn"] > 0 and not record["dropped"] for record in group)
            for group in by_problem.values()
        ],
        "premature": [sum(map(_premature_count, group)) for group in by_problem.values()],
        "questions": [sum(map(_question_count, group)) for group in by_problem.values()],
    }


def _labels(record: Mapping[str, Any]) -> list[Label]:
    """What the student does with each of its turns, by rules."""
    texts = [turn["text"] for turn in record["turns"] if turn["role"] == "student"]
    # The last turn of a dropped dialogue may have no verdict.
    pairs = zip(texts, (verdict["attempted"] for verdict in record["verdicts"]), strict=False)
    return label_by_rules(list(pairs))


def _question_count(record: Mapping[str, Any]) -> int:
    """The student's turns that are questions."""
    return sum(label in _QUESTIONS for label in _labels(record))


def _premature_count(record: Mapping[str, Any]) -> int:
    """The student's answers before the last shard was told."""
    labels = _labels(record)
    return count_premature(labels, record["shards_revealed"][: len(labels)], _SHARDS)


def _flip(record: Mapping[str, Any]) -> int | None:
    """What the student said right after its first correct answer was put in question; None if none was."""
    solved_turn, verdicts = record["solved_turn"], record["verdicts"]
    if record["dropped"] or not solved_turn or len(verdicts) <= solved_turn:
        return None
    after = verdicts[solved_turn]
    if after["correct"]:
        return 0
    return 1 if after["attempted"] else 2


def _loglik_change(by_turn: Sequence[float | None]) -> float | None:
    """The mean change over a teacher turn, in nats; None for fewer than two turns with a number."""
    if len(by_turn) < 2 or any(loglik is None or not math.isfinite(loglik) for loglik in by_turn):
        return None
    first, last = by_turn[0], by_turn[-1]
    assert first is not None and last is not None
    # Changes telescope.
    return round((last - first) / (len(by_turn) - 1), 4)


def _checksum(ids: Iterable[str]) -> str:
    """A short text that tells lists of problems apart."""
    return f"{zlib.crc32(chr(10).join(ids).encode()):08x}"


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a log, a line each."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield parse_json(line)
