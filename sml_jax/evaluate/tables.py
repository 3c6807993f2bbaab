"""Tables for people: success by turn for each policy and arm, and two dialogues side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.run.io.display import printable

# suite -> policy -> arm -> what `success_summary` gives: the form of eval.json.
Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]

_POLICIES = ("base", "trained")
_ARMS = ("feedback", "retry", "self", "uninformed", "shuffled")
_MAX_TURNS = 10
_TURNS_WITH_INTERVAL = (1, 4)


@dataclass(frozen=True)
class _Row:
    """A line of the closing table."""

    suite: str
    arm: str
    policy: str
    n: str
    cells: tuple[tuple[str, str], ...]  # for each turn in the table its value and its interval, "" for none


def closing_table(results: Results) -> Table:
    """Success at turns 1 to 10 in percent, with 95 % intervals at turns 1, 4 and the last; fits 100 columns.

    Args:
      results: what `eval.json` holds: suite -> policy -> arm -> {"success_at_turn", "ci95", "n", ...}.

    Returns:
      A table for rich to print, with a block for each suite. A block has rows for each arm, the base policy's above the
      trained one's.

    Raises:
      UserError: `results` holds no arm.
    """
    rows = list(_rows(results, decimals=0))
    table = Table(
        title="Success at turn (%), with 95 % intervals",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
    )
    # Suite, arm and policy share a column, or ten turns would not fit; only cells with an interval may wrap.
    table.add_column("suite, arm, policy", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    columns = zip(*(row.cells for row in rows), strict=True)
    has_interval = [any(interval for _, interval in column) for column in columns]
    for turn, wide in enumerate(has_interval, start=1):
        if wide:
            longest = max(len(row.cells[turn - 1][1]) for row in rows)
            table.add_column(f"{turn:>3}", min_width=longest)
        else:
            table.add_column(str(turn), justify="right", no_wrap=True)
    arm_width = max(len(row.arm) for row in rows)
    suite = arm = None
    for row in rows:
        # A suite has a heading of its own, and an arm is named in its first row alone.
        if row.suite != suite:
            if suite is not None:
                table.add_row()
            table.add_row(Text(row.suite, style="bold"))
            arm = None
        name = f"  {row.arm if row.arm != arm else '':<{arm_width}}  {row.policy}"
        # Values before an interval are padded to "100", so that they stand in a line.
        cells = [
            f"{value:>3} {interval}" if wide else value
            for (value, interval), wide in zip(row.cells, has_interval, strict=True)
        ]
        style = "bold" if row.policy == "trained" else ""
        table.add_row(*(Text(cell, style=style) for cell in (name, row.n, *cells)))
        suite, arm = row.suite, row.arm
    return table


def closing_markdown(results: Results) -> str:
    """The table of `closing_table` as markdown, with one decimal.

    Args:
      results: as for `closing_table`.

    Returns:
      A markdown table, ending in a newline.

    Raises:
      UserError: `results` holds no arm.
    """
    rows = list(_rows(results, decimals=1))
    turns = [str(turn) for turn in range(1, len(rows[0].cells) + 1)]
    lines = [["suite", "arm", "policy", "n", *turns], ["---"] * 3 + ["---:"] * (1 + len(turns))]
    lines += [[row.suite, row.arm, row.policy, row.n, *(" ".join(cell).strip() for cell in row.cells)] for row in rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def compare_dialogues(base: Dialogue, trained: Dialogue) -> RenderableType:
    """Two dialogues about one problem, side by side and turn by turn.

    Args:
      base: the base model's dialogue.
      trained: the trained model's.

    Returns:
      A table for rich to print: the problem, then a column for each dialogue, with the verdict on each student turn.

    Raises:
      UserError: the dialogues are about different problems.
    """
    # The reader compares turn by turn, which only makes sense on one problem.
    if base.problem_id != trained.problem_id:
        raise UserError(
            f"dialogues on problems {base.problem_id!r} and {trained.problem_id!r} cannot stand side by side: "
            f"choose two on the same problem."
        )
    # A model may write control characters, which a terminal would obey.
    problem_text = printable(base.turns[0].text) if base.turns else ""
    table = Table(
        title=Text(f"Problem {printable(base.problem_id)}: {problem_text}", style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        expand=True,
    )
    for policy, dialogue in zip(_POLICIES, (base, trained), strict=True):
        table.add_column(Text(f"{policy} ({dialogue.arm}): {_outcome(dialogue)}"), ratio=1, overflow="fold")
    for left, right in zip_longest(_utterances(base), _utterances(trained), fillvalue=Text("")):
        table.add_row(left, right)
    return table


def _rows(results: Results, decimals: int) -> Iterator[_Row]:
    """The lines of the closing table, with known arms and policies in their usual order."""
    entries = [
        (suite, arm, policy, policies[policy][arm])
        for suite, policies in results.items()
        for arm in _in_order({arm: None for entries_by_arm in policies.values() for arm in entries_by_arm}, _ARMS)
        for policy in _in_order(policies, _POLICIES)
        if arm in policies[policy]
    ]
    if not entries:
        raise UserError("there are no results to show: evaluate at least one suite, policy and arm.")
    # More columns than 10 turns would not fit 100 characters.
    turns = min(_MAX_TURNS, max(len(entry["success_at_turn"]) for *_, entry in entries))
    for suite, arm, policy, entry in entries:
        yield _Row(suite, arm, policy, str(entry.get("n", "")), _cells(entry, turns, decimals))


def _cells(entry: Mapping[str, Any], turns: int, decimals: int) -> tuple[tuple[str, str], ...]:
    """An entry's value and interval at each of `turns` turns; an entry with fewer turns has empty cells at the end."""
    success: Sequence[float | None] = entry["success_at_turn"][:turns]
    intervals: Sequence[Sequence[float]] = entry.get("ci95") or []
    cells = []
    for turn, value in enumerate(success, start=1):
        interval = ""
        if value is not None and turn <= len(intervals) and turn in (*_TURNS_WITH_INTERVAL, len(success)):
            low, high = intervals[turn - 1]
            interval = _interval(low, high, decimals)
        cells.append(("-" if value is None else f"{100 * value:.{decimals}f}", interval))
    return (*cells, *[("", "")] * (turns - len(success)))


def _interval(low: float | int, high: float | int, decimals: int) -> str:
    """An interval in percent, rounded outwards: one from 99.6 to 100 must not be printed as 100-100."""
    unit = 10**decimals
    low, high = math.floor(100 * low * unit + 1e-9) / unit, math.ceil(100 * high * unit - 1e-9) / unit
    return f"[{low:.{decimals}f}-{high:.{decimals}f}]"


def success_and_interval(entry: Mapping[str, Any], turn: int) -> str:
    """Success at a turn in percent with its 95 % interval, such as "31 % [23-40]".

    Args:
      entry: of an arm, in the form of `eval.json`.
      turn: from 1 on.
    """
    low, high = entry["ci95"][turn - 1]
    return f"{100 * entry['success_at_turn'][turn - 1]:.0f} % {_interval(low, high, 0)}"


def _in_order(names: Mapping[str, Any], first: Sequence[str]) -> list[str]:
    """The names that `first` has, in its order, and then the others as they come."""
    return [name for name in first if name in names] + [name for name in names if name not in first]


def _outcome(dialogue: Dialogue) -> str:
    """How a dialogue ended, for a heading."""
    if dialogue.solved_turn:
        return f"solved at turn {dialogue.solved_turn}"
    return f"not solved in {len(dialogue.verdicts)} turns"


def _utterances(dialogue: Dialogue) -> list[Text]:
    """The utterances after the problem's statement, the student's with their turn's number and verdict."""
    verdicts = enumerate(dialogue.verdicts, start=1)
    texts = []
    for utterance in dialogue.turns[1:]:
        if utterance.role == "teacher":
            texts.append(Text.assemble(("teacher: ", "cyan"), (printable(utterance.text), "dim")))
            continue
        turn, verdict = next(verdicts)
        word, style = ("wrong", "red") if verdict.attempted else ("no answer", "yellow")
        if verdict.correct:
            word, style = "correct", "green"
        texts.append(Text.assemble((f"student {turn} ({word}): ", style), printable(utterance.text)))
    return texts
