"""The kernels compiled for a few shapes, and the rows that they run on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sml_jax.engine import kernels
from sml_jax.engine.sampling import Sampling
from sml_jax.errors import UserError
from sml_jax.models.decoder import Decoder
from sml_jax.models.layers import KeyValues
from sml_jax.parallel.mesh import everywhere, fetchable, make_mesh, place, place_params, row_sharding, row_shards
from sml_jax.parallel.programs import programs


class Engine:
    """Jitted `extend` and `decode` for a model at a fixed number of rows; every shape comes from a short list.

    Args:
      model: the decoder.
      rows: contexts that run at once; a multiple of the mesh's data * fsdp.
      max_length: the longest context in tokens.
      budget: the most tokens of one sampled turn.
      ends: tokens that end a turn.
      forbidden: tokens that are never sampled.
      sampling: temperature, top-k, top-p.
      chunks: numbers of given tokens that one `extend` takes, rising.
      live: live parts of the cache that are read, rising; by default the powers of two from 64 to max_length.
      mesh: devices; by default all of them on `data`.
    """

    def __init__(
        self,
        model: Decoder,
        rows: int,
        max_length: int,
        budget: int,
        ends: Sequence[int],
        forbidden: Sequence[int] = (),
        sampling: Sampling | None = None,
        chunks: Sequence[int] = (16, 64),
        live: Sequence[int] | None = None,
        mesh: Mesh | None = None,
    ):
        if max_length > model.config.max_length:
            raise UserError(
                f"engine: contexts of {max_length} tokens, but the model's max_length is {model.config.max_length}: "
                "fewer turns (max_turns), shorter turns (student_tokens, teacher_tokens), a DialogueRules.max_context "
                "where dialogues end, shorter problems, or a model made for more"
            )
        self.mesh = mesh or make_mesh()
        shards = row_shards(self.mesh)
        if rows % shards:
            raise UserError(
                f"engine: {rows} rows do not divide over {shards} shards of the mesh: give a multiple of {shards}"
            )
        self.model, self.rows, self.max_length, self.budget = model, rows, max_length, budget
        self.sampling = sampling or Sampling()
        self.chunks = tuple(chunks)
        self.live = tuple(live) if live else _doubling(64, max_length)
        for name, sizes in (("chunks", self.chunks), ("live", self.live)):
            if not sizes or list(sizes) != sorted(set(sizes)):
                raise UserError(f"engine: {name} are {sizes}; give rising sizes")
        if self.live[-1] < max_length:
            raise UserError(f"engine: live ends at {self.live[-1]}, but contexts have up to {max_length} tokens")
        allowed = np.ones(model.config.vocab_size, bool)
        allowed[list(forbidden)] = False
        if not allowed[list(ends)].all() or not ends:
            raise UserError("engine: an end of turn must be a token that can be sampled")
        self._allowed = place(allowed, everywhere(self.mesh))
        # A cache goes out laid out as it came in: left to XLA, a fresh cache would be another program than a used one.
        self._kept = NamedSharding(self.mesh, PartitionSpec(("data", "fsdp"), None, "tensor"))
        # Made in its parts: the whole need not fit on one device, nor lie in one process.
        self._empty = jax.jit(kernels.empty_cache, static_argnums=(0, 1, 2, 3), out_shardings=self._kept)
        self._extend = jax.jit(
            partial(kernels.extend, model), static_argnums=0, donate_argnums=2, out_shardings=self._kept
        )
        self._decode = jax.jit(
            partial(kernels.decode, model),
            static_argnums=(0, 1, 2, 3),
            donate_argnums=5,
            out_shardings=(self._kept, fetchable(self.mesh)),
        )
        self._ends = tuple(ends)

    def place(self, params: dict) -> dict:
        """Parameters on this engine's mesh."""
        return place_params(self.mesh, self.model, params)

    def cache(self) -> KeyValues:
        """An empty cache for all rows."""
        most_written = max(*self.chunks, self.budget)
        return self._empty(self.model.config, self.rows, self.max_length, most_written)

    def extend(
        self, params: dict, cache: KeyValues, tokens: np.ndarray, start: np.ndarray, count: np.ndarray
    ) -> KeyValues:
        """`kernels.extend` with the smallest live part that will do."""
        live = self._live_for(int(start.max()))
        return self._extend(live, params, cache, *map(self._rows, (tokens, start, count)))

    def decode(
        self,
        params: dict,
        cache: KeyValues,
        last: np.ndarray,
        start: np.ndarray,
        limit: np.ndarray,
        keys: jax.Array,
    ) -> tuple[KeyValues, kernels.Sampled]:
        """`kernels.decode` with the smallest live part that will do."""
        live = self._live_for(int(start.max()))
        return self._decode(
            live,
            self.budget,
            self.sampling,
            self._ends,
            params,
            cache,
            *map(self._rows, (last, start, limit)),
            self._rows(keys),
            self._allowed,
        )

    def chunk_for(self, pending: int) -> int:
        """Tokens to append in one go when the fullest row waits with `pending`."""
        return next((size for size in self.chunks if pending <= size), self.chunks[-1])

    def warm_up(self, params: dict) -> None:
        """Compiles every shape there is by running each kernel on rows that it leaves as they are."""
        params, cache, zeros = self.place(params), self.cache(), np.zeros(self.rows, np.int32)
        keys = jax.random.split(jax.random.key(0), self.rows)
        for live in self.live:
            start = np.full(self.rows, min(live, self.max_length), np.int32)
            for size in self.chunks:
                cache = self.extend(params, cache, np.zeros((self.rows, size), np.int32), start, zeros)
            cache, _ = self.decode(params, cache, zeros, start, zeros, keys)

    def compiled(self) -> int:
        """How many programs have been compiled so far."""
        return programs(self._extend) + programs(self._decode)

    def _live_for(self, longest: int) -> int:
        return next(size for size in self.live if longest <= size)

    def _rows(self, array: np.ndarray | jax.Array) -> jax.Array:
        return place(array, row_sharding(self.mesh))


def _doubling(first: int, last: int) -> tuple[int, ...]:
    sizes = []
    while first < last:
        sizes.append(first)
        first *= 2
    return (*sizes, last)
