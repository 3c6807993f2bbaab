"""Scripted students, who write the student's side of the base model's text.

Most have a bad habit (they repeat themselves or ignore feedback), so that the base model has something to learn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sml_jax.pocket import language
from sml_jax.pocket.language import Parts
from sml_jax.pocket.world import PocketTask
from sml_jax.tasks import Problem, Turn

Habit = Literal["listens", "repeats", "ignores"]


@dataclass(frozen=True)
class Habits:
    """How often each habit occurs among the scripted students, and how well they guess.

    Attributes:
      listens: fraction of students that use feedback.
      repeats: fraction that mostly repeat their last attempt. The remaining students guess afresh at each turn.
      easy: probability that a first guess has the easy part right.
      hard: the same for the hard part, which a small model cannot learn from this text.
      curious: fraction of students that ask questions often.
      asks: probability that a turn of a curious student is a question; the other students ask a tenth as often.
      asks_secret: probability that a student opens an underspecified problem by asking for the missing fact.
    """

    listens: float = 0.2
    repeats: float = 0.5
    easy: float = 0.85
    hard: float = 0.3
    curious: float = 0.15
    asks: float = 0.3
    asks_secret: float = 0.3


class ScriptedStudent:
    """A student of the pocket world that follows a script, for one dialogue.

    It draws its habit when it is made, and then speaks turn by turn.

    Args:
      task: tells the right answer and how an attempt is written.
      problem: what the dialogue is about.
      habits: the probabilities from which the habit is drawn.
      rng: source of all random choices; it is advanced.

    Attributes:
      habit: "listens", "repeats" or "ignores".
    """

    def __init__(self, task: PocketTask, problem: Problem, habits: Habits, rng: random.Random):
        self._task, self._problem, self._rng, self._habits = task, problem, rng, habits
        draw = rng.random()
        self.habit: Habit = (
            "listens" if draw < habits.listens else "repeats" if draw < habits.listens + habits.repeats else "ignores"
        )
        # The curious ask ten times as often as the rest.
        self._asks = habits.asks * (1.0 if rng.random() < habits.curious else 0.1)
        self._bounds = [(0, 9), (0, 9)]
        self._last: Parts | None = None

    def speak(self, conversation: Sequence[Turn]) -> str:
        """The student's next utterance: an attempt or a question.

        Args:
          conversation: all turns so far; the last is the teacher's.
        """
        is_first_turn = len(conversation) == 1
        if is_first_turn and self._problem.shards and self._rng.random() < self._habits.asks_secret:
            return language.ASK_SECRET
        # Every student hears the feedback; whether it uses what it heard is a matter of habit.
        if not is_first_turn:
            last_attempt = self._task.read_attempt(conversation[-2].text)
            self._bounds = language.read_bounds(conversation[-1].text, last_attempt, self._bounds)
        if self._rng.random() < self._asks:
            return language.part_question(self._part_to_ask())
        self._last = self._guess(conversation)
        return self._task.write_attempt(self._last)

    def _part_to_ask(self) -> int:
        """A student that listens asks for a part that it does not know yet, the others for either."""
        open_parts = [i + 1 for i, (low, high) in enumerate(self._bounds) if low < high]
        return self._rng.choice(open_parts if self.habit == "listens" and open_parts else [1, 2])

    def _guess(self, conversation: Sequence[Turn]) -> Parts:
        # Without the missing fact no skill helps.
        fact_known = not self._problem.shards or any(
            self._problem.shards[0] in turn.text for turn in conversation if turn.role == "teacher"
        )
        if self.habit == "listens":
            parts = [self._guess_part(i, fact_known, low, high) for i, (low, high) in enumerate(self._bounds)]
        # One that repeats itself still guesses afresh in three turns out of ten.
        elif self.habit == "repeats" and self._last is not None and self._rng.random() < 0.7:
            parts = list(self._last)
        else:
            parts = [self._guess_part(i, fact_known, 0, 9) for i in range(2)]
        return parts[0], parts[1]

    def _guess_part(self, part: int, fact_known: bool, low: int, high: int) -> int:
        """Guesses one digit from `low` to `high`: the true one with the student's skill, else a random one."""
        truth = self._task.truth(self._problem)[part]
        skill = self._habits.easy if part == self._task.easy_part else self._habits.hard
        # Once a part was criticised its digit is drawn at random: feedback, not skill, must lead to the answer.
        uncriticised = (low, high) == (0, 9)
        if fact_known and uncriticised and self._rng.random() < skill:
            return truth
        return self._rng.randint(low, high)
