"""P, A90, U and premature attempts, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sml_jax.common.errors import UserError
from sml_jax.evaluate.sharded_statistics import aptitude, aptitude_summary, premature_summary

# Ten simulations sorted: the 90th percentile stands at place 8.1 from 0, the 10th at place 0.9.
BY_HAND = {
    (0, 0, 0, 0, 0, 100, 100, 100, 100, 100): (50, 100, 100),
    (100, 0, 0, 0, 0, 0, 0, 0, 0, 0): (10, 10, 10),  # 90th: 0 + 0.1 * 100; 10th: 0
    (100, 100, 100, 100, 0, 100, 100, 100, 100, 100): (90, 100, 10),  # 10th: 0 + 0.9 * 100
    (100, 100, 0, 0, 0, 0, 0, 0, 0, 0): (20, 100, 100),
    (10, 20, 30, 40, 50, 60, 70, 80, 90, 100): (55, 91, 72),  # 91 - 19
    (100,) * 10: (100, 100, 0),
}


def test_each_instruction_by_hand():
    found = aptitude(list(BY_HAND))
    assert np.allclose(np.stack([found["P"], found["A90"], found["U"]], 1), list(BY_HAND.values()))


def test_means_and_intervals_over_instructions():
    summary = aptitude_summary([list(scores) for scores in BY_HAND][:3])
    assert [summary[name] for name in ("P", "A90", "U")] == pytest.approx([50, 70, 40])
    # t(0.975, 2) = 4.302653; the deviation of 50, 10, 90 is 40.
    assert aptitude_summary([[50], [49], [51]])["P_ci95"] == pytest.approx([47.515862, 52.484138])
    assert summary["P_ci95"] == [0, 100], "50 +- 99.4 within 0 to 100"
    assert (summary["n"], summary["simulations"]) == (3, 10)


def test_one_instruction_has_no_interval():
    summary = aptitude_summary([[0, 100]])
    assert summary["P"] == 50 and summary["P_ci95"] is summary["A90_ci95"] is summary["U_ci95"] is None
    assert summary["U"] == pytest.approx(80), "the places 0.9 and 0.1 between 0 and 100"


@pytest.mark.parametrize("scores", [[], [[]], [1.0, 2.0]])
def test_no_scores_are_a_plain_error(scores):
    with pytest.raises(UserError, match="give one or more simulations"):
        aptitude(scores)


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.sampled_from([0.0, 100.0])))
def test_what_holds_of_any_scores(scores):
    found = aptitude(scores)
    assert ((found["U"] >= 0) & (found["U"] <= found["A90"]) & (found["A90"] <= 100)).all()
    same = scores.min(1) == scores.max(1)
    assert (found["U"][same] == 0).all() and (found["A90"][same] == found["P"][same]).all()
    assert np.array_equal(aptitude(scores[:, ::-1])["A90"], found["A90"]), "the order of simulations is nothing"


def test_premature_answers():
    labels = [["answer", "clarification", "answer"], ["hedge", "discussion", "answer"], ["answer"]]
    revealed = [[1, 2, 3], [1, 2, 3], [3]]
    assert premature_summary(labels, revealed, [3, 3, 3]) == {
        "premature_rate": 1 / 4,  # of turns 1 and 2 of two dialogues
        "premature_dialogues": 1 / 3,
    }
    assert premature_summary([["answer"]], [[2]], [2]) == {"premature_rate": None, "premature_dialogues": 0.0}


def test_simulations_that_do_not_count():
    """By hand: the means of 0, 100 (one is out) and of 100, 100, 100 are 50 and 100; nothing is left of the third."""
    found = aptitude_summary([[0, np.nan, 100], [100, 100, 100], [np.nan] * 3])
    assert (found["P"], found["n"]) == (75.0, 2)
    assert found["A90"] == pytest.approx((90 + 100) / 2) and found["U"] == pytest.approx((80 + 0) / 2)
