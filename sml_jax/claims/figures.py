"""Figures of the claims, drawn by matplotlib: every number with its interval, success by turn, and training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sml_jax.claims.intervals import crossed_interval
from sml_jax.claims.job import POLICIES
from sml_jax.claims.measure import Claim, mean, solved_by
from sml_jax.claims.results import Results
from sml_jax.run.io.json_lines import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TURNS = range(1, 11)
_WINDOW = 5  # steps whose success is shown as one number
_VERDICT_COLOURS = {"holds": "tab:green", "fails": "tab:red", "reported": "tab:gray"}


def write_figures(claims: Sequence[Claim], results: Results, folder: Path) -> list[Path]:
    """Draws what there is to draw.

    Args:
      claims: measured from `results`.
      results: of the jobs.
      folder: made if it is not there.

    Returns:
      The files, SVG each.

    Raises:
      ImportError: matplotlib is not installed.
      UserError: a file cannot be written.
    """
    import matplotlib

    figures = {
        "measures": _measures_figure(claims),
        "success_by_turn": _success_figure(results),
        "training": _training_figure(results),
    }
    paths = []
    # The same numbers give the same files: ids and dates would differ from run to run. Text stays text, not outlines.
    with matplotlib.rc_context({"svg.hashsalt": "sml-jax", "svg.fonttype": "none"}):
        for name, figure in figures.items():
            if figure is not None:
                path = folder / f"{name}.svg"
                with writing(path):
                    folder.mkdir(parents=True, exist_ok=True)
                    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")
                paths.append(path)
    return paths


def _measures_figure(claims: Sequence[Claim]) -> Figure | None:
    """Every number in points with its interval, a row each, coloured by verdict; None if there is none."""
    from matplotlib.figure import Figure

    rows = [
        (f"{claim.name}  {measure.name} ({measure.domain})", measure.interval, measure.verdict)
        for claim in claims
        for measure in claim.measures
        if measure.interval is not None and measure.unit == "points"
    ]
    if not rows:
        return None
    figure = Figure(figsize=(8, 1 + 0.19 * len(rows)))
    axes = figure.add_subplot()
    # The first claim stands on top.
    for number, (_, interval, verdict) in enumerate(rows):
        colour = _VERDICT_COLOURS[verdict]
        axes.plot([interval.low, interval.high], [number, number], color=colour)
        axes.plot([interval.estimate], [number], "o", color=colour, markersize=3)
    axes.axvline(0, color="black", linewidth=0.7)
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=6)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("points, with 95 % intervals (green holds, red fails, gray is only reported)", fontsize=8)
    return figure


def _success_figure(results: Results) -> Figure | None:
    """Success by turn with feedback, a panel for each domain and a line for each policy; None without results."""
    lines = [
        (domain, policy, rows)
        for domain in results.domains
        for policy in POLICIES
        if (rows := _solved_entries(results, policy, domain))
    ]
    panels = _panels(results.domains, "student turn", "solved, %") if lines else None
    if panels is None:
        return None
    figure, axes = panels
    for domain, policy, rows in lines:
        intervals = [crossed_interval(mean, [np.stack([solved_by(turn)(entry) for entry in rows])]) for turn in _TURNS]
        shown = [(turn, interval) for turn, interval in zip(_TURNS, intervals, strict=True) if interval is not None]
        turns = [turn for turn, _ in shown]
        colour = _colour(policy)
        axes[domain].plot(turns, [interval.estimate for _, interval in shown], color=colour, label=policy, linewidth=1)
        bounds = [interval.low for _, interval in shown], [interval.high for _, interval in shown]
        axes[domain].fill_between(turns, *bounds, color=colour, alpha=0.1)
    return _with_legend(figure, [axes[domain] for domain in results.domains])


def _solved_entries(results: Results, policy: str, domain: str) -> list:
    """A policy's entries on its own domain with feedback, of each seed that has one."""
    entries = [results.entry(policy, domain, seed, domain, "feedback") for seed in results.seeds(policy, domain)]
    return [entry for entry in entries if entry is not None]


def _training_figure(results: Results) -> Figure | None:
    """Success of training dialogues by their number, a thin line for each run; None without results."""
    runs = [
        (domain, policy, training)
        for domain in results.domains
        for number, policy in enumerate(POLICIES)
        for seed in results.seeds(policy, domain)
        if (training := results.training(policy, domain, seed)) is not None
        and len(training["success_by_step"]) >= _WINDOW
    ]
    if not runs:
        return None
    figure, axes = _panels(results.domains, "training dialogues", f"solved, mean of {_WINDOW} steps, %")
    # Seeds of a policy share a colour, and one entry of the legend.
    labelled = set()
    for domain, policy, training in runs:
        success = np.convolve(training["success_by_step"], np.full(_WINDOW, 100 / _WINDOW), "valid")
        dialogues = (np.arange(len(success)) + _WINDOW) * training["dialogues_by_step"]
        label = policy if (domain, policy) not in labelled else None
        labelled.add((domain, policy))
        axes[domain].plot(dialogues, success, color=_colour(policy), label=label, linewidth=0.8)
    return _with_legend(figure, [axes[domain] for domain in results.domains])


def _colour(policy: str) -> str:
    """A policy's colour, the same in all figures; there are more policies than the usual ten colours."""
    import matplotlib

    return matplotlib.colors.to_hex(matplotlib.colormaps["tab20"](POLICIES.index(policy)))


def _panels(domains: Sequence[str], x_label: str, y_label: str) -> tuple[Figure, dict]:
    """A figure with a panel for each domain."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(domains), 3.4))
    axes = dict(zip(domains, figure.subplots(1, len(domains), squeeze=False, sharey=True)[0], strict=True))
    for domain, panel in axes.items():
        panel.set_title(f"trained on {domain}", fontsize=9)
        panel.set_xlabel(x_label, fontsize=8)
    axes[domains[0]].set_ylabel(y_label, fontsize=8)
    return figure, axes


def _with_legend(figure: Figure, panels: Sequence) -> Figure:
    """The figure with one legend for all panels, right of them."""
    handles = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="center left", bbox_to_anchor=(0.92, 0.5), fontsize=7)
    return figure
