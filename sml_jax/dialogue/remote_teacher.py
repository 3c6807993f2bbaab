"""A language model behind an endpoint of OpenAI's chat protocol, in the teacher's seat."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import jax
import numpy as np

from sml_jax.common.errors import UserError, at_least
from sml_jax.common.secret import Secret
from sml_jax.dialogue.chat_client import ChatClient, ChatFailure, ChatLimits, ChatReply, completions_url, require_httpx
from sml_jax.dialogue.chat_messages import TeacherMessages, sayable
from sml_jax.dialogue.drops import TEACHER
from sml_jax.dialogue.framing import MessageFraming
from sml_jax.dialogue.prompts import Prompts
from sml_jax.dialogue.script_teacher import LINGER_SECONDS
from sml_jax.dialogue.teacher import Knowledge, NoReply, Reply, Request, RolloutSetup, Teacher

WAIT_SECONDS = 0.5  # at most this long at a time: between two waits the rollout sees whether it is asked to stop
_OWN_FIELDS = ("messages", "model", "n", "seed", "stream")  # of a request's body, which `extra` may not set


@dataclass(frozen=True)
class Remote:
    """A remote language model as the teacher, which reads the prompts of a language model on the mesh.

    Attributes:
      url: of the endpoint, such as 'https://api.openai.com/v1' or 'http://localhost:8000/v1'.
      model: its name there.
      key_variable: name of the environment variable that holds the key; '' for an endpoint that wants none. The key
        itself is written nowhere.
      prompts: the text around problem, turns and private knowledge; None for those of the dialogues, or for
        `Prompts()` where these have none. The student's prompts among them are not used.
      knows: whose private knowledge it reads, see `Teacher`.
      reply_tokens: the most tokens that the endpoint may write for a reply, thinking included. Of what is said to the
        student, the rules' `teacher_tokens` remain.
      tokens_field: the name of that limit in a request; OpenAI's newer models take 'max_completion_tokens'.
      temperature: of its sampling; None for the endpoint's own.
      send_seed: whether requests carry a `seed`, from which some servers sample the same reply again.
      extra: further fields of each request, such as {'top_p': 0.9}.
      concurrency: the largest number of requests at once.
      attempt_seconds, reply_seconds: time limits of one attempt, and of a reply with all its attempts and pauses.
      retries: how often a request is repeated after a status 429 or 5xx, a cut connection, or nonsense.
      first_pause, longest_pause: seconds between attempts, see `ChatLimits`. What `Retry-After` says is the least.
      deterministic: whether runs repeat to the last bit: the student then speaks in all dialogues, and all replies are
        awaited. If False, a dialogue goes on when its own reply is there, which is faster where replies take
        differently long; log-probabilities may then differ in their last digits from run to run.
      guarded: whether the leak guard reads its replies.
      name: the arm's name.

    Raises:
      UserError: a setting is not allowed.
    """

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    prompts: Prompts | None = None
    knows: Knowledge = "own"
    reply_tokens: int = 1024
    tokens_field: str = "max_tokens"
    temperature: float | None = None
    send_seed: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 64
    attempt_seconds: float = 60.0
    reply_seconds: float = 300.0
    retries: int = 6
    first_pause: float = 0.5
    longest_pause: float = 30.0
    deterministic: bool = True
    guarded: bool = True
    name: str = "remote"
    runs_model: ClassVar[bool] = False  # none on this machine

    def __post_init__(self) -> None:
        completions_url(self.url)
        at_least(self, reply_tokens=1, concurrency=1, retries=0, attempt_seconds=0.001, reply_seconds=0.001)
        at_least(self, first_pause=0, longest_pause=0, temperature=0)
        # Somebody may take it for the place of the key, which the error must not repeat: it would be printed.
        if self.key_variable and not re.fullmatch(r"[A-Za-z_]\w*", self.key_variable, re.ASCII):
            raise UserError(
                f"{self.name}: key_variable is no name of an environment variable: give the variable's name, such as "
                "'OPENAI_API_KEY', and never the key"
            )
        if self.knows not in ("own", "other", "none"):
            raise UserError(f"{self.name}: knows is {self.knows!r}; it takes 'own', 'other' or 'none'")
        taken_fields = {*_OWN_FIELDS, self.tokens_field, "temperature"} & set(self.extra)
        if taken_fields:
            raise UserError(f"{self.name}: extra sets {', '.join(sorted(taken_fields))}, which the teacher sets itself")

    def check(self) -> None:
        """Checks that the key and the package for requests are there.

        Raises:
          UserError: one is missing.
        """
        require_httpx()
        self.key()

    def key(self) -> Secret | None:
        """The key; None if the endpoint wants none.

        Raises:
          UserError: the environment variable is not set, or holds no key.
        """
        if not self.key_variable:
            return None
        return Secret.from_environment(self.key_variable, "Remote.key_variable")

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher of one rollout."""
        return EndpointTeacher(self, setup)

    def limits(self) -> ChatLimits:
        """The settings of how requests are sent."""
        return ChatLimits(
            self.concurrency,
            self.attempt_seconds,
            self.reply_seconds,
            self.retries,
            self.first_pause,
            self.longest_pause,
        )


class EndpointTeacher(Teacher):
    """The live teacher that asks an endpoint for its replies.

    Each reply is written to the run's record before it is handed over. A request that is made again (same seed,
    dialogue, turn, draw and text) is answered from there, so that a run which goes on after a stop repeats what it did;
    a request whose text has changed is asked anew. What failed is not recorded.

    Args:
      spec: the endpoint, and how it is asked.
      setup: what the rollout offers to its teacher.
    """

    redraws = True

    def __init__(self, spec: Remote, setup: RolloutSetup):
        self._spec, self._record = spec, setup.store.replies
        self.knows, self.guarded = spec.knows, spec.guarded
        prompts = spec.prompts
        if prompts is None:
            prompts = setup.framing.prompts if isinstance(setup.framing, MessageFraming) else Prompts()
        self._tag = prompts.feedback_tag
        self._messages = TeacherMessages(prompts, setup.rules.guard.redaction)
        self._seed = np.asarray(jax.random.key_data(setup.key)).tolist()
        # By dialogue id: what has been asked for, and what has come.
        self._pending: dict[int, tuple[Request, str, Future[ChatReply | ChatFailure]]] = {}
        self._arrived: dict[int, Reply | NoReply] = {}
        self._released = not spec.deterministic

    @cached_property
    def _client(self) -> ChatClient:
        """Opened for the first request: only one process asks, and a record may hold all replies."""
        return ChatClient(self._spec.url, self._spec.key(), self._spec.limits())

    def start(self, requests: Sequence[Request]) -> None:
        """Sends the requests to the endpoint, and returns without waiting. Recorded replies are taken as they are."""
        for request in requests:
            body = self._body(request)
            key = self._record_key(request, body)
            if self._spec.send_seed:
                body["seed"] = int(key[:7], 16)  # 28 bits, which every server's integers hold
            recorded = self._record.find(key)
            if recorded is None:
                self._pending[request.dialogue] = request, key, self._client.submit(body)
            else:
                self._take(request.dialogue, ChatReply(recorded["text"], recorded["truncated"]))

    def wait(self, idle: bool) -> None:
        """Waits for replies if `idle`: for all of them if the teacher is deterministic, else for the first.

        It returns after half a second in any case, so that a run may be stopped meanwhile.
        """
        if not idle:
            return
        futures = [future for _, _, future in self._pending.values()]
        if self._spec.deterministic:
            # Which dialogues go on together must not depend on when replies come, so none goes on before all can.
            self._released = not wait(futures, WAIT_SECONDS, ALL_COMPLETED).not_done
        elif not self._arrived:
            wait(futures, WAIT_SECONDS, FIRST_COMPLETED)
            # Replies that were asked for together mostly come together, and one call of the student's model serves all.
            wait(futures, LINGER_SECONDS)

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies that are ready, by dialogue id."""
        # What has come is written down at once, also where it is handed over later.
        done = [dialogue for dialogue, (_, _, future) in self._pending.items() if future.done()]
        for dialogue in done:
            request, key, future = self._pending.pop(dialogue)
            outcome = future.result()
            if isinstance(outcome, ChatReply):
                self._write_down(request, key, outcome)
            self._take(dialogue, outcome)
        if not self._released:
            return {}
        self._released = not self._spec.deterministic
        ready, self._arrived = self._arrived, {}
        return dict(sorted(ready.items()))

    def close(self) -> None:
        """Cancels the requests under way."""
        if "_client" in vars(self):
            self._client.close()

    def _body(self, request: Request) -> dict[str, Any]:
        """The request to the endpoint, without a seed."""
        spec = self._spec
        body: dict[str, Any] = {"model": spec.model, "messages": self._messages.for_request(request)}
        body[spec.tokens_field] = spec.reply_tokens
        if spec.temperature is not None:
            body["temperature"] = spec.temperature
        return {**body, **spec.extra}

    def _record_key(self, request: Request, body: Mapping[str, Any]) -> str:
        """What tells this reply from all others of the run, as a hash."""
        turn = len(request.turns) // 2
        named = [self._spec.name, self._seed, request.dialogue, turn, request.draw, self._spec.url, body]
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()

    def _write_down(self, request: Request, key: str, reply: ChatReply) -> None:
        """Records a reply, with what a person needs to find it."""
        where = {"arm": self._spec.name, "dialogue": request.dialogue, "problem_id": request.problem.id}
        draw = {"turn": len(request.turns) // 2, "draw": request.draw}
        self._record.add(key, {**where, **draw, "text": reply.text, "truncated": reply.truncated})

    def _take(self, dialogue: int, outcome: ChatReply | ChatFailure) -> None:
        """Reads what the endpoint wrote as a reply to the student."""
        if isinstance(outcome, ChatFailure):
            self._arrived[dialogue] = NoReply(f"the endpoint: {outcome.error}", TEACHER)
            return
        self._messages.offered(dialogue, outcome.text)
        self._arrived[dialogue] = Reply(sayable(outcome.text, self._tag), truncated=outcome.truncated)
