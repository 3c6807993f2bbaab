"""Which layers of a decoder are of one kind, where each layer's parameters lie, and in what periods kinds repeat.

Two layers are of one kind if their parameters have the same names and shapes. The parameters of a kind are declared
once and stacked along a first axis, and the forward pass is compiled once for each layer of a repeating period.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Literal

from sml_jax.models.config import DecoderConfig

_LONGEST_PERIOD = 16  # layers; a longer period saves little compilation and takes long to find


@dataclasses.dataclass(frozen=True)
class LayerKind:
    """What layers of one kind have in common.

    Attributes:
      name: of the kind's stack of parameters, such as "local" or "global_sharing".
      mixer: how tokens see each other: "attention", or "delta_net" (`models.delta_net`).
      is_local: whether these layers see only the last `DecoderConfig.window` tokens.
      kv_heads, head_dim, mlp_dim: the sizes, as in `DecoderConfig`.
      key_as_value: whether values are what the key projection gives, so that there is no value projection.
      shares_kv: whether the layer attends to the keys and values of an earlier layer and has none of its own.
    """

    name: str
    is_local: bool
    kv_heads: int
    head_dim: int
    mlp_dim: int
    key_as_value: bool = False
    shares_kv: bool = False
    mixer: Literal["attention", "delta_net"] = "attention"


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Consecutive layers in which a period of kinds repeats.

    Attributes:
      first: number of its first layer, from 0.
      period: layers of a period.
      repeats: how often the period comes.
    """

    first: int
    period: int
    repeats: int


@lru_cache(maxsize=64)
def layer_kinds(config: DecoderConfig) -> tuple[LayerKind, ...]:
    """The kind of each layer, from the bottom."""
    first_sharing = config.layers - config.kv_sharing_layers

    def kind(layer: int, is_local: bool) -> LayerKind:
        shares_kv = layer >= first_sharing
        kv_heads, head_dim = config.kv_heads, config.head_dim
        if config.delta_layers[layer]:
            # A delta net has a shape of its own, which is the same in all of a model's delta layers.
            return LayerKind("delta", False, kv_heads, head_dim, config.mlp_dim, mixer="delta_net")
        # Only global layers may have sizes of their own.
        if not is_local:
            kv_heads, head_dim = config.global_kv_heads or kv_heads, config.global_head_dim or head_dim
        return LayerKind(
            name=("local" if is_local else "global") + ("_sharing" if shares_kv else ""),
            is_local=is_local,
            kv_heads=kv_heads,
            head_dim=head_dim,
            mlp_dim=(config.sharing_mlp_dim if shares_kv else None) or config.mlp_dim,
            key_as_value=config.global_key_as_value and not is_local,
            shares_kv=shares_kv,
        )

    return tuple(kind(layer, is_local) for layer, is_local in enumerate(config.local_layers))


def layers_are_alike(config: DecoderConfig) -> bool:
    """Whether the parameters of all layers have the same shapes, so that one stack holds them all.

    Local and global layers often differ in their attention mask and rotary base alone, which are no parameters.
    """
    return len({dataclasses.replace(kind, name="", is_local=False) for kind in layer_kinds(config)}) == 1


@lru_cache(maxsize=64)
def layer_places(config: DecoderConfig) -> tuple[tuple[tuple[str, ...], int], ...]:
    """For each layer the path below "params" of the stack that holds its parameters, and its index in that stack."""
    if layers_are_alike(config):
        return tuple((("layers",), layer) for layer in range(config.layers))
    counts: dict[str, int] = {}
    places = []
    for kind in layer_kinds(config):
        places.append((("layers", kind.name), counts.get(kind.name, 0)))
        counts[kind.name] = counts.get(kind.name, 0) + 1
    return tuple(places)


def layers_of_stacks(config: DecoderConfig) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The stacks of parameters: the path of each below "params" -> the numbers of its layers, in order."""
    layers: dict[tuple[str, ...], tuple[int, ...]] = {}
    for layer, (path, _) in enumerate(layer_places(config)):
        layers[path] = (*layers.get(path, ()), layer)
    return layers


@lru_cache(maxsize=64)
def kv_sources(config: DecoderConfig) -> tuple[int | None, ...]:
    """For each layer the number of the earlier layer whose keys and values it reads; None if it has its own.

    It is the last layer with keys and values of its own that is local, or global, as the reading layer is.
    """
    kinds = layer_kinds(config)
    last_own = {kind.is_local: layer for layer, kind in enumerate(kinds) if not kind.shares_kv}
    return tuple(last_own[kind.is_local] if kind.shares_kv else None for kind in kinds)


@lru_cache(maxsize=64)
def stretches(config: DecoderConfig) -> tuple[Stretch, ...]:
    """Cuts the layers into stretches of repeating periods, such that few layers have to be compiled.

    A layer whose keys and values later layers read is never in a period that repeats: what it computes then is an
    ordinary result of the code before the later layers.
    """
    if layers_are_alike(config):
        return (Stretch(0, 1, config.layers),)
    sources = set(kv_sources(config))
    # Layers with equal labels are computed by the same code; a layer that others read has a label of its own.
    labels = [(kind, layer if layer in sources else None) for layer, kind in enumerate(layer_kinds(config))]
    count = len(labels)

    # From the top down: the cheapest way to cut the layers from each one on. A stretch costs a compilation of each
    # layer of its period, and one more for the loop around it.
    best: list[tuple[int, tuple[Stretch, ...]]] = [(0, ())] * (count + 1)
    repeated_after = [0] * (_LONGEST_PERIOD + 1)  # for each period, how many layers from here on equal those behind it
    for first in reversed(range(count)):
        options = []
        for period in range(1, min(_LONGEST_PERIOD, count - first) + 1):
            is_repeated = first + period < count and labels[first] == labels[first + period]
            repeated_after[period] = repeated_after[period] + 1 if is_repeated else 0
            repeats = 1 + repeated_after[period] // period
            rest_cost, rest = best[first + period * repeats]
            options.append((period + 1 + rest_cost, (Stretch(first, period, repeats), *rest)))
        best[first] = min(options, key=lambda option: (option[0], len(option[1])))
    return best[0][1]
