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
from sml_jax.learn.divergence import Divergence
from sml_jax.learn.signals import (
    AnyArray,
    DistillSignal,
    LikelihoodSignal,
    PolicySignal,
    Signals,
    select_reference_rows,
)
from sml_jax.models.prefix_sharing import SharedPrefix

NOWHERE = 2**31 - 1  # the place of no token in any micro-batch
_MIN_SHARED = 16  # tokens; a shorter prefix is not worth compiling another executable


@flax.struct.dataclass
class ReferencePart:
    """Some contexts of the reference policy, padded on the right to the same length.

    Attributes:
      tokens: int32 [rows, time]. length: int32 [rows], tokens of each row before its padding.
      target: int32 [rows, time], for a token that is seen again its place in the micro-batch, counted row by row;
        `NOWHERE` for all others.
    """

    tokens: AnyArray
    length: AnyArray
    target: AnyArray


@flax.struct.dataclass
class DistillPart:
    """The distillation stream of a micro-batch.

    Attributes:
      weights: float32 [rows, time].
      references: the contexts of the reference, in parts of as many rows; () once their states were computed.
      divergence: see `signals.DistillSignal`. Static under `jit`.
    """

    weights: AnyArray
    references: tuple[ReferencePart, ...]
    divergence: Divergence = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class MicroBatch:
    """Some rows (dialogues) of a batch, padded on the right to the same length. Weights of padding are zero.

    A stream that is None is left out of the compiled update.

    Attributes:
      tokens: int32 [rows, time]. length: int32 [rows], tokens of each row before its padding.
      policy, likelihood: the learning signals, float32 [rows, time] each. distill: likewise, with other contexts.
      shared: the prefix that the rows of each block have in common; None if no prefix is shared. Static under `jit`.
    """

    tokens: AnyArray
    length: AnyArray
    policy: PolicySignal | None = None
    likelihood: LikelihoodSignal | None = None
    distill: DistillPart | None = None
    shared: SharedPrefix | None = None


def bucket_of(length: int, buckets: Sequence[int]) -> int:
    """The smallest of the rising `buckets` (padded lengths) that holds `length` tokens.

    Raises:
      UserError: none of them holds so many.
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

    The gradient of the batch is the plain sum over its micro-batches, because token weights are shares of the batch's
    loss (see `weights.token_weights`). Unused places in the last micro-batch, and in a block of rows with a common
    prefix, hold empty rows of weight zero.

    Args:
      tokens: int [batch, time]. length: int [batch], tokens of each row before its padding.
      signals: the learning signals, whose arrays are [batch, time].
      rows: rows of a micro-batch.
      buckets: padded lengths to choose from, rising.
      group: int [batch], the problem that each row is about. Rows about one problem are likely to have a common prefix;
        without `group` no prefix is shared.
      rows_per_prefix: the most rows of a group that share one copy of their common prefix. The number that is used is
        its greatest common divisor with `rows`. The length of the prefix is found by comparing tokens, and rounded
        down to two significant bits, so that few shapes are compiled.

    Returns:
      Micro-batches of NumPy arrays, by rising length; the padded length of each is one of `buckets`.

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
        row_indices = blocks[start : start + rows // block_rows].reshape(-1)
        time = bucket_of(int(length[row_indices].max(initial=0, where=row_indices >= 0)), buckets)
        cut_rows = partial(_cut, chosen=row_indices, time=time, rows=rows)
        distill = None
        if signals.distill is not None:
            distill = _cut_distill(signals.distill, row_indices, time, rows, buckets)
        policy, likelihood = jax.tree.map(lambda array, cut_rows=cut_rows: cut_rows(array).astype(np.float32), streams)
        parts.append(
            MicroBatch(
                tokens=cut_rows(tokens).astype(np.int32),
                length=_cut(length[:, None], row_indices, 1, rows)[:, 0].astype(np.int32),
                policy=policy,
                likelihood=likelihood,
                distill=distill,
                shared=SharedPrefix(block_rows, prefix) if block_rows > 1 and prefix < time else None,
            )
        )
    return parts


def split_prefix_blocks(part: MicroBatch, rows: int) -> MicroBatch:
    """The same micro-batch with its blocks of rows split so that their size divides `rows`, the rows of one device."""
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
    blocks_filled = np.where(blocks >= 0, blocks, blocks[:, :1])  # a block's first row is never empty
    equal = (tokens[blocks_filled, :shortest] == tokens[blocks[:, :1], :shortest]).all(axis=(0, 1))
    prefix = int(np.argmin(equal)) if not equal.all() else shortest
    # Two significant bits: at most 2 lengths for each power of two, so at most that many executables.
    low_bits = max(prefix.bit_length() - 2, 0)
    return prefix >> low_bits << low_bits


def _cut(array: np.ndarray, chosen: np.ndarray, time: int, rows: int) -> np.ndarray:
    """Rows by index, an empty row for -1, cut and padded with zeros to [rows, time]."""
    selected = np.where(chosen[:, None] >= 0, array[chosen][:, :time], 0)
    return np.pad(selected, ((0, rows - len(chosen)), (0, time - selected.shape[1])))


def _cut_distill(
    distill: DistillSignal, chosen: np.ndarray, time: int, rows: int, buckets: Sequence[int]
) -> DistillPart:
    """The distillation stream of the dialogues `chosen` (-1 for an empty row), in rows of `time` tokens."""
    reference = select_reference_rows(distill.reference, chosen)
    target = np.where(reference.position >= 0, reference.dialogue[:, None] * time + reference.position, NOWHERE)
    # Contexts of like lengths go together, as dialogues do.
    order, parts = np.argsort(reference.length, kind="stable"), []
    for start in range(0, len(order), rows):
        indices = order[start : start + rows]
        size = bucket_of(int(reference.length[indices].max()), buckets)
        # Padding has no target either.
        padding = ((0, rows - len(indices)), (0, max(size - target.shape[1], 0)))
        parts.append(
            ReferencePart(
                _cut(reference.tokens, indices, size, rows).astype(np.int32),
                _cut(reference.length[:, None], indices, 1, rows)[:, 0].astype(np.int32),
                np.pad(target[indices][:, :size], padding, constant_values=NOWHERE).astype(np.int32),
            )
        )
    return DistillPart(_cut(distill.weights, chosen, time, rows).astype(np.float32), tuple(parts), distill.divergence)


def pad_rows(rows: Sequence[Sequence[int | float]], time: int, dtype: type) -> np.ndarray:
    """Rows of different lengths, at most `time`, as one array [len(rows), time], padded with zeros on the right."""
    padded: np.ndarray = np.zeros((len(rows), time), dtype)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded
