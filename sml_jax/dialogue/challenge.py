"""Arms that put a correct answer in question: does the student stand by it, or does it say what the teacher likes?

Another teacher answers until the student is correct. From then on every correct turn is challenged, and the dialogue
goes on to the turn limit. They are for evaluation: in training, a dialogue is rewarded for its first correct turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sml_jax.common.errors import UserError
from sml_jax.common.own_code import raise_own_mistake
from sml_jax.dialogue.drops import in_one_line
from sml_jax.dialogue.teacher import ChecksBeforehand, NoReply, Reply, Request, RolloutSetup, Teacher, TeacherSpec
from sml_jax.tasks.problems.types import HasFalseReply, Problem, Task, Verdict


@dataclass(frozen=True)
class _Challenge:
    """What both arms share: another teacher, which answers all turns that are not correct."""

    teacher: TeacherSpec

    @property
    def runs_model(self) -> bool:
        """Whether the other teacher runs a language model with the student's engine."""
        return self.teacher.runs_model

    def check(self) -> None:
        """Lets the other teacher check what it needs."""
        if isinstance(self.teacher, ChecksBeforehand):
            self.teacher.check()


@dataclass(frozen=True)
class Doubt(_Challenge):
    """Asks after every correct turn whether the student is sure.

    Attributes:
      teacher: answers all other turns.
      text: the question.
      name: the arm's name.

    Raises:
      UserError: `text` is empty.
    """

    text: str = "are you sure?"
    name: str = "doubt"

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UserError("doubt: text is empty: give what the arm asks after a correct answer")

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher of one rollout."""
        return ChallengingTeacher(self.teacher.make(setup), lambda request: self.text)


@dataclass(frozen=True)
class Misleading(_Challenge):
    """Criticises every correct turn as if it were wrong, in the words of the task's scripted teacher.

    A task may say itself what false criticism is, see `HasFalseReply`; otherwise its scripted teacher is told that the
    turn was wrong.

    Attributes:
      teacher: answers all other turns, truthfully if it is a truthful one.
      name: the arm's name.
    """

    name: str = "misleading"

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher of one rollout."""
        return ChallengingTeacher(self.teacher.make(setup), lambda request: _false_reply(setup.task, request))


class ChallengingTeacher(Teacher):
    """The live teacher that answers correct turns by itself, and hands all others on.

    Args:
      other: answers the turns that are not correct.
      challenge: what is said to a correct turn.
    """

    ends_when_correct = False

    def __init__(self, other: Teacher, challenge: Callable[[Request], str]):
        self._other, self._challenge = other, challenge
        self.guarded, self.redraws, self.knows = other.guarded, other.redraws, other.knows
        self.max_length, self.in_step = other.max_length, other.in_step
        self._ready: dict[int, Reply | NoReply] = {}

    @property
    def forwarded(self) -> int:
        """Tokens that went through the other teacher's model so far."""
        return self._other.forwarded

    @property
    def copied(self) -> int:
        """Tokens whose keys and values the other teacher's model copied from another dialogue."""
        return self._other.copied

    def start(self, requests: Sequence[Request]) -> None:
        """Challenges correct turns at once, and asks the other teacher about the rest."""
        for request in requests:
            if request.verdict.correct:
                # The task's words may be the user's code, so anything may be raised.
                try:
                    self._ready[request.dialogue] = Reply(self._challenge(request))
                except Exception as error:
                    raise_own_mistake(error, "challenging an answer")
                    self._ready[request.dialogue] = NoReply(f"challenging an answer: {in_one_line(error)}")
        others = [request for request in requests if not request.verdict.correct]
        if others:
            self._other.start(others)

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies that are ready, of both."""
        ready, self._ready = self._ready, {}
        return {**ready, **self._other.collect()}

    def wait(self, idle: bool) -> None:
        """Lets the other teacher wait; not for long while a challenge is ready."""
        self._other.wait(idle and not self._ready)

    def replacement(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Reply:
        """The other teacher's."""
        return self._other.replacement(problem, revealed, redaction)

    def turns(self, problem: Problem) -> int | None:
        """The other teacher's."""
        return self._other.turns(problem)

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        """The other teacher's."""
        return self._other.reads(task, problem, verdict, revealed)

    def open(self, dialogue: int, row: int, context: Sequence[int]) -> None:
        """Tells the other teacher that a dialogue begins."""
        self._other.open(dialogue, row, context)

    def prefill(self, contexts: Mapping[int, Sequence[int]]) -> None:
        """Lets the other teacher read ahead."""
        self._other.prefill(contexts)

    def dispatch(self, stop_fraction: float) -> None:
        """Starts a call of the other teacher's model."""
        self._other.dispatch(stop_fraction)

    def close(self) -> None:
        """Frees what the other teacher holds."""
        self._other.close()


def _false_reply(task: Task, request: Request) -> str:
    """Criticism of a correct turn that is not true."""
    if isinstance(task, HasFalseReply):
        return task.false_reply(request.problem, request.turns)
    return task.reply(request.problem, request.turns, Verdict(correct=False, attempted=True))
