"""GGUF files, the format of llama.cpp: one file with a model's settings, tokenizer, chat template and weights.

`gguf_header` reads the settings and where tensors lie. The public package `gguf` turns quantised types into numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present

_CURE = "fetch it again"


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor in a GGUF file, of which only the header was read.

    Attributes:
      name: its name, such as "blk.0.attn_q.weight".
      file: the file.
      shape: its shape with the axis that is contiguous in the file last, the order of numpy and PyTorch.
      kind: its type, "F32" or "Q4_K" for example.
      start: where its bytes begin in the file.
    """

    name: str
    file: Path
    shape: tuple[int, ...]
    kind: str
    start: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row: of the numbers along the last axis, which are stored in blocks."""
        block_size, block_bytes = block_of(self.kind)
        return self.shape[-1] // block_size * block_bytes

    @property
    def size(self) -> int:
        """Bytes of the tensor in the file."""
        return prod(self.shape[:-1]) * self.row_bytes

    @property
    def is_readable(self) -> bool:
        """Whether the installed package `gguf` can turn the type into numbers."""
        return _is_readable(self.kind)

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        """The rows from `start` up to `stop` as float32 [stop - start, size of the last axis].

        A tensor with one axis is one row, one with more than two has its leading axes merged.
        """
        with open(self.file, "rb") as file:
            file.seek(self.start + start * self.row_bytes)
            content = file.read((stop - start) * self.row_bytes)
        if len(content) < (stop - start) * self.row_bytes:
            raise UserError(f"{self.file} ends within {self.name}; {_CURE}")
        rows = np.frombuffer(content, np.uint8).reshape(stop - start, self.row_bytes)
        # Scales of a damaged file overflow; whoever reads weights checks that they are finite.
        with np.errstate(all="ignore"):
            return gguf.dequantize(rows, gguf.GGMLQuantizationType[self.kind])


@dataclass(frozen=True)
class GGUFFile:
    """The header of a GGUF file.

    Attributes:
      path: the file.
      settings: setting -> value: numbers, texts, truth values, lists of texts, and numpy arrays of numbers.
      tensors: the tensors by name, in the order of the file.
    """

    path: Path
    settings: dict[str, Any]
    tensors: dict[str, GGUFTensor]

    def error(self, text: str) -> UserError:
        """A UserError about the file, to be raised."""
        return UserError(f"{self.path}: {text}")

    def text(self, name: str) -> str | None:
        """A setting that must be a text; None if it is absent. Raises UserError for another value."""
        value = self.settings.get(name)
        if value is not None and not isinstance(value, str):
            raise self.error(f"{name} is no text; {_CURE}")
        return value

    def texts(self, name: str) -> list[str] | None:
        """A setting that must be a list of texts; None if it is absent. Raises UserError for another value."""
        value = self.settings.get(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise self.error(f"{name} is no list of texts; {_CURE}")
        return value

    def numbers(self, name: str, count: int) -> np.ndarray | None:
        """A setting that must be a list of `count` numbers; None if it is absent.

        Raises:
          UserError: it is something else.
        """
        value = self.settings.get(name)
        if value is None:
            return None
        if not isinstance(value, np.ndarray) or len(value) != count:
            raise self.error(f"{name} is no list of {count} numbers; {_CURE}")
        return value

    def whole_number(self, name: str, end: int) -> int | None:
        """A setting that must be a whole number from 0 to `end` - 1; None if it is absent.

        Raises:
          UserError: it is something else.
        """
        value = self.settings.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < end:
            raise self.error(f"{name} is {shown(value)}; it must be a whole number from 0 to {end - 1}; {_CURE}")
        return value


def is_gguf(path: Path) -> bool:
    """Whether there is a file at `path` that is named like a GGUF file.

    Raises:
      UserError: there is something else of that name, such as a FIFO; see `files.is_present`.
    """
    return path.suffix.lower() == ".gguf" and not path.is_dir() and is_present(path)


def block_of(kind: str) -> tuple[int, int]:
    """How many numbers a type stores together, and the bytes that they take."""
    return gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]


@lru_cache(maxsize=64)
def _is_readable(kind: str) -> bool:
    """Whether a type can be turned into numbers, found out with one block of zeros."""
    try:
        gguf.dequantize(np.zeros((1, block_of(kind)[1]), np.uint8), gguf.GGMLQuantizationType[kind])
    except NotImplementedError:
        return False
    return True


def shown(value: object) -> str:
    """A value for an error, shortened."""
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}..."
