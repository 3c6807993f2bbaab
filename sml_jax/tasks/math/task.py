"""Mathematics as a task: problems whose answers `verify_math` judges, and a teacher that knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sml_jax.common.errors import UserError
from sml_jax.tasks.leaks import leaks, one_step_in_dialogue
from sml_jax.tasks.math.verify import verify_math_many
from sml_jax.tasks.problems.types import Problem, Turn, Verdict

Knowledge = Literal["answer", "solution"]


class MathTask:
    """Mathematics problems, judged by `verify_math`. Implements `Task`.

    Args:
      name: what reports call the task.
      problems: by split.
      knowledge: what the teacher knows from the start: "answer" for the final answer alone, "solution" for the worked
        solution too, if the problem has one.
      unmarked: whether a value counts that the student does not mark as its answer (see `verify_math`).

    Raises:
      UserError: `knowledge` is neither of these.
    """

    def __init__(
        self,
        name: str,
        problems: Mapping[str, Sequence[Problem]],
        knowledge: Knowledge = "answer",
        unmarked: bool = True,
    ) -> None:
        check_knowledge(knowledge)
        self._unmarked = unmarked
        self._name, self._problems, self._knowledge = name, dict(problems), knowledge

    @property
    def name(self) -> str:
        """What reports call the task."""
        return self._name

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of a split, in a fixed order.

        Raises:
          UserError: there is no such split, or it is empty.
        """
        return problems_of(self._name, self._problems, split)

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges utterances with `verify_math`.

        Args:
          items: n times (problem, the student's utterance).

        Returns:
          n verdicts, in order.
        """
        return verify_math_many([(problem.answer, utterance) for problem, utterance in items], self._unmarked)

    def static_knowledge(self, problem: Problem) -> str:
        """The sentence "the answer is ...", after the worked solution if the task's `knowledge` is "solution"."""
        answer_sentence = f"the answer is {problem.answer}"
        if self._knowledge == "answer" or not problem.solution:
            return answer_sentence
        return f"a solution:\n{problem.solution}\n{answer_sentence}"

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """Always "": the teacher knows the answer from the start."""
        return ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What a scripted teacher says to the verdict: whether the last turn had an answer, and whether it was right.

        `problem` and `conversation` have no effect.
        """
        if verdict.correct:
            return "That is correct."
        if verdict.attempted:
            return "That is not correct. Check each step and try again."
        return 'I found no answer in that. End with "the answer is" and your answer.'

    def gold_utterance(self, problem: Problem, turn: int) -> tuple[str, str]:
        """The opening of the box that the prompts ask for, and the gold answer; see `HasAnswerFormat`."""
        return "\\boxed{", problem.answer

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether `teacher_text` gives the gold answer away and `public_text` does not (see `tasks.leaks.leaks`)."""
        return leaks(problem.answer, teacher_text, public_text)

    def one_step(self, problem: Problem, teacher_text: str, conversation: Sequence[Turn]) -> bool:
        """Whether the student is left one operation from the gold answer (see `tasks.leaks.one_step`)."""
        return one_step_in_dialogue(problem, teacher_text, conversation)


def check_knowledge(knowledge: str) -> None:
    """Checks the setting `knowledge` of a mathematics task.

    Raises:
      UserError: it is neither "answer" nor "solution".
    """
    if knowledge not in ("answer", "solution"):
        raise UserError(f'knowledge is "{knowledge}": give "answer" or "solution"')


def problems_of(name: str, problems: Mapping[str, Sequence[Problem]], split: str) -> Sequence[Problem]:
    """Returns `problems[split]`.

    Args:
      name: of the task, for the error.
      problems: by split.
      split: name of the split that is asked for.

    Raises:
      UserError: there is no such split, or it is empty.
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
