"""The settings of a GGUF file as the fields of a config.json, which `config_from_hf` reads.

Names and defaults are those of llama.cpp (https://github.com/ggml-org/llama.cpp, src/llama-model.cpp and
src/llama-arch.cpp). As of a config.json, no setting of the model is ignored unless it is known to make no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sml_jax.common.gguf_file import GGUFFile
from sml_jax.families import FAMILIES, Family, family_of_gguf
from sml_jax.models.hf.fields import Fields
from sml_jax.models.ops.rope import RopeScaling, frequencies

# Settings below the architecture's name that change nothing: sizes told twice, and how the file was made.
_HARMLESS_NAMES = """
    vocab_size tensor_data_layout attention.layer_norm_epsilon rope.scaling.finetuned
    rope.scaling.original_context_length rope.dimension_sections expert_used_count expert_feed_forward_length
    expert_shared_feed_forward_length pooling_type
"""
_HARMLESS = frozenset(_HARMLESS_NAMES.split())
# Settings for what the decoder does not have, and their values for "not used".
_UNUSED: Mapping[str, tuple[Any, ...]] = {
    "expert_count": (0,),
    "attention.causal": (True,),
    "use_parallel_residual": (False,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "logit_scale": (0, 1),
    "embedding_scale": (0, 1),
    "residual_scale": (0, 1),
    "rope.scale_linear": (0, 1),
    "rope.scaling.attn_factor": (0, 1),
    "rope.scaling.yarn_log_multiplier": (0,),
    "leading_dense_block_count": (0,),
    "nextn_predict_layers": (0,),
}

# The tensor of factors by which Llama 3.1 and later divide rotary frequencies.
ROPE_FACTORS = "rope_freqs.weight"
# The numbers that all published Llama 3 models have; lengths that training may have begun with.
_LLAMA3_LOW, _LLAMA3_HIGH = 1.0, 4.0
_LLAMA3_LENGTHS = (8192, *(1 << power for power in range(3, 21) if power != 13))


def gguf_family(file: GGUFFile) -> Family:
    """The family of the model in a GGUF file.

    Raises:
      UserError: it is none of ours; the error names them.
    """
    architecture = file.text("general.architecture")
    family = family_of_gguf(architecture) if architecture is not None else None
    if family is None:
        known = ", ".join(family.gguf.architecture for family in FAMILIES.values() if family.gguf is not None)
        raise file.error(f"its architecture is {architecture!r}, which is not supported; there are {known}")
    return family


def gguf_config(file: GGUFFile) -> dict[str, Any]:
    """The fields of a config.json for the model in a GGUF file, in the form of transformers 4.

    Weights in bfloat16 give that dtype; all others are computed in float32, quantised ones too.

    Raises:
      UserError: the architecture or a setting is not supported; the error names it.
    """
    family = gguf_family(file)
    assert family.gguf is not None
    prefix = f"{family.gguf.architecture}."
    settings = {name.removeprefix(prefix): value for name, value in file.settings.items() if name.startswith(prefix)}
    fields = Fields({name: _plain(value) for name, value in settings.items()}, f"{file.path}: {prefix[:-1]}")
    vocabulary = _vocabulary(file)
    heads, embed_dim = fields.integer("attention.head_count"), fields.integer("embedding_length")
    layers = fields.integer("block_count")
    values: dict[str, Any] = {
        "model_type": family.model_type,
        "vocab_size": vocabulary,
        "hidden_size": embed_dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": fields.integer("attention.head_count_kv", heads),
        "head_dim": _head_dim(fields, embed_dim, heads),
        "intermediate_size": fields.integer("feed_forward_length"),
        "max_position_embeddings": fields.integer("context_length"),
        "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "torch_dtype": "bfloat16" if file.tensors["token_embd.weight"].kind == "BF16" else "float32",
        "rope_theta": fields.number("rope.freq_base", 1e4),
    }
    values["rope_scaling"] = _rope_scaling(fields, file, values)
    if "rope_local_base_freq" in family.config.defaults:
        values["rope_local_base_freq"] = fields.number("rope.freq_base_swa", 1e4)
    if family.config.score_fields:
        values |= _score_fields(fields, family, values)
    if family.config.sliding == "periodic":
        values["sliding_window"] = fields.integer("attention.sliding_window")
        values["layer_types"] = _layer_types(fields, family, layers)
    for name, unused_values in _UNUSED.items():
        fields.only(name, unused_values, unused_values[0])
    fields.finish(_HARMLESS)
    return {name: value for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    """A setting as JSON has it: a list that says the same of every layer becomes that value."""
    if not isinstance(value, np.ndarray):
        return value
    is_one_value = value.size > 0 and value.dtype != np.bool_ and bool((value == value[0]).all())
    return value[0].item() if is_one_value else value.tolist()


def _vocabulary(file: GGUFFile) -> int:
    """Rows of the embedding, which may be more than the vocabulary has tokens."""
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise file.error("it has no token_embd.weight: give the file of a model, not of an adapter or a vision tower")
    return embedding.shape[0]


def _head_dim(fields: Fields, embed_dim: int, heads: int) -> int:
    """The size of a head, which queries, keys and values must share, and of which all is rotated."""
    given = fields.take("attention.key_length", None)
    if given is None and embed_dim % heads:
        raise fields.error("attention.head_count", heads, f"it does not divide embedding_length ({embed_dim})")
    head_dim = Fields({"attention.key_length": given or embed_dim // heads}, fields.where).integer(
        "attention.key_length"
    )
    for name in (
        "attention.value_length",
        "attention.key_length_swa",
        "attention.value_length_swa",
        "rope.dimension_count",
        "rope.dimension_count_swa",
    ):
        fields.only(name, (head_dim,), head_dim)
    return head_dim


def _rope_scaling(fields: Fields, file: GGUFFile, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The field `rope_scaling` of config.json: linear by a setting, or Llama 3's by a tensor of factors."""
    kind = fields.only("rope.scaling.type", ("none", "linear"), "none")
    factor = fields.number("rope.scaling.factor", 1.0)
    if ROPE_FACTORS in file.tensors:
        if kind != "none":
            raise fields.error("rope.scaling.type", kind, f"the file has {ROPE_FACTORS} too; only one is supported")
        return _llama3_scaling(file, values)
    return {"rope_type": "linear", "factor": factor} if kind == "linear" else None


def _llama3_scaling(file: GGUFFile, values: Mapping[str, Any]) -> dict[str, Any]:
    """The scaling of Llama 3 that gives the factors in a file, which llama.cpp's converter has computed from it."""
    head_dim, base = values["head_dim"], values["rope_theta"]
    tensor = file.tensors[ROPE_FACTORS]
    if tensor.shape != (head_dim // 2,) or not tensor.is_readable:
        raise file.error(f"{ROPE_FACTORS} has shape {list(tensor.shape)} and type {tensor.kind}; fetch it again")
    factors = tensor.read_rows(0, 1)[0].astype(np.float64)
    # The longest wavelength is stretched by the whole factor.
    factor = float(str(np.float32(factors[-1])))
    if np.isfinite(factors).all() and factor > 0:
        plain_frequencies = np.asarray(frequencies(head_dim, base, RopeScaling()))
        for length in _LLAMA3_LENGTHS:
            scaling = RopeScaling("llama3", factor, _LLAMA3_LOW, _LLAMA3_HIGH, length)
            expected = plain_frequencies / np.asarray(frequencies(head_dim, base, scaling))
            if np.allclose(factors, expected, rtol=1e-5, atol=0):
                return {
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": _LLAMA3_LOW,
                    "high_freq_factor": _LLAMA3_HIGH,
                    "original_max_position_embeddings": length,
                }
    raise file.error(
        f"{ROPE_FACTORS} stretches rotary frequencies in another way than Llama 3: fetch the model's safetensors files"
    )


def _score_fields(fields: Fields, family: Family, values: Mapping[str, Any]) -> dict[str, Any]:
    """The scale and the soft caps of Gemma."""
    assert family.gguf is not None
    is_width_scaled = values["num_hidden_layers"] == family.gguf.width_scaled_layers
    scale_divisor = values["hidden_size"] // values["num_attention_heads"] if is_width_scaled else values["head_dim"]
    # A setting that other families have; llama.cpp does not write it for Gemma.
    scale = fields.take("attention.scale", None)
    if scale is not None:
        scale_divisor = round(Fields({"attention.scale": scale}, fields.where).number("attention.scale") ** -2, 3)
    return {
        "query_pre_attn_scalar": scale_divisor,
        "attn_logit_softcapping": fields.take("attn_logit_softcapping", None),
        "final_logit_softcapping": fields.take("final_logit_softcapping", None),
    }


def _layer_types(fields: Fields, family: Family, layers: int) -> list[str]:
    """The kind of each layer: from a list of which are local, from how far apart global ones are, or the family's."""
    pattern = fields.take("attention.sliding_window_pattern", family.config.period)
    if isinstance(pattern, list):
        if len(pattern) != layers or not all(isinstance(is_local, bool) for is_local in pattern):
            raise fields.error("attention.sliding_window_pattern", pattern, f"it must be {layers} truth values")
        local = pattern
    elif isinstance(pattern, int) and not isinstance(pattern, bool) and pattern >= 1:
        local = [(i + 1) % pattern != 0 for i in range(layers)]
    else:
        raise fields.error("attention.sliding_window_pattern", pattern, "it must be a whole number of at least 1")
    return ["sliding_attention" if is_local else "full_attention" for is_local in local]
