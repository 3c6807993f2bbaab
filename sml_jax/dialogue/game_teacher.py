"""The program of an environment in the teacher's seat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sml_jax.common.errors import UserError
from sml_jax.common.own_code import raise_own_mistake
from sml_jax.dialogue.drops import in_one_line
from sml_jax.dialogue.teacher import NoReply, Reply, Request, RolloutSetup, Teacher
from sml_jax.tasks.problems.environment import Environment, Game


@dataclass(frozen=True)
class Play:
    """The task's own game answers, see `sml_jax.tasks.problems.environment`.

    Attributes:
      informed: whether its replies say what the student can learn from. False makes the control arm beside it: the
        replies then hold no more than the student must hear, as `Retry`'s do for other tasks.
      guarded: whether the leak guard reads the replies. By default it does not: the game may say what its rules allow.
      name: the arm's name.
    """

    informed: bool = True
    guarded: bool = False
    name: str = "game"
    runs_model: ClassVar[bool] = False

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher of one rollout.

        Raises:
          UserError: the task is no environment.
        """
        if not isinstance(setup.task, Environment):
            raise UserError(
                f"{self.name}: {setup.task.name} has no game to play: give the suite an environment, or another arm"
            )
        return GameTeacher(setup.task, self.informed, self.guarded)


class GameTeacher(Teacher):
    """The live teacher that keeps a game for each dialogue.

    Args:
      environment: makes the games.
      informed, guarded: see `Play`.
    """

    in_step = True  # a program gives each process the same reply

    def __init__(self, environment: Environment, informed: bool, guarded: bool):
        self._environment, self._informed, self.guarded = environment, informed, guarded
        self._games: dict[int, tuple[Game, int]] = {}  # by dialogue id: its game, and the student turns it has seen
        self._ready: dict[int, Reply | NoReply] = {}

    def start(self, requests: Sequence[Request]) -> None:
        """Takes the students' moves and makes the replies at once."""
        for request in requests:
            # A game may be the user's code, so anything may be raised.
            try:
                self._ready[request.dialogue] = Reply(self._answer(request))
            except Exception as error:
                raise_own_mistake(error, "asking the game for a reply")
                self._ready[request.dialogue] = NoReply(f"the game's reply: {in_one_line(error)}")

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies to all requests since the last call, by dialogue id."""
        ready, self._ready = self._ready, {}
        return ready

    def _answer(self, request: Request) -> str:
        """Moves the dialogue's game on to the present turn, and returns what it says."""
        game, seen = self._games.get(request.dialogue) or (self._environment.begin(request.problem), 0)
        # More than one turn may be new: another teacher may have answered some of them.
        student_turns = [turn for turn in request.turns if turn.role == "student"]
        for turn in student_turns[seen:]:
            game.move(turn.text)
        self._games[request.dialogue] = game, len(student_turns)
        return game.reply(self._informed)
