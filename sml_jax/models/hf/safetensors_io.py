"""Tensors in safetensors files: which there are, blocks of them a little at a time, and writing them in shards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
# Bytes read at once. A file stays mapped for no longer, so that its pages are not counted against this process.
_CHUNK = 64 << 20


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file. `dtype` is "float32", "bfloat16" or "float16", or safetensors' name of another one."""

    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: str

    def rows(self, block: tuple[slice, ...]) -> Iterator[tuple[slice, np.ndarray]]:
        """Reads a block, some rows at a time.

        Args:
          block: a slice for each axis, with a start and a stop.

        Yields:
          Which rows of the block, and their values.
        """
        first, *rest = block
        # A file's rows are read whole, whatever of them is kept.
        row_bytes = max(prod(self.shape[1:]) * 4, 1)
        step = max(_CHUNK // row_bytes, 1)
        for start in range(first.start, first.stop, step):
            stop = min(start + step, first.stop)
            with _open(self.file) as file:
                values = file.get_slice(self.name)[(slice(start, stop), *rest)]
            yield slice(start - first.start, stop - first.start), values


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a folder by name: of `model.safetensors`, or of the files that its index names.

    Raises:
      UserError: there are none, a file is missing or broken, or a tensor is not in the file that the index names.
    """
    index = folder / INDEX
    if not index.is_file():
        return _headers(folder / SINGLE)
    try:
        files: Mapping[str, str] = parse_json(index.read_text(encoding="utf-8"))["weight_map"]
        by_file = {name: _headers(folder / name) for name in sorted(set(files.values()))}
    except UserError:
        raise
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index}: this is no index of safetensors files ({error!r}); fetch it again") from error
    lost = [name for name, file in files.items() if name not in by_file[file]]
    if lost:
        raise UserError(f"{index}: {_some(lost)} not in the files that it names; fetch the folder again")
    return {name: by_file[file][name] for name, file in files.items()}


def check_tensors(
    folder: Path, found: Mapping[str, StoredTensor], wanted: Mapping[str, tuple[int, ...]], harmless: Iterable[str]
) -> None:
    """Checks that a folder holds what a model needs and nothing else.

    Args:
      folder: for errors.
      found: what it holds, by the names that the model uses.
      wanted: the shape of each tensor that the model needs.
      harmless: names that may be there as well.

    Raises:
      UserError: tensors that are missing, surplus, of another shape or of a type that is not supported, by name.
    """
    missing = [name for name in wanted if name not in found]
    surplus = sorted(set(found) - set(wanted) - set(harmless))
    misshapen = [
        f"{name} is {list(found[name].shape)} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name].shape != shape
    ]
    typed = [
        f"{name} is {found[name].dtype}"
        for name in wanted
        if name in found and found[name].dtype not in _DTYPES.values()
    ]
    problems = [
        f"{what}: {_some(names)}"
        for what, names in (
            ("missing tensors", missing),
            ("tensors that config.json has no place for", surplus),
            ("tensors of another shape than config.json says", misshapen),
            (f"tensors of a type other than {', '.join(_DTYPES.values())}", typed),
        )
        if names
    ]
    if problems:
        raise UserError(
            f"the weights in {folder} do not fit its config.json: {'; '.join(problems)}; fetch the whole folder again"
        )


class ShardWriter:
    """Writes tensors into safetensors files of at most so many bytes, with an index where there is more than one.

    Args:
      folder: where to; it exists.
      sizes: bytes of each tensor, in the order in which they will come.
      shard_bytes: the most bytes of a file; a larger tensor gets a file of its own.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, int], shard_bytes: int):
        self._folder, self._total = folder, sum(sizes.values())
        shards: list[list[str]] = [[]]
        room = shard_bytes
        for name, size in sizes.items():
            if size > room and shards[-1]:
                shards.append([])
                room = shard_bytes
            shards[-1].append(name)
            room -= size
        many = len(shards)
        titles = [f"model-{i + 1:05d}-of-{many:05d}.safetensors" for i in range(many)] if many > 1 else [SINGLE]
        self._file_of = {name: title for title, names in zip(titles, shards, strict=True) for name in names}
        self._last_of = {names[-1] for names in shards if names}
        self._open: dict[str, np.ndarray] = {}

    def add(self, name: str, values: np.ndarray) -> None:
        """Adds the next tensor. Its file is written once it is full."""
        self._open[name] = np.ascontiguousarray(values)
        if name in self._last_of:
            # transformers reads no file that does not say "pt".
            path = self._folder / self._file_of[name]
            path.touch()  # with the mode that files have here: the library would write one for its owner alone
            mode = path.stat().st_mode
            save_file(self._open, path, metadata={"format": "pt"})
            path.chmod(mode)
            self._open = {}

    def close(self) -> None:
        """Writes the index."""
        assert not self._open
        if len(self._last_of) > 1:
            index: dict[str, Any] = {"metadata": {"total_size": self._total}, "weight_map": self._file_of}
            (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _headers(path: Path) -> dict[str, StoredTensor]:
    found = {}
    with _open(path) as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            part = file.get_slice(name)
            dtype = str(part.get_dtype())
            found[name] = StoredTensor(name, path, tuple(part.get_shape()), _DTYPES.get(dtype, dtype))
    return found


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; fetch the folder again, with every safetensors file") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}); fetch it again") from error


def _some(names: list[str]) -> str:
    rest = len(names) - 5
    return ", ".join(names[:5]) + (f" and {rest} more" if rest > 0 else "")
