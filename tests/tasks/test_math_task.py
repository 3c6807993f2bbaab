"""MathTask: splits, knowledge, verdicts, replies."""

import pytest

from sml_jax.common.errors import UserError
from sml_jax.tasks import Problem, Task, Verdict
from sml_jax.tasks.math.task import MathTask, check_knowledge

SOLVED = Problem("a", "How many?", "7", solution="3 + 4 = 7")
BARE = Problem("b", "How many?", "8")


def task(knowledge: str = "answer") -> MathTask:
    return MathTask("sums", {"train": (SOLVED, BARE), "test": ()}, knowledge)


def test_it_is_a_task() -> None:
    assert isinstance(task(), Task) and task().name == "sums" and task().problems("train") == (SOLVED, BARE)


def test_knowledge() -> None:
    assert task().static_knowledge(SOLVED) == "the answer is 7"
    solution_task = task("solution")
    assert solution_task.static_knowledge(SOLVED) == "a solution:\n3 + 4 = 7\nthe answer is 7"
    assert solution_task.static_knowledge(BARE) == "the answer is 8"


@pytest.mark.parametrize("knowledge", ["hint", ""])
def test_unknown_knowledge(knowledge: str) -> None:
    with pytest.raises(UserError, match=f'knowledge is "{knowledge}": give "answer" or "solution"'):
        check_knowledge(knowledge)


def test_splits() -> None:
    with pytest.raises(UserError, match='no split "dev": ask for "train" or "test"'):
        task().problems("dev")
    with pytest.raises(UserError, match="the test split of sums is empty"):
        task().problems("test")


def test_verdicts_in_order() -> None:
    utterances = ["the answer is 7", "the answer is 7", "what do you mean?"]
    verdicts = task().verify(list(zip((SOLVED, BARE, BARE), utterances, strict=True)))
    assert [(v.correct, v.attempted) for v in verdicts] == [(True, True), (False, True), (False, False)]
    assert task().dynamic_knowledge(BARE, verdicts[1]) == ""


def test_replies_differ_by_verdict_and_keep_the_answer() -> None:
    replies = [task().reply(SOLVED, (), Verdict(*flags)) for flags in ((True, True), (False, True), (False, False))]
    assert replies[0] == "That is correct." and "not correct" in replies[1] and "found no answer" in replies[2]
    assert not any("7" in reply for reply in replies)
