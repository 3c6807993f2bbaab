"""The files that hold a folder's weights: which they are, and what is wrong with one before any weight is read.

Whoever made the folder wrote its index and the headers of its files, so neither is believed. The `safetensors` library
itself refuses headers that are no JSON or UTF-8, tensors that overlap, leave gaps or leave the file, and sizes that do
not follow from shapes. Here is what it lets pass.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from sml_jax.common.errors import UserError
from sml_jax.common.files import MAX_DESCRIPTION_BYTES, check_inside, is_present, read_json
from sml_jax.common.json_text import parse_json

# A folder holds either one file, or several and an index that says which tensor is in which.
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"

# The largest published models have some 200.
_MAX_FILES = 4096

# How files of other formats begin that are found under this name, and what they are.
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive, as PyTorch writes",
    b"\x80\x02": "a pickle, as PyTorch writes",
    b"\x80\x04": "a pickle",
    b"GGUF": "a GGUF file",
    b"version ": "a pointer of Git LFS",
    b"<!DOCTYP": "a web page",
}


def weight_files(folder: Path) -> tuple[dict[str, Path], Mapping[str, str] | None]:
    """The files that hold a folder's weights, in the order of their names; none of them is opened.

    Returns:
      The files by their name in the folder; and, where the folder has an index, the name of the file by tensor.

    Raises:
      UserError: the index is damaged, or names a file that is missing, is no file, or lies outside of the folder;
        or there is a `model.safetensors` that it does not name.
    """
    index_path = folder / INDEX
    if not is_present(index_path):
        return {SINGLE: weight_file(folder, SINGLE)}, None
    try:
        file_of_tensor: dict[str, str] = read_json(index_path)["weight_map"]
        names = sorted(set(file_of_tensor.values()))
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError("weight_map names no files")
    except UserError:
        raise
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index_path}: this is no index of safetensors files ({error!r}); fetch it again") from error
    if len(names) > _MAX_FILES:
        raise UserError(f"{index_path}: it names {len(names):,} files, more than any model has; fetch the folder again")
    files = {name: weight_file(folder, name) for name in names}
    # Other programs would read this file and leave the index alone.
    if is_present(folder / SINGLE) and folder / SINGLE not in files.values():
        raise UserError(
            f"{folder} holds {SINGLE} and, in {INDEX}, the names of other files: remove the one that is not the "
            "model's, or fetch the folder again"
        )
    return files, file_of_tensor


def weight_file(folder: Path, name: str) -> Path:
    """The path of a file of weights, which must lie in the folder or below it; see `files.check_inside` for links.

    Args:
      folder: the model's folder, which itself may be a link.
      name: of the file, as the index gives it.

    Raises:
      UserError: the file is missing, is no file, or lies elsewhere.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise UserError(
            f"{folder / INDEX}: weight_map names {_shown(name)}, which is no file of this folder: fetch the folder "
            "again, or put the file there"
        )
    path = folder / name
    if not is_present(path):
        raise UserError(f"{path} is missing; fetch the folder again, with every safetensors file")
    check_inside(folder, path)
    return path


def check_header(path: Path) -> int:
    """Checks what the library does not of a safetensors file: its size, its kind, and that no tensor is named twice.

    Returns:
      The size of its header in bytes.

    Raises:
      UserError: the file is of another format, its header is too large, or a name stands twice in it.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            start = file.read(8)
            for beginning, kind in _OTHER_FORMATS.items():
                if start.startswith(beginning):
                    raise UserError(
                        f"{path} cannot be read as safetensors (it is {kind}); fetch the weights in the safetensors "
                        "format, or fetch it again"
                    )
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            # A header is an object of Python's in the end, which takes far more memory.
            if size > MAX_DESCRIPTION_BYTES:
                raise UserError(
                    f"{path} cannot be read as safetensors (its header should have {size} bytes, more than the "
                    f"{MAX_DESCRIPTION_BYTES >> 20} MiB that are read); fetch it again"
                )
            header = file.read(size)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable, or fetch it again") from error
    try:
        # The library would take the second of two tensors of one name. Whatever else is wrong it says itself.
        parse_json(header.decode("utf-8"), unique_names=True)
    except ValueError as error:
        if "twice" in str(error):
            raise UserError(f"{path} cannot be read as safetensors ({error}); fetch it again") from error
    return size


def _shown(name: str) -> str:
    """A name for an error, shortened."""
    return repr(name if len(name) < 200 else f"{name[:200]}...")
