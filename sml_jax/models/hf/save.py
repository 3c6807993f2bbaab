"""Writing a model as a Hugging Face folder: config.json and safetensors files that `transformers` loads."""

from __future__ import annotations

import json
import shutil
from math import prod
from pathlib import Path
from typing import Any

import flax.traverse_util as traverse
import jax
import jax.numpy as jnp
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.common.files import check_inside, is_present, read_json
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.hf.config import config_to_hf, family_of_config
from sml_jax.models.hf.load import Progress
from sml_jax.models.hf.names import ParamPath, Placement, placements
from sml_jax.models.hf.new_folder import folder_at_once
from sml_jax.models.hf.safetensors_io import ShardWriter
from sml_jax.models.lora import merge_lora

# The files of a tokenizer and of generation, which are copied unchanged.
_TEXT_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
    "chat_template*",
)
_MAX_TEXT_BYTES = 64 << 20  # of one of them; the largest published one has 33 MB
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def save_hf(
    path: str | Path,
    config: DecoderConfig,
    params: dict[str, Any],
    family: str | None = None,
    dtype: str | None = None,
    shard_bytes: int = 5 << 30,
    tokenizer_from: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes a model as a Hugging Face folder, which appears complete or not at all.

    Adapters are merged into the weights.

    Args:
      path: the folder to write. Unless `overwrite` is true, it must be empty or not exist.
      config: the model's configuration.
      params: its parameters, `{"params": ...}`, all of which this process can read.
      family: the `model_type` to write; None for the family that the configuration belongs to.
      dtype: dtype of the weights, "float32" or "bfloat16"; None for the configuration's `param_dtype`.
      shard_bytes: largest size of a file in bytes. Host memory holds about as much at once.
      tokenizer_from: a folder whose tokenizer files and token ids are copied; None for no tokenizer files, and token
        ids that are null.
      overwrite: whether a folder with content may be replaced.
      progress: called after each tensor with the number of tensors done and their total.

    Raises:
      UserError: the family has no fields for the configuration, `dtype` is another one, the folder is not empty, or the
        parameters are spread over several processes.
    """
    # A Hugging Face folder has no place for adapters.
    model, params = merge_lora(Decoder(config), params)
    config = model.config
    stored_dtype = config.param_dtype if dtype is None else dtype
    if stored_dtype not in ("float32", "bfloat16"):
        raise UserError(f"dtype is {stored_dtype!r}; weights are written as 'float32' or 'bfloat16'")
    config_fields = config_to_hf(config, family_of_config(config).model_type if family is None else family)
    config_fields |= {"torch_dtype": stored_dtype} | token_ids(None if tokenizer_from is None else Path(tokenizer_from))
    param_of_path = traverse.flatten_dict(params["params"])
    # Arrays are written from the host, which must be able to read all of them.
    if not all(leaf.is_fully_addressable for leaf in param_of_path.values()):
        raise UserError("the parameters are spread over several processes: export from a program in one process")
    # All checks are done: from here on only the disk can fail.
    with folder_at_once(path, overwrite=overwrite) as folder:
        _write_weights(folder, config, param_of_path, stored_dtype, shard_bytes, progress)
        if tokenizer_from is not None:
            copy_text_files(Path(tokenizer_from), folder)
        (folder / "config.json").write_text(json.dumps(config_fields, indent=2) + "\n")


def text_files(folder: Path) -> list[Path]:
    """The paths of a folder's tokenizer files and its `generation_config.json`, as far as they exist, sorted.

    Raises:
      UserError: one of them is no file, lies outside of the folder, or is larger than any such file.
    """
    files = {file for pattern in _TEXT_FILES for file in folder.glob(pattern) if not file.is_dir() and is_present(file)}
    for file in files:
        check_inside(folder, file)
        if file.stat().st_size > _MAX_TEXT_BYTES:
            raise UserError(
                f"{file} is larger than the {_MAX_TEXT_BYTES >> 20} MiB that such a file may have; fetch it again"
            )
    return sorted(files)


def copy_text_files(source: Path, folder: Path) -> list[str]:
    """Copies the files that `text_files` lists from the folder `source` to `folder`, which exists.

    Returns:
      The names of the copied files.
    """
    files = text_files(source)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return [file.name for file in files]


def token_ids(folder: Path | None) -> dict[str, Any]:
    """Reads the ids of the begin, end and padding tokens from a folder's config.json and generation_config.json.

    Returns:
      The fields "bos_token_id", "eos_token_id" and "pad_token_id": for each an id, a list of ids, or None if neither
      file has one. The generation_config.json takes precedence. All are None without a folder.

    Raises:
      UserError: one of the files is not a JSON object.
    """
    id_of_field: dict[str, Any] = dict.fromkeys(_TOKEN_IDS)
    # The second file overrides the first, as in transformers.
    for name in ("config.json", "generation_config.json"):
        if folder is None or not is_present(folder / name):
            continue
        try:
            values = read_json(folder / name)
            id_of_field |= {key: values[key] for key in _TOKEN_IDS if values.get(key) is not None}
        except UserError:
            raise
        except (ValueError, AttributeError) as error:
            raise UserError(f"{folder / name}: not a JSON object ({error})") from error
    return id_of_field


def _write_weights(
    folder: Path,
    config: DecoderConfig,
    leaves: dict[ParamPath, jax.Array],
    dtype: str,
    shard_bytes: int,
    progress: Progress | None,
) -> None:
    """Writes the parameters (path below "params" -> array) as safetensors files."""
    tensors = _in_order(placements(config), config.layers)
    item_size = jnp.dtype(dtype).itemsize
    sizes = {name: prod(parts[0][1].stored_shape) * item_size for name, parts in tensors.items()}
    writer = ShardWriter(folder, sizes, shard_bytes)
    for done, (name, parts) in enumerate(tensors.items(), start=1):
        # One layer at a time comes to the host. What shares a tensor stands in it from the first row on.
        views = []
        for leaf, place, i in sorted(parts, key=lambda part: part[1].first_row):
            array = np.asarray(leaves[leaf][i] if place.stacked else leaves[leaf])
            views.append(place.stored_view(array))
        values = views[0] if len(views) == 1 else np.concatenate(views)
        writer.add(name, np.asarray(values, dtype=jnp.dtype(dtype)))
        if progress is not None:
            progress(done, len(tensors))
    writer.close()


def _in_order(places: dict[ParamPath, Placement], layers: int) -> dict[str, list[tuple[ParamPath, Placement, int]]]:
    """Every tensor by its name, bottom to top: embedding, layers, the rest.

    Returns:
      For each tensor what it holds as (parameter, placement, index among the parameter's tensors).
    """
    not_stacked = [(leaf, place, 0) for leaf, place in places.items() if not place.stacked]
    parts = not_stacked[:1]
    for i in range(layers):
        parts += [(leaf, place, place.layers.index(i)) for leaf, place in places.items() if i in place.layers]
    tensors: dict[str, list[tuple[ParamPath, Placement, int]]] = {}
    for leaf, place, index in [*parts, *not_stacked[1:]]:
        tensors.setdefault(place.names()[index], []).append((leaf, place, index))
    return tensors
