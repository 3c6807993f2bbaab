"""Low-rank adapters (LoRA, arXiv 2106.09685): added to a model, trained alone, saved alone, merged into its weights.

An adapter lies in the parameters beside the projection that it belongs to: `query` holds the kernel W, `query_lora`
holds `a` and `b` (see `layers.LowRank`). Everything else is the base, which training shares and never copies.
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
from sml_jax.models.config import DecoderConfig, LoraConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import shapes_by_path

Params = dict[str, Any]
_SUFFIX = "_lora"
# What does not change the shape of a model's parameters or what they mean: adapters fit whatever it is.
_FREE_FIELDS = ("lora", "max_length", "attention", "dtype", "param_dtype", "remat", "scan_unroll")


def split_lora(params: Params) -> tuple[Params, Params]:
    """Parameters as (base, adapters): two nested dicts that `join_lora` puts together again. Nothing is copied."""
    base, adapters = {}, {}
    for name, value in params.items():
        if name.endswith(_SUFFIX):
            adapters[name] = value
        elif isinstance(value, dict):
            base[name], inside = split_lora(value)
            if inside:
                adapters[name] = inside
        else:
            base[name] = value
    return base, adapters


def join_lora(base: Params, adapters: Params) -> Params:
    """The parameters that `split_lora` took apart; adapters take the place of those that `base` may hold."""
    joined = dict(base)
    for name, value in adapters.items():
        inner = joined.get(name)
        joined[name] = join_lora(inner, value) if isinstance(inner, dict) else value
    return joined


def split_trainable(params: Params) -> tuple[Params, Params]:
    """Parameters as (frozen, trainable): base and adapters where there are adapters, else nothing and everything."""
    base, adapters = split_lora(params)
    return (base, adapters) if adapters else ({}, params)


def without_lora(model: Decoder) -> Decoder:
    """The plain decoder of the same shape; it ignores adapters in its parameters."""
    return Decoder(dataclasses.replace(model.config, lora=None))


def check_lora(model: Decoder, params: Params) -> None:
    """Raises a UserError where only one of model and parameters has adapters: they would be missed or ignored."""
    if model.config.lora is not None and not split_lora(params)[1]:
        raise UserError("lora: the model has adapters, but the parameters have none: make them with add_lora")
    if model.config.lora is None and split_lora(params)[1]:
        raise UserError("lora: the parameters have adapters, but the model does not use them: merge_lora first")


def add_lora(model: Decoder, params: Params, lora: LoraConfig, key: jax.Array) -> tuple[Decoder, Params]:
    """Puts fresh adapters on a plain model. What it computes stays the same, for every B is zero.

    Args:
      model, params: a decoder without adapters; its arrays are shared, not copied.
      lora: which adapters.
      key: for A.

    Returns:
      The model with adapters and its parameters. The adapters lie on one device; `shard_params` lays them on a mesh.

    Raises:
      UserError: the model has adapters already.
    """
    if model.config.lora is not None or split_lora(params)[1]:
        raise UserError("lora: the model has adapters already: merge them first (merge_lora)")
    model = Decoder(dataclasses.replace(model.config, lora=lora))
    return model, join_lora(params, jax.jit(_fresh, static_argnums=0)(model, key))


def merge_lora(model: Decoder, params: Params) -> tuple[Decoder, Params]:
    """The plain model with W + A B * alpha / rank for every W that has an adapter.

    The sum is taken in float32, a layer at a time, then cast to W's dtype: bfloat16 weights round it. The other arrays
    are shared with `params`; a model without adapters comes back as it is.

    Raises:
      UserError: only one of model and parameters has adapters.
    """
    check_lora(model, params)
    lora = model.config.lora
    return (model, params) if lora is None else (without_lora(model), _merge(params, lora.scale))


def save_adapters(path: str | Path, model: Decoder, params: Params) -> None:
    """Writes the adapters alone: `adapters.json` (the model's configuration) beside an Orbax folder `adapters`.

    An existing folder at `path` is replaced.

    Raises:
      UserError: the model or the parameters have no adapters.
    """
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
    """Puts saved adapters on a base.

    Args:
      path: a folder that `save_adapters` wrote.
      model, params: the base that the adapters were trained on; adapters that it has are replaced. The base's own
        settings of computation (dtype, max_length, ...) are kept.

    Returns:
      The model with adapters and its parameters, which share the base's arrays. The adapters lie on one device.

    Raises:
      UserError: there are no adapters at `path`, they cannot be read, or they were made for a base of another shape.
    """
    folder = Path(path).absolute()
    if not (folder / "adapters.json").is_file() or not (folder / "adapters").is_dir():
        raise UserError(f"no adapters at {folder}: give a folder that holds adapters.json and adapters/")
    try:
        saved = DecoderConfig.from_json((folder / "adapters.json").read_text())
    except UserError as error:
        raise UserError(f"{folder / 'adapters.json'}: {error}") from error
    _check_base(folder, saved, model.config)
    model = Decoder(dataclasses.replace(model.config, lora=saved.lora))
    adapters = _restore(folder, jax.eval_shape(partial(_fresh, model), jax.random.key(0)))
    return model, join_lora(split_lora(params)[0], adapters)


def _fresh(model: Decoder, key: jax.Array) -> Params:
    """New adapters alone. Under `jit` no base is made: what is not returned is not computed."""
    return split_lora(nn.unbox(model.init(key, jnp.zeros((1, 2), jnp.int32))))[1]


def _restore(folder: Path, shapes: Params) -> Params:
    """The adapters on disk, which must be of these shapes, on the first device."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            # Orbax would report shapes that differ too, but leave tracebacks of its own on the terminal.
            stored = checkpointer.metadata(folder / "adapters").item_metadata.tree
            if shapes_by_path(stored) != shapes_by_path(shapes):
                raise ValueError("names or shapes of the arrays differ")
            return checkpointer.restore(folder / "adapters", target)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the adapters in {folder} cannot be read as adapters.json describes them: {reason}") from error


def _check_base(folder: Path, saved: DecoderConfig, base: DecoderConfig) -> None:
    if saved.lora is None:
        raise UserError(f"{folder / 'adapters.json'}: names no adapters: its lora is null")
    for field in dataclasses.fields(DecoderConfig):
        theirs, ours = getattr(saved, field.name), getattr(base, field.name)
        if field.name not in _FREE_FIELDS and theirs != ours:
            raise UserError(
                f"the adapters in {folder} were made for a base whose {field.name} is {theirs!r}, but this one's is "
                f"{ours!r}: give the base that they were trained on"
            )


def _merge(params: Params, scale: float) -> Params:
    merged = {}
    for name, value in params.items():
        adapter = params.get(name + _SUFFIX)
        if name.endswith(_SUFFIX):
            continue
        if adapter is not None:
            merged[name] = {**value, "kernel": _merged_kernel(value["kernel"], adapter["a"], adapter["b"], scale)}
        else:
            merged[name] = _merge(value, scale) if isinstance(value, dict) else value
    return merged


def _merged_kernel(kernel: jax.Array, a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    """The kernel with its adapter, laid out as it was."""
    return jax.jit(_merge_layers, out_shardings=kernel.sharding)(kernel, a, b, scale)


def _merge_layers(kernel: jax.Array, a: jax.Array, b: jax.Array, scale: float | jax.Array) -> jax.Array:
    """[layers, *in, *out] + [layers, *in, rank] [layers, rank, *out] * scale, with float32 copies of one layer only."""

    def one_layer(arrays: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        w, a, b = arrays
        delta = jnp.tensordot(a, b, 1, precision=jax.lax.Precision.HIGHEST) * scale
        return (w.astype(jnp.float32) + delta).astype(w.dtype)

    return jax.lax.map(one_layer, (kernel, a, b))
