"""The pocket problems: disjoint splits, right answers, a verifier that cannot be talked round, and the script."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.pocket import language
from sml_jax.pocket.world import PocketCode, PocketMath, pocket_task, split_of
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

NAMES = ("pocket_math", "pocket_code", "pocket_math_underspecified", "pocket_code_underspecified")


def numbers(problem: Problem) -> tuple[int, ...]:
    """What makes a problem, whatever its form: the two factors, or the x of the long division."""
    if problem.domain == "code":
        return (int(re.search(r"f\((\d+)\)", problem.question)[1]),)
    found = [int(n) for n in re.findall(r"\d{3}", problem.question + "".join(problem.shards))]
    assert len(found) == 2
    return tuple(sorted(found))


@pytest.mark.parametrize("domain", ["math", "code"])
def test_train_and_test_share_no_numbers_whatever_the_form(small, domain):
    made = {"train": set(), "test": set()}
    for name in (f"pocket_{domain}", f"pocket_{domain}_underspecified"):
        task = small(name)
        for split in made:
            problems = task.problems(split)
            assert len({p.id for p in problems}) == len(problems) == {"train": 3000, "test": 400}[split]
            assert all(split_of(*numbers(p)) == split for p in problems)
            made[split] |= {numbers(p) for p in problems}
        ids = [{p.id for p in task.problems(split)} for split in made]
        assert not ids[0] & ids[1]
        rng = random.Random(1)
        made["train"] |= {numbers(task.draw_train(rng)) for _ in range(2000)}  # the base model's text
    assert len(made["train"]) > 4000 and not made["train"] & made["test"]


def test_problems_are_the_same_each_time(task):
    again = type(task)(task.underspecified, 3000, 400)
    assert again.problems("test") == task.problems("test") and again.problems("train") == task.problems("train")
    assert task.problems("train") is task.problems("train")


def test_answers_by_independent_arithmetic(small):
    for form in ("pocket_math", "pocket_math_underspecified"):
        for problem in small(form).problems("train"):
            a, b = numbers(problem)
            assert problem.answer == f"{a * b:06d}"[-3] + f"{a * b:06d}"[-1]
    for form in ("pocket_code", "pocket_code_underspecified"):
        for problem in small(form).problems("train"):
            (x,) = numbers(problem)
            y = int(re.search(r"= (\d+)|is (\d+)", problem.question + "".join(problem.shards))[0].split()[-1])
            assert 10 <= y <= 99 and eval(problem.answer, {"x": x}) == y
            assert int(problem.id.split("-")[-1]) == y


def test_a_math_problem_by_hand():
    task = PocketMath()
    problem = Problem("x", "multiply 123 by 456 and keep the hundreds digit and the last digit", "08")  # 56088
    assert task.truth(problem) == (0, 8) and task.static_knowledge(problem) == "the answer is 08"
    assert task.write_attempt((0, 8)) == "my answer is 08" and task.read_attempt("my answer is 08") == (0, 8)


def test_the_missing_fact_is_missing(small):
    for name in NAMES:
        for problem in small(name).problems("test"):
            if name.endswith("underspecified"):
                (shard,) = problem.shards
                secret = shard.removeprefix("the secret number is ")
                assert secret.isdigit() and secret not in problem.question.replace("f(", " ").replace(")", " ").split()
                assert "a secret number" in problem.question
            else:
                assert problem.shards == () and "secret" not in problem.question


def test_attempts_are_read_back_and_the_truth_solves(task):
    problems = task.problems("test")[:50]
    right = task.verify([(p, task.write_attempt(task.truth(p))) for p in problems])
    assert all(v.correct and v.attempted for v in right)
    wrong = task.verify([(p, task.write_attempt(((task.truth(p)[0] + 1) % 10, task.truth(p)[1]))) for p in problems])
    assert not any(v.correct for v in wrong) and all(v.attempted for v in wrong)
    for i in range(10):
        assert task.read_attempt(task.write_attempt((i, 9 - i))) == (i, 9 - i)
    assert isinstance(task, Task)


@pytest.mark.parametrize(
    ("said", "correct", "attempted"),
    [
        ("my answer is 47", True, True),
        ("my answer is 74", False, True),
        ("my answer is 47my answer is 48", False, False),
        ("my answer is 48my answer is 47", False, False),
        ("my answer is 47 my answer is 47", False, False),
        ("my answer is 47\n", False, False),
        ("my answer is 4", False, False),
        ("my answer is 047", False, False),
        ("my answer is 47?", False, False),
        ("my answer is 47 or 48", False, False),
        ("my answer is \u0664\u0667", False, False),
        ("47", False, False),
        ("what is part 1?", False, False),
        ("", False, False),
    ],
)
def test_math_verdicts(said, correct, attempted):
    assert PocketMath().verify([(Problem("x", "q", "47"), said)]) == [Verdict(correct, attempted)]


CODE = Problem("x", "q", "10*4+(x//7+3)%10")


@pytest.mark.parametrize(
    "expression",
    ["10*4+(x//7+3)%10", "10 * 4 + (x // 7 + 3) % 10", "40+(3+x//7)%10", "(x//7+13)%10+4*10", "(x+21)//7%10+40"],
)
def test_code_is_judged_by_what_it_gives(expression):
    assert PocketCode().verify([(CODE, f"my code is {expression}")]) == [Verdict(True, True, "all tests pass")]


@pytest.mark.parametrize(
    ("expression", "detail"),
    [
        ("10*5+(x//7+3)%10", "for x = 0 want 43 got 53"),
        ("10*4+(x//7+2)%10", "for x = 0 want 43 got 42"),
        ("43", "for x = 7 want 44 got 43"),
        ("43+x//7", "for x = 100 want 47 got 57"),
        ("", "for x = 0 want 43 got an error"),
        ("10*4+(x//7+3)%10my code is 10*4+(x//7+4)%10", "for x = 0 want 43 got an error"),
        ("10*4+(x//0+3)%10", "for x = 0 want 43 got an error"),
        ("9**9**9**9", "for x = 0 want 43 got an error"),
        ("__import__('os').system('true')", "for x = 0 want 43 got an error"),
        ("(" * 5000, "for x = 0 want 43 got an error"),
        ("y", "for x = 0 want 43 got an error"),
        ("[43,44,44,47,45][x]", "for x = 0 want 43 got an error"),
        ("1\n2", "for x = 0 want 43 got an error"),
    ],
)
def test_wrong_code_and_what_the_verifier_says_of_it(expression, detail):
    assert PocketCode().verify([(CODE, f"my code is {expression}")]) == [Verdict(False, True, detail)]


def test_no_code_is_no_attempt():
    said = ["what is part 1?", "", "10*4+(x//7+3)%10", " my code is 43", "my answer is 43"]
    assert PocketCode().verify([(CODE, text) for text in said]) == [Verdict(False, False, "for x = 0 want 43")] * 5


@given(st.text())
def test_any_text_gets_a_verdict(text):
    for task, problem in ((PocketMath(), Problem("x", "q", "47")), (_code, CODE)):
        (verdict,) = task.verify([(problem, text)])
        assert not verdict.correct


_code = PocketCode()


@given(st.text("x0123456789+-*/%() ", max_size=20))
def test_any_expression_gets_a_verdict_and_the_others_theirs(expression):
    items = [(CODE, f"my code is {text}") for text in (expression, "40+(x//7+3)%10", expression)]
    first, known, again = _code.verify(items)
    assert first == again and first.attempted and known.correct


def conversation(problem, *texts):
    roles = ("teacher", "student") * len(texts)
    return [Turn(role, text) for role, text in zip(roles, (problem.question, *texts), strict=False)]


def reply(task, problem, *texts):
    """The script's reply to the last of `texts`."""
    return task.reply(problem, conversation(problem, *texts), task.verify([(problem, texts[-1])])[0])


def test_the_script_criticises_part_by_part(task):
    problem = next(p for p in task.problems("test") if task.truth(p)[0] == 4 and 0 < task.truth(p)[1] < 9)
    a, b = task.truth(problem)
    assert reply(task, problem, task.write_attempt((3, b))) == "part 1 is too low, part 2 is right"
    assert reply(task, problem, task.write_attempt((9, b - 1))) == "part 1 is too high, part 2 is too low"
    assert reply(task, problem, "hello") == language.NO_ANSWER
    for part, truth in ((1, a), (2, b)):
        hint = reply(task, problem, f"what is part {part}?")
        low, high = map(int, re.fullmatch(rf"part {part} is from (\d) to (\d)", hint).groups())
        assert low <= truth <= high
    assert len({reply(task, problem, task.write_attempt((i, j))) for i in range(10) for j in range(10)}) == 9


def test_wrong_code_in_other_words_is_told_to_try_again(small):
    task = small("pocket_code")
    assert reply(task, task.problems("test")[0], "my code is 43") == language.RETRY


def test_the_missing_fact_is_told_when_asked_for_or_with_the_second_reply(small):
    for name in ("pocket_math_underspecified", "pocket_code_underspecified"):
        task = small(name)
        problem = task.problems("test")[0]
        (shard,) = problem.shards
        guess = task.write_attempt(((task.truth(problem)[0] + 1) % 10, 0))
        assert reply(task, problem, language.ASK_SECRET) == shard
        first = reply(task, problem, guess)
        assert shard not in first, "never before"
        second = reply(task, problem, guess, first, guess)
        assert second == f"{first}, {shard}"
        assert reply(task, problem, guess, first, guess, second, guess) == first, "told once"
        assert reply(task, problem, language.ASK_SECRET, shard, guess) == first, "told when asked"
        hint = reply(task, problem, guess, first, "what is part 1?")
        assert shard not in hint
        assert reply(task, problem, guess, first, "what is part 1?", hint, guess) == f"{first}, {shard}", "still owed"
        assert task.static_knowledge(problem).endswith(shard)


def test_there_is_no_secret_in_a_full_problem(small):
    for name in ("pocket_math", "pocket_code"):
        task = small(name)
        assert reply(task, task.problems("test")[0], language.ASK_SECRET) == language.NO_SECRET


def test_knowledge_is_static_in_math_and_dynamic_in_code(small):
    math, code = small("pocket_math"), small("pocket_code")
    problem = math.problems("test")[0]
    assert math.static_knowledge(problem) == f"the answer is {problem.answer}"
    assert math.dynamic_knowledge(problem, Verdict(False, True, "x")) == ""
    problem = code.problems("test")[0]
    assert code.static_knowledge(problem) == ""
    assert code.dynamic_knowledge(problem, Verdict(False, True, "for x = 0")) == "for x = 0"
    assert code.dynamic_knowledge(problem, None) == ""


def test_names():
    for name in NAMES:
        assert pocket_task(name).name == name and pocket_task(name) is pocket_task(name)
    with pytest.raises(UserError, match="no pocket task 'pocket_chess'"):
        pocket_task("pocket_chess")
    with pytest.raises(UserError, match="no split 'dev'"):
        PocketMath().problems("dev")
