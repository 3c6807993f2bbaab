"""A task whose problems a person may type in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sml_jax.tasks.leaks import leaks
from sml_jax.tasks.math.verify import verify_math
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

_TYPED = "typed"  # the domain of problems that were typed in


def typed_problem(number: int, text: str) -> Problem:
    """A problem from what a person typed.

    Args:
      number: of the problem, for its id.
      text: the question; or the question, " = " and its answer.
    """
    question, equals, answer = text.rpartition(" = ")
    if not equals:
        question, answer = text, ""
    return Problem(f"typed-{number}", question.strip(), answer.strip(), domain=_TYPED)


def is_judged(problem: Problem) -> bool:
    """Whether turns about the problem are judged: about a typed one only if its answer is known."""
    return problem.domain != _TYPED or bool(problem.answer)


@dataclass(frozen=True)
class TypedProblems:
    """A task and, beside its own problems, those that were typed in; their answers are read as mathematics.

    The methods are those of `Task`. Nothing solves or gives away a typed problem without an answer.

    Attributes:
      task: judges its own problems.
    """

    task: Task

    def __getattr__(self, name: str) -> Any:
        """What some tasks have in addition, such as the game of an environment, is the original task's."""
        if name.startswith("_") or name == "task":  # also asked for while a copy is made, before there is a task
            raise AttributeError(name)
        return getattr(self.task, name)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    def problems(self, split: str) -> Sequence[Problem]:
        """The task's own problems."""
        return self.task.problems(split)

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Verdicts on (problem, utterance) pairs, in order."""
        own_items = [item for item in items if item[0].domain != _TYPED]
        own_verdicts = iter(self.task.verify(own_items) if own_items else [])
        return [
            next(own_verdicts) if problem.domain != _TYPED else _verdict(problem, utterance)
            for problem, utterance in items
        ]

    def static_knowledge(self, problem: Problem) -> str:
        """What the teacher alone knows: of a typed problem its answer, "" if there is none."""
        if problem.domain != _TYPED:
            return self.task.static_knowledge(problem)
        return f"the final answer is {problem.answer}" if problem.answer else ""

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """What the teacher alone learns of a turn: of a typed problem the verifier's words on it."""
        if problem.domain != _TYPED:
            return self.task.dynamic_knowledge(problem, verdict)
        return verdict.detail if verdict is not None else ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """The task's scripted teacher."""
        return self.task.reply(problem, conversation, verdict)

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether the teacher's text gives the answer away."""
        if problem.domain != _TYPED:
            return self.task.leaks(problem, teacher_text, public_text)
        return bool(problem.answer) and leaks(problem.answer, teacher_text, public_text)


def _verdict(problem: Problem, utterance: str) -> Verdict:
    """The verdict on a turn about a typed problem."""
    return verify_math(problem.answer, utterance) if problem.answer else Verdict(False, False)
