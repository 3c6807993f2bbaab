import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.evaluate import mean_ci95_over_seeds, success_at_turn, success_summary, wilson_interval

SOLVED = [0, 1, 2, 2, 4]  # by hand: 1/5 at turn 1, 3/5 at 2, 3/5 at 3, 4/5 at 4


def test_success_at_turn_by_hand():
    np.testing.assert_allclose(success_at_turn(SOLVED, 4), [0.2, 0.6, 0.6, 0.8], atol=1e-15)


def test_turns_past_the_limit_do_not_count():
    np.testing.assert_allclose(success_at_turn(np.array(SOLVED, np.int32), 2), [0.2, 0.6], atol=1e-15)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # table I, method 3, of Newcombe (1998)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published_values(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_of_all_solved_by_hand():
    # z^2 = 3.841459: the low end of n of n is n / (n + z^2).
    assert wilson_interval(10, 10) == pytest.approx((10 / 13.841459, 1.0), abs=1e-6)


def test_wilson_narrows_with_less_confidence():
    low, high = wilson_interval(5, 20)
    low_80, high_80 = wilson_interval(5, 20, confidence=0.8)
    assert low < low_80 < 0.25 < high_80 < high


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_counts_that_cannot_be(successes, n):
    with pytest.raises(UserError, match="successes"):
        wilson_interval(successes, n)


def test_summary_by_hand():
    summary = success_summary(SOLVED, 4)
    assert summary["success_at_turn"] == pytest.approx([0.2, 0.6, 0.6, 0.8])
    assert summary["n"] == 5
    assert summary["gain"] == pytest.approx(0.6)
    assert summary["ngain"] == pytest.approx(0.75)
    assert summary["auc"] == pytest.approx(0.55)
    assert summary["second_turn_gain"] == pytest.approx(0.4)
    assert [tuple(pair) for pair in summary["ci95"]] == [wilson_interval(count, 5) for count in (1, 3, 3, 4)]
    assert json.loads(json.dumps(summary)) == summary


def test_summary_where_nothing_can_be_gained():
    summary = success_summary([1, 1, 1], 1)
    assert summary["ngain"] is None
    assert summary["second_turn_gain"] is None
    assert summary["gain"] == 0.0


@pytest.mark.parametrize(
    ("solved", "max_turns"), [([], 4), ([[1]], 4), ([-1], 4), ([0.5], 4), ([float("nan")], 4), ([1], 0)]
)
def test_impossible_turns_are_refused(solved, max_turns):
    with pytest.raises(UserError):
        success_at_turn(solved, max_turns)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=50), st.integers(1, 10))
def test_summary_properties(solved, max_turns):
    summary = success_summary(solved, max_turns)
    success = np.array(summary["success_at_turn"])
    low, high = np.array(summary["ci95"]).T
    assert len(success) == max_turns
    assert (np.diff(success) >= 0).all()
    assert ((low >= 0) & (low <= success + 1e-12) & (success <= high + 1e-12) & (high <= 1)).all()
    assert success[0] - 1e-12 <= summary["auc"] <= success[-1] + 1e-12
    assert summary["ngain"] is None or -1e-12 <= summary["ngain"] <= 1 + 1e-12
    np.testing.assert_array_equal(success, success_at_turn(solved[::-1], max_turns))


def test_seeds_by_hand():
    # mean 2, standard deviation 1, t(0.975, 2) = 4.302653: half the width is 4.302653 / sqrt(3).
    assert mean_ci95_over_seeds([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.0 - 2.484138, 2.0 + 2.484138), abs=1e-5)


def test_equal_seeds_have_no_width():
    assert mean_ci95_over_seeds([0.5, 0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("values", [[], [0.3], np.array(0.3), [[0.1, 0.2]]])
def test_an_interval_needs_two_seeds(values):
    with pytest.raises(UserError, match="at least 2 seeds"):
        mean_ci95_over_seeds(values)


def test_a_seed_without_a_number_is_named():
    with pytest.raises(UserError, match="nan"):
        mean_ci95_over_seeds([0.1, float("nan")])
