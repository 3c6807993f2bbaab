"""From ragged rows to a few fixed shapes: rows sorted by length, cut into micro-batches, padded to bucket lengths.

Rows of one group can stand in blocks, whose common start then goes through the model once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.struct
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.models.prefix_sharing import SharedPrefix

_LEAST_SHARED = 16  # tokens: less is not worth another program
AnyArray = Any  # np.ndarray on the host, jax.Array within jit


@flax.struct.dataclass
class MicroBatch:
    """Rows of one padded shape. Padding is told by `length`; its weights are zero.

    Attributes:
      tokens: int32 [rows, time]. length: int32 [rows], live tokens.
      weights: float32 [rows, time], the weight of each token's loss in the whole batch's.
      old_logprob: float32 [rows, time], the sampler's log-prob of each token. Zero for supervised text.
      advantage: float32 [rows]. One for supervised text.
      shared: what the rows of each block begin with alike; None where nothing is known of it. Static.
    """

    tokens: AnyArray
    length: AnyArray
    weights: AnyArray
    old_logprob: AnyArray
    advantage: AnyArray
    shared: SharedPrefix | None = None


def bucket_of(length: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds `length` tokens."""
    for size in buckets:
        if length <= size:
            return size
    raise UserError(f"a row of {length} tokens is longer than the largest bucket, {buckets[-1]}: raise max_length")


def micro_batches(
    tokens: np.ndarray,
    length: np.ndarray,
    weights: np.ndarray,
    old_logprob: np.ndarray,
    advantage: np.ndarray,
    rows: int,
    buckets: Sequence[int],
    *,
    group: np.ndarray | None = None,
    share: int = 1,
) -> list[MicroBatch]:
    """Cuts a batch into micro-batches of `rows` rows, shortest dialogues together.

    The gradient of the whole is the plain sum over the parts, because `weights` were made for the whole (see
    `weights.token_weights`). What is left of the last part, and of a block, is filled with empty rows of weight zero.

    Args:
      tokens, weights, old_logprob: [batch, time]. length, advantage: [batch].
      rows: rows of a micro-batch.
      buckets: padded lengths to choose from, rising.
      group: int [batch], which problem a row is about; rows of one are likely to begin alike. Needed to share.
      share: rows of a group that stand in a block, at most: it is lessened to what divides `rows`. How many tokens the
        rows of every block begin with alike is looked up, and rounded down to the two highest bits, so that there are
        few shapes.

    Returns:
      Micro-batches of NumPy arrays; their shapes are among len(buckets).
    """
    share, common = math.gcd(share, rows), 0
    if group is not None and share > 1:
        blocks = _blocks(length, group, share)
        common = _common_start(tokens, length, blocks)
    if common < _LEAST_SHARED:
        blocks, share = np.argsort(length, kind="stable")[:, None], 1
    parts = []
    for start in range(0, len(blocks), rows // share):
        chosen = blocks[start : start + rows // share].reshape(-1)
        time = bucket_of(int(length[chosen].max(initial=0, where=chosen >= 0)), buckets)

        cut = partial(_cut, chosen=chosen, time=time, rows=rows)
        flat = partial(_cut, chosen=chosen, time=1, rows=rows)
        parts.append(
            MicroBatch(
                tokens=cut(tokens).astype(np.int32),
                length=flat(length[:, None])[:, 0].astype(np.int32),
                weights=cut(weights).astype(np.float32),
                old_logprob=cut(old_logprob).astype(np.float32),
                advantage=flat(advantage[:, None])[:, 0].astype(np.float32),
                shared=SharedPrefix(share, common) if share > 1 and common < time else None,
            )
        )
    return parts


def in_blocks_of(part: MicroBatch, rows: int) -> MicroBatch:
    """The same micro-batch with blocks that divide `rows`: smaller ones of the same rows, or none."""
    if part.shared is None:
        return part
    share = math.gcd(part.shared.rows, rows)
    return part.replace(shared=SharedPrefix(share, part.shared.tokens) if share > 1 else None)  # type: ignore[attr-defined]


def _blocks(length: np.ndarray, group: np.ndarray, share: int) -> np.ndarray:
    """Row numbers [blocks, share], -1 for an empty row: blocks of one group each, of like lengths, shortest first."""
    found = []
    for one in np.unique(group):
        mine = np.flatnonzero(group == one)
        mine = mine[np.argsort(length[mine], kind="stable")]
        found.append(np.pad(mine, (0, -len(mine) % share), constant_values=-1).reshape(-1, share))
    blocks = np.concatenate(found)
    longest = np.where(blocks >= 0, length[blocks], 0).max(axis=1)
    return blocks[np.argsort(longest, kind="stable")]


def _common_start(tokens: np.ndarray, length: np.ndarray, blocks: np.ndarray) -> int:
    """Tokens that the rows of every block begin with alike, rounded down to the two highest bits."""
    least = int(length.min())
    others = np.where(blocks >= 0, blocks, blocks[:, :1])  # a block's first row is never empty
    same = (tokens[others, :least] == tokens[blocks[:, :1], :least]).all(axis=(0, 1))
    alike = int(np.argmin(same)) if not same.all() else least
    bits = max(alike.bit_length() - 2, 0)
    return alike >> bits << bits


def _cut(array: np.ndarray, chosen: np.ndarray, time: int, rows: int) -> np.ndarray:
    """The chosen rows, zeros where there is none, padded with zeros to [rows, time]."""
    taken = np.where(chosen[:, None] >= 0, array[chosen][:, :time], 0)
    return np.pad(taken, ((0, rows - len(chosen)), (0, time - taken.shape[1])))


def pad_rows(rows: Sequence[Sequence[int | float]], time: int, dtype: type) -> np.ndarray:
    """Ragged rows as one zero-padded array [len(rows), time]."""
    out: np.ndarray = np.zeros((len(rows), time), dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
