"""What a stage asks of the machine, said without running it: `sml-jax plan` compiles for it."""

from __future__ import annotations

from dataclasses import dataclass

import optax

from sml_jax.dialogue.rules import DialogueRules
from sml_jax.learn.losses import TokenLoss

# What a recipe that leaves it open gets, if it fits (see `sml_jax.run.memory_fit`).
MAX_CONCURRENT = 128  # dialogues that run at the same time
MICRO_BATCH_SIZE = 64  # dialogues of a micro-batch


@dataclass(frozen=True)
class RolloutWork:
    """One rollout of a stage, for `sml-jax plan`.

    Attributes:
      rules: of its dialogues.
      dialogues: how many dialogues it has.
    """

    rules: DialogueRules
    dialogues: int


@dataclass(frozen=True)
class UpdateWork:
    """The updates that follow one rollout, or one update where a stage has no rollout; for `sml-jax plan`.

    Attributes:
      optimizer: from optax.
      loss: the loss of each token in the policy stream; None for the likelihood stream alone.
      micro_batch_size: rows of a micro-batch.
      longest_row: tokens of the longest row; None for the length of the rollout's contexts.
      dialogues: number of rows that go through all of these updates together.
      steps: number of optimiser steps.
    """

    optimizer: optax.GradientTransformation
    loss: TokenLoss | None
    micro_batch_size: int
    longest_row: int | None
    dialogues: int
    steps: int


@dataclass(frozen=True)
class StageWork:
    """A stage's work: a rollout, updates, or both; for `sml-jax plan`.

    Attributes:
      rollout: None if the stage rolls out nothing.
      update: None if the stage trains nothing.
    """

    rollout: RolloutWork | None = None
    update: UpdateWork | None = None
