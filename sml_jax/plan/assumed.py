"""In place of a tokenizer and data that are not there: pieces of assumed length, so that contexts can be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sml_jax.tasks.problems.types import Problem, Turn, Verdict

# Tokens of a chat template and of a prompt's words around one utterance, on the large side.
AROUND = 24
_NOTHING = 0


@dataclass(frozen=True)
class AssumedFraming:
    """Contexts of tokens that say nothing: see `dialogue.framing.Framing`.

    Attributes:
      opening: tokens that open either side's context, the problem and the teacher's knowledge among them.
      around: tokens around an utterance.
      tokenizer: there is none.
    """

    opening: int
    around: int = AROUND
    tokenizer: Any = None

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return (_NOTHING,)

    def student_opening(self, question: str) -> list[int]:
        return [_NOTHING] * self.opening

    def student_hears(self, reply: Sequence[int]) -> list[int]:
        return [*reply, *self._around()]

    def teacher_opening(self, question: str, knowledge: str) -> list[int]:
        return [_NOTHING] * self.opening

    def teacher_hears(self, said: Sequence[int]) -> list[int]:
        return [*said, *self._around()]

    def teacher_reads(self, private: str, limit: int | None = None) -> list[int]:
        return self._around() if private else []

    def teacher_begins(self) -> list[int]:
        return self._around()

    def teacher_ends(self) -> list[int]:
        return self._around()

    def asks_question(self) -> list[int]:
        return self._around()

    def text(self, text: str) -> list[int]:
        return [_NOTHING] * len(text.split())

    def utterance(self, tokens: Sequence[int]) -> str:
        raise NotImplementedError("a stand-in says nothing")

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        return list(tokens)

    def feedback(self, tokens: Sequence[int]) -> list[int] | None:
        return list(tokens)

    def suppressed_ids(self) -> tuple[int, ...]:
        return ()

    def _around(self) -> list[int]:
        return [_NOTHING] * self.around


@dataclass(frozen=True)
class AssumedTask:
    """One problem of no text: see `tasks.types.Task`."""

    name: str = "the task"

    def problems(self, split: str) -> Sequence[Problem]:
        return [Problem("assumed", "a problem", "an answer")]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        raise NotImplementedError("a stand-in judges nothing")

    def static_knowledge(self, problem: Problem) -> str:
        return "the answer"

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        raise NotImplementedError("a stand-in says nothing")

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        raise NotImplementedError("a stand-in says nothing")
