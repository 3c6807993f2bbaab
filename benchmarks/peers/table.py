"""Turns repeats into medians, spreads and ratios. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from works import Work

# A side's answers, each with "units" and "seconds".
Repeats = Sequence[Mapping[str, float]]


def values(work: Work, repeats: Repeats) -> list[float]:
    """The reported value of each repeat: a rate, seconds a unit, or a plain count."""
    if work.unit == "s":
        return [r["seconds"] / r["units"] for r in repeats]
    if work.unit.endswith("/s"):
        return [r["units"] / r["seconds"] for r in repeats]
    return [r["units"] for r in repeats]


def summary(work: Work, answers: Mapping[str, Repeats], bound: float | None = None) -> list[dict[str, object]]:
    """One row for each side: name, median, lowest, highest and `ratio`, how many times as fast ours is.

    `others` is the most cores that other processes kept busy in any of its repeats. A timing with a value far above 0
    means nothing. `start_up` is the seconds from the start of the side's process to the end of its first run, `peak_gb`
    the most memory that it held, `of_bound` the share of `bound` that it reached.

    Args:
      work: the work that was done.
      answers: each side's repeats, by name.
      bound: the value that the machine allows at most (see `roofline.best_value`); None where it is not known.
    """
    measured = {side.name: values(work, answers[side.name]) for side in work.sides if answers.get(side.name)}
    medians = {name: statistics.median(repeats) for name, repeats in measured.items()}
    our_median = next((medians[side.name] for side in work.sides if side.ours and side.name in medians), None)
    rows = []
    for name, repeats in measured.items():
        theirs, ratio = medians[name], None
        # Works without an aim measure the machine, and have no ratio.
        if work.aim is not None and our_median is not None and our_median > 0 and theirs > 0:
            ratio = our_median / theirs if work.more_is_better else theirs / our_median
        # Turns of random length must come out alike on all sides, or rates cannot be compared.
        lengths = [r["mean_length"] for r in answers[name] if "mean_length" in r]
        rows.append(
            {
                "side": name,
                "median": theirs,
                "low": min(repeats),
                "high": max(repeats),
                "repeats": len(repeats),
                "ratio": ratio,
                "seconds": statistics.median(r["seconds"] for r in answers[name]),
                "mean_length": statistics.mean(lengths) if lengths else None,
                "others": max((r["others"] for r in answers[name] if "others" in r), default=None),
                "start_up": next((r["start_up"] for r in answers[name] if "start_up" in r), None),
                "peak_gb": max((r["peak_gb"] for r in answers[name] if "peak_gb" in r), default=None),
                "of_bound": None if bound is None else theirs / bound if work.more_is_better else bound / theirs,
            }
        )
    return rows


def best_ratio(work: Work, rows: Sequence[Mapping[str, object]]) -> float | None:
    """Our speed over the best peer's: the least of the ratios to the peers."""
    our_sides = {side.name for side in work.sides if side.ours}
    ratios = [float(str(row["ratio"])) for row in rows if row["side"] not in our_sides and row["ratio"] is not None]
    return min(ratios, default=None)


def markdown(work: Work, rows: Sequence[Mapping[str, object]], bound: float | None = None) -> str:
    """The work's table, and lines that compare ours with the best peer and say what the machine allows."""
    most = max((int(str(row["repeats"])) for row in rows), default=0)
    lines = [
        f"**{work.key}. {work.title}** ({work.unit}, median of {most})",
        "",
        "| side | median | lowest to highest | seconds a repeat | start-up, s | peak, GB | of the roofline | "
        "cores busy with others | ours is |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}x"
        share = "" if row["of_bound"] is None else f"{row['of_bound']:.0%}"
        median, low, high, seconds, start_up, peak, others = (
            "" if row[name] is None else number(row[name])
            for name in ("median", "low", "high", "seconds", "start_up", "peak_gb", "others")
        )
        lines.append(
            f"| {row['side']} | {median} | {low} to {high} | {seconds} | {start_up} | {peak} | {share} | {others} | "
            f"{ratio} |"
        )
    best = best_ratio(work, rows)
    if best is not None:
        lines += ["", f"Ours against the best peer: {best:.2f}x (aim: {work.aim:.2f}x)."]
    if bound is not None:
        lines += ["", f"The machine's roofline for it: {number(bound)} {work.unit}."]
    return "\n".join(lines)


def number(value: object) -> str:
    """A number as text, with three significant figures or, from 100 on, as a whole number."""
    number = float(str(value))
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"
