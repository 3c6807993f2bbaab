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
    """Stands in for a `dialogue.framing.Framing`: its methods return meaningless token ids, of assumed number.

    Attributes:
      opening: number of tokens that open either side's context, the problem and the teacher's knowledge included.
      around: number of tokens that a chat template adds around one utterance.
      tokenizer: always None.
    """

    opening: int
    around: int = UTTERANCE_MARGIN
    tokenizer: Any = None

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """A single made-up id, in place of the ids of the tokens that end a turn."""
        return (_ANY_TOKEN,)

    def student_opening(self, question: str) -> list[int]:
        """`opening` tokens, whatever the question is: they stand for what opens the student's context."""
        return [_ANY_TOKEN] * self.opening

    def student_hears(self, reply: Sequence[int]) -> list[int]:
        """What the student's context gets of the teacher's turn: `reply`, and then `around` more tokens."""
        return [*reply, *self._margin()]

    def teacher_opening(self, question: str, knowledge: str) -> list[int]:
        """`opening` tokens, whatever the arguments are: they stand for what opens the teacher's context."""
        return [_ANY_TOKEN] * self.opening

    def teacher_hears(self, said: Sequence[int]) -> list[int]:
        """What the teacher's context gets of the student's turn: its tokens `said`, and then `around` more tokens."""
        return [*said, *self._margin()]

    def teacher_reads(self, private: str, limit: int | None = None) -> list[int]:
        """`around` tokens in place of the `private` text of the teacher, none if it is empty. `limit` has no effect."""
        return self._margin() if private else []

    def teacher_begins(self) -> list[int]:
        """`around` tokens, in place of those that open the teacher's turn in its own context."""
        return self._margin()

    def teacher_ends(self) -> list[int]:
        """`around` tokens, in place of those that close the teacher's turn in its own context."""
        return self._margin()

    def asks_question(self) -> list[int]:
        """`around` tokens, in place of those that ask the question writer for a question."""
        return self._margin()

    def text(self, text: str) -> list[int]:
        """One meaningless token for each word of `text`."""
        return [_ANY_TOKEN] * len(text.split())

    # Sampled tokens pass through as they are, and none is ever turned into text.

    def utterance(self, tokens: Sequence[int]) -> str:
        """Raises NotImplementedError: a plan samples no text."""
        raise NotImplementedError("a stand-in says nothing")

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """A copy of the sampled tokens, all of which count as read by the other side."""
        return list(tokens)

    def feedback(self, tokens: Sequence[int]) -> list[int] | None:
        """A copy of the sampled tokens, all of which count as feedback; never None."""
        return list(tokens)

    def earlier_turn(self, tokens: Sequence[int]) -> tuple[int, list[int]] | None:
        """None: every turn stays as it is."""
        return None

    def suppressed_ids(self) -> tuple[int, ...]:
        """An empty tuple: no token is kept from being sampled."""
        return ()

    def _margin(self) -> list[int]:
        """`around` tokens, in place of what a chat template puts around an utterance."""
        return [_ANY_TOKEN] * self.around


@dataclass(frozen=True)
class AssumedTask:
    """Stands in for a `tasks.problems.types.Task`: it has one problem, whose texts mean nothing.

    Attributes:
      name: what the plan calls the task.
    """

    name: str = "the task"

    def problems(self, split: str) -> Sequence[Problem]:
        """The same single problem for every split, in a list."""
        return [Problem("assumed", "a problem", "an answer")]

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Raises NotImplementedError: a plan samples no answers, so nothing is verified."""
        raise NotImplementedError("a stand-in judges nothing")

    def static_knowledge(self, problem: Problem) -> str:
        """A short text. Its length has no effect: `AssumedFraming.opening` includes the teacher's knowledge."""
        return "the answer"

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """An empty text: the assumed lengths include what a verdict tells the teacher."""
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """Raises NotImplementedError: a plan samples no text."""
        raise NotImplementedError("a stand-in says nothing")

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Raises NotImplementedError: a plan samples no text."""
        raise NotImplementedError("a stand-in says nothing")
