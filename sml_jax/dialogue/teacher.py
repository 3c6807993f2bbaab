"""The teacher's protocol: whatever answers a batch of student turns.

A teacher takes requests with `start` and hands over the replies that are ready with `collect`. A model on the mesh, a
Python function, a remote endpoint and a person are the same to the rollout, which asks a teacher only for what stands
in `Teacher`. Recipes name a `TeacherSpec`, a frozen object; each rollout makes a live `Teacher` from it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh

from sml_jax.dialogue.drops import PROBLEM
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.dialogue.teacher_store import TeacherStore
from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import Sampling
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

Knowledge = Literal["own", "other", "none"]


@dataclass(frozen=True)
class Request:
    """A student turn that waits for the teacher's reply.

    Attributes:
      dialogue: the dialogue's id, under which `Teacher.collect` returns the reply.
      row: the dialogue's row in the batch, from 0. No two dialogues have the same row at the same time.
      problem: what the dialogue is about, answer included.
      turns: the public conversation so far: the problem's statement first, the student's turn to answer last.
      verdict: the verifier's judgement of that turn.
      static_knowledge: what the teacher alone knows from the start, "" for nothing. dynamic_knowledge: what it alone
        learns about that turn, such as the verifier's words. Both are of the problem that it knows, see
        `Teacher.knows`.
      context: everything the teacher has read so far, private knowledge included, as tokens of the run's framing.
      student_context: everything the student has read and said so far, as tokens of the run's framing; the last is the
        end of its turn.
      revealed: numbers of the facts that replies have revealed so far, in their order; see `Reply.fact`.
      draw: how many replies to this turn were refused already, by the leak guard or because they held no feedback.
      known_problem: the problem whose private knowledge the teacher has; None if it has none.
    """

    dialogue: int
    row: int
    problem: Problem
    turns: tuple[Turn, ...]
    verdict: Verdict
    static_knowledge: str = ""
    dynamic_knowledge: str = ""
    # For teachers that are language models.
    context: tuple[int, ...] = ()
    student_context: tuple[int, ...] = ()
    revealed: tuple[int, ...] = ()
    draw: int = 0
    # For teachers that may know another problem.
    known_problem: Problem | None = None


@dataclass(frozen=True)
class Reply:
    """A teacher's turn.

    Attributes:
      text: what the student is told; None if the teacher wrote nothing that can be shown to the student.
      tokens: `text` as tokens of the run's framing; None to have it tokenised, and cut at the rules' `teacher_tokens`.
      context_tokens: the turn as it is written in the teacher's own context, for instance with its thinking; None if it
        is the same as `tokens`.
      fact: the number of the fact about the problem that the reply reveals, 0 for none. A user who tells a problem bit
        by bit reveals a fact in each reply.
      truncated: whether the teacher reached its limit of tokens before it ended its turn.
    """

    text: str | None
    tokens: tuple[int, ...] | None = None
    context_tokens: tuple[int, ...] | None = None
    fact: int = 0
    truncated: bool = False


@dataclass(frozen=True)
class NoReply:
    """Takes the place of a reply that could not be made. The dialogue is then dropped, and no other.

    Attributes:
      error: what was being done and what went wrong, in one line.
      kind: what the dialogue's `dropped` begins with, see `sml_jax.dialogue.drops`.
    """

    error: str
    kind: str = PROBLEM


@dataclass(frozen=True)
class RolloutSetup:
    """What a rollout offers to the teacher that is made for it.

    Attributes:
      task: verifies answers, and has the private knowledge.
      framing: writes the contexts as tokens. rules: turn limit and token budgets.
      engine: the student's compiled kernels. student_params: the student's parameters in this rollout.
      initial_params: parameters of the frozen initial student, which is the paper's teacher.
      key: the random key of the teacher's side; it tells the run's seed.
      store: what the run keeps for its teachers between rollouts.
    """

    task: Task
    framing: Framing
    rules: DialogueRules
    engine: Engine
    student_params: dict
    initial_params: dict
    key: jax.Array
    store: TeacherStore = field(default_factory=TeacherStore)


@runtime_checkable
class TeacherSpec(Protocol):
    """What a recipe names as the teacher: a frozen object that makes a live `Teacher` for each rollout."""

    @property
    def name(self) -> str:
        """The arm's name: its key in `eval.json`, and `arm` in `dialogues.jsonl`."""
        ...

    @property
    def runs_model(self) -> bool:
        """Whether its teacher runs a language model with the student's engine, so that `sml-jax plan` counts that."""
        ...

    def make(self, setup: RolloutSetup) -> Teacher:
        """Makes the live teacher of one rollout."""
        ...


@runtime_checkable
class ChecksBeforehand(Protocol):
    """A teacher's spec that can tell before a run begins that its teacher would not work."""

    def check(self) -> None:
        """Checks what the teacher needs, such as a key.

        Raises:
          UserError: something is missing.
        """
        ...


@runtime_checkable
class HasOwnEngine(Protocol):
    """A teacher's spec whose teacher runs a model of its own, which takes memory beside the student's."""

    def own_engine(self, rules: DialogueRules, sampling: Sampling, max_concurrent: int, mesh: Mesh) -> Engine:
        """Makes an engine of the sizes that the teacher's will have. Nothing is placed on the mesh.

        Args:
          rules: of the dialogues.
          sampling: the student's.
          max_concurrent: dialogues that run at once.
          mesh: devices of the rollouts, which may be of another machine.
        """
        ...


class Teacher:
    """Answers the student in the dialogues of one rollout.

    A subclass writes `start` (takes requests) and `collect` (returns the replies that are ready, by dialogue id); every
    other member has a default that suits a teacher without a model.

    Attributes:
      guarded: whether the leak guard reads its replies.
      redraws: whether it may say something else when it is asked again. If so, a reply that leaks is asked for again,
        `LeakGuard.regenerations` times, before it is replaced; if not, it is replaced at once.
      knows: whose private knowledge it reads: "own", of the problem at hand; "other", of another problem (its replies
        are then about the wrong problem); "none", of no problem.
      max_length: tokens that each of its contexts can hold; None if it has no contexts.
      ends_when_correct: whether a dialogue ends with the first correct turn. If not, it goes on to the turn limit, and
        the first correct turn is still the one that solved it.
      in_step: whether each process of a multi-process run makes the same replies by itself, in the same order. If not,
        process 0 alone calls `start` and `collect`, and sends the replies to the others; all call `turns` and `reads`.
      forwarded: tokens that went through its model so far, padding aside. copied: tokens whose keys and values were
        copied from another dialogue with the same opening.
    """

    # A subclass overrides these as class attributes, or sets them before the rollout begins.
    guarded: bool = True
    redraws: bool = False
    knows: Knowledge = "own"
    max_length: int | None = None
    ends_when_correct: bool = True
    in_step: bool = False

    # Replies: what every teacher has to write.

    def start(self, requests: Sequence[Request]) -> None:
        """Takes requests, and returns without waiting for their replies."""
        raise NotImplementedError(f"{type(self).__name__} is a teacher without a `start`")

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies that are ready, by dialogue id. Each is returned once. The call does not wait for more."""
        raise NotImplementedError(f"{type(self).__name__} is a teacher without a `collect`")

    def wait(self, idle: bool) -> None:
        """The rollout calls it in each round before `collect`, while the student's model runs; it may wait for replies.

        Args:
          idle: whether the student has nothing to do until a reply is ready. Only then may waiting take long.
        """
        # A pause keeps the rollout from asking `collect` at full speed. A teacher that can be woken by its first reply
        # overrides this.
        if idle:
            time.sleep(0.001)

    def replacement(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Reply:
        """The reply in place of one that was refused in every try, or at once if `redraws` is False.

        Args:
          problem: what the dialogue is about.
          revealed: numbers of the facts that replies have revealed so far.
          redaction: the fixed text of the leak guard for such turns.
        """
        return Reply(redaction)

    # Knowledge: how long the teacher has something to say, and what it alone reads.

    def turns(self, problem: Problem) -> int | None:
        """The number of student turns after which the teacher has nothing more to say; None for no limit."""
        return None

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        """What the teacher alone reads before it replies, such as the verifier's words; "" for nothing.

        Args:
          task: has the private knowledge.
          problem: the one whose private knowledge the teacher has, see `knows`.
          verdict: on the student's latest turn, taken as an answer to `problem`.
          revealed: numbers of the facts that replies have revealed so far.
        """
        return task.dynamic_knowledge(problem, verdict)

    # Contexts of its own, for teachers that are models on the mesh.

    @property
    def forwarded(self) -> int:
        """Tokens that went through its model so far, padding aside; 0 without a model."""
        return 0

    @property
    def copied(self) -> int:
        """Tokens whose keys and values were copied from another dialogue with the same opening; 0 without a model."""
        return 0

    def open(self, dialogue: int, row: int, context: Sequence[int]) -> None:
        """The rollout calls it when a dialogue begins.

        Args:
          dialogue, row: see `Request`.
          context: what the teacher reads before the student's first turn, as tokens.
        """

    def prefill(self, contexts: Mapping[int, Sequence[int]]) -> None:
        """Lets a model read contexts while the student's turns are being judged; by default it does nothing.

        Args:
          contexts: by row, what the teacher will have read if it has to reply, as tokens.
        """

    def dispatch(self, stop_fraction: float) -> None:
        """Starts a call of the teacher's model, for which `wait` then waits; by default it does nothing.

        Args:
          stop_fraction: the call returns when this fraction of the turns has ended; see `ContextBatch.dispatch`.
        """

    def close(self) -> None:
        """Frees what the teacher holds. Called once, when the rollout is over or was stopped."""
