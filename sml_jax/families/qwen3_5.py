"""Qwen 3.5 and 3.6, the dense language models: gated delta nets with full attention layers between them.

They are published with a vision tower around them and a layer that predicts several tokens at once; both are left out.
"""

from __future__ import annotations

import dataclasses

from sml_jax.families.chatml import CHATML
from sml_jax.families.family import LLAMA_TENSORS, PLAIN_TRAITS, ConfigFormat, Family, Wrapper

# https://huggingface.co/Qwen/Qwen3.5-9B, chat_template. The prompt itself opens the block of thinking, or closes it.
CHAT = dataclasses.replace(
    CHATML,
    name="qwen3_5",
    unthinking="<think>\n\n</think>\n\n",
    thinking="<think>\n",
    stripped=("system", "user", "model"),
)

_DELTA_NET = "model.layers.{layer}.linear_attn"
TENSORS = {
    **LLAMA_TENSORS,
    # Queries, keys and values have one projection and one convolution.
    "delta_in": f"{_DELTA_NET}.in_proj_qkv",
    "delta_conv": f"{_DELTA_NET}.conv1d",
    "delta_gate": f"{_DELTA_NET}.in_proj_z",
    "delta_beta": f"{_DELTA_NET}.in_proj_b",
    "delta_decay": f"{_DELTA_NET}.in_proj_a",
    "decay_log_rate": f"{_DELTA_NET}.A_log",
    "decay_bias": f"{_DELTA_NET}.dt_bias",
    "delta_norm": f"{_DELTA_NET}.norm",
    "delta_out": f"{_DELTA_NET}.out_proj",
}

FAMILY = Family(
    model_type="qwen3_5_text",
    architecture="Qwen3_5ForCausalLM",
    traits={**PLAIN_TRAITS, "qk_norm": True, "norm_plus_one": True, "output_gate": True},
    chat=CHAT,
    config=ConfigFormat(
        # As in transformers' Qwen3_5TextConfig. Published files give all sizes.
        defaults={
            "vocab_size": 248_320,
            "hidden_size": 4096,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "intermediate_size": 12_288,
            "max_position_embeddings": 32_768,
            "linear_conv_kernel_dim": 4,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "partial_rotary_factor": 0.25,
        },
        sliding="delta",
        # Three delta nets, then full attention.
        period=4,
        period_fields=("full_attention_interval",),
    ),
    tensors=TENSORS,
    wrapper=Wrapper(
        model_type="qwen3_5",
        config_field="text_config",
        ignored_fields=(
            "vision_config",
            "image_token_id",
            "video_token_id",
            "vision_start_token_id",
            "vision_end_token_id",
            "language_model_only",
        ),
        ignored_tensors=("model.visual.", "visual."),
    ),
    unread_tensors=("mtp.", "model.mtp."),
)
