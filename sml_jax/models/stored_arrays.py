"""Checks a folder of arrays that somebody else may have made, before Orbax and tensorstore are given it.

They trust what they read: a description of one array that asks for chunks of exabytes, or for another form, is an error
in each of many reads at once, whose tracebacks nobody can stop, or the end of the process. Our own arrays have one
plain form, and whatever has another is refused here.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import tensorstore

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present, read_bytes
from sml_jax.common.json_text import parse_json

# What Orbax writes for an array of ours, in the form of Zarr 2 (https://zarr-specs.readthedocs.io/en/latest/v2).
_DESCRIPTION = ".zarray"
_FIXED_FIELDS = {"zarr_format": 2, "order": "C", "filters": None, "fill_value": None, "dimension_separator": "."}
_DTYPES = ("<f4", "bfloat16", "<f2", "<f8", "<i4", "<i8", "<u4", "<u8", "|i1", "|u1", "|b1")
_MANIFEST = "manifest.ocdbt"  # of the store, which is the list of its arrays
_MAX_DESCRIPTION_BYTES = 4096
_DESCRIBING_FILES = ("_METADATA", "_CHECKPOINT_METADATA", "_sharding")


def check_stored_arrays(folder: Path) -> None:
    """Checks that a folder of arrays is one that `orbax.checkpoint.StandardCheckpointer` wrote, before it is read.

    Args:
      folder: the folder.

    Raises:
      UserError: something that is no file is among its files, or a file that only describes is larger than any.
      ValueError: its list of arrays, or what it says of one of them, is not as Orbax writes it.
    """
    _check_files(folder)
    if not is_present(folder / _MANIFEST):
        raise ValueError(f"there is no list of arrays, {_MANIFEST}")
    base = {"driver": "file", "path": f"{folder}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    keys = {key.decode("utf-8", "replace") for key in store.list().result()}
    for key in sorted(keys):
        array, slash, name = key.rpartition("/")
        if name == _DESCRIPTION:
            description = store.read(key).result().value
            if len(description) > _MAX_DESCRIPTION_BYTES:
                raise ValueError(f"the description of {array} has {len(description)} bytes")
            _check_description(array, parse_json(description.decode("utf-8")), f"{array}{slash}", keys)


def _check_files(folder: Path) -> None:
    """Checks that a folder of arrays holds files and folders alone: Orbax would wait for a FIFO for ever."""
    for parent, folders, names in os.walk(folder):
        for name in folders:
            # It may lead back to a folder above, and whoever follows it does so for ever.
            if (Path(parent) / name).is_symlink():
                raise UserError(
                    f"{Path(parent) / name} is a link to a folder: put the folder in its place, or remove it"
                )
        for name in names:
            path = Path(parent) / name
            # A file of holes is as large as it says, and tensorstore ends the process when it reads one.
            if is_present(path) and name == _MANIFEST and not read_bytes(path):
                raise ValueError(f"{path.relative_to(folder)} is empty")
    # These are read and parsed as a whole.
    for name in _DESCRIBING_FILES:
        if is_present(folder / name):
            parse_json(read_bytes(folder / name).decode("utf-8"))


def _check_description(array: str, description: Any, prefix: str, keys: set[str]) -> None:
    """Checks what is said of one array, and that all of its chunks are there."""
    if not isinstance(description, dict):
        raise ValueError(f"what is said of {array} is no JSON object")
    wrong = [name for name, value in _FIXED_FIELDS.items() if description.get(name, value) != value]
    compressor = description.get("compressor")
    if not isinstance(compressor, dict) or compressor.get("id") != "zstd":
        wrong.append("compressor")
    if description.get("dtype") not in _DTYPES:
        wrong.append("dtype")
    if wrong:
        shown = json.dumps(description.get(wrong[0]))[:60]
        raise ValueError(f"{wrong[0]} of {array} is {shown}, which is nothing that Orbax writes for it")
    shape: Any = description.get("shape")
    chunks: Any = description.get("chunks")
    if not _are_sizes(shape, 0) or not _are_sizes(chunks, 1) or len(shape) != len(chunks):
        raise ValueError(f"the shape and the chunks of {array} are no sizes of one array")
    # A chunk is what one device holds, and never more than the array.
    if any(chunk > max(1, size) for size, chunk in zip(shape, chunks, strict=True)):
        raise ValueError(f"the chunks of {array} are {chunks}, of an array of {shape}")
    counts = [math.ceil(size / chunk) for size, chunk in zip(shape, chunks, strict=True)]
    stored = sum(key.startswith(prefix) for key in keys) - 1
    if math.prod(counts) != stored:
        raise ValueError(f"{array} has {stored} of its {math.prod(counts)} chunks")


def _are_sizes(values: Any, least: int) -> bool:
    """Whether this is a list of whole numbers, each of at least `least`."""
    return isinstance(values, list) and all(type(value) is int and value >= least for value in values)
