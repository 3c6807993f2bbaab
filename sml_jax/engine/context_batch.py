"""One side's contexts on the host: what each row says so far, how much of it is cached, and sampling its next turn.

Rows go at their own pace: those that are to speak are begun, and each call of the model takes all of them some tokens
on, until enough of them have come to the end of their turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from sml_jax.engine.caches import Cache
from sml_jax.engine.engine import Engine
from sml_jax.engine.kernels import Sampled
from sml_jax.errors import UserError
from sml_jax.sharding import num_decode_loops

SHARED = 8  # an opening of fewer tokens costs less to run through the model than to copy


@dataclass(frozen=True)
class Utterance:
    """A sampled turn: its tokens, the end included if the row came to it, and their log-probs (see `Sampled`)."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampling_logprobs: tuple[float, ...]
    ended: bool


@dataclass
class _Turn:
    """A turn under way: what may still be said of it, and what has been."""

    left: int
    salt: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    sampling_logprobs: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Call:
    """A call of the model that was started: its rows, and where each stands in the call (see `_chosen`)."""

    rows: list[int]
    order: np.ndarray
    numbers: np.ndarray | None
    start: np.ndarray
    new: Cache
    out: Sampled


class ContextBatch:
    """Contexts of one side of the dialogues. Appending is free; tokens go through the model before the next sample.

    Args:
      engine: compiled kernels. params: of this side's model.
      key: random key of the run's seed and of this side.
    """

    def __init__(self, engine: Engine, params: Any, key: jax.Array):
        self._engine, self._weights, self._key = engine, engine.prepare_params(params), key
        self._cache = engine.cache(engine.cache_lengths[0])
        self._contexts: list[list[int]] = [[] for _ in range(engine.rows)]
        self._cached = np.zeros(engine.rows, np.int32)
        self._written = np.zeros(engine.rows, np.int32)  # places in the cache that were written, in vain or not
        self._ids = np.zeros(engine.rows, np.uint32)
        self._openings: list[tuple[int, ...]] = [()] * engine.rows
        self._holders: dict[tuple[int, tuple[int, ...]], int] = {}
        self._turns: dict[int, _Turn] = {}
        self._under_way: _Call | None = None
        self.forwarded = 0  # tokens that went through the model, padding aside
        self.copied = 0  # tokens whose keys and values were copied from a row with the same opening

    def start(self, row: int, dialogue_id: int, tokens: Sequence[int]) -> None:
        """Gives a row to a new dialogue, whose context opens with `tokens`.

        Where a row of the same shard has the same opening in its cache, it is copied and not run through the model.
        """
        self._contexts[row], self._cached[row], self._ids[row] = [], 0, dialogue_id
        self._turns.pop(row, None)
        self.append(row, tokens)
        self._openings[row] = tuple(self._contexts[row])

    def append(self, row: int, tokens: Sequence[int]) -> None:
        """Appends given tokens to a row."""
        context = self._contexts[row]
        if len(context) + len(tokens) > self._engine.max_length:
            raise UserError(
                f"a context of {len(context) + len(tokens)} tokens, but there is room for {self._engine.max_length}: "
                "raise max_length, or take fewer or shorter turns"
            )
        context.extend(int(t) for t in tokens)

    def replace(self, row: int, tokens: Sequence[int]) -> None:
        """Makes `tokens` a row's context; what they share with the old one from the start stays cached."""
        old = self._contexts[row]
        pairs = enumerate(zip(old, tokens, strict=False))
        shared = next((i for i, (a, b) in pairs if a != b), min(len(old), len(tokens)))
        self.rewind(row, shared)
        self.append(row, tokens[shared:])

    def rewind(self, row: int, length: int) -> None:
        """Takes back all but the first `length` tokens of a row."""
        del self._contexts[row][length:]
        self._cached[row] = min(self._cached[row], length)

    def room(self, row: int) -> int:
        """Tokens that a row can still take."""
        return self._engine.max_length - len(self._contexts[row])

    def context(self, row: int) -> list[int]:
        """A row's tokens."""
        return self._contexts[row]

    @property
    def speaking(self) -> int:
        """Rows whose turn is under way."""
        return len(self._turns)

    def begin(self, row: int, limit: int, salt: int = 0) -> None:
        """Lets a row speak its next turn, in the calls of `advance` that follow.

        Args:
          row: its context must not be empty.
          limit: tokens of the turn at most; also the row's room.
          salt: another draw from the same place takes another salt.
        """
        if not self._contexts[row]:
            raise UserError("a context must hold a token before its turn can be sampled")
        most = min(limit, self._engine.max_new_tokens, self.room(row))
        if most < 1:
            raise UserError(f"no room to sample a turn in a context of {self._engine.max_length}: raise max_length")
        self._turns[row] = _Turn(most, salt)

    def dispatch(self, stop_fraction: float = 1.0) -> None:
        """Starts one call of the model for the rows that are speaking, which `collect` waits for.

        Args:
          stop_fraction: returns early once this fraction of a shard's active rows has finished, and in any case after
            the engine's steps.
        """
        assert self._under_way is None
        rows = sorted(self._turns)
        if not rows:
            return
        engine = self._engine
        self.prefill(rows)
        order, numbers = self._chosen(rows)
        last, limit, salts = (np.zeros(len(order), np.int32) for _ in range(3))
        for i, row in enumerate(order):
            if row >= 0 and row in self._turns:
                last[i], turn = self._contexts[row][-1], self._turns[row]
                limit[i], salts[i] = turn.left, turn.salt
        keys = engine.keys(self._key, salts, self._ids[order])
        starts = np.where(limit > 0, self._cached[order], 0).astype(np.int32)
        speaking = (limit > 0).reshape(num_decode_loops(engine.mesh), -1).sum(1)
        stop_counts = np.ceil(stop_fraction * speaking).astype(np.int32)
        new, out = engine.decode(self._weights, self._cache, last, starts, limit, keys, numbers, stop_counts)
        self._under_way = _Call(rows, order, numbers, starts, new, out)

    def collect(self) -> dict[int, Utterance]:
        """Waits for the call that was started. The turns that ended in it, by row; all rows' contexts have grown."""
        if self._under_way is None:
            return {}
        call, self._under_way = self._under_way, None
        rows, out = call.rows, jax.device_get(call.out)
        # Only now: what a call writes need not be there while it runs, and would be read all along.
        cache = self._engine.fitted(self._cache, int(call.start.max()) + self._engine.steps)
        self._cache = self._engine.write(cache, call.new, call.start, out.count, call.numbers)
        place = {int(row): i for i, row in enumerate(call.order) if row >= 0}
        finished = {}
        for row in rows:
            i, turn = place[row], self._turns[row]
            n = int(out.count[i])
            tokens = out.tokens[i, :n].tolist()
            turn.tokens += tokens
            turn.logprobs += out.logprob[i, :n].tolist()
            turn.sampling_logprobs += out.sampling_logprob[i, :n].tolist()
            turn.left -= n
            self._contexts[row].extend(tokens)
            self._cached[row] += n
            if n:
                self._wrote(row, int(call.start[i]) + self._engine.steps)
            self.forwarded += n
            if out.ended[i] or not turn.left:
                del self._turns[row]
                finished[row] = Utterance(
                    tuple(turn.tokens), tuple(turn.logprobs), tuple(turn.sampling_logprobs), bool(out.ended[i])
                )
        return finished

    def sample(self, rows: Sequence[int], limit: int, salt: int = 0) -> list[Utterance]:
        """Samples the next turn of `rows` and appends it.

        Args:
          rows: which. Nobody else may be speaking.
          limit, salt: see `begin`.

        Returns:
          An utterance for each of `rows`, in their order.
        """
        for row in rows:
            self.begin(row, limit, salt)
        said: dict[int, Utterance] = {}
        while self._turns:
            self.dispatch()
            said |= self.collect()
        return [said[row] for row in rows]

    def prefill(self, rows: Sequence[int]) -> None:
        """Puts all but the last token of each row's context into its cache; `dispatch` does it too.

        Of rows with the same opening, one goes first and the others copy it.
        """
        for row in rows:  # a rewound row may have its last token cached, which decoding is to be given
            if not self._contexts[row]:
                raise UserError("a context must hold a token before its turn can be sampled")
            self._cached[row] = min(self._cached[row], len(self._contexts[row]) - 1)
            if self._lost(row, int(self._cached[row])):  # too much was taken back: once more from the start
                self._cached[row] = 0
            if not self._cached[row]:
                self._written[row] = 0
        followers = self._followers(rows)
        self._extend([row for row in rows if row not in followers])
        if followers:
            self._copy(followers)
            self._extend(list(followers))

    def _extend(self, rows: Sequence[int]) -> None:
        """Runs what `rows` wait with through the model."""
        engine = self._engine
        while True:
            waiting = {row: len(self._contexts[row]) - 1 - int(self._cached[row]) for row in rows}
            sizes = {row: engine.chunk_for(n, int(self._cached[row])) for row, n in waiting.items() if n > 0}
            if not sizes:
                return
            # Rows that wait with much do not make the others' windows longer.
            size = max(sizes.values())
            few = self._few([row for row in sizes if sizes[row] == size])
            waiting = {row: waiting[row] for row in few}
            self._fit(few, size)
            order, numbers = self._chosen(few)
            tokens, count = np.zeros((len(order), size), np.int32), np.zeros(len(order), np.int32)
            for i, row in enumerate(order):
                if row >= 0 and row in waiting:
                    n, at = min(waiting[row], size), int(self._cached[row])
                    tokens[i, :n] = self._contexts[row][at : at + n]
                    count[i] = n
            starts = np.where(count > 0, self._cached[order], 0).astype(np.int32)
            self._cache = engine.extend(self._weights, self._cache, tokens, starts, count, numbers)
            np.add.at(self._cached, order[count > 0], count[count > 0])
            for row, start in zip(order[count > 0], starts[count > 0], strict=True):
                self._wrote(int(row), int(start) + size)
            self.forwarded += int(count.sum())

    def _followers(self, rows: Sequence[int]) -> dict[int, int]:
        """Rows with nothing cached that can copy their opening, and from where: a row that has it or is about to."""
        followers = {}
        for row in rows:
            opening = self._openings[row]
            if self._cached[row] or len(opening) < SHARED or tuple(self._contexts[row][: len(opening)]) != opening:
                continue
            key = (self._shard(row), opening)
            holder = self._holders.get(key)
            if holder is None or holder == row or not self._holds(holder, opening):
                self._holders[key] = row
            elif holder in rows:
                followers[row] = holder
            elif self._cached[holder] >= len(opening) - 1:
                # A local layer of a holder that has long gone on no longer has the end of the opening.
                if self._lost(holder, len(opening) - 1):
                    self._holders[key] = row
                else:
                    followers[row] = holder
        return followers

    def _holds(self, row: int, opening: tuple[int, ...]) -> bool:
        """Whether a row begins with this opening, in its cache or soon."""
        return self._openings[row] == opening and tuple(self._contexts[row][: len(opening)]) == opening

    def _copy(self, followers: dict[int, int]) -> None:
        """Copies the openings of other rows, of those that still have all of them."""
        each = self._engine.batch_sizes[-1]
        held = {
            row: min(int(self._cached[holder]), len(self._openings[row]), len(self._contexts[row]) - 1)
            for row, holder in followers.items()
        }
        followers = {row: holder for row, holder in followers.items() if not self._lost(holder, held[row])}
        if not followers:
            return
        order, numbers = self._chosen(sorted(followers))
        target = np.arange(self._engine.rows).reshape(-1, each) % each if numbers is None else numbers
        chosen = np.array([row in followers for row in order]).reshape(target.shape)
        target = np.where(chosen, target, each).astype(np.int32)
        source = np.array([followers.get(int(row), 0) % each for row in order], np.int32).reshape(target.shape)
        self._cache = self._engine.copy(self._cache, source, target, max(held[row] for row in followers))
        for row, holder in followers.items():
            self._cached[row], self._written[row] = held[row], self._written[holder]
            self.copied += held[row]

    def _few(self, rows: Sequence[int]) -> list[int]:
        """Those of `rows` that the next of several calls takes, so that no call works on many more than wait for it."""
        by_shard = self._by_shard(rows)
        width = self._engine.first_batch_size(max(map(len, by_shard)))
        return [row for some in by_shard for row in some[:width]]

    def _by_shard(self, rows: Sequence[int]) -> list[list[int]]:
        by_shard: list[list[int]] = [[] for _ in range(self._engine.shards)]
        for row in rows:
            by_shard[self._shard(row)].append(row)
        return by_shard

    def _chosen(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """A call's rows: their numbers, -1 for nobody; and the same within their shards, None for all rows in order."""
        engine, each = self._engine, self._engine.batch_sizes[-1]
        by_shard = self._by_shard(rows)
        width = engine.batch_size_for(max(map(len, by_shard)))
        if width == each:
            return np.arange(engine.rows), None
        order = np.full((engine.shards, width), -1)
        for shard, some in enumerate(by_shard):
            order[shard, : len(some)] = some
        return order.reshape(-1), np.where(order >= 0, order % each, each).astype(np.int32)

    def _fit(self, rows: Sequence[int], more: int) -> None:
        """Makes room in the caches for a window of `more` slots after what is cached."""
        self._cache = self._engine.fitted(self._cache, int(self._cached[list(rows)].max()) + more)

    def _wrote(self, row: int, end: int) -> None:
        """Notes that a row's cache was written up to this place."""
        self._written[row] = max(int(self._written[row]), end)

    def _lost(self, row: int, length: int) -> bool:
        """Whether a row's first `length` tokens cannot be gone on from, for what has been written since."""
        return self._engine.layout.lost(int(self._written[row]), length)

    def _shard(self, row: int) -> int:
        return row // self._engine.batch_sizes[-1]
