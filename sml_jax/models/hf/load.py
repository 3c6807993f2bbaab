"""Weights of a Hugging Face folder straight into arrays on their devices, one tensor at a time."""

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

# Told after each tensor: how many are done, of how many.
Progress = Callable[[int, int], None]


def is_hf_folder(folder: Path) -> bool:
    """Whether it holds a config.json beside safetensors files."""
    return (folder / "config.json").is_file() and ((folder / INDEX).is_file() or (folder / SINGLE).is_file())


def read_hf_config(folder: Path) -> dict[str, Any]:
    """The fields of a folder's config.json."""
    path = folder / "config.json"
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); fetch it again") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: it must hold a JSON object; fetch it again")
    return values


def language_tensors(folder: Path, ignored: tuple[str, ...] = ()) -> dict[str, StoredTensor]:
    """A folder's tensors by the names that a plain causal language model gives them.

    Args:
      folder: a Hugging Face folder.
      ignored: prefixes of tensors that are left out, which is logged: those of a vision tower, for example.
    """
    found, left_out = {}, []
    for name, tensor in stored_tensors(folder).items():
        if name.endswith(".rotary_emb.inv_freq"):  # A constant that old files hold.
            continue
        if ignored and name.startswith(ignored):
            left_out.append(name)
        else:
            found[_plain_name(name)] = tensor
    if left_out:
        kinds = sorted({name.removeprefix("model.").split(".")[0] for name in left_out})
        _log.warning("%s: read the language model; left out %d tensors of %s", folder, len(left_out), ", ".join(kinds))
    return found


def load_hf_params(
    folder: Path,
    model: Decoder,
    mesh: Mesh | None,
    ignored: tuple[str, ...] = (),
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Reads weights into arrays laid out on a mesh.

    Host memory stays within the largest tensor, in the type that it is kept in, and some 200 MB; on a CPU the arrays
    themselves lie in host memory too.

    Args:
      folder: with safetensors files.
      model: the decoder that they are for; they are cast to its `param_dtype` (norms are always float32).
      mesh: where to; None for the first device.
      ignored: prefixes of tensors that are left out, see `language_tensors`.
      progress: is told after each tensor.

    Raises:
      UserError: tensors that are missing, surplus, misshapen or of a type that is not supported, by name.
    """
    found = language_tensors(folder, ignored)
    places, layers = placements(model.config), model.config.layers
    wanted = {name: place.stored_shape for place in places.values() for name in place.names(layers)}
    tied = model.config.tied_embeddings
    check_tensors(folder, found, wanted, ["lm_head.weight"] if tied else [])
    if tied and "lm_head.weight" in found:
        _check_tied(found["lm_head.weight"], found["model.embed_tokens.weight"])

    targets = traverse.flatten_dict(sharded_param_shapes(model, mesh)["params"])
    if set(targets) != set(places):
        raise UserError("weights of a Hugging Face folder have no adapters: load the model first, then add_lora")
    done, params = 0, {}
    for path, place in places.items():
        tensors = [found[name] for name in place.names(layers)]

        def tell(count: int, before: int = done) -> None:
            if progress is not None:
                progress(before + count, len(wanted))

        params[path] = _load(place, tensors, targets[path], tell)
        done += len(tensors)
    return {"params": traverse.unflatten_dict(params)}


def _plain_name(name: str) -> str:
    """`model...` and `lm_head...`, however a model with a vision tower, or one without a head, was saved."""
    if name.startswith("model.language_model."):
        return "model." + name.removeprefix("model.language_model.")
    if name.startswith(("embed_tokens.", "layers.", "norm.")):
        return f"model.{name}"
    return name.removeprefix("language_model.")


def _load(
    place: Placement, tensors: list[StoredTensor], target: jax.ShapeDtypeStruct, tell: Callable[[int], None]
) -> jax.Array:
    """One parameter. A stacked one is filled layer by layer on the devices: its whole is never on the host."""
    sharding: Any = target.sharding
    if not place.stacked:
        array = _read(place, tensors[0], target.dtype, sharding)
        tell(1)
        return array
    of_layer = sharding
    if isinstance(sharding, NamedSharding):
        of_layer = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
    array = _zeros(target.shape, target.dtype, sharding)
    put = _put_on(sharding)
    for i, tensor in enumerate(tensors):
        # Waiting keeps the host from reading ahead of the devices and holding what it read.
        array = jax.block_until_ready(put(array, _read(place, tensor, target.dtype, of_layer), np.int32(i)))
        tell(i + 1)
    return array


def _zeros(shape: tuple[int, ...], dtype: Any, sharding: Sharding) -> jax.Array:
    return jax.jit(jnp.zeros, static_argnums=(0, 1), out_shardings=sharding)(shape, dtype)


def _put(stacked: jax.Array, one: jax.Array, at: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stacked, one, at, 0)


@lru_cache(maxsize=64)  # Parameters of one shape and layout share a program.
def _put_on(sharding: Sharding) -> Any:
    return jax.jit(_put, donate_argnums=0, out_shardings=sharding)


def _read(place: Placement, tensor: StoredTensor, dtype: Any, sharding: Sharding) -> jax.Array:
    """One tensor as an array; each process reads only what its own devices hold, and the same block once."""
    blocks: dict[str, np.ndarray] = {}

    def block(index: tuple[slice, ...] | None) -> np.ndarray:
        index = (slice(None),) * len(place.shape) if index is None else index
        if str(index) not in blocks:
            size = [len(range(*part.indices(whole))) for part, whole in zip(index, place.shape, strict=True)]
            values = np.empty(size, dtype)
            view = place.stored_view(values)
            for rows, part in tensor.rows(place.stored_index(index)):
                view[rows] = part
            blocks[str(index)] = values
        return blocks[str(index)]

    return jax.make_array_from_callback(place.shape, sharding, block)


def _check_tied(head: StoredTensor, embedding: StoredTensor) -> None:
    whole = tuple(slice(0, size) for size in embedding.shape)
    same = head.shape == embedding.shape and all(
        np.array_equal(ours, theirs)
        for (_, ours), (_, theirs) in zip(head.rows(whole), embedding.rows(whole), strict=True)
    )
    if not same:
        raise UserError(
            f"{head.file}: lm_head.weight is not the embedding: set tie_word_embeddings to false in config.json"
        )
