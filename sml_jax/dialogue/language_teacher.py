"""A language model on the mesh in the teacher's seat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sml_jax.dialogue.drops import in_one_line
from sml_jax.dialogue.teacher import Knowledge, NoReply, Reply, Request, RolloutSetup, Teacher
from sml_jax.engine.context_batch import ContextBatch, Utterance
from sml_jax.engine.engine import Engine
from sml_jax.tasks.problems.types import Problem, Task, Verdict


@dataclass(frozen=True)
class Message:
    """What a language model in the teacher's seat has to say.

    Attributes:
      text: to the student.
      fact: the number of the fact that it reveals, see `Reply`; 0 for none.
      own_text: as it stands in the speaker's own context, if that is not what was sampled; "" for `text`.
    """

    text: str
    fact: int = 0
    own_text: str = ""


@dataclass(frozen=True)
class LanguageTeacher:
    """A language model in the teacher's seat. Its methods are what another role in that seat does otherwise.

    Attributes:
      engine: compiled kernels of its model, with as many rows as the student's. Its tokenizer and framing are the
        student's: tokens cross between the two, not text.
      params: the model's parameters.
      knows: whose private knowledge it reads, see `Teacher`.
      name: the arm's name.
    """

    engine: Engine
    params: dict
    knows: Knowledge = "own"
    name: str = "language"
    runs_model: ClassVar[bool] = True

    def make(self, setup: RolloutSetup) -> Teacher:
        """The live teacher of one rollout."""
        return ModelTeacher(self, setup)

    def turns(self, problem: Problem) -> int | None:
        """Student turns after which it has nothing more to say; None for no end of its own."""
        return None

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        """What it alone learns before it speaks; see `Teacher.reads`."""
        return task.dynamic_knowledge(problem, verdict)

    def message(self, problem: Problem, marked: str, revealed: Sequence[int]) -> Message | None:
        """What it says by the text that it marked for the student; None if that cannot be said."""
        return Message(marked)

    def instead(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Message:
        """What stands in the place of a message that cannot be said."""
        return Message(redaction)


class ModelTeacher(Teacher):
    """Samples replies in contexts of its own, one a row, in calls that take many dialogues on at once.

    Args:
      role: the model, and how what it writes becomes a message to the student.
      setup: of the rollout.
    """

    redraws = True
    in_step = True

    def __init__(self, role: LanguageTeacher, setup: RolloutSetup):
        self._role, self._framing, self._rules = role, setup.framing, setup.rules
        self.knows = role.knows
        self.max_length = role.engine.max_length
        # Rows are shared with the student: a dialogue has the same row number in both models' caches.
        self._contexts = ContextBatch(role.engine, role.params, setup.key)
        self._requests: dict[int, Request] = {}  # by row: what is being answered
        self._finished: dict[int, Utterance] = {}  # by row: turns that have ended and wait for `collect`

    @property
    def forwarded(self) -> int:
        return self._contexts.forwarded_tokens

    @property
    def copied(self) -> int:
        return self._contexts.copied_tokens

    def turns(self, problem: Problem) -> int | None:
        return self._role.turns(problem)

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        return self._role.reads(task, problem, verdict, revealed)

    def open(self, dialogue: int, row: int, context: Sequence[int]) -> None:
        self._contexts.start(row, dialogue, context)

    def prefill(self, contexts: Mapping[int, Sequence[int]]) -> None:
        # What is read ahead stays cached if it is still a prefix of the context when the reply is asked for.
        for row, context in contexts.items():
            self._contexts.replace(row, context)
        self._contexts.prefill(list(contexts))

    def start(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self._requests[request.row] = request
            # A refused draw is taken back here: the context is made anew from what the teacher has read.
            self._contexts.replace(request.row, [*request.context, *self._framing.teacher_begins()])
            # Each draw from the same place takes a salt of its own, or it would be the same reply once more.
            self._contexts.begin_turn(request.row, self._rules.teacher_tokens, salt=request.draw)

    def dispatch(self, stop_fraction: float) -> None:
        self._contexts.dispatch(stop_fraction)

    def wait(self, idle: bool) -> None:
        # A call of the model takes no longer than the engine's steps, so it is waited for even by a busy student.
        self._finished |= self._contexts.collect()

    def collect(self) -> Mapping[int, Reply | NoReply]:
        finished, self._finished = self._finished, {}
        replies: dict[int, Reply | NoReply] = {}
        for row, utterance in finished.items():
            request = self._requests.pop(row)
            # A role's reading of one text must not end the other dialogues.
            try:
                replies[request.dialogue] = self._reply(request, utterance)
            except Exception as error:
                replies[request.dialogue] = NoReply(f"reading the teacher's reply: {in_one_line(error)}")
        return replies

    def replacement(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Reply:
        # Its own context shows the speaker the message as it should have been written.
        message = self._role.instead(problem, revealed, redaction)
        tokens = tuple(self._framing.text(message.text))
        own_tokens = tuple(self._framing.text(message.own_text)) if message.own_text else tokens
        return Reply(message.text, tokens, own_tokens, message.fact)

    def _reply(self, request: Request, utterance: Utterance) -> Reply:
        """A sampled turn as a reply, without text if it marks nothing that can be said to the student."""
        # Thinking stays out: only what is marked as feedback is public.
        public = self._framing.feedback(utterance.tokens)
        if public is None:
            return Reply(None)
        public = public[: self._rules.teacher_tokens]
        marked = self._framing.utterance(public)
        message = self._role.message(request.problem, marked, request.revealed)
        if message is None:
            return Reply(None)
        # The sampled tokens go over as they are, unless the role said it in other words.
        if message.text != marked:
            public = self._framing.text(message.text)[: self._rules.teacher_tokens]
        # Without its end, which the framing writes.
        sampled = utterance.tokens[:-1] if utterance.ended else utterance.tokens
        return Reply(message.text, tuple(public), tuple(sampled), message.fact, truncated=not utterance.ended)
