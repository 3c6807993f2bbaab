"""Llama 3, 3.1, 3.2 and 3.3 (arXiv 2407.21783)."""

from __future__ import annotations

from sml_jax.families.family import PLAIN_TRAITS, ChatTemplate, ConfigFormat, Family, GGUFFormat

# https://huggingface.co/meta-llama/Meta-Llama-3-8B-Instruct, chat_template. From 3.1 on the template adds dates, and
# it comes with the model.
CHAT = ChatTemplate(
    name="llama3",
    begin="<|begin_of_text|>",
    system="<|start_header_id|>system<|end_header_id|>\n\n",
    user="<|start_header_id|>user<|end_header_id|>\n\n",
    model="<|start_header_id|>assistant<|end_header_id|>\n\n",
    stop_ids=("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
    stripped=("system", "user", "model"),
)

FAMILY = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    traits=PLAIN_TRAITS,
    chat=CHAT,
    config=ConfigFormat(false_fields=("attention_bias", "mlp_bias")),
    gguf=GGUFFormat("llama", interleaved_rotary=True),
)
