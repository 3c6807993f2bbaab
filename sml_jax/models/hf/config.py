"""A decoder's configuration from a Hugging Face config.json, and back.

What differs between families stands in `sml_jax.families`; the reading and writing here is the same for all. Defaults
of absent fields are those of the configuration classes in `transformers` (5.x, checked against 4.56's names).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.families import FAMILIES, ConfigFormat, Family, family_named, wrapper_of
from sml_jax.models.config import MAX_LAYERS, RUN_FIELDS, DecoderConfig, canonical
from sml_jax.models.hf.delta_net import read_delta_nets, write_delta_nets
from sml_jax.models.hf.fields import HARMLESS, Fields
from sml_jax.models.hf.layer_kinds import read_layer_kinds, write_layer_kinds
from sml_jax.models.hf.rope import Rope, read_rope, write_rope
from sml_jax.models.hf.varied_layers import read_varied_layers, write_varied_layers
from sml_jax.models.ops.rope import RopeScaling

# Fields of other programs for what is a trait of the family (`Family.traits`), and the trait.
_TRAIT_FIELDS = {"qkv_bias": "qkv_bias", "use_qkv_bias": "qkv_bias", "qk_norm": "qk_norm", "use_qk_norm": "qk_norm"}


def config_from_hf(values: Mapping[str, Any]) -> DecoderConfig:
    """Reads a config.json of one of the families (Gemma 2, 3 and 4, Llama 3, Qwen 2.5, 3 and 3.5).

    Of a model with parts for pictures or sound (Gemma 3 and 4) the language model's part is read.

    Args:
      values: the JSON object. Both the fields of transformers 4 and the `rope_parameters` of 5 are read.

    Returns:
      The configuration. `dtype` and `param_dtype` follow the file (float16 becomes float32), and are float32 where it
      does not name one.

    Raises:
      UserError: a family, field or value is not supported; the error names it. No field is ignored unless it is known
        to make no difference to the logits.
    """
    # The order below decides which of several errors is reported first: sizes, layers, rope, then the rest.
    language_values = _language_model_part(values)
    family: Family = family_named(str(language_values.get("model_type")))
    defaults = family.config.defaults
    language_values, of_delta_nets = read_delta_nets(language_values, family.config)
    fields = Fields(language_values)
    fields.take("model_type")

    def size(name: str) -> int:
        """Takes a size, which only some families' files may leave out."""
        return fields.integer(name, *([defaults[name]] if name in defaults else []))

    embed_dim, heads = size("hidden_size"), size("num_attention_heads")
    layers = fields.integer("num_hidden_layers")
    # Checked before a list of as many layers is made.
    if layers > MAX_LAYERS:
        raise fields.error("num_hidden_layers", layers, f"it must be at most {MAX_LAYERS}")
    window, layer_pattern = read_layer_kinds(fields, family.config, layers)
    scaling: Any = family.config.rope_scaling
    default_scaling = None if scaling is None else RopeScaling(**scaling)
    rope = read_rope(fields, _default_rope_base(family), _local_rope_base(family), default_scaling)
    dtype = {"bfloat16": "bfloat16"}.get(str(stored_dtype(values)), "float32")
    _read_activation(fields, family.config)
    _check_traits(fields, family)
    layer_sizes: dict[str, Any] = {
        "kv_heads": fields.integer("num_key_value_heads", defaults.get("num_key_value_heads", heads)),
        "head_dim": _read_head_dim(fields, family.config, embed_dim, heads),
        "mlp_dim": size("intermediate_size"),
    }
    if family.config.varied_layers:
        layer_sizes |= read_varied_layers(fields, family.config, layer_pattern, layer_sizes)
    config = DecoderConfig(
        vocab_size=size("vocab_size"),
        embed_dim=embed_dim,
        layers=layers,
        heads=heads,
        **layer_sizes,
        max_length=size("max_position_embeddings"),
        layer_pattern=layer_pattern,
        window=window,
        rope_base=rope.base,
        rope_local_base=rope.local_base,
        rope_scaling=rope.scaling,
        **_read_score_fields(fields, family.config),
        **of_delta_nets,
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        tied_embeddings=fields.flag("tie_word_embeddings", bool(defaults.get("tie_word_embeddings", False))),
        dtype=dtype,
        param_dtype=dtype,
        **family.traits,  # type: ignore[arg-type]
    )
    fields.finish()
    return canonical(config)


def stored_dtype(values: Mapping[str, Any]) -> str | None:
    """The dtype of the weights as a config.json (`values`) spells it, such as "bfloat16"; None if it names none."""
    nested = values.get("text_config")
    for json_object in (nested if isinstance(nested, Mapping) else {}, values):
        for name in ("dtype", "torch_dtype"):
            if json_object.get(name) is not None:
                return str(json_object[name])
    return None


def family_of_config(config: DecoderConfig) -> Family:
    """The family whose traits (`Family.traits`) a configuration has.

    Raises:
      UserError: no family has these traits; the error lists them.
    """
    for family in FAMILIES.values():
        if all(getattr(config, name) == value for name, value in family.traits.items()):
            return family
    traits = {name: getattr(config, name) for name in FAMILIES["llama"].traits}
    raise UserError(f"no family of {', '.join(FAMILIES)} has these traits: {traits}")


def config_to_hf(config: DecoderConfig, family: str) -> dict[str, Any]:
    """A configuration as the fields of a config.json, in the form of transformers 4, which version 5 reads too.

    Args:
      config: the configuration.
      family: the `model_type` to write, such as "qwen3".

    Returns:
      The JSON object. No file is written.

    Raises:
      UserError: that family has no field for some values of the configuration; the error names them.
    """
    target_family = family_named(family)
    values: dict[str, Any] = {
        "architectures": [target_family.architecture],
        "model_type": family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.max_length,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied_embeddings,
        "attention_dropout": 0.0,
        "torch_dtype": config.param_dtype,
    }
    # A family with a local rotary base writes both bases, even where they are equal.
    local_base = config.rope_base if config.rope_local_base is None else config.rope_local_base
    has_local_base = _local_rope_base(target_family) is not None
    rope = Rope(config.rope_base, config.rope_scaling, local_base if has_local_base else None)
    values |= write_rope(rope, newer_form=target_family.config.rope_scaling is not None)
    # Fields that say what the decoder never has, as transformers writes them.
    values |= dict.fromkeys(target_family.config.false_fields, False)
    values[target_family.config.activation_fields[0]] = target_family.config.activation
    if target_family.config.score_fields:
        scale = config.head_dim**-0.5 if config.attention_scale is None else config.attention_scale
        values |= {
            "query_pre_attn_scalar": round(scale**-2),
            "attn_logit_softcapping": config.attention_softcap,
        }
    if target_family.config.final_softcap_field:
        values["final_logit_softcapping"] = config.final_softcap
    values |= write_layer_kinds(config, target_family.config)
    if target_family.config.varied_layers:
        values |= write_varied_layers(config)
    if target_family.config.sliding == "delta":
        values |= write_delta_nets(config, values.pop("rope_theta"), values.pop("rope_scaling"))
    _check_expressed(config, values, family)
    return values


def _language_model_part(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of the language model: those nested in a wrapper's config.json, else all of them."""
    family_and_wrapper = wrapper_of(values.get("model_type"))
    if family_and_wrapper is None:
        return values
    family, wrapper = family_and_wrapper
    fields = Fields(values)
    language_values = fields.take(wrapper.config_field)
    if not isinstance(language_values, Mapping):
        raise fields.error(wrapper.config_field, language_values, "it must be an object")
    # The outer object decides on tied embeddings; older files leave it to the inner one.
    tied_embeddings = fields.take("tie_word_embeddings", language_values.get("tie_word_embeddings"))
    fields.finish(HARMLESS.union(wrapper.ignored_fields))
    return {
        **language_values,
        "model_type": language_values.get("model_type", family.model_type),
        "tie_word_embeddings": tied_embeddings,
    }


def _default_rope_base(family: Family) -> float:
    """The rotary base where the file gives none: the family's, or the one that all others share."""
    base: Any = family.config.defaults.get("rope_theta", 1e4)
    return float(base)


def _local_rope_base(family: Family) -> float | None:
    """The default rotary base of the family's local layers; None if they share the global layers' settings."""
    base: Any = family.config.defaults.get("rope_local_base_freq")
    return None if base is None else float(base)


def _read_head_dim(fields: Fields, form: ConfigFormat, embed_dim: int, heads: int) -> int:
    """The size of a head: given, or the family's default, or the hidden state divided by the heads."""
    if "head_dim" in form.defaults:
        return fields.integer("head_dim", form.defaults["head_dim"])
    # Older families have no such field: the heads divide the hidden state among themselves.
    head_dim = fields.take("head_dim", None)
    if head_dim is None and embed_dim % heads:
        raise fields.error("num_attention_heads", heads, f"it does not divide hidden_size ({embed_dim}): give head_dim")
    return Fields({"head_dim": head_dim or embed_dim // heads}).integer("head_dim")


def _read_activation(fields: Fields, form: ConfigFormat) -> None:
    """Checks that the file's activation is the family's, in every field that may name one."""
    for name in form.activation_fields:
        fields.only(name, (form.activation,), form.activation)


def _check_traits(fields: Fields, family: Family) -> None:
    """Takes fields that exporters write to say what is so in all models of the family, and checks that they do."""
    for name, trait in _TRAIT_FIELDS.items():
        always = bool(family.traits[trait])
        if fields.flag(name, always) != always:
            why = f"{family.model_type} models {'always' if always else 'never'} have it: name another model_type"
            raise fields.error(name, not always, why)
    # Where a family has biases in any case, `transformers` does not read this field, which its files need not have.
    if family.traits["qkv_bias"]:
        fields.flag("attention_bias", True)


def _read_score_fields(fields: Fields, form: ConfigFormat) -> dict[str, Any]:
    """The scale and the soft caps, for families that have fields for them."""
    defaults: Mapping[str, Any] = form.defaults
    values: dict[str, Any] = {}
    if form.score_fields:
        values["attention_scale"] = fields.number("query_pre_attn_scalar", defaults["query_pre_attn_scalar"]) ** -0.5
        values["attention_softcap"] = fields.cap("attn_logit_softcapping", defaults.get("attn_logit_softcapping"))
    if form.final_softcap_field:
        values["final_softcap"] = fields.cap("final_logit_softcapping", defaults.get("final_logit_softcapping"))
    return values


def _check_expressed(config: DecoderConfig, values: Mapping[str, Any], family: str) -> None:
    """Reads back what was written: a field that comes back with another value is one that the family cannot express."""
    read_back, wanted = config_from_hf(values), canonical(config)
    not_expressed = {
        field.name: getattr(wanted, field.name)
        for field in dataclasses.fields(DecoderConfig)
        if field.name not in (*RUN_FIELDS, "lora") and getattr(read_back, field.name) != getattr(wanted, field.name)
    }
    if not_expressed:
        raise UserError(
            f"a {family} model cannot have {', '.join(f'{name}={value!r}' for name, value in not_expressed.items())}"
        )
