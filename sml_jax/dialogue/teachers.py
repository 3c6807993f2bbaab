"""The arms that recipes name: the paper's teacher, the control arms beside it, and teachers of one's own.

References:
  arXiv 2606.30774: the control arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sml_jax.common.errors import UserError, at_least
from sml_jax.dialogue.challenge import Doubt, Misleading
from sml_jax.dialogue.game_teacher import Play
from sml_jax.dialogue.language_teacher import LanguageTeacher
from sml_jax.dialogue.remote_teacher import Remote
from sml_jax.dialogue.script_teacher import Function, Script
from sml_jax.dialogue.self_critique import SelfCritique
from sml_jax.dialogue.teacher import Knowledge, RolloutSetup, Teacher, TeacherSpec
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

__all__ = [
    "Doubt",
    "Feedback",
    "Function",
    "LanguageTeacher",
    "Misleading",
    "Play",
    "Remote",
    "Retry",
    "Script",
    "Scripted",
    "Self",
    "SelfCritique",
    "Shuffled",
    "Uninformed",
    "check_arms",
]


# Language models in the teacher's seat. They differ in whose parameters they have and what they know.


@dataclass(frozen=True)
class Feedback:
    """The paper's teacher: the frozen initial student, which reads the private knowledge of the problem at hand."""

    name: str = "feedback"
    runs_model: ClassVar[bool] = True

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher: the initial student's model, which knows the problem at hand."""
        return LanguageTeacher(setup.engine, setup.initial_params).make(setup)


@dataclass(frozen=True)
class Shuffled:
    """Control arm: the frozen initial student writes feedback for another problem, whose private knowledge it reads."""

    name: str = "shuffled"
    runs_model: ClassVar[bool] = True

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher: the initial student's model, which knows another problem."""
        return LanguageTeacher(setup.engine, setup.initial_params, "other").make(setup)


@dataclass(frozen=True)
class Uninformed:
    """Control arm: the frozen initial student answers without private knowledge."""

    name: str = "uninformed"
    runs_model: ClassVar[bool] = True

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher: the initial student's model, which knows no problem's private knowledge."""
        return LanguageTeacher(setup.engine, setup.initial_params, "none").make(setup)


@dataclass(frozen=True)
class Self:
    """Control arm: the student is its own teacher, with its present parameters and without private knowledge."""

    name: str = "self"
    runs_model: ClassVar[bool] = True

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher: the student's model, which knows no problem's private knowledge."""
        return LanguageTeacher(setup.engine, setup.student_params, "none").make(setup)


# Programs in the teacher's seat.


@dataclass(frozen=True)
class Retry(Script):
    """Control arm: says that the attempt was wrong, always in the same words.

    Attributes:
      text: these words.
      name: the arm's name.

    Raises:
      UserError: `text` is empty.
    """

    text: str = "that is not right, try again"
    name: str = "retry"
    threads = 0  # nothing to wait for

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UserError("retry: text is empty: give what the arm retry says")

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """Always `text`."""
        return self.text


@dataclass(frozen=True)
class Scripted(Script):
    """The task's own scripted teacher, `Task.reply`.

    Attributes:
      name: the arm's name.
      threads: how many replies are made at once, see `Script`. The default 0 calls the task in the rollout's own
        thread; give a number for a task whose reply takes long, such as one that asks a remote endpoint.
      knows: "own", or "other" for the control arm beside it: the script then speaks about another problem. Give that
        arm another name, such as "shuffled".

    Raises:
      UserError: `threads` is negative, or `knows` is something else.
    """

    name: str = "scripted"
    threads: int = 0
    knows: Knowledge = "own"

    def __post_init__(self) -> None:
        at_least(self, threads=0)
        if self.knows not in ("own", "other"):
            raise UserError(
                f"{self.name}: knows is {self.knows!r}; a script speaks about its 'own' problem or an 'other'"
            )

    def reply(self, task: Task, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """The task's reply to the verdict."""
        return task.reply(problem, conversation, verdict)


def check_arms(arms: Sequence[TeacherSpec], where: str = "arms") -> None:
    """Checks that there is at least one arm, and that no two have the same name.

    Args:
      arms: the teachers.
      where: the setting that the error names, such as "experiment: teacher".

    Raises:
      UserError: there are none, or two share a name.
    """
    if not arms:
        raise UserError(f"{where}: no arms are given; take some, such as (@teachers.Feedback(), @teachers.Retry())")
    # Results are kept under these names.
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise UserError(f"{where}: an arm stands twice in {tuple(names)}: give each once, or a name of its own")
