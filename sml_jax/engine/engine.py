"""The kernels compiled for a few shapes, and what chooses among them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from sml_jax.common.executables import programs
from sml_jax.engine import caches, kernels
from sml_jax.engine.caches import Cache, CacheLayout, aligned
from sml_jax.engine.layer_params import LayerParams, unstack_layers, weight_shardings
from sml_jax.engine.sampling import Sampling, turn_keys
from sml_jax.errors import UserError
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import place_params
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.models.ops.cached_attention import KVCache
from sml_jax.sharding import (
    cache_sharding,
    decode_loop_sharding,
    host_readable,
    make_mesh,
    num_decode_loops,
    num_row_shards,
    put_global,
    replicated,
    row_sharding,
)

CHUNKS = (16, 64)  # numbers of given tokens that one call takes
STEPS = 32  # the most tokens that a row samples in one call: then the others get their chance


class Engine:
    """Jitted kernels for a model at a fixed number of rows; every shape comes from a short list.

    A call works on all rows or on some of them (`batch_sizes`), and reads caches that are as long as the longest row
    needs (`capacities`). The caches of one set of rows begin short and grow.

    Args:
      model: the decoder.
      rows: contexts that are held at once; a multiple of the mesh's data * fsdp.
      max_length: the longest context in tokens.
      max_new_tokens: the most tokens of one sampled turn.
      stop_ids: tokens that end a turn.
      suppressed_ids: tokens that are never sampled.
      sampling: temperature, top-k, top-p.
      chunks: numbers of given tokens that one `extend` takes, rising.
      capacities: tokens that caches have room for, rising; by default the powers of two from 64 on, or one size where
        attention is "native". More of them read less and take longer to compile.
      batch_sizes: rows of each shard that one call works on, rising; by default all and, of 32 or more, a quarter and a
        sixteenth, where that is at least 4.
      steps: the most tokens that one `decode` samples in a row.
      max_rewind: tokens that a row may take back without that those before them go through the model again, where
        local layers keep no more than they need; by default a sampled turn.
      mesh: devices; by default all of them on `data`.
    """

    def __init__(
        self,
        model: Decoder,
        rows: int,
        max_length: int,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        suppressed_ids: Sequence[int] = (),
        sampling: Sampling | None = None,
        chunks: Sequence[int] = CHUNKS,
        capacities: Sequence[int] | None = None,
        batch_sizes: Sequence[int] | None = None,
        steps: int = STEPS,
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
        each = rows_of_a_shard(rows, self.mesh)
        self.model, self.rows, self.max_length, self.max_new_tokens = model, rows, max_length, max_new_tokens
        self.sampling, self.steps = sampling or Sampling(), min(max_new_tokens, steps)
        self.chunks = tuple(chunks)
        # Shorter caches gain nothing where only filled slots are read.
        reads_all = cache_backend(model.config.attention).reads_full_capacity
        own = _doubling(64, max_length) if reads_all else (max_length,)
        self.capacities = tuple(capacities) if capacities else own
        self.batch_sizes = tuple(batch_sizes) if batch_sizes else _default_batch_sizes(each)
        for name, sizes in (
            ("chunks", self.chunks),
            ("capacities", self.capacities),
            ("batch_sizes", self.batch_sizes),
        ):
            if not sizes or list(sizes) != sorted(set(sizes)):
                raise UserError(f"engine: {name} are {sizes}; give rising sizes")
        if self.capacities[-1] < max_length:
            raise UserError(
                f"engine: capacities end at {self.capacities[-1]}, but contexts have up to {max_length} tokens"
            )
        if self.batch_sizes[-1] != each:
            raise UserError(
                f"engine: batch_sizes end at {self.batch_sizes[-1]}, but a shard has {each} rows: end with that"
            )
        with_windows = longest_cache_length(self.capacities[-1], self.chunks, self.steps)
        self.cache_lengths = (*(self.capacities if capacities else self.capacities[:-1]), with_windows)
        self.max_rewind = max_new_tokens if max_rewind is None else max_rewind
        allowed = np.ones(model.config.vocab_size, bool)
        allowed[list(suppressed_ids)] = False
        if not allowed[list(stop_ids)].all() or not stop_ids:
            raise UserError("engine: an end of turn must be a token that can be sampled")
        self._allowed = None if allowed.all() else put_global(allowed, replicated(self.mesh))
        self._stop_ids = tuple(stop_ids)
        self._compile()

    def _compile(self) -> None:
        """Jitted functions; nothing is compiled before they are called."""
        c = self.model.config
        cache_backend(c.attention).check(self.mesh, c.compute_dtype, c.head_dim, c.attention_softcap)
        most = max(self.chunks[-1], self.steps)
        self.layout = layout = CacheLayout.of(c, self.cache_lengths[-1], most, self.max_rewind)
        # A cache goes out laid out as it came in: left to XLA, a fresh cache would be another program than a used one.
        kept = cache_sharding(self.mesh, layout.axis)
        both: Any = (kept, kept)
        model, whole = self.model, (KVCache(*both),) * self.model.config.layers
        self._weights = jax.jit(partial(unstack_layers, model), out_shardings=weight_shardings(model, self.mesh))
        # Made in its parts: the whole need not fit on one device, nor lie in one process.
        self._empty = jax.jit(caches.empty_cache, static_argnums=(0, 1, 2, 3), out_shardings=whole)
        self._grow = jax.jit(partial(caches.grow, layout.axis), static_argnums=(1, 2), out_shardings=kept)
        self._keys = jax.jit(partial(turn_keys))
        self._copy = jax.jit(partial(caches.copy, layout), donate_argnums=0, out_shardings=whole)
        self._extend = jax.jit(_in_loops(partial(kernels.extend, model, layout), self.mesh, 5), out_shardings=whole)
        write = partial(caches.write, self.shards, layout)
        self._write = jax.jit(write, donate_argnums=0, out_shardings=whole)
        decode = partial(kernels.decode, model, layout, self.steps, self.sampling, self._stop_ids)
        self._decode = jax.jit(_in_loops(decode, self.mesh, 7, 1), out_shardings=(whole, host_readable(self.mesh)))

    def prepare_params(self, params: Any) -> LayerParams:
        """Parameters as the kernels take them, on this engine's mesh. Weights are given back as they are."""
        return params if isinstance(params, LayerParams) else self._weights(place_params(self.mesh, self.model, params))

    def cache(self, capacity: int | None = None) -> Cache:
        """An empty cache for all rows, of the longest capacity or a given one."""
        return self._empty(self.model.config, self.rows, capacity or self.cache_lengths[-1], self.layout)

    def fitted(self, cache: Cache, needed: int) -> Cache:
        """The cache with room for `needed` tokens in a row; it is consumed if it has to grow.

        It grows a size at a time, so that few programs are needed, and an array at a time, so that old and new never
        stand side by side whole.
        """
        layout = self.layout
        for capacity in self.cache_lengths:
            if layout.room(cache) >= needed:
                break
            if layout.room(cache) < capacity:
                parts = [list(layer) for layer in cache]
                del cache
                for layer, part in enumerate(parts):
                    was, slots = part[0].shape[layout.axis], layout.slots(layer, capacity)
                    before = layout.spare if layout.round(layer, slots) else 0
                    for i in range(len(part) if slots > was else 0):
                        part[i] = self._grow(part[i], slots, before)
                cache = tuple(KVCache(*part) for part in parts)
        return cache

    def extend(
        self,
        params: Any,
        cache: Cache,
        tokens: np.ndarray,
        start: np.ndarray,
        count: np.ndarray,
        rows: np.ndarray | None = None,
    ) -> Cache:
        """`kernels.extend` and `caches.write`; rows are numbers within their shard, [shards, one of the widths]."""
        numbers, at, counts = self._numbers(rows), self._rows(start), self._rows(count)
        new = self._extend(self.prepare_params(params), cache, numbers, self._rows(tokens), at, counts)
        return self._write(cache, new, numbers, at, counts)

    def write(
        self, cache: Cache, new: Cache, start: np.ndarray, count: np.ndarray, rows: np.ndarray | None = None
    ) -> Cache:
        """`caches.write` of what `decode` gave."""
        return self._write(cache, new, self._numbers(rows), self._rows(start), self._rows(count))

    def copy(self, cache: Cache, source: np.ndarray, target: np.ndarray, slots: int) -> Cache:
        """`caches.copy`, within each shard."""
        return self._copy(cache, self._numbers(source), self._numbers(target), np.int32(slots))

    def decode(
        self,
        params: Any,
        cache: Cache,
        last: np.ndarray,
        start: np.ndarray,
        limit: np.ndarray,
        keys: jax.Array,
        rows: np.ndarray | None = None,
        stop_counts: np.ndarray | None = None,
    ) -> tuple[Cache, kernels.Sampled]:
        """`kernels.decode`, with a number to `stop_counts` at for each of the mesh's `num_decode_loops`.

        Without these it goes on until all rows are done or the steps are.
        """
        stop_counts = np.full(num_decode_loops(self.mesh), len(last), np.int32) if stop_counts is None else stop_counts
        placed = [self._rows(array) for array in (last, start, limit, keys)]
        leaving = put_global(stop_counts, decode_loop_sharding(self.mesh))
        return self._decode(self.prepare_params(params), cache, self._numbers(rows), *placed, leaving, self._allowed)

    def keys(self, seed_key: jax.Array, salts: np.ndarray, dialogue_ids: np.ndarray) -> jax.Array:
        """`sampling.turn_keys` for the rows of a call."""
        keys: jax.Array = self._keys(seed_key, salts, dialogue_ids)
        return keys

    def chunk_for(self, pending: int, cached: int = 0) -> int:
        """Tokens to append in one go where `pending` wait after those that are cached: a window that fits the cache."""
        fitting = [size for size in self.chunks if cached + size <= self.cache_lengths[-1]]
        return next((size for size in fitting if pending <= size), fitting[-1])

    def batch_size_for(self, rows: int) -> int:
        """Rows of each shard that a call works on, for the shard with the most of them."""
        return next(size for size in self.batch_sizes if rows <= size)

    def first_batch_size(self, rows: int) -> int:
        """Rows of each shard that the first of several calls takes, so that together they work on few besides."""
        whole = self.batch_size_for(rows)
        return (
            whole if 4 * whole <= 5 * rows else max((size for size in self.batch_sizes if size <= rows), default=whole)
        )

    def warm_up(self, params: Any) -> None:
        """Compiles every shape there is by running each kernel on rows that it leaves as they are."""
        weights, cache = self.prepare_params(params), self.cache(self.cache_lengths[0])
        for capacity in self.cache_lengths:
            cache = self.fitted(cache, capacity)
            for width in self.batch_sizes:
                rows = (
                    None
                    if width == self.batch_sizes[-1]
                    else np.full((self.shards, width), self.batch_sizes[-1], np.int32)
                )
                zeros = np.zeros(self.shards * width, np.int32)
                for size in self.chunks:
                    if size <= capacity:
                        cache = self.extend(weights, cache, np.zeros((len(zeros), size), np.int32), zeros, zeros, rows)
                keys = self.keys(jax.random.key(0), zeros, zeros.astype(np.uint32))
                new, _ = self.decode(weights, cache, zeros, zeros, zeros, keys, rows)
                if self.steps <= capacity:
                    cache = self.write(cache, new, zeros, zeros, rows)
                nobody = np.full((self.shards, width), self.batch_sizes[-1], np.int32)
                cache = self.copy(cache, nobody, nobody, 1)

    def compiled(self) -> int:
        """How many programs have been compiled so far."""
        return sum(map(programs, (self._extend, self._write, self._decode, self._copy, self._grow, self._keys)))

    def _rows(self, array: Any) -> jax.Array:
        return put_global(array, row_sharding(self.mesh))

    def _numbers(self, rows: np.ndarray | None) -> jax.Array | None:
        return None if rows is None else self._rows(rows)


def _in_loops(kernel: Any, mesh: Mesh, parts: int, whole: int = 0) -> Any:
    """A kernel of all rows or of each loop's, of weights, `parts` arguments that are split and `whole` that are not."""
    if num_decode_loops(mesh) == 1:
        return kernel
    replicated, split = PartitionSpec(), PartitionSpec("data")
    specs = (replicated, *[split] * parts, *[replicated] * whole)
    return jax.shard_map(kernel, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)


def rows_of_a_shard(rows: int, mesh: Mesh) -> int:
    """Rows that each of the mesh's row shards holds. Raises UserError if they do not divide."""
    shards = num_row_shards(mesh)
    if rows % shards:
        raise UserError(
            f"engine: {rows} rows do not divide over {shards} shards of the mesh: give a multiple of {shards}"
        )
    return rows // shards


def longest_cache_length(length: int, chunks: Sequence[int], steps: int) -> int:
    """Slots of the longest cache: a kernel writes whole windows, the last of which may begin at the last token.

    Rounded up, see `caches.aligned`.
    """
    return aligned(length + max(chunks[0], steps))


def _default_batch_sizes(rows: int) -> tuple[int, ...]:
    parts = (rows // 16, rows // 4) if rows >= 32 else ()
    return (*(size for size in parts if size >= 4), rows)


def _doubling(first: int, last: int) -> tuple[int, ...]:
    sizes = []
    while first < last:
        sizes.append(first)
        first *= 2
    return (*sizes, last)
