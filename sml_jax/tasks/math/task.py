"""Mathematics as a task: problems whose answers `verify_math` judges, and a teacher that knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sml_jax.common.errors import UserError
from sml_jax.tasks.leaks import leaks
from sml_jax.tasks.math.verify import verify_math_many
from sml_jax.tasks.problems.types import Problem, Turn, Verdict

Knowledge = Literal["answer", "solution"]


class MathTask:
    """Problems of mathematics, judged by `verify_math`. Implements `Task`.

    Args:
      name: what reports call the task.
      problems: by split.
      knowledge: what the teacher knows from the start: the final "answer", or the whole "solution" (the answer alone
        for a problem that has no solution).

    Raises:
      UserError: `knowledge` is neither.
    """

    def __init__(self, name: str, problems: Mapping[str, Sequence[Problem]], knowledge: Knowledge = "answer") -> None:
        check_knowledge(knowledge)
        self._name, self._problems, self._knowledge = name, dict(problems), knowledge

    @property
    def name(self) -> str:
        """What reports call the task."""
        return self._name

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of a split.

        Raises:
          UserError: there is no such split, or nothing is in it.
        """
        return problems_of(self._name, self._problems, split)

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges one utterance for each problem with `verify_math`."""
        return verify_math_many([(problem.answer, utterance) for problem, utterance in items])

    def static_knowledge(self, problem: Problem) -> str:
        """The final answer in a sentence, with the worked solution before it where the task is to give that."""
        answer = f"the answer is {problem.answer}"
        if self._knowledge == "answer" or not problem.solution:
            return answer
        return f"a solution:\n{problem.solution}\n{answer}"

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """Nothing: the teacher knows the answer from the start."""
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """Says whether an answer was found and whether it was right, and nothing about the gold answer."""
        if verdict.correct:
            return "That is correct."
        if verdict.attempted:
            return "That is not correct. Check each step and try again."
        return 'I found no answer in that. End with "the answer is" and your answer.'

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether the teacher's text gives the gold answer away (see `tasks.leaks.leaks`)."""
        return leaks(problem.answer, teacher_text, public_text)


def check_knowledge(knowledge: str) -> None:
    """Checks the setting `knowledge` of a mathematics task.

    Raises:
      UserError: it is neither "answer" nor "solution".
    """
    if knowledge not in ("answer", "solution"):
        raise UserError(f'knowledge is "{knowledge}": give "answer" or "solution"')


def problems_of(name: str, problems: Mapping[str, Sequence[Problem]], split: str) -> Sequence[Problem]:
    """The problems of a split of the task called `name`.

    Raises:
      UserError: there is no such split, or nothing is in it.
    """
    if split not in problems:
        known = " or ".join(f'"{known}"' for known in problems)
        raise UserError(f'{name} has no split "{split}": ask for {known}')
    if not problems[split]:
        raise UserError(
            f"the {split} split of {name} is empty: give it a file whose rows the other split does not hold, or change "
            "test_fraction or the limits"
        )
    return problems[split]
