"""The fields of a config.json about delta nets and the attention between them (Qwen 3.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sml_jax.families import ConfigFormat
from sml_jax.models.config import DecoderConfig, DeltaNetConfig
from sml_jax.models.hf.fields import Fields

# Our sizes of a delta net, and the fields that give them.
_SIZES = {
    "key_heads": "linear_num_key_heads",
    "value_heads": "linear_num_value_heads",
    "key_dim": "linear_key_head_dim",
    "value_dim": "linear_value_head_dim",
    "taps": "linear_conv_kernel_dim",
}
# Fields that say what all models of the family have, and the values that say so.
_FIXED: Mapping[str, tuple[Any, ...]] = {
    "attn_output_gate": (True,),
    "output_gate_type": ("swish", "silu"),
    "mamba_ssm_dtype": ("float32",),
}
# Fields about the layer that predicts several tokens, which is not read.
_NOT_READ = ("mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "unsloth_fixed_mtp")
# How positions of images are told apart. Those of text are the same in all sections, which is plain rotation.
_IMAGE_POSITIONS = ("mrope_section", "mrope_interleaved")
_PART = "partial_rotary_factor"


def read_delta_nets(values: Mapping[str, Any], form: ConfigFormat) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Takes the fields about delta nets and partial rotation out of those of a config.json.

    Args:
      values: the language model's fields.
      form: how the family writes them.

    Returns:
      The other fields, and fields of `DecoderConfig` by name. Both are as they were for families without delta nets.

    Raises:
      UserError: a value is not supported; the error names the field.
    """
    if form.sliding != "delta":
        return values, {}
    defaults: Mapping[str, Any] = form.defaults
    fields, others = Fields(values), dict(values)
    sizes = {ours: fields.integer(theirs, defaults[theirs]) for ours, theirs in _SIZES.items()}
    if sizes["value_heads"] % sizes["key_heads"]:
        theirs = _SIZES["value_heads"]
        raise fields.error(theirs, sizes["value_heads"], f"it must be a multiple of {_SIZES['key_heads']}")
    for name, allowed in _FIXED.items():
        fields.only(name, allowed, allowed[0])
    for name in (*_SIZES.values(), *_FIXED, *_NOT_READ):
        others.pop(name, None)

    # The rotated part of a head stands in the file itself, in its rotary settings, or in both.
    head_dim = fields.integer("head_dim", defaults["head_dim"])
    parts = [fields.number(_PART, defaults[_PART])]
    others.pop(_PART, None)
    settings = values.get("rope_parameters")
    if isinstance(settings, Mapping):
        others["rope_parameters"] = {
            name: value for name, value in settings.items() if name not in (_PART, *_IMAGE_POSITIONS)
        }
        inner = Fields(settings, f"{fields.where}: rope_parameters")
        parts.append(inner.number(_PART, parts[0] if values.get(_PART) is not None else defaults[_PART]))
        if values.get(_PART) is not None and parts[0] != parts[1]:
            raise inner.error(_PART, parts[1], f"{_PART} outside of rope_parameters is {parts[0]}: remove one of them")
    rotary_dim = int(head_dim * parts[-1])
    if parts[-1] > 1 or rotary_dim < 2 or rotary_dim % 2:
        raise fields.error(_PART, parts[-1], f"of a head of {head_dim} numbers it must rotate an even number")
    return others, {"delta_net": DeltaNetConfig(**sizes), "rotary_dim": rotary_dim}


def write_delta_nets(
    config: DecoderConfig, rope_theta: float, rope_scaling: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The fields of config.json about delta nets and the rotary embedding, in a family with delta nets.

    Args:
      config: the configuration.
      rope_theta, rope_scaling: these fields in the form of transformers 4, in which the family has no files.
    """
    values: dict[str, Any] = {}
    if config.delta_net is not None:
        values = {theirs: getattr(config.delta_net, ours) for ours, theirs in _SIZES.items()}
    rotary_dim = config.head_dim if config.rotary_dim is None else config.rotary_dim
    part = rotary_dim / config.head_dim
    # Whoever reads it multiplies and rounds down.
    if int(config.head_dim * part) < rotary_dim:
        part = math.nextafter(part, 2.0)
    settings = {"rope_type": "default", **(rope_scaling or {}), "rope_theta": rope_theta, _PART: part}
    return values | {"rope_parameters": settings, _PART: part, "attn_output_gate": True}
