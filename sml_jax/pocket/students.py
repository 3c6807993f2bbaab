"""Scripted students, the authors of the base model's text: mostly bad habits, now and then a good one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sml_jax.pocket import language
from sml_jax.pocket.language import Parts
from sml_jax.pocket.world import PocketTask
from sml_jax.tasks.problems.types import Problem, Turn

Habit = Literal["listens", "repeats", "ignores"]


@dataclass(frozen=True)
class Habits:
    """How often each habit occurs in the base model's text, and what its students can do.

    Attributes:
      listens: share of students that use feedback; repeats: that mostly say the same again; the rest guess afresh.
      easy: how often a guess has the easy part right. hard: the other part (a small model cannot learn it, however).
      curious: share of students that ask now and then. asks: how often those do; the others ask a tenth as often.
      asks_secret: how often a student opens an underspecified problem by asking for the missing fact.
    """

    listens: float = 0.2
    repeats: float = 0.5
    easy: float = 0.85
    hard: float = 0.3
    curious: float = 0.15
    asks: float = 0.3
    asks_secret: float = 0.3


class ScriptedStudent:
    """One student in one dialogue: draws its habit once, then speaks turn by turn."""

    def __init__(self, task: PocketTask, problem: Problem, habits: Habits, rng: random.Random):
        self._task, self._problem, self._rng, self._habits = task, problem, rng, habits
        draw = rng.random()
        self.habit: Habit = (
            "listens" if draw < habits.listens else "repeats" if draw < habits.listens + habits.repeats else "ignores"
        )
        self._asks = habits.asks * (1.0 if rng.random() < habits.curious else 0.1)
        self._bounds = [(0, 9), (0, 9)]
        self._last: Parts | None = None

    def speak(self, conversation: Sequence[Turn]) -> str:
        """The next utterance. `conversation` ends with the teacher's turn."""
        first = len(conversation) == 1
        if first and self._problem.shards and self._rng.random() < self._habits.asks_secret:
            return language.ASK_SECRET
        attempted = len(conversation) > 2 and self._task.guessed(conversation[-2].text)
        if not first:
            self._bounds = language.read_bounds(conversation[-1].text, attempted or None, self._bounds)
        if self._rng.random() < self._asks:
            return language.part_question(self._part_to_ask())
        self._last = self._guess(conversation)
        return self._task.attempt(self._last)

    def _part_to_ask(self) -> int:
        """A part not yet known for one who listens, else any."""
        open_parts = [i + 1 for i, (low, high) in enumerate(self._bounds) if low < high]
        return self._rng.choice(open_parts if self.habit == "listens" and open_parts else [1, 2])

    def _guess(self, conversation: Sequence[Turn]) -> Parts:
        told = not self._problem.shards or any(
            self._problem.shards[0] in turn.text for turn in conversation if turn.role == "teacher"
        )
        if self.habit == "listens":
            parts = [self._ability(i, told, low, high) for i, (low, high) in enumerate(self._bounds)]
        elif self.habit == "repeats" and self._last is not None and self._rng.random() < 0.7:
            parts = list(self._last)
        else:
            parts = [self._ability(i, told, 0, 9) for i in range(2)]
        return parts[0], parts[1]

    def _ability(self, part: int, told: bool, low: int, high: int) -> int:
        """A guess of one part from `low` to `high`, right as often as the student can."""
        truth = self._task.truth(self._problem)[part]
        skill = self._habits.easy if part == self._task.easy_part else self._habits.hard
        # Once criticised, what is left is guessed: feedback, not skill, must lead to the answer.
        fresh = (low, high) == (0, 9)
        if told and fresh and self._rng.random() < skill:
            return truth
        return self._rng.randint(low, high)
