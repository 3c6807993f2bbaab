"""From ragged rows to a few fixed shapes: rows sorted by length, cut into micro-batches, padded to bucket lengths.

Rows of one group can form blocks with a shared prefix, which then goes through the model once (see
`models.prefix_sharing`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import flax.struct
import jax
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.learn.signals import AnyArray, LikelihoodSignal, PolicySignal, Signals
from sml_jax.models.prefix_sharing import SharedPrefix

_MIN_SHARED = 16  # tokens; a shorter prefix is not worth compiling another executable


@flax.struct.dataclass
class MicroBatch:
    """Rows of one padded shape. Padding is told by `length`; its weights are zero.

    A stream that is None is no part of the compiled update.

    Attributes:
      tokens: int32 [rows, time]. length: int32 [rows], tokens of each row before its padding.
      policy, likelihood: the learning signals, float32 [rows, time] each.
      shared: the prefix that the rows of each block have in common; None where nothing is known of it. Static.
    """

    tokens: AnyArray
    length: AnyArray
    policy: PolicySignal | None = None
    likelihood: LikelihoodSignal | None = None
    shared: SharedPrefix | None = None


def bucket_of(length: int, buckets: Sequence[int]) -> int:
    """The smallest of the rising `buckets` that holds `length` tokens.

    Raises:
      UserError: none does.
    """
    for size in buckets:
        if length <= size:
            return size
    raise UserError(f"a row of {length} tokens is longer than the largest bucket, {buckets[-1]}: raise max_length")


def micro_batches(
    tokens: np.ndarray,
    length: np.ndarray,
    signals: Signals,
    rows: int,
    buckets: Sequence[int],
    *,
    group: np.ndarray | None = None,
    rows_per_prefix: int = 1,
) -> list[MicroBatch]:
    """Cuts a batch into micro-batches of `rows` rows, shortest dialogues together.

    The gradient of the whole batch is the plain sum over the micro-batches, because weights were made for the whole
    (see `weights.token_weights`). Free places in the last micro-batch, and in a block, hold empty rows of weight zero.

    Args:
      tokens: int [batch, time]. length: int [batch].
      signals: arrays [batch, time].
      rows: rows of a micro-batch.
      buckets: padded lengths to choose from, rising.
      group: int [batch], which problem a row is about; rows of one are likely to begin alike. Needed to share.
      rows_per_prefix: rows of a group that share one copy of their common prefix, at most: the number is reduced until
        it divides `rows`. The length of the prefix is looked up, and rounded down to its two highest bits, so that few
        shapes are compiled.

    Returns:
      Micro-batches of NumPy arrays; their padded lengths are among `buckets`.

    Raises:
      UserError: a row is longer than the largest bucket.
    """
    # Blocks of rows with a common prefix, or single rows in order of their lengths.
    block_rows, prefix = math.gcd(rows_per_prefix, rows), 0
    if group is not None and block_rows > 1:
        blocks = _blocks(length, group, block_rows)
        prefix = _common_prefix(tokens, length, blocks)
    if prefix < _MIN_SHARED:
        blocks, block_rows = np.argsort(length, kind="stable")[:, None], 1

    # Neighbouring blocks have like lengths, so each micro-batch is padded to the smallest bucket that holds its rows.
    streams = signals.policy, signals.likelihood
    parts = []
    for start in range(0, len(blocks), rows // block_rows):
        chosen = blocks[start : start + rows // block_rows].reshape(-1)
        time = bucket_of(int(length[chosen].max(initial=0, where=chosen >= 0)), buckets)
        cut = partial(_cut, chosen=chosen, time=time, rows=rows)
        policy, likelihood = jax.tree.map(lambda array, cut=cut: cut(array).astype(np.float32), streams)
        parts.append(
            MicroBatch(
                tokens=cut(tokens).astype(np.int32),
                length=_cut(length[:, None], chosen, 1, rows)[:, 0].astype(np.int32),
                policy=policy,
                likelihood=likelihood,
                shared=SharedPrefix(block_rows, prefix) if block_rows > 1 and prefix < time else None,
            )
        )
    return parts


def in_blocks_of(part: MicroBatch, rows: int) -> MicroBatch:
    """The same micro-batch with its blocks split so that their size divides `rows`, the rows of one device."""
    if part.shared is None:
        return part
    block_rows = math.gcd(part.shared.rows, rows)
    return part.replace(shared=SharedPrefix(block_rows, part.shared.tokens) if block_rows > 1 else None)  # type: ignore[attr-defined]


def _blocks(length: np.ndarray, group: np.ndarray, block_rows: int) -> np.ndarray:
    """Puts the rows of each group into blocks of `block_rows` rows of like lengths.

    Returns:
      Row indices, int [blocks, block_rows], -1 for an empty row; the block whose longest row is shortest comes first.
    """
    blocks_of_groups = []
    for group_id in np.unique(group):
        members = np.flatnonzero(group == group_id)
        members = members[np.argsort(length[members], kind="stable")]
        padded = np.pad(members, (0, -len(members) % block_rows), constant_values=-1)
        blocks_of_groups.append(padded.reshape(-1, block_rows))
    blocks = np.concatenate(blocks_of_groups)
    longest = np.where(blocks >= 0, length[blocks], 0).max(axis=1)
    return blocks[np.argsort(longest, kind="stable")]


def _common_prefix(tokens: np.ndarray, length: np.ndarray, blocks: np.ndarray) -> int:
    """The length of the prefix that the rows of every block share, rounded down to its two highest bits."""
    shortest = int(length.min())
    filled = np.where(blocks >= 0, blocks, blocks[:, :1])  # a block's first row is never empty
    equal = (tokens[filled, :shortest] == tokens[blocks[:, :1], :shortest]).all(axis=(0, 1))
    prefix = int(np.argmin(equal)) if not equal.all() else shortest
    # Two significant bits: at most 2 lengths for each power of two, so at most that many executables.
    low_bits = max(prefix.bit_length() - 2, 0)
    return prefix >> low_bits << low_bits


def _cut(array: np.ndarray, chosen: np.ndarray, time: int, rows: int) -> np.ndarray:
    """Rows by index, an empty row for -1, cut and padded with zeros to [rows, time]."""
    selected = np.where(chosen[:, None] >= 0, array[chosen][:, :time], 0)
    return np.pad(selected, ((0, rows - len(chosen)), (0, time - selected.shape[1])))


def pad_rows(rows: Sequence[Sequence[int | float]], time: int, dtype: type) -> np.ndarray:
    """Ragged rows as one zero-padded array [len(rows), time]."""
    padded: np.ndarray = np.zeros((len(rows), time), dtype)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded
