"""What there is to say of a model family. Each family's file fills in a `Family`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

# The part of a tensor's name that all tensors of one layer share.
_LAYER = "model.layers.{layer}."

LLAMA_TENSORS: Mapping[str, str] = MappingProxyType(
    {
        "embedding": "model.embed_tokens",
        "final_norm": "model.norm",
        "output": "lm_head",
        "query": f"{_LAYER}self_attn.q_proj",
        "key": f"{_LAYER}self_attn.k_proj",
        "value": f"{_LAYER}self_attn.v_proj",
        "out": f"{_LAYER}self_attn.o_proj",
        "query_norm": f"{_LAYER}self_attn.q_norm",
        "key_norm": f"{_LAYER}self_attn.k_norm",
        "gate": f"{_LAYER}mlp.gate_proj",
        "up": f"{_LAYER}mlp.up_proj",
        "down": f"{_LAYER}mlp.down_proj",
        "attention_norm": f"{_LAYER}input_layernorm",
        "mlp_norm": f"{_LAYER}post_attention_layernorm",
    }
)
"""Our name of a parameter -> the tensor's name in safetensors files, without ".weight" or ".bias".

"{layer}" stands for the number of the layer. Most families use Llama's names; a family whose names differ gives
`{**LLAMA_TENSORS, ...}`. Parameters that a shape does not have (`query_norm` without `qk_norm`) are not looked up.
"""


PLAIN_TRAITS: Mapping[str, object] = MappingProxyType(
    {
        # How a family is told apart: the functions inside a layer, not the sizes.
        "activation": "silu",
        "qk_norm": False,
        "qkv_bias": False,
        "output_gate": False,
        "post_norms": False,
        "norm_plus_one": False,
        "embedding_scale": False,
        "value_norm": False,
        "layer_scalar": False,
    }
)
"""Values of the fields of `DecoderConfig` that tell families apart, for a family without peculiarities (Llama)."""


@dataclass(frozen=True)
class ChatTemplate:
    """A public chat template as texts, in which control tokens are written by name ("<start_of_turn>").

    It is for models that bring no template of their own; see `sml_jax.text.formats`.

    A context is `begin`, then messages. A message is an opening (`system`, `user` or `model`), its text, the first of
    `stop_ids`, and `after`.

    Attributes:
      name: its name in settings (`FamilyChat.family`).
      user: text that opens a user's message.
      model: text that opens the model's message.
      stop_ids: the control token that closes a message, then others that may end a sampled one; those that a tokenizer
        lacks are left out, except the first.
      begin: text that opens a context.
      system: text that opens the system's message; None if the family has no system message.
      after: text between the end of a message and the next opening.
      unthinking: text to put after `model` so that the model answers without thinking first; None for families that
        need none, or never think.
      thinking_system: text at the head of the system's message that lets the model think first; "" for families that
        need none.
      thinking: text to put after `model` where it may think first: the opening of the block, in templates that open it
        themselves.
      default_system: the system text of the public template for chats without one.
      stripped: whose texts the public template strips of white space: "system", "user", "model".
      other_model_types: values of `model_type` in config.json that have this chat template although the decoder cannot
        read their weights.
    """

    # Required pieces first; every default below means "the template has no such piece".
    name: str
    user: str
    model: str
    stop_ids: tuple[str, ...]
    begin: str = ""
    system: str | None = None
    after: str = ""
    unthinking: str | None = None
    thinking_system: str = ""
    thinking: str = ""
    default_system: str = ""
    stripped: tuple[Literal["system", "user", "model"], ...] = ()
    other_model_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConfigFormat:
    """How a family's config.json is written.

    Attributes:
      defaults: field -> value where config.json does not give it, as in the family's configuration class in
        `transformers`. Fields that are absent here too must be in the file, or have a default that all families share.
        With a default for `rope_local_base_freq`, local layers have another rotary base than global ones.
      activation: the value of the activation field.
      activation_fields: names of that field. The first is written; where a file has others, they must agree.
      score_fields: whether there are fields for the scale and the soft cap of scores (`query_pre_attn_scalar`,
        `attn_logit_softcapping`).
      final_softcap_field: whether there is a field for the soft cap of logits (`final_logit_softcapping`).
      sliding: which layers are local where `layer_types` does not list them: "none"; "periodic", all but every
        `period`-th; "upper", those from `max_window_layers` on if `use_sliding_window` is true; "delta", none, but all
        but every `period`-th have a delta net in the place of attention.
      period: for "periodic" and "delta", how far apart global layers are.
      period_fields: fields that may give another period, the first one before the others.
      last_is_global: whether the last layer is global, whatever the file says of it.
      varied_layers: whether there are Gemma 4's fields for layers that differ, see `models.hf.varied_layers`.
      rope_scaling: how rotary frequencies are scaled where the file gives no settings of them: None for not at all, or
        the fields of `RopeScaling`. With a value, only the newer form of these settings is read and written.
      false_fields: fields for biases, which are written as false.
    """

    defaults: Mapping[str, object] = field(default_factory=dict)
    # The defaults are those of Llama, which most families follow.
    activation: str = "silu"
    activation_fields: tuple[str, ...] = ("hidden_act",)
    score_fields: bool = False
    final_softcap_field: bool = False
    sliding: Literal["none", "periodic", "upper", "delta"] = "none"
    period: int = 2
    period_fields: tuple[str, ...] = ()
    last_is_global: bool = False
    varied_layers: bool = False
    rope_scaling: Mapping[str, object] | None = None
    false_fields: tuple[str, ...] = ("attention_bias",)


@dataclass(frozen=True)
class GGUFFormat:
    """How llama.cpp writes a family's models as GGUF files.

    Source: https://github.com/ggml-org/llama.cpp, convert_hf_to_gguf.py and src/llama-model.cpp.

    Attributes:
      architecture: its name in `general.architecture`, which is also the prefix of its settings.
      interleaved_rotary: whether the two halves of a head that rotate together are stored alternately in the query and
        key projections, one number of the one, then one of the other.
      width_scaled_layers: models with so many layers, the family's 27B, divide attention scores by the root of
        embed_dim / heads in place of head_dim; no setting of the file says so. None if the family has no such model.
    """

    architecture: str
    interleaved_rotary: bool = False
    width_scaled_layers: int | None = None


@dataclass(frozen=True)
class Wrapper:
    """A larger model that contains a language model of the family and other parts, such as a vision tower.

    The other parts are not read.

    Attributes:
      model_type: that of the larger model in config.json.
      config_field: the field of config.json that holds the configuration of the language model.
      ignored_fields: fields of config.json that describe the other parts.
      ignored_tensors: prefixes of the names of the other parts' weights.
    """

    model_type: str
    config_field: str
    ignored_fields: tuple[str, ...]
    ignored_tensors: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """What is common to all models of a family.

    Attributes:
      model_type: the family's name, as in config.json.
      architecture: the class in `transformers` that its causal language models load into.
      traits: values of fields of `DecoderConfig`, those that `PLAIN_TRAITS` names and perhaps more, the same in all
        models of the family. A configuration's family is recognised by them: where two families have the same, as those
        that differ only in what a file may leave out, it is the first of them in the registry.
      chat: the chat template of its instruction-tuned models.
      config: how config.json is written.
      tensors: our name of each parameter -> the tensor's name in files, see `LLAMA_TENSORS`.
      wrapper: a larger model that may contain a model of this family; None if there is none.
      unread_tensors: prefixes of the names of weights that files of the family may hold beside the language model's.
      gguf: how its GGUF files are written; None if llama.cpp has no such family.
    """

    model_type: str
    architecture: str
    traits: Mapping[str, object]
    chat: ChatTemplate
    config: ConfigFormat = ConfigFormat()
    tensors: Mapping[str, str] = field(default_factory=lambda: LLAMA_TENSORS)
    wrapper: Wrapper | None = None
    unread_tensors: tuple[str, ...] = ()
    gguf: GGUFFormat | None = None
