"""Intervals of numbers that vary with the seed of a run and with the problem, where every run meets all problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from sml_jax.evaluate.statistics import mean_ci95_over_seeds

# Takes one array [P] for each column, numbers of the same problems, and returns one number.
Statistic = Callable[..., float]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval.

    Attributes:
      estimate, low, high: in the unit of the statistic.
      seeds: how many seeds it is over. With one, the interval says nothing of other seeds.
    """

    estimate: float
    low: float
    high: float
    seeds: int


def crossed_interval(statistic: Statistic, columns: Sequence[np.ndarray]) -> Interval | None:
    """The mean of a statistic over seeds, with an interval for other seeds and other problems.

    Seeds and problems are crossed: each run meets all problems. The variance of the mean over seeds is taken as a sum,

        v = v_seeds + v_problems,
        v_seeds    = variance over seeds of the seed's own statistic / S,
        v_problems = (P - 1) / P * sum_i (m_i - mean of m)^2,

    where m_i is the mean over seeds of the statistic without problem i (the jackknife). The chance in each dialogue is
    in both parts, so that the interval is wide rather than narrow. It is Student's, with the degrees of freedom of
    Welch and Satterthwaite: many where the problems' part is the larger one, S - 1 where the seeds' is.

    Args:
      statistic: a smooth function of one array [P] for each column, such as a difference of means.
      columns: f64 [S, P] each, the numbers of S seeds and P problems. NaN is for the statistic to leave out.

    Returns:
      The interval; None where the statistic is not a number for a seed, as where no dialogue counts.

    References:
      B. Efron, C. Stein, The Annals of Statistics 9 (1981): the jackknife's variance. F. E. Satterthwaite, Biometrics
      Bulletin 2 (1946): the degrees of freedom.
    """
    seeds, problems = columns[0].shape

    def over_seeds(kept: np.ndarray) -> np.ndarray:
        return np.array([statistic(*(column[seed][kept] for column in columns)) for seed in range(seeds)], np.float64)

    by_seed = over_seeds(np.arange(problems))
    if not np.isfinite(by_seed).all():
        return None
    estimate = float(by_seed.mean())
    # A problem whose absence leaves nothing to count, as the only one of its kind, takes the mean's place.
    without = np.array([over_seeds(np.delete(np.arange(problems), i)).mean() for i in range(problems)])
    without = without[np.isfinite(without)]
    seed_part = float(by_seed.var(ddof=1)) / seeds if seeds > 1 else 0.0
    problem_part = 0.0
    if len(without) > 1:
        problem_part = (problems - 1) / problems * float(np.square(without - without.mean()).sum())
    variance = seed_part + problem_part
    if not variance:
        return Interval(estimate, estimate, estimate, seeds)
    parts = [(seed_part, seeds - 1), (problem_part, problems - 1)]
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts if part)
    half_width = float(stats.t.ppf(0.975, freedom)) * variance**0.5
    return Interval(estimate, estimate - half_width, estimate + half_width, seeds)


def ratio_interval(ratios: Sequence[float]) -> Interval | None:
    """The geometric mean of one positive ratio a seed, with Student's interval of the logarithms over seeds.

    Returns:
      The interval; None for fewer than two seeds.
    """
    if len(ratios) < 2:
        return None
    mean, low, high = np.exp(mean_ci95_over_seeds(np.log(np.asarray(ratios, np.float64)))).tolist()
    return Interval(mean, low, high, len(ratios))
