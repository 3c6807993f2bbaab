"""The imitation stage: supervised fine-tuning on the student's turns of dialogues that the task itself wrote.

It gives a small model the form of an answer, which it needs before it can have any success to learn from.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import optax

from sml_jax.common.errors import UserError, at_least
from sml_jax.common.protocols import AttributeCheck
from sml_jax.dialogue.framing import Framing
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.learn.batches import MicroBatch, bucket_of, pad_rows
from sml_jax.learn.signals import LikelihoodSignal
from sml_jax.learn.update import Learner
from sml_jax.run.context import RunContext
from sml_jax.run.io.display import Progress
from sml_jax.run.problem_order import problems_at
from sml_jax.run.score import StepScore
from sml_jax.run.stages.checks import check_buckets, check_name
from sml_jax.run.state import RunState
from sml_jax.run.workload import StageWork, UpdateWork
from sml_jax.tasks.problems.types import Problem, Turn


@runtime_checkable
class HasDemonstrations(Protocol, metaclass=AttributeCheck):
    """A task that writes dialogues for a student to imitate."""

    def demonstration(self, problem: Problem) -> tuple[Turn, ...]:
        """A dialogue about the problem, always the same one.

        Its first turn is the problem's statement, and student and teacher alternate from there; the last turn is the
        student's.
        """
        ...


@dataclass(frozen=True)
class Imitation:
    """A stage that trains on the student's turns of the task's own dialogues, each problem's once.

    Attributes:
      length_setting: the attribute that may grow when the run is over, see `sml_jax.run.stage.Stage`.
      optimizer: from optax.
      steps: optimiser steps.
      problems_per_step: dialogues of a step, about as many problems.
      buckets: padded lengths, rising; a longer dialogue is an error.
      name: of the stage, in logs and names of files.
    """

    length_setting: ClassVar[str] = "steps"
    optimizer: optax.GradientTransformation
    steps: int = 20
    problems_per_step: int = 16
    buckets: tuple[int, ...] = (64, 96, 128, 192, 256, 384, 512)
    name: str = "imitation"

    def __post_init__(self) -> None:
        check_name(self.name)
        check_buckets(self.name, self.buckets)
        at_least(self, steps=0, problems_per_step=1)

    @property
    def score(self) -> StepScore:
        """The metric `nll`, of which less is better."""
        return StepScore("nll", higher_is_better=False)

    def check(self, context: RunContext) -> None:
        """Checks that the task has dialogues to imitate.

        Raises:
          UserError: it has none.
        """
        if not isinstance(context.task, HasDemonstrations):
            raise UserError(
                f"{self.name}: the task {context.task.name} has no dialogues to imitate: give it a method "
                "demonstration(problem), or leave this stage out"
            )

    def workload(self, rules: DialogueRules) -> StageWork:
        """One update with rows of the longest padded length; there is no rollout. See `Stage.workload`."""
        count = self.problems_per_step
        return StageWork(update=UpdateWork(self.optimizer, None, count, self.buckets[-1], count, steps=1))

    def run(self, context: RunContext, state: RunState) -> RunState:
        """Trains on the dialogues of the problems in the run's order; see `Stage.run`."""
        task, bookkeeper = context.task, context.bookkeeper
        assert isinstance(task, HasDemonstrations), "checked before the run"
        learner = Learner(context.model, self.optimizer, mesh=context.mesh)
        state = bookkeeper.begin(state, self.optimizer)
        train_problems = context.task.problems("train")
        with Progress(self.name, self.steps) as progress:
            while state.position.step < self.steps:
                started = time.monotonic()
                chosen = problems_at(train_problems, context.seed, state.position.problems, self.problems_per_step)
                rows = [_student_row(context.framing, task.demonstration(problem)) for problem in chosen]
                train_state, metrics = learner.update(state.train_state, [self._batch(rows)])
                # No dialogue id is used up: nobody has spoken.
                state = state.after_rollout(self.problems_per_step, 0).with_update(train_state)
                metrics["update_seconds"] = time.monotonic() - started
                state = bookkeeper.step_done(state, metrics, last=state.position.step + 1 == self.steps)
                progress.step(state.position.step, {"nll": metrics["nll"]})
        return state

    def _batch(self, rows: list[tuple[list[int], list[float]]]) -> MicroBatch:
        """Rows of (tokens, weights), padded to the bucket of the longest, with weights that sum to one."""
        longest_row = bucket_of(max(len(tokens) for tokens, _ in rows), self.buckets)
        weights = pad_rows([weights for _, weights in rows], longest_row, np.float32)
        return MicroBatch(
            tokens=pad_rows([tokens for tokens, _ in rows], longest_row, np.int32),
            length=np.array([len(tokens) for tokens, _ in rows], np.int32),
            likelihood=LikelihoodSignal(weights / weights.sum()),
        )


def _student_row(framing: Framing, turns: tuple[Turn, ...]) -> tuple[list[int], list[float]]:
    """A dialogue as the student reads it: its tokens, and weights that are 1 at the student's and 0 elsewhere."""
    tokens = list(framing.student_opening(turns[0].text))
    weights = [0.0] * len(tokens)
    for turn in turns[1:]:
        if turn.role == "student":
            # The end of the turn is the student's own decision, so it is learnt too.
            added, weight = [*framing.text(turn.text), framing.stop_ids[0]], 1.0
        else:
            added, weight = framing.student_hears(framing.text(turn.text)), 0.0
        tokens += added
        weights += [weight] * len(added)
    return tokens, weights
