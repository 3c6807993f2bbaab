"""A language model on the mesh in the teacher's seat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sml_jax.common.own_code import raise_own_mistake
from sml_jax.dialogue.drops import in_one_line
from sml_jax.dialogue.teacher import Knowledge, NoReply, Reply, Request, RolloutSetup, Teacher
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.engine.layer_params import LayerParams
from sml_jax.engine.turns import Utterance
from sml_jax.tasks.problems.types import Problem, Task, Verdict


@dataclass(frozen=True)
class Message:
    """What a language model as the teacher says in one turn.

    Attributes:
      text: what the student is told.
      fact: the number of the fact about the problem that it reveals, see `Reply`; 0 for none.
      own_text: how the message is written in the teacher's own context, where that is not the sampled turn itself; ""
        if it is the same as `text`.
    """

    text: str
    fact: int = 0
    own_text: str = ""


@dataclass(frozen=True)
class LanguageTeacher:
    """A language model as the teacher. A subclass overrides methods to make the model play another role.

    Attributes:
      engine: compiled kernels of the model, with as many rows as the student's engine. It must have the student's
        tokenizer and framing, since tokens and not text pass between the two.
      params: the model's parameters, in any form that `Engine.prepare_params` takes.
      knows: whose private knowledge it reads, see `Teacher`.
      name: the arm's name.
    """

    engine: Engine
    params: dict | LayerParams
    knows: Knowledge = "own"
    name: str = "language"
    runs_model: ClassVar[bool] = True

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher of one rollout."""
        return ModelTeacher(self, setup)

    def turns(self, problem: Problem) -> int | None:
        """The number of student turns after which it has nothing more to say; None for no limit."""
        return None

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        """What the model reads before it replies and the student does not, "" for nothing; see `Teacher.reads`."""
        return task.dynamic_knowledge(problem, verdict)

    def message(self, problem: Problem, marked: str, revealed: Sequence[int]) -> Message | None:
        """Turns what the model marked as feedback into the message to the student.

        Args:
          problem: what the dialogue is about.
          marked: the marked text, without the tag.
          revealed: numbers of the facts revealed so far, in order.

        Returns:
          The message, or None to refuse it: the turn is then sampled again or replaced.
        """
        return Message(marked)

    def replacement(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Message:
        """What is said in place of a turn of which every sample was refused or held no feedback.

        Args:
          problem: what the dialogue is about.
          revealed: numbers of the facts revealed so far, in order.
          redaction: the fixed text of the leak guard for such turns.
        """
        return Message(redaction)


class ModelTeacher(Teacher):
    """The live teacher that samples from a language model, for all dialogues that wait for a reply in one call.

    Each row of the batch has a context of its own; a dialogue has the same row as in the student's batch.

    Args:
      role: the model, and how the text it writes becomes a message to the student.
      setup: what the rollout offers to its teacher.
    """

    redraws = True
    in_step = True

    def __init__(self, role: LanguageTeacher, setup: RolloutSetup):
        self._role, self._framing, self._rules = role, setup.framing, setup.rules
        self.knows = role.knows
        self.max_length = role.engine.max_length
        # Rows are shared with the student: a dialogue has the same row number in both models' caches.
        role.engine.limit_vocabulary(setup.framing.tokenizer.vocab_size)
        self._contexts = ContextBatch(role.engine, role.params, setup.key)
        self._requests: dict[int, Request] = {}  # by row: what is being answered
        self._finished: dict[int, Utterance] = {}  # by row: turns that have ended and wait for `collect`

    @property
    def forwarded(self) -> int:
        """Tokens that went through the teacher's model so far, padding aside."""
        return self._contexts.forwarded_tokens

    @property
    def copied(self) -> int:
        """Tokens whose keys and values were copied from another dialogue with the same opening."""
        return self._contexts.copied_tokens

    def turns(self, problem: Problem) -> int | None:
        """The role's `turns`."""
        return self._role.turns(problem)

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        """The role's `reads`."""
        return self._role.reads(task, problem, verdict, revealed)

    def open(self, dialogue: int, row: int, context: Sequence[int]) -> None:
        """Starts the row's context anew, with the tokens of `context`. The model reads them at its next call."""
        self._contexts.start(row, dialogue, context)

    def prefill(self, contexts: Mapping[int, Sequence[int]]) -> None:
        """Makes `contexts` (by row) the rows' contexts and runs the model over them.

        What is read stays cached if it is still a prefix of the context when the reply is asked for.
        """
        for row, context in contexts.items():
            self._contexts.replace(row, context)
        self._contexts.prefill(list(contexts))

    def start(self, requests: Sequence[Request]) -> None:
        """Begins a turn of the model in the row of each request; `dispatch` then samples."""
        for request in requests:
            self._requests[request.row] = request
            # A refused draw is taken back here: the context is made anew from what the teacher has read.
            self._contexts.replace(request.row, self._context(request))
            # Each draw from the same place takes a salt of its own, or it would be the same reply once more.
            self._contexts.begin_turn(request.row, self._rules.teacher_tokens, salt=request.draw)

    def dispatch(self, stop_fraction: float) -> None:
        """Starts a call of the model that samples in all rows with a turn under way; see `ContextBatch.dispatch`."""
        self._contexts.dispatch(stop_fraction)

    def wait(self, idle: bool) -> None:
        """Waits for the model's call under way, if there is one, and keeps the turns that it finished for `collect`.

        Args:
          idle: it makes no difference here, since a call is short.
        """
        # A call of the model takes no longer than the engine's steps, so it is waited for even by a busy student.
        self._finished |= self._contexts.collect()

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies whose turns have ended, by dialogue id. A NoReply where the role could not read the turn."""
        finished, self._finished = self._finished, {}
        replies: dict[int, Reply | NoReply] = {}
        for row, utterance in finished.items():
            request = self._requests.pop(row)
            # A role's reading of one text must not end the other dialogues.
            try:
                replies[request.dialogue] = self._reply(request, utterance)
            except Exception as error:
                raise_own_mistake(error, "reading the teacher's reply")
                replies[request.dialogue] = NoReply(f"reading the teacher's reply: {in_one_line(error)}")
        return replies

    def replacement(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Reply:
        """The role's replacement as a Reply, in tokens. For the arguments see `LanguageTeacher.replacement`."""
        # Its own context shows the speaker the message as it should have been written.
        message = self._role.replacement(problem, revealed, redaction)
        tokens = tuple(self._framing.text(message.text))
        own_tokens = tuple(self._framing.text(message.own_text)) if message.own_text else tokens
        return Reply(message.text, tokens, own_tokens, message.fact)

    def _context(self, request: Request) -> list[int]:
        """What the model has read when it begins its reply."""
        return [*request.context, *self._framing.teacher_begins()]

    def _reply(self, request: Request, utterance: Utterance) -> Reply:
        """Makes a reply of a sampled turn; its text is None if nothing in the turn may be said to the student."""
        # Thinking stays out: only what is marked as feedback is public.
        public_tokens = self._framing.feedback(utterance.tokens)
        if public_tokens is None:
            return Reply(None)
        public_tokens = public_tokens[: self._rules.teacher_tokens]
        marked_text = self._framing.utterance(public_tokens)
        message = self._role.message(request.problem, marked_text, request.revealed)
        if message is None:
            return Reply(None)
        # The sampled tokens go over as they are, unless the role said it in other words.
        if message.text != marked_text:
            public_tokens = self._framing.text(message.text)[: self._rules.teacher_tokens]
        # Without its end, which the framing writes.
        sampled_tokens = utterance.tokens[:-1] if utterance.ended else utterance.tokens
        return Reply(
            message.text, tuple(public_tokens), tuple(sampled_tokens), message.fact, truncated=not utterance.ended
        )
