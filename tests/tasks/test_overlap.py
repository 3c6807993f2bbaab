"""Training problems that an evaluation holds too."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.tasks import Problem, Task
from sml_jax.tasks.math.task import MathTask
from sml_jax.tasks.problems.overlap import check_overlap, normalise_question, statements, without_overlap


def problems(*questions: str) -> tuple[Problem, ...]:
    return tuple(Problem(f"p{i}", question, "1") for i, question in enumerate(questions))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("What is 1 + 1?", "  what is\n1 +\t1? ", True),
        ("Janet\u2019s ducks", "Janet's ducks", True),
        ("\u201cA\u201d", '"a"', True),
        ("5 \u2212 3", "5 - 3", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("what is 5\u00b2", "what is 52", False),
        ("x - 1", "x + 1", False),
        ("1 1/2", "11/2", False),
    ],
)
def test_normalise_question(left: str, right: str, same: bool) -> None:
    assert (normalise_question(left) == normalise_question(right)) is same


@given(st.text())
def test_spacing_and_case_do_not_matter(question: str) -> None:
    spaced = "  " + question.replace(" ", " \n ") + "\t"
    assert normalise_question(spaced) == normalise_question(question)
    if question.isascii():
        assert normalise_question(question.upper()) == normalise_question(question.lower())


def test_a_problem_with_shards_is_told_by_its_full_statement() -> None:
    assert statements(Problem("a", "How many?", "1", ("two",), full="Two. How many?")) == {"two. how many?"}
    assert statements(Problem("a", "How many?", "1", ("two",))) == {"how many? two"}


@given(st.lists(st.sampled_from("abcdefg")), st.lists(st.sampled_from("abcdefgABC")))
def test_parts_are_disjoint_and_complete(train: list[str], held_out: list[str]) -> None:
    remaining, left_out = without_overlap(problems(*train), problems(*held_out))
    lowered = {question.lower() for question in held_out}
    assert [p.question for p in remaining] == [q for q in train if q not in lowered]
    assert [p.question for p in left_out] == [q for q in train if q in lowered]


def test_what_an_evaluation_holds_is_left_out_and_named(caplog) -> None:
    task = MathTask("sums", {"train": problems("a", "b", "c", "d"), "test": problems("e")}, "answer")
    sharded = MathTask("sharded", {"test": (Problem("s", "How?", "1", ("x",), full="B "),)})
    with caplog.at_level(logging.WARNING):
        trimmed = check_overlap(task, [task, sharded, MathTask("more", {"test": problems("D")})])
    assert isinstance(trimmed, Task)
    assert [p.question for p in trimmed.problems("train")] == ["a", "c"]
    assert trimmed.problems("test") == task.problems("test")
    assert "sums: left out 2 of 4 training problems" in caplog.text and "p1, p3" in caplog.text
    assert trimmed.name == "sums" and trimmed.static_knowledge(trimmed.problems("train")[0]) == "the answer is 1"
    (verdict,) = trimmed.verify([(trimmed.problems("train")[0], "the answer is 1")])
    assert verdict.correct and trimmed.reply(task.problems("test")[0], (), verdict) == "That is correct."
    assert trimmed.dynamic_knowledge(task.problems("test")[0], verdict) == ""


def test_without_overlap_the_task_is_the_very_same(caplog) -> None:
    task = MathTask("sums", {"train": problems("a"), "test": problems("e")})
    assert check_overlap(task, [task]) is task and not caplog.text


def test_nothing_left_to_train_on_is_an_error() -> None:
    task = MathTask("sums", {"train": problems("a"), "test": problems("A")})
    with pytest.raises(UserError, match=r"every one of the 1 train problems of sums"):
        check_overlap(task, [task])
