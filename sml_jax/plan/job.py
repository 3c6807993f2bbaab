"""What a recipe asks of the machine, without its data and weights: shapes, numbers of calls and optimisers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import optax

from sml_jax.engine.sampling import Sampling
from sml_jax.learn.losses import TokenLoss
from sml_jax.models.config import DecoderConfig
from sml_jax.sharding import MeshShape


@dataclass(frozen=True)
class Dialogues:
    """Dialogues that are rolled out together, each as long as its rules allow.

    Attributes:
      name: for the table.
      length: tokens that a context has room for.
      number: how many dialogues. turns: student turns of each.
      student_tokens, teacher_tokens: the most sampled tokens of a turn.
      student_opening, teacher_opening: given tokens that open each side's context.
      student_reply, teacher_turn: given tokens that each side reads in an exchange.
      teacher: whether a language model teaches, which has a cache of its own.
      writer: whether Q-priming's question writer takes part, which has a cache too.
      max_rewind: the most tokens that a side drops from its context at once.
    """

    name: str
    length: int
    number: int
    turns: int
    student_tokens: int
    teacher_tokens: int
    student_opening: int
    teacher_opening: int
    student_reply: int
    teacher_turn: int
    teacher: bool
    writer: bool = False
    max_rewind: int = 0

    @property
    def max_new_tokens(self) -> int:
        """The most tokens of a sampled turn of either side."""
        # Both sides share one engine, as in a run.
        return max(self.student_tokens, self.teacher_tokens)

    @property
    def caches(self) -> dict[str, bool]:
        """Which sides have a cache of their own, by name."""
        return {"student": True, "teacher": self.teacher, "question writer": self.writer}

    def sampled_turns(self) -> list[tuple[int, int]]:
        """For each side that samples: how many turns, and the most tokens of each."""
        # The teacher does not answer the last turn.
        sides = [(self.turns, self.student_tokens)]
        if self.teacher:
            sides.append((self.turns - 1, self.teacher_tokens))
        return sides

    def extend_calls(self, chunk: int) -> int:
        """How many calls of `Engine.extend`, of `chunk` tokens each, dialogues that run side by side make."""

        def calls(tokens: int) -> int:
            return math.ceil(tokens / chunk)

        # Each side reads its opening, then what the other side said, once an exchange.
        replies = self.turns - 1
        total = calls(self.student_opening) + replies * calls(self.student_reply)
        if self.teacher:
            total += calls(self.teacher_opening) + replies * calls(self.teacher_turn)
        return total


@dataclass(frozen=True)
class Update:
    """What a stage's learner does for one batch of dialogues (or one step on text).

    Attributes:
      name: for the table.
      optimizer: from optax.
      policy_loss: None for supervised fine-tuning.
      micro_batch_size: rows of a micro-batch.
      length: padded tokens of a row, in the longest bucket.
      dialogues: rows that go through it, each pass counted.
      steps: optimiser steps.
    """

    name: str
    optimizer: optax.GradientTransformation
    policy_loss: TokenLoss | None
    micro_batch_size: int
    length: int
    dialogues: int
    steps: int


@dataclass(frozen=True)
class Job:
    """A recipe's work.

    Attributes:
      model: its shape, with its adapters if they are trained.
      max_concurrent: dialogues that run at once.
      data, fsdp, tensor: sizes of the mesh; -1 for one of them takes the devices that are left.
      stages: a rollout and an update each; either may be missing.
      evaluation: the longest of the dialogues that are evaluated, None for none.
      assumptions: what was assumed, one sentence each, for the reader.
      rollout_mesh: another mesh over the same devices for rollouts and evaluation, None for the same.
    """

    model: DecoderConfig
    max_concurrent: int
    data: int
    fsdp: int
    tensor: int
    sampling: Sampling
    stages: tuple[tuple[Dialogues | None, Update | None], ...]
    evaluation: Dialogues | None
    assumptions: tuple[str, ...]
    rollout_mesh: MeshShape | None = None


def with_settings(job: Job, **settings: Any) -> Job:
    """A copy of the job with other settings.

    Args:
      settings: fields of `Job`, `remat` of its model, or `micro_batch_size` of every stage.
    """
    # Two settings are not fields of the job but of its parts.
    micro_batch_size, remat = settings.pop("micro_batch_size", None), settings.pop("remat", None)
    job = dataclasses.replace(job, **settings)
    if micro_batch_size is not None:
        stages = ((d, dataclasses.replace(u, micro_batch_size=micro_batch_size) if u else None) for d, u in job.stages)
        job = dataclasses.replace(job, stages=tuple(stages))
    if remat is not None:
        job = dataclasses.replace(job, model=dataclasses.replace(job.model, remat=remat))
    return job
