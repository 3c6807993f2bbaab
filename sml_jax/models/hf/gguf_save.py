"""Writing a model as a GGUF file in F16, which llama.cpp and the programs built on it read.

Names, settings and the changes to values are those of llama.cpp's own converter (convert_hf_to_gguf.py), which
`gguf_config` and `gguf_weights` undo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.traverse_util as traverse
import gguf
import jax
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.common.gguf_file import GGUFFile, GGUFTensor
from sml_jax.families import Family
from sml_jax.models.config import DecoderConfig, canonical
from sml_jax.models.decoder import Decoder
from sml_jax.models.hf.config import config_from_hf, family_of_config
from sml_jax.models.hf.gguf_config import ROPE_FACTORS, gguf_config
from sml_jax.models.hf.gguf_weights import gguf_to_hf_names
from sml_jax.models.hf.load import Progress
from sml_jax.models.hf.names import placements
from sml_jax.models.hf.new_folder import check_free_file
from sml_jax.models.lora import merge_lora
from sml_jax.models.ops.rope import RopeScaling, frequencies

# The largest number in F16; weights of sound models are below ten.
_LARGEST_F16 = 65504.0


def save_gguf(
    path: str | Path,
    config: DecoderConfig,
    params: dict[str, Any],
    tokenizer_settings: dict[str, Any] | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes a model as a GGUF file, matrices in F16 and vectors in F32. It appears complete or not at all.

    Adapters are merged into the weights. A matrix is turned into F16 and written before the next one is looked at.

    Args:
      path: the file to write, whose name ends in .gguf.
      config: the model's configuration.
      params: its parameters, `{"params": ...}`, all of which this process can read.
      tokenizer_settings: settings of the tokenizer (`tokenizer.ggml.model` and so on) by their complete names, see
        `text.gguf_settings`; None for a file without a tokenizer.
      overwrite: whether a file may be replaced.
      progress: called after each tensor with the number of tensors done and their total.

    Raises:
      UserError: llama.cpp has no such family or would compute something else, a weight is too large for F16, the file
        is in the way, or the parameters are spread over several processes.
    """
    model, params = merge_lora(Decoder(config), params)
    config, family = model.config, family_of_config(model.config)
    param_of_path = traverse.flatten_dict(params["params"])
    if not all(leaf.is_fully_addressable for leaf in param_of_path.values()):
        raise UserError("the parameters are spread over several processes: export from a program in one process")
    target = Path(path).absolute()
    check_free_file(target, overwrite=overwrite)
    settings = _settings(config, family)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial_file = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        _write(partial_file, config, family, {**settings, **(tokenizer_settings or {})}, param_of_path, progress)
        os.replace(partial_file, target)
    finally:
        partial_file.unlink(missing_ok=True)


def _settings(config: DecoderConfig, family: Family) -> dict[str, Any]:
    """The settings of the model by their complete names.

    Raises:
      UserError: llama.cpp does not have the family, or would not compute what the configuration says.
    """
    if family.gguf is None:
        raise UserError(f"llama.cpp has no GGUF files of the family {family.model_type}: write a Hugging Face folder")
    settings: dict[str, Any] = {
        "block_count": config.layers,
        "context_length": config.max_length,
        "embedding_length": config.embed_dim,
        "feed_forward_length": config.mlp_dim,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.norm_eps,
        "rope.freq_base": config.rope_base,
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
    }
    if config.rope_scaling.kind == "linear":
        settings |= {"rope.scaling.type": "linear", "rope.scaling.factor": config.rope_scaling.factor}
    if family.config.sliding == "periodic":
        settings["attention.sliding_window"] = max(config.window, 1)
    if family.config.score_fields:
        caps = {"attn": config.attention_softcap, "final": config.final_softcap}
        settings |= {f"{name}_logit_softcapping": cap for name, cap in caps.items() if cap is not None}
    named = {f"{family.gguf.architecture}.{name}": value for name, value in settings.items()}
    _check_expressed(config, family, named)
    return named


def _check_expressed(config: DecoderConfig, family: Family, settings: dict[str, Any]) -> None:
    """Reads back what will be written: fields that come back with another value cannot be said in a GGUF file."""
    assert family.gguf is not None
    # The header as it would be read, with the tensors that settings are told from.
    file = Path("the model")
    names = ["token_embd.weight", *([] if config.tied_embeddings else ["output.weight"])]
    shape = (config.vocab_size, config.embed_dim)
    tensors = {name: GGUFTensor(name, file, shape, "F16", 0) for name in names}
    header = GGUFFile(file, {**settings, "general.architecture": family.gguf.architecture}, tensors)
    read_back, wanted = config_from_hf(gguf_config(header)), canonical(config)
    checked = ("layer_pattern", "window", "attention_scale", "attention_softcap", "final_softcap", "rope_local_base")
    differing = [name for name in checked if getattr(read_back, name) != getattr(wanted, name)]
    if differing:
        values = ", ".join(f"{name}={getattr(wanted, name)!r}" for name in differing)
        raise UserError(f"llama.cpp computes no {family.model_type} model with {values}: write a Hugging Face folder")


def _write(
    path: Path,
    config: DecoderConfig,
    family: Family,
    settings: dict[str, Any],
    params: dict[tuple[str, ...], jax.Array],
    progress: Progress | None,
) -> None:
    """Writes the header, then tensor by tensor."""
    assert family.gguf is not None
    writer = gguf.GGUFWriter(path, family.gguf.architecture)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for name, value in settings.items():
        _add_setting(writer, name, value)
    shapes = list(_tensor_shapes(config, family))
    for name, shape in shapes:
        dtype = np.dtype(np.float16 if len(shape) > 1 else np.float32)
        writer.add_tensor_info(name, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        for done, (name, values) in enumerate(_tensors(config, family, params), start=1):
            if values.ndim > 1 and float(abs(values).max()) > _LARGEST_F16:
                raise UserError(f"{name} holds numbers above {_LARGEST_F16}, which F16 has not: write another format")
            writer.write_tensor_data(values.astype(np.float16 if values.ndim > 1 else np.float32))
            if progress is not None:
                progress(done, len(shapes))
    finally:
        writer.close()


def _add_setting(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    """Adds a setting of the type that its value has in Python."""
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        writer.add_array(name, value)


def _tensor_shapes(config: DecoderConfig, family: Family) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each tensor of the file, in the order of `_tensors`."""
    if config.rope_scaling.kind == "llama3":
        yield ROPE_FACTORS, (config.head_dim // 2,)
    gguf_names = {hf_name: name for name, hf_name in gguf_to_hf_names(family, config).items()}
    for place in placements(config).values():
        for name in place.names():
            yield gguf_names[name], place.stored_shape


def _tensors(
    config: DecoderConfig, family: Family, params: dict[tuple[str, ...], jax.Array]
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and float32 values of each tensor of the file."""
    assert family.gguf is not None
    if config.rope_scaling.kind == "llama3":
        scaled = np.asarray(frequencies(config.head_dim, config.rope_base, config.rope_scaling))
        yield ROPE_FACTORS, np.asarray(frequencies(config.head_dim, config.rope_base, RopeScaling())) / scaled
    gguf_names = {hf_name: name for name, hf_name in gguf_to_hf_names(family, config).items()}
    for path, place in placements(config).items():
        for i, hf_name in enumerate(place.names()):
            # One layer at a time comes to the host.
            array = np.asarray(params[path][i] if place.stacked else params[path], np.float32)
            values, name = place.stored_view(array), gguf_names[hf_name]
            if config.norm_plus_one and name.endswith("norm.weight"):
                values = values + 1
            if family.gguf.interleaved_rotary and name.endswith((".attn_q.weight", ".attn_k.weight")):
                halves = values.reshape(-1, 2, config.head_dim // 2, values.shape[-1])
                values = halves.swapaxes(1, 2).reshape(values.shape)
            yield name, values
