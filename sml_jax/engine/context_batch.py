"""One side's contexts on the host: the tokens of each row, how many of them are cached, and the sampling of turns.

Rows go at their own pace. A turn is begun (`begin_turn`), each call of the model (`dispatch`, then `collect`) samples
some more tokens of all active turns, and a call returns once enough rows have finished theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.engine.engine import Engine
from sml_jax.engine.kernels import Sampled
from sml_jax.engine.turn_states import TurnStates
from sml_jax.engine.turns import ActiveTurn, DispatchedCall, Utterance
from sml_jax.sharding import num_decode_loops

MIN_COPIED_OPENING = 8  # tokens: a shorter opening costs less to run through the model than to copy


class ContextBatch:
    """The contexts of one side of many dialogues, one a row.

    Appending tokens does not run the model yet: they go through it before the row's next turn is sampled. Rows
    are numbered from 0 to `engine.max_concurrent - 1`.

    Args:
      engine: the compiled kernels of this side's model.
      params: the model's parameters, in any form that `Engine.prepare_params` takes.
      key: random key made from the run's seed and the name of this side.

    Attributes:
      forwarded_tokens: tokens that went through the model so far, padding aside.
      copied_tokens: tokens whose keys and values were copied from a row with the same opening.
    """

    def __init__(self, engine: Engine, params: Any, key: jax.Array):
        rows = engine.max_concurrent
        self._engine, self._weights, self._key = engine, engine.prepare_params(params), key
        self._cache = engine.empty_cache(engine.cache_lengths[0])
        self._contexts: list[list[int]] = [[] for _ in range(rows)]
        self._cached = np.zeros(rows, np.int32)  # tokens of each row whose keys and values are in the cache
        self._written = np.zeros(rows, np.int32)  # end of what was ever written to a row's cache, windows included
        self._states = TurnStates(rows, engine.has_states)
        self._dialogue_ids = np.zeros(rows, np.uint32)
        self._openings: list[tuple[int, ...]] = [()] * rows
        self._donors: dict[tuple[int, tuple[int, ...]], int] = {}  # (shard, opening) -> a row that has it cached
        self._turns: dict[int, ActiveTurn] = {}
        self._call: DispatchedCall | None = None
        self.forwarded_tokens = 0
        self.copied_tokens = 0

    # Contexts

    def start(self, row: int, dialogue_id: int, tokens: Sequence[int]) -> None:
        """Gives a row to a new dialogue, whose context begins with `tokens`. The row's old context is dropped.

        If a row of the same shard has the same opening in its cache, its keys and values are copied from there.
        Raises a UserError if the context gets too long. Random numbers depend on `dialogue_id`, not on the row.
        """
        self._contexts[row], self._cached[row], self._dialogue_ids[row] = [], 0, dialogue_id
        self._turns.pop(row, None)
        self._states.wish(row, None)
        self.append(row, tokens)
        self._openings[row] = tuple(self._contexts[row])

    def append(self, row: int, tokens: Sequence[int]) -> None:
        """Appends given tokens to a row. Raises a UserError if its context gets too long."""
        context = self._contexts[row]
        if len(context) + len(tokens) > self._engine.max_length:
            raise UserError(
                f"a context of {len(context) + len(tokens)} tokens, but there is room for {self._engine.max_length}: "
                "raise max_length, or take fewer or shorter turns"
            )
        context.extend(int(t) for t in tokens)

    def replace(self, row: int, tokens: Sequence[int], kept: int | None = None) -> None:
        """Makes `tokens` a row's context. The common prefix with the old context stays cached.

        Args:
          row: the row.
          tokens: its new context.
          kept: how many of the tokens will begin the row's next contexts too, where that is less than what stands
            before its next turn. Recurrent layers then keep their state there. None for all of it.

        Raises:
          UserError: the context gets too long.
        """
        old = self._contexts[row]
        pairs = enumerate(zip(old, tokens, strict=False))
        prefix_length = next((i for i, (a, b) in pairs if a != b), min(len(old), len(tokens)))
        self.rewind(row, prefix_length)
        self.append(row, tokens[prefix_length:])
        self._states.wish(row, kept)

    def rewind(self, row: int, length: int) -> None:
        """Drops all but the first `length` tokens of a row's context."""
        del self._contexts[row][length:]
        self._cached[row] = min(self._cached[row], length)

    def tokens_left(self, row: int) -> int:
        """How many more tokens a row's context has room for."""
        return self._engine.max_length - len(self._contexts[row])

    def context(self, row: int) -> list[int]:
        """The tokens of a row's context. It is the list that is in use, not a copy: do not change it."""
        return self._contexts[row]

    # Turns

    @property
    def active_turns(self) -> int:
        """How many rows have a turn that was begun and has not ended."""
        return len(self._turns)

    def sampled_so_far(self, row: int) -> tuple[int, ...]:
        """The tokens of a row's turn under way; () if it has none."""
        return tuple(self._turns[row].tokens) if row in self._turns else ()

    def begin_turn(self, row: int, limit: int, salt: int = 0) -> None:
        """Makes a row active: the calls of `dispatch` that follow sample its next turn.

        Args:
          row: its context must not be empty.
          limit: the most tokens of the turn; `tokens_left` and the engine's `max_new_tokens` are limits too.
          salt: mixed into the random key. The same context with the same salt gives the same sample, so a second sample
            needs another salt.

        Raises:
          UserError: the context is empty or full.
        """
        if not self._contexts[row]:
            raise UserError("a context must hold a token before its turn can be sampled")
        limit = min(limit, self._engine.max_new_tokens, self.tokens_left(row))
        if limit < 1:
            raise UserError(f"no room to sample a turn in a context of {self._engine.max_length}: raise max_length")
        self._turns[row] = ActiveTurn(limit, salt)

    def dispatch(self, stop_fraction: float = 1.0) -> None:
        """Starts one call of the model for all active turns, without waiting for it.

        `collect` must be called before the next `dispatch`. Without an active turn nothing is started.

        Args:
          stop_fraction: the call returns early once this fraction of a shard's active rows has finished, and in any
            case after the engine's `decode_steps`.
        """
        assert self._call is None
        rows = sorted(self._turns)
        if not rows:
            return
        engine = self._engine
        self.prefill(rows)

        # What the kernel is told of each place in the batch. A limit of 0 skips a place.
        batch_rows, shard_rows = self._assign_places(rows)
        last_tokens, token_limits, salts = (np.zeros(len(batch_rows), np.int32) for _ in range(3))
        for place, row in enumerate(batch_rows):
            if row >= 0 and row in self._turns:
                turn = self._turns[row]
                last_tokens[place] = self._contexts[row][-1]
                token_limits[place], salts[place] = turn.tokens_left, turn.salt
        # A place of no row has the row number -1, which indexes the last row: its key and start are never used.
        keys = engine.turn_keys(self._key, salts, self._dialogue_ids[batch_rows])
        start = np.where(token_limits > 0, self._cached[batch_rows], 0).astype(np.int32)

        # A turn that is taken back goes on from the state at its start, which its first call therefore keeps.
        keeping = frozenset(row for row in rows if self._states.keeps(row, turn_starts=not self._turns[row].tokens))
        places = self._states.places(batch_rows, keeping)
        active_by_loop = (token_limits > 0).reshape(num_decode_loops(engine.mesh), -1).sum(1)
        stop_counts = np.ceil(stop_fraction * active_by_loop).astype(np.int32)
        new_kv, samples = engine.decode(
            self._weights, self._cache, last_tokens, start, token_limits, keys, shard_rows, places, stop_counts
        )
        self._call = DispatchedCall(rows, batch_rows, shard_rows, start, new_kv, samples, keeping, places)

    def collect(self) -> dict[int, Utterance]:
        """Waits for the dispatched call and appends the sampled tokens to their rows.

        Returns:
          The turns that ended in this call, by row number; an empty dict if no call was dispatched.

        Raises:
          UserError: the model's logits were not finite, so that its tokens mean nothing.
        """
        if self._call is None:
            return {}
        call, self._call = self._call, None
        samples, steps = jax.device_get(call.out), self._engine.decode_steps
        self._check_finite(call, samples)

        # The cache grows only now: the room for the new tokens is not needed during the call, whose every step would
        # have read it.
        cache = self._engine.ensure_capacity(self._cache, int(call.start.max()) + steps)
        self._cache = self._engine.write(cache, call.new, call.start, samples.count, call.shard_rows, call.places)

        place_of = {int(row): place for place, row in enumerate(call.batch_rows) if row >= 0}
        utterances = {}
        for row in call.rows:
            place, turn = place_of[row], self._turns[row]
            count = int(samples.count[place])
            tokens = samples.tokens[place, :count].tolist()
            turn.tokens += tokens
            turn.logprobs += samples.logprob[place, :count].tolist()
            turn.sampling_logprobs += samples.sampling_logprob[place, :count].tolist()
            turn.tokens_left -= count
            self._contexts[row].extend(tokens)
            # `count` tokens went through the model: the one before the first sampled token, and all but the last of
            # these. So the last sampled token is the only one of the row that is not cached.
            self._cached[row] += count
            self._states.advance(row, count, row in call.keeping)
            self.forwarded_tokens += count
            if count:
                self._note_write(row, int(call.start[place]) + steps)
            if samples.ended[place] or not turn.tokens_left:
                del self._turns[row]
                utterances[row] = Utterance(
                    tuple(turn.tokens), tuple(turn.logprobs), tuple(turn.sampling_logprobs), bool(samples.ended[place])
                )
        return utterances

    def _check_finite(self, call: DispatchedCall, samples: Sampled) -> None:
        """Raises UserError if the logits that tokens were sampled from were not finite.

        A token's log-probability is a function of all logits of its position: NaN or infinity in one of them, or -inf
        in all of them, leaves it without a finite value. It comes to the host in any case, so this costs nothing on the
        devices, and every process sees the same.
        """
        sampled = np.arange(samples.logprob.shape[1]) < np.asarray(samples.count)[:, None]
        broken = sampled & ~np.isfinite(samples.logprob)
        if broken.any():
            place, step = np.argwhere(broken)[0]
            # The first token that is sampled follows those that are cached and one more.
            position = int(call.start[place]) + 2 + int(step)
            raise UserError(
                f"the model cannot speak: its logits are not finite (NaN or infinity; first seen for token {position} "
                f"of a context, in {int(broken.any(1).sum())} of {int((samples.count > 0).sum())} dialogues). Give a "
                "sound checkpoint of the model, compute in float32 (the model's dtype), or train with a lower learning "
                "rate"
            )

    def sample(self, rows: Sequence[int], limit: int, salt: int = 0) -> list[Utterance]:
        """Samples the next turn of `rows` and appends it to their contexts.

        Args:
          rows: whose turn it is. No other row may have an active turn.
          limit, salt: see `begin_turn`.

        Returns:
          One utterance for each of `rows`, in the order of `rows`.
        """
        for row in rows:
            self.begin_turn(row, limit, salt)
        utterances: dict[int, Utterance] = {}
        while self._turns:
            self.dispatch()
            utterances |= self.collect()
        return [utterances[row] for row in rows]

    # Scoring

    def score(self, continuations: Mapping[int, Sequence[int]]) -> dict[int, list[float]]:
        """The log-probabilities of tokens that could follow the contexts of rows. The contexts stay as they are.

        Args:
          continuations: by row, at least one token. No context of these rows may be empty.

        Returns:
          By row, the log-probability of each token of the continuation given the context and the tokens before it, at
          temperature 1 with every token allowed.
        """
        engine, rows = self._engine, list(continuations)
        if not rows:
            return {}
        self.prefill(rows)
        # Widths are powers of two, so that a few compilations serve continuations of all lengths.
        width = 1 << max(len(continuation) for continuation in continuations.values()).bit_length()
        batch_rows, shard_rows = self._assign_places(rows)
        tokens, counts = np.zeros((len(batch_rows), width), np.int32), np.zeros(len(batch_rows), np.int32)
        for place, row in enumerate(batch_rows):
            if int(row) in continuations:
                # The context's last token is not cached: it goes first, since it predicts the continuation.
                window = [self._contexts[row][-1], *continuations[int(row)]]
                tokens[place, : len(window)], counts[place] = window, len(window)
        start = np.where(counts > 0, self._cached[batch_rows], 0).astype(np.int32)
        places = self._states.places(batch_rows)
        scores = jax.device_get(engine.score(self._weights, self._cache, tokens, start, counts, shard_rows, places))
        self.forwarded_tokens += int(counts.sum())
        place_of = {int(row): place for place, row in enumerate(batch_rows) if row >= 0}
        return {row: scores[place_of[row], 1 : counts[place_of[row]]].tolist() for row in rows}

    # Prefilling

    def prefill(self, rows: Sequence[int]) -> None:
        """Runs the model over each row's context but for its last token, so that these tokens are in the cache.

        `dispatch` does this for active rows; it may be called earlier. Among rows with the same opening, one runs it
        through the model and the others copy its keys and values. Raises a UserError if a context is empty.
        """
        for row in rows:
            if not self._contexts[row]:
                raise UserError("a context must hold a token before its turn can be sampled")
            # After a rewind the last token may be cached, but decoding needs it as its input.
            self._cached[row] = min(self._cached[row], len(self._contexts[row]) - 1)
            # After a long rewind a local layer's ring may have lost tokens of the window: the row starts from nothing.
            if self._window_overwritten(row, int(self._cached[row])):
                self._cached[row] = 0
            # Recurrent layers go on from one of the two states that a row has, which may have read fewer tokens.
            self._cached[row] = self._states.resume(row, int(self._cached[row]))
            if not self._cached[row]:
                self._written[row] = 0
        donor_of = self._find_donors(rows)
        # A recurrent state can be copied only where it has read no more than the opening, so donors stop there first.
        stops = {donor: len(self._openings[donor]) - 1 for donor in donor_of.values()} if self._states.used else {}
        self._extend([row for row in rows if row not in donor_of], stops)
        if donor_of:
            # The donors have their openings now. What a row has behind the opening is its own to run.
            self._copy_openings(donor_of)
            self._extend(rows)

    def _extend(self, rows: Sequence[int], stops: Mapping[int, int] | None = None) -> None:
        """Runs what is not cached of these rows, their last token excepted, through the model.

        Args:
          rows: the rows.
          stops: by row, how many tokens to run at most; rows that are not named run all.
        """
        engine, stops = self._engine, stops or {}
        while True:
            pending_tokens = {
                row: self._states.pause(row, stops.get(row, len(self._contexts[row]) - 1)) - int(self._cached[row])
                for row in rows
            }
            chunk_size_of = {
                row: engine.chunk_size_for(n, int(self._cached[row])) for row, n in pending_tokens.items() if n > 0
            }
            if not chunk_size_of:
                return
            # Each call takes rows of one chunk size, the largest first: rows with little to run are not padded to the
            # windows of those with much.
            chunk_size = max(chunk_size_of.values())
            call_rows = self._first_rows([row for row in chunk_size_of if chunk_size_of[row] == chunk_size])
            self._cache = engine.ensure_capacity(self._cache, int(self._cached[call_rows].max()) + chunk_size)
            batch_rows, shard_rows = self._assign_places(call_rows)
            tokens, new_counts = np.zeros((len(batch_rows), chunk_size), np.int32), np.zeros(len(batch_rows), np.int32)
            for place, row in enumerate(batch_rows):
                if row >= 0 and row in call_rows:
                    n, first_position = min(pending_tokens[row], chunk_size), int(self._cached[row])
                    tokens[place, :n] = self._contexts[row][first_position : first_position + n]
                    new_counts[place] = n
            start = np.where(new_counts > 0, self._cached[batch_rows], 0).astype(np.int32)
            keeping = {row for row in call_rows if self._states.keeps(row)}
            places = self._states.places(batch_rows, keeping)
            self._cache = engine.extend(self._weights, self._cache, tokens, start, new_counts, shard_rows, places)
            np.add.at(self._cached, batch_rows[new_counts > 0], new_counts[new_counts > 0])
            for place in np.flatnonzero(new_counts).tolist():
                read_row = int(batch_rows[place])
                self._note_write(read_row, int(start[place]) + chunk_size)
                self._states.advance(read_row, int(new_counts[place]), read_row in keeping)
            self.forwarded_tokens += int(new_counts.sum())

    # Openings that several rows share

    def _find_donors(self, rows: Sequence[int]) -> dict[int, int]:
        """For each row that can copy its opening, the row to copy it from: one that has it cached or is about to."""
        donor_of = {}
        for row in rows:
            opening = self._openings[row]
            # Only a row that starts from nothing copies, and only an opening that was not rewound into.
            if self._cached[row] or len(opening) < MIN_COPIED_OPENING or not self._has_opening(row, opening):
                continue
            key = (self._shard_of(row), opening)
            donor = self._donors.get(key)
            if donor is None or donor == row or not self._has_opening(donor, opening):
                self._donors[key] = row  # this row runs the opening itself, and the next ones copy from it
            elif donor in rows and self._cached[donor] < len(opening):
                donor_of[row] = donor
            elif self._cached[donor] >= len(opening) - 1:
                # A donor that went on for long has the end of the opening no more in a local layer's ring, and no
                # recurrent state that has read no more than the opening.
                if self._window_overwritten(donor, len(opening) - 1) or not self._states.longest(donor, len(opening)):
                    self._donors[key] = row
                else:
                    donor_of[row] = donor
        return donor_of

    def _has_opening(self, row: int, opening: tuple[int, ...]) -> bool:
        """Whether a row's dialogue was started with this opening and its context still begins with it."""
        return self._openings[row] == opening and tuple(self._contexts[row][: len(opening)]) == opening

    def _copy_openings(self, donor_of: dict[int, int]) -> None:
        """Copies the cached part of donors' openings to their recipients' caches."""
        per_shard = self._engine.rows_per_shard
        tokens_to_copy = {
            row: self._states.longest(
                donor, min(int(self._cached[donor]), len(self._openings[row]), len(self._contexts[row]) - 1)
            )
            for row, donor in donor_of.items()
        }
        # A donor may have run on in the meantime and lost a part of it; its recipients then run the opening themselves.
        donor_of = {
            row: donor
            for row, donor in donor_of.items()
            if tokens_to_copy[row] and not self._window_overwritten(donor, tokens_to_copy[row])
        }
        if not donor_of:
            return
        batch_rows, shard_rows = self._assign_places(sorted(donor_of))
        if shard_rows is None:
            shard_rows = np.arange(self._engine.max_concurrent).reshape(-1, per_shard) % per_shard
        # Places of rows that copy nothing get a target past the shard's rows, which is dropped.
        place_copies = np.array([row in donor_of for row in batch_rows]).reshape(shard_rows.shape)
        target = np.where(place_copies, shard_rows, per_shard).astype(np.int32)
        source = np.array([donor_of.get(int(row), 0) % per_shard for row in batch_rows], np.int32)
        most_tokens = max(tokens_to_copy[row] for row in donor_of)
        lengths = {row: tokens_to_copy[row] for row in donor_of}
        places = self._states.copy_places(batch_rows, donor_of, lengths)
        self._cache = self._engine.copy_prefix(self._cache, source.reshape(target.shape), target, most_tokens, places)
        for row, donor in donor_of.items():
            self._cached[row], self._written[row] = tokens_to_copy[row], self._written[donor]
            self._states.copied(row, tokens_to_copy[row])
            self.copied_tokens += tokens_to_copy[row]

    # Places in a call's batch

    def _first_rows(self, rows: Sequence[int]) -> list[int]:
        """Those of `rows` that the next call takes, see `Engine.first_batch_size`."""
        by_shard = self._by_shard(rows)
        batch_size = self._engine.first_batch_size(max(map(len, by_shard)))
        return [row for shard_rows in by_shard for row in shard_rows[:batch_size]]

    def _assign_places(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Which row stands at each place of the batch of a call for `rows`.

        Returns:
          Row numbers [batch], -1 where there is no row; and the numbers within their shards [shards, batch size],
          where the first number past the shard's rows stands for no row. The second is None where the batch is all
          rows in order.
        """
        engine, per_shard = self._engine, self._engine.rows_per_shard
        by_shard = self._by_shard(rows)
        batch_size = engine.batch_size_for(max(map(len, by_shard)))
        if batch_size == per_shard:
            return np.arange(engine.max_concurrent), None
        batch_rows = np.full((engine.shards, batch_size), -1)
        for shard, shard_rows in enumerate(by_shard):
            batch_rows[shard, : len(shard_rows)] = shard_rows
        within_shard = np.where(batch_rows >= 0, batch_rows % per_shard, per_shard).astype(np.int32)
        return batch_rows.reshape(-1), within_shard

    def _by_shard(self, rows: Sequence[int]) -> list[list[int]]:
        """Row numbers in a list for each shard, in their order."""
        by_shard: list[list[int]] = [[] for _ in range(self._engine.shards)]
        for row in rows:
            by_shard[self._shard_of(row)].append(row)
        return by_shard

    def _shard_of(self, row: int) -> int:
        """The shard that holds a row."""
        return row // self._engine.rows_per_shard

    # Positions of a row's cache that were written

    def _note_write(self, row: int, end: int) -> None:
        """Notes that a row's cache was written up to position `end`."""
        self._written[row] = max(int(self._written[row]), end)

    def _window_overwritten(self, row: int, length: int) -> bool:
        """Whether a row cannot go on from its first `length` tokens, because later writes replaced some of these."""
        return self._engine.layout.window_overwritten(int(self._written[row]), length)
