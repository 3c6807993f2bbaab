"""Safetensors files: listing their tensors, reading blocks a little at a time, and writing them in several files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sml_jax.common.errors import UserError
from sml_jax.models.hf.weight_files import INDEX, SINGLE, check_header, weight_files

# Names of dtypes in safetensors files, and ours.
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
# Tensors of a folder. The largest supported model has some thousand; each takes half a kilobyte of memory.
_MAX_TENSORS = 100_000
# Bytes of all headers of a folder together. 200 files of the largest published models have some 5 MB.
_MAX_HEADER_BYTES = 64 << 20
# Bytes that are read at once. A file is mapped into memory only for that long, so its pages do not count as memory of
# this process.
_READ_BYTES = 64 << 20


@runtime_checkable
class TensorOnDisk(Protocol):
    """A tensor of which only the header was read: `StoredTensor`, or `gguf_weights.GGUFWeight`."""

    @property
    def name(self) -> str:
        """Its name in the file."""

    @property
    def file(self) -> Path:
        """The file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> str:
        """ "float32", "bfloat16" or "float16", or the file's name for a type that is not supported."""

    def rows(self, block: tuple[slice, ...]) -> Iterator[tuple[slice, np.ndarray]]:
        """See `StoredTensor.rows`."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a safetensors file, of which only the header was read.

    Attributes:
      name: its name in the file.
      file: the file.
      shape: its shape.
      dtype: "float32", "bfloat16" or "float16", or safetensors' name for a dtype that is not supported.
    """

    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: str

    def rows(self, block: tuple[slice, ...]) -> Iterator[tuple[slice, np.ndarray]]:
        """Reads a block of the tensor, some rows (indices of its first axis) at a time, in bounded memory.

        Args:
          block: a slice with start and stop for each axis.

        Yields:
          A slice, counted from the block's first row, and the values of these rows of the block.
        """
        row_slice, *other_slices = block
        # The library reads whole rows of the file, even where the block holds a part of each.
        row_bytes = max(prod(self.shape[1:]) * 4, 1)
        step = max(_READ_BYTES // row_bytes, 1)
        for start in range(row_slice.start, row_slice.stop, step):
            stop = min(start + step, row_slice.stop)
            with _open(self.file) as file:
                values = file.get_slice(self.name)[(slice(start, stop), *other_slices)]
            yield slice(start - row_slice.start, stop - row_slice.start), values


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Lists the tensors of a folder by name: those of the files that its index names, or of `model.safetensors`.

    Raises:
      UserError: a file is missing, broken or outside of the folder, a tensor is not in the file that the index names,
        or two files hold a tensor of one name.
    """
    files, file_of_tensor = weight_files(folder)
    # Of two tensors of one name nobody knows which is meant.
    found: dict[str, StoredTensor] = {}
    header_bytes = 0
    for path in files.values():
        # Links to one file, however many, are read again each time.
        header_bytes += check_header(path)
        if header_bytes > _MAX_HEADER_BYTES:
            raise UserError(
                f"{path}: with it the headers have more than {_MAX_HEADER_BYTES >> 20} MiB, as no model's have; fetch "
                "the folder again"
            )
        for name, tensor in _headers(path).items():
            if name in found:
                raise UserError(
                    f"{tensor.file}: {name} is in {found[name].file.name} too; remove the files of another model, or "
                    "fetch the folder again"
                )
            found[name] = tensor
        if len(found) > _MAX_TENSORS:
            raise UserError(
                f"{path}: with it the folder has more than {_MAX_TENSORS:,} tensors, as no supported model has; fetch "
                "the folder again"
            )
    if file_of_tensor is None:
        return found
    missing = [name for name, file in file_of_tensor.items() if name not in found or found[name].file != files[file]]
    if missing:
        raise UserError(
            f"{folder / INDEX}: {_first_names(missing)} not in the files that it names; fetch the folder again"
        )
    return {name: found[name] for name in file_of_tensor}


def check_tensors(
    source: Path, found: Mapping[str, TensorOnDisk], expected: Mapping[str, tuple[int, ...]], optional: Iterable[str]
) -> None:
    """Checks that a folder, or a GGUF file, holds the tensors that a model needs and no others.

    Args:
      source: the folder or file, for errors.
      found: its tensors, by the names that the model uses.
      expected: the shape of each tensor that the model needs, by name.
      optional: names of tensors that it may hold in addition.

    Raises:
      UserError: tensors are missing, surplus, of another shape or of a dtype that is not supported; the error names
        them.
    """
    missing = [name for name in expected if name not in found]
    surplus = sorted(set(found) - set(expected) - set(optional))
    misshapen = [
        f"{name} is {list(found[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    unsupported = [
        f"{name} is {found[name].dtype}"
        for name in expected
        if name in found and found[name].dtype not in _DTYPES.values()
    ]
    # A GGUF file describes itself.
    is_folder = source.is_dir()
    description, all_of_it = ("config.json", "the whole folder") if is_folder else ("the header", "the file")
    problems = [
        f"{problem}: {_first_names(names)}"
        for problem, names in (
            ("missing tensors", missing),
            (f"tensors that {description} has no place for", surplus),
            (f"tensors of another shape than {description} says", misshapen),
            (f"tensors of a type other than {', '.join(_DTYPES.values())}", unsupported),
        )
        if names
    ]
    if problems:
        raise UserError(
            f"the weights in {source} do not fit {'its ' if is_folder else ''}{description}: {'; '.join(problems)}; "
            f"fetch {all_of_it} again"
        )


def save_tensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes tensors by name into one safetensors file."""
    # The library makes files that only their owner can read: restore the mode that new files have here.
    path.touch()
    mode = path.stat().st_mode
    # transformers reads no file whose format is not "pt".
    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, path, {"format": "pt"})
    path.chmod(mode)


class ShardWriter:
    """Writes tensors into safetensors files of a limited size, and an index if there is more than one file.

    Args:
      folder: the folder to write to, which exists.
      sizes: bytes of each tensor, in the order in which they will be added.
      shard_bytes: largest size of a file in bytes; a larger tensor gets a file to itself.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, int], shard_bytes: int):
        self._folder, self._total = folder, sum(sizes.values())
        # Fill one file after the other. The number of files is part of their names, so all is planned in advance.
        names_by_file: list[list[str]] = [[]]
        free_bytes = shard_bytes
        for name, size in sizes.items():
            if size > free_bytes and names_by_file[-1]:
                names_by_file.append([])
                free_bytes = shard_bytes
            names_by_file[-1].append(name)
            free_bytes -= size
        file_count = len(names_by_file)
        files = (
            [f"model-{i + 1:05d}-of-{file_count:05d}.safetensors" for i in range(file_count)]
            if file_count > 1
            else [SINGLE]
        )
        self._file_of = {name: file for file, names in zip(files, names_by_file, strict=True) for name in names}
        self._last_names = {names[-1] for names in names_by_file if names}
        self._pending: dict[str, np.ndarray] = {}

    def add(self, name: str, values: np.ndarray) -> None:
        """Adds the next tensor, in the order of `sizes`. A file is written once its last tensor was added."""
        self._pending[name] = np.ascontiguousarray(values)
        if name in self._last_names:
            save_tensors(self._pending, self._folder / self._file_of[name])
            self._pending = {}

    def close(self) -> None:
        """Writes the index, if there is more than one file. All tensors must have been added."""
        assert not self._pending
        if len(self._last_names) > 1:
            index: dict[str, Any] = {"metadata": {"total_size": self._total}, "weight_map": self._file_of}
            (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _headers(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one file, by name."""
    tensors = {}
    with _open(path) as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            header = file.get_slice(name)
            dtype = str(header.get_dtype())
            tensors[name] = StoredTensor(name, path, tuple(header.get_shape()), _DTYPES.get(dtype, dtype))
    return tensors


def _open(path: Path) -> Any:
    """Opens a file for reading; what goes wrong is a UserError that names it."""
    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; fetch the folder again, with every safetensors file") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}); fetch it again") from error


def _first_names(names: list[str]) -> str:
    """The first names of a list that may be long, for an error."""
    not_shown = len(names) - 5
    return ", ".join(names[:5]) + (f" and {not_shown} more" if not_shown > 0 else "")
