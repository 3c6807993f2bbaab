"""ChatML, the chat template of Qwen and of many fine-tuned models of other families.

Source: https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md, as most open models write it.
"""

from __future__ import annotations

from sml_jax.families.family import ChatTemplate

CHATML = ChatTemplate(
    name="chatml",
    system="<|im_start|>system\n",
    user="<|im_start|>user\n",
    model="<|im_start|>assistant\n",
    stop_ids=("<|im_end|>", "<|endoftext|>"),
    after="\n",
)
