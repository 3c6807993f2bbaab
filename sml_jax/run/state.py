"""How far a run has come, and what each stage takes on and hands over."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp

from sml_jax.learn.train_state import TrainState


@dataclass(frozen=True)
class RunPosition:
    """How far a run has come.

    Attributes:
      stage: index of the stage under way, from 0.
      step: steps of this stage that are done.
      total: steps of all stages that are done.
      problems: positions of the problem stream that are used up: the next rollout takes its problems from here on.
      dialogues: dialogue ids that are used up: the next rollout counts its dialogues from here on. Random keys come
        from the run's seed and these ids, so no two dialogues of a run draw from the same keys.
    """

    stage: int = 0
    step: int = 0
    total: int = 0
    problems: int = 0
    dialogues: int = 0

    def after_step(self) -> RunPosition:
        """The position one step on."""
        return dataclasses.replace(self, step=self.step + 1, total=self.total + 1)

    def after_rollout(self, problems: int, dialogues: int) -> RunPosition:
        """The position with so many more problems and dialogue ids used up."""
        return dataclasses.replace(self, problems=self.problems + problems, dialogues=self.dialogues + dialogues)

    def at_stage(self, stage: int) -> RunPosition:
        """This position if `stage` is under way already; otherwise the beginning of `stage`."""
        return self if stage == self.stage else dataclasses.replace(self, stage=stage, step=0)


@dataclass(frozen=True)
class RunState:
    """What a stage takes on and hands over.

    Attributes:
      train_state: the student's parameters, and the optimiser's state of the stage under way.
      position: how far the run has come.
    """

    train_state: TrainState
    position: RunPosition = RunPosition()

    @staticmethod
    def of_params(params: dict, position: RunPosition = RunPosition()) -> RunState:
        """A state without an optimiser: what a run begins with, and what passes from one stage to the next."""
        # The empty optimiser state is never trained with: a stage begins with one of its own.
        return RunState(TrainState(jnp.zeros((), jnp.int32), params, ()), position)

    @property
    def params(self) -> dict:
        """The student's parameters, with the frozen base if adapters are trained."""
        return self.train_state.params

    def with_update(self, train_state: TrainState) -> RunState:
        """This state after an update. Its position stays: the run's bookkeeper counts the step."""
        return dataclasses.replace(self, train_state=train_state)

    def after_rollout(self, problems: int, dialogues: int) -> RunState:
        """This state with so many more problems and dialogue ids used up.

        A stage calls it once the rollout is behind it: a run that is stopped within a rollout plays it again, with the
        same problems and ids.
        """
        return dataclasses.replace(self, position=self.position.after_rollout(problems, dialogues))
