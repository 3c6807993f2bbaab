"""The closing table of sharded evaluation, which shows how much is lost when a problem is told bit by bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from sml_jax.common.errors import UserError

# suite -> policy -> setting -> user -> what `evaluate_sharded` gives: the form of eval.json's "sharded_suites".
ShardedResults = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]]


def sharded_table(results: ShardedResults) -> Table:
    """A table of P, A90 and U with 95 % intervals, premature attempts, and turns. It fits 100 columns.

    It has a block for each suite. In a block there are rows for each setting and user, the base policy's above the
    trained one's.

    Args:
      results: suite -> policy -> setting -> user -> entry, as in `eval.json`.

    Returns:
      A table for rich to print.

    Raises:
      UserError: `results` holds no entry.
    """
    rows = [
        (suite, setting, user, policy, policies[policy][setting][user])
        for suite, policies in results.items()
        for setting, users in next(iter(policies.values()), {}).items()
        for user in users
        for policy in policies
    ]
    if not rows:
        raise UserError("there are no sharded results to show: evaluate at least one suite and setting.")
    table = Table(
        title="Sharded: mean P, 90th percentile A90, unreliability U (%, 95 % intervals over instructions)",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1),
    )
    table.add_column("suite, setting, user, policy", no_wrap=True)
    for name in ("n", "P", "A90", "U", "early %", "turns"):
        table.add_column(name, justify="right", no_wrap=True)
    widths = [max(len(row[i]) for row in rows) for i in (1, 2)]
    previous_names: tuple[str, ...] = ("", "", "")
    for *names, policy, entry in rows:
        suite, setting, user = names
        # A suite has a heading of its own, and a setting and user are named in their first row alone.
        if suite != previous_names[0]:
            if previous_names[0]:
                table.add_row()
            table.add_row(Text(suite, style="bold"))
        shown_names = ("", "") if tuple(names) == previous_names else (setting, user)
        label = f"  {shown_names[0]:<{widths[0]}}  {shown_names[1]:<{widths[1]}}  {policy}"
        premature_rate = entry["premature_rate"]
        cells = [
            str(entry["n"]),
            *(_cell(entry[name], entry[f"{name}_ci95"]) for name in ("P", "A90", "U")),
            "-" if premature_rate is None else f"{100 * premature_rate:.0f}",
            f"{entry['turns']:.1f}",
        ]
        style = "bold" if policy == "trained" else ""
        table.add_row(*(Text(cell, style=style) for cell in (label, *cells)))
        previous_names = (suite, setting, user)
    return table


def _cell(value: float, interval: list[float] | None) -> str:
    """A value and its interval, which is rounded outwards so that it is never printed narrower than it is."""
    if interval is None:
        return f"{value:.0f}"
    return f"{value:.0f} [{math.floor(interval[0] + 1e-9)}-{math.ceil(interval[1] - 1e-9)}]"
