"""Learning to speak: next-token prediction on an endless stream of weighted text, from which base models come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
import optax

from sml_jax.errors import UserError, at_least
from sml_jax.learn.batches import MicroBatch, bucket_of, pad_rows
from sml_jax.learn.update import Learner
from sml_jax.pocket.corpus import Example
from sml_jax.run.context import RunContext
from sml_jax.run.io.display import Progress
from sml_jax.run.stages.checks import check_buckets, check_name
from sml_jax.text.chat import ChatFormat


@runtime_checkable
class Text(Protocol):
    """A source of examples: the same seed gives the same stream."""

    def examples(self, chat: ChatFormat, seed: int) -> Iterator[Example]: ...


@dataclass(frozen=True)
class Corpus:
    """Trains on generated text, rows of like length together.

    Attributes:
      text: where examples come from.
      optimizer: from optax.
      steps: optimiser steps. tokens: padded tokens of a step.
      buckets: padded lengths, rising; a longer example is an error.
    """

    text: Text
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

    def check(self, work: RunContext) -> None:
        self._chat(work)
        longest = self.buckets[-1]
        if longest > work.model.config.max_length:
            raise UserError(
                f"{self.name}: texts of up to {longest} tokens, but the model's max_length is "
                f"{work.model.config.max_length}: fewer buckets or a longer model"
            )

    def run(self, work: RunContext) -> None:
        learner = Learner(work.model, self.optimizer, mesh=work.mesh)
        state = work.begin(self.optimizer)
        # The stream is generated, not read: a resumed run plays it again up to where it stood.
        done = work.place.step
        stream = islice(self._batches(work), done, self.steps) if done < self.steps else iter(())
        recent: list[float] = []
        with Progress(self.name, self.steps) as progress:
            for batch in stream:
                started = time.monotonic()
                state, metrics = learner.update(state, [batch])
                recent = [*recent[-49:], metrics["nll"]]
                seconds = time.monotonic() - started
                work.params = state.params
                work.step_done(
                    state,
                    {**metrics, "tokens_per_second": batch.tokens.size / seconds},
                    last=work.place.step + 1 == self.steps,
                )
                progress.step(work.place.step, {"nll": float(np.mean(recent))})
        work.params = state.params

    def _chat(self, work: RunContext) -> ChatFormat:
        if not isinstance(work.framing, ChatFormat):
            raise UserError(f"{self.name}: generated text is written in roles: bind Experiment.chat to a RoleChat")
        return work.framing

    def _batches(self, work: RunContext) -> Iterator[MicroBatch]:
        waiting: dict[int, list[Example]] = {size: [] for size in self.buckets}
        for example in self.text.examples(self._chat(work), work.seed):
            size = bucket_of(len(example.tokens), self.buckets)
            waiting[size].append(example)
            if len(waiting[size]) == self.tokens // size:
                yield _batch(waiting[size], size)
                waiting[size] = []


def _batch(examples: list[Example], time: int) -> MicroBatch:
    weights = pad_rows([e.weights for e in examples], time, np.float32)
    return MicroBatch(
        tokens=pad_rows([e.tokens for e in examples], time, np.int32),
        length=np.array([len(e.tokens) for e in examples], np.int32),
        weights=weights / max(float(weights.sum()), 1e-9),
        old_logprob=np.zeros_like(weights),
        advantage=np.ones(len(examples), np.float32),
    )
