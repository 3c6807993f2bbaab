"""The stack of layers of complete rows: how its parameters are declared, and its forward pass in scans.

Each kind of layer (`layer_kinds.LayerKind`) is declared once, with the parameters of its layers stacked along a first
axis. Where all layers are of one kind the stack is `params["layers"]`, else there is one for each kind,
`params["layers"][kind.name]`. The forward pass takes layers from the stacks in the order of depth and scans over the
repeating periods that `layer_kinds.stretches` finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sml_jax.models.config import DecoderConfig
from sml_jax.models.delta_net import DeltaState
from sml_jax.models.layer_kinds import (
    LayerKind,
    Stretch,
    kv_sources,
    layer_kinds,
    layer_places,
    layers_are_alike,
    layers_of_stacks,
    stretches,
)
from sml_jax.models.layers import Layer, ScannedLayer
from sml_jax.models.ops.cached_attention import KVCache
from sml_jax.models.ops.products import Product
from sml_jax.models.prefix_sharing import SharedPrefix


def declare_layers(config: DecoderConfig) -> nn.Module:
    """The module that makes the parameters of all layers; `Decoder` calls it "layers".

    It is called once, to make random parameters or their shapes, and never afterwards: see `run_layers`.
    """
    if layers_are_alike(config):
        return _declared_stack(config, layer_kinds(config)[0], config.layers)
    return _Stacks(config)


def _declared_stack(config: DecoderConfig, kind: LayerKind, layers: int) -> Any:
    """A module that makes the parameters of `layers` layers of one kind, stacked along a first axis, "layers"."""
    return nn.scan(
        ScannedLayer,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=(0, nn.broadcast, 0, nn.broadcast),
        length=layers,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )(config, kind)


class _Stacks(nn.Module):
    """Makes the parameters of layers that differ, a stack for each kind.

    Attributes:
      config: the decoder's configuration.
    """

    config: DecoderConfig

    def setup(self) -> None:
        """Makes a submodule for each kind, which its name leads to; called by Flax."""
        kinds = layer_kinds(self.config)
        for (_, name), layers in layers_of_stacks(self.config).items():
            setattr(self, name, _declared_stack(self.config, kinds[layers[0]], len(layers)))

    def __call__(
        self,
        x: jax.Array,
        flags: jax.Array,
        positions: jax.Array,
        per_layer: jax.Array | None,
        read_kv: KVCache | None,
    ) -> None:
        """Runs each stack by itself, which makes its parameters. What they compute is not used.

        Args:
          x, positions, per_layer: as for `run_layers`.
          flags: for each layer, whether it is local.
          read_kv: not used: layers that read keys and values are given zeros.
        """
        kinds = layer_kinds(self.config)
        for (_, name), layers in layers_of_stacks(self.config).items():
            kind, numbers = kinds[layers[0]], jnp.asarray(layers)
            zeros = jnp.zeros((*x.shape[:2], kind.kv_heads, kind.head_dim), x.dtype)
            inputs = None if per_layer is None else per_layer[numbers]
            getattr(self, name)(
                x, flags[numbers], positions, inputs, KVCache(zeros, zeros) if kind.shares_kv else read_kv
            )


def run_layers(
    config: DecoderConfig,
    product: Product,
    params: Any,
    x: jax.Array,
    positions: jax.Array,
    shared: SharedPrefix | None = None,
    per_layer: jax.Array | None = None,
) -> jax.Array:
    """Hidden states of complete rows after the last layer.

    Args:
      config: the decoder's configuration.
      product: the function that multiplies activations by weights.
      params: the parameters of the layers, what `params["params"]["layers"]` holds.
      x: hidden states that the first layer takes, [batch, time, embed].
      positions: position of each token in its row, from 0, [batch, time].
      shared: the prefix that blocks of rows share; `x`, `positions` and `per_layer` are then packed.
      per_layer: per-layer embeddings [layers, batch, time, per_layer_dim]; None for models without them.
    """
    sources = set(kv_sources(config))
    kv_of_layer: dict[int, KVCache] = {}  # what later layers read, by the number of the layer that has it
    for stretch in stretches(config):
        # Everything that differs between the repeats of a period, with the repeats as a first axis.
        by_repeat = _by_repeat(config, params, stretch, per_layer)
        run_period = partial(
            _run_period,
            config,
            product,
            stretch,
            positions,
            shared,
            {i: kv_of_layer[i] for i in _read(config, stretch)},
        )
        if stretch.repeats == 1:
            # What a layer that others read gives them is an ordinary result here, never hidden inside of a scan.
            x, kv_of_period = run_period(x, jax.tree.map(lambda leaf: leaf[0], by_repeat))
            kv_of_layer |= {layer: kv for layer, kv in kv_of_period.items() if layer in sources}
        else:

            def step(x: jax.Array, one: Any, run_period: Callable = run_period) -> tuple[jax.Array, None]:
                return run_period(x, one)[0], None

            unroll = max(config.scan_unroll // stretch.period, 1)
            x, _ = jax.lax.scan(step, x, by_repeat, length=stretch.repeats, unroll=unroll)
    return x


def _read(config: DecoderConfig, stretch: Stretch) -> set[int]:
    """The numbers of the layers below a stretch whose keys and values its layers read."""
    layers = kv_sources(config)[stretch.first : stretch.first + stretch.period]
    return {layer for layer in layers if layer is not None and layer < stretch.first}


def _by_repeat(config: DecoderConfig, params: Any, stretch: Stretch, per_layer: jax.Array | None) -> Any:
    """What the repeats of a stretch's period take, with an axis of repeats in front.

    Returns:
      The stacks of parameters by path, whose leaves have an axis of the stack's layers in a period behind that of
      repeats if there are several; the flag of each layer, whether it is local; and the per-layer embeddings.
    """
    first, period, repeats = stretch.first, stretch.period, stretch.repeats
    places = layer_places(config)
    layers_in_period = Counter(path for path, _ in places[first : first + period])

    def cut(leaf: jax.Array | np.ndarray, start: int, count: int) -> jax.Array | np.ndarray:
        # The whole array is not sliced: a slice would be a copy.
        if count * repeats < leaf.shape[0]:
            leaf = leaf[start : start + count * repeats]
        return leaf if count == 1 else leaf.reshape(repeats, count, *leaf.shape[1:])

    stacks = {}
    for path, count in layers_in_period.items():
        start = next(index for stack, index in places[first:] if stack == path)
        stack = params if len(path) == 1 else params[path[1]]
        stacks[path] = jax.tree.map(partial(cut, start=start, count=count), stack)
    flags = jnp.asarray(np.reshape(config.local_layers[first : first + period * repeats], (repeats, period)))
    inputs = None
    if per_layer is not None:
        inputs = per_layer[first : first + period * repeats].reshape(repeats, period, *per_layer.shape[1:])
    return stacks, flags, inputs


def _run_period(
    config: DecoderConfig,
    product: Product,
    stretch: Stretch,
    positions: jax.Array,
    shared: SharedPrefix | None,
    kv_of_layer: dict[int, KVCache],
    x: jax.Array,
    one_repeat: Any,
) -> tuple[jax.Array, dict[int, KVCache]]:
    """Runs one period of layers.

    Args:
      config, product, positions, shared: see `run_layers`.
      stretch: which layers these are; in a later repeat of the period they stand for those as many periods higher.
      kv_of_layer: the keys and values of layers below the stretch that these layers read.
      x: hidden states.
      one_repeat: from `_by_repeat`, without the axis of repeats.

    Returns:
      The next hidden states, and the keys and values of each layer that has its own.
    """
    stacks, flags, per_layer = one_repeat
    kinds, places, sources = layer_kinds(config), layer_places(config), kv_sources(config)
    taken: Counter[tuple[str, ...]] = Counter()
    counts = Counter(path for path, _ in places[stretch.first : stretch.first + stretch.period])
    new_kv: dict[int, KVCache] = {}
    for offset in range(stretch.period):
        layer = stretch.first + offset
        kind, (path, _), source = kinds[layer], places[layer], sources[layer]
        params = stacks[path]
        if counts[path] > 1:
            params = jax.tree.map(lambda leaf, i=taken[path]: leaf[i], params)
        taken[path] += 1
        # A layer of a kind that is all local or all global is compiled for that alone.
        run = partial(_run_layer, config, kind, product, shared, None if layers_are_alike(config) else kind.is_local)
        # Within a scan XLA cannot merge the recomputation with the forward pass; outside, it has to be prevented.
        x, kv = _rematerialised(run, config.remat, prevent_cse=stretch.repeats == 1)(
            params,
            x,
            flags[offset],
            positions,
            None if per_layer is None else per_layer[offset],
            None if source is None else (kv_of_layer | new_kv)[source],
        )
        # Nobody reads a layer's recurrent state after complete rows.
        if source is None and isinstance(kv, KVCache):
            new_kv[layer] = kv
    return x, new_kv


def _run_layer(
    config: DecoderConfig,
    kind: LayerKind,
    product: Product,
    shared: SharedPrefix | None,
    is_local: bool | None,
    params: Any,
    x: jax.Array,
    flag: jax.Array,
    positions: jax.Array,
    per_layer: jax.Array | None,
    read_kv: KVCache | None,
) -> tuple[jax.Array, KVCache | DeltaState]:
    """One layer as a function of all that it reads, so that rematerialisation keeps what other layers gave it.

    Args:
      is_local: whether the layer is local; None to take it from `flag`, which may be traced.
      config, kind, product, shared, params, x, positions, per_layer, read_kv: see `Layer`.
    """
    # Without a parent, Flax does not take the layer for a part of the module whose method runs this.
    layer: Any = Layer(config, kind, product, parent=None)
    result: tuple[jax.Array, KVCache | DeltaState] = layer.apply(
        {"params": params},
        x,
        flag if is_local is None else is_local,
        positions,
        shared=shared,
        per_layer=per_layer,
        read_kv=read_kv,
    )
    return result


def _rematerialised(run: Callable, remat: bool | str, prevent_cse: bool) -> Callable:
    """The function `run` with what the backward pass computes again, as `DecoderConfig.remat` says."""
    if remat in (False, "none", "auto"):
        return run
    policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
    return jax.checkpoint(run, prevent_cse=prevent_cse, policy=policy)
