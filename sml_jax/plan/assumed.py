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
        """One token id, in place of the tokens that end a turn."""
        return (_ANY_TOKEN,)

    def student_opening(self, question: str) -> list[int]:
        """The tokens that open the student's context: `opening` of them."""
        return [_ANY_TOKEN] * self.opening

    def student_hears(self, reply: Sequence[int]) -> list[int]:
        """The teacher's reply with `around` tokens."""
        return [*reply, *self._margin()]

    def teacher_opening(self, question: str, knowledge: str) -> list[int]:
        """The tokens that open the teacher's context: `opening` of them."""
        return [_ANY_TOKEN] * self.opening

    def teacher_hears(self, said: Sequence[int]) -> list[int]:
        """The student's utterance with `around` tokens."""
        return [*said, *self._margin()]

    def teacher_reads(self, private: str, limit: int | None = None) -> list[int]:
        """Tokens around private knowledge, `around` of them; none if there is no knowledge."""
        return self._margin() if private else []

    def teacher_begins(self) -> list[int]:
        """Tokens that open a teacher's turn in its context: `around` of them."""
        return self._margin()

    def teacher_ends(self) -> list[int]:
        """Tokens that close a teacher's turn in its context: `around` of them."""
        return self._margin()

    def asks_question(self) -> list[int]:
        """Tokens that ask the question writer for a question: `around` of them."""
        return self._margin()

    def text(self, text: str) -> list[int]:
        """A token for each word."""
        return [_ANY_TOKEN] * len(text.split())

    # Sampled tokens pass through as they are, and none is ever turned into text.

    def utterance(self, tokens: Sequence[int]) -> str:
        """Raises NotImplementedError: a plan samples no text."""
        raise NotImplementedError("a stand-in says nothing")

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """The tokens themselves."""
        return list(tokens)

    def feedback(self, tokens: Sequence[int]) -> list[int] | None:
        """The tokens themselves."""
        return list(tokens)

    def suppressed_ids(self) -> tuple[int, ...]:
        """An empty tuple: nothing is suppressed."""
        return ()

    def _margin(self) -> list[int]:
        """`around` tokens, in place of what a chat template puts around an utterance."""
        return [_ANY_TOKEN] * self.around


@dataclass(frozen=True)
class AssumedTask:
    """A `tasks.problems.types.Task` of one problem, whose texts mean nothing."""

    name: str = "the task"

    def problems(self, split: str) -> Sequence[Problem]:
        """One problem, in every split."""
        return [Problem("assumed", "a problem", "an answer")]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Raises NotImplementedError: a plan samples no answers, so nothing is verified."""
        raise NotImplementedError("a stand-in judges nothing")

    def static_knowledge(self, problem: Problem) -> str:
        """A short text. It does not count: the assumed opening includes the teacher's knowledge."""
        return "the answer"

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """An empty text: what a verdict tells the teacher is part of the assumed lengths."""
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """Raises NotImplementedError: a plan samples no text."""
        raise NotImplementedError("a stand-in says nothing")

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Raises NotImplementedError: a plan samples no text."""
        raise NotImplementedError("a stand-in says nothing")
