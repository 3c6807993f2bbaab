"""Parameters as the engine reads them: a tree for each layer, in the dtype of rollouts, laid out for rollouts."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import flax.struct
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, abstract_params
from sml_jax.models.layer_kinds import layer_places, layers_of_stacks
from sml_jax.models.lora import join_lora, split_lora
from sml_jax.models.ops.cache_backends import cache_backend
from sml_jax.models.ops.int8 import Int8Kernel
from sml_jax.sharding import to_mesh_axes

# Flax modules would cast these at each use, so they are cast once here. Norms and adapters are used as they are.
_CAST_NAMES = ("kernel", "bias", "embedding")

# Projections of heads back to hidden states sum over two dimensions, all others over one.
_FROM_HEADS = ("out", "delta_out")
# The small projections that say how much of a delta net's state is kept, over thousands of tokens: never in int8.
_NEVER_INT8 = ("delta_beta", "delta_decay")


@flax.struct.dataclass
class LayerParams:
    """A decoder's parameters, with the stacked layers as one tree each. All trees are what Flax's `apply` takes.

    Attributes:
      outside: `{"params": ...}` of what is not in a layer: embedding, final norm, output layer.
      layers: `{"params": ...}` of each layer.
    """

    outside: Any
    layers: tuple[Any, ...]


def unstack_layers(model: Decoder, params: Any) -> LayerParams:
    """Splits a decoder's parameters into a tree for each layer, and one for the rest.

    Arrays that modules cast to the compute dtype at each use are cast once here, or rounded to int8.

    Args:
      params: `{"params": ...}` with layers stacked along axis 0, as the trainer holds them. It may be a part of the
        decoder's parameters, such as the adapters alone; a layer that has nothing of it is then empty.
    """
    config = model.config
    to_int8 = cache_backend(config.attention).int8_kernel

    def cast(path: tuple, leaf: jax.Array) -> Any:
        names = _names(path)
        inner_axes = int8_inner_axes(config, names)
        if inner_axes is not None:
            # Every layer of a stack has scales of its own.
            quantise = jax.vmap(lambda kernel: to_int8(kernel, inner_axes))
            return quantise(leaf) if names[0] == "layers" else to_int8(leaf, inner_axes)
        return leaf.astype(config.compute_dtype) if names[-1] in _CAST_NAMES else leaf

    cast_params = jax.tree_util.tree_map_with_path(cast, params["params"])
    # Slices of the stacked arrays become arrays of their own: a kernel would copy a slice at every step.
    outside = {"params": {name: value for name, value in cast_params.items() if name != "layers"}}
    by_layer = tuple(
        {"params": jax.tree.map(lambda x, i=index: x[i], _at(cast_params, path, {}))}
        for path, index in layer_places(model.config)
    )
    return LayerParams(outside, by_layer)


def int8_inner_axes(config: DecoderConfig, names: tuple[str, ...]) -> tuple[int, ...] | None:
    """The axes that the product with a parameter sums over, if an engine holds the parameter in int8; else None.

    In int8 are the kernels of projections and the table that makes the logits, which are nearly all that a step of
    decoding reads. Look-ups in this table read the same integers: a float32 copy beside them would take four times
    their memory, and with one table the sampler is a model like any other, that of the rounded parameters.

    Args:
      config: the decoder's.
      names: the path of the parameter below "params".
    """
    if config.rollout_weights is None:
        return None
    if names[-1] == "kernel" and names[-2] not in _NEVER_INT8:
        return (0, 1) if names[-2] in _FROM_HEADS else (0,)
    return (1,) if names == ("embedding", "embedding") and config.tied_embeddings else None


def split_adapters(weights: LayerParams) -> tuple[LayerParams, LayerParams]:
    """Splits LayerParams into (base, adapters), as `models.lora.split_lora` does; no array is copied."""

    def part(number: int) -> LayerParams:
        outside, *layers = (
            {"params": split_lora(tree["params"])[number]} for tree in (weights.outside, *weights.layers)
        )
        return LayerParams(outside, tuple(layers))

    return part(0), part(1)


def join_adapters(base: LayerParams, adapters: LayerParams) -> LayerParams:
    """Undoes `split_adapters`; no array is copied."""
    layers = (join_lora(*layer) for layer in zip(base.layers, adapters.layers, strict=True))
    return LayerParams(join_lora(base.outside, adapters.outside), tuple(layers))


def weight_shardings(model: Decoder, mesh: Mesh) -> LayerParams:
    """LayerParams that hold the sharding of each array on a mesh, by the same logical axis rules as the trainer's."""
    config, boxed = model.config, abstract_params(model)
    to_int8 = cache_backend(config.attention).int8_kernel

    def of_param(path: tuple, spec: PartitionSpec, stacked: Any) -> Any:
        names, axes, shape = _names(path), tuple(to_mesh_axes(spec)), stacked.shape
        if names[0] == "layers":
            axes, shape = axes[1:], shape[1:]  # axis 0 counts the layers
        inner_axes = int8_inner_axes(config, names)
        if inner_axes is None:
            return NamedSharding(mesh, PartitionSpec(*axes))
        kernel = jax.eval_shape(lambda leaf: to_int8(leaf, inner_axes), jax.ShapeDtypeStruct(shape, stacked.dtype))
        if isinstance(kernel, Int8Kernel):
            # A scale lies where its output channel does.
            outer_axes = [axis for number, axis in enumerate(axes) if number not in inner_axes]
            values, scale = (NamedSharding(mesh, PartitionSpec(*each)) for each in (axes, outer_axes))
            return Int8Kernel(values, scale, inner_axes)
        # Packed kernels are read by devices with rows of their own, each of which has all weights.
        return jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), kernel)

    shardings = jax.tree_util.tree_map_with_path(
        of_param,
        nn.get_partition_spec(boxed)["params"],
        nn.unbox(boxed)["params"],
        is_leaf=lambda leaf: isinstance(leaf, PartitionSpec),
    )
    outside = {name: value for name, value in shardings.items() if name != "layers"}
    of_stack = {path: {"params": _at(shardings, path)} for path in layers_of_stacks(config)}
    return LayerParams({"params": outside}, tuple(of_stack[path] for path, _ in layer_places(config)))


def _names(path: tuple) -> tuple[str, ...]:
    """The keys of a path through nested dicts, as `jax.tree_util` gives it."""
    return tuple(getattr(step, "key", "") for step in path)


def _at(tree: Any, path: tuple[str, ...], missing: Any = None) -> Any:
    """What nested dicts hold at a path of names; `missing` where they hold nothing."""
    for name in path:
        if name not in tree:
            return missing
        tree = tree[name]
    return tree
