"""What the page shows of the runs besides their dialogues: groups of panels and tables, made from the runs' files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sml_jax.evaluate.labels import LABELS
from sml_jax.report.panels import Line, Number, dot_panel, line_panel, share_panel
from sml_jax.report.run_files import RunFiles, is_intervals

# Policies keep their colours all over the page; others take those that follow.
_POLICY_COLOURS = {"base": 0, "trained": 1}
# Metrics of training that have a panel if a run logged them, in this order; the log's own names.
_CURVES = (
    "success", "first_turn_success", "return", "turns", "attempt_rate", "leak_rate", "nll", "loss", "entropy", "kl",
    "gradient_norm", "zero_variance_fraction", "truncated_rate", "dropped_rate", "dialogues_per_second",
)  # fmt: skip


@dataclass(frozen=True)
class Key:
    """An entry of a legend: what it names, the number of its colour, and whether its line is dashed."""

    label: str
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
      header: a name for each column.
      rows: a text for each cell.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Block:
    """Panels that belong together.

    Attributes:
      title: what they show. note: how to read them, "" for nothing to say.
      panels: `<svg>` elements.
      legend: what their colours mean.
      tables: their numbers.
    """

    title: str
    note: str = ""
    panels: Sequence[str] = ()
    legend: Sequence[Key] = ()
    tables: Sequence[Table] = field(default_factory=list)


def success_blocks(run: RunFiles) -> list[Block]:
    """Success by turn, arm beside arm, and all arms at the last turn: one block for each suite of a run."""
    blocks = []
    for suite, policies in run.evaluation.items():
        keys = _policy_keys(policies)
        arms = _names(arms for arms in policies.values())
        panels = []
        for arm in arms:
            lines = [
                Line(
                    key.label,
                    key.colour,
                    range(1, len(entry["success_at_turn"]) + 1),
                    entry["success_at_turn"],
                    entry.get("ci95") or (),
                    key.dashed,
                )
                for key in keys
                if (entry := policies[key.label].get(arm)) is not None
            ]
            panels.append(line_panel(arm, lines, "student turn", "solved", y_limits=(0, 1)))
        # One arm alone has nothing to be compared with.
        if len(arms) > 1:
            panels.append(_arms_panel(policies, arms, keys))
        note = "Bands and bars are 95 % intervals over problems."
        blocks.append(Block(suite, note, panels, keys, [_success_table(policies)]))
    return blocks


def _arms_panel(policies: Mapping[str, Mapping[str, Any]], arms: Sequence[str], keys: Sequence[Key]) -> str:
    """All arms of a suite at the last turn."""
    lines = []
    for key in keys:
        rows = [(number, policies[key.label][arm]) for number, arm in enumerate(arms) if arm in policies[key.label]]
        intervals = [entry["ci95"][-1] for _, entry in rows if entry.get("ci95")]
        success = [entry["success_at_turn"][-1] for _, entry in rows]
        # Entries of other programs may have intervals for some arms alone.
        shown_intervals = intervals if len(intervals) == len(rows) else ()
        lines.append(Line(key.label, key.colour, [number for number, _ in rows], success, shown_intervals, key.dashed))
    return dot_panel("all arms at the last turn", arms, lines, "solved")


def _success_table(policies: Mapping[str, Mapping[str, Any]]) -> Table:
    """The numbers behind a suite's panels: solved in percent at some turns, with intervals."""
    longest = max(len(entry["success_at_turn"]) for arms in policies.values() for entry in arms.values())
    turns = sorted({1, 2, 4, longest} & set(range(1, longest + 1)))
    rows = []
    for arm in _names(arms for arms in policies.values()):
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


def likelihood_blocks(run: RunFiles) -> list[Block]:
    """The log-likelihood of the right answer by turn: a block for each suite that it was measured on."""
    blocks = []
    for suite, policies in run.evaluation.items():
        keys = _policy_keys(policies)
        panels = []
        for arm in _names(arms for arms in policies.values()):
            lines = []
            for key in keys:
                entry = policies[key.label].get(arm, {})
                values = entry.get("answer_loglik_at_turn")
                if not isinstance(values, list) or not any(isinstance(value, int | float) for value in values):
                    continue
                numbers = [value if isinstance(value, int | float) else None for value in values]
                intervals = entry.get("answer_loglik_ci95")
                shown_intervals = intervals if is_intervals(intervals, len(values)) else ()
                turns = range(1, len(values) + 1)
                lines.append(Line(key.label, key.colour, turns, numbers, shown_intervals, key.dashed))
            if lines:
                panels.append(line_panel(arm, lines, "teacher turn", "log-likelihood, nats"))
        if panels:
            note = "The mean log-likelihood of the right answer after each teacher turn; it rises where a model learns."
            blocks.append(Block(suite, note, panels, keys))
    return blocks


def runs_block(runs: Sequence[RunFiles]) -> list[Block]:
    """The trained policies of several runs in one panel for each suite and its first arm; nothing for a single run."""
    panels, keys = [], [Key(run.name, number) for number, run in enumerate(runs)]
    for suite in _names(run.evaluation for run in runs):
        arm = next(
            arm for run in runs if suite in run.evaluation for arms in run.evaluation[suite].values() for arm in arms
        )
        lines = []
        for key, run in zip(keys, runs, strict=True):
            entry = run.evaluation.get(suite, {}).get("trained", {}).get(arm)
            if entry is not None:
                turns = range(1, len(entry["success_at_turn"]) + 1)
                lines.append(Line(key.label, key.colour, turns, entry["success_at_turn"], entry.get("ci95") or ()))
        if len(lines) > 1:
            panels.append(line_panel(f"{suite}, {arm}", lines, "student turn", "solved", y_limits=(0, 1)))
    return [Block("Trained policies of all runs", "Bands are 95 % intervals.", panels, keys)] if panels else []


def training_block(runs: Sequence[RunFiles]) -> list[Block]:
    """Training curves of all runs, a panel for each metric that any of them logged."""
    keys = [Key(run.name, number) for number, run in enumerate(runs)]
    panels = []
    for metric in _CURVES:
        lines, breaks = [], []
        for key, run in zip(keys, runs, strict=True):
            points = [
                (row["step"], row[metric], row.get("stage")) for row in run.metrics if _is_finite(row.get(metric))
            ]
            if points:
                steps, values, stages = zip(*points, strict=True)
                lines.append(Line(key.label, key.colour, steps, values))
                # With one run alone it is plain whose stages they are.
                if len(runs) == 1:
                    changes = zip(stages, stages[1:], steps[1:], strict=False)
                    breaks = [step - 0.5 for before, after, step in changes if before != after]
        # A metric that stayed 0 in all runs, such as a leak rate, has nothing to show.
        if any(any(line.y) for line in lines):
            panels.append(line_panel(metric, lines, "step", breaks=breaks))
    if not panels:
        return []
    note = "Dotted lines mark the beginning of a stage." if len(runs) == 1 else ""
    return [Block("Training curves", note, panels, keys if len(runs) > 1 else [])]


def behaviour_blocks(run: RunFiles) -> list[Block]:
    """What the student does at each of its turns, by suite and policy, in the suite's first arm."""
    first_arms: dict[str, str] = {}
    labels_by_turn: dict[tuple[str, str], list[list[int]]] = {}
    for dialogue in run.dialogues:
        suite, arm = dialogue["suite"], dialogue["arm"]
        if not suite or dialogue["dropped"] or first_arms.setdefault(suite, arm) != arm:
            continue
        turns = labels_by_turn.setdefault((suite, dialogue["policy"]), [])
        for number, label in enumerate(dialogue["labels"]):
            if number == len(turns):
                turns.append([0] * len(LABELS))
            turns[number][label] += 1
    panels: dict[str, list[str]] = {}
    for (suite, policy), turns in labels_by_turn.items():
        shares = [[count / sum(counts) for count in counts] for counts in turns]
        if shares:
            panels.setdefault(suite, []).append(share_panel(f"{policy}, {first_arms[suite]}", LABELS, shares))
    note = "The share of each kind of turn among the dialogues that were still open; labels by fixed rules."
    keys = [Key(label, number) for number, label in enumerate(LABELS)]
    return [Block(suite, note, suite_panels, keys) for suite, suite_panels in panels.items()]


def sharded_tables(run: RunFiles) -> list[Block]:
    """The numbers of the sharded suites: performance, aptitude and unreliability in percent, with intervals."""
    blocks = []
    for suite, policies in run.sharded.items():
        rows = []
        for policy, settings in _items(policies):
            for setting, users in _items(settings):
                for user, entry in _items(users):
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
    if not _is_finite(value):
        return ""
    if not is_intervals(intervals, 1):
        return f"{value:.0f}"
    ((low, high),) = intervals
    return f"{value:.0f} [{low:.0f}, {high:.0f}]"


def claims_tables(run: RunFiles) -> list[Block]:
    """`claims.json` as a table: a row for each claim, and a column for each plain value that any of them has."""
    claims = run.claims.get("claims", run.claims) if isinstance(run.claims, dict) else run.claims
    if isinstance(claims, dict):
        claims = [{"claim": name, **fields} for name, fields in claims.items() if isinstance(fields, dict)]
    rows = [claim for claim in claims if isinstance(claim, dict)] if isinstance(claims, list) else []
    if not rows:
        return []
    header = _names(rows)
    return [Block(run.name, tables=[Table(header, [[_cell(row.get(name)) for name in header] for row in rows])])]


def _cell(value: Any) -> str:
    """A value of `claims.json` as the text of a cell."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_cell, value)) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_cell(item)}" for name, item in value.items())
    return {None: "", True: "yes", False: "no"}.get(value, str(value)) if not isinstance(value, str) else value


def _policy_keys(policies: Iterable[str]) -> list[Key]:
    """The legend of a suite's policies; the base model's lines are dashed."""
    others = iter(range(2, 100))
    return [
        Key(policy, _POLICY_COLOURS[policy] if policy in _POLICY_COLOURS else next(others), policy == "base")
        for policy in policies
    ]


def _names(mappings: Iterable[Iterable[str]]) -> list[str]:
    """The names of several mappings, each once, in the order in which they first come up."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _items(value: Any) -> list[tuple[str, Any]]:
    """Names and values of a JSON object; none for any other value."""
    return list(value.items()) if isinstance(value, dict) else []


def _is_finite(value: Any) -> bool:
    """Whether a JSON value is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
