"""A decoder's configuration from a Hugging Face config.json, and back.

Defaults of absent fields are those of the configuration classes in `transformers` (5.x, checked against 4.56's names);
published files of Gemma 3 rely on them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sml_jax.errors import UserError
from sml_jax.models.config import MOST_LAYERS, DecoderConfig
from sml_jax.models.families import RUN_FIELDS, Family, canonical, family_named
from sml_jax.models.hf.fields import HARMLESS, Fields
from sml_jax.models.hf.rope import Rope, read_rope, write_rope

_KINDS = {"full_attention": "global", "sliding_attention": "local"}
_GELU, _SILU = "gelu_pytorch_tanh", "silu"

# Sizes that Gemma 3's published files leave out: transformers' Gemma3TextConfig.
_GEMMA3_SIZES = dict(
    vocab_size=262_208,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
    max_position_embeddings=131_072,
)

# Beside `text_config` in Gemma 3's files with a vision tower, which is not read.
_VISION = """
    vision_config boi_token_index eoi_token_index image_token_index image_token_id boi_token_id eoi_token_id
    mm_tokens_per_image
"""


def config_from_hf(values: Mapping[str, Any]) -> DecoderConfig:
    """Reads a config.json of Gemma 2, Gemma 3 (its text part), Llama 3, Qwen 2.5 or Qwen 3.

    Args:
      values: the JSON object. Both the fields of transformers 4 and the `rope_parameters` of 5 are read.

    Returns:
      The configuration. `dtype` and `param_dtype` follow the file (float16 is kept as float32), and are float32 where
      it does not say.

    Raises:
      UserError: a family, field or value that is not supported, by name. A field is never ignored: it is used, or known
        to make no difference to the logits.
    """
    text = _text_part(values)
    family = family_named(str(text.get("model_type")))
    fields = Fields(text)
    fields.take("model_type")
    sizes = _GEMMA3_SIZES if family.model_type == "gemma3_text" else {}
    width, heads = (
        fields.integer("hidden_size"),
        fields.integer("num_attention_heads", *_default(sizes, "num_attention_heads")),
    )
    layers = fields.integer("num_hidden_layers")
    if layers > MOST_LAYERS:
        raise fields.error("num_hidden_layers", layers, f"it must be at most {MOST_LAYERS}")
    window, pattern = _read_layer_kinds(fields, family, layers)
    gemma3 = family.model_type == "gemma3_text"
    rope = read_rope(fields, 1e6 if gemma3 else 1e4, 1e4 if gemma3 else None)
    dtype = {"bfloat16": "bfloat16"}.get(str(stored_dtype(values)), "float32")
    config = DecoderConfig(
        vocab_size=fields.integer("vocab_size", *_default(sizes, "vocab_size")),
        embed_dim=width,
        layers=layers,
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", sizes.get("num_key_value_heads", heads)),
        head_dim=_read_head_dim(fields, family, width, heads),
        mlp_dim=fields.integer("intermediate_size"),
        max_length=fields.integer("max_position_embeddings", *_default(sizes, "max_position_embeddings")),
        layer_pattern=pattern,
        window=window,
        rope_base=rope.base,
        rope_local_base=rope.local_base,
        rope_scaling=rope.scaling,
        **_read_activation_and_caps(fields, family),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        tied_embeddings=fields.flag("tie_word_embeddings", family.tied_by_default),
        dtype=dtype,
        param_dtype=dtype,
        **{name: value for name, value in family.traits.items() if name != "activation"},  # type: ignore[arg-type]
    )
    fields.finish()
    return canonical(config)


def stored_dtype(values: Mapping[str, Any]) -> str | None:
    """The type of the weights that a config.json names, None if it names none."""
    nested = values.get("text_config")
    for part in (nested if isinstance(nested, Mapping) else {}, values):
        for name in ("dtype", "torch_dtype"):
            if part.get(name) is not None:
                return str(part[name])
    return None


def config_to_hf(config: DecoderConfig, family: str) -> dict[str, Any]:
    """Writes a configuration as the fields of a config.json, in the form of transformers 4, which 5 reads too.

    Args:
      config: the configuration.
      family: the `model_type` to write.

    Raises:
      UserError: that family cannot express the configuration, naming the fields.
    """
    kind = family_named(family)
    local = config.local_layers
    names = {value: name for name, value in _KINDS.items()}
    values: dict[str, Any] = {
        "architectures": [kind.architecture],
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
    local_base = config.rope_base if config.rope_local_base is None else config.rope_local_base
    rope = Rope(config.rope_base, config.rope_scaling, local_base if family == "gemma3_text" else None)
    values |= write_rope(rope)
    values |= {"attention_bias": False} if family != "qwen2" else {}
    if kind.gemma:
        scale = config.head_dim**-0.5 if config.attention_scale is None else config.attention_scale
        values |= {
            "hidden_activation": _GELU,
            "query_pre_attn_scalar": round(scale**-2),
            "attn_logit_softcapping": config.attention_softcap,
            "final_logit_softcapping": config.final_softcap,
        }
    else:
        values |= {"hidden_act": _SILU} | ({"mlp_bias": False} if family == "llama" else {})
    if family != "llama":
        values["layer_types"] = [names["local" if is_local else "global"] for is_local in local]
        values["sliding_window"] = config.window if any(local) else None
        if kind.gemma:
            values["sliding_window"] = max(config.window, 1)
        else:
            values |= {
                "use_sliding_window": any(local),
                "max_window_layers": local.index(True) if any(local) else config.layers,
            }
    _check_expressed(config, values, family)
    return values


def _text_part(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part on the language model: of Gemma 3 with a vision tower `text_config`, else all of it."""
    if values.get("model_type") != "gemma3":
        return values
    fields = Fields(values)
    text = fields.take("text_config")
    if not isinstance(text, Mapping):
        raise fields.error("text_config", text, "it must be an object")
    tied = fields.take("tie_word_embeddings", text.get("tie_word_embeddings"))
    fields.finish(HARMLESS.union(_VISION.split()))
    return {**text, "model_type": text.get("model_type", "gemma3_text"), "tie_word_embeddings": tied}


def _default(sizes: Mapping[str, int], name: str) -> tuple[int, ...]:
    return (sizes[name],) if name in sizes else ()


def _read_head_dim(fields: Fields, family: Family, width: int, heads: int) -> int:
    if family.gemma or family.model_type == "qwen3":
        return fields.integer("head_dim", 256 if family.gemma else 128)
    given = fields.take("head_dim", None)
    if given is None and width % heads:
        raise fields.error("num_attention_heads", heads, f"it does not divide hidden_size ({width}): give head_dim")
    return Fields({"head_dim": given or width // heads}).integer("head_dim")


def _read_activation_and_caps(fields: Fields, family: Family) -> dict[str, Any]:
    if not family.gemma:
        fields.only("hidden_act", (_SILU,), _SILU)
        return {"activation": "silu"}
    activation = fields.only("hidden_activation", (_GELU,), _GELU)
    # Gemma 2's files carry both names; transformers reads the other one.
    fields.only("hidden_act", (_GELU,), activation)
    gemma2 = family.model_type == "gemma2"
    return {
        "activation": "gelu",
        "attention_scale": fields.number("query_pre_attn_scalar", 256) ** -0.5,
        "attention_softcap": fields.cap("attn_logit_softcapping", 50.0 if gemma2 else None),
        "final_softcap": fields.cap("final_logit_softcapping", 30.0 if gemma2 else None),
    }


def _read_layer_kinds(fields: Fields, family: Family, layers: int) -> tuple[int, tuple[str, ...]]:
    """The window, and "local" or "global" for each layer."""
    if family.model_type == "llama":
        return 0, ("global",)
    if family.gemma:
        window = fields.integer("sliding_window", 4096)
        fields.only("sliding_window_size", (window,), window)
        period = 2
        if family.model_type == "gemma3_text":
            period = fields.integer("sliding_window_pattern", fields.integer("_sliding_window_pattern", 6))
        kinds = tuple("global" if (i + 1) % period == 0 else "local" for i in range(layers))
    else:
        slides = fields.flag("use_sliding_window", False)
        size, first = fields.take("sliding_window", None), fields.take("max_window_layers", 28)
        if isinstance(first, bool) or not isinstance(first, int):
            raise fields.error("max_window_layers", first, "it must be a whole number")
        slides = slides and size is not None
        window = Fields({"sliding_window": size}).integer("sliding_window") if slides else 0
        kinds = tuple("local" if slides and i >= first else "global" for i in range(layers))
    listed = fields.take("layer_types", None)
    if listed is None:
        return window, kinds
    if not isinstance(listed, list) or len(listed) != layers or any(kind not in tuple(_KINDS) for kind in listed):
        raise fields.error("layer_types", listed, f"it must list {layers} of {', '.join(map(repr, _KINDS))}")
    kinds = tuple(_KINDS[kind] for kind in listed)
    if "local" in kinds and not window:
        raise fields.error("layer_types", listed, "sliding layers need use_sliding_window and sliding_window")
    return window, kinds


def _check_expressed(config: DecoderConfig, values: Mapping[str, Any], family: str) -> None:
    """Reads back what was written: whatever came out otherwise, the family has no field for."""
    again = config_from_hf(values)
    plain = canonical(config)
    lost = {
        field.name: getattr(plain, field.name)
        for field in dataclasses.fields(DecoderConfig)
        if field.name not in (*RUN_FIELDS, "lora") and getattr(again, field.name) != getattr(plain, field.name)
    }
    if lost:
        raise UserError(
            f"a {family} model cannot have {', '.join(f'{name}={value!r}' for name, value in lost.items())}"
        )
