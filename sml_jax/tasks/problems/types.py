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
      correct: whether the utterance gives the correct answer.
      attempted: whether the utterance gives any answer; False for a question, for example.
      detail: the verifier's output in words. A teacher may read it; the student is never shown it directly.
    """

    correct: bool
    attempted: bool
    detail: str = ""


@dataclass(frozen=True)
class Problem:
    """A problem with its gold answer.

    Attributes:
      id: unique in its task and split, and the same in every run.
      question: what the student is asked; the teacher's first utterance.
      answer: the gold answer, which only the teacher and the verifier may read.
      shards: facts that `question` lacks and the teacher tells later; () for a fully specified problem.
      domain: a label for reports, such as the subject.
      solution: a worked solution, as private as the answer; "" where the source has none.
      full: the complete statement of a problem with shards; "" if there is none.
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
    """One utterance of a dialogue.

    Attributes:
      role: who speaks, "teacher" or "student".
      text: what is said.
    """

    role: Role
    text: str


@runtime_checkable
class Task(Protocol, metaclass=AttributeCheck):
    """Problems with one kind of answer, and what this kind needs: a verifier, a leak test, a scripted teacher.

    Implementations know nothing of models. A wrapper that passes attributes on by `__getattr__` is an implementation
    too.
    """

    @property
    def name(self) -> str:
        """What reports call the task."""
        ...

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of a split, such as "train" or "test", in the same order at each call."""
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
        """The private text that the teacher knows from the start, such as the answer; "" for none."""
        ...

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """The private text that the teacher gets before each of its turns, such as the verifier's output; "" for none.

        Args:
          problem: what the dialogue is about.
          verdict: on the student's latest turn; None before there is one.
        """
        ...

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What a scripted teacher says next.

        Args:
          problem: what the dialogue is about.
          conversation: all turns so far; the last is the student's.
          verdict: on the student's last turn.
        """
        ...

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether a text gives the problem's answer away before the student has found it. No text raises an error.

        Args:
          problem: its answer must not be told.
          teacher_text: what the teacher is about to say.
          public_text: all that the student has read or written so far; repeating what is in it gives nothing away.
        """
        ...


@runtime_checkable
class HasOneStepTest(Protocol, metaclass=AttributeCheck):
    """A task that can tell whether a teacher's turn leaves the student one operation from the answer."""

    def one_step(self, problem: Problem, teacher_text: str, conversation: Sequence[Turn]) -> bool:
        """Whether the answer is one operation on the student's latest and the teacher's number. Total over texts.

        Args:
          problem: of the dialogue.
          teacher_text: what the teacher is about to say.
          conversation: all turns so far; the last is the student's.
        """
        ...


@runtime_checkable
class HasAnswerFormat(Protocol, metaclass=AttributeCheck):
    """A task whose gold answers can be written as a student would say them, so that their likelihood is measured."""

    def gold_utterance(self, problem: Problem, turn: int) -> tuple[str, str]:
        """The gold answer as an utterance in two pieces: the answer format, such as "my answer is ", and the answer.

        Args:
          problem: what the dialogue is about.
          turn: the number of the student's turn, from 1, for tasks whose goal changes.
        """
        ...


@runtime_checkable
class HasFalseReply(Protocol, metaclass=AttributeCheck):
    """A task that says itself what wrong feedback on a correct turn is."""

    def false_reply(self, problem: Problem, conversation: Sequence[Turn]) -> str:
        """Feedback in the words of the scripted teacher that is not true.

        Args:
          problem: what the dialogue is about.
          conversation: all turns so far; the last is the student's and correct.
        """
        ...


def leaves_one_step(task: Task, problem: Problem, teacher_text: str, conversation: Sequence[Turn]) -> bool:
    """`HasOneStepTest.one_step` of a task that has it; False for any other task."""
    return isinstance(task, HasOneStepTest) and task.one_step(problem, teacher_text, conversation)


@runtime_checkable
class RunsPrograms(Protocol, metaclass=AttributeCheck):
    """A task whose verifier runs programs that a model wrote.

    It has one method more than other tasks, `protection`, which names the sandbox of these programs for the log and
    raises a UserError if there is none.
    """

    def protection(self) -> str:
        """One line of text that names the sandbox in which these programs run on this machine, to be logged once.

        Raises:
          UserError: no sandbox that the task accepts works on this machine.
        """
        ...
