"""Tables over several runs of one recipe with different seeds: means and 95 % intervals over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.evaluate.sharded import SHARDED_KEY
from sml_jax.evaluate.statistics import mean_ci95_over_seeds

Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]


def load_results(folders: Sequence[Path]) -> list[Results]:
    """Reads `eval.json` in each run's folder, and leaves out its sharded suites.

    Returns:
      For each folder, in order: suite -> policy -> arm -> entry.

    Raises:
      UserError: a folder holds no `eval.json`.
    """
    all_results = []
    for folder in folders:
        path = folder / "eval.json"
        if not path.is_file():
            raise UserError(f"no eval.json in {folder}: give folders of finished runs")
        results = json.loads(path.read_text())
        # Sharded entries have settings and users where the others have arms.
        results.pop(SHARDED_KEY, None)
        all_results.append(results)
    return all_results


def at_turn(results: Sequence[Results], suite: str, policy: str, arm: str, turn: int) -> list[float]:
    """Success (0 to 1) at or before a turn, in each of several runs.

    Args:
      results: of the runs, as `load_results` returns them.
      suite, policy, arm: names in the results.
      turn: the student turn, from 1.

    Returns:
      One number for each run, in order.
    """
    return [run[suite][policy][arm]["success_at_turn"][turn - 1] for run in results]


def seeds_markdown(results: Sequence[Results], turns: Sequence[int] = (1, 2, 4, 10)) -> str:
    """A markdown table of success by turn for every suite, arm and policy.

    Args:
      results: of at least two runs with different seeds, which all have the suites, policies and arms of the first.
      turns: the turns that have a column, from 1.

    Returns:
      The table, with a row for each suite, arm and policy. A cell shows the mean over the runs and its 95 % interval,
      in percent.

    Raises:
      UserError: there are fewer than two runs.
    """
    column_names = ["suite", "arm", "policy", *(f"turn {turn}" for turn in turns)]
    lines = ["| " + " | ".join(column_names) + " |", "| " + " | ".join(["---"] * len(column_names)) + " |"]
    # All runs are of one recipe, so the first tells the rows.
    first_results = results[0]
    for suite in first_results:
        for arm in next(iter(first_results[suite].values())):
            for policy in first_results[suite]:
                cells = [_cell(at_turn(results, suite, policy, arm, turn)) for turn in turns]
                lines.append("| " + " | ".join([suite, arm, policy, *cells]) + " |")
    return "\n".join(lines)


def effects_markdown(results: Sequence[Results], suite: str) -> str:
    """A markdown table of the three effects that a recipe claims on its own suite, in percentage points.

    The effects are: success at turn 4, trained minus base; success at turn 4 of the trained model, arm `feedback` minus
    arm `retry`; and the trained model's gain from turn 4 to turn 10.

    Args:
      results: of at least two runs with different seeds.
      suite: the suite's name in the results.

    Returns:
      The table, with a row for each effect: its mean over the runs, the 95 % interval, and its value in each run.

    Raises:
      UserError: there are fewer than two runs.
    """

    def success(policy: str, arm: str, turn: int) -> list[float]:
        return at_turn(results, suite, policy, arm, turn)

    def minus(a: Sequence[float], b: Sequence[float]) -> list[float]:
        return [x - y for x, y in zip(a, b, strict=True)]

    # Differences are taken within each run, so that what its seed changes in both terms cancels.
    trained_success = success("trained", "feedback", 4)
    effects = {
        "rise of success at turn 4, trained minus base": minus(trained_success, success("base", "feedback", 4)),
        "gap at turn 4 after training, `feedback` minus `retry`": minus(
            trained_success, success("trained", "retry", 4)
        ),
        "gain from turn 4 to turn 10 after training": minus(success("trained", "feedback", 10), trained_success),
    }
    lines = [f"| {suite}: effect, points | mean [95 %] | each seed |", "| --- | --- | --- |"]
    for name, values in effects.items():
        lines.append(f"| {name} | {_cell(values)} | {', '.join(f'{100 * v:.1f}' for v in values)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    """The mean and its 95 % interval, in percent."""
    mean, low, high = (100 * v for v in mean_ci95_over_seeds(list(values)))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"
