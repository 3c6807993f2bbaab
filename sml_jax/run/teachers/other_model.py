"""Another model than the student's in the teacher's seat: its size, family, tokenizer, chat format and prompts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from jax.sharding import Mesh

from sml_jax.common.errors import UserError, at_least
from sml_jax.dialogue.drops import OVERLONG
from sml_jax.dialogue.framing import Framing, MessageFraming
from sml_jax.dialogue.language_teacher import LanguageTeacher, ModelTeacher
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher import Knowledge, NoReply, Reply, Request, RolloutSetup, Teacher
from sml_jax.engine.engine import Engine
from sml_jax.engine.layer_params import LayerParams
from sml_jax.engine.sampling import Sampling
from sml_jax.models.decoder import Decoder
from sml_jax.run.base_models import Pretrained
from sml_jax.run.chats import Chat, FamilyChat

_DEFAULT_CONTEXT = 4096  # tokens


@dataclass(frozen=True)
class OtherModel:
    """A model folder as the teacher. Text crosses between it and the student, each has its own tokens.

    It is loaded once in a run, onto the mesh of rollouts. All arms with the same path, chat and overrides share it.

    Attributes:
      path: a model folder, as for `Pretrained.path`.
      chat: its tokenizer and chat format; None for a FamilyChat of the folder, with the prompts of the dialogues.
      knows: whose private knowledge it reads, see `Teacher`.
      max_context: the most tokens of each of its contexts; None for what the model holds, or 4,096 if it holds more. A
        dialogue whose context has no room for a reply is dropped.
      reply_tokens: the most tokens that it samples for a reply, thinking included; None for the `teacher_tokens` of the
        rules. Of what is said to the student, that many tokens of its own remain.
      sampling: temperature, top-k and top-p; None for the student's.
      overrides: settings of computation to change, as for `Pretrained.overrides`.
      name: the arm's name.

    Raises:
      UserError: a setting is not allowed.
    """

    path: str
    chat: Chat | None = None
    knows: Knowledge = "own"
    max_context: int | None = None
    reply_tokens: int | None = None
    sampling: Sampling | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    name: str = "other_model"
    runs_model: ClassVar[bool] = False  # none with the student's engine: `own_engine` says what it takes

    def __post_init__(self) -> None:
        at_least(self, max_context=1, reply_tokens=1)
        if self.knows not in ("own", "other", "none"):
            raise UserError(f"{self.name}: knows is {self.knows!r}; it takes 'own', 'other' or 'none'")

    def check(self) -> None:
        """Reads the folder's configuration and the tokenizer, without the weights.

        Raises:
          UserError: there is no such model, or it cannot be spoken to.
        """
        config = self._base().model_config()
        if self.max_context is not None and self.max_context > config.max_length:
            raise UserError(
                f"{self.name}: max_context is {self.max_context}, but the model at {self.path} holds "
                f"{config.max_length} tokens: lower OtherModel.max_context"
            )
        self._framing(None)

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher of one rollout; the first time, it loads the model."""
        framing = self._framing(setup.framing)
        engine, weights = self._loaded(setup, framing)
        role = LanguageTeacher(engine, weights, self.knows)
        rules = dataclasses.replace(setup.rules, teacher_tokens=self._reply_tokens(setup.rules))
        speaker = ModelTeacher(role, dataclasses.replace(setup, framing=framing, rules=rules))
        return OtherModelTeacher(speaker, framing, rules, engine.max_length)

    def own_engine(self, rules: DialogueRules, sampling: Sampling, max_concurrent: int, mesh: Mesh) -> Engine:
        """An engine of the sizes that the teacher will have, for `sml-jax plan`. Nothing is placed on the mesh.

        Args:
          rules: of the dialogues.
          sampling: the student's.
          max_concurrent: dialogues that run at once.
          mesh: devices of the rollouts, which may be of another machine.
        """
        model = Decoder(self._base().model_config())
        return self._engine(model, self._framing(None), rules, sampling, max_concurrent, mesh)

    def _base(self) -> Pretrained:
        return Pretrained(self.path, overrides=self.overrides)

    @cached_property
    def _chat(self) -> Chat:
        """The chat, made once since it reads the tokenizer."""
        return self.chat or FamilyChat(self.path)

    def _framing(self, dialogues: Framing | None) -> Framing:
        """How its contexts are written.

        Args:
          dialogues: the student's framing, whose prompts a chat that is not given takes over; None for the defaults.
        """
        if self.chat is None and isinstance(dialogues, MessageFraming):
            return self._chat.framing(dialogues.prompts)
        return self._chat.framing()

    def _reply_tokens(self, rules: DialogueRules) -> int:
        return rules.teacher_tokens if self.reply_tokens is None else self.reply_tokens

    def _loaded(self, setup: RolloutSetup, framing: Framing) -> tuple[Engine, LayerParams]:
        """The engine and the weights in its layout, from the run's store."""
        mesh, loaded = setup.engine.mesh, setup.store.loaded
        # Several arms and rollouts share the weights. Engines differ where budgets do.
        model_key = ("model", self.path, repr(self.chat), repr(sorted(self.overrides.items())), mesh)
        reply_tokens, sampling = self._reply_tokens(setup.rules), self.sampling or setup.engine.sampling
        engine_key = (*model_key, self.max_context, reply_tokens, sampling, setup.engine.max_concurrent)
        if model_key not in loaded:
            loaded[model_key] = self._base().load(framing.tokenizer, 0, mesh, self._chat.padding)
        model, params = loaded[model_key]
        if engine_key not in loaded:
            rows = setup.engine.max_concurrent
            loaded[engine_key] = self._engine(model, framing, setup.rules, setup.engine.sampling, rows, mesh)
        engine = loaded[engine_key]
        # Only the layout for decoding is kept: the parameters as they were loaded would take the memory twice.
        weights = engine.prepare_params(params)
        loaded[model_key] = model, weights
        return engine, weights

    def _engine(
        self, model: Decoder, framing: Framing, rules: DialogueRules, sampling: Sampling, rows: int, mesh: Mesh
    ) -> Engine:
        """The compiled kernels of the teacher's model."""
        reply_tokens = self._reply_tokens(rules)
        return Engine(
            model,
            max_concurrent=rows,
            max_length=min(self.max_context or _DEFAULT_CONTEXT, model.config.max_length),
            max_new_tokens=reply_tokens,
            stop_ids=framing.stop_ids,
            suppressed_ids=framing.suppressed_ids(),
            sampling=self.sampling or sampling,
            max_rewind=reply_tokens,
            mesh=mesh,
        )


class OtherModelTeacher(Teacher):
    """The live teacher that keeps contexts of its own tokens, made of the texts of the dialogues.

    Args:
      speaker: samples the model's turns in these contexts.
      framing: writes the contexts.
      rules: of the dialogues, with the model's own limit of tokens.
      max_length: the most tokens of a context.
    """

    redraws = True
    in_step = True

    def __init__(self, speaker: Teacher, framing: Framing, rules: DialogueRules, max_length: int):
        self._speaker, self._framing, self._rules, self._max_tokens = speaker, framing, rules, max_length
        self.knows = speaker.knows
        # By dialogue id: what it has read, how many of the turns that is, its latest reply as it sampled it, and
        # requests that cannot be answered.
        self._contexts: dict[int, list[int]] = {}
        self._turns_read: dict[int, int] = {}
        self._offered: dict[int, Sequence[int]] = {}
        self._failed: dict[int, NoReply] = {}

    @property
    def forwarded(self) -> int:
        """Tokens that went through its model so far, padding aside."""
        return self._speaker.forwarded

    @property
    def copied(self) -> int:
        """Tokens whose keys and values were copied from another dialogue with the same opening."""
        return self._speaker.copied

    def start(self, requests: Sequence[Request]) -> None:
        """Writes the new turns into the contexts, and begins a turn of the model in each."""
        for request in requests:
            # A text that its tokenizer does not take costs its own dialogue.
            try:
                if not request.draw:
                    self._read(request)
            except (UserError, ValueError) as error:
                self._failed[request.dialogue] = NoReply(f"writing the teacher's context: {error}")
                continue
            context = self._contexts[request.dialogue]
            needed = len(context) + len(self._framing.teacher_begins()) + self._rules.teacher_tokens
            if needed > self._max_tokens:
                reason = f"the teacher's context needs {needed} tokens: raise OtherModel.max_context"
                self._failed[request.dialogue] = NoReply(reason, OVERLONG)
            else:
                self._speaker.start([dataclasses.replace(request, context=tuple(context))])

    def dispatch(self, stop_fraction: float) -> None:
        """Starts a call of the model; see `Teacher.dispatch`."""
        self._speaker.dispatch(stop_fraction)

    def wait(self, idle: bool) -> None:
        """Waits for the model's call under way, if there is one."""
        self._speaker.wait(idle)

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies whose turns have ended, as text: the student has another tokenizer."""
        replies: dict[int, Reply | NoReply] = {}
        for dialogue, reply in self._speaker.collect().items():
            if isinstance(reply, Reply):
                self._offered[dialogue] = reply.context_tokens or ()
                reply = Reply(reply.text, fact=reply.fact, truncated=reply.truncated)
            replies[dialogue] = reply
        failed, self._failed = self._failed, {}
        return replies | failed

    def close(self) -> None:
        """Frees the contexts."""
        self._speaker.close()

    def _read(self, request: Request) -> None:
        """Appends to a dialogue's context what has been said since the teacher was last asked."""
        framing, dialogue = self._framing, request.dialogue
        if dialogue not in self._contexts:
            opening = framing.teacher_opening(request.problem.question, request.static_knowledge)
            self._contexts[dialogue], self._turns_read[dialogue] = list(opening), 1
            self._speaker.open(dialogue, request.row, opening)
        context, own_reply = self._contexts[dialogue], self._offered.pop(dialogue, None)
        for turn in request.turns[self._turns_read[dialogue] :]:
            if turn.role == "student":
                context += framing.teacher_hears(framing.text(turn.text))
                continue
            # It sees its own turn as it sampled it, but a redaction as the student does, and so what another teacher
            # said in its place.
            redacted = turn.text == self._rules.guard.redaction or own_reply is None
            own_tokens: Sequence[int] = framing.text(turn.text) if redacted else own_reply or ()
            own_reply, opening = None, framing.teacher_begins()
            # Some formats take back what a side has thought once the other has answered.
            rewritten = framing.earlier_turn(own_tokens)
            if rewritten is not None:
                opening, own_tokens = opening[: len(opening) - rewritten[0]], rewritten[1]
            context += [*opening, *own_tokens, *framing.teacher_ends()]
        self._turns_read[dialogue] = len(request.turns)
        # Private knowledge enters by the opening and here, and nowhere else.
        context += framing.teacher_reads(request.dynamic_knowledge, self._rules.private_tokens)
