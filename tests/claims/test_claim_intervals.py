"""Intervals over seeds and problems: known answers, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from sml_jax.claims.intervals import crossed_interval, ratio_interval
from sml_jax.claims.measure import difference, double_difference, mean
from sml_jax.evaluate.statistics import mean_ci95, mean_ci95_over_seeds


def test_without_spread_over_seeds_it_is_students_interval_over_problems():
    values = np.array([0.0, 100, 100, 0, 100, 0, 0, 0, 100, 100])
    interval = crossed_interval(mean, [np.stack([values] * 3)])
    assert (interval.estimate, interval.low, interval.high) == pytest.approx(mean_ci95(values)) and interval.seeds == 3


def test_without_spread_over_problems_it_is_students_interval_over_seeds():
    by_seed = [41.4, 38.3, 44.5]
    interval = crossed_interval(mean, [np.repeat(np.array(by_seed)[:, None], 20, axis=1)])
    assert (interval.estimate, interval.low, interval.high) == pytest.approx(mean_ci95_over_seeds(by_seed))


def test_variances_add_up_and_degrees_of_freedom_are_satterthwaites():
    effects, problems = np.array([-1.0, 0.0, 4.0]), np.array([0.0, 10.0, 30.0, 0.0])
    interval = crossed_interval(mean, [effects[:, None] + problems[None]])
    parts = effects.var(ddof=1) / 3, problems.var(ddof=1) / 4
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3)
    assert interval.estimate == pytest.approx(11.0)
    assert interval.high - 11.0 == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts)))


def test_missing_numbers_are_left_out_and_nothing_to_count_is_no_interval():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, 2.0, 2.0]])
    assert crossed_interval(mean, [values]).estimate == 2.0
    assert crossed_interval(mean, [np.array([[1.0, 2.0], [np.nan, np.nan]])]) is None
    # The one number of a seed may be missing in the jackknife, where nothing is left then.
    assert crossed_interval(mean, [np.array([[1.0, np.nan]])]).estimate == 1.0


def test_no_spread_at_all_is_an_interval_without_width():
    interval = crossed_interval(difference, [np.ones((3, 5)), np.zeros((3, 5))])
    assert (interval.low, interval.estimate, interval.high) == (1.0, 1.0, 1.0)


def test_statistics_are_differences_of_means():
    a, b, c, d = np.array([3.0, 5.0]), np.array([1.0, 1.0]), np.array([2.0, np.nan]), np.array([4.0, 4.0])
    assert difference(a, b) == 3.0 and double_difference(a, b, c, d) == 5.0


def test_95_in_a_hundred_intervals_hold_the_truth():
    """Three seeds and 40 problems, crossed, with chance in each dialogue; the intervals may be wide, never narrow."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        seed_effects, problem_effects = rng.normal(0, 0.05, (3, 1)), rng.normal(0, 0.25, 40)
        chance = np.clip(0.5 + seed_effects + problem_effects, 0, 1)
        interval = crossed_interval(np.mean, [rng.random((3, 40)) < chance])
        held += interval.low <= 0.5 <= interval.high
    assert held >= 0.93 * 200


def test_ratios_are_averaged_as_logarithms():
    interval = ratio_interval([0.5, 2.0, 1.0])
    low, high = np.exp(mean_ci95_over_seeds(np.log([0.5, 2.0, 1.0]))[1:])
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((1.0, low, high))
    assert ratio_interval([0.5]) is None and ratio_interval([]) is None
