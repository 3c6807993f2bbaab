"""The executables of an engine with abstract arguments: enough to compile them before any array exists."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sml_jax.common.executables import Executable
from sml_jax.engine import caches
from sml_jax.engine.caches import Cache, CacheLayout
from sml_jax.engine.jitted import JittedKernels, cache_shardings
from sml_jax.engine.layer_params import LayerParams, unstack_layers, weight_shardings
from sml_jax.engine.sampling import Sampling
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import sharded_param_shapes
from sml_jax.models.lora import split_lora
from sml_jax.sharding import decode_loop_sharding, num_decode_loops, num_row_shards, replicated, row_sharding


@dataclass(frozen=True)
class EngineShapes:
    """What the arguments of an engine's calls look like: shapes, dtypes and shardings, but no arrays.

    Attributes:
      model, mesh, max_concurrent, max_length, decode_steps, sampling: as for `Engine`.
      layout: of the caches.
      jitted: the kernels.
    """

    model: Decoder
    mesh: Mesh
    max_concurrent: int
    max_length: int
    decode_steps: int
    sampling: Sampling
    layout: CacheLayout
    jitted: JittedKernels

    @cached_property
    def weights(self) -> LayerParams:
        """What `Engine.prepare_params` returns."""
        shapes = jax.eval_shape(partial(unstack_layers, self.model), sharded_param_shapes(self.model, self.mesh))
        return jax.tree.map(_with_sharding, shapes, weight_shardings(self.model, self.mesh))

    def cache(self, capacity: int) -> Cache:
        """What `Engine.empty_cache` returns."""
        return self._cache(self.max_concurrent, capacity, self.layout)

    def results(self, rows: int, slots: int) -> Cache:
        """The new keys, values and states that a call of `rows` rows returns for `slots` tokens of each."""
        return self._cache(rows, slots, None)

    def _cache(self, rows: int, slots: int, layout: CacheLayout | None) -> Cache:
        """A cache of any size, or without a layout what calls return."""
        make = caches.empty_results if layout is None else partial(caches.empty_cache, layout=layout)
        shapes = jax.eval_shape(partial(make, self.model.config, rows, slots))
        shardings = cache_shardings(self.model, self.mesh, self.layout, of_results=layout is None)
        return jax.tree.map(_with_sharding, shapes, shardings)

    def prepare(self, calls: int = 1, params: Any = None) -> Executable:
        """The executable that makes the engine's weights, adapters aside.

        Args:
          calls: see `Executable`.
          params: the model's parameters, whose arrays then are the arguments; None for shapes as they lie on the mesh.
        """
        placed = sharded_param_shapes(self.model, self.mesh) if params is None else params
        return Executable(
            "weights for the engine",
            "weights",
            self.jitted.prepare,
            (split_lora(placed)[0],),
            calls,
            reads=("params",),
            makes="weights",
            unrolled=True,
        )

    def prepare_all(self, params: Any) -> list[Executable]:
        """The executables that make the engine's weights: of the base, and of adapters. For `params` see `prepare`."""
        adapters = split_lora(params)[1]
        if not adapters:
            return [self.prepare(params=params)]
        of_adapters = Executable("adapters for the engine", "adapters", self.jitted.prepare_adapters, (adapters,), 1)
        return [self.prepare(params=params), of_adapters]

    def at(self, capacity: int, batch_size: int, *, mask: bool) -> CallShapes:
        """The executables of calls.

        Args:
          capacity: slots of the cache.
          batch_size: rows of each shard that a call works on.
          mask: whether some tokens may not be sampled.
        """
        return CallShapes(self, capacity, batch_size, mask)


class CallShapes:
    """The executables of calls at one capacity and one batch size; see `EngineShapes.at` for the arguments."""

    def __init__(self, engine: EngineShapes, capacity: int, batch_size: int, mask: bool):
        self._engine, mesh = engine, engine.mesh
        shards = num_row_shards(mesh)
        by_rows = row_sharding(mesh)
        self._batch = shards * batch_size

        # The arguments of calls, as the engine's methods place them.
        self._weights, self._cache = engine.weights, engine.cache(capacity)
        self._int_per_row = self._of_rows((self._batch,))
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), self._batch))
        self._keys = _with_sharding(keys, by_rows)
        self._row_numbers = self._of_rows((shards, batch_size))
        # A call of all rows is told no row numbers, and is another executable than one of some rows.
        self._rows = None if self._batch == engine.max_concurrent else self._row_numbers
        # States are read and written only where the model has recurrent layers.
        self._states = self._of_rows((self._batch, 2)) if any(engine.model.config.delta_layers) else None
        loops = (num_decode_loops(mesh),)
        self._stop_counts = jax.ShapeDtypeStruct(loops, jnp.int32, sharding=decode_loop_sharding(mesh))
        self._allowed = None
        if mask:
            vocabulary = (engine.model.config.vocab_size,)
            self._allowed = jax.ShapeDtypeStruct(vocabulary, bool, sharding=replicated(mesh))

        self._some_rows = "" if self._rows is None else f", {self._batch} rows"

        # The last cache has room for more than the longest context.
        self._tokens = min(capacity, engine.max_length)
        self._key = (engine.max_concurrent, self._batch, self._tokens)

    def _of_rows(self, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        """Integers whose first axis is split as rows are."""
        return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=row_sharding(self._engine.mesh))

    def extend(self, chunk: int, calls: int = 1) -> Executable:
        """Runs `chunk` given tokens of each row through the model. It reads "weights" and "cache"."""
        tokens, per_row = self._of_rows((self._batch, chunk)), self._int_per_row
        return Executable(
            f"extend by {chunk} behind {self._tokens}{self._some_rows}",
            ("extend", self._key, chunk),
            self._engine.jitted.extend,
            (self._weights, self._cache, self._rows, tokens, per_row, per_row, self._states),
            calls,
            reads=("weights", "cache"),
            unrolled=True,
        )

    def write(self, slots: int, calls: int = 1) -> Executable:
        """Writes `slots` new keys and values of each row to the cache. It reads "cache"."""
        # New keys and values lie slot by slot, also those that go into a ring.
        new = self._engine.results(self._batch, slots)
        return Executable(
            f"write {slots} behind {self._tokens}{self._some_rows}",
            ("write", self._key, slots),
            self._engine.jitted.write,
            (self._cache, new, self._rows, self._int_per_row, self._int_per_row, self._states),
            calls,
            reads=("cache",),
            unrolled=True,
        )

    def decode(self, calls: int = 1) -> Executable:
        """Samples up to `decode_steps` tokens of each row. It reads "weights" and "cache"."""
        engine, per_row = self._engine, self._int_per_row
        return Executable(
            f"decode {engine.decode_steps} behind {self._tokens}{self._some_rows}",
            ("decode", self._key, engine.decode_steps, engine.sampling, self._allowed is not None),
            engine.jitted.decode,
            (
                *(self._weights, self._cache, self._rows, per_row, per_row, per_row, self._keys),
                *(self._states, self._stop_counts, self._allowed),
            ),
            calls,
            reads=("weights", "cache"),
            loop_steps=engine.decode_steps,
            unrolled=True,
        )

    def copy(self, calls: int = 1) -> Executable:
        """Copies the first tokens of rows to other rows. It reads "cache"."""
        slots, numbers = jax.ShapeDtypeStruct((), jnp.int32), self._row_numbers
        return Executable(
            f"copy of a prefix{self._some_rows}",
            ("copy", self._key),
            self._engine.jitted.copy,
            (self._cache, numbers, numbers, slots, self._states),
            calls,
            reads=("cache",),
            unrolled=True,
        )


def _with_sharding(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of an array, with a sharding."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
