"""Damaged safetensors files and indexes: the right numbers, or a UserError."""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save

from fuzz.campaign import Target, allowed
from fuzz.source import Source, broken, changed, dumps
from sml_jax.common.errors import UserError
from sml_jax.models.hf.safetensors_io import INDEX, SINGLE, StoredTensor, check_tensors, stored_tensors

# Of each data type that is read, and one that is not; one of them without values.
_TENSORS = {
    "a": np.arange(42, dtype=np.float32).reshape(7, 6),
    "b": np.arange(8, dtype=np.float32).astype(ml_dtypes.bfloat16),
    "c": np.arange(3, dtype=np.float16),
    "d": np.zeros((2, 0), np.float32),
    "e": np.full((), 1.5, np.float32),
    "f": np.arange(4, dtype=np.int8),
}
_WEIGHT_MAP = {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}


@lru_cache(maxsize=1)
def _file() -> bytes:
    return save(_TENSORS, metadata={"format": "pt"})


def _content(source: Source) -> bytes:
    """A file with its header changed as JSON, or with some bytes changed."""
    content = _file()
    size = int.from_bytes(content[:8], "little")
    if source.flag():
        header = dumps(changed(source, json.loads(content[8 : 8 + size]))).encode()
        length = len(header) if source.flag(3) else source.pick((size, 2**63, 10**8 + 1, 0, len(header) + 8))
        content = (length if source.flag(4) else len(header)).to_bytes(8, "little") + header + content[8 + size :]
    return broken(source, content) if source.flag() else content


def _read(tensor: StoredTensor) -> np.ndarray:
    block = tuple(slice(0, size) for size in tensor.shape)
    parts = [values for _, values in tensor.rows(block)]
    return np.concatenate(parts) if parts else np.zeros(tensor.shape, np.float32)


def check(source: Source) -> None:
    """One case."""
    # An index with two files, or one file alone; any of them damaged.
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if source.flag(3):
            index = {"metadata": {"total_size": 1}, "weight_map": changed(source, _WEIGHT_MAP)}
            text = dumps(changed(source, index) if source.flag(4) else index).encode()
            (folder / INDEX).write_bytes(broken(source, text) if source.flag(4) else text)
            (folder / "one.safetensors").write_bytes(_file())
            (folder / "two.safetensors").write_bytes(_content(source) if source.flag() else _file())
        else:
            (folder / SINGLE).write_bytes(_content(source))
        tensors = allowed(lambda: stored_tensors(folder))
        if isinstance(tensors, UserError):
            return
        shapes = {name: value.shape for name, value in _TENSORS.items() if name in "abc"}
        allowed(lambda: check_tensors(folder, tensors, shapes, ["d", "e", "f"]))
        # What is let in has the shape and the type that its header says.
        for name, tensor in tensors.items():
            assert tensor.name == name and all(size >= 0 for size in tensor.shape)
            if tensor.dtype not in ("float32", "float16", "bfloat16") or not prod(tensor.shape) or not tensor.shape:
                continue  # `check_tensors` refuses them
            assert prod(tensor.shape) <= 1 << 20
            values = _read(tensor)
            assert values.shape == tensor.shape and str(values.dtype) == tensor.dtype


def target() -> Target:
    """Safetensors files."""
    return Target("safetensors", check)
