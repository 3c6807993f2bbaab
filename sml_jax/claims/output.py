"""What `sml-jax claims` writes: claims.json, a table in Markdown, and figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sml_jax.claims.measure import Claim, Measure
from sml_jax.common.atomic import replacing
from sml_jax.run.io.folder import to_json
from sml_jax.run.io.json_lines import writing

JSON, TABLE = "claims.json", "claims.md"


def write_claims(claims: Sequence[Claim], workdir: Path) -> None:
    """Writes `claims.json` and `claims.md`, each whole or not at all.

    `claims.json` holds `claims`, a row for each claim with its verdict, and `measures`, a row for each number.

    Args:
      claims: in the order of the table.
      workdir: the folder of both.

    Raises:
      UserError: a file cannot be written.
    """
    rows = {"claims": [_claim_row(claim) for claim in claims], "measures": list(_measure_rows(claims))}
    texts = {JSON: json.dumps(to_json(rows), indent=2, allow_nan=False) + "\n", TABLE: claims_markdown(claims)}
    for name, text in texts.items():
        with writing(workdir / name), replacing(workdir / name) as file:
            file.write(text.encode())


def _claim_row(claim: Claim) -> dict[str, Any]:
    """A claim with the number that its table shows first."""
    shown = claim.measures[0] if claim.measures else None
    return {
        "claim": claim.name,
        "says": claim.says,
        "verdict": claim.verdict,
        "measures_that_hold": _held(claim),
        **(_numbers(shown) if shown is not None else {}),
    }


def _measure_rows(claims: Sequence[Claim]) -> Iterator[dict[str, Any]]:
    """A row for each number of each claim."""
    for claim in claims:
        for measure in claim.measures:
            yield {"claim": claim.name, **_numbers(measure), "verdict": measure.verdict, "remark": measure.reason}


def _numbers(measure: Measure) -> dict[str, Any]:
    """A measure's number, and what is expected of it."""
    interval = measure.interval
    return {
        "measure": measure.name,
        "domain": measure.domain,
        "estimate": None if interval is None else interval.estimate,
        "ci95": None if interval is None else [interval.low, interval.high],
        "unit": measure.unit,
        "expected": measure.expected.text if measure.expected else "",
        "seeds": 0 if interval is None else interval.seeds,
    }


def _held(claim: Claim) -> str:
    """How many of the measures that something is expected of hold, of how many that were measured, of how many."""
    expected = [measure.verdict for measure in claim.measures if measure.expected is not None]
    # Numbers that are only reported count nowhere.
    measured = [verdict for verdict in expected if verdict != "not measured"]
    return f"{measured.count('holds')} of {len(measured)} measured, of {len(expected)}"


def claims_markdown(claims: Sequence[Claim]) -> str:
    """The claims as two tables in Markdown: a row for each claim, and a row for each number that was measured."""
    lines = ["| claim | says | verdict | measures that hold |", "| --- | --- | --- | --- |"]
    lines += [_row(claim.name, claim.says, claim.verdict, _held(claim)) for claim in claims]
    lines += ["", "| claim | measure | trained on | estimate [95 %] | expected | verdict | remark |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for claim in claims:
        for measure in claim.measures:
            # What nothing is expected of, and nothing was measured of, says nothing.
            if measure.expected is None and measure.interval is None:
                continue
            expected = measure.expected.text if measure.expected else ""
            cells = (measure.name, measure.domain, _estimate(measure), expected, measure.verdict, measure.reason)
            lines.append(_row(claim.name, *cells))
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    """A line of a table in Markdown."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _estimate(measure: Measure) -> str:
    """A number with its interval and unit; "" for none."""
    if (interval := measure.interval) is None:
        return ""
    # A problem of 128 is nearly a point; nats and turns are small numbers.
    decimals = 1 if measure.unit == "points" else 2
    low, high = (f"{bound:.{decimals}f}" for bound in (interval.low, interval.high))
    return f"{interval.estimate:.{decimals}f} [{low}, {high}] {measure.unit}"
