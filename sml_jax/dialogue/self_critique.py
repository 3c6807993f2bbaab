"""The student in the teacher's seat, within its own context: it predicts the critique itself and goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sml_jax.dialogue.framing import around_reply
from sml_jax.dialogue.language_teacher import LanguageTeacher, ModelTeacher
from sml_jax.dialogue.teacher import Reply, Request, RolloutSetup, Teacher
from sml_jax.engine.turns import Utterance


@dataclass(frozen=True)
class SelfCritique:
    """An arm without a teacher: after each wrong turn the student writes the critique that it expects, and goes on.

    It has its present parameters and reads the public conversation alone, in the very tokens of its own context, where
    critique prediction (`learn.CritiquePrediction`) trains it to write what a teacher would say. The arm `Self` is
    another one: there the student is asked to teach, in a teacher's context.

    Its critiques are not guarded, for whatever they say is the student's own guess: a refusal would tell it that the
    guess was right.

    Attributes:
      name: the arm's name.

    References:
      Self-correction by predicted critiques: RL2F, arXiv 2602.16066.
    """

    name: str = "self_critique"
    runs_model: ClassVar[bool] = True

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher: the student's model in the student's context."""
        return StudentAsTeacher(LanguageTeacher(setup.engine, setup.student_params, "none"), setup)


class StudentAsTeacher(ModelTeacher):
    """The live teacher whose contexts are the student's, each with the opening of the teacher's next turn behind it."""

    guarded = False

    def __init__(self, role: LanguageTeacher, setup: RolloutSetup):
        super().__init__(role, setup)
        self._opening, _ = around_reply(setup.framing)

    def open(self, dialogue: int, row: int, context: Sequence[int]) -> None:
        """Gives the row to a new dialogue. What is read comes with the first request."""
        self._contexts.start(row, dialogue, [])

    def prefill(self, contexts: Mapping[int, Sequence[int]]) -> None:
        """Does nothing: the tokens that are offered are of the teacher's context, which it does not read."""

    def _context(self, request: Request) -> list[int]:
        """The student's context, up to where the teacher's reply begins."""
        return [*request.student_context, *self._opening]

    def _reply(self, request: Request, utterance: Utterance) -> Reply:
        """The sampled turn as the student reads it: nothing is marked in it, and nothing hidden."""
        public_tokens = tuple(self._framing.spoken(utterance.tokens))
        return Reply(self._framing.utterance(public_tokens), public_tokens, truncated=not utterance.ended)
