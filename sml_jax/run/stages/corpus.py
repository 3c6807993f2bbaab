"""The corpus stage: next-token prediction on an endless stream of weighted text, which makes base models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
import optax

from sml_jax.common.errors import UserError, at_least
from sml_jax.dialogue.rules import DialogueRules
from sml_jax.learn.batches import MicroBatch, bucket_of, pad_rows
from sml_jax.learn.signals import LikelihoodSignal
from sml_jax.learn.update import Learner
from sml_jax.run.context import RunContext
from sml_jax.run.io.display import Progress
from sml_jax.run.score import StepScore
from sml_jax.run.stages.checks import check_buckets, check_name
from sml_jax.run.state import RunState
from sml_jax.run.workload import StageWork, UpdateWork
from sml_jax.text.chat import ChatFormat
from sml_jax.text.weighted_text import TextSource, WeightedText


@dataclass(frozen=True)
class Corpus:
    """A stage that trains on generated text. The rows of a step have similar lengths.

    Attributes:
      length_setting: the attribute that may grow when the run is over, see `sml_jax.run.stage.Stage`.
      text: generates the rows.
      optimizer: from optax.
      steps: optimiser steps.
      tokens: number of tokens of a step, padding included.
      buckets: padded lengths, rising; a row longer than the last one is an error.
      name: of the stage, in logs and names of files.
    """

    length_setting: ClassVar[str] = "steps"
    text: TextSource
    optimizer: optax.GradientTransformation
    steps: int = 3000
    tokens: int = 6144
    buckets: tuple[int, ...] = (32, 64, 96, 128, 192, 288)
    name: str = "corpus"

    def __post_init__(self) -> None:
        check_name(self.name)
        check_buckets(self.name, self.buckets)
        if self.tokens < self.buckets[-1]:
            raise UserError(
                f"{self.name}: tokens is {self.tokens}, but a step must hold a row of {self.buckets[-1]}, the largest "
                "bucket: more tokens or a smaller bucket"
            )
        at_least(self, steps=0)

    @property
    def score(self) -> StepScore:
        """The metric `nll`, of which less is better."""
        return StepScore("nll", higher_is_better=False)

    def check(self, context: RunContext) -> None:
        """Checks that the texts fit the run's format and the model.

        Raises:
          UserError: the run's contexts are written in a chat template, or rows are longer than the model's contexts.
        """
        self._chat(context)
        longest_row = self.buckets[-1]
        if longest_row > context.model.config.max_length:
            raise UserError(
                f"{self.name}: texts of up to {longest_row} tokens, but the model's max_length is "
                f"{context.model.config.max_length}: fewer buckets or a longer model"
            )

    def workload(self, rules: DialogueRules) -> StageWork:
        """One update with rows of the longest padded length; there is no rollout. See `Stage.workload`."""
        longest_row = self.buckets[-1]
        row_count = self.tokens // longest_row
        return StageWork(update=UpdateWork(self.optimizer, None, row_count, longest_row, row_count, steps=1))

    def run(self, context: RunContext, state: RunState) -> RunState:
        """Trains on the stream of text; see `Stage.run`."""
        bookkeeper = context.bookkeeper
        learner = Learner(context.model, self.optimizer, mesh=context.mesh)
        state = bookkeeper.begin(state, self.optimizer)
        # The stream is generated, not read: a resumed run plays it again up to where it stood.
        steps_done = state.position.step
        stream = islice(self._batches(context), steps_done, self.steps) if steps_done < self.steps else iter(())
        # The display shows a mean over the last steps, since texts of one step have one length.
        recent_nll: list[float] = []
        with Progress(self.name, self.steps) as progress:
            for batch in stream:
                # The update, with the time that it takes.
                started = time.monotonic()
                train_state, metrics = learner.update(state.train_state, [batch])
                recent_nll = [*recent_nll[-49:], metrics["nll"]]
                seconds = time.monotonic() - started
                state = bookkeeper.step_done(
                    state.with_update(train_state),
                    {**metrics, "tokens_per_second": batch.tokens.size / seconds},
                    last=state.position.step + 1 == self.steps,
                )
                progress.step(state.position.step, {"nll": float(np.mean(recent_nll))})
        return state

    def _chat(self, context: RunContext) -> ChatFormat:
        """The format of generated text; raises a UserError where contexts are written in a chat model's template."""
        if not isinstance(context.framing, ChatFormat):
            raise UserError(f"{self.name}: generated text is written in roles: bind Experiment.chat to a RoleChat")
        return context.framing

    def _batches(self, context: RunContext) -> Iterator[MicroBatch]:
        """Yields batches without end, each of rows that are padded to the same length."""
        # Rows of like length wait together until they fill a step.
        waiting_rows: dict[int, list[WeightedText]] = {bucket: [] for bucket in self.buckets}
        for row in self.text.examples(self._chat(context), context.seed):
            bucket = bucket_of(len(row.tokens), self.buckets)
            waiting_rows[bucket].append(row)
            if len(waiting_rows[bucket]) == self.tokens // bucket:
                yield _batch(waiting_rows[bucket], bucket)
                waiting_rows[bucket] = []


def _batch(rows: list[WeightedText], time: int) -> MicroBatch:
    """Rows padded to `time` tokens, with weights that sum to one."""
    # The micro-batch is the whole batch, so its weights are normalised by themselves.
    weights = pad_rows([row.weights for row in rows], time, np.float32)
    return MicroBatch(
        tokens=pad_rows([row.tokens for row in rows], time, np.int32),
        length=np.array([len(row.tokens) for row in rows], np.int32),
        likelihood=LikelihoodSignal(weights / max(float(weights.sum()), 1e-9)),
    )
