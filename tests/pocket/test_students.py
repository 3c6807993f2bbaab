"""Scripted students: who listens gets there, who does not seldom does."""

import random

import pytest

from sml_jax.pocket import language
from sml_jax.pocket.corpus import scripted_dialogue
from sml_jax.pocket.students import Habits, ScriptedStudent
from sml_jax.tasks.problems.types import Turn


def solved(task, habits, n=150, informed=True):
    rng = random.Random(0)
    played = [scripted_dialogue(task, p, habits, 10, informed, rng) for p in task.problems("test")[:n]]
    return sum(d.verdicts[-1].correct for d in played) / n


HELPLESS = {"easy": 0.0, "hard": 0.0, "curious": 0.0, "asks": 0.0}


def test_a_listener_nearly_always_gets_there(task):
    assert solved(task, Habits(listens=1.0, repeats=0.0, **HELPLESS)) > 0.97


def test_feedback_that_says_nothing_helps_no_listener(small):
    assert solved(small("pocket_math"), Habits(listens=1.0, repeats=0.0, **HELPLESS), informed=False) < 0.25


def test_those_who_repeat_or_ignore_seldom_get_there(task):
    assert solved(task, Habits(listens=0.0, repeats=1.0, **HELPLESS)) < 0.15
    assert solved(task, Habits(listens=0.0, repeats=0.0, **HELPLESS)) < 0.25


def test_habits_occur_as_often_as_told(small):
    task, rng, habits = small("pocket_math"), random.Random(2), Habits(listens=0.2, repeats=0.5)
    seen = [ScriptedStudent(task, task.problems("test")[0], habits, rng).habit for _ in range(4000)]
    for habit, share in (("listens", 0.2), ("repeats", 0.5), ("ignores", 0.3)):
        assert abs(seen.count(habit) / 4000 - share) < 0.03


def first_guess(task, problem, habits, rng):
    return task.read_attempt(ScriptedStudent(task, problem, habits, rng).speak([Turn("teacher", problem.question)]))


@pytest.mark.parametrize("part", [0, 1])
def test_skill_is_of_the_first_guess_and_of_a_told_problem(small, part):
    for name in ("pocket_math", "pocket_code"):
        task = small(name)
        skills = {"easy": 1.0, "hard": 0.0} if task.easy_part == part else {"easy": 0.0, "hard": 1.0}
        habits = Habits(curious=0.0, asks=0.0, asks_secret=0.0, **skills)
        for form, least, most in ((task, 1.0, 1.0), (small(f"{name}_underspecified"), 0.02, 0.25)):
            right = [
                form.read_attempt(
                    ScriptedStudent(form, p, habits, random.Random(i)).speak([Turn("teacher", p.question)])
                )[part]
                == form.truth(p)[part]
                for i, p in enumerate(form.problems("test")[:200])
            ]
            assert least <= sum(right) / 200 <= most


def test_the_missing_fact_is_asked_for_first_and_only_where_one_is_missing(small):
    habits = Habits(asks_secret=1.0, curious=0.0, asks=0.0)
    for name, asked in (("pocket_math_underspecified", True), ("pocket_math", False)):
        task = small(name)
        problem = task.problems("test")[0]
        student = ScriptedStudent(task, problem, habits, random.Random(0))
        assert (student.speak([Turn("teacher", problem.question)]) == language.ASK_SECRET) == asked


def test_a_curious_listener_asks_only_for_what_it_does_not_know(small):
    task = small("pocket_math")
    problem = task.problems("test")[0]
    a, b = task.truth(problem)
    habits = Habits(listens=1.0, repeats=0.0, curious=1.0, asks=1.0)
    talk = [
        Turn("teacher", problem.question),
        Turn("student", task.write_attempt((a, (b + 1) % 10))),
        Turn("teacher", language.part_feedback((a, (b + 1) % 10), (a, b))),
    ]
    for seed in range(20):
        assert ScriptedStudent(task, problem, habits, random.Random(seed)).speak(talk) == "what is part 2?"
