"""The kernels as jitted functions, with the shardings and donations that their callers rely on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from sml_jax.engine import caches, kernels, state_cache
from sml_jax.engine.caches import Cache, CacheLayout, LayerCache
from sml_jax.engine.layer_params import split_adapters, unstack_layers, weight_shardings
from sml_jax.engine.sampling import Sampling, turn_keys
from sml_jax.models.decoder import Decoder
from sml_jax.models.layer_kinds import LayerKind, layer_kinds
from sml_jax.models.ops.cached_attention import KVCache, NoCache
from sml_jax.sharding import cache_sharding, host_readable, num_decode_loops, num_row_shards


@dataclass(frozen=True)
class JittedKernels:
    """Functions from `jax.jit`, each of which compiles at its first call with arguments of new shapes.

    Attributes:
      prepare: `layer_params.unstack_layers` of one model's parameters without adapters. prepare_adapters: of its
        adapters alone.
      empty, copy, write: the functions of `caches` of these names.
      grow: `caches.grow`, for each sharding that arrays of the cache have.
      keys: `sampling.turn_keys`.
      extend, score, decode: the functions of `kernels`, one loop for each data shard where the mesh allows it.
    """

    prepare: Any
    prepare_adapters: Any
    empty: Any
    grow: dict[Any, Any]
    keys: Any
    copy: Any
    extend: Any
    write: Any
    score: Any
    decode: Any


# Engines of the same settings share what was compiled. The limit bounds the memory of a process that goes on to others.
@lru_cache(maxsize=8)
def jit_kernels(
    model: Decoder, mesh: Mesh, layout: CacheLayout, decode_steps: int, sampling: Sampling, stop_ids: tuple[int, ...]
) -> JittedKernels:
    """Makes the jitted kernels of a model on a mesh.

    Args:
      model, mesh, decode_steps, sampling, stop_ids: as for `Engine`. layout: of its caches.
    """
    # A cache leaves a call with the sharding that it came with. If XLA chose, a fresh cache and a used one could
    # differ, and each kernel would be compiled twice.
    sharding_of_cache = cache_shardings(model, mesh, layout)
    sharding_of_results = cache_shardings(model, mesh, layout, of_results=True)
    extend = _per_loop(partial(kernels.extend, model, layout), mesh, split=6)
    decode = partial(kernels.decode, model, layout, decode_steps, sampling, stop_ids)
    of_base, of_adapters = split_adapters(weight_shardings(model, mesh))
    return JittedKernels(
        # Apart, so that models that differ in their adapters alone share one copy of the base.
        prepare=jax.jit(partial(unstack_layers, model), out_shardings=of_base),
        prepare_adapters=jax.jit(partial(unstack_layers, model), out_shardings=of_adapters),
        # Each device makes its own part of a cache: the whole cache need not fit on one device.
        empty=jax.jit(caches.empty_cache, static_argnums=(0, 1, 2, 3), out_shardings=sharding_of_cache),
        grow={
            sharding: jax.jit(partial(caches.grow, layout.slot_axis), static_argnums=(1, 2), out_shardings=sharding)
            for layer_shardings in sharding_of_cache
            if isinstance(layer_shardings, KVCache)
            for sharding in layer_shardings
        },
        keys=jax.jit(partial(turn_keys)),
        # Functions that return a changed cache are given the old one's memory (donated), while those that only read
        # it return new keys and values.
        copy=jax.jit(partial(caches.copy_prefix, layout), donate_argnums=0, out_shardings=sharding_of_cache),
        extend=jax.jit(extend, out_shardings=sharding_of_results),
        write=jax.jit(
            partial(caches.write, num_row_shards(mesh), layout), donate_argnums=0, out_shardings=sharding_of_cache
        ),
        score=jax.jit(
            _per_loop(partial(kernels.score, model, layout), mesh, split=6), out_shardings=host_readable(mesh)
        ),
        decode=jax.jit(
            _per_loop(decode, mesh, split=8, whole=1), out_shardings=(sharding_of_results, host_readable(mesh))
        ),
    )


def cache_shardings(model: Decoder, mesh: Mesh, layout: CacheLayout, of_results: bool = False) -> Cache:
    """A cache, or what calls return (`caches.empty_results`), with the sharding of each array in the array's place."""

    def of_layer(kind: LayerKind) -> LayerCache:
        if kind.mixer == "delta_net":
            return state_cache.state_shardings(model.config, mesh, of_results)
        sharding: Any = cache_sharding(mesh, layout.slot_axis, kind.kv_heads)
        return NoCache() if kind.shares_kv else KVCache(sharding, sharding)

    return tuple(map(of_layer, layer_kinds(model.config)))


def _per_loop(kernel: Any, mesh: Mesh, split: int, whole: int = 0) -> Any:
    """Wraps `kernel` in shard_map over `data`, so each data shard runs its own while_loop.

    The kernel's arguments are the weights, then `split` arguments with a part for each shard, then `whole` ones that
    every shard sees in full. With one loop for all rows the kernel is returned as it is.
    """
    if num_decode_loops(mesh) == 1:
        return kernel
    full_spec, shard_spec = PartitionSpec(), PartitionSpec("data")
    specs = (full_spec, *[shard_spec] * split, *[full_spec] * whole)
    return jax.shard_map(kernel, mesh=mesh, in_specs=specs, out_specs=shard_spec, check_vma=False)
