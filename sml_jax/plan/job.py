"""What a recipe asks of the machine, without its data and weights: shapes, numbers of calls and optimisers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optax
from jax.sharding import Mesh

from sml_jax.engine.engine import Engine
from sml_jax.engine.sampling import Sampling
from sml_jax.learn.losses import TokenLoss
from sml_jax.models.config import DecoderConfig
from sml_jax.sharding import MeshShape


@dataclass(frozen=True)
class Dialogues:
    """The dialogues of one rollout, as sizes; each is as long as its rules allow.

    Attributes:
      name: what the plan's tables call them.
      length: the most tokens of a context.
      number: how many dialogues there are.
      turns: student turns of each dialogue.
      student_tokens, teacher_tokens: the most tokens that a turn of each side samples.
      student_opening, teacher_opening: tokens that open each side's context; they are read, not sampled.
      student_reply: tokens that the student's context gets in an exchange without sampling them: the teacher's reply
        and what the template puts around it.
      teacher_turn: tokens that the teacher's context gets in an exchange without sampling them: the student's turn,
        private knowledge and what the template puts around them.
      teacher: whether a language model teaches; it has a cache of its own.
      writer: whether Q-priming's question writer takes part; it has a cache of its own.
      max_rewind: the most tokens that are dropped from the end of a context at once.
      own_engines: teachers that have a model of their own, by name: from the number of dialogues that run at once and
        the mesh to that model's engine.
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
    own_engines: Mapping[str, Callable[[int, Mesh], Engine]] = field(default_factory=dict)

    @property
    def max_new_tokens(self) -> int:
        """The most tokens that a turn samples, over both sides."""
        # Both sides share one engine, as in a run.
        return max(self.student_tokens, self.teacher_tokens)

    @property
    def caches(self) -> dict[str, bool]:
        """Whether a side has a cache of its own, by the side: "student", "teacher" and "question writer"."""
        return {"student": True, "teacher": self.teacher, "question writer": self.writer}

    def sampled_turns(self) -> list[tuple[int, int]]:
        """(number of sampled turns, the most tokens of each) of the student, then of the teacher if a model teaches."""
        # The teacher does not answer the last turn.
        sides = [(self.turns, self.student_tokens)]
        if self.teacher:
            sides.append((self.turns - 1, self.teacher_tokens))
        return sides

    def extend_calls(self, chunk: int) -> int:
        """Number of calls of `Engine.extend`, of up to `chunk` tokens a row, for dialogues that run at once."""

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
    """What a stage's learner does for one batch of dialogues (or for one step on text).

    Attributes:
      name: the stage's name, for the plan's tables.
      optimizer: the optax transformation.
      policy_loss: the loss of the `policy` stream; None for supervised fine-tuning.
      micro_batch_size: rows of a micro-batch.
      length: tokens of a row, padded to the longest bucket.
      dialogues: number of rows trained on; a row that is used in several passes counts once for each.
      steps: number of optimiser steps.
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
    """What a recipe would run, as sizes: the input of a plan.

    Attributes:
      model: the model's shape, with its adapters if they are trained.
      max_concurrent: dialogues that run at once.
      data, fsdp, tensor: sizes of the mesh's axes; one of them may be -1 and takes the devices that are left.
      sampling: how tokens are sampled.
      stages: (rollout, update) of each stage in order; None for one that the stage lacks.
      evaluation: the evaluated dialogues with the longest contexts; None if nothing is evaluated.
      assumptions: what was assumed for lack of data, one sentence each.
      rollout_mesh: shape of another mesh over the same devices, for rollouts and evaluation; None to use the one above.
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
    """A copy of the job with some settings changed.

    Args:
      settings: new values by name: of fields of `Job`, of `remat` (the model's), or of `micro_batch_size` (of every
        stage's update).
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
