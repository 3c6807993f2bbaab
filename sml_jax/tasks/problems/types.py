"""What a task is: problems, verdicts on utterances, and what a teacher may know."""

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
      correct: the utterance holds the correct answer.
      attempted: the utterance holds an answer at all; a question does not.
      detail: what a teacher may read about it (the verifier's output), never shown to the student as it is.
    """

    correct: bool
    attempted: bool
    detail: str = ""


@dataclass(frozen=True)
class Problem:
    """A static problem.

    Attributes:
      id: unique in its task and split, stable between runs.
      question: the teacher's first utterance.
      answer: the gold answer, private to the teacher and the verifier.
      shards: facts that `question` leaves out; empty for a fully specified problem.
      domain: a label for reports.
      solution: a worked solution, as private as the answer; "" where the source has none.
      full: the fully specified statement of a problem with shards; "" where there is none.
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
        """The problems of `split` ("train" or "test"), in a fixed order."""
        ...

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges one utterance for each problem. Total: any text gets a Verdict."""
        ...

    def static_knowledge(self, problem: Problem) -> str:
        """What the teacher alone knows from the start, "" for nothing."""
        ...

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """What the teacher alone learns before it speaks: the verifier's output on the latest turn, "" for nothing."""
        ...

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What a scripted teacher says next. `conversation` ends with the student's turn that `verdict` judges."""
        ...

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether a text gives the problem's answer away before the student has found it. Total over texts.

        Args:
          problem: its answer must not be told.
          teacher_text: what the teacher is about to say.
          public_text: all that the student has read or written so far; what stands there is no secret any more.
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
