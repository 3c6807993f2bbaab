"""Turns that leave the student one operation from the answer: judged by hand, by kind, and for any text."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.dialogue.sharded import ShardedTask
from sml_jax.tasks import CodeProblem, CodeTask
from sml_jax.tasks.leaks import leaks, one_step
from sml_jax.tasks.math.task import MathTask
from sml_jax.tasks.problems.overlap import TrimmedTask
from sml_jax.tasks.problems.types import HasOneStepTest, Problem, Turn, leaves_one_step

CASES = [json.loads(line) for line in (Path(__file__).parent / "one_step_cases.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_judged_by_hand(case):
    assert one_step(case["gold"], case["said"], case["statement"], case["student"]) == case["one_step"]
    public_text = "\n".join([case["statement"], *case["student"]])
    assert not leaks(case["gold"], case["said"], public_text), "what states the answer is not one step from it"


@pytest.mark.parametrize(
    ("gold", "student", "said"),
    [
        ("54", "60", "add -6"),
        ("66", "60", "+6"),
        ("40", "60", "subtract it from 100"),
        ("120", "60", "multiply by 2"),
        ("30", "60", "divide by 2"),
        ("2", "30", "divide 60 by it"),
        ("15", "60", "take 25% of it"),
        ("75", "60", "increase it by 25%"),
        ("45", "60", "decrease it by 25 per cent"),
        ("48", "60", "it is 25% too high"),
        ("1/2", "1/6", "add 1/3"),
        ("\\frac{1}{2}", "$\\frac16$", "add one third"),
        ("0.5", "50", "divide by 100"),
        ("-5", "5", "multiply by -1"),
        ("1,054", "1,060", "6 too high"),
        ("54%", "60%", "6 percent too high"),
        ("#### 54", "60", "six too high"),
        ("54 dollars", "$60", "$6 less"),
    ],
)
def test_every_operation(gold, student, said):
    assert one_step(gold, said, "find it", [student])


def test_the_latest_number_is_the_one_given_as_the_answer():
    assert one_step("54", "6 too high", "find it", ["The answer is 60. I checked 2 times."])
    assert one_step("54", "6 too high", "find it", ["\\boxed{60} for all 5 days"])
    assert one_step("54", "6 too high", "find it", ["I get 50.", "No, I get 60.", "Is that right?"])
    assert not one_step("54", "6 too high", "find it", ["I get 60.", "No, I get 50."])
    assert not one_step("54", "6 too high", "find it", ["I get 60.", "So 54."]), "a student that has it needs no step"


def test_only_numbers_that_are_plain_have_a_step():
    for gold in ("x + 6", "(1, 2)", "Paris", "", "def f(x):\n    return x\n"):
        assert not one_step(gold, "you are 6 too high", "find it", ["60"])


def test_the_problems_own_words_are_no_step():
    statement = "Tom has 60 apples. He gets 6 more. How many has he?"
    assert not one_step("66", "The text says that he gets 6 more.", statement, ["60"])
    assert one_step("66", "You need 6 more.", statement, ["60"])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("The right answer and yours make 114.", True),
        ("Subtract the $6.", True),
        ("You are six too high.", True),
        ("Work out 60 - 6.", True),
        ("The coupon is for $6.", False),
        ("Ana has a coupon for $6 off the total.", False),
        ("See part 6.", False),
        ("See the 6th word.", False),
        ("Come back at 6:00.", False),
        ("What remains is less than 6.", False),
        ("There are 6 mistakes.", False),
        ("Subtract 3 and 3 again.", False),
        ("It is 5 too high.", False),
    ],
)
def test_what_the_page_on_guards_says(said, expected):
    statement = "Classes cost $12. Ana takes 5 and has a coupon for $6 off the total. What does she pay?"
    assert one_step("54", said, statement, ["The answer is 60."]) == expected
    assert one_step("54", "That is double.", statement, ["27"])
    assert not one_step("54", "It is 6 too high.", statement, ["60", "Or is it 70?"]), "60 is not the latest number"


@given(st.text(max_size=60), st.text(max_size=60), st.lists(st.text(max_size=30), max_size=3))
def test_any_texts_get_an_answer(gold, said, student):
    assert one_step(gold, said, "find it", student) in (True, False)


PARTS = [
    "6",
    "60",
    "54",
    "-",
    "+",
    "%",
    "/",
    "too high",
    "by",
    "add",
    "half",
    "twice",
    "0",
    "1/0",
    "10^9",
    "\\frac",
    " ",
]


@given(*[st.lists(st.sampled_from(PARTS), max_size=8).map(" ".join)] * 3)
def test_any_numbers_get_an_answer(gold, said, student):
    assert one_step(gold, said, "find it", [student]) in (True, False)


@pytest.mark.parametrize(
    "bomb", ["6 ", "add " * 3, "60 - ", "twice ", "6 of the eggs ", "check a a a ", "- ", "a quarter of ", "1/3 "]
)
def test_the_time_grows_with_the_text_alone(bomb):
    start = time.process_time()
    text = bomb * (40_000 // len(bomb))
    one_step("54", text, text, [text, "60"])
    one_step("54", text + "6", "find it", ["60"])
    assert time.process_time() - start < 10


def test_tasks_bring_the_test_if_they_have_one():
    problem = Problem("a", "Five classes of $12, $6 off?", "54", shards=("There are 7 more.",))
    task = MathTask("math", {"train": [problem]})
    said = (Turn("teacher", problem.question), Turn("student", "The answer is 60."))
    assert leaves_one_step(task, problem, "You are 6 too high.", said)
    assert leaves_one_step(TrimmedTask(task, "test", ()), problem, "You are 6 too high.", said)
    assert not leaves_one_step(task, problem, "There is $6 off.", said)
    code = CodeTask("code", {"train": [CodeProblem("a", "?", "", tests=("pass",))]})
    assert not isinstance(code, HasOneStepTest) and not leaves_one_step(code, problem, "You are 6 too high.", said)
    assert not leaves_one_step(TrimmedTask(code, "test", ()), problem, "You are 6 too high.", said)
    # Who tells a problem in shards states facts, and corrects nobody.
    assert not leaves_one_step(ShardedTask(task, ("full",)), problem, "You are 6 too high.", said)
