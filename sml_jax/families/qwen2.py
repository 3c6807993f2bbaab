"""Qwen 2.5 (arXiv 2412.15115), whose config.json says qwen2."""

from __future__ import annotations

import dataclasses

from sml_jax.families.chatml import CHATML
from sml_jax.families.family import PLAIN_TRAITS, ConfigFormat, Family, GGUFFormat

# https://huggingface.co/Qwen/Qwen2.5-7B-Instruct, chat_template
CHAT = dataclasses.replace(
    CHATML,
    name="qwen2_5",
    default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
)

FAMILY = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    traits={**PLAIN_TRAITS, "qkv_bias": True},
    chat=CHAT,
    # Its attention biases are part of the shape (`qkv_bias`), so no field says that there are none.
    config=ConfigFormat(defaults={"max_window_layers": 28}, sliding="upper", false_fields=()),
    gguf=GGUFFormat("qwen2"),
)
