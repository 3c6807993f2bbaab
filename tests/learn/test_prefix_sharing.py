"""Rows that begin alike give the same update whether their start is computed once or in each."""

import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_toys import parts_of, policy_of
from run_toys import host

from sml_jax.learn.batches import micro_batches, split_prefix_blocks
from sml_jax.learn.losses import PolicyLoss
from sml_jax.learn.signals import Signals
from sml_jax.learn.train_state import init_state
from sml_jax.learn.update import Learner
from sml_jax.models.config import DecoderConfig, DeltaNetConfig
from sml_jax.models.decoder import Decoder, init_params
from sml_jax.models.layout import place_params
from sml_jax.models.prefix_sharing import SharedPrefix
from sml_jax.sharding import make_mesh

SGD = optax.sgd(1.0)  # the step is the gradient
SIZES = {"vocab_size": 40, "embed_dim": 16, "heads": 4, "kv_heads": 2, "head_dim": 8, "mlp_dim": 32, "max_length": 64}
# A global and a local layer, whose window ends within what is shared.
CONFIGS = {
    "plain": DecoderConfig(layers=2, **SIZES),
    "windows": DecoderConfig(layers=2, layer_pattern=("local", "global"), window=12, qk_norm=True, **SIZES),
    "remat": DecoderConfig(layers=2, remat="dots", **SIZES),
    "delta": DecoderConfig(
        layers=2, layer_pattern=("delta", "global"), delta_net=DeltaNetConfig(2, 4, 5, 3, 3), remat=True, **SIZES
    ),
}


def dialogues(problems: int = 4, each: int = 8, opening: int = 20, longest: int = 40) -> dict:
    """Groups that open alike and go on at random, of random lengths; their gradient weighs 0 in the opening."""
    rng = np.random.default_rng(0)
    rows = problems * each
    tokens = rng.integers(1, 40, (rows, longest))
    tokens[:, :opening] = np.repeat(rng.integers(1, 40, (problems, opening)), each, axis=0)
    length = rng.integers(opening + 3, longest + 1, rows)
    place = np.arange(longest)
    unpadded = place < length[:, None]
    weights = np.where(unpadded & (place >= opening), rng.uniform(0.5, 1.5, tokens.shape) / tokens.size, 0)
    return {
        "tokens": np.where(unpadded, tokens, 0),
        "length": length,
        "weights": weights,
        "old_logprob": np.where(weights > 0, -3.0, 0.0),
        "advantage": rng.normal(size=rows),
        "group": np.repeat(np.arange(problems), each),
    }


@pytest.mark.extra
@pytest.mark.parametrize(
    ("config", "loss", "mesh"),
    [
        pytest.param("plain", None, None, marks=pytest.mark.slow),
        ("windows", PolicyLoss(kl_coef=0.3), None),
        pytest.param("remat", PolicyLoss(), (2, 2, 2), marks=pytest.mark.slow),
        pytest.param("delta", PolicyLoss(), None, marks=pytest.mark.slow),
        pytest.param("delta", PolicyLoss(), (2, 2, 2), marks=pytest.mark.slow),
    ],
)
def test_the_update_is_the_same(config: str, loss: PolicyLoss | None, mesh: tuple | None) -> None:
    model = Decoder(CONFIGS[config])
    params = init_params(model, jax.random.key(1))
    reference = jax.tree.map(lambda leaf: leaf * 1.05, params)
    laid = None
    if mesh is not None:
        laid = make_mesh(*mesh)
        params, reference = (place_params(laid, model, p) for p in (params, reference))
    ends = []
    for share in (1, 4):
        stream = "policy" if loss else "likelihood"
        parts = parts_of(dialogues(), stream, rows=32, buckets=(40,), rows_per_prefix=share)
        assert [part.shared for part in parts] == [SharedPrefix(4, 16) if share == 4 else None]
        learner = Learner(model, SGD, loss, reference, laid)
        state, metrics = learner.update(init_state(params, SGD), parts)
        ends.append((host(state.params), metrics))
    (plain, before), (shared, after) = ends
    assert before["gradient_norm"] > 1e-3
    assert after == pytest.approx(before, rel=1e-4, abs=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), plain, shared)


def test_the_start_is_computed_once() -> None:
    """The compiled update has the fewer FLOPs that fewer tokens ask for."""
    model = Decoder(DecoderConfig(**{**SIZES, "layers": 1, "embed_dim": 64, "mlp_dim": 512}, scan_unroll=1))
    params = init_params(model, jax.random.key(1))
    actual = []
    for share in (1, 4):
        (part,) = parts_of(dialogues(longest=32, opening=24), "policy", rows=32, buckets=(32,), rows_per_prefix=share)
        tokens = jax.numpy.asarray(part.tokens)
        tokens = tokens if part.shared is None else part.shared.pack(tokens)
        run = jax.jit(lambda p, t, shared=part.shared: model.apply(p, t, t, shared, method="hidden_states"))
        actual.append(run.lower(params, tokens).compile().cost_analysis()["flops"])
    # 8 blocks of 24 + 4 * 8 tokens for 32 rows of 32.
    assert actual[1] / actual[0] == pytest.approx(8 * 56 / (32 * 32), abs=0.05)


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(20, 40), min_size=1, max_size=24),
    groups=st.integers(1, 4),
    share=st.integers(1, 6),
    rows=st.sampled_from([4, 6, 12]),
    seed=st.integers(0, 9),
)
def test_every_row_is_in_one_block_of_its_group(lengths: list, groups: int, share: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, len(lengths))
    opening = rng.integers(1, 9, (groups, 18))
    tokens = rng.integers(1, 9, (len(lengths), 40))
    tokens[:, :18] = opening[group]
    length = np.array(lengths)
    unpadded = np.arange(40) < length[:, None]
    names = np.arange(1.0, len(lengths) + 1)
    signals = Signals(policy_of(unpadded * 1.0, -1.0 * unpadded, names))
    parts = micro_batches(tokens * unpadded, length, signals, rows, (32, 40), group=group, rows_per_prefix=share)
    actual = []
    for part in parts:
        assert part.tokens.shape[0] == rows
        common = 0 if part.shared is None else part.shared.tokens
        size = 1 if part.shared is None else part.shared.rows
        assert share % size == 0 and rows % size == 0 and common <= part.length[part.length > 0].min()
        for block in range(0, rows, size):
            mine = [i for i in range(block, block + size) if part.length[i]]
            assert not mine or mine[0] == block  # the start is read from a block's first row
            assert len({group[int(part.policy.advantage[i, 0]) - 1] for i in mine}) <= 1
            assert all((part.tokens[i, :common] == part.tokens[block, :common]).all() for i in mine)
        for i in np.flatnonzero(part.length):
            at = int(part.policy.advantage[i, 0]) - 1
            actual.append(at)
            time = part.tokens.shape[1]
            np.testing.assert_array_equal(part.tokens[i], (tokens * unpadded)[at, :time])
            np.testing.assert_array_equal(part.policy.weights[i], unpadded[at, :time])
            assert part.length[i] == length[at]
    assert sorted(actual) == list(range(len(lengths)))


@settings(max_examples=12)
@given(blocks=st.integers(1, 3), rows=st.integers(1, 4), start=st.integers(0, 4), more=st.integers(1, 4))
def test_what_is_unpacked_was_packed(blocks: int, rows: int, start: int, more: int) -> None:
    shared = SharedPrefix(rows, start)
    whole = np.random.default_rng(0).normal(size=(blocks, rows, start + more, 2))
    whole[:, :, :start] = whole[:, :1, :start]
    whole = whole.reshape(-1, start + more, 2).astype(np.float32)
    packed, unpacked = jax.jit(lambda x: ((packed := shared.pack(x)), shared.unpack(packed)))(whole)
    assert packed.shape == (blocks, start + rows * more, 2)
    np.testing.assert_array_equal(unpacked, whole)


def test_blocks_shrink_to_what_a_device_holds() -> None:
    (part,) = parts_of(dialogues(2), "policy", rows=16, buckets=(40,), rows_per_prefix=8)
    assert part.shared == SharedPrefix(8, 16)
    assert split_prefix_blocks(part, 12).shared == SharedPrefix(4, 16)
    assert split_prefix_blocks(part, 3).shared is None


def test_rows_that_begin_otherwise_share_nothing() -> None:
    other = np.random.default_rng(1).integers(1, 40, (16, 40))
    (part,) = parts_of({**dialogues(2), "tokens": other}, "policy", rows=16, buckets=(40,), rows_per_prefix=8)
    assert part.shared is None
