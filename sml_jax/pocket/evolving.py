"""Evolving goals: after a known turn the problem changes, and the student has to solve the new one.

The first paper (arXiv 2602.16488) names this as future work. The teacher's reply to the student's turn number
`change_turn` is the statement of another problem of the same task; from the next turn on that one counts. A correct
answer to the first problem ends nothing: the dialogue is solved by the answer to the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sml_jax.common.errors import UserError
from sml_jax.pocket import language
from sml_jax.pocket.world import PocketTask
from sml_jax.tasks import Problem, Turn, Verdict
from sml_jax.tasks.problems.environment import game_after

FIRST_GOAL = "the first goal is reached"  # the detail of a verdict on a right answer to the first problem


class EvolvingGame:
    """Two problems of which the second takes the first one's place. Implements `Game`.

    Args:
      task: judges the answers and criticises them.
      goals: the first problem and the second.
      change_turn: the number of the student's turn, from 1, to which the reply is the second problem's statement.
    """

    def __init__(self, task: PocketTask, goals: tuple[Problem, Problem], change_turn: int):
        self._task, self._goals, self._change_turn = task, goals, change_turn
        self._turn, self._said = 0, ""
        self._verdict = Verdict(False, False)

    @property
    def goal(self) -> Problem:
        """The problem that the student's latest turn is judged by."""
        return self._goals[self._turn > self._change_turn]

    def move(self, utterance: str) -> Verdict:
        """Judges the student's next turn by the present goal; see `Game`. Only the second goal makes it correct."""
        self._turn, self._said = self._turn + 1, utterance
        (self._verdict,) = self._task.verify([(self.goal, utterance)])
        if self._turn > self._change_turn:
            return self._verdict
        return Verdict(False, self._verdict.attempted, FIRST_GOAL if self._verdict.correct else self._verdict.detail)

    def reply(self, informed: bool = True) -> str:
        """The scripted teacher's criticism by the present goal, or the new problem's statement; see `Game`."""
        if self._turn == self._change_turn:
            return self._goals[1].question
        if not informed:
            return language.RETRY
        conversation = [Turn("teacher", self.goal.question), Turn("student", self._said)]
        return self._task.reply(self.goal, conversation, self._verdict)


class Evolving:
    """A task of the pocket world whose problems change in the course of a dialogue. Implements `Environment`.

    Each problem of the task is followed by the next one of its split.

    Args:
      task: has the problems. It must be fully specified.
      change_turn: the number of the student's turn, from 1, to which the reply is the new problem's statement.

    Raises:
      UserError: `task` is underspecified, or `change_turn` is below 1.
    """

    def __init__(self, task: PocketTask, change_turn: int = 2):
        if task.underspecified:
            raise UserError(f"evolving: the problems of {task.name} lack a fact: give a task that is fully specified")
        if change_turn < 1:
            raise UserError(f"evolving: change_turn is {change_turn}; give at least 1")
        self.task, self.change_turn = task, change_turn
        self._goals: dict[str, tuple[Problem, Problem]] = {}  # by problem id
        self._problems = cache(self._pair)

    @property
    def name(self) -> str:
        """The task's name with "_evolving" at its end."""
        return f"{self.task.name}_evolving"

    def problems(self, split: str) -> Sequence[Problem]:
        """The problems of a split; their `answer` is that of the second goal.

        Raises:
          UserError: there is no such split, or all its problems have the same answer.
        """
        return self._problems(split)

    def _pair(self, split: str) -> tuple[Problem, ...]:
        firsts = self.task.problems(split)
        problems = []
        for index, first in enumerate(firsts):
            # The next problem with another answer, so that the old answer never solves the new problem.
            followers = (firsts[(index + step) % len(firsts)] for step in range(1, len(firsts)))
            second = next((problem for problem in followers if problem.answer != first.answer), None)
            if second is None:
                raise UserError(f"{self.name}: all {split} problems have the same answer: give the task more of them")
            problem_id = f"{first.id}-then-{second.id}"
            self._goals[problem_id] = first, second
            problems.append(Problem(problem_id, first.question, second.answer, domain=first.domain))
        return tuple(problems)

    def begin(self, problem: Problem) -> EvolvingGame:
        """The game about a problem, before the student's first turn; see `Environment`."""
        return EvolvingGame(self.task, self._goals[problem.id], self.change_turn)

    def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """Judges n (problem, utterance), each as the first turn of its dialogue, in order."""
        return [self.begin(problem).move(utterance) for problem, utterance in items]

    def static_knowledge(self, problem: Problem) -> str:
        """What a teacher of the first problem knows from the start."""
        return self.task.static_knowledge(self._goals[problem.id][0])

    def dynamic_knowledge(self, problem: Problem, verdict: Verdict | None) -> str:
        """The verifier's words on the latest turn; "" before there is one."""
        return verdict.detail if verdict is not None else ""

    def reply(self, problem: Problem, conversation: Sequence[Turn], verdict: Verdict) -> str:
        """What the game says, played from the beginning of the conversation."""
        return game_after(self, problem, conversation)[0].reply()

    def gold_utterance(self, problem: Problem, turn: int) -> tuple[str, str]:
        """The right answer to the problem that counts at a turn; see `HasAnswerFormat`."""
        return self.task.gold_utterance(self._goals[problem.id][turn > self.change_turn], turn)

    def leaks(self, problem: Problem, teacher_text: str, public_text: str) -> bool:
        """Whether the teacher's text gives the answer to either of the two problems away."""
        return any(self.task.leaks(goal, teacher_text, public_text) for goal in self._goals[problem.id])
