"""Gemma 3 (arXiv 2503.19786), the language model. The larger sizes are published with a vision tower around it."""

from __future__ import annotations

from sml_jax.families.family import ConfigFormat, Family, GGUFFormat, Wrapper
from sml_jax.families.gemma2 import CHAT, TENSORS, TRAITS

FAMILY = Family(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    # Gemma 3 replaced the soft caps of Gemma 2 by norms of queries and keys.
    traits={**TRAITS, "qk_norm": True},
    chat=CHAT,
    config=ConfigFormat(
        # Published files rely on these, the sizes among them: transformers' Gemma3TextConfig.
        defaults={
            "vocab_size": 262_208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 131_072,
            "sliding_window": 4096,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "query_pre_attn_scalar": 256,
            "tie_word_embeddings": True,
        },
        activation="gelu_pytorch_tanh",
        activation_fields=("hidden_activation", "hidden_act"),
        score_fields=True,
        final_softcap_field=True,
        sliding="periodic",
        # Five local layers, then a global one.
        period=6,
        period_fields=("sliding_window_pattern", "_sliding_window_pattern"),
    ),
    tensors=TENSORS,
    # The vision tower and the projector of image tokens are left out: dialogues are text.
    wrapper=Wrapper(
        model_type="gemma3",
        config_field="text_config",
        ignored_fields=(
            "vision_config",
            "boi_token_index",
            "eoi_token_index",
            "image_token_index",
            "image_token_id",
            "boi_token_id",
            "eoi_token_id",
            "mm_tokens_per_image",
        ),
        ignored_tensors=(
            "vision_tower.",
            "multi_modal_projector.",
            "model.vision_tower.",
            "model.multi_modal_projector.",
        ),
    ),
    gguf=GGUFFormat("gemma3", width_scaled_layers=62),
)
