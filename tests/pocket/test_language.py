"""The language of feedback: what is said of parts, and what follows from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.pocket import language

digit = st.integers(0, 9)
parts = st.tuples(digit, digit)


def test_feedback_by_hand():
    assert language.part_feedback((3, 7), (5, 7)) == "part 1 is too low, part 2 is right"
    assert language.part_feedback((9, 0), (5, 7)) == "part 1 is too high, part 2 is too low"


def test_hints_by_hand():
    assert [language.part_hint(1, t).removeprefix("part 1 is ") for t in range(10)] == (
        ["from 0 to 2"] * 3 + ["from 3 to 6"] * 4 + ["from 7 to 9"] * 3
    )
    assert language.part_hint(2, 7) == "part 2 is from 7 to 9"


def test_questions_by_hand():
    assert language.part_question(2) == "what is part 2?"
    assert language.asked_part("what is part 2?") == 2
    for other in ("what is part 3?", "what is part 2", "what is part 1?what is part 2?", "", "my answer is 12"):
        assert language.asked_part(other) is None


@given(digit, st.sampled_from([1, 2]))
def test_a_hint_holds_the_truth_and_not_it_alone(truth, part):
    low, high = map(int, language.part_hint(part, truth).removeprefix(f"part {part} is from ").split(" to "))
    assert low <= truth <= high and high > low


@pytest.mark.parametrize(
    ("reply", "guess", "bounds", "after"),
    [
        ("part 1 is too low, part 2 is right", (3, 7), [(0, 9), (0, 9)], [(4, 9), (7, 7)]),
        ("part 1 is too high, part 2 is too low", (5, 2), [(2, 9), (0, 6)], [(2, 4), (3, 6)]),
        ("part 2 is from 3 to 6", None, [(0, 9), (0, 4)], [(0, 9), (3, 4)]),
        ("part 1 is too low, part 2 is right", None, [(0, 9), (0, 9)], [(0, 9), (0, 9)]),
        ("that is not right, try again", (1, 1), [(2, 3), (4, 5)], [(2, 3), (4, 5)]),
        ("part 1 is too high, part 2 is too low", (0, 9), [(0, 9), (0, 9)], [(0, 9), (0, 9)]),  # cannot be
        ("part 1 is too low, part 2 is right", (6, 1), [(2, 5), (0, 9)], [(2, 5), (1, 1)]),  # contradicts
    ],
)
def test_bounds_by_hand(reply, guess, bounds, after):
    assert language.read_bounds(reply, guess, bounds) == after


asking = st.sampled_from([1, 2])


@given(parts, st.lists(st.one_of(parts, asking), max_size=8))
def test_true_feedback_never_excludes_the_truth(truth, said):
    bounds = [(0, 9), (0, 9)]
    for what in said:
        if isinstance(what, int):
            narrowed = language.read_bounds(language.part_hint(what, truth[what - 1]), None, bounds)
        else:
            narrowed = language.read_bounds(language.part_feedback(what, truth), what, bounds)
        for (low, high), (old_low, old_high), value in zip(narrowed, bounds, truth, strict=True):
            assert old_low <= low <= value <= high <= old_high
        if not isinstance(what, int):
            for (low, high), guess, value in zip(narrowed, what, truth, strict=True):
                assert (low, high) == (value, value) if guess == value else not low <= guess <= high
        bounds = narrowed


@given(st.text(), st.one_of(st.none(), parts))
def test_any_reply_leaves_sensible_bounds(reply, guess):
    for low, high in language.read_bounds(reply, guess, [(0, 9), (3, 6)]):
        assert 0 <= low <= high <= 9
