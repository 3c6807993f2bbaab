"""The pocket world's language: every phrase that its teachers and students use, and how to read them back.

Answers have two parts, a digit each. What a teacher says of the parts is the same in every domain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Parts = tuple[int, int]

RETRY = "that is not right, try again"
NO_ANSWER = "please give an answer"
REDACTED = "i can not say that"
NO_SECRET = "there is no secret number"
ASK_SECRET = "what is the secret number?"

# Each phrase is a single token, so dialogues are short, and each digit is a token of its own. SentencePiece writes
# a space as U+2581.
PHRASES: tuple[str, ...] = tuple(
    phrase.replace(" ", "\u2581")
    for phrase in (
        " multiply ",
        " by ",
        " and keep the hundreds digit and the last digit",
        " find code for f(",
        ") = ",
        " my answer is ",
        " my code is 10*",
        "+(x//7+",
        ")%10",
        " a secret number",
        " the secret number is ",
        ", the secret number is ",
        " the answer is ",
        " for x = ",
        " want ",
        " got ",
        " got an error",
        " part ",
        ", part ",
        " is right",
        " is too low",
        " is too high",
        " what is part ",
        "?",
        " is from ",
        " to ",
        f" {RETRY}",
        f" {NO_ANSWER}",
        f" {REDACTED}",
        f" {NO_SECRET}",
        f" {ASK_SECRET}",
    )
)

# The hints that a teacher gives when it is asked: coarse enough to leave something to find out.
_RANGES = ((0, 2), (3, 6), (7, 9))


def compare_part(guess: int, truth: int) -> str:
    """Says how one digit of an attempt compares with the true one: "right", "too low" or "too high"."""
    return "right" if guess == truth else "too low" if guess < truth else "too high"


def part_feedback(guess: Sequence[int], truth: Sequence[int]) -> str:
    """The teacher's criticism of an attempt: "part 1 is too low, part 2 is right".

    Args:
      guess: the two digits of the attempt.
      truth: the two right digits.
    """
    return ", ".join(f"part {i + 1} is {compare_part(g, t)}" for i, (g, t) in enumerate(zip(guess, truth, strict=True)))


def false_feedback(guess: Parts, draw: int) -> str:
    """Criticism of a right attempt that calls one of its digits too low or too high.

    Args:
      guess: the two digits of the attempt, which are right.
      draw: any whole number from 0; it chooses the digit and, where both are possible, what it is called.
    """
    part, claimed = draw % 2, list(guess)
    # The claimed digit is one that exists: nothing is below 0 or above 9.
    rise = guess[part] == 0 or (guess[part] < 9 and draw // 2 % 2 == 0)
    claimed[part] += 1 if rise else -1
    return part_feedback(guess, claimed)


def part_question(part: int) -> str:
    """The student's question for one part (1 or 2): "what is part 2?"."""
    return f"what is part {part}?"


def part_hint(part: int, truth: int) -> str:
    """The teacher's reply to `part_question`: a range that holds the true digit, "part 2 is from 7 to 9".

    Args:
      part: 1 or 2.
      truth: the true digit of that part.
    """
    low, high = next((low, high) for low, high in _RANGES if low <= truth <= high)
    return f"part {part} is from {low} to {high}"


def asked_part(utterance: str) -> int | None:
    """The part (1 or 2) that an utterance asks for; None if it is not exactly a `part_question`."""
    match = re.fullmatch(r"what is part ([12])\?", utterance)
    return int(match[1]) if match else None


def read_bounds(reply: str, guess: Parts | None, bounds: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Narrows the range of values still possible for each part by what a teacher's reply says.

    Args:
      reply: the teacher's utterance.
      guess: the attempt that the reply criticises, or None after a question.
      bounds: (lowest, highest) digit that is still possible, for each of the two parts.

    Returns:
      The new bounds in the same form. A reply that says nothing about a part, or contradicts what was known of it,
      leaves its bounds as they were.
    """
    narrowed = list(bounds)
    # Hints: "part 1 is from 3 to 6".
    for part_digit, low, high in re.findall(r"part ([12]) is from (\d) to (\d)", reply):
        index = int(part_digit) - 1
        narrowed[index] = (max(narrowed[index][0], int(low)), min(narrowed[index][1], int(high)))
    # Criticism of the latest attempt: "part 1 is too low".
    if guess is not None:
        for part_digit, word in re.findall(r"part ([12]) is (right|too low|too high)", reply):
            index = int(part_digit) - 1
            (low, high), digit = narrowed[index], guess[index]
            narrowed[index] = {
                "right": (digit, digit),
                "too low": (max(low, digit + 1), high),
                "too high": (low, min(high, digit - 1)),
            }[word]
    # Contradictory feedback (about another problem, or a teacher's slip) leaves what was known before.
    return [new if 0 <= new[0] <= new[1] <= 9 else old for new, old in zip(narrowed, bounds, strict=True)]
