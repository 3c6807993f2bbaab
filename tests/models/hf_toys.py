"""Shrunken models of every family as `transformers` makes them.

Head dimension apart from width / heads, grouped queries, a window shorter than the sequences, local and global layers,
scaled rotary embeddings. Norms and biases are random too: as initialised (ones and zeros) they would hide mistakes.
"""

from typing import Any

COMMON: dict[str, Any] = dict(
    vocab_size=53,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    pad_token_id=None,
    bos_token_id=1,
    eos_token_id=2,
)
LINEAR = dict(rope_type="linear", factor=4.0)
LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)

_LOCAL, _GLOBAL = "sliding_attention", "full_attention"
GEMMA4: dict[str, Any] = dict(
    head_dim=8,
    global_head_dim=12,
    sliding_window=7,
    final_logit_softcapping=3.0,
    hidden_activation="gelu_pytorch_tanh",
    rope_parameters={
        _GLOBAL: dict(rope_type="proportional", partial_rotary_factor=0.4, rope_theta=1e4),
        _LOCAL: dict(rope_type="default", rope_theta=100.0),
    },
)

# Delta nets whose sizes are all different, with a full layer between; a head of 12 of which 6 rotate.
DELTA_NETS: dict[str, Any] = dict(
    num_hidden_layers=5,
    layer_types=["linear_attention", "linear_attention", "full_attention", "linear_attention", "full_attention"],
    head_dim=12,
    rope_parameters=dict(rope_type="default", rope_theta=1000.0, partial_rotary_factor=0.5),
    linear_conv_kernel_dim=3,
    linear_num_key_heads=2,
    linear_num_value_heads=6,
    linear_key_head_dim=5,
    linear_value_head_dim=7,
)

# model_type -> the fields of config.json, in the form of transformers 4.
CONFIGS: dict[str, dict[str, Any]] = {
    "gemma2": dict(
        COMMON,
        head_dim=16,
        sliding_window=7,
        query_pre_attn_scalar=24,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=3.0,
        hidden_activation="gelu_pytorch_tanh",
        rope_theta=1000.0,
    ),
    "gemma3_text": dict(
        COMMON,
        head_dim=16,
        sliding_window=7,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        query_pre_attn_scalar=24,
        hidden_activation="gelu_pytorch_tanh",
        rope_theta=1e4,
        rope_local_base_freq=100.0,
        rope_scaling=LINEAR,
    ),
    # Per-layer embeddings; layers that read the keys and values of earlier ones, with wider MLPs; a pattern without a
    # period, one key-value head.
    "gemma4_e": dict(
        COMMON | GEMMA4 | dict(num_hidden_layers=7, num_key_value_heads=1),
        layer_types=[_LOCAL, _GLOBAL, _LOCAL, _LOCAL, _GLOBAL, _LOCAL, _GLOBAL],
        hidden_size_per_layer_input=6,
        vocab_size_per_layer_input=53,
        num_kv_shared_layers=3,
        use_double_wide_mlp=True,
    ),
    # Values that are keys, one key-value head in global layers, a repeating period.
    "gemma4_dense": dict(
        COMMON | GEMMA4 | dict(num_hidden_layers=6),
        layer_types=[_LOCAL, _LOCAL, _GLOBAL] * 2,
        hidden_size_per_layer_input=0,
        num_global_key_value_heads=1,
        attention_k_eq_v=True,
    ),
    "llama": dict(COMMON, head_dim=10, rope_theta=500.0, rope_scaling=LLAMA3, tie_word_embeddings=False),
    "qwen2": dict(COMMON, rope_theta=1000.0, tie_word_embeddings=True),
    "qwen2_sliding": dict(
        COMMON,
        rope_theta=1000.0,
        tie_word_embeddings=False,
        use_sliding_window=True,
        sliding_window=7,
        max_window_layers=1,
    ),
    "qwen3": dict(COMMON, head_dim=12, rope_theta=1000.0, tie_word_embeddings=False),
    "qwen3_5_text": {**COMMON, **DELTA_NETS, "tie_word_embeddings": False},
    # Another shape: full layers in another place, a longer convolution, as many key heads as value heads.
    "qwen3_5_text_tied": {
        **COMMON,
        **DELTA_NETS,
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention"],
        "linear_conv_kernel_dim": 5,
        "linear_num_value_heads": 2,
        "tie_word_embeddings": True,
    },
}


def family_name(name: str) -> str:
    """The name of a toy without that of its variant."""
    for variant in ("_sliding", "_dense", "_e", "_tied"):
        name = name.removesuffix(variant)
    return name


def model_type(name: str) -> str:
    """The `model_type` of a toy."""
    family = family_name(name)
    return "gemma4_text" if family == "gemma4" else family


def make_hf(name: str, seed: int = 0, **changes: Any) -> Any:
    """A `transformers` model of that family with random weights, norms and biases among them."""
    import torch
    import transformers

    family = family_name(name)
    classes = {
        "gemma2": "Gemma2",
        "gemma3_text": "Gemma3",
        "gemma4": "Gemma4",
        "llama": "Llama",
        "qwen2": "Qwen2",
        "qwen3": "Qwen3",
        "qwen3_5_text": "Qwen3_5",
    }
    config_class = f"{classes[family]}{'Text' if family == 'gemma4' or family.endswith('_text') else ''}Config"
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in CONFIGS[name].items()}
    config = getattr(transformers, config_class)(**{**values, **changes}, attn_implementation="eager")
    torch.manual_seed(seed)
    model = getattr(transformers, f"{classes[family]}ForCausalLM")(config).eval()
    with torch.no_grad():
        scalars = [(key, buffer) for key, buffer in model.named_buffers() if key.endswith("layer_scalar")]
        for parameter_name, parameter in [*model.named_parameters(), *scalars]:
            one_dimensional = parameter.dim() == 1
            noise = torch.randn_like(parameter)
            if "norm" in parameter_name or "scalar" in parameter_name:
                parameter.add_(0.3 * noise)
            else:
                parameter.copy_(0.5 * noise if one_dimensional else noise / parameter.shape[-1] ** 0.5)
            # Exact in 16 bits, which is how the golden files keep them.
            parameter.copy_(parameter.half().float())
    return model
