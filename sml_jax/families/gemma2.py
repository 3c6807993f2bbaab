"""Gemma 2 (arXiv 2408.00118)."""

from __future__ import annotations

from sml_jax.families.family import LLAMA_TENSORS, PLAIN_TRAITS, ChatTemplate, ConfigFormat, Family, GGUFFormat

TRAITS = {
    **PLAIN_TRAITS,
    "activation": "gelu",
    "post_norms": True,
    "norm_plus_one": True,
    "embedding_scale": True,
}

# Gemma has norms after attention and MLP too, and "post_attention_layernorm" means another norm than in Llama.
TENSORS = {
    **LLAMA_TENSORS,
    "attention_post_norm": "model.layers.{layer}.post_attention_layernorm",
    "mlp_norm": "model.layers.{layer}.pre_feedforward_layernorm",
    "mlp_post_norm": "model.layers.{layer}.post_feedforward_layernorm",
}

# https://huggingface.co/google/gemma-2-9b-it and gemma-3-12b-it, chat_template. Gemma 1 has the same.
CHAT = ChatTemplate(
    name="gemma",
    begin="<bos>",
    user="<start_of_turn>user\n",
    model="<start_of_turn>model\n",
    stop_ids=("<end_of_turn>", "<eos>"),
    after="\n",
    stripped=("user", "model"),
    other_model_types=("gemma",),
)

FAMILY = Family(
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    traits=TRAITS,
    chat=CHAT,
    config=ConfigFormat(
        defaults={
            "head_dim": 256,
            "sliding_window": 4096,
            "query_pre_attn_scalar": 256,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "tie_word_embeddings": True,
        },
        activation="gelu_pytorch_tanh",
        # Gemma 2's files carry both names; transformers reads the first.
        activation_fields=("hidden_activation", "hidden_act"),
        score_fields=True,
        final_softcap_field=True,
        sliding="periodic",
        # Local and global layers alternate.
        period=2,
    ),
    tensors=TENSORS,
    gguf=GGUFFormat("gemma2", width_scaled_layers=46),
)
