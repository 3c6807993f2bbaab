"""The weights of a GGUF file as the tensors of a Hugging Face folder, turned into numbers while they are read.

llama.cpp gives tensors other names, stores norms of Gemma with one added, and the rows of Llama's queries and keys in
another order (https://github.com/ggml-org/llama.cpp, convert_hf_to_gguf.py). All of it is undone here, for the rows
that are asked for alone, so that no second copy of the parameters is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType

import numpy as np

from sml_jax.common.gguf_file import GGUFFile, GGUFTensor
from sml_jax.families import Family
from sml_jax.models.config import DecoderConfig
from sml_jax.models.hf.gguf_config import ROPE_FACTORS
from sml_jax.models.hf.names import placements

GGUF_TENSORS: Mapping[str, str] = MappingProxyType(
    {
        "embedding": "token_embd",
        "final_norm": "output_norm",
        "output": "output",
        "query": "blk.{layer}.attn_q",
        "key": "blk.{layer}.attn_k",
        "value": "blk.{layer}.attn_v",
        "out": "blk.{layer}.attn_output",
        "query_norm": "blk.{layer}.attn_q_norm",
        "key_norm": "blk.{layer}.attn_k_norm",
        "gate": "blk.{layer}.ffn_gate",
        "up": "blk.{layer}.ffn_up",
        "down": "blk.{layer}.ffn_down",
        "attention_norm": "blk.{layer}.attn_norm",
        "attention_post_norm": "blk.{layer}.post_attention_norm",
        "mlp_norm": "blk.{layer}.ffn_norm",
        "mlp_post_norm": "blk.{layer}.post_ffw_norm",
    }
)
"""Our name of a parameter (`families.family.LLAMA_TENSORS`) -> the tensor's name in GGUF files of all families."""

# Bytes of numbers that are read at once.
_READ_BYTES = 64 << 20
# Types whose values are numbers of one of our dtypes; all others are quantised, or cannot be read.
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class GGUFWeight:
    """A tensor of a GGUF file with the values that the Hugging Face folder of the model has for it.

    It has the attributes and the method of `safetensors_io.StoredTensor`.

    Attributes:
      tensor: where it is stored.
      offset: added to all values.
      interleaved_dim: the size of a head whose two halves are stored alternately, row by row; 0 for rows in order.
    """

    tensor: GGUFTensor
    offset: float = 0.0
    interleaved_dim: int = 0

    @property
    def name(self) -> str:
        """Its name in the file."""
        return self.tensor.name

    @property
    def file(self) -> Path:
        """The file."""
        return self.tensor.file

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """The dtype that holds all its values; the name of its type in the file if it cannot be read."""
        return _DTYPES.get(self.tensor.kind, "float32" if self.tensor.is_readable else self.tensor.kind)

    def rows(self, block: tuple[slice, ...]) -> Iterator[tuple[slice, np.ndarray]]:
        """Reads a block of the tensor, some rows (indices of its first axis) at a time, in bounded memory.

        Args:
          block: a slice with start and stop for each axis.

        Yields:
          A slice, counted from the block's first row, and the values of these rows of the block in float32.
        """
        row_slice, *other_slices = block
        # A tensor with one axis is a single row of the file.
        if not other_slices:
            yield slice(0, row_slice.stop - row_slice.start), self._shifted(self.tensor.read_rows(0, 1)[0][row_slice])
            return
        # Rows that are not in order are read head by head.
        unit = self.interleaved_dim or 1
        row_bytes = prod(self.shape[1:]) * 4
        step = max(_READ_BYTES // max(row_bytes, 1) // unit, 1) * unit
        end = -(-row_slice.stop // unit) * unit
        for start in range(row_slice.start // unit * unit, end, step):
            stop = min(start + step, end)
            values = self._in_order(self.tensor.read_rows(start, stop))
            wanted = slice(max(start, row_slice.start), min(stop, row_slice.stop))
            values = values[(slice(wanted.start - start, wanted.stop - start), *other_slices)]
            yield slice(wanted.start - row_slice.start, wanted.stop - row_slice.start), self._shifted(values)

    def _shifted(self, values: np.ndarray) -> np.ndarray:
        """The values with the offset added; the same array where there is none."""
        return values + np.float32(self.offset) if self.offset else values

    def _in_order(self, rows: np.ndarray) -> np.ndarray:
        """Puts the rows of complete heads in the order of a Hugging Face folder: the one half, then the other."""
        if not self.interleaved_dim:
            return rows
        by_pair = rows.reshape(-1, self.interleaved_dim // 2, 2, rows.shape[-1])
        return by_pair.swapaxes(1, 2).reshape(rows.shape)


def gguf_weights(file: GGUFFile, family: Family, config: DecoderConfig) -> dict[str, GGUFWeight]:
    """The tensors of a GGUF file by the names that a Hugging Face folder of the family gives them.

    Tensors that such a folder does not have are listed under their own names, for an error.

    Args:
      file: the file's header.
      family: the model's family, which has GGUF files.
      config: the model's configuration.
    """
    assert family.gguf is not None
    hf_names = gguf_to_hf_names(family, config)
    weights = {}
    for name, tensor in file.tensors.items():
        # It says how frequencies are stretched, and is part of the configuration.
        if name == ROPE_FACTORS:
            continue
        is_rotated = family.gguf.interleaved_rotary and name.endswith((".attn_q.weight", ".attn_k.weight"))
        weights[hf_names.get(name, name)] = GGUFWeight(
            tensor,
            # Norms are stored as they are multiplied with.
            offset=-1.0 if config.norm_plus_one and name.endswith("norm.weight") else 0.0,
            interleaved_dim=config.head_dim if is_rotated else 0,
        )
    return weights


def gguf_to_hf_names(family: Family, config: DecoderConfig) -> dict[str, str]:
    """The name in a GGUF file of each tensor that a model of the configuration has -> its name in a folder."""
    ours_of_hf = {hf_name: ours for ours, hf_name in family.tensors.items()}
    names: dict[str, str] = {}
    for place in placements(config).values():
        hf_name, kind = place.name.rsplit(".", 1)
        gguf_name = f"{GGUF_TENSORS[ours_of_hf[hf_name]]}.{kind}"
        names |= {gguf_name.format(layer=i): place.name.format(layer=i) for i in place.layers or (0,)}
    return names
