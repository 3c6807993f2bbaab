"""Success by turn and its uncertainty, from the turn at which each dialogue was solved."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sml_jax.common.errors import UserError


def success_at_turn(solved_turn: ArrayLike, max_turns: int) -> np.ndarray:
    """The fraction of dialogues that were solved at or before each turn k, called acc@k.

    Args:
      solved_turn: int[N], the student turn (from 1) at which each dialogue was solved, 0 for never.
      max_turns: K, the largest number of student turns that a dialogue could have.

    Returns:
      f64[K], with acc@k at index k - 1; it never falls.

    Raises:
      UserError: there are no dialogues, turns are not whole numbers from 0, or `max_turns` is under 1.

    References:
      Success by turn up to 10 turns: arXiv 2602.16488. The name acc@k: arXiv 2606.30774.
    """
    return _solved_by_turn(solved_turn, max_turns).mean(axis=0)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion. It lies within [0, 1] and is accurate near both ends.

    The trials must be independent: with several dialogues on one problem the interval is too narrow.

    Args:
      successes: how many of the trials succeeded.
      n: number of trials, at least 1.
      confidence: the interval's coverage, between 0 and 1.

    Returns:
      (low, high), proportions from 0 to 1.

    Raises:
      UserError: `n` is under 1, or `successes` is outside 0..n.

    References:
      E. B. Wilson, JASA 22 (1927); method 3 in R. G. Newcombe, Statistics in Medicine 17 (1998).
    """
    if n < 1 or not 0 <= successes <= n:
        raise UserError(f"{successes} successes of {n} trials: give at least 1 trial and between 0 and n successes.")
    interval = stats.binomtest(int(successes), int(n)).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def success_summary(solved_turn: ArrayLike, max_turns: int) -> dict[str, Any]:
    """The fields of an `eval.json` entry about success, for one arm.

    Args:
      solved_turn: int[N], the student turn (from 1) at which each dialogue was solved, 0 for never.
      max_turns: K, the largest number of student turns that a dialogue could have.

    Returns:
      Plain Python numbers and lists. `success_at_turn` [K]: acc@k. `ci95` [K][2]: Wilson's 95 % interval of each.
      `n`: the number of dialogues. `gain`: acc@K - acc@1. `ngain`: gain / (1 - acc@1), None where the first turn solved
      all. `auc`: the mean of acc@k. `second_turn_gain`: acc@2 - acc@1, None for K = 1; if it is much larger than later
      gains, first turns may fail only because of their format.

    Raises:
      UserError: see `success_at_turn`.

    References:
      The metrics: arXiv 2606.30774.
    """
    solved_by_turn = _solved_by_turn(solved_turn, max_turns)
    n = solved_by_turn.shape[0]
    success = solved_by_turn.mean(axis=0)
    gain = float(success[-1] - success[0])
    # A count is exact where 1 - acc@1 may be a rounding error above 0.
    unsolved_after_first = n - int(solved_by_turn[:, 0].sum())
    # Plain lists and numbers, which JSON takes.
    return {
        "success_at_turn": success.tolist(),
        "ci95": [list(wilson_interval(int(count), n)) for count in solved_by_turn.sum(axis=0)],
        "n": n,
        "gain": gain,
        "ngain": gain * n / unsolved_after_first if unsolved_after_first else None,
        "auc": float(success.mean()),
        "second_turn_gain": float(success[1] - success[0]) if max_turns > 1 else None,
    }


def mean_ci95_over_seeds(values: ArrayLike) -> tuple[float, float, float]:
    """The mean over seeds with Student's 95 % interval, `mean -+ t(0.975, S - 1) * std / sqrt(S)`.

    Args:
      values: float[S], one value from the run of each seed.

    Returns:
      (mean, low, high), in the unit of `values`.

    Raises:
      UserError: there are fewer than two seeds, or a value is not finite.

    References:
      Three seeds with 95 % intervals: arXiv 2602.16488.
    """
    # With one seed there is no spread, and NaN would pass through every mean unseen.
    seed_values = np.asarray(values, dtype=np.float64)
    if seed_values.ndim != 1 or seed_values.size < 2:
        raise UserError(
            f"an interval over seeds needs one value each of at least 2 seeds, not an array of shape "
            f"{seed_values.shape}: run the recipe with more seeds."
        )
    if not np.isfinite(seed_values).all():
        raise UserError(
            f"the values over seeds are {seed_values.tolist()}: leave out or repeat the runs without a number."
        )
    return mean_ci95(seed_values)


def mean_ci95(values: np.ndarray) -> tuple[float, float, float]:
    """The mean of independent values with Student's 95 % interval, `mean -+ t(0.975, n - 1) * std / sqrt(n)`.

    Args:
      values: float [n], at least two finite numbers.

    Returns:
      (mean, low, high), in the unit of `values`.
    """
    mean = float(values.mean())
    half_width = float(stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size))
    return mean, mean - half_width, mean + half_width


def _solved_by_turn(solved_turn: ArrayLike, max_turns: int) -> np.ndarray:
    """bool[N, K]: whether dialogue n was solved at or before turn k + 1."""
    solved = np.asarray(solved_turn)
    if max_turns < 1:
        raise UserError(f"max_turns is {max_turns}: evaluate at least 1 turn.")
    if solved.ndim != 1 or solved.size == 0:
        raise UserError(
            f"solved_turn has shape {solved.shape}: give one number a dialogue, and at least one dialogue "
            f"(is the suite's split empty?)."
        )
    if not np.issubdtype(solved.dtype, np.integer) or solved.min() < 0:
        raise UserError("solved_turn must hold whole numbers: the turn from 1 that solved the dialogue, 0 for never.")
    # 0 means never, and must not count as a turn before the first.
    return (solved[:, None] > 0) & (solved[:, None] <= np.arange(1, max_turns + 1))
