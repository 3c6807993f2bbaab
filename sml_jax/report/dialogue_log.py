"""Reads `dialogues.jsonl` for the page: line by line, so that a log of any length fits into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from sml_jax.common.json_text import parse_json
from sml_jax.evaluate.labels import LABELS, label_turn

# (is it of training, its step if so, suite, problem)
_ProblemKey = tuple[bool, int, str, str]

# Dialogues say the same things again and again in small worlds, and rules on wording are slow.
_label = lru_cache(maxsize=100_000)(label_turn)


def read_dialogues(
    path: Path, max_dialogues: int, progress: Callable[[int, int], None] | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Reads a run's dialogues.

    Where there are too many, all dialogues about a problem are kept or none, so that what belongs side by side stays
    together: first problems of the evaluation, in the order of the file, and then of the newest training steps.

    Args:
      path: of `dialogues.jsonl`.
      max_dialogues: the largest number that is read.
      progress: called with (dialogues read, all) after each of them.

    Returns:
      The dialogues in the order of the file, see `page_dialogue`; and a sentence for each thing that is not shown.

    Raises:
      OSError: the file cannot be read.
    """
    # The first pass only notes which line is about which problem.
    lines_by_problem: dict[_ProblemKey, list[int]] = {}
    damaged_numbers = []
    for number, line in numbered_lines(path):
        record = _record(line)
        if record is None:
            damaged_numbers.append(number)
        else:
            lines_by_problem.setdefault(_problem_key(record), []).append(number)
    chosen_numbers = _choose(lines_by_problem, max_dialogues)
    total = sum(map(len, lines_by_problem.values()))
    notes = []
    if damaged_numbers:
        notes.append(
            f"{len(damaged_numbers)} of the lines of {path.name} are no dialogues, the first of them line "
            f"{damaged_numbers[0]}; they are left out."
        )
    if len(chosen_numbers) < total:
        notes.append(
            f"{len(chosen_numbers)} of {total} dialogues can be read here, those of the evaluation first; "
            "--dialogues=N takes in more."
        )
    dialogues = []
    for number, line in numbered_lines(path):
        if number in chosen_numbers and (record := _record(line)) is not None:
            dialogues.append(page_dialogue(record))
            if progress is not None:
                progress(len(dialogues), len(chosen_numbers))
    return dialogues, notes


def page_dialogue(record: dict[str, Any]) -> dict[str, Any]:
    """A dialogue as the page's script reads it.

    Args:
      record: a line of `dialogues.jsonl`.

    Returns:
      Plain values for JSON: `problem`, `arm`, `policy`, `suite`, `domain`, `user`, `step`, `solved` (0 for never),
      `roles` ("t" or "s" a turn), `texts`, `verdicts` ("c" correct, "w" wrong, "n" no attempt, a student turn each),
      `details` of the verdicts, `labels` (indices into `LABELS`), `leaks`, `dropped`. What a record does not have is
      left out or empty.
    """
    turns, verdicts = record["turns"], record["verdicts"]
    student_texts = [turn["text"] for turn in turns if turn["role"] == "student"]
    page: dict[str, Any] = {
        "problem": record["problem_id"],
        "arm": record["arm"],
        "policy": record["policy"],
        "suite": _text(record, "suite"),
        "domain": _text(record, "domain"),
        "user": _text(record, "user"),
        "step": _count(record, "step"),
        "solved": record["solved_turn"],
        "roles": "".join("s" if turn["role"] == "student" else "t" for turn in turns),
        "texts": [turn["text"] for turn in turns],
        "verdicts": "".join("c" if v["correct"] else "w" if v["attempted"] else "n" for v in verdicts),
        # Labels are those of the fixed rules, also where a model labelled the turns for eval.json.
        "labels": [
            LABELS.index(_label(text, bool(verdict["attempted"])))
            for text, verdict in zip(student_texts, verdicts, strict=False)
        ],
        "leaks": _count(record, "leaks"),
        "dropped": _text(record, "dropped"),
    }
    if any(verdict.get("detail") for verdict in verdicts):
        page["details"] = [str(verdict.get("detail") or "") for verdict in verdicts]
    # What only some runs record is handed on as it is; the script looks at each before it shows it.
    for name in ("private", "advantages", "token_signals", "injected_turns", "shards_revealed", "redactions"):
        if record.get(name):
            page[name] = record[name]
    return page


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbers, from 1, and bytes of the lines that are not blank. Only a newline ends a line, as in any JSON log.

    Args:
      path: of a file of JSON lines.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line


def _record(line: bytes) -> dict[str, Any] | None:
    """The dialogue on a line; None where the line is damaged or holds something else."""
    try:
        record = parse_json(line.decode("utf-8"))
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    # The fields that every dialogue has; the others may be missing, as in runs of earlier versions.
    if not all(isinstance(record.get(name), str) for name in ("problem_id", "arm", "policy")):
        return None
    if not isinstance(record.get("solved_turn"), int) or not _are_turns(record.get("turns")):
        return None
    return record if _are_verdicts(record.get("verdicts")) else None


def _are_turns(value: Any) -> bool:
    """Whether a JSON value is a list of turns, each with a role and a text."""
    return isinstance(value, list) and all(
        isinstance(turn, dict) and isinstance(turn.get("text"), str) and turn.get("role") in ("teacher", "student")
        for turn in value
    )


def _are_verdicts(value: Any) -> bool:
    """Whether a JSON value is a list of verdicts, each with what it says of the student's turn."""
    return isinstance(value, list) and all(
        isinstance(verdict, dict) and "correct" in verdict and "attempted" in verdict for verdict in value
    )


def _problem_key(record: dict[str, Any]) -> _ProblemKey:
    """What dialogues that belong side by side have in common."""
    suite = _text(record, "suite")
    return not suite, 0 if suite else _count(record, "step"), suite, record["problem_id"]


def _choose(lines_by_problem: dict[_ProblemKey, list[int]], max_dialogues: int) -> set[int]:
    """The numbers of the lines to read: of whole problems, `max_dialogues` lines at most."""
    # Newest training first: the file is in the order of the steps.
    groups = list(lines_by_problem.items())
    of_evaluation = [numbers for key, numbers in groups if not key[0]]
    of_training = [numbers for key, numbers in reversed(groups) if key[0]]
    chosen: set[int] = set()
    for numbers in [*of_evaluation, *of_training]:
        if len(chosen) + len(numbers) <= max_dialogues:
            chosen.update(numbers)
    return chosen


def _text(record: dict[str, Any], name: str) -> str:
    """A field of a record as text, "" where it is none."""
    value = record.get(name)
    return value if isinstance(value, str) else ""


def _count(record: dict[str, Any], name: str) -> int:
    """A field of a record as a whole number, 0 where it is none."""
    value = record.get(name)
    return value if isinstance(value, int) else 0
