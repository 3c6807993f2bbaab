"""What a claim is made of: numbers with intervals, each with the direction that is expected of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sml_jax.claims.intervals import Interval, Statistic, crossed_interval
from sml_jax.claims.job import SEEDS
from sml_jax.claims.results import Results
from sml_jax.common.errors import UserError

HOLDS, FAILS, NOT_MEASURED, REPORTED = "holds", "fails", "not measured", "reported"


@dataclass(frozen=True)
class Expected:
    """Where an interval has to lie for a measure to hold: between `low` and `high`.

    Attributes:
      text: the same in words, such as "above 0".
    """

    text: str
    low: float = -math.inf
    high: float = math.inf

    def holds(self, interval: Interval) -> bool:
        """Whether the whole interval lies there."""
        return self.low < interval.low and interval.high < self.high


def above(value: float | int) -> Expected:
    """The interval lies above a value."""
    return Expected(f"above {value:g}", low=float(value))


def below(value: float | int) -> Expected:
    """The interval lies below a value."""
    return Expected(f"below {value:g}", high=float(value))


def within(value: float | int) -> Expected:
    """The interval lies between a value's negative and the value."""
    return Expected(f"within {value:g}", -float(value), float(value))


@dataclass(frozen=True)
class Measure:
    """A number that belongs to a claim.

    Attributes:
      name: what is measured. domain: that the policies were trained on.
      unit: of the estimate.
      interval: the estimate with its 95 % interval; None if it was not measured.
      expected: where the interval has to lie; None for a number that is only reported.
      reason: why there is no number, or what has to be known about it; "" for nothing.
    """

    name: str
    domain: str
    unit: str
    interval: Interval | None
    expected: Expected | None = None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """`HOLDS`, `FAILS`, `NOT_MEASURED`, or `REPORTED` for a measured number of which nothing is expected."""
        if self.interval is None:
            return NOT_MEASURED
        if self.expected is None:
            return REPORTED
        return HOLDS if self.expected.holds(self.interval) else FAILS


@dataclass(frozen=True)
class Claim:
    """A claim and what was measured of it.

    Attributes:
      name: "main" or "C1" to "C15". says: the claim.
      measures: the first is the one that the table shows.
    """

    name: str
    says: str
    measures: tuple[Measure, ...]

    @property
    def verdict(self) -> str:
        """It fails if any of its measures does; else it is not measured if any is not; else it holds."""
        verdicts = [measure.verdict for measure in self.measures if measure.expected is not None]
        return next((verdict for verdict in (FAILS, NOT_MEASURED) if verdict in verdicts), HOLDS)


@dataclass(frozen=True)
class Column:
    """Numbers of the same problems for each seed.

    Attributes:
      policy: who played the student. domain: that it was trained on; for the base, whose jobs measured it.
      suite, arm: what it was measured on, by the suite's name in the gin files.
      read: takes an entry of the results and returns f64 [P].
      one_seed: whether the numbers of the first seed that has some are those of every seed.
    """

    policy: str
    domain: str
    suite: str
    arm: str
    read: Callable[[Mapping[str, Any]], np.ndarray]
    one_seed: bool = False

    def entry(self, results: Results, seed: int) -> Mapping[str, Any] | None:
        """The entry that the numbers of a seed come from; None where there is none."""
        seeds = results.seeds(self.policy, self.domain) if self.one_seed else [seed]
        entries = (results.entry(self.policy, self.domain, one, self.suite, self.arm) for one in seeds)
        return next((entry for entry in entries if entry is not None), None)


def compare(
    results: Results,
    name: str,
    domain: str,
    columns: Sequence[Column],
    statistic: Statistic,
    expected: Expected | None = None,
    unit: str = "points",
) -> Measure:
    """Measures a statistic of columns over the seeds for which all of them are there.

    Args:
      results: of the jobs.
      name, domain, unit, expected: of the measure.
      columns: the statistic's arguments.
      statistic: see `crossed_interval`.

    Raises:
      UserError: the columns are about different problems.
    """
    # Seed by seed, since a difference within one seed is free of what the seed changes in both terms.
    candidate_seeds = sorted({seed for column in columns for seed in results.seeds(column.policy, column.domain)})
    rows = [[column.entry(results, seed) for column in columns] for seed in candidate_seeds]
    complete = [[entry for entry in row if entry is not None] for row in rows if None not in row]
    if not complete:
        # The reason names what no seed has, or all columns if each seed lacks another one.
        lacking = [column for column in columns if not any(column.entry(results, seed) for seed in candidate_seeds)]
        texts = [f"{column.policy} on {column.suite}, {column.arm}" for column in lacking or columns]
        return Measure(name, domain, unit, None, expected, f"no results of {'; '.join(dict.fromkeys(texts))}")
    # Which problems are held out may change with the code, and files of results outlive it.
    checksums = {entry["problems"] for row in complete for entry in row}
    if len(checksums) > 1:
        raise UserError(
            f"claims: {name} ({domain}) compares results on different problems ({', '.join(sorted(checksums))}): "
            "remove the older files of results, and their jobs are done again"
        )
    stacked = [np.stack([column.read(row[index]) for row in complete]) for index, column in enumerate(columns)]
    interval = crossed_interval(statistic, stacked)
    reason = "" if interval is not None else "no dialogue counts, for one seed or more"
    return Measure(name, domain, unit, interval, expected, reason or few_seeds(interval))


def few_seeds(interval: Interval | None) -> str:
    """A remark on an interval over fewer seeds than a claim needs; "" for none."""
    if interval is None or interval.seeds >= len(SEEDS):
        return ""
    return f"{interval.seeds} of {len(SEEDS)} seeds"


# Statistics. Numbers that are missing (dropped dialogues) are left out of every mean.


def mean(values: np.ndarray) -> float:
    """The mean without NaN; NaN where nothing is left."""
    numbers = values[np.isfinite(values)]
    return float(numbers.mean()) if len(numbers) else math.nan


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The difference of two means."""
    return mean(one) - mean(other)


def double_difference(one: np.ndarray, other: np.ndarray, base_one: np.ndarray, base_other: np.ndarray) -> float:
    """How much larger one difference of means is than another."""
    return difference(one, other) - difference(base_one, base_other)


# What is read out of an entry of the results.


def solved_by(turn: int) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """Reads 100 for a problem that was solved at or before a turn, else 0; NaN for a dropped dialogue."""

    def read(entry: Mapping[str, Any]) -> np.ndarray:
        return np.array([math.nan if at is None else 100.0 * (0 < at <= turn) for at in entry["solved"]])

    return read


def numbers(name: str) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """Reads a list of an entry, with NaN for null."""

    def read(entry: Mapping[str, Any]) -> np.ndarray:
        return np.array([math.nan if value is None else value for value in entry[name]], np.float64)

    return read
