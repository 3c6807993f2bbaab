"""Micro-batches: every row once, whole rows, shapes from the buckets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learn_toys import policy_of

from sml_jax.common.errors import UserError
from sml_jax.learn.batches import bucket_of, micro_batches, pad_rows
from sml_jax.learn.signals import Signals

BUCKETS = (4, 8, 16)


def test_bucket_of():
    assert [bucket_of(n, BUCKETS) for n in (1, 4, 5, 8, 9, 16)] == [4, 4, 8, 8, 16, 16]
    with pytest.raises(UserError, match="17 tokens is longer than the largest bucket, 16: raise max_length"):
        bucket_of(17, BUCKETS)


def test_pad_rows():
    assert pad_rows([[1, 2], [], [3]], 3, np.int32).tolist() == [[1, 2, 0], [0, 0, 0], [3, 0, 0]]


def test_known_parts():
    length = np.array([5, 2, 3])
    tokens = pad_rows([[1, 2, 3, 4, 5], [6, 7], [8, 0, 9]], 9, np.int64)
    weights, advantage = tokens / 10, np.array([1.0, -2.0, 3.0])
    short, long = micro_batches(tokens, length, Signals(policy_of(weights, -weights, advantage)), 2, BUCKETS)
    assert short.tokens.tolist() == [[6, 7, 0, 0], [8, 0, 9, 0]]
    assert short.length.tolist() == [2, 3] and short.policy.advantage.tolist() == [[-2] * 4, [3] * 4]
    # One row is left over; an empty one fills up.
    assert long.tokens.tolist() == [[1, 2, 3, 4, 5, 0, 0, 0], [0] * 8]
    assert long.length.tolist() == [5, 0] and long.policy.advantage.tolist() == [[1] * 8, [0] * 8]
    np.testing.assert_allclose(long.policy.weights, long.tokens / 10)
    np.testing.assert_allclose(long.policy.old_logprob, -long.policy.weights)
    assert {a.dtype.name for a in vars(long.policy).values()} == {"float32"}
    assert {a.dtype.name for a in (long.tokens, long.length)} == {"int32"}


@given(lengths=st.lists(st.integers(1, 16), min_size=1, max_size=20), rows=st.integers(1, 7), spare=st.integers(0, 5))
def test_every_row_is_in_one_part_whole(lengths, rows, spare):
    """A row is told apart by its advantage; `spare` columns past every row are cut or kept without harm."""
    time, length = max(lengths) + spare, np.array(lengths)
    unpadded = np.arange(time) < length[:, None]
    tokens = np.where(unpadded, np.arange(1, len(lengths) + 1)[:, None], 0)
    policy = policy_of(unpadded * 0.5, -1.0 * unpadded, np.arange(1.0, len(lengths) + 1))
    parts = micro_batches(tokens, length, Signals(policy), rows, BUCKETS)
    assert len(parts) == -(-len(lengths) // rows)
    actual = {}
    for part in parts:
        assert part.tokens.shape[0] == rows and part.tokens.shape[1] in BUCKETS
        # The smallest bucket that will do, and dialogues of like length together.
        assert part.tokens.shape[1] == bucket_of(int(part.length.max()), BUCKETS)
        policy = part.policy
        for row, n, weights, old, advantage in zip(
            part.tokens, part.length, policy.weights, policy.old_logprob, policy.advantage[:, 0], strict=True
        ):
            assert weights.sum() == 0.5 * n and old.sum() == -n and (row[:n] == advantage).all() and not row[n:].any()
            if n:
                actual[int(advantage)] = int(n)
    assert actual == dict(enumerate(lengths, start=1))
