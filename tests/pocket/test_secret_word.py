"""The game of the secret word: known answers, and what must hold of every list, hint and verdict."""

import random
import re
from collections import Counter

import pytest

from sml_jax.common.errors import UserError
from sml_jax.pocket.secret_word import (
    FULL_HINTS,
    KIND_HINTS,
    LETTER_HINTS,
    NO_ANSWER,
    TRY_AGAIN,
    SecretWord,
    listed_words,
)
from sml_jax.pocket.word_kinds import TEST_KINDS, TRAIN_KINDS
from sml_jax.tasks import Problem, Task, Turn, Verdict

TASK = SecretWord(train_size=200, test_size=100)
PROBLEM = Problem(
    "p", "Guess my secret word. Choose one word from this list: dog, hammer, France, red.", "France", domain="a country"
)
WRONG = Verdict(False, True)


def conversation(problem, guesses):
    """The turns of a dialogue with these guesses, up to the last one."""
    turns = [Turn("teacher", problem.question)]
    for guess in guesses:
        turns += [Turn("student", guess), Turn("teacher", "No.")]
    return turns[:-1]


def remaining(words, kinds, hint):
    """The words of a list that a reader of a hint may still take, told from the hint's text alone."""
    left = list(words)
    for kind, members in kinds.items():
        if f" {kind}." in hint or f" {kind} " in hint or f" {kind}," in hint:
            left = [word for word in left if word in members]
    letter = re.search(r" ([A-Z])\.$", hint)
    return [word for word in left if letter is None or word[0].upper() == letter[1]]


def test_no_word_is_of_two_kinds_or_of_both_halves():
    words = Counter(word.casefold() for kinds in (TRAIN_KINDS, TEST_KINDS) for of in kinds.values() for word in of)
    assert max(words.values()) == 1 and not set(TRAIN_KINDS) & set(TEST_KINDS)


@pytest.mark.parametrize(
    ("said", "correct", "attempted"),
    [
        ("France", True, True),
        ("My guess is france.", True, True),
        ("dog", False, True),
        ("dog or France", False, False),  # a list answers nothing
        ("dog, dog!", False, True),
        ("Spain", False, False),
        ("dogs", False, False),
        ("", False, False),
    ],
)
def test_verdicts(said, correct, attempted):
    assert TASK.verify([(PROBLEM, said)]) == [Verdict(correct, attempted)]


def test_what_is_shown_is_form_alone():
    """Different words of the list, no hint, and the secret word among them as often as chance has it."""
    hits = 0
    for problem in TASK.problems("train"):
        turns = TASK.demonstration(problem)
        said = [turn.text for turn in turns if turn.role == "student"]
        assert turns == TASK.demonstration(problem) and len(set(said)) == 4 and set(said) <= set(listed_words(problem))
        assert turns[0].text == problem.question and {turn.text for turn in turns[2::2]} == {TRY_AGAIN}
        hits += problem.answer in said
    assert 0.2 < hits / 200 < 0.47


@pytest.mark.parametrize(("split", "kinds"), [("train", TRAIN_KINDS), ("test", TEST_KINDS)])
def test_every_list_has_its_kinds_and_every_hint_is_true_and_enough(split, kinds):
    places = Counter()
    for problem in TASK.problems(split):
        words = listed_words(problem)
        assert len(set(words)) == 12 and problem.answer in kinds[problem.domain]
        assert sorted(Counter(next(k for k, of in kinds.items() if w in of) for w in words).values()) == [3, 3, 3, 3]
        places[words.index(problem.answer)] += 1
        # A reader who takes the hints at their word keeps the secret word, and ever fewer others.
        left, told = words, []
        for turn in range(1, 5):
            hint = TASK.reply(problem, conversation(problem, [words[0]] * turn), WRONG)
            left = remaining(left, kinds, hint)
            told.append(len(left))
            assert problem.answer in left and not TASK.leaks(problem, hint, problem.question), hint
        assert told == sorted(told, reverse=True) and told[1] <= 3
    # The secret word may stand anywhere in the list.
    assert len(places) == 12


def test_a_reader_of_the_hints_wins_and_one_who_ignores_them_does_not():
    """Success at turn 4 over both splits, of a reader who takes each hint at its word and of one who never reads."""
    rng = random.Random(0)
    won = {"reads": 0, "ignores": 0}
    problems = [(p, k) for split, k in (("train", TRAIN_KINDS), ("test", TEST_KINDS)) for p in TASK.problems(split)]
    for problem, kinds in problems:
        for reader in won:
            left, said = listed_words(problem), []
            for _ in range(4):
                said.append(rng.choice([word for word in left if word not in said]))
                if said[-1] == problem.answer:
                    won[reader] += 1
                    break
                if reader == "reads":
                    left = remaining(left, kinds, TASK.reply(problem, conversation(problem, said), WRONG))
    assert won["reads"] / len(problems) > 0.9 and 0.27 < won["ignores"] / len(problems) < 0.4, won


def test_the_hints_come_in_order_and_in_several_wordings():
    seen = Counter()
    for problem in TASK.problems("train"):
        for turn in range(1, 5):
            hint = TASK.reply(problem, conversation(problem, ["x"] * turn), WRONG)
            for name, hints in (("kind", KIND_HINTS), ("letter", LETTER_HINTS), ("full", FULL_HINTS)):
                made = [form.format(kind=problem.domain, letter=problem.answer[0].upper()) for form in hints]
                if hint in made:
                    seen[turn, name, made.index(hint)] += 1
    assert {key for key in seen if key[0] <= 2} == {
        (t, n, i) for t in (1, 2) for n in ("kind", "letter") for i in range(3)
    }
    assert {key[1] for key in seen if key[0] > 2} == {"full"} and sum(seen.values()) == 4 * 200


def test_who_names_no_word_is_asked_for_one():
    assert TASK.reply(PROBLEM, conversation(PROBLEM, ["hm"]), Verdict(False, False)) == NO_ANSWER


def test_it_is_a_task_with_the_same_problems_at_each_call():
    assert isinstance(TASK, Task) and TASK.problems("test") is TASK.problems("test")
    assert [p.question for p in SecretWord(test_size=3).problems("test")] == [
        p.question for p in TASK.problems("test")[:3]
    ]
    assert not {p.question for p in TASK.problems("train")} & {p.question for p in TASK.problems("test")}
    assert TASK.static_knowledge(PROBLEM) == "the secret word is France, a country"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds_listed": 0}, "kinds_listed is 0; give at least 1"),
        ({"test_size": 0}, "test_size is 0; give at least 1"),
        ({"kinds_listed": 13}, "kinds_listed is 13; there are 12 kinds"),
        ({"words_of_a_kind": 8}, "words_of_a_kind is 8; the smallest kind has 7 words"),
    ],
)
def test_settings_that_cannot_be_met_are_one_line(settings, message):
    with pytest.raises(UserError, match=message):
        SecretWord(**settings)
    with pytest.raises(UserError, match="there is no split 'validation'"):
        TASK.problems("validation")
