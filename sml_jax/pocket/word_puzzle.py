"""The pocket word puzzle: find a word of two letters, as in Wordle.

The letters are digits, the only ones that a student of the pocket world can utter. The statement tells the alphabet:
"part 1 is from 3 to 7, part 2 is from 3 to 7". After a guess the game says of each of its letters in turn: "part 1 is
right"; or, where the letter stands at the other place of the word, what that place holds ("part 2 is from 4 to 4"); or
"part 1 got an error", where the word has no such letter (more than the guess has shown). A guess that was made before
is answered with the letters that are still possible at each place, from the first to the last of them, and so is a
question for one part.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from sml_jax.pocket import language
from sml_jax.pocket.games import GameTask, read_answer
from sml_jax.pocket.language import Parts
from sml_jax.tasks import Problem, Verdict

ALPHABET = 5  # letters
Mark = Literal["right", "elsewhere", "absent"]


def marks(guess: Sequence[int], word: Sequence[int]) -> list[Mark]:
    """Wordle's mark of each letter of a guess: each letter of the word is used up by one letter of the guess.

    Args:
      guess, word: letters, as many in both.

    Returns:
      A mark for each letter of the guess: letters at their right place come first, then the others from the left.
    """
    found: list[Mark] = ["right" if g == w else "absent" for g, w in zip(guess, word, strict=True)]
    left = Counter(w for g, w in zip(guess, word, strict=True) if g != w)
    for place, letter in enumerate(guess):
        if found[place] != "right" and left[letter]:
            left[letter] -= 1
            found[place] = "elsewhere"
    return found


class WordGame:
    """A game of the word puzzle. Implements `Game`.

    Args:
      word: to be found.
      alphabet: the first and the last letter that a word may have.

    Attributes:
      possible: for each place, the letters that no reply has ruled out yet.
    """

    def __init__(self, word: Parts, alphabet: tuple[int, int]):
        self.word = word
        self.possible = [set(range(alphabet[0], alphabet[1] + 1)) for _ in word]
        self._tried: set[Parts] = set()
        self._reply = language.NO_ANSWER

    def move(self, utterance: str) -> Verdict:
        """Takes the student's guess; see `Game`."""
        guess, asked = read_answer(utterance), language.asked_part(utterance)
        if guess is None:
            self._reply = language.NO_ANSWER if asked is None else self._still_possible(asked)
            return Verdict(False, False)
        if guess in self._tried:
            self._reply = ", ".join(map(self._still_possible, (1, 2)))
        else:
            self._tried.add(guess)
            self._reply = ", ".join(
                self._remark(guess, place, mark) for place, mark in enumerate(marks(guess, self.word))
            )
        return Verdict(guess == self.word, True)

    def reply(self, informed: bool = True) -> str:
        """The marks of the latest guess in the world's words, or what is still possible; see `Game`."""
        return self._reply if informed else language.RETRY

    def _still_possible(self, part: int) -> str:
        """The letters that a part (1 or 2) may still be, from the first to the last of them."""
        letters = self.possible[part - 1]
        return f"part {part} is from {min(letters)} to {max(letters)}"

    def _remark(self, guess: Parts, place: int, mark: Mark) -> str:
        """Says the mark of a letter, and rules out the letters that it excludes."""
        letter, other = guess[place], 1 - place
        if mark == "right":
            self.possible[place] &= {letter}
            return f"part {place + 1} is right"
        # In a word of two letters, elsewhere is the other place.
        self.possible[place] -= {letter}
        if mark == "elsewhere":
            self.possible[other] &= {letter}
            return f"part {other + 1} is from {letter} to {letter}"
        return f"part {place + 1} got an error"


class PocketWords(GameTask):
    """Word puzzles as a task. Arguments: see `GameTask`."""

    kind = "words"

    def _make(self, number: int, rng: random.Random) -> Problem:
        low = rng.randint(0, 10 - ALPHABET)
        high = low + ALPHABET - 1
        word = rng.randint(low, high), rng.randint(low, high)
        return Problem(
            id=f"{self.name}-{number}",
            question=f"part 1 is from {low} to {high}, part 2 is from {low} to {high}",
            answer=f"{word[0]}{word[1]}",
            domain=self.kind,
        )

    def begin(self, problem: Problem) -> WordGame:
        """The problem's game before the first guess."""
        low = int(problem.question.split("is from ")[1][0])
        return WordGame((int(problem.answer[0]), int(problem.answer[1])), (low, low + ALPHABET - 1))
