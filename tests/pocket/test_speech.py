"""Another manner of speech tells the same, and a false criticism tells what is not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.pocket import language
from sml_jax.pocket.speech import in_ranges, reply_in_ranges
from sml_jax.tasks import Turn

DIGIT = st.integers(0, 9)
PARTS = st.tuples(DIGIT, DIGIT)


def test_replies_by_hand():
    assert in_ranges("part 1 is too low, part 2 is right", (3, 5)) == "part 2 is right, part 1 is from 4 to 9"
    assert in_ranges("part 1 is right, part 2 is too high", (3, 5)) == "part 2 is from 0 to 4, part 1 is right"
    assert in_ranges(language.NO_ANSWER, None) == "what is part 1?"
    assert (
        in_ranges("part 1 is too low, part 2 is right, the secret number is 482", (3, 5)) == "the secret number is 482"
    )
    for reply in (language.RETRY, "part 2 is from 7 to 9", "the secret number is 47", language.NO_SECRET):
        assert in_ranges(reply, None) == reply


@given(PARTS, PARTS)
def test_a_listener_concludes_the_same_from_either_manner(guess, truth):
    bounds, plain = [(0, 9), (0, 9)], language.part_feedback(guess, truth)
    concluded = language.read_bounds(plain, guess, bounds)
    assert language.read_bounds(in_ranges(plain, guess), guess, bounds) == concluded


@given(PARTS, st.integers(0, 2**32 - 1))
def test_false_feedback_is_wrong_of_one_digit_and_names_one_that_exists(guess, draw):
    reply = language.false_feedback(guess, draw)
    words = [piece.split(" is ")[1] for piece in reply.split(", ")]
    assert reply != language.part_feedback(guess, guess) and words.count("right") == 1
    (digit,) = [digit for digit, word in zip(guess, words, strict=True) if word != "right"]
    assert not (digit == 0 and "too high" in words) and not (digit == 9 and "too low" in words)


@pytest.mark.parametrize("underspecified", [False, True])
def test_as_a_teacher_it_says_the_scripted_teachers_replies_in_its_manner(small, chat, underspecified):
    task, rng = small("pocket_math_underspecified" if underspecified else "pocket_math"), random.Random(0)
    told = 0
    for problem in task.problems("test")[:20]:
        turns = [Turn("teacher", problem.question)]
        for _ in range(4):
            turns.append(Turn("student", task.write_attempt((rng.randint(0, 9), rng.randint(0, 9)))))
            (verdict,) = task.verify([(problem, turns[-1].text)])
            scripted = task.reply(problem, turns, verdict)
            reply = reply_in_ranges(task, problem, turns, verdict)
            assert reply == in_ranges(scripted, task.read_attempt(turns[-1].text))
            # It fits the recipes' teacher_tokens, with its end.
            assert "too" not in reply and len(chat.text(reply)) <= 13
            told += "secret" in reply
            turns.append(Turn("teacher", reply))
    assert told == 20 * underspecified, "a missing fact is told once in each dialogue"
