"""Low-rank adapters (LoRA, arXiv 2106.09685): adding them to a model, splitting, merging, saving and loading them.

In the parameters an adapter stands beside its projection: `query` holds the kernel W, `query_lora` holds `a` and `b`
(see `layers.LoraAdapter`). All other parameters are the base. Training changes the adapters alone and never copies the
base.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from sml_jax.common.errors import UserError
from sml_jax.models.config import RUN_FIELDS, DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import shapes_by_path
from sml_jax.models.stored_arrays import check_stored_arrays

Params = dict[str, Any]
_SUFFIX = "_lora"
# Fields in which a base may differ from the one that adapters were trained on: they change neither the shape nor the
# meaning of parameters.
_FREE_FIELDS = ("lora", *RUN_FIELDS)


def split_lora(params: Params) -> tuple[Params, Params]:
    """Splits parameters into (base weights, adapters), two nested dicts that `join_lora` joins again.

    The second is empty if there are no adapters. No array is copied.
    """
    base, adapters = {}, {}
    for name, value in params.items():
        if name.endswith(_SUFFIX):
            adapters[name] = value
        elif isinstance(value, dict):
            base[name], nested_adapters = split_lora(value)
            if nested_adapters:
                adapters[name] = nested_adapters
        else:
            base[name] = value
    return base, adapters


def join_lora(base: Params, adapters: Params) -> Params:
    """Undoes `split_lora`: parameters with both. Adapters that `base` already holds are replaced."""
    joined = dict(base)
    # Go down both trees together; an adapter itself is a leaf here, replaced as a whole.
    for name, value in adapters.items():
        nested_base = joined.get(name)
        joined[name] = join_lora(nested_base, value) if isinstance(nested_base, dict) else value
    return joined


def split_trainable(params: Params) -> tuple[Params, Params]:
    """Splits parameters into (frozen, trainable), two nested dicts.

    With adapters, the base weights are frozen and the adapters trainable. Without adapters, the first is empty.
    """
    base, adapters = split_lora(params)
    return (base, adapters) if adapters else ({}, params)


def without_lora(model: Decoder) -> Decoder:
    """The same decoder without adapters. It ignores adapters in the parameters that it is applied with."""
    return Decoder(dataclasses.replace(model.config, lora=None))


def check_lora(model: Decoder, params: Params) -> None:
    """Checks that model and parameters both have adapters, or neither.

    Raises:
      UserError: only one of them has, so the adapters would be missing or ignored.
    """
    if model.config.lora is not None and not split_lora(params)[1]:
        raise UserError("lora: the model has adapters, but the parameters have none: make them with add_lora")
    if model.config.lora is None and split_lora(params)[1]:
        raise UserError("lora: the parameters have adapters, but the model does not use them: merge_lora first")


def add_lora(model: Decoder, params: Params, lora: LoraConfig, key: jax.Array) -> tuple[Decoder, Params]:
    """Adds fresh adapters to a model. It computes the same as before, since every B is zero.

    Args:
      model: a decoder without adapters.
      params: its parameters. The arrays are shared with the result, not copied.
      lora: rank, alpha and target projections of the adapters.
      key: a random key for the matrices A.

    Returns:
      The model with adapters and its parameters. The adapters are on one device; `shard_params` moves them to a mesh.

    Raises:
      UserError: the model has adapters already.
    """
    if model.config.lora is not None or split_lora(params)[1]:
        raise UserError("lora: the model has adapters already: merge them first (merge_lora)")
    model = Decoder(dataclasses.replace(model.config, lora=lora))
    return model, join_lora(params, jax.jit(_init_adapters, static_argnums=0)(model, key))


def merge_lora(model: Decoder, params: Params) -> tuple[Decoder, Params]:
    """Merges adapters into the weights: W becomes W + A B * alpha / rank.

    The sum is computed in float32, a layer at a time, and cast to W's dtype, so bfloat16 weights round it.

    Returns:
      The model without adapters and its parameters. Arrays without an adapter are shared with `params`. A model that
      has no adapters is returned unchanged.

    Raises:
      UserError: only one of model and parameters has adapters.
    """
    check_lora(model, params)
    # Without adapters there is nothing to copy or cast.
    lora = model.config.lora
    return (model, params) if lora is None else (without_lora(model), _merge(params, lora.scale))


def save_adapters(path: str | Path, model: Decoder, params: Params) -> None:
    """Writes a model's adapters without its base weights.

    The folder `path` then holds `adapters.json`, with the model's configuration, and an Orbax folder `adapters`.
    Adapters that are already there are replaced.

    Raises:
      UserError: the model or the parameters have no adapters.
    """
    # A mismatch first: its error says more than that there is nothing to save.
    check_lora(model, params)
    if model.config.lora is None:
        raise UserError("lora: the model has no adapters to save")
    folder = Path(path).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "adapters", split_lora(params)[1], force=True)
    if jax.process_index() == 0:
        (folder / "adapters.json").write_text(model.config.to_json() + "\n")


def load_adapters(path: str | Path, model: Decoder, params: Params) -> tuple[Decoder, Params]:
    """Adds saved adapters to a base model.

    Args:
      path: a folder that `save_adapters` wrote.
      model: the base that the adapters were trained on. Adapters that it already has are replaced. Its settings that do
        not change the function (dtype, max_length, ...) are used, not those that were saved.
      params: the base's parameters.

    Returns:
      The model with adapters and its parameters, which share the base's arrays. The adapters are on one device.

    Raises:
      UserError: there are no adapters at `path`, they cannot be read, or they were made for a base of another shape.
    """
    folder = Path(path).absolute()
    if not (folder / "adapters.json").is_file() or not (folder / "adapters").is_dir():
        raise UserError(f"no adapters at {folder}: give a folder that holds adapters.json and adapters/")
    try:
        saved_config = DecoderConfig.from_json((folder / "adapters.json").read_text())
    except UserError as error:
        raise UserError(f"{folder / 'adapters.json'}: {error}") from error
    _check_base(folder, saved_config, model.config)
    model = Decoder(dataclasses.replace(model.config, lora=saved_config.lora))
    adapters = _restore(folder, jax.eval_shape(partial(_init_adapters, model), jax.random.key(0)))
    return model, join_lora(split_lora(params)[0], adapters)


def _init_adapters(model: Decoder, key: jax.Array) -> Params:
    """Makes fresh adapters. Under `jit` the base's random weights are never made, since they are not returned."""
    return split_lora(nn.unbox(model.init(key, jnp.zeros((1, 2), jnp.int32))))[1]


def _restore(folder: Path, shapes: Params) -> Params:
    """Reads the adapters on disk, which must have these shapes, onto the first device."""
    # Adapters are small: they are read onto one device, whatever mesh the base lies on.
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract_adapters = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )
    try:
        check_stored_arrays(folder / "adapters")
        with ocp.StandardCheckpointer() as checkpointer:
            # Orbax finds differing shapes too, but prints tracebacks of its own.
            stored_arrays = checkpointer.metadata(folder / "adapters").item_metadata.tree
            if shapes_by_path(stored_arrays) != shapes_by_path(shapes):
                raise ValueError("names or shapes of the arrays differ")
            return checkpointer.restore(folder / "adapters", abstract_adapters)
    except (ValueError, KeyError, OSError) as error:
        error_line = str(error).splitlines()[0]
        raise UserError(
            f"the adapters in {folder} cannot be read as adapters.json describes them: {error_line}"
        ) from error


def _check_base(folder: Path, saved: DecoderConfig, base: DecoderConfig) -> None:
    """Checks that the base has the shape of the one that the saved adapters were trained on."""
    if saved.lora is None:
        raise UserError(f"{folder / 'adapters.json'}: names no adapters: its lora is null")
    for field in dataclasses.fields(DecoderConfig):
        saved_value, base_value = getattr(saved, field.name), getattr(base, field.name)
        if field.name not in _FREE_FIELDS and saved_value != base_value:
            raise UserError(
                f"the adapters in {folder} were made for a base whose {field.name} is {saved_value!r}, but this one's "
                f"is {base_value!r}: give the base that they were trained on"
            )


def _merge(params: Params, scale: float) -> Params:
    """A nested dict of parameters with its adapters merged into the kernels beside them."""
    merged = {}
    for name, value in params.items():
        adapter = params.get(name + _SUFFIX)
        if name.endswith(_SUFFIX):
            continue
        # Merged in place of the kernel; the bias and all other entries beside it stay.
        if adapter is not None:
            merged[name] = {**value, "kernel": _merged_kernel(value["kernel"], adapter["a"], adapter["b"], scale)}
        else:
            merged[name] = _merge(value, scale) if isinstance(value, dict) else value
    return merged


def _merged_kernel(kernel: jax.Array, a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    """The kernel with its adapter merged in, in the kernel's own sharding."""
    return jax.jit(_merge_layers, out_shardings=kernel.sharding)(kernel, a, b, scale)


def _merge_layers(kernel: jax.Array, a: jax.Array, b: jax.Array, scale: float | jax.Array) -> jax.Array:
    """Adds a b * scale to the kernels of all layers, with a float32 copy of one layer at a time.

    Args:
      kernel: [layers, *in, *out].
      a: [layers, *in, rank].
      b: [layers, rank, *out].
      scale: alpha / rank.
    """

    def merge_layer(arrays: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        w, a, b = arrays
        delta = jnp.tensordot(a, b, 1, precision=jax.lax.Precision.HIGHEST) * scale
        return (w.astype(jnp.float32) + delta).astype(w.dtype)

    return jax.lax.map(merge_layer, (kernel, a, b))
