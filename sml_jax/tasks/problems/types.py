"""What a task is: problems, verdicts on utterances, and what a teacher may know and say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from sml_jax.common.protocols import AttributeCheck

Role = Literal["teacher", "student"]


@dataclass(frozen=True)
class Verdict:
    """A verifier's judgement of one utterance.

    Attributes:
      correct: whether the utterance holds the correct answer.
      attempted: whether the utterance holds an answer at all; a question does not.
      detail: the verifier's output. A teacher may read it; the student is never shown it as it is.
    """

    correct: bool
    attempted: bool
    detail: str = ""


@dataclass(frozen=True)
class Problem:
    """A problem with its gold answer. It does not change while it is worked on.

    Attributes:
      id: unique in its task and split, and the same in every run.
      question: the teacher's first utterance.
      answer: the gold answer, which only the teacher and the verifier may read.
      shards: facts that `question` leaves out, to be told later; empty for a fully specified problem.
      domain: a label for reports, such as the subject.
      solution: a worked solution, as private as the answer; "" where the source has none.
      full: the complete statement of a problem with shards; "" where there is none.
    """

    id: str
    question: str
    answer: str
    shards: tuple[str, ...] = ()
    domain: str = ""
    solution: str = ""
    full: str = ""


@dataclass(frozen=True)
class Turn:
    """One utterance of a dialogue, as text."""

    role: Role
    text: str


@runtime_checkable
class Task(Protocol, metaclass=AttributeCheck):
    """Problems of one kind of answer, with all that this kind needs: a verifier, a leak test, a scripted teacher.

    Implementations are plain objects that know no model; wrappers that delegate by `__getattr__` conform too.
    """

    @property
    def name(self) -> str: ...

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of a split, "train" or "test", in the same order at each call."""
        ...

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges utterances.

        Args:
          items: n times (problem, the student's utterance). Any text gets a verdict.

        Returns:
          n verdicts, in order.
        """
        ...

    def static_knowledge(self, problem: Problem) -> str:
        """What only the teacher knows from the start, such as the answer; "" for nothing."""
        ...

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """What only the teacher learns before it speaks, such as the verifier's latest output; "" for nothing.

        Args:
          problem: of the dialogue.
          verdict: on the student's latest turn; None before there is one.
        """
        ...

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What a scripted teacher says next.

        Args:
          problem: of the dialogue.
          conversation: all turns so far; the last is the student's.
          verdict: on that turn.
        """
        ...

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether a text gives the problem's answer away before the student has found it. Total over texts.

        Args:
          problem: its answer must not be told.
          teacher_text: what the teacher is about to say.
          public_text: all that the student has read or written so far; what stands there is no longer a secret.
        """
        ...


@runtime_checkable
class RunsPrograms(Protocol, metaclass=AttributeCheck):
    """A task whose verifier runs programs that a model wrote."""

    def protection(self) -> str:
        """One line that names the sandbox which confines those programs on this machine, for the start of a run.

        Raises:
          UserError: this machine offers none that the task accepts.
        """
        ...
