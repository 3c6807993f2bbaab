"""What a stage asks of the machine, said without running it: `sml-jax plan` compiles for it."""

from __future__ import annotations

from dataclasses import dataclass

import optax

from sml_jax.dialogue.rules import DialogueRules
from sml_jax.learn.losses import TokenLoss


@dataclass(frozen=True)
class RolloutWork:
    """Dialogues that a stage rolls out together.

    Attributes:
      rules: of these dialogues.
      dialogues: how many there are.
    """

    rules: DialogueRules
    dialogues: int


@dataclass(frozen=True)
class UpdateWork:
    """The updates that follow one rollout, or one update where a stage rolls out nothing.

    Attributes:
      optimizer: from optax.
      loss: the loss of each token in the policy stream; None for the likelihood stream alone.
      micro_batch_size: rows of a micro-batch.
      longest_row: tokens of the longest row; None for the length of the rollout's contexts.
      dialogues: rows that go through the updates, over all of them.
      steps: optimiser steps.
    """

    optimizer: optax.GradientTransformation
    loss: TokenLoss | None
    micro_batch_size: int
    longest_row: int | None
    dialogues: int
    steps: int


@dataclass(frozen=True)
class StageWork:
    """A stage's work: a rollout, updates, or both. None stands for a part that the stage does not have."""

    rollout: RolloutWork | None = None
    update: UpdateWork | None = None
