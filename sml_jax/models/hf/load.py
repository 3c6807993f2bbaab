"""Reading the weights of a Hugging Face folder straight into arrays on their devices, one tensor at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import flax.traverse_util as traverse
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.models.decoder import Decoder
from sml_jax.models.hf.names import Placement, placements
from sml_jax.models.hf.safetensors_io import INDEX, SINGLE, StoredTensor, check_tensors, stored_tensors
from sml_jax.models.layout import sharded_param_shapes

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""A function that is called after each tensor with the number of tensors done and their total."""


def is_hf_folder(folder: Path) -> bool:
    """Whether a folder holds a model in Hugging Face's form: a config.json beside safetensors files."""
    return (folder / "config.json").is_file() and ((folder / INDEX).is_file() or (folder / SINGLE).is_file())


def read_hf_config(folder: Path) -> dict[str, Any]:
    """Reads the config.json of a folder, which must hold one, and returns its fields.

    Raises:
      UserError: the file does not hold a JSON object.
    """
    path = folder / "config.json"
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); fetch it again") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: it must hold a JSON object; fetch it again")
    return values


def language_tensors(folder: Path, ignored: tuple[str, ...] = ()) -> dict[str, StoredTensor]:
    """Lists the tensors of a folder without reading their values.

    Args:
      folder: a Hugging Face folder.
      ignored: tensors whose names begin with one of these prefixes are left out, with a warning in the log: those of a
        vision tower, for example.

    Returns:
      The tensors by the names that a plain causal language model gives them ("model.norm.weight"), whatever prefix they
      have in the file.

    Raises:
      UserError: see `safetensors_io.stored_tensors`.
    """
    tensors, left_out = {}, []
    # Names first: no weight is read yet.
    for name, tensor in stored_tensors(folder).items():
        # Old files hold this constant, which is not a weight.
        if name.endswith(".rotary_emb.inv_freq"):
            continue
        if ignored and name.startswith(ignored):
            left_out.append(name)
        else:
            tensors[_plain_name(name)] = tensor
    if left_out:
        left_out_modules = sorted({name.removeprefix("model.").split(".")[0] for name in left_out})
        _log.warning(
            "%s: read the language model; left out %d tensors of %s", folder, len(left_out), ", ".join(left_out_modules)
        )
    return tensors


def load_hf_params(
    folder: Path,
    model: Decoder,
    mesh: Mesh | None,
    ignored: tuple[str, ...] = (),
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Reads the weights of a Hugging Face folder into a decoder's parameters, as arrays on a mesh.

    Host memory holds no more than the largest tensor, in its parameter's dtype, and some 200 MB. On a CPU the arrays
    themselves are in host memory too.

    Args:
      folder: a folder with safetensors files.
      model: the decoder that the weights belong to. They are cast to its `param_dtype`; norms are always float32.
      mesh: the devices; None for the first device.
      ignored: prefixes of tensors that are left out, see `language_tensors`.
      progress: called after each tensor with the number of tensors done and their total.

    Returns:
      The parameters, `{"params": ...}`.

    Raises:
      UserError: tensors are missing, surplus, misshapen or of a dtype that is not supported; the error names them.
    """
    tensors = language_tensors(folder, ignored)
    placement_of, layers = placements(model.config), model.config.layers
    expected = {name: place.stored_shape for place in placement_of.values() for name in place.names(layers)}
    # Some tied models store the output layer too. It is not read, but must equal the embedding.
    tied = model.config.tied_embeddings
    check_tensors(folder, tensors, expected, ["lm_head.weight"] if tied else [])
    if tied and "lm_head.weight" in tensors:
        _check_tied(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"])

    # Read parameter by parameter: a stacked one from the tensors of all layers.
    targets = traverse.flatten_dict(sharded_param_shapes(model, mesh)["params"])
    # The model has parameters that no file of this family can hold.
    if set(targets) != set(placement_of):
        raise UserError("weights of a Hugging Face folder have no adapters: load the model first, then add_lora")
    tensors_done, params = 0, {}
    for path, place in placement_of.items():
        param_tensors = [tensors[name] for name in place.names(layers)]

        def tell(count: int, before: int = tensors_done) -> None:
            if progress is not None:
                progress(before + count, len(expected))

        params[path] = _load(place, param_tensors, targets[path], tell)
        tensors_done += len(param_tensors)
    return {"params": traverse.unflatten_dict(params)}


def _plain_name(name: str) -> str:
    """A tensor's name in a plain causal language model: "model..." or "lm_head...".

    Models with a vision tower and models saved without a head have other prefixes.
    """
    if name.startswith("model.language_model."):
        return "model." + name.removeprefix("model.language_model.")
    if name.startswith(("embed_tokens.", "layers.", "norm.")):
        return f"model.{name}"
    return name.removeprefix("language_model.")


def _load(
    place: Placement, tensors: list[StoredTensor], target: jax.ShapeDtypeStruct, tell: Callable[[int], None]
) -> jax.Array:
    """Reads one parameter. A stacked one is filled layer by layer on the devices, so the host never holds all of it."""
    sharding: Any = target.sharding
    if not place.stacked:
        array = _read(place, tensors[0], target.dtype, sharding)
        tell(1)
        return array
    layer_sharding = sharding
    if isinstance(sharding, NamedSharding):
        layer_sharding = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
    array = _zeros(target.shape, target.dtype, sharding)
    put_layer = _compiled_put_layer(sharding)
    for i, tensor in enumerate(tensors):
        # Without waiting, the host would read ahead of the devices and hold everything that they have not taken.
        array = jax.block_until_ready(put_layer(array, _read(place, tensor, target.dtype, layer_sharding), np.int32(i)))
        tell(i + 1)
    return array


def _zeros(shape: tuple[int, ...], dtype: Any, sharding: Sharding) -> jax.Array:
    """Zeros that are made on the devices themselves, never on the host."""
    return jax.jit(jnp.zeros, static_argnums=(0, 1), out_shardings=sharding)(shape, dtype)


def _put_layer(stacked: jax.Array, one_layer: jax.Array, layer: jax.Array) -> jax.Array:
    """The stacked parameter with one layer replaced."""
    return jax.lax.dynamic_update_index_in_dim(stacked, one_layer, layer, 0)


# Cached, so that parameters of the same shape and sharding share a compiled program.
@lru_cache(maxsize=64)
def _compiled_put_layer(sharding: Sharding) -> Any:
    return jax.jit(_put_layer, donate_argnums=0, out_shardings=sharding)


def _read(place: Placement, tensor: StoredTensor, dtype: Any, sharding: Sharding) -> jax.Array:
    """Reads one tensor into an array.

    Each process reads only the blocks that its own devices hold, and a block that several devices hold only once.
    """
    blocks: dict[str, np.ndarray] = {}

    def read_block(index: tuple[slice, ...] | None) -> np.ndarray:
        index = (slice(None),) * len(place.shape) if index is None else index
        if str(index) not in blocks:
            block_shape = [
                len(range(*axis_slice.indices(size))) for axis_slice, size in zip(index, place.shape, strict=True)
            ]
            values = np.empty(block_shape, dtype)
            # Filling the view in the stored layout fills the block in ours, without another copy.
            block_view = place.stored_view(values)
            for rows, stored_rows in tensor.rows(place.stored_index(index)):
                block_view[rows] = stored_rows
            blocks[str(index)] = values
        return blocks[str(index)]

    return jax.make_array_from_callback(place.shape, sharding, read_block)


def _check_tied(head: StoredTensor, embedding: StoredTensor) -> None:
    """Checks that a stored output layer equals the embedding that it is tied to."""
    full_block = tuple(slice(0, size) for size in embedding.shape)
    is_same = head.shape == embedding.shape and all(
        np.array_equal(head_rows, embedding_rows)
        for (_, head_rows), (_, embedding_rows) in zip(head.rows(full_block), embedding.rows(full_block), strict=True)
    )
    if not is_same:
        raise UserError(
            f"{head.file}: lm_head.weight is not the embedding: set tie_word_embeddings to false in config.json"
        )
