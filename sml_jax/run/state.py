"""How far a run has come, and what each stage takes on and hands over."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sml_jax.learn.train_state import TrainState
from sml_jax.models.lora import join_lora, split_trainable


@dataclass(frozen=True)
class RunPosition:
    """How far a run has come.

    Attributes:
      stage: index of the stage under way, from 0.
      step: number of steps of this stage that are done.
      total: number of steps of all stages that are done.
      problems: how many positions of the problem stream are used up: the next rollout takes its problems from there on.
      dialogues: how many dialogue ids are used up: the next rollout numbers its dialogues from there on. Random keys
        come from the run's seed and these ids, so no two dialogues of a run draw from the same keys.
    """

    stage: int = 0
    step: int = 0
    total: int = 0
    problems: int = 0
    dialogues: int = 0

    def after_step(self) -> RunPosition:
        """The position after one more step."""
        return dataclasses.replace(self, step=self.step + 1, total=self.total + 1)

    def after_rollout(self, problems: int, dialogues: int) -> RunPosition:
        """The position with `problems` more problems and `dialogues` more dialogue ids used up."""
        return dataclasses.replace(self, problems=self.problems + problems, dialogues=self.dialogues + dialogues)

    def at_stage(self, stage: int) -> RunPosition:
        """This position if the stage with index `stage` is under way already; otherwise the beginning of that stage."""
        return self if stage == self.stage else dataclasses.replace(self, stage=stage, step=0)


@dataclass(frozen=True)
class RunState:
    """What a stage receives and returns.

    Attributes:
      train_state: the student's parameters, and the optimiser's state of the stage under way.
      position: how far the run has come.
      rollout_params: the trained parameters, without a frozen base, that the next rollout samples with where it lags
        behind the updates; None where it samples with the present ones.
    """

    train_state: TrainState
    position: RunPosition = RunPosition()
    rollout_params: dict | None = None

    @staticmethod
    def of_params(params: dict, position: RunPosition = RunPosition()) -> RunState:
        """A state without an optimiser, with which a run or a stage begins."""
        # The empty optimiser state is never trained with: a stage begins with one of its own.
        return RunState(TrainState(jnp.zeros((), jnp.int32), params, ()), position)

    @property
    def params(self) -> dict:
        """The student's parameters, with the frozen base if adapters are trained."""
        return self.train_state.params

    @property
    def sampling_params(self) -> dict:
        """The parameters that the next rollout samples with, with the frozen base if adapters are trained."""
        if self.rollout_params is None:
            return self.params
        sampling_params: dict = join_lora(split_trainable(self.params)[0], self.rollout_params)
        return sampling_params

    def sampling_with_present_params(self) -> RunState:
        """This state with a copy of the present parameters for the next rollout, which the next update leaves alone."""
        # An update donates the buffers of what it trains, so a rollout beside it needs buffers of its own.
        rollout_params = jax.tree.map(jnp.copy, split_trainable(self.params)[1])
        return dataclasses.replace(self, rollout_params=rollout_params)

    def with_update(self, train_state: TrainState) -> RunState:
        """This state with the train state after an update. The position is not advanced: the bookkeeper does that."""
        return dataclasses.replace(self, train_state=train_state)

    def after_rollout(self, problems: int, dialogues: int) -> RunState:
        """This state with `problems` more problems and `dialogues` more dialogue ids used up.

        A stage calls it after the rollout. A run that is stopped within a rollout plays it again, with the same
        problems and ids.
        """
        return dataclasses.replace(self, position=self.position.after_rollout(problems, dialogues))
