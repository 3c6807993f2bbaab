"""Reading the weights of a Hugging Face folder straight into arrays on their devices, one tensor at a time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import flax.traverse_util as traverse
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present, read_json_object
from sml_jax.models.decoder import Decoder
from sml_jax.models.hf.finite import all_finite
from sml_jax.models.hf.memory import check_memory
from sml_jax.models.hf.names import Placement, placements, unused_tensors
from sml_jax.models.hf.safetensors_io import StoredTensor, TensorOnDisk, check_tensors, stored_tensors
from sml_jax.models.hf.weight_files import INDEX, SINGLE
from sml_jax.models.layout import sharded_param_shapes

_log = logging.getLogger(__name__)

# A stack of layers that is no larger is put together on the host.
_HOST_STACK_BYTES = 2**20

Progress = Callable[[int, int], None]
"""A function that is called after each tensor with the number of tensors done and their total."""


def is_hf_folder(folder: Path) -> bool:
    """Whether a folder holds a model in Hugging Face's form: a config.json beside safetensors files.

    Raises:
      UserError: one of these is no file, see `files.is_present`.
    """
    return is_present(folder / "config.json") and (is_present(folder / INDEX) or is_present(folder / SINGLE))


def read_hf_config(folder: Path) -> dict[str, Any]:
    """Reads the config.json of a folder, which must hold one, and returns its fields.

    Raises:
      UserError: the file does not hold a JSON object, or gives a field two values.
    """
    return dict(read_json_object(folder / "config.json"))


def language_tensors(
    folder: Path, ignored: tuple[str, ...] = (), unused: tuple[str, ...] = ()
) -> dict[str, StoredTensor]:
    """Lists the tensors of a folder without reading their values.

    Args:
      folder: a Hugging Face folder.
      ignored: tensors whose names begin with one of these prefixes are left out, with a warning in the log: those of a
        vision tower, for example.
      unused: names, in a plain causal language model, of tensors that are left out with a warning too, see
        `names.unused_tensors`.

    Returns:
      The tensors by the names that a plain causal language model gives them ("model.norm.weight"), whatever prefix they
      have in the file.

    Raises:
      UserError: see `safetensors_io.stored_tensors`; or two tensors differ in their prefix alone.
    """
    tensors: dict[str, StoredTensor] = {}
    left_out, left_out_of_layers = [], 0
    # Names first: no weight is read yet.
    for name, tensor in stored_tensors(folder).items():
        # Old files hold this constant, which is not a weight.
        if name.endswith(".rotary_emb.inv_freq"):
            continue
        if ignored and name.startswith(ignored):
            left_out.append(name)
            continue
        plain_name = _plain_name(name)
        if plain_name in unused:
            left_out_of_layers += 1
            continue
        if plain_name in tensors:
            raise UserError(
                f"{tensor.file}: {name} and {tensors[plain_name].name} are the same tensor of a model; fetch the "
                "folder again"
            )
        tensors[plain_name] = tensor
    if left_out:
        left_out_modules = sorted({name.removeprefix("model.").split(".")[0] for name in left_out})
        _log.warning(
            "%s: read the language model; left out %d tensors of %s", folder, len(left_out), ", ".join(left_out_modules)
        )
    if left_out_of_layers:
        _log.warning(
            "%s: left out %d tensors of layers that read earlier keys and values",
            folder,
            left_out_of_layers,
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

    Args:
      folder: a folder with safetensors files.
      model: the decoder that the weights belong to.
      mesh: the devices; None for the first device.
      ignored: prefixes of tensors that are left out, see `language_tensors`.
      progress: called after each tensor with the number of tensors done and their total.

    Returns:
      The parameters, `{"params": ...}`.

    Raises:
      UserError: see `load_params`.
    """
    tensors = language_tensors(folder, ignored, unused_tensors(model.config))
    return load_params(folder, tensors, model, mesh, progress=progress)


def load_params(
    source: Path,
    tensors: Mapping[str, TensorOnDisk],
    model: Decoder,
    mesh: Mesh | None,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Reads tensors into a decoder's parameters, as arrays on a mesh.

    Host memory holds no more than the largest tensor, in its parameter's dtype, and some 200 MB. On a CPU the arrays
    themselves are in host memory too.

    Args:
      source: the folder or file of the tensors, for errors.
      tensors: all of its tensors by the names that a Hugging Face folder gives them.
      model: the decoder that the weights belong to. They are cast to its `param_dtype`; norms are always float32.
      mesh: the devices; None for the first device.
      progress: called after each tensor with the number of tensors done and their total.

    Returns:
      The parameters, `{"params": ...}`.

    Raises:
      UserError: tensors are missing, surplus, misshapen, of a dtype that is not supported, or hold numbers that are
        not finite; the error names them. Or they do not fit into the host's memory, where that is the devices'.
    """
    placement_of = placements(model.config)
    expected = {name: place.stored_shape for place in placement_of.values() for name in place.names()}
    # Some tied models store the output layer too. It is not read, but must equal the embedding.
    tied = model.config.tied_embeddings
    check_tensors(source, tensors, expected, ["lm_head.weight"] if tied else [])
    if tied and "lm_head.weight" in tensors:
        _check_tied(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"])

    # Read parameter by parameter: a stacked one from the tensors of its layers.
    shapes = sharded_param_shapes(model, mesh)
    check_memory(source, shapes)
    targets = traverse.flatten_dict(shapes["params"])
    # The model has parameters that no file of this family can hold.
    if set(targets) != set(placement_of):
        raise UserError("weights of a Hugging Face folder have no adapters: load the model first, then add_lora")
    # What shares a tensor with others is read on its own.
    reads = sum(len(place.names()) for place in placement_of.values())
    tensors_done, params = 0, {}
    for path, place in placement_of.items():
        param_tensors = [tensors[name] for name in place.names()]

        def tell(count: int, before: int = tensors_done) -> None:
            if progress is not None:
                progress(before + count, reads)

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
    place: Placement, tensors: list[TensorOnDisk], target: jax.ShapeDtypeStruct, tell: Callable[[int], None]
) -> jax.Array:
    """Reads one parameter. A large stacked one is filled layer by layer on the devices, so the host never holds it."""
    sharding: Any = target.sharding
    if not place.stacked:
        array = _read(place, tensors[0], target.dtype, sharding)
        tell(1)
        return array
    if math.prod(target.shape) * target.dtype.itemsize <= _HOST_STACK_BYTES:
        # Filling it on the devices would compile two programs for its shape, which takes longer than reading it.
        read_blocks = [_block_reader(place, tensor, target.dtype) for tensor in tensors]

        def read_stack(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # JAX's annotation alone allows None
            return np.stack([read_block(index[1:]) for read_block in read_blocks[index[0]]])

        array = jax.make_array_from_callback(target.shape, sharding, read_stack)
        for i in range(len(tensors)):
            tell(i + 1)
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


def _read(place: Placement, tensor: TensorOnDisk, dtype: Any, sharding: Sharding) -> jax.Array:
    """Reads one tensor into an array. Each process reads only the blocks that its own devices hold."""
    return jax.make_array_from_callback(place.shape, sharding, _block_reader(place, tensor, dtype))


def _block_reader(
    place: Placement, tensor: TensorOnDisk, dtype: Any
) -> Callable[[tuple[slice, ...] | None], np.ndarray]:
    """A function that reads a block of a tensor, and one that several devices hold only once."""
    blocks: dict[str, np.ndarray] = {}

    def read_block(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None  # JAX's annotation alone allows None
        if str(index) not in blocks:
            block_shape = [
                len(range(*axis_slice.indices(size))) for axis_slice, size in zip(index, place.shape, strict=True)
            ]
            values = np.empty(block_shape, dtype)
            # Filling the view in the stored layout fills the block in ours, without another copy.
            block_view = place.stored_view(values)
            for rows, stored_rows in tensor.rows(place.stored_index(index)):
                block_view[rows] = stored_rows
            # Looked at as they will be used: a cast to bfloat16 may round a large number up to infinity.
            if not all_finite(values):
                raise _not_finite(tensor, values.dtype)
            blocks[str(index)] = values
        return blocks[str(index)]

    return read_block


def _check_tied(head: TensorOnDisk, embedding: TensorOnDisk) -> None:
    """Checks that a stored output layer equals the embedding that it is tied to."""
    full_block = tuple(slice(0, size) for size in embedding.shape)
    is_same = head.shape == embedding.shape
    if is_same:
        for (_, head_rows), (_, embedding_rows) in zip(head.rows(full_block), embedding.rows(full_block), strict=True):
            # NaN equals nothing, itself included.
            for tensor, rows in ((head, head_rows), (embedding, embedding_rows)):
                if not all_finite(rows):
                    raise _not_finite(tensor, rows.dtype)
            is_same = is_same and np.array_equal(head_rows, embedding_rows)
    if not is_same:
        raise UserError(
            f"{head.file}: lm_head.weight is not the embedding: set tie_word_embeddings to false in config.json"
        )


def _not_finite(tensor: TensorOnDisk, dtype: np.dtype) -> UserError:
    """The error for a tensor with numbers that are not finite in this type."""
    return UserError(
        f"{tensor.file}: {tensor.name} holds numbers that are not finite (NaN, infinity, or too large for "
        f"{dtype.name}): fetch it again, or use another checkpoint of this model"
    )
