"""Qwen 3 (arXiv 2505.09388), the dense models."""

from __future__ import annotations

import dataclasses

from sml_jax.families.chatml import CHATML
from sml_jax.families.family import PLAIN_TRAITS, ConfigFormat, Family, GGUFFormat

# https://huggingface.co/Qwen/Qwen3-8B, chat_template
CHAT = dataclasses.replace(CHATML, name="qwen3", unthinking="<think>\n\n</think>\n\n")

FAMILY = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    traits={**PLAIN_TRAITS, "qk_norm": True},
    chat=CHAT,
    config=ConfigFormat(defaults={"head_dim": 128, "max_window_layers": 28}, sliding="upper"),
    gguf=GGUFFormat("qwen3"),
)
