"""GGUF files of shrunken models, written by the public package `gguf` as llama.cpp's converter writes them.

Names of tensors come from that package's own table, and what the converter does to values (convert_hf_to_gguf.py) is
written here again, so that our reading is compared with neither of our own tables.
"""

import json
import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from make_golden import FOLDER

ARCHITECTURES = {"gemma2": "gemma2", "gemma3_text": "gemma3", "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}


def golden_arrays(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A golden model's config.json, its tensors in float32, and all other arrays of its file."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = dict(file)
    weights = {
        key.removeprefix("weight/"): array.astype(np.float32) for key, array in arrays.items() if "weight/" in key
    }
    return json.loads(arrays["config.json"].tobytes()), weights, arrays


def write_gguf(
    path: Path,
    config: dict[str, Any],
    weights: dict[str, np.ndarray],
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    **changes: Any,
) -> Path:
    """Writes a model without a tokenizer.

    Args:
      path: the file.
      config: the fields of its config.json, in the form of transformers 5.
      weights: its tensors by their names in a Hugging Face folder.
      kind: the type of matrices; vectors are in F32.
      changes: values of settings below the architecture's name that replace others ("_" for "."); None leaves one out.
    """
    architecture = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {
        **_settings(config),
        **{key.replace("__", "."): value for key, value in changes.items()},
    }.items():
        _add(writer, f"{architecture}.{key}", value)
    names = gguf.get_tensor_name_map(
        next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture), config["num_hidden_layers"]
    )
    factors = _llama3_factors(config)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    for name, array in weights.items():
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        array = _converted(name, array, config)
        matrix_kind = kind if array.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(
            names.get_name(name, (".weight", ".bias")), gguf.quantize(array, matrix_kind), raw_dtype=matrix_kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    """Adds a setting of the type that its value has."""
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    elif value is not None:
        writer.add_array(name, value)


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that the converter writes for a config.json."""
    rope = config["rope_parameters"]
    by_kind = rope if "full_attention" in rope else {"full_attention": rope}
    settings = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "rope.freq_base": float(by_kind["full_attention"]["rope_theta"]),
        "vocab_size": config["vocab_size"],
    }
    if config.get("head_dim"):
        settings |= {"attention.key_length": config["head_dim"], "attention.value_length": config["head_dim"]}
    if by_kind["full_attention"].get("rope_type") == "linear":
        settings |= {"rope.scaling.type": "linear", "rope.scaling.factor": by_kind["full_attention"]["factor"]}
    if "gemma" in config["model_type"]:
        settings |= {
            "attention.sliding_window": config["sliding_window"],
            # The toys have another scale and another pattern than the models that llama.cpp knows.
            "attention.scale": config["query_pre_attn_scalar"] ** -0.5,
            "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in config["layer_types"]],
        }
    if config["model_type"] == "gemma2":
        settings |= {name: config[f"{name}ping"] for name in ("attn_logit_softcap", "final_logit_softcap")}
    if "sliding_attention" in by_kind:
        settings["rope.freq_base_swa"] = float(by_kind["sliding_attention"]["rope_theta"])
    return {name.replace("softcap", "softcapping"): value for name, value in settings.items()}


def _converted(name: str, array: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """A tensor's values as the converter writes them."""
    if "gemma" in config["model_type"] and name.endswith("norm.weight"):
        return array + 1
    if config["model_type"] == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
        heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
        halves = array.reshape(heads, 2, array.shape[0] // heads // 2, array.shape[1])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(array.shape))
    return array


def _llama3_factors(config: dict[str, Any]) -> np.ndarray | None:
    """The factors of rotary frequencies, computed as `LlamaModel.generate_extra_tensors` does."""
    rope = config["rope_parameters"]
    if rope.get("rope_type") != "llama3":
        return None
    low_wavelength = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high_wavelength = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    factors = []
    for i in range(0, config["head_dim"], 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / config["head_dim"])
        if wavelength < high_wavelength:
            factors.append(1.0)
        elif wavelength > low_wavelength:
            factors.append(rope["factor"])
        else:
            smooth = (rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"]
            )
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)
