"""Reads what runs left in their folders. Whatever is missing or damaged becomes a note, and the rest is still shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.report.dialogue_log import numbered_lines, read_dialogues

EVAL, METRICS, DIALOGUES, CLAIMS = "eval.json", "metrics.jsonl", "dialogues.jsonl", "claims.json"


@dataclass
class RunFiles:
    """What the report knows of one run.

    Attributes:
      name: how the page calls the run: its folder's name, or its path where two folders share a name.
      metrics: the lines of `metrics.jsonl`, in order.
      evaluation: `eval.json` without its sharded suites: suite -> policy -> arm -> entry.
      sharded: the sharded suites of `eval.json`: suite -> policy -> setting -> user -> entry.
      claims: `claims.json`; None where there is none.
      dialogues: those of `dialogues.jsonl` as the page holds them, see `dialogue_log.page_dialogue`.
      notes: a sentence for each file that is missing, damaged or not shown whole.
    """

    name: str
    metrics: list[dict[str, Any]] = field(default_factory=list)
    evaluation: dict[str, dict[str, dict[str, dict[str, Any]]]] = field(default_factory=dict)
    sharded: dict[str, Any] = field(default_factory=dict)
    claims: Any = None
    dialogues: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_runs(
    folders: Sequence[Path], max_dialogues: int, progress: Callable[[int, int], None] | None = None
) -> list[RunFiles]:
    """Reads the folders of runs.

    Args:
      folders: of the runs, finished or not.
      max_dialogues: the largest number of dialogues of one run that are read.
      progress: called with (dialogues read, all) of one run after the other.

    Returns:
      A `RunFiles` for each folder, in order.

    Raises:
      UserError: a folder is given twice, does not exist, or holds none of the files that the report shows.
    """
    resolved = [folder.resolve() for folder in folders]
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise UserError(f"--workdir={folder} is given twice: give each run's folder once")
    # Folders of several seeds are often called alike, as in a/seed0 and b/seed0.
    names = [path.name for path in resolved]
    return [
        _read_run(folder, path.name if names.count(path.name) == 1 else str(folder), max_dialogues, progress)
        for folder, path in zip(folders, resolved, strict=True)
    ]


def _read_run(folder: Path, name: str, max_dialogues: int, progress: Callable[[int, int], None] | None) -> RunFiles:
    """Reads one run's folder; raises UserError where there is nothing to show."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: give --workdir the folder of a run")
    shown_files = (EVAL, METRICS, DIALOGUES, CLAIMS)
    if not any((folder / file).is_file() for file in shown_files):
        raise UserError(f"{folder} holds none of {', '.join(shown_files)}: give --workdir the folder of a run")
    run = RunFiles(name)
    _read_metrics(folder / METRICS, run)
    _read_evaluation(folder / EVAL, run)
    # Most runs have no claims, which needs no note.
    if (folder / CLAIMS).exists():
        run.claims = _read_json(folder / CLAIMS, run)
    if not (folder / DIALOGUES).is_file():
        run.notes.append(f"There is no {DIALOGUES}, so there are no dialogues to read.")
    else:
        try:
            run.dialogues, notes = read_dialogues(folder / DIALOGUES, max_dialogues, progress)
            run.notes += notes
        except OSError as error:
            run.notes.append(f"{DIALOGUES} cannot be read ({error.strerror}).")
    return run


def _read_json(path: Path, run: RunFiles) -> Any:
    """The content of a JSON file; None, with a note, where it is damaged."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        run.notes.append(f"{path.name} cannot be read ({error.strerror}).")
    except ValueError:
        run.notes.append(f"{path.name} is damaged (it is no JSON text), so nothing of it is shown.")
    return None


def _read_metrics(path: Path, run: RunFiles) -> None:
    """Reads `metrics.jsonl`: one JSON object a line, each with a `step`."""
    if not path.is_file():
        run.notes.append(f"There is no {METRICS}, so there are no training curves.")
        return
    damaged_numbers = []
    try:
        for number, line in numbered_lines(path):
            try:
                row = parse_json(line.decode("utf-8"))
                if not isinstance(row, dict) or not _is_number(row.get("step")):
                    raise ValueError("no line of metrics")
            except ValueError:
                damaged_numbers.append(number)
                continue
            run.metrics.append(row)
    except OSError as error:
        run.notes.append(f"{METRICS} cannot be read ({error.strerror}).")
        return
    if damaged_numbers:
        run.notes.append(
            f"{len(damaged_numbers)} of the lines of {METRICS} cannot be read, the first of them line "
            f"{damaged_numbers[0]}; they are left out."
        )


def _read_evaluation(path: Path, run: RunFiles) -> None:
    """Reads `eval.json` and keeps the entries that have the form that a run writes."""
    if not path.exists():
        run.notes.append(f"There is no {EVAL}: the run has not been evaluated yet.")
        return
    results = _read_json(path, run)
    if results is None:
        return
    if not isinstance(results, dict):
        run.notes.append(f"{EVAL} is no JSON object, so nothing of it is shown.")
        return
    sharded = results.pop("sharded_suites", {})
    run.sharded = sharded if isinstance(sharded, dict) else {}
    unreadable = []
    for suite, policies in results.items():
        for policy, arms in _items(policies):
            for arm, entry in _items(arms):
                if _is_entry(entry):
                    run.evaluation.setdefault(suite, {}).setdefault(policy, {})[arm] = entry
                else:
                    unreadable.append(f"{suite} {policy} {arm}")
    if unreadable:
        run.notes.append(
            f"{len(unreadable)} of the entries of {EVAL} have no success by turn, the first of them {unreadable[0]}; "
            "they are left out."
        )


def _items(value: Any) -> list[tuple[str, Any]]:
    """Names and values of a JSON object; none for any other value."""
    return list(value.items()) if isinstance(value, dict) else []


def _is_entry(entry: Any) -> bool:
    """Whether an arm's entry has success by turn, with an interval for each turn if it has intervals."""
    if not isinstance(entry, dict):
        return False
    success, intervals = entry.get("success_at_turn"), entry.get("ci95")
    if not isinstance(success, list) or not success or not all(map(_is_number, success)):
        return False
    return intervals is None or is_intervals(intervals, len(success))


def is_intervals(value: Any, length: int) -> TypeGuard[list[list[float]]]:
    """Whether a JSON value is a list of `length` pairs of numbers."""
    return (
        isinstance(value, list)
        and len(value) == length
        and all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in value)
    )


def _is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
