"""Loading and saving models: our own folders (`model.json` and an Orbax folder `params`), those of others, and GGUF."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import Mesh, Sharding

from sml_jax.common.assets import SHIPPED_MODELS
from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present, read_bytes
from sml_jax.common.gguf_file import GGUFFile, is_gguf
from sml_jax.common.gguf_header import read_gguf
from sml_jax.common.paths import user_path
from sml_jax.families import wrapper_of
from sml_jax.models.config import RUN_FIELDS, DecoderConfig
from sml_jax.models.decoder import Decoder
from sml_jax.models.hf.config import config_from_hf, family_of_config, stored_dtype
from sml_jax.models.hf.gguf_config import gguf_config, gguf_family
from sml_jax.models.hf.gguf_weights import gguf_weights
from sml_jax.models.hf.load import (
    Progress,
    is_hf_folder,
    language_tensors,
    load_hf_params,
    load_params,
    read_hf_config,
)
from sml_jax.models.hf.memory import check_memory
from sml_jax.models.layout import shapes_by_path, sharded_param_shapes
from sml_jax.models.stored_arrays import check_stored_arrays
from sml_jax.sharding import host_readable


def save_model(path: str | Path, config: DecoderConfig, params: dict[str, Any]) -> None:
    """Writes a model in sml-jax's own form: `model.json` and an Orbax folder `params`. It replaces a model at `path`.

    Args:
      path: the folder; it is made if it does not exist.
      config: the model's configuration.
      params: its parameters, `{"params": ...}`. They may be spread over processes, each of which must call this.
    """
    folder = Path(path).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "params", params, force=True)
    # Orbax lets each process write the arrays that it holds; one process writes the configuration.
    if jax.process_index() == 0:
        (folder / "model.json").write_text(config.to_json() + "\n")


Form = Literal["sml-jax", "hugging-face", "gguf"]
"""How a model is stored: our own folder, a Hugging Face folder, or a GGUF file."""


def find_model(path: str | Path) -> tuple[Path, Form]:
    """Finds the folder or file that holds a model, and the form in which it is stored.

    Args:
      path: see `load_model`.

    Returns:
      The folder that holds the model's files, or the GGUF file; and its form.

    Raises:
      UserError: there is no model at `path`.
    """
    folder = (SHIPPED_MODELS.get(str(path)) or user_path(path)).absolute()
    if is_gguf(folder):
        return folder, "gguf"
    # A finished run keeps its final model in a folder of its own.
    for candidate_folder in (folder, folder / "checkpoints" / "final"):
        if is_present(candidate_folder / "model.json"):
            return candidate_folder, "sml-jax"
    if is_hf_folder(folder):
        return folder, "hugging-face"
    if is_present(folder / "config.json"):
        raise UserError(
            f"{folder} has a config.json but no model.safetensors and no model.safetensors.index.json: fetch the "
            "weights in the safetensors format"
        )
    raise UserError(
        f"no model at {folder}: give a folder that holds model.json and params/, a finished run's folder, a Hugging "
        f"Face folder (config.json and safetensors files), a .gguf file, or one of {sorted(SHIPPED_MODELS)}"
    )


def load_model(
    path: str | Path,
    mesh: Mesh | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[Decoder, dict[str, Any]]:
    """Loads a model.

    Args:
      path: a folder that `save_model` wrote, a finished run's folder (its final model is read), a Hugging Face folder
        (`config.json` and safetensors files of one of `sml_jax.families`), a GGUF file, or the name of a model that
        ships with the package: "pocket".
      mesh: the devices to load the parameters onto; None for the first device. Tensors are read one by one, so host
        memory holds no more than the largest of them and some 200 MB.
      overrides: new values for fields of the configuration. Only fields that do not change the computed function may
        be named: attention, dtype, param_dtype, max_length, remat, scan_unroll.
      progress: called after each tensor of a Hugging Face folder or a GGUF file with the number of tensors done and
        their total.

    Returns:
      The model and its parameters: `model.apply(params, tokens)` gives float32 logits [batch, time, vocab].

    Raises:
      UserError: there is no model at `path`, it is not supported, its parameters do not fit its configuration or hold
        numbers that are not finite, a file is none or lies outside of the folder, or `overrides` names another field
        or has a value of another type.
    """
    folder, form = find_model(path)
    if form == "hugging-face":
        return _load_hf(folder, mesh, overrides or {}, progress)
    if form == "gguf":
        return _load_gguf(folder, mesh, overrides or {}, progress)
    # The shape first: it says which arrays there must be.
    model = Decoder(with_overrides(read_config(folder), overrides or {}))
    try:
        check_stored_arrays(folder / "params")
        with ocp.StandardCheckpointer() as checkpointer:
            # Orbax restores each array straight into its sharding on the mesh.
            abstract_params = sharded_param_shapes(model, mesh)
            stored_arrays = checkpointer.metadata(folder / "params").item_metadata
            if stored_arrays is None:
                raise ValueError("no list of arrays can be read there")
            _check_params(folder, stored_arrays.tree, abstract_params)
            check_memory(folder, abstract_params)
            params = checkpointer.restore(folder / "params", abstract_params)
    except Exception as error:
        # Orbax raises whatever its own code runs into, such as a TypeError for a list in the place of an object.
        if isinstance(error, UserError) or "RESOURCE_EXHAUSTED" in str(error):
            raise
        _silence_late_reads()
        error_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"the parameters in {folder} are damaged or not all there: copy the model's folder again ({error_line})"
        ) from error
    _check_finite(folder, params, mesh)
    return model, params


def _silence_late_reads() -> None:
    """Keeps reads that end after one of them has failed from printing a traceback each.

    Their callbacks find that Orbax has closed the event loop, which nobody is there to be told of.
    """
    previous_hook = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            previous_hook(unraisable)

    sys.unraisablehook = hook


def read_config(folder: Path) -> DecoderConfig:
    """Reads the `model.json` of a model folder.

    Raises:
      UserError: the file is missing, or no configuration stands there.
    """
    path = folder / "model.json"
    # What is wrong with the file itself is said by name already.
    content = read_bytes(path)
    try:
        return DecoderConfig.from_json(content.decode("utf-8"))
    except (UserError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}; copy the model's folder again") from error


def _check_finite(folder: Path, params: Any, mesh: Mesh | None) -> None:
    """Raises UserError if a parameter holds NaN or infinity; the error names the first one.

    One pass over the arrays where they lie, at the speed of the devices' memory; only the answers come to the host.
    """
    sharding = None if mesh is None else host_readable(mesh)
    for path, is_finite in jax.tree.leaves_with_path(jax.device_get(_compiled_all_finite(sharding)(params))):
        if not is_finite:
            name = jax.tree_util.keystr(path[1:], simple=True, separator="/")
            raise UserError(
                f"{folder / 'params'}: {name} holds numbers that are not finite (NaN or infinity): give another "
                "checkpoint, or copy the model's folder again"
            )


def _all_finite(params: Any) -> Any:
    """For each array of a tree, whether all of its numbers are finite."""
    return jax.tree.map(lambda array: jnp.isfinite(array).all(), params)


# Cached, so that models of one shape share a compiled program.
@lru_cache(maxsize=4)
def _compiled_all_finite(sharding: Sharding | None) -> Any:
    return jax.jit(_all_finite, out_shardings=sharding)


def _check_params(folder: Path, stored: Any, expected: Any) -> None:
    """Compares names and shapes of stored arrays with those that the configuration asks for.

    Orbax compares them too, but reports a difference with a page of text and tracebacks of its own.
    """
    stored_shapes, expected_shapes = shapes_by_path(stored), shapes_by_path(expected)
    differing = [
        f"{name} is {list(stored_shapes[name])}, not {list(shape)}" if name in stored_shapes else f"{name} is missing"
        for name, shape in expected_shapes.items()
        if stored_shapes.get(name) != shape
    ]
    surplus = [f"{name} has no place" for name in stored_shapes if name not in expected_shapes]
    if differing or surplus:
        differences_text = "; ".join([*differing, *surplus][:5])
        raise UserError(
            f"the parameters in {folder} are not of the shape that its model.json says ({differences_text}): copy both "
            "from one run"
        )


def read_model_config(path: str | Path) -> DecoderConfig:
    """The configuration of a model on disk, read without its weights.

    Args:
      path: see `load_model`.

    Raises:
      UserError: there is no model at `path`, or it is not supported.
    """
    folder, form = find_model(path)
    if form == "gguf":
        return _gguf_model_config(read_gguf(folder))
    if form == "hugging-face":
        return config_from_hf(read_hf_config(folder))
    return read_config(folder)


def with_overrides(config: DecoderConfig, overrides: Mapping[str, Any]) -> DecoderConfig:
    """A copy of a configuration with other values for fields that say how a model is run, not what it computes.

    Args:
      config: the configuration.
      overrides: field -> value, for fields in `RUN_FIELDS`.

    Raises:
      UserError: an override names another field, or has a value of another type.
    """
    field_types = get_type_hints(DecoderConfig)
    for name, value in overrides.items():
        # A field of the shape would contradict the weights.
        if name not in RUN_FIELDS:
            raise UserError(f"{name!r} of a model on disk cannot be changed; these can: {', '.join(RUN_FIELDS)}")
        if type(value) not in (get_args(field_types[name]) or (field_types[name],)):
            raise UserError(f"{name} is {value!r}; it takes a value like {getattr(config, name)!r}")
    return dataclasses.replace(config, **overrides)


def _load_hf(
    folder: Path, mesh: Mesh | None, overrides: Mapping[str, Any], progress: Progress | None
) -> tuple[Decoder, dict[str, Any]]:
    """Loads a Hugging Face folder."""
    values = read_hf_config(folder)
    try:
        config = config_from_hf(values)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    # Weights of a vision tower are left out, and others that are no part of the language model.
    family_and_wrapper = wrapper_of(values.get("model_type"))
    if family_and_wrapper is not None:
        family, wrapper = family_and_wrapper
        ignored_prefixes = (*wrapper.ignored_tensors, *family.unread_tensors)
    else:
        ignored_prefixes = family_of_config(config).unread_tensors
    # A config.json that names no dtype leaves it to the weights.
    if stored_dtype(values) is None:
        embedding = language_tensors(folder, ignored_prefixes).get("model.embed_tokens.weight")
        dtype = "bfloat16" if embedding is not None and embedding.dtype == "bfloat16" else "float32"
        config = dataclasses.replace(config, dtype=dtype, param_dtype=dtype)
    model = Decoder(with_overrides(config, overrides))
    return model, load_hf_params(folder, model, mesh, ignored_prefixes, progress=progress)


def _load_gguf(
    path: Path, mesh: Mesh | None, overrides: Mapping[str, Any], progress: Progress | None
) -> tuple[Decoder, dict[str, Any]]:
    """Loads a GGUF file."""
    file = read_gguf(path)
    model = Decoder(with_overrides(_gguf_model_config(file), overrides))
    tensors = gguf_weights(file, gguf_family(file), model.config)
    return model, load_params(path, tensors, model, mesh, progress=progress)


def _gguf_model_config(file: GGUFFile) -> DecoderConfig:
    """The configuration of the model in a GGUF file."""
    values = gguf_config(file)
    try:
        return config_from_hf(values)
    except UserError as error:
        raise file.error(f"its settings, as fields of a config.json, are not supported: {error}") from error
