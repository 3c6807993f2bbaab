"""Environments: tasks whose teacher side is a program that keeps state between the turns of a dialogue.

A verdict on a turn then depends on the turns before it: where a walker stands, which goal holds by now. A `Game` is
the state of one dialogue. It follows from the student's turns alone, so that whoever needs it plays them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from sml_jax.common.protocols import AttributeCheck
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict


@runtime_checkable
class Game(Protocol, metaclass=AttributeCheck):
    """The state of one dialogue with an environment. The same moves always lead to the same state."""

    def move(self, utterance: str) -> Verdict:
        """Takes the student's next turn and judges it.

        Args:
          utterance: any text; one that is no move leaves the state as it is.
        """
        ...

    def reply(self, informed: bool = True) -> str:
        """What the game says to the latest move.

        Args:
          informed: whether it tells what the student can learn from. Without it, the reply holds no more than the
            student must hear to go on, such as a new goal.
        """
        ...


@runtime_checkable
class Environment(Protocol, metaclass=AttributeCheck):
    """What a task has in addition where its teacher side is a program with state."""

    def begin(self, problem: Problem) -> Game:
        """The game about a problem, before the student's first turn."""
        ...


def game_after(environment: Environment, problem: Problem, turns: Sequence[Turn]) -> tuple[Game, Verdict | None]:
    """Plays a conversation's student turns from the beginning.

    Args:
      environment: makes the game.
      problem: what the conversation is about.
      turns: the conversation; the teacher's turns have no effect.

    Returns:
      The game after these turns, and the verdict on the last of the student's; None if there is none.
    """
    game, verdict = environment.begin(problem), None
    for turn in turns:
        if turn.role == "student":
            verdict = game.move(turn.text)
    return game, verdict


def verify_turns(task: Task, items: Sequence[tuple[Problem, Sequence[Turn]]]) -> Any:
    """Judges the last turns of conversations: an environment's in the light of those before it, any other's alone.

    Args:
      task: its verifier may raise anything.
      items: n times (problem, conversation); the last turn is the student's.

    Returns:
      n verdicts, in order; or whatever a verifier that is wrong returns in their place.
    """
    if not isinstance(task, Environment):
        return task.verify([(problem, turns[-1].text) for problem, turns in items])
    verdicts = [game_after(task, problem, turns)[1] for problem, turns in items]
    return [verdict for verdict in verdicts if verdict is not None]
