"""The panels of the report, drawn by matplotlib: small plots that a page can put beside or below one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sml_jax.common.errors import UserError
from sml_jax.report.svg import GRID_COLOUR, SERIES_COLOURS, TEXT_COLOUR, inline_svg, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

Number = int | float  # a range of turns holds whole numbers, and so does JSON
_PANEL_INCHES = (3.3, 2.3)
_FONT_SIZE = 9


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Attributes:
      label: what it shows, for the legend.
      colour: number of the page's series colour.
      x, y: its points; a `y` of None leaves a gap.
      intervals: (low, high) of each point, drawn as a band that leaves out a point of None; () for none at all.
      dashed: whether the line is dashed, which tells it apart also without colours.
    """

    label: str
    colour: int
    x: Sequence[Number]
    y: Sequence[Number | None]
    intervals: Sequence[Sequence[Number] | None] = ()
    dashed: bool = False


def line_panel(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    y_label: str = "",
    *,
    y_limits: tuple[Number, Number] | None = None,
    breaks: Sequence[Number] = (),
    zero: bool = False,
) -> str:
    """Lines over turns or steps, with bands for their intervals.

    Args:
      title: above the panel.
      lines: drawn in this order.
      x_label, y_label: of the axes.
      y_limits: of the vertical axis; None to fit the lines.
      breaks: values of x where a vertical line marks a change, such as a new stage.
      zero: whether a line marks y = 0.

    Returns:
      An `<svg>` element.
    """
    figure, axes = _new_panel(title)
    for line in lines:
        y = _drawn(line.y)
        colour = SERIES_COLOURS[line.colour % len(SERIES_COLOURS)]
        if line.intervals:
            axes.fill_between(line.x, *_bounds(line), color=colour, alpha=0.16, linewidth=0)
        # A single point has no line, so short lines get markers.
        marker = "o" if len(y) <= 12 else None
        style = "--" if line.dashed else "-"
        axes.plot(line.x, y, color=colour, linestyle=style, marker=marker, markersize=3, linewidth=1.5)
    if zero:
        axes.axhline(0, color=TEXT_COLOUR, linewidth=0.8)
    for position in breaks:
        axes.axvline(position, color=GRID_COLOUR, linestyle=":", linewidth=1.2)
    axes.set_xlabel(x_label, color=TEXT_COLOUR, fontsize=_FONT_SIZE)
    if y_label:
        axes.set_ylabel(y_label, color=TEXT_COLOUR, fontsize=_FONT_SIZE)
    if y_limits is not None:
        axes.set_ylim(*y_limits)
    axes.xaxis.set_major_locator(_whole_numbers())
    return inline_svg(figure, f"{title}: {y_label or 'value'} by {x_label}, {', '.join(line.label for line in lines)}")


def dot_panel(title: str, names: Sequence[str], lines: Sequence[Line], x_label: str) -> str:
    """One row for each name, with a dot and an interval for each line; for arms side by side.

    Args:
      title: above the panel.
      names: of the rows, from top to bottom.
      lines: their `x` are the numbers of rows, from 0, and their `y` what is shown, from 0 to 1.
      x_label: of the horizontal axis.

    Returns:
      An `<svg>` element.
    """
    figure, axes = _new_panel(title, rows=len(names))
    for number, line in enumerate(lines):
        colour = SERIES_COLOURS[line.colour % len(SERIES_COLOURS)]
        # Dots of one row stand a little above one another.
        shift = 0.24 * (number - (len(lines) - 1) / 2)
        heights = [row + shift for row in line.x]
        if line.intervals:
            axes.hlines(heights, *_bounds(line), color=colour, linewidth=1.5)
        axes.plot(_drawn(line.y), heights, "D" if line.dashed else "o", color=colour, markersize=4)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), labels=[_short(name, 24) for name in names], parse_math=False)
    axes.set_xlabel(x_label, color=TEXT_COLOUR, fontsize=_FONT_SIZE)
    return inline_svg(figure, f"{title}: {x_label} of {', '.join(names)}, {', '.join(line.label for line in lines)}")


def share_panel(title: str, labels: Sequence[str], shares: Sequence[Sequence[Number]]) -> str:
    """Stacked bars of what the student does at each turn.

    Args:
      title: above the panel.
      labels: what it may do, from bottom to top; a label's place is also the number of its colour.
      shares: for each turn, the share of each label, which add up to 1.

    Returns:
      An `<svg>` element.
    """
    figure, axes = _new_panel(title)
    turns = range(1, len(shares) + 1)
    bottoms = [0.0] * len(shares)
    for number, _ in enumerate(labels):
        heights = [by_label[number] for by_label in shares]
        if any(heights):
            axes.bar(
                turns, heights, bottom=bottoms, color=SERIES_COLOURS[number % len(SERIES_COLOURS)], width=0.8, alpha=0.8
            )
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    axes.set_ylim(0, 1)
    axes.set_xlabel("student turn", color=TEXT_COLOUR, fontsize=_FONT_SIZE)
    axes.xaxis.set_major_locator(_whole_numbers())
    return inline_svg(figure, f"{title}: share of {', '.join(labels)} by student turn")


def _drawn(values: Sequence[Number | None]) -> list[float]:
    """Numbers as matplotlib takes them: it leaves a gap at NaN."""
    return [float("nan") if value is None else float(value) for value in values]


def _bounds(line: Line) -> tuple[list[float], list[float]]:
    """The low and the high ends of a line's intervals."""
    pairs = [(None, None) if interval is None else interval for interval in line.intervals]
    return _drawn([low for low, _ in pairs]), _drawn([high for _, high in pairs])


def _whole_numbers() -> Locator:
    """Where an axis of turns or steps has its ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins="auto", integer=True)


def _short(name: str, longest: int) -> str:
    """A name as it can be drawn, cut where it would leave no room for the plot."""
    shown = visible(name)
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def _new_panel(title: str, rows: int = 0) -> tuple[Any, Axes]:
    """A figure with empty axes; one with `rows` named rows is as high as they need."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("the report's plots need matplotlib: pip install 'sml-jax[report]'") from error
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width, max(0.9 + 0.28 * rows, 1.4) if rows else height), dpi=72, layout="constrained")
    axes = figure.add_subplot()
    # Names of suites and arms are the user's, and a dollar sign in them begins no formula.
    axes.set_title(_short(title, 44), color=TEXT_COLOUR, fontsize=_FONT_SIZE + 1, loc="left", parse_math=False)
    axes.tick_params(colors=TEXT_COLOUR, labelsize=_FONT_SIZE)
    axes.grid(True, color=GRID_COLOUR, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID_COLOUR)
    return figure, axes
