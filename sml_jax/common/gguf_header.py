"""Reading the header of a GGUF file: settings by name, then name, shape, type and place of each tensor.

The layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The public package `gguf` has a reader too. It
makes an object of every element of an array, which takes seconds for a vocabulary, and trusts the counts that a damaged
file gives; so the header is read here.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present
from sml_jax.common.gguf_file import GGUFFile, GGUFTensor, block_of, shown

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_CURE = "fetch it again"

# Numbers of the types of settings: a numpy type for numbers, and those that are no numbers.
_NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_TEXT, _ARRAY = 8, 9

# Far above any real file. A larger count is damage that would otherwise take hours or all memory.
_MAX_ENTRIES = 1 << 18
_MAX_ARRAY = 1 << 23
_MAX_TEXT_BYTES = 16 << 20
_MAX_DIMENSIONS = 4


def read_gguf(path: Path) -> GGUFFile:
    """Reads the header of a GGUF file: its settings, and where its tensors lie. No weight is read.

    Raises:
      UserError: there is no such file, it is no GGUF file, it is cut off or damaged, it is one part of several, or a
        tensor has a type that the package `gguf` does not know.
    """
    if not is_present(path):
        raise UserError(f"no file at {path}: give the path of a GGUF file")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            header = _Header(path, file, os.fstat(file.fileno()).st_size)
            settings, places = _read_header(header)
            return _with_tensors(header, settings, places)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable, or {_CURE}") from error


class _Header:
    """Reads values one after the other, never beyond the end of the file.

    Args:
      path: the file, for errors.
      file: the open file, at its beginning.
      size: its bytes.
    """

    def __init__(self, path: Path, file: io.BufferedReader, size: int):
        self.path, self.size, self.position = path, size, 0
        self._file = file

    def error(self, text: str) -> UserError:
        """A UserError about the file, to be raised."""
        return UserError(f"{self.path} cannot be read as GGUF ({text}); {_CURE}")

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        # Before they are asked for: a damaged count should not make the system look for so much memory.
        content = self._file.read(count) if count <= self.size - self.position else b""
        if len(content) < count:
            raise self.error(f"it ends after {self.size} bytes, within its header")
        self.position += count
        return content

    def number(self, kind: int) -> Any:
        """The next number of a type as Python's, with the shortest decimals that mean it."""
        numpy_type = np.dtype(_NUMBERS[kind])
        value = np.frombuffer(self.take(numpy_type.itemsize), numpy_type)[0]
        # Python's float of 1e-5 in 32 bits would be 9.999999747378752e-06, which nobody has written.
        return float(str(value)) if numpy_type == np.float32 else value.item()

    def count(self, what: str, limit: int) -> int:
        """The next number of 64 bits, which counts `what` and must not be above `limit`."""
        value = int.from_bytes(self.take(8), "little")
        if value > limit:
            raise self.error(f"{value} {what}, of which there may be {limit}")
        return value

    def text(self) -> str:
        """The next text."""
        content = self.take(self.count("bytes of a text", _MAX_TEXT_BYTES))
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            # Pieces of old vocabularies may be cut within a character.
            return content.decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """The next value of a type: a number, a text, or a list of one of them."""
        if kind in _NUMBERS:
            return self.number(kind)
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            raise self.error(f"a setting of type {kind}, which does not exist")
        item_kind, length = int.from_bytes(self.take(4), "little"), self.count("items of a list", _MAX_ARRAY)
        if item_kind == _TEXT:
            return [self.text() for _ in range(length)]
        if item_kind not in _NUMBERS:
            raise self.error(f"a list of values of type {item_kind}")
        numpy_type = np.dtype(_NUMBERS[item_kind])
        return np.frombuffer(self.take(length * numpy_type.itemsize), numpy_type)


def _read_header(header: _Header) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...], int, int]]]:
    """Reads settings by name, and (name, shape, number of its type, offset) of each tensor."""
    start = header.take(4)
    if start != _MAGIC:
        raise header.error(f"it begins with {start!r}, not with {_MAGIC!r}")
    version = struct.unpack("<I", header.take(4))[0]
    if version not in _VERSIONS:
        kind = "of a machine with the other order of bytes" if version & 0xFFFF == 0 else f"version {version}"
        raise header.error(f"it is {kind}; read are versions {_VERSIONS[0]} and {_VERSIONS[1]}")
    tensor_count, setting_count = header.count("tensors", _MAX_ENTRIES), header.count("settings", _MAX_ENTRIES)
    settings: dict[str, Any] = {}
    for _ in range(setting_count):
        name = header.text()
        if name in settings:
            raise header.error(f"the setting {shown(name)} stands there twice")
        settings[name] = header.value(struct.unpack("<I", header.take(4))[0])
    places = []
    for _ in range(tensor_count):
        name = header.text()
        dimensions = struct.unpack("<I", header.take(4))[0]
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise header.error(f"{shown(name)} has {dimensions} axes")
        # The file lists the contiguous axis first.
        shape = struct.unpack(f"<{dimensions}Q", header.take(8 * dimensions))[::-1]
        kind, offset = struct.unpack("<IQ", header.take(12))
        places.append((name, shape, kind, offset))
    return settings, places


def _with_tensors(
    header: _Header, settings: dict[str, Any], places: list[tuple[str, tuple[int, ...], int, int]]
) -> GGUFFile:
    """Checks where the tensors lie, and gives the header as a whole."""
    if settings.get("split.count", 1) not in (0, 1):
        raise UserError(
            f"{header.path} is one part of several: join them (llama-gguf-split --merge), or fetch one file"
        )
    alignment = settings.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise header.error(f"general.alignment is {shown(alignment)}")
    # Tensors begin at the next multiple after the header.
    data_start = -(-header.position // alignment) * alignment
    tensors: dict[str, GGUFTensor] = {}
    for tensor in _tensors(header, places, data_start):
        if tensor.name in tensors:
            raise header.error(f"the tensor {shown(tensor.name)} stands there twice")
        if tensor.start + tensor.size > header.size:
            raise header.error(
                f"it ends after {header.size} bytes, within {shown(tensor.name)}, as half-fetched files do"
            )
        tensors[tensor.name] = tensor
    return GGUFFile(header.path, settings, tensors)


def _tensors(
    header: _Header, places: list[tuple[str, tuple[int, ...], int, int]], data_start: int
) -> Iterator[GGUFTensor]:
    """The tensors, of which types and shapes were checked."""
    kinds = {int(kind): kind.name for kind in gguf.GGMLQuantizationType}
    for name, shape, kind, offset in places:
        if kind not in kinds:
            raise UserError(
                f"{header.path}: {shown(name)} has the type number {kind}, which the installed package gguf does not "
                "know: install a newer one, or fetch the model in another type, such as F16"
            )
        block_size, _ = block_of(kinds[kind])
        if prod(shape) < 1 or prod(shape) >= 1 << 62 or shape[-1] % block_size:
            raise header.error(f"{shown(name)} of type {kinds[kind]} has the shape {list(shape)}")
        yield GGUFTensor(name, header.path, shape, kinds[kind], data_start + offset)
