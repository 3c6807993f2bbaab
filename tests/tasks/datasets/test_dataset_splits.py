"""Selections and splits."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.tasks import Problem
from sml_jax.tasks.datasets.splits import Selection, hash_position, in_hash_order, select, split_by_count, split_by_hash

QUESTIONS = st.lists(st.text("abc", min_size=1, max_size=3), max_size=30)


def problems(*questions: str, **fields: str) -> tuple[Problem, ...]:
    return tuple(Problem(f"p{i}", question, "1", **fields) for i, question in enumerate(questions))


def test_select_in_its_order(caplog) -> None:
    train = (*problems("a", "b", "long question", "c", "d"), Problem("p0", "again", "1"))
    with caplog.at_level(logging.WARNING):
        chosen = select("toy", {"train": train, "test": problems("B ", "another long one")}, Selection(2, 8))
    assert [p.question for p in chosen["train"]] == ["a", "c"]
    assert [p.question for p in chosen["test"]] == ["B "]
    for message in (
        "toy train: left out 1 problems whose id another has",
        "toy train: left out 1 of 5 problems longer than 8 characters of question",
        "toy test: left out 1 of 2 problems",
        "toy: left out 1 training problems that another split holds too",
    ):
        assert message in caplog.text


def test_a_test_problem_that_is_left_out_is_still_no_training_problem() -> None:
    test = problems("A", solution="much too long")
    chosen = select("toy", {"train": problems("a", "b"), "test": test}, Selection(max_solution_characters=5))
    assert [p.question for p in chosen["train"]] == ["b"] and not chosen["test"]


def test_full_statements_and_solutions_have_limits_too() -> None:
    splits = {"test": (*problems("a", full="x" * 9), Problem("q", "b", "1", solution="s" * 9), Problem("r", "c", "1"))}
    assert [p.id for p in select("toy", splits, Selection(None, 5, 5))["test"]] == ["r"]
    assert len(select("toy", splits)["test"]) == 3


@pytest.mark.parametrize("bad", [{"limit": 0}, {"max_question_characters": 0}, {"max_solution_characters": -1}])
def test_bad_selections(bad: dict) -> None:
    with pytest.raises(UserError, match=f"{next(iter(bad))} is"):
        Selection(**bad)


@given(QUESTIONS, st.floats(0, 1))
def test_a_hash_split_parts_by_the_text_alone(questions: list[str], fraction: float) -> None:
    by_hash = split_by_hash(problems(*questions), fraction)
    assert sorted(p.id for side in by_hash.values() for p in side) == sorted(f"p{i}" for i in range(len(questions)))
    assert not {p.question for p in by_hash["train"]} & {p.question for p in by_hash["test"]}
    for question in questions:
        (side,) = (name for name, side in split_by_hash(problems(question), fraction).items() if side)
        assert question in {p.question for p in by_hash[side]}


@given(QUESTIONS, st.integers(0, 10))
def test_a_split_by_count(questions: list[str], count: int) -> None:
    if count >= len(questions):
        with pytest.raises(UserError, match="test_problems is"):
            split_by_count(problems(*questions), count)
        return
    by_count = split_by_count(problems(*questions), count)
    assert by_count["test"] + by_count["train"] == in_hash_order(problems(*questions))
    assert not {p.question for p in by_count["train"]} & {p.question for p in by_count["test"]}
    assert len(by_count["test"]) == count or len(set(questions)) < len(questions)


def test_the_mixed_order_is_one_of_texts() -> None:
    questions = [f"question {i}" for i in range(200)]
    order = [p.question for p in in_hash_order(problems(*questions))]
    assert order == [p.question for p in in_hash_order(problems(*reversed(questions)))]
    assert order != questions and sorted(order) == sorted(questions)
    assert all(0 <= hash_position(question) < 1 for question in questions)
    assert 80 < sum(hash_position(question) < 0.5 for question in questions) < 120


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_bad_fractions(fraction: float) -> None:
    with pytest.raises(UserError, match="test_fraction is"):
        split_by_hash([], fraction)
