"""The teacher's protocol: whatever answers a batch of student turns.

A teacher takes requests with `start` and hands over the replies that are ready with `collect`. A model on the mesh, a
Python function, a remote endpoint and a person are the same to the rollout, which asks a teacher only for what stands
in `Teacher`. Recipes name a `TeacherSpec`, a frozen object; each rollout makes a live `Teacher` from it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import jax

from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.engine.engine import Engine
from sml_jax.tasks.problems.types import Problem, Task, Turn, Verdict

Knowledge = Literal["own", "other", "none"]


@dataclass(frozen=True)
class Request:
    """A student turn that waits for the teacher's reply.

    Attributes:
      dialogue: the dialogue's id, under which `Teacher.collect` returns the reply.
      row: the dialogue's place among those under way, from 0; no two dialogues under way share one.
      problem: what the dialogue is about, answer included.
      turns: the public conversation so far: the problem's statement first, the student's turn to answer last.
      verdict: the verifier's judgement of that turn.
      context: everything the teacher has read so far, private knowledge included, as tokens of the run's framing.
      revealed: numbers of the facts that replies have revealed so far, in their order; see `Reply.fact`.
      draw: how many replies to this turn the leak guard has refused already.
    """

    dialogue: int
    row: int
    problem: Problem
    turns: tuple[Turn, ...]
    verdict: Verdict
    # For teachers that are language models.
    context: tuple[int, ...] = ()
    revealed: tuple[int, ...] = ()
    draw: int = 0


@dataclass(frozen=True)
class Reply:
    """A teacher's turn.

    Attributes:
      text: what the student is told; None if the teacher wrote nothing that can be shown to the student.
      tokens: `text` as tokens of the run's framing; None to have it tokenised, and cut at the rules' `teacher_tokens`.
      context_tokens: the turn as it stands in the teacher's own context, such as with its thinking; None for `tokens`.
      fact: the number of the fact about the problem that the reply reveals, 0 for none. A user who tells a problem bit
        by bit reveals a fact in each reply.
      truncated: the teacher ran out of tokens before it ended its turn.
    """

    text: str | None
    tokens: tuple[int, ...] | None = None
    context_tokens: tuple[int, ...] | None = None
    fact: int = 0
    truncated: bool = False


@dataclass(frozen=True)
class NoReply:
    """Stands in the place of a reply that could not be made. It drops its dialogue, and no other.

    Attributes:
      error: what was being done and what went wrong, in one line.
    """

    error: str


@dataclass(frozen=True)
class RolloutSetup:
    """What a rollout offers to the teacher that is made for it.

    Attributes:
      task: judges, and knows the private knowledge.
      framing: writes the contexts as tokens. rules: turns and budgets.
      engine: the student's compiled kernels. student_params: the student's parameters in this rollout.
      initial_params: parameters of the frozen initial student, which is the paper's teacher.
      key: the random key of the teacher's side.
    """

    task: Task
    framing: Framing
    rules: DialogueRules
    engine: Engine
    student_params: dict
    initial_params: dict
    key: jax.Array


@runtime_checkable
class TeacherSpec(Protocol):
    """A teacher as recipes name it: a frozen object that makes the live teacher of each rollout."""

    @property
    def name(self) -> str:
        """The arm's name: its key in `eval.json`, and `arm` in `dialogues.jsonl`."""
        ...

    @property
    def runs_model(self) -> bool:
        """Whether its teacher runs a language model with the student's engine, which `sml-jax plan` then counts."""
        ...

    def make(self, setup: RolloutSetup) -> Teacher:
        """The live teacher of one rollout."""
        ...


class Teacher:
    """Who answers the student in the dialogues of one rollout.

    A subclass writes `start` and `collect`; every other member has a default that suits a teacher without a model.

    Attributes:
      guarded: whether the leak guard reads its replies.
      redraws: whether it may say something else when it is asked again. If so, a reply that leaks is asked for again,
        `LeakGuard.regenerations` times, before it is replaced; if not, it is replaced at once.
      knows: whose private knowledge it reads: "own", of the problem at hand; "other", of another problem (its replies
        are then about the wrong problem); "none", of no problem.
      max_length: tokens that a context of its own can hold; None if it keeps none.
      in_step: whether every process of a run of several makes the same replies by itself, in the same order. If not,
        process 0 alone asks the teacher for replies and tells the others. `turns` and `reads` are asked in all of them.
      forwarded: tokens that went through its model so far, padding aside. copied: tokens whose keys and values were
        copied from another dialogue with the same opening.
    """

    # A subclass overrides these as class attributes, or sets them before the rollout begins.
    guarded: bool = True
    redraws: bool = False
    knows: Knowledge = "own"
    max_length: int | None = None
    in_step: bool = False

    # Replies: what every teacher has to write.

    def start(self, requests: Sequence[Request]) -> None:
        """Takes requests, and returns without waiting for their replies."""
        raise NotImplementedError(f"{type(self).__name__} is a teacher without a `start`")

    def collect(self) -> Mapping[int, Reply | NoReply]:
        """The replies that are ready, by dialogue id, each handed over once. Does not wait."""
        raise NotImplementedError(f"{type(self).__name__} is a teacher without a `collect`")

    def wait(self, idle: bool) -> None:
        """Is called in each round of the rollout before `collect`, while the student's model runs.

        Args:
          idle: the student has nothing to do until a reply is ready, so that waiting for one holds nobody up.
        """
        # A pause keeps the rollout from asking `collect` at full speed. A teacher that can be woken by its first reply
        # overrides this.
        if idle:
            time.sleep(0.001)

    def replacement(self, problem: Problem, revealed: Sequence[int], redaction: str) -> Reply:
        """What is said in place of a reply that the leak guard refused for good."""
        return Reply(redaction)

    # Knowledge: how long the teacher has something to say, and what it alone reads.

    def turns(self, problem: Problem) -> int | None:
        """Student turns after which the teacher has nothing more to say; None for no end of its own."""
        return None

    def reads(self, task: Task, problem: Problem, verdict: Verdict | None, revealed: Sequence[int]) -> str:
        """What the teacher alone learns before it replies, "" for nothing.

        Args:
          task: knows the private knowledge.
          problem: whose private knowledge it has, see `knows`. verdict: on the student's turn as an answer to it.
          revealed: see `Request`.
        """
        return task.dynamic_knowledge(problem, verdict)

    # Contexts of its own, for teachers that are models on the mesh.

    @property
    def forwarded(self) -> int:
        return 0

    @property
    def copied(self) -> int:
        return 0

    def open(self, dialogue: int, row: int, context: Sequence[int]) -> None:
        """A dialogue begins.

        Args:
          dialogue, row: see `Request`.
          context: what the teacher reads before the student's first turn, as tokens.
        """

    def prefill(self, contexts: Mapping[int, Sequence[int]]) -> None:
        """May read ahead while the student's turns are being judged.

        Args:
          contexts: by row, what the teacher will have read if it has to reply.
        """

    def dispatch(self, stop_fraction: float) -> None:
        """Starts a call of the teacher's model, which `wait` then waits for; see `ContextBatch.dispatch`."""

    def close(self) -> None:
        """The rollout is over, or was stopped: frees what the teacher holds."""
