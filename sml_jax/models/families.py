"""The families that the decoder covers: what sets each apart, and which of them a configuration belongs to.

A family is named by its `model_type` in a Hugging Face config.json.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sml_jax.errors import UserError
from sml_jax.models.config import DecoderConfig
from sml_jax.models.ops.rope import RopeScaling


@dataclass(frozen=True)
class Family:
    """What all models of a family share.

    Attributes:
      model_type: the family's name in config.json.
      architecture: the class in `transformers` that its causal language models load into.
      traits: the fields of `DecoderConfig` that are the same in all its models.
      tied_by_default: whether the output layer is the embedding's transpose where config.json does not say.
      gemma: whether config.json has Gemma's own fields (`hidden_activation`, `query_pre_attn_scalar`, soft caps).
    """

    model_type: str
    architecture: str
    traits: Mapping[str, object]
    tied_by_default: bool = False
    gemma: bool = False


def _traits(**changes: object) -> Mapping[str, object]:
    plain = dict(
        activation="silu",
        qk_norm=False,
        qkv_bias=False,
        post_norms=False,
        norm_plus_one=False,
        embedding_scale=False,
    )
    return MappingProxyType({**plain, **changes})


_GEMMA = dict(activation="gelu", post_norms=True, norm_plus_one=True, embedding_scale=True)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.model_type: family
        for family in (
            Family("gemma2", "Gemma2ForCausalLM", _traits(**_GEMMA), True, True),
            Family("gemma3_text", "Gemma3ForCausalLM", _traits(**_GEMMA, qk_norm=True), True, True),
            Family("llama", "LlamaForCausalLM", _traits()),
            Family("qwen2", "Qwen2ForCausalLM", _traits(qkv_bias=True)),
            Family("qwen3", "Qwen3ForCausalLM", _traits(qk_norm=True)),
        )
    }
)

# Fields that say how a model is run or kept, not which function it computes.
RUN_FIELDS = ("attention", "dtype", "param_dtype", "max_length", "remat", "scan_unroll")


def run_settings(config: DecoderConfig) -> dict[str, object]:
    """A configuration's settings of computation, as overrides for another of the same shape."""
    return {name: getattr(config, name) for name in RUN_FIELDS}


def family_named(name: str) -> Family:
    """The family of that `model_type`; an error that lists the known ones if there is none."""
    if name not in FAMILIES:
        raise UserError(f"model family {name!r} is not supported; there are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def family_of(config: DecoderConfig) -> Family:
    """The family whose traits a configuration has. No two families have the same.

    Raises:
      UserError: it belongs to none of them, naming the traits.
    """
    for family in FAMILIES.values():
        if all(getattr(config, name) == value for name, value in family.traits.items()):
            return family
    has = {name: getattr(config, name) for name in FAMILIES["llama"].traits}
    raise UserError(f"no family of {', '.join(FAMILIES)} has these traits: {has}")


def canonical(config: DecoderConfig) -> DecoderConfig:
    """The same function, written in one way: the shortest layer pattern, None or 0 where a field changes nothing."""
    kinds = tuple("local" if local else "global" for local in config.local_layers)
    period = next(p for p in range(1, len(kinds) + 1) if all(kind == kinds[i % p] for i, kind in enumerate(kinds)))
    same_rope = config.rope_local_base == config.rope_base and config.rope_scaling.kind == "none"
    any_local = "local" in kinds
    return dataclasses.replace(
        config,
        layer_pattern=kinds[:period],
        window=config.window if any_local else 0,
        rope_local_base=None if same_rope or not any_local else config.rope_local_base,
        rope_scaling=RopeScaling() if config.rope_scaling.kind == "none" else config.rope_scaling,
        attention_scale=None if config.attention_scale == config.head_dim**-0.5 else config.attention_scale,
    )
