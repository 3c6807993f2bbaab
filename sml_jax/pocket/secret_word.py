"""The game of the secret word: the teacher has one word of a list in mind, and tells in plain English what it is like.

The statement lists words of several kinds ("dog, red, hammer, ..."); which of them is meant is drawn by the problem's
number, so nothing but the teacher's words can tell it. A reply after a wrong word names the kind of the secret word or
its first letter, and from the third on both: a reader who uses the replies needs two to three turns, whatever the words
are. One who is told only to try again finds it in as many turns as there are words, at worst.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache

from sml_jax.common.errors import UserError
from sml_jax.pocket.word_kinds import TEST_KINDS, TRAIN_KINDS
from sml_jax.tasks import Problem, Turn, Verdict

KIND_HINTS = (
    "No. My word is {kind}.",
    "That is wrong. Think of {kind}.",
    "Not that one. The word that I mean is {kind}.",
)
LETTER_HINTS = (
    "No. My word begins with the letter {letter}.",
    "That is wrong. The first letter of my word is {letter}.",
    "Not that one. The word that I mean starts with {letter}.",
)
FULL_HINTS = (
    "No. My word is {kind} and begins with the letter {letter}.",
    "That is wrong. Think of {kind} that starts with {letter}.",
    "Not that one. The word that I mean is {kind}, and its first letter is {letter}.",
)
TRY_AGAIN = "That is not right. Try again."
DEMONSTRATED_TURNS = 4
NO_ANSWER = "Please choose one word from the list."


class SecretWord:
    """Secret words as a task. Implements `Task`.

    Args:
      kinds_listed: how many kinds the words of a list are of.
      words_of_a_kind: how many words of each kind a list has.
      train_size, test_size: how many problems each split has.

    Raises:
      UserError: a number is below 1, or there are not as many kinds or words.
    """

    name = "secret_word"

    def __init__(
        self, kinds_listed: int = 4, words_of_a_kind: int = 3, train_size: int = 10_000, test_size: int = 1_000
    ):
        self._kinds_listed, self._words_of_a_kind = kinds_listed, words_of_a_kind
        self._sizes = {"train": train_size, "test": test_size}
        settings = {"kinds_listed": kinds_listed, "words_of_a_kind": words_of_a_kind}
        for setting, value in {**settings, "train_size": train_size, "test_size": test_size}.items():
            if value < 1:
                raise UserError(f"{self.name}: {setting} is {value}; give at least 1")
        most_kinds = min(len(TRAIN_KINDS), len(TEST_KINDS))
        if kinds_listed > most_kinds:
            raise UserError(f"{self.name}: kinds_listed is {kinds_listed}; there are {most_kinds} kinds")
        if kinds_listed * words_of_a_kind < DEMONSTRATED_TURNS:
            raise UserError(f"{self.name}: a list has {kinds_listed * words_of_a_kind} words; give 4 or more")
        most_words = min(len(words) for kinds in (TRAIN_KINDS, TEST_KINDS) for words in kinds.values())
        if words_of_a_kind > most_words:
            raise UserError(
                f"{self.name}: words_of_a_kind is {words_of_a_kind}; the smallest kind has {most_words} words"
            )
        self._problems = cache(self._draw)

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of the split "train" or "test": always the same ones in the same order.

        Raises:
          UserError: there is no such split.
        """
        return self._problems(split)

    def _draw(self, split: str) -> tuple[Problem, ...]:
        if split not in self._sizes:
            raise UserError(f'{self.name}: there is no split {split!r}; take "train" or "test"')
        kinds = TRAIN_KINDS if split == "train" else TEST_KINDS
        return tuple(self._make(split, number, kinds) for number in range(self._sizes[split]))

    def _make(self, split: str, number: int, kinds: Mapping[str, tuple[str, ...]]) -> Problem:
        """Makes the problem of a number: a list in random order, and the word of it that is meant."""
        rng = random.Random(f"{self.name} {split} {number}")
        listed_kinds = rng.sample(sorted(kinds), self._kinds_listed)
        words = [word for kind in listed_kinds for word in rng.sample(kinds[kind], self._words_of_a_kind)]
        rng.shuffle(words)
        secret = rng.choice(words)
        return Problem(
            id=f"{self.name}-{split}-{number}",
            question=f"Guess my secret word. Choose one word from this list: {', '.join(words)}.",
            answer=secret,
            domain=next(kind for kind in listed_kinds if secret in kinds[kind]),
        )

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges utterances: the one word of the list that an utterance names is its answer.

        Naming no word of the list is no attempt, and neither is naming several: a list of all words answers nothing.
        """
        return [self._judge(problem, utterance) for problem, utterance in items]

    def _judge(self, problem: Problem, utterance: str) -> Verdict:
        spoken = set(re.findall(r"[a-z]+", utterance.casefold()))
        named = [word for word in listed_words(problem) if word.casefold() in spoken]
        if len(named) != 1:
            return Verdict(False, False)
        return Verdict(named[0] == problem.answer, True)

    def static_knowledge(self, problem: Problem) -> str:
        """The secret word and its kind, for a teacher that is a language model."""
        return f"the secret word is {problem.answer}, {problem.domain}"

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """Nothing: the secret word says all."""
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """The scripted teacher: a true hint in one of several wordings, drawn by the problem's number and the turn.

        The first hint after a wrong word tells the kind or the first letter, the second the other of them, and every
        later one both.
        """
        if not verdict.attempted:
            return NO_ANSWER
        student_turns = [turn for turn in conversation if turn.role == "student"]
        rng = random.Random(problem.id)
        order = rng.choice(((KIND_HINTS, LETTER_HINTS), (LETTER_HINTS, KIND_HINTS)))
        hints = FULL_HINTS if len(student_turns) > len(order) else order[len(student_turns) - 1]
        wording = random.Random(f"{problem.id} {len(student_turns)}").choice(hints)
        return wording.format(kind=problem.domain, letter=problem.answer[0].upper())

    def demonstration(self, problem: Problem) -> tuple[Turn, ...]:
        """Four different words of the list, each answered with a request to try again; see `HasDemonstrations`.

        They are drawn without regard to the secret word, and no hint is given. So they show the form of an answer, and
        that no word is said twice, which is the best that anybody can do without feedback.
        """
        turns = [Turn("teacher", problem.question)]
        for guess in random.Random(f"{problem.id} shown").sample(listed_words(problem), DEMONSTRATED_TURNS):
            turns += [Turn("student", guess), Turn("teacher", TRY_AGAIN)]
        return tuple(turns[:-1])

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether the teacher says the secret word itself, which the student has read in the list but not as such."""
        return re.search(rf"\b{re.escape(problem.answer)}\b", teacher_text, re.IGNORECASE) is not None


def listed_words(problem: Problem) -> list[str]:
    """The words of a problem's list, in its order."""
    return problem.question.rsplit(": ", 1)[1].rstrip(".").split(", ")
