"""What the games of the pocket world share: two-digit answers, the world's phrases, and a game that is played again.

A game is an environment (`sml_jax.tasks.problems.environment`). No recipe trains on one: they show whether what was
learnt from feedback about arithmetic is of use elsewhere. Students can utter digits and the world's phrases, and so all
games are played with these.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from functools import cache

from sml_jax.common.errors import UserError
from sml_jax.pocket import language
from sml_jax.pocket.language import Parts
from sml_jax.pocket.world import split_of
from sml_jax.tasks import Problem, Turn, Verdict
from sml_jax.tasks.leaks import leaks
from sml_jax.tasks.problems.environment import Game, game_after

FORMAT = "my answer is "


def write_answer(parts: Parts) -> str:
    """The utterance "my answer is 47" for the digits 4 and 7."""
    return f"{FORMAT}{parts[0]}{parts[1]}"


def read_answer(utterance: str) -> Parts | None:
    """The two digits of an utterance that is an answer and nothing else; None for any other utterance.

    Both of the world's ways to say two digits count, "my answer is 47" and "my code is 10*4+(x//7+7)%10": a statement
    that a student has never seen the like of does not say in which of them it should answer.
    """
    for form in (r"my answer is ([0-9])([0-9])", r"my code is 10\*([0-9])\+\(x//7\+([0-9])\)%10"):
        match = re.fullmatch(form, utterance)
        if match:
            return int(match[1]), int(match[2])
    return None


class GameTask:
    """Base of the pocket world's games. Implements `Task` and `Environment`.

    Subclasses draw the problems and begin the games.

    Args:
      train_size, test_size: how many problems each split has.

    Raises:
      UserError: a size is below 1.
    """

    kind = ""

    def __init__(self, train_size: int = 1_000, test_size: int = 256):
        self._sizes = {"train": train_size, "test": test_size}
        for split, size in self._sizes.items():
            if size < 1:
                raise UserError(f"{self.name}: {split}_size is {size}; give at least 1")
        self._problems = cache(self._draw)

    @property
    def name(self) -> str:
        """The task's name, such as "pocket_maze"."""
        return f"pocket_{self.kind}"

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of the split "train" or "test": always the same ones in the same order.

        Raises:
          UserError: there is no such split.
        """
        return self._problems(split)

    def _draw(self, split: str) -> tuple[Problem, ...]:
        """Makes problems of rising numbers, and keeps those whose number is of the split."""
        if split not in self._sizes:
            raise UserError(f'{self.name}: there is no split {split!r}; take "train" or "test"')
        problems: list[Problem] = []
        number = 0
        while len(problems) < self._sizes[split]:
            if split_of(number) == split:
                problems.append(self._make(number, random.Random(f"{self.kind} {number}")))
            number += 1
        return tuple(problems)

    def _make(self, number: int, rng: random.Random) -> Problem:
        """Makes the problem of a number; `rng` is seeded with it."""
        raise NotImplementedError

    def begin(self, problem: Problem) -> Game:
        """The game about a problem, before the student's first turn; see `Environment`."""
        raise NotImplementedError

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges n (problem, utterance), each as the first turn of its dialogue, in order."""
        return [self.begin(problem).move(utterance) for problem, utterance in items]

    def static_knowledge(self, problem: Problem) -> str:
        """The answer, for a teacher that is a language model."""
        return f"the answer is {problem.answer}"

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """What the game did with the student's latest turn; "" before there is one."""
        return verdict.detail if verdict is not None else ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What the game says, played from the beginning of the conversation."""
        return game_after(self, problem, conversation)[0].reply()

    def false_reply(self, problem: Problem, conversation: Sequence[Turn]) -> str:
        """Criticism of a correct answer that calls one of its digits wrong; see `HasFalseReply`."""
        parts = read_answer(conversation[-1].text)
        assert parts is not None
        return language.false_feedback(parts, zlib.crc32(f"{problem.id} {len(conversation)}".encode()))

    def gold_utterance(self, problem: Problem, turn: int) -> tuple[str, str]:
        """The answer format and the right answer; see `HasAnswerFormat`."""
        return FORMAT, problem.answer

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether the teacher's text gives the problem's answer away (see `tasks.leaks.leaks`)."""
        return leaks(problem.answer, teacher_text, public_text)
