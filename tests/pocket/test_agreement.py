"""Agreement with the scripted teacher, counted by hand."""

import sys
from pathlib import Path

import pytest

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Dialogue
from sml_jax.tasks.problems.types import Turn, Verdict

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from agreement import teacher_agreement

del sys.path[0]

WRONG = Verdict(False, True)


def dialogue(problem, *texts, verdicts=()):
    roles = ("teacher", "student") * len(texts)
    turns = tuple(Turn(role, text) for role, text in zip(roles, (problem.question, *texts), strict=False))
    return Dialogue(problem.id, "feedback", turns, verdicts, 0, ())


def test_replies_are_compared_word_for_word(small):
    task = small("pocket_math")
    problem = next(p for p in task.problems("test") if p.answer == "47")
    talk = dialogue(
        problem,
        "my answer is 57",
        "part 1 is too high, part 2 is right",  # as scripted
        "what is part 1?",
        "part 1 is from 3 to 6",  # as scripted
        "my answer is 37",
        "part 1 is too low, part 2 is too low",  # part 2 is right
        "what is the secret number?",
        "there is no secret number",  # as scripted
        "my answer is 37",
        verdicts=(WRONG, Verdict(False, False), WRONG, Verdict(False, False), WRONG),
    )
    assert teacher_agreement(task, [talk]) == (3, 4)
    solved = dialogue(problem, "my answer is 47", verdicts=(Verdict(True, True),))
    assert teacher_agreement(task, [solved]) == (0, 0)
    assert teacher_agreement(task, [talk, solved, talk]) == (6, 8)


def test_the_scripted_teacher_sees_only_what_came_before(small):
    """The missing fact comes with the second reply, unless it has been told."""
    task = small("pocket_math_underspecified")
    problem = task.problems("test")[0]
    shard, guess = problem.shards[0], "my answer is 00"
    first = task.reply(problem, [Turn("teacher", problem.question), Turn("student", guess)], WRONG)
    late = dialogue(problem, guess, first, guess, f"{first}, {shard}", guess, first, verdicts=(WRONG,) * 3)
    assert teacher_agreement(task, [late]) == (3, 3)
    never = dialogue(problem, guess, first, guess, first, verdicts=(WRONG,) * 2)
    assert teacher_agreement(task, [never]) == (1, 2)


def test_a_problem_of_another_split_is_a_plain_error(small):
    task = small("pocket_math")
    with pytest.raises(UserError, match="no test problem"):
        teacher_agreement(task, [dialogue(task.problems("train")[0], "my answer is 00")])
    assert teacher_agreement(task, [dialogue(task.problems("train")[0], "x")], "train") == (0, 0)
