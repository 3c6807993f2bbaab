"""Teachers: who answers the student, and what they know. The control arms are teachers too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from sml_jax.engine.engine import Engine
from sml_jax.errors import UserError
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

Knowledge = Literal["own", "other", "none"]

ARMS = ("feedback", "retry", "self", "shuffled", "uninformed", "scripted")


@dataclass(frozen=True)
class Message:
    """What a language model in the teacher's seat has to say.

    Attributes:
      text: to the student.
      shard: the number of the shard that it reveals, 0 for none.
      whole: as it stands in the speaker's own context, if that is not what was sampled; "" for the text.
    """

    text: str
    shard: int = 0
    whole: str = ""


@dataclass(frozen=True)
class LanguageTeacher:
    """A language model in the teacher's seat. Its methods are what another role in that seat does otherwise.

    Attributes:
      engine: compiled kernels of its model. params: its parameters.
      knows: "own": the private knowledge of the problem at hand; "other": that of another problem (its feedback is then
        written for the wrong problem); "none": nothing but the conversation.
    """

    engine: Engine
    params: dict
    knows: Knowledge = "own"

    def turns(self, problem: Problem) -> int | None:
        """Student turns after which it has nothing more to say; None for no end of its own."""
        return None

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        """What it alone learns before it speaks. `revealed`: the shards that its messages have revealed so far."""
        return task.dynamic_knowledge(problem, verdict)

    def message(self, problem: Problem, marked: str, revealed: Sequence[int]) -> Message | None:
        """What it says by the text that it marked for the student; None if that cannot be said."""
        return Message(marked)

    def instead(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Message:
        """What stands in the place of a message that cannot be said."""
        return Message(redaction)


@runtime_checkable
class Script(Protocol):
    """A teacher that is no model: says a text that it can tell from the dialogue so far."""

    @property
    def guarded(self) -> bool:
        """Whether the leak guard reads what it says; for nothing where that is the problem's own statement."""
        ...

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What it says next. `conversation` ends with the student's turn that `verdict` judges."""
        ...

    def turns(self, problem: Problem) -> int | None:
        """Student turns after which it has nothing more to say; None for no end of its own."""
        ...


@dataclass(frozen=True)
class ScriptedTeacher:
    """The task's own scripted teacher."""

    guarded: ClassVar[bool] = True

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        return task.reply(problem, conversation, verdict)

    def turns(self, problem: Problem) -> int | None:
        return None


@dataclass(frozen=True)
class RetryTeacher:
    """Says only that an attempt was wrong, always in the same words."""

    text: str = "that is not right, try again"
    guarded: ClassVar[bool] = True

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        return self.text

    def turns(self, problem: Problem) -> int | None:
        return None


Teacher = LanguageTeacher | Script


def teacher_for_arm(arm: str, engine: Engine, teacher_params: dict, student_params: dict, retry_text: str) -> Teacher:
    """The teacher of a control arm (arXiv 2606.30774).

    Args:
      arm: "feedback": the frozen teacher with its private knowledge; "retry": told only to try again; "self": the
        student itself, uninformed; "shuffled": feedback written for another problem; "uninformed": the frozen teacher
        without private knowledge; "scripted": the task's scripted teacher.
      engine: compiled kernels of the language models. teacher_params: the frozen teacher's. student_params: the
        student's at this moment. retry_text: what the retry arm says.
    """
    teachers: dict[str, Teacher] = {
        "feedback": LanguageTeacher(engine, teacher_params),
        "retry": RetryTeacher(retry_text),
        "self": LanguageTeacher(engine, student_params, "none"),
        "shuffled": LanguageTeacher(engine, teacher_params, "other"),
        "uninformed": LanguageTeacher(engine, teacher_params, "none"),
        "scripted": ScriptedTeacher(),
    }
    check_arms([arm])
    return teachers[arm]


def check_arms(arms: Sequence[str], where: str = "arms") -> None:
    """Raises UserError, which names `where` they stand, unless each is one of `ARMS`, once, and there is one."""
    known = ", ".join(ARMS)
    if not arms:
        raise UserError(f"{where}: no arms are given; take some of {known}")
    for arm in arms:
        if arm not in ARMS:
            raise UserError(f"{where}: there is no arm {arm!r}; take some of {known}")
    if len(set(arms)) < len(arms):
        raise UserError(f"{where}: an arm stands twice in {tuple(arms)}: give each once")
