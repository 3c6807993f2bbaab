"""The tables of the page: the numbers behind its panels, sharded suites, and claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sml_jax.report.blocks import Block, Table, is_finite, items_of, names_of
from sml_jax.report.panels import Number
from sml_jax.report.run_files import RunFiles, is_intervals


def success_table(policies: Mapping[str, Mapping[str, Any]]) -> Table:
    """The numbers behind a suite's panels: solved in percent at some turns, with intervals."""
    longest = max(len(entry["success_at_turn"]) for arms in policies.values() for entry in arms.values())
    turns = sorted({1, 2, 4, longest} & set(range(1, longest + 1)))
    rows = []
    for arm in names_of(arms for arms in policies.values()):
        for policy, arms in policies.items():
            if (entry := arms.get(arm)) is not None:
                cells = [_percent(entry["success_at_turn"], entry.get("ci95"), turn) for turn in turns]
                rows.append([arm, policy, str(entry.get("n", "")), *cells])
    return Table(["arm", "policy", "n", *(f"solved by turn {turn}, %" for turn in turns)], rows)


def _percent(success: Sequence[Number], intervals: Sequence[Sequence[Number]] | None, turn: int) -> str:
    """Success at a turn in percent with its interval; "" past the entry's last turn."""
    if turn > len(success):
        return ""
    value = f"{100 * success[turn - 1]:.0f}"
    if not intervals:
        return value
    low, high = intervals[turn - 1]
    return f"{value} [{100 * low:.0f}, {100 * high:.0f}]"


def flips_table(policies: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """What became of correct answers that the teacher put in question, in percent; nothing where none was."""
    columns = {"changed to a wrong one": "", "kept": "kept_", "no answer": "no_answer_", "wrong in the end": "lost_"}
    rows = []
    for policy, arms in policies.items():
        for arm, entry in arms.items():
            flips = entry.get("flips")
            if isinstance(flips, dict) and flips:
                cells = [_rate_cell(flips, prefix) for prefix in columns.values()]
                rows.append([arm, policy, str(flips.get("n", "")), *cells])
    header = ["arm", "policy", "correct answers put in question", *(f"{name}, %" for name in columns)]
    return [Table(header, rows)] if rows else []


def _rate_cell(fractions: Mapping[str, Any], prefix: str) -> str:
    """A rate in percent with its interval; "" where there is none."""
    rate, intervals = fractions.get(f"{prefix}rate"), [fractions.get(f"{prefix}ci95")]
    if not is_finite(rate):
        return ""
    return _percent([rate], intervals if is_intervals(intervals, 1) else None, 1)


def sharded_tables(run: RunFiles) -> list[Block]:
    """The numbers of the sharded suites: performance, aptitude and unreliability in percent, with intervals."""
    blocks = []
    for suite, policies in run.sharded.items():
        rows = []
        for policy, settings in items_of(policies):
            for setting, users in items_of(settings):
                for user, entry in items_of(users):
                    if isinstance(entry, dict):
                        cells = [_aptitude_cell(entry, name) for name in ("P", "A90", "U")]
                        rows.append([setting, user, policy, str(entry.get("n", "")), *cells])
        if rows:
            header = ["setting", "user", "policy", "n", "P, %", "A90, %", "U, %"]
            blocks.append(Block(f"{suite}, told shard by shard", tables=[Table(header, rows)]))
    return blocks


def _aptitude_cell(entry: Mapping[str, Any], name: str) -> str:
    """A number of a sharded entry with its interval; "" where there is none."""
    value, intervals = entry.get(name), [entry.get(f"{name}_ci95")]
    if not is_finite(value):
        return ""
    if not is_intervals(intervals, 1):
        return f"{value:.0f}"
    ((low, high),) = intervals
    return f"{value:.0f} [{low:.0f}, {high:.0f}]"


def claims_tables(run: RunFiles) -> list[Block]:
    """`claims.json` as tables: its claims, and below them the numbers that they were measured by, if it has some."""
    claims = run.claims.get("claims", run.claims) if isinstance(run.claims, dict) else run.claims
    measures = run.claims.get("measures") if isinstance(run.claims, dict) and "claims" in run.claims else None
    if isinstance(claims, dict):
        claims = [{"claim": name, **fields} for name, fields in claims.items() if isinstance(fields, dict)]
    tables = [table for rows in (claims, measures) if (table := _rows_table(rows)) is not None]
    return [Block("", tables=tables)] if tables else []


def _rows_table(value: Any) -> Table | None:
    """A table with a row for each object of a list, and a column for each value that any of them has; None for none."""
    rows = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
    header = names_of(rows)
    return Table(header, [[_cell(row.get(name)) for name in header] for row in rows]) if rows else None


def _cell(value: Any) -> str:
    """A value of `claims.json` as the text of a cell."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_cell, value)) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_cell(item)}" for name, item in value.items())
    return {None: "", True: "yes", False: "no"}.get(value, str(value)) if not isinstance(value, str) else value
