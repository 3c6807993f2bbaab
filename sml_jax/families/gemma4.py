"""Gemma 4, the language model: dense models, and "E" models with per-layer embeddings and shared keys and values.

Source: `models/gemma4` in transformers 5.24. The mixture of experts (26B-A4B) is not supported.
"""

from __future__ import annotations

from sml_jax.families.family import ChatTemplate, ConfigFormat, Family, Wrapper
from sml_jax.families.gemma2 import TENSORS as GEMMA_TENSORS
from sml_jax.families.gemma2 import TRAITS as GEMMA_TRAITS

# Norms are no longer stored as offsets from one, scores are not scaled, values are normed, and each layer has a scalar.
TRAITS = {
    **GEMMA_TRAITS,
    "qk_norm": True,
    "norm_plus_one": False,
    "value_norm": True,
    "layer_scalar": True,
    "attention_scale": 1.0,
}

TENSORS = {
    **GEMMA_TENSORS,
    "layer_scalar": "model.layers.{layer}.layer_scalar",
    "per_layer_table": "model.embed_tokens_per_layer",
    "per_layer_projection": "model.per_layer_model_projection",
    "per_layer_projection_norm": "model.per_layer_projection_norm",
    "per_layer_gate": "model.layers.{layer}.per_layer_input_gate",
    "per_layer_out": "model.layers.{layer}.per_layer_projection",
    "per_layer_norm": "model.layers.{layer}.post_per_layer_input_norm",
}

CONFIG_DEFAULTS = {
    "vocab_size": 262_144,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "global_head_dim": 512,
    "max_position_embeddings": 131_072,
    "sliding_window": 512,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
    "vocab_size_per_layer_input": 262_144,
    "hidden_size_per_layer_input": 256,
    "tie_word_embeddings": True,
}

# Global layers rotate a quarter of a head's numbers.
ROPE_SCALING = {"kind": "proportional", "rotary_fraction": 0.25}

# https://huggingface.co/google/gemma-4-E2B-it, chat_template
CHAT = ChatTemplate(
    name="gemma4",
    begin="<bos>",
    system="<|turn>system\n",
    user="<|turn>user\n",
    model="<|turn>model\n",
    stop_ids=("<turn|>", "<eos>"),
    after="\n",
    thinking_system="<|think|>\n",
    stripped=("system", "user", "model"),
)

# Token ids of pictures, films and sound, and the configurations of what reads them.
_OTHER_PARTS = (
    "vision_config",
    "audio_config",
    "boi_token_id",
    "eoi_token_id",
    "image_token_id",
    "video_token_id",
    "boa_token_id",
    "eoa_token_id",
    "eoa_token_index",
    "audio_token_id",
    "vision_soft_tokens_per_image",
)


def wrapper(model_type: str) -> Wrapper:
    """The larger model of this `model_type`, whose parts for pictures and sound are left out: dialogues are text."""
    parts = ("vision_tower.", "embed_vision.", "audio_tower.", "embed_audio.")
    return Wrapper(
        model_type=model_type,
        config_field="text_config",
        ignored_fields=_OTHER_PARTS,
        ignored_tensors=(*parts, *(f"model.{part}" for part in parts)),
    )


FAMILY = Family(
    model_type="gemma4_text",
    architecture="Gemma4ForCausalLM",
    traits=TRAITS,
    chat=CHAT,
    config=ConfigFormat(
        defaults=CONFIG_DEFAULTS,
        activation="gelu_pytorch_tanh",
        activation_fields=("hidden_activation",),
        final_softcap_field=True,
        sliding="periodic",
        period=6,
        last_is_global=True,
        varied_layers=True,
        rope_scaling=ROPE_SCALING,
    ),
    tensors=TENSORS,
    wrapper=wrapper("gemma4"),
)
