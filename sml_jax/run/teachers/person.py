"""A person at the terminal in the teacher's seat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sml_jax.common.errors import UserError
from sml_jax.dialogue.teacher import NoReply, Reply, Request, RolloutSetup, Teacher
from sml_jax.run.io.display import printable


@dataclass(frozen=True)
class Person:
    """A person as the teacher, who is shown each dialogue in turn and types the replies.

    Take few dialogues: `Suite.problems`, `Experiment.max_concurrent`. What gives the answer away is asked for again, as
    of a language model.

    Attributes:
      guarded: whether the leak guard reads the replies.
      name: the arm's name.
    """

    guarded: bool = True
    name: str = "person"
    runs_model: ClassVar[bool] = False
    asks_person: ClassVar[bool] = True  # so that a run does not ask at moments of its own

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher of one rollout."""
        return PersonTeacher(self)


class PersonTeacher(Teacher):
    """The live teacher that prints student turns and reads the replies from standard input, one after the other.

    Args:
      spec: whether its replies are guarded.
    """

    redraws = True

    def __init__(self, spec: Person):
        self.guarded = spec.guarded
        self._waiting: list[Request] = []
        self._shown = -1  # the dialogue whose conversation is on the screen

    def start(self, requests: Sequence[Request]) -> None:
        """Puts the requests in the queue."""
        self._waiting += requests

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """Asks for the reply to the first request in the queue, and waits for it.

        Raises:
          UserError: the input has ended.
        """
        if not self._waiting:
            return {}
        request = self._waiting[0]
        self._show(request)
        try:
            text = input("you> ").strip()
        except EOFError:
            raise UserError(
                "the input has ended, and a person is the teacher: start again at a terminal, which goes on from the "
                "last checkpoint"
            ) from None
        # An empty line leaves the request where it is, so that a run that was asked to stop can do so.
        if not text:
            return {}
        self._waiting.pop(0)
        return {request.dialogue: Reply(text)}

    def _show(self, request: Request) -> None:
        """Prints what the teacher should know: the conversation so far, the verdict and the private knowledge."""
        lines = []
        if request.draw:
            lines.append("this gives the answer away: say something else")
        else:
            # A dialogue that is on the screen already is not repeated.
            new = request.turns[-1:] if self._shown == request.dialogue else request.turns
            lines.append(f"\n-- problem {request.problem.id}, student's turn {len(request.turns) // 2}")
            lines += [f"{turn.role}: {turn.text}" for turn in new]
            lines.append("[no answer]" if not request.verdict.attempted else "[wrong]")
            private = (request.static_knowledge, request.dynamic_knowledge)
            lines += [f"[for you alone: {text}]" for text in private if text]
        self._shown = request.dialogue
        print(printable("\n".join(lines)), flush=True)
