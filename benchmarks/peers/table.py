"""From repeats to medians, spreads and ratios. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from works import Work

Repeats = Sequence[Mapping[str, float]]  # a side's answers: "units" and "seconds" in each


def values(work: Work, repeats: Repeats) -> list[float]:
    """What is reported of each repeat: a rate, seconds a unit, or a plain count."""
    if work.unit == "s":
        return [r["seconds"] / r["units"] for r in repeats]
    if work.unit.endswith("/s"):
        return [r["units"] / r["seconds"] for r in repeats]
    return [r["units"] for r in repeats]


def summary(work: Work, answers: Mapping[str, Repeats]) -> list[dict[str, object]]:
    """A row a side: name, median, lowest, highest, `ratio` (how many times as fast ours is) and what was around.

    `others` is the most cores that other processes kept busy in any of its repeats: far above 0, the timing is none.

    Args:
      work: what was done. answers: each side's repeats, by name.
    """
    measured = {side.name: values(work, answers[side.name]) for side in work.sides if answers.get(side.name)}
    medians = {name: statistics.median(found) for name, found in measured.items()}
    mine = next((medians[side.name] for side in work.sides if side.ours and side.name in medians), None)
    rows = []
    for name, found in measured.items():
        theirs, ratio = medians[name], None
        if work.aim is not None and mine is not None and mine > 0 and theirs > 0:
            ratio = mine / theirs if work.more_is_better else theirs / mine
        lengths = [r["mean_length"] for r in answers[name] if "mean_length" in r]
        rows.append(
            {
                "side": name,
                "median": theirs,
                "low": min(found),
                "high": max(found),
                "repeats": len(found),
                "ratio": ratio,
                "seconds": statistics.median(r["seconds"] for r in answers[name]),
                "mean_length": statistics.mean(lengths) if lengths else None,
                "others": max((r["others"] for r in answers[name] if "others" in r), default=None),
            }
        )
    return rows


def best_ratio(work: Work, rows: Sequence[Mapping[str, object]]) -> float | None:
    """Ours over the best peer's: the least of the ratios to the peers."""
    mine = {side.name for side in work.sides if side.ours}
    ratios = [float(str(row["ratio"])) for row in rows if row["side"] not in mine and row["ratio"] is not None]
    return min(ratios, default=None)


def markdown(work: Work, rows: Sequence[Mapping[str, object]]) -> str:
    """The work's table, and a line that says how we stand to the best peer."""
    most = max((int(str(row["repeats"])) for row in rows), default=0)
    lines = [
        f"**{work.key}. {work.title}** ({work.unit}, median of {most})",
        "",
        "| side | median | lowest to highest | seconds a repeat | cores busy with others | ours is |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}x"
        median, low, high, seconds = (number(row[name]) for name in ("median", "low", "high", "seconds"))
        others = "" if row["others"] is None else number(row["others"])
        lines.append(f"| {row['side']} | {median} | {low} to {high} | {seconds} | {others} | {ratio} |")
    best = best_ratio(work, rows)
    if best is not None:
        lines += ["", f"Ours against the best peer: {best:.2f}x (aim: {work.aim}x)."]
    return "\n".join(lines)


def number(value: object) -> str:
    """Three figures or all whole ones."""
    number = float(str(value))
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"
