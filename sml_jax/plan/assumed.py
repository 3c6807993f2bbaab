"""In place of a tokenizer and data that are not there: text of assumed length, so that contexts can be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sml_jax.tasks.problems.types import Problem, Turn, Verdict

UTTERANCE_MARGIN = 24  # tokens of a chat template and of a prompt's words around one utterance; rather too many
_ANY_TOKEN = 0


@dataclass(frozen=True)
class AssumedFraming:
    """A `dialogue.framing.Framing` whose pieces have assumed lengths and no meaning.

    Attributes:
      opening: tokens that open either side's context, with the problem and the teacher's knowledge.
      around: tokens around an utterance.
      tokenizer: always None.
    """

    opening: int
    around: int = UTTERANCE_MARGIN
    tokenizer: Any = None

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """One token that stands for every end of a turn."""
        return (_ANY_TOKEN,)

    def student_opening(self, question: str) -> list[int]:
        """The opening of the student's context, of the assumed length."""
        return [_ANY_TOKEN] * self.opening

    def student_hears(self, reply: Sequence[int]) -> list[int]:
        """The teacher's reply and what surrounds it."""
        return [*reply, *self._margin()]

    def teacher_opening(self, question: str, knowledge: str) -> list[int]:
        """The opening of the teacher's context, of the assumed length."""
        return [_ANY_TOKEN] * self.opening

    def teacher_hears(self, said: Sequence[int]) -> list[int]:
        """The student's utterance and what surrounds it."""
        return [*said, *self._margin()]

    def teacher_reads(self, private: str, limit: int | None = None) -> list[int]:
        """What surrounds private knowledge; nothing if there is none."""
        return self._margin() if private else []

    def teacher_begins(self) -> list[int]:
        """What comes before a teacher's turn."""
        return self._margin()

    def teacher_ends(self) -> list[int]:
        """What comes after a teacher's turn."""
        return self._margin()

    def asks_question(self) -> list[int]:
        """The request to the question writer."""
        return self._margin()

    def text(self, text: str) -> list[int]:
        """A token for each word."""
        return [_ANY_TOKEN] * len(text.split())

    # Sampled tokens pass through as they are, and none is ever turned into text.

    def utterance(self, tokens: Sequence[int]) -> str:
        """Never called: a plan samples nothing."""
        raise NotImplementedError("a stand-in says nothing")

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """The tokens themselves."""
        return list(tokens)

    def feedback(self, tokens: Sequence[int]) -> list[int] | None:
        """The tokens themselves."""
        return list(tokens)

    def suppressed_ids(self) -> tuple[int, ...]:
        """No tokens."""
        return ()

    def _margin(self) -> list[int]:
        """What surrounds an utterance, of the assumed length."""
        return [_ANY_TOKEN] * self.around


@dataclass(frozen=True)
class AssumedTask:
    """A `tasks.problems.types.Task` of one problem, whose texts mean nothing."""

    name: str = "the task"

    def problems(self, split: str) -> Sequence[Problem]:
        """One problem, in every split."""
        return [Problem("assumed", "a problem", "an answer")]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Never called: a plan verifies nothing."""
        raise NotImplementedError("a stand-in judges nothing")

    def static_knowledge(self, problem: Problem) -> str:
        """What a teacher knows of a problem; its length is part of the assumed opening."""
        return "the answer"

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """Nothing."""
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """Never called: a plan samples nothing."""
        raise NotImplementedError("a stand-in says nothing")

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Never called: a plan samples nothing."""
        raise NotImplementedError("a stand-in says nothing")
