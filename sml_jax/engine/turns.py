"""Turns on the host: those that are being sampled, the call of the model that samples them, and finished ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sml_jax.engine.caches import Cache
from sml_jax.engine.kernels import Sampled


@dataclass(frozen=True)
class Utterance:
    """A sampled turn.

    Attributes:
      tokens: the sampled tokens, the end-of-turn token included.
      logprobs: of each token under the model at temperature 1 with every token allowed.
      sampling_logprobs: of each token under the distribution that it was drawn from (temperature, top-k, top-p).
      ended: the last token is an end-of-turn token; if not, the turn was cut at its limit.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampling_logprobs: tuple[float, ...]
    ended: bool


@dataclass
class ActiveTurn:
    """An active turn: how many more tokens it may have, and those that were sampled so far."""

    tokens_left: int
    salt: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    sampling_logprobs: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class DispatchedCall:
    """A dispatched call of the model.

    Attributes:
      rows: whose turns are active in it.
      batch_rows, shard_rows: which row stands at each place of the call's batch, see `ContextBatch._assign_places`.
      start: tokens that were cached, by place. new: keys and values to write. out: the samples.
      keeping: rows whose recurrent state at the call's start is kept.
      places: the states that the call reads and writes, see `TurnStates.places`.
    """

    rows: list[int]
    batch_rows: np.ndarray
    shard_rows: np.ndarray | None
    start: np.ndarray
    new: Cache
    out: Sampled
    keeping: frozenset[int]
    places: np.ndarray | None
