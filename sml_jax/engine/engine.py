"""The kernels, compiled for a few shapes, and the choice among these shapes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sml_jax.common.errors import UserError
from sml_jax.common.executables import Executable, executable_count
from sml_jax.engine import kernels
from sml_jax.engine.caches import Cache, CacheLayout
from sml_jax.engine.compiling import Tell, compile_ahead
from sml_jax.engine.jitted import cache_shardings, jit_kernels
from sml_jax.engine.laid_out import LaidOutParams
from sml_jax.engine.layer_params import LayerParams
from sml_jax.engine.programs import EngineShapes
from sml_jax.engine.sampling import Sampling
from sml_jax.engine.sizes import (
    CHUNK_SIZES,
    DECODE_STEPS,
    CallSizes,
    check_rising,
    default_batch_sizes,
    default_capacities,
    longest_cache_length,
    rows_of_a_shard,
    sizes_of_calls,
)
from sml_jax.models.decoder import Decoder
from sml_jax.models.layer_kinds import layer_kinds
from sml_jax.models.layout import place_params
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.models.ops.cached_attention import KVCache
from sml_jax.sharding import (
    decode_loop_sharding,
    make_mesh,
    num_decode_loops,
    num_row_shards,
    put_global,
    replicated,
    row_sharding,
)


class Engine:
    """Jitted kernels of one model for a fixed number of rows, where all shapes are chosen from short lists.

    A row is one context of the batch. A call works on all rows or on some of them (`batch_sizes`) and reads caches
    that are as long as the longest row needs (`capacities`). The caches of a `ContextBatch` begin short and grow.

    Args:
      model: the decoder.
      max_concurrent: contexts (rows) that are held at once; a multiple of the mesh's data * fsdp.
      max_length: the longest context in tokens.
      max_new_tokens: the most tokens of one sampled turn.
      stop_ids: tokens that end a turn.
      suppressed_ids: tokens that are never sampled.
      sampling: temperature, top-k, top-p.
      chunk_sizes: numbers of given tokens that one `extend` takes, rising.
      capacities: tokens that caches have room for, rising; by default the powers of two from 64 on, or one size where
        attention reads only the slots that a row has filled ("native"). A longer list makes decoding read fewer
        empty slots and needs more compilation.
      batch_sizes: rows of each shard that one call works on, rising; by default all and, of 32 or more, a quarter and a
        sixteenth, where that is at least 4.
      decode_steps: the most tokens that one `decode` samples in a row.
      max_rewind: longest rewind, in tokens, that a sliding-window cache supports without re-running the prefix; by
        default the length of a sampled turn.
      mesh: devices; by default all of them on `data`. Nothing is placed on them before the first call, so the mesh may
        be of devices that do not exist on this machine, for planning (see `programs`).

    Attributes:
      rows_per_shard: rows in each of the mesh's `shards` row shards.
      cache_lengths: slots that caches are allocated with: the capacities, of which the last has additional room for a
        window of new tokens that begins at the end of the longest context.
      shortest_context: tokens that every context has before its first turn, as far as is known; 0 at first. It decides
        what `warm_up` compiles and nothing else.
      layout: which slot of a cache holds which token of a row.
      has_states: whether the model has recurrent layers.
    """

    def __init__(
        self,
        model: Decoder,
        max_concurrent: int,
        max_length: int,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        suppressed_ids: Sequence[int] = (),
        sampling: Sampling | None = None,
        chunk_sizes: Sequence[int] = CHUNK_SIZES,
        capacities: Sequence[int] | None = None,
        batch_sizes: Sequence[int] | None = None,
        decode_steps: int = DECODE_STEPS,
        max_rewind: int | None = None,
        mesh: Mesh | None = None,
    ):
        if max_length > model.config.max_length:
            raise UserError(
                f"engine: contexts of {max_length} tokens, but the model's max_length is {model.config.max_length}: "
                "fewer turns (max_turns), shorter turns (student_tokens, teacher_tokens), a DialogueRules.max_context "
                "where dialogues end, shorter problems, or a model made for more"
            )
        self.mesh = mesh or make_mesh()
        self.shards = num_row_shards(self.mesh)
        self.rows_per_shard = rows_of_a_shard(max_concurrent, self.mesh)
        self.model, self.max_concurrent = model, max_concurrent
        self.max_length, self.max_new_tokens = max_length, max_new_tokens
        self.sampling, self.decode_steps = sampling or Sampling(), min(max_new_tokens, decode_steps)

        # The lists of sizes that calls choose from.
        self.chunk_sizes = tuple(chunk_sizes)
        self.capacities = tuple(capacities or default_capacities(max_length, model.config.attention))
        self.batch_sizes = tuple(batch_sizes or default_batch_sizes(self.rows_per_shard))
        for name in ("chunk_sizes", "capacities", "batch_sizes"):
            check_rising(name, getattr(self, name))
        if self.capacities[-1] < max_length:
            raise UserError(
                f"engine: capacities end at {self.capacities[-1]}, but contexts have up to {max_length} tokens: end "
                "with that"
            )
        if self.batch_sizes[-1] != self.rows_per_shard:
            raise UserError(
                f"engine: batch_sizes end at {self.batch_sizes[-1]}, but a shard has {self.rows_per_shard} rows: end "
                "with that"
            )
        longest_slots = longest_cache_length(self.capacities[-1], self.chunk_sizes, self.decode_steps)
        self.cache_lengths = (*(self.capacities if capacities else self.capacities[:-1]), longest_slots)
        self.max_rewind = max_new_tokens if max_rewind is None else max_rewind
        self.shortest_context = 0

        # Which tokens may be sampled. They stay on the host for now, see the argument `mesh`.
        self._allowed_on_host = np.ones(model.config.vocab_size, bool)
        self._allowed_on_host[list(suppressed_ids)] = False
        if not self._allowed_on_host[list(stop_ids)].all() or not stop_ids:
            raise UserError("engine: an end of turn must be a token that can be sampled")
        self._stop_ids = tuple(stop_ids)

        config = model.config
        self.has_states = any(config.delta_layers)
        for head_dim in sorted({kind.head_dim for kind in layer_kinds(config)}):
            cache_backend(config.attention).check(self.mesh, config.compute_dtype, head_dim, config.attention_softcap)
        largest_write = max(self.chunk_sizes[-1], self.decode_steps)
        self.layout = CacheLayout.for_config(config, self.cache_lengths[-1], largest_write, self.max_rewind)
        self._jitted = jit_kernels(model, self.mesh, self.layout, self.decode_steps, self.sampling, self._stop_ids)
        self._laid_out = LaidOutParams(model, self.mesh, self._jitted)
        self._compiled: set[Hashable] = set()  # keys of the executables that `warm_up` has compiled

    @cached_property
    def _allowed(self) -> jax.Array | None:
        """Which tokens may be sampled, bool [vocab]; None for all. Placed when it is first needed, see `mesh`."""
        return None if self._allowed_on_host.all() else put_global(self._allowed_on_host, replicated(self.mesh))

    def limit_vocabulary(self, size: int) -> None:
        """From now on no token from id `size` on is sampled. All that speak with an engine call it first.

        Families round their embedding up for the hardware: its last rows belong to no token of the tokenizer, and a
        sampled one of them could not be written as text.

        Args:
          size: number of the tokenizer's tokens.

        Raises:
          UserError: the tokenizer has more tokens than the model.
        """
        if size > self._allowed_on_host.size:
            raise UserError(
                f"engine: the tokenizer has {size} tokens, but the model a vocabulary of {self._allowed_on_host.size}: "
                "give the tokenizer that the model was trained with"
            )
        # Nearly every call changes nothing, and then the array on the devices stays.
        if self._allowed_on_host[size:].any():
            self._allowed_on_host[size:] = False
            self.__dict__.pop("_allowed", None)

    def prepare_params(self, params: Any) -> LayerParams:
        """Parameters in the form that the kernels take, on this engine's mesh.

        The same arrays, adapters aside, are laid out once as long as the result is in use (see `LaidOutParams`).

        Args:
          params: the model's `{"params": ...}`, or LayerParams, which are returned unchanged.
        """
        return params if isinstance(params, LayerParams) else self._laid_out.of(params)

    def empty_cache(self, capacity: int | None = None) -> Cache:
        """A cache of zeros for all rows, with room for `capacity` tokens in each; None for the longest capacity."""
        return self._jitted.empty(
            self.model.config, self.max_concurrent, capacity or self.cache_lengths[-1], self.layout
        )

    def ensure_capacity(self, cache: Cache, needed: int) -> Cache:
        """The cache, grown if need be until each row has room for `needed` tokens; use it in place of the argument.

        It grows one size at a time, so that only growth between neighbouring sizes is compiled, and one array at a
        time, so that memory never holds the complete old and new caches together.
        """
        layout, shardings = self.layout, cache_shardings(self.model, self.mesh, self.layout)
        for capacity in self.cache_lengths:
            if layout.capacity_of(cache) >= needed:
                break
            if layout.capacity_of(cache) >= capacity:
                continue
            # Lists in place of tuples: each old array is dropped as soon as its longer copy exists.
            layers, kinds_of_cache = [list(layer) for layer in cache], [type(layer) for layer in cache]
            del cache
            for layer_number, arrays in enumerate(layers):
                # Only keys and values have slots, of which longer contexts need more.
                if kinds_of_cache[layer_number] is not KVCache:
                    continue
                old_slots, new_slots = arrays[0].shape[layout.slot_axis], layout.slot_count(layer_number, capacity)
                # When a local layer becomes a ring, its tokens move behind the margin in front of the ring.
                front_slots = layout.margin if layout.is_ring(layer_number, new_slots) else 0
                if new_slots > old_slots:
                    for i in range(len(arrays)):
                        grow = self._jitted.grow[shardings[layer_number][i]]
                        arrays[i] = grow(arrays[i], new_slots, front_slots)
            cache = tuple(kind(*arrays) for kind, arrays in zip(kinds_of_cache, layers, strict=True))
        return cache

    def extend(
        self,
        params: Any,
        cache: Cache,
        tokens: np.ndarray,
        start: np.ndarray,
        count: np.ndarray,
        rows: np.ndarray | None = None,
        places: np.ndarray | None = None,
    ) -> Cache:
        """Runs given tokens through the model and writes their keys and values to the cache.

        Args:
          params: see `prepare_params`.
          cache: of all rows. It is donated: use the returned one from then on.
          tokens: int32 [batch, one of the chunk sizes], right padded.
          start: int32 [batch], tokens that a row's cache holds. count: int32 [batch], new tokens; 0 skips a row.
          rows: int32 [shards, one of the batch sizes], row numbers within their shard; None for all rows in order.
          places: int32 [batch, 2], which recurrent state of its row each place reads and which it writes, see
            `TurnStates.places`; None where the model has none, and for the first of both.

        Returns:
          The cache with the new tokens.
        """
        numbers, starts, counts = self._place_numbers(rows), self._place_rows(start), self._place_rows(count)
        states = self._place_states(places, len(start))
        weights, placed_tokens = self.prepare_params(params), self._place_rows(tokens)
        new = self._jitted.extend(weights, cache, numbers, placed_tokens, starts, counts, states)
        return self._jitted.write(cache, new, numbers, starts, counts, states)

    def score(
        self,
        params: Any,
        cache: Cache,
        tokens: np.ndarray,
        start: np.ndarray,
        count: np.ndarray,
        rows: np.ndarray | None = None,
        places: np.ndarray | None = None,
    ) -> jax.Array:
        """Log-probabilities of given tokens, float32 [batch, time]; see `kernels.score`. The cache is only read.

        Args:
          tokens: int32 [batch, time], right padded; each width is compiled for. The first token of a row is the last
            one of its context.
          params, cache, start, count, rows, places: see `extend`.
        """
        row_arrays = [self._place_rows(array) for array in (tokens, start, count)]
        states = self._place_states(places, len(start))
        scores: jax.Array = self._jitted.score(
            self.prepare_params(params), cache, self._place_numbers(rows), *row_arrays, states
        )
        return scores

    def write(
        self,
        cache: Cache,
        new: Cache,
        start: np.ndarray,
        count: np.ndarray,
        rows: np.ndarray | None = None,
        places: np.ndarray | None = None,
    ) -> Cache:
        """Writes the keys, values and states that `decode` returned to the cache, and returns it; see `caches.write`.

        The cache that was passed is donated: use the returned one from then on.
        """
        row_arrays = self._place_rows(start), self._place_rows(count), self._place_states(places, len(start))
        return self._jitted.write(cache, new, self._place_numbers(rows), *row_arrays)

    def copy_prefix(
        self, cache: Cache, source: np.ndarray, target: np.ndarray, slots: int, places: np.ndarray | None = None
    ) -> Cache:
        """Copies the first `slots` tokens of rows to other rows of their shard; see `caches.copy_prefix`.

        The cache that was passed is donated: use the returned one from then on.
        """
        numbers, states = map(self._place_numbers, (source, target)), self._place_states(places, target.size)
        return self._jitted.copy(cache, *numbers, np.int32(slots), states)

    def decode(
        self,
        params: Any,
        cache: Cache,
        last: np.ndarray,
        start: np.ndarray,
        limit: np.ndarray,
        keys: jax.Array,
        rows: np.ndarray | None = None,
        places: np.ndarray | None = None,
        stop_counts: np.ndarray | None = None,
    ) -> tuple[Cache, kernels.Sampled]:
        """Samples up to `decode_steps` tokens of rows' turns; see `kernels.decode` for the arguments.

        Args:
          places: see `extend`.
          stop_counts: int32 [num_decode_loops(mesh)]: each loop returns early once this many of its rows have finished.
            None: a loop continues until all of its rows have.

        Returns:
          The new tokens' keys and values, for `write`, and the samples. `cache` is only read, not consumed.
        """
        stop_counts = np.full(num_decode_loops(self.mesh), len(last), np.int32) if stop_counts is None else stop_counts
        row_arrays = [self._place_rows(array) for array in (last, start, limit, keys)]
        # Rows lie where their cache is; each loop's number lies where the loop runs.
        placed_stop_counts = put_global(stop_counts, decode_loop_sharding(self.mesh))
        return self._jitted.decode(
            self.prepare_params(params),
            cache,
            self._place_numbers(rows),
            *row_arrays,
            self._place_states(places, len(last)),
            placed_stop_counts,
            self._allowed,
        )

    def turn_keys(self, seed_key: jax.Array, salts: np.ndarray, dialogue_ids: np.ndarray) -> jax.Array:
        """A random key for each row's turn, [batch]; see `sampling.turn_keys`."""
        keys: jax.Array = self._jitted.keys(seed_key, salts, dialogue_ids)
        return keys

    def chunk_size_for(self, pending: int, cached: int = 0) -> int:
        """The chunk size with which `extend` should take `pending` tokens that follow `cached` ones.

        It is the smallest size that holds all pending tokens, or else the largest. Only sizes that still fit the
        longest cache after the cached tokens are considered.
        """
        # Near the end of the longest context only the smaller chunks fit (see `sizes.longest_cache_length`).
        fitting = [size for size in self.chunk_sizes if cached + size <= self.cache_lengths[-1]]
        return next((size for size in fitting if pending <= size), fitting[-1])

    def batch_size_for(self, rows: int) -> int:
        """The smallest batch size that holds `rows` rows of a shard."""
        return next(size for size in self.batch_sizes if rows <= size)

    def first_batch_size(self, rows: int) -> int:
        """How many of a shard's `rows` waiting rows the next call should take, so that batches are well filled.

        If the smallest batch size that holds them all is at least four fifths full, that size. Otherwise the largest
        size that they fill, and the remaining rows wait for another call.
        """
        size_for_all = self.batch_size_for(rows)
        if 4 * size_for_all <= 5 * rows:
            return size_for_all
        return max((size for size in self.batch_sizes if size <= rows), default=size_for_all)

    def warm_up(self, params: Any, tell: Tell | None = None) -> None:
        """Compiles the kernels for all shapes that contexts can meet, and runs each of them on no row.

        A second call does nothing. Contexts below `shortest_context` compile what only they need when they need it.

        Args:
          params: see `prepare_params`.
          tell: called while something is compiled, see `compile_ahead`.
        """
        executables = self._call_executables()
        if not isinstance(params, LayerParams):
            params = place_params(self.mesh, self.model, params)
            executables[:0] = self._shapes.prepare_all(params)
        missing = [executable for executable in executables if executable.key not in self._compiled]
        if not missing:
            return
        compile_ahead(missing, tell)
        self._compiled.update(executable.key for executable in missing)
        # Calls find what was compiled above. The cache grows through all its lengths, and every kernel runs at each
        # length and batch size.
        weights, cache = self.prepare_params(params), self.empty_cache(self.cache_lengths[0])
        for sizes in self._call_sizes():
            cache = self.ensure_capacity(cache, sizes.capacity)
            # A row number past the shard's rows belongs to no row: whatever is written there is dropped.
            no_rows = np.full((self.shards, sizes.batch_size), self.rows_per_shard, np.int32)
            rows = None if sizes.batch_size == self.rows_per_shard else no_rows
            zeros = np.zeros(self.shards * sizes.batch_size, np.int32)
            for chunk_size in sizes.chunk_sizes:
                no_tokens = np.zeros((len(zeros), chunk_size), np.int32)
                cache = self.extend(weights, cache, no_tokens, zeros, zeros, rows)
            if not sizes.samples:
                continue
            keys = self.turn_keys(jax.random.key(0), zeros, zeros.astype(np.uint32))
            new, _ = self.decode(weights, cache, zeros, zeros, zeros, keys, rows)
            if self.decode_steps <= sizes.capacity:
                cache = self.write(cache, new, zeros, zeros, rows)
            cache = self.copy_prefix(cache, no_rows, no_rows, 1)

    def _call_sizes(self) -> list[CallSizes]:
        """The sizes of all calls that contexts of this engine can meet."""
        lists = self.cache_lengths, self.batch_sizes, self.chunk_sizes
        # Recurrent layers may have to stop at any token, where a turn's state is kept.
        return sizes_of_calls(*lists, self.shortest_context, stops_anywhere=self.has_states)

    def _call_executables(self) -> list[Executable]:
        """Those of all calls, but for what is compiled in a moment: the keys of turns and the growth of caches."""
        executables: list[Executable] = []
        for sizes in self._call_sizes():
            calls = self._shapes.at(sizes.capacity, sizes.batch_size, mask=not self._allowed_on_host.all())
            written = set(sizes.chunk_sizes)
            if sizes.samples:
                # What a decode returns may be as long as a chunk, and is then written by the same executable.
                written |= {self.decode_steps} if self.decode_steps <= sizes.capacity else set()
                executables += [calls.decode(), calls.copy()]
            executables += [*map(calls.extend, sizes.chunk_sizes), *map(calls.write, sorted(written))]
        return executables

    def executable_count(self) -> int:
        """How many executables the kernels have been compiled to so far. It must not grow after `warm_up`.

        Those of `score`, which only measures of finished dialogues call, are not counted.
        """
        jitted = self._jitted
        kernels_of_calls = (
            jitted.extend, jitted.write, jitted.decode, jitted.copy, *jitted.grow.values(), jitted.keys
        )  # fmt: skip
        return sum(map(executable_count, kernels_of_calls))

    @cached_property
    def _shapes(self) -> EngineShapes:
        """What the arguments of calls look like. `limit_vocabulary` may still change the mask of allowed tokens."""
        sizes = self.max_concurrent, self.max_length, self.decode_steps
        return EngineShapes(self.model, self.mesh, *sizes, self.sampling, self.layout, self._jitted)

    def abstract_weights(self) -> LayerParams:
        """What `prepare_params` returns, as shapes, dtypes and shardings."""
        return self._shapes.weights

    def abstract_cache(self) -> Cache:
        """What `empty_cache` returns for the longest capacity, as shapes, dtypes and shardings."""
        return self._shapes.cache(self.cache_lengths[-1])

    def programs(
        self,
        prepare_calls: int = 1,
        extend_calls: int = 1,
        decode_calls: int = 1,
        copy_calls: int = 1,
        batch_size: int | None = None,
    ) -> tuple[Executable, ...]:
        """The executables of this engine at its longest cache and largest chunk, with abstract arguments.

        No array is made, so the mesh may be one of devices that do not exist on this machine.

        Args:
          prepare_calls, extend_calls, decode_calls, copy_calls: how often the planned job makes each call.
          batch_size: rows of each shard that a call works on; None for all rows.

        Returns:
          Six executables in this order; their names begin with "weights" (reads "params", makes "weights");
          "extend"; "write" of the extended tokens; "decode"; "write" of the sampled tokens; "copy". "extend" and
          "decode" read "weights" and "cache", "write" and "copy" read "cache".
        """
        capacity, mask = self.cache_lengths[-1], not self._allowed_on_host.all()
        # The caches of short contexts have no room for the largest chunk, and are never given it.
        chunk = max(size for size in self.chunk_sizes if size <= capacity)
        calls = self._shapes.at(capacity, batch_size or self.rows_per_shard, mask=mask)
        return (
            self._shapes.prepare(prepare_calls),
            calls.extend(chunk, extend_calls),
            calls.write(chunk, extend_calls),
            calls.decode(decode_calls),
            calls.write(self.decode_steps, decode_calls),
            calls.copy(copy_calls),
        )

    def _place_rows(self, array: Any) -> jax.Array:
        """An array with one entry a row, laid out over the mesh's row shards."""
        return put_global(array, row_sharding(self.mesh))

    def _place_states(self, places: np.ndarray | None, batch: int) -> jax.Array | None:
        """`TurnStates.places` over the row shards, by default the first place of every row; None without states."""
        if not self.has_states:
            return None
        return self._place_rows(np.zeros((batch, 2), np.int32) if places is None else places)

    def _place_numbers(self, rows: np.ndarray | None) -> jax.Array | None:
        """Row numbers of a call, laid out over the row shards; None for all rows in order."""
        return None if rows is None else self._place_rows(rows)
