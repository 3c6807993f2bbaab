"""The parts of the page that have plots, made from the runs' files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sml_jax.evaluate.labels import LABELS
from sml_jax.report.blocks import Block, Key, is_finite, names_of, policy_keys
from sml_jax.report.panels import Line, dot_panel, line_panel, share_panel
from sml_jax.report.run_files import RunFiles, is_intervals
from sml_jax.report.tables import flips_table, success_table

# Metrics of training that have a panel if a run logged them, in this order; the log's own names.
_CURVES = (
    "success", "first_turn_success", "return", "turns", "attempt_rate", "leak_rate", "nll", "loss", "entropy", "kl",
    "gradient_norm", "zero_variance_fraction", "truncated_rate", "dropped_rate", "dialogues_per_second",
)  # fmt: skip


def success_blocks(run: RunFiles) -> list[Block]:
    """Success by turn, arm beside arm, and all arms at the last turn: one block for each suite of a run."""
    blocks = []
    for suite, policies in run.evaluation.items():
        keys = policy_keys(policies)
        arms = names_of(arms for arms in policies.values())
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
        blocks.append(Block(suite, note, panels, keys, [success_table(policies), *flips_table(policies)]))
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


def likelihood_blocks(run: RunFiles) -> list[Block]:
    """The log-likelihood of the right answer by turn: a block for each suite that it was measured on.

    A panel shows its mean over the dialogues that reached a turn. These are fewer and fewer, since solved dialogues
    end, so a second panel shows what each teacher turn changed, over the same dialogues before and after it.
    """
    blocks = []
    for suite, policies in run.evaluation.items():
        keys, panels = policy_keys(policies), []
        for arm in names_of(arms for arms in policies.values()):
            for field_name, interval_name, title, y_label in (
                ("answer_loglik_at_turn", "answer_loglik_ci95", arm, "log-likelihood, nats"),
                ("answer_loglik_change_at_turn", "answer_loglik_change_ci95", f"{arm}, change", "change, nats"),
            ):
                lines = _entry_lines(policies, arm, keys, field_name, interval_name)
                if lines:
                    limits, is_change = _limits_of(lines), "change" in field_name
                    panels.append(line_panel(title, lines, "teacher turn", y_label, y_limits=limits, zero=is_change))
        if panels:
            note = (
                "The mean log-likelihood of the right answer after each teacher turn, and what the turn changed in the "
                "same dialogues: above 0 where the student learns from it. Bands are 95 % intervals; where few "
                "dialogues are left, they may go beyond the panel."
            )
            blocks.append(Block(suite, note, panels, keys))
    return blocks


def _limits_of(lines: Sequence[Line]) -> tuple[float, float]:
    """Limits that show all points, and as much again above and below them.

    The interval of the last few dialogues can be so wide that it would press all the points into one line.
    """
    points = [float(value) for line in lines for value in line.y if value is not None]
    margin = max(max(points) - min(points), 0.1)
    return min(points) - margin, max(points) + margin


def _entry_lines(
    policies: Mapping[str, Mapping[str, Any]], arm: str, keys: Sequence[Key], field_name: str, interval_name: str
) -> list[Line]:
    """The lines of an arm for a field with a number or None for each turn; of the policies that have one."""
    lines = []
    for key in keys:
        entry = policies[key.label].get(arm, {})
        values, intervals = entry.get(field_name), entry.get(interval_name)
        if not isinstance(values, list) or not any(map(is_finite, values)):
            continue
        numbers = [value if is_finite(value) else None for value in values]
        # A turn that too few dialogues reached has no interval.
        if isinstance(intervals, list) and len(intervals) == len(values):
            intervals = [interval if is_intervals([interval], 1) else None for interval in intervals]
        else:
            intervals = []
        lines.append(Line(key.label, key.colour, range(1, len(values) + 1), numbers, intervals, key.dashed))
    return lines


def runs_block(runs: Sequence[RunFiles]) -> list[Block]:
    """The trained policies of several runs in one panel for each suite and its first arm; nothing for a single run."""
    panels, keys = [], [Key(run.name, number) for number, run in enumerate(runs, start=1)]
    for suite in names_of(run.evaluation for run in runs):
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
    keys = [Key(run.name, number) for number, run in enumerate(runs, start=1)]
    panels = []
    for metric in _CURVES:
        lines, breaks = [], []
        for key, run in zip(keys, runs, strict=True):
            points = [(row["step"], row[metric], row.get("stage")) for row in run.metrics if is_finite(row.get(metric))]
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
    # The legend names what the student did at all.
    shown_labels = {
        number
        for turns in labels_by_turn.values()
        for counts in turns
        for number in range(len(LABELS))
        if counts[number]
    }
    keys = [Key(label, number) for number, label in enumerate(LABELS) if number in shown_labels]
    return [Block(suite, note, suite_panels, keys) for suite, suite_panels in panels.items()]
