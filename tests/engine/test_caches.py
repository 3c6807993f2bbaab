"""Where tokens lie in caches: a ring holds all that a local layer sees, whatever is written, dropped or copied."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_toys import CONFIG, END, mesh_of
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.engine import caches
from sml_jax.engine.caches import CacheLayout, empty_cache, kv_segments
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.learn.logprobs import token_logprobs
from sml_jax.models.decoder import Decoder
from sml_jax.models.ops.cached_attention import KVCache

ROWS, CAPACITY, MOST = 4, 160, 8
LAYOUT = CacheLayout.for_config(CONFIG, CAPACITY, MOST)  # a ring of 32 slots, 16 to spare on either side


@cache
def jitted(name: str):
    static = {"write": (2, LAYOUT), "copy_prefix": (LAYOUT,)}[name]
    return jax.jit(partial(getattr(caches, name), *static))


def window_of(first: np.ndarray, size: int) -> tuple[KVCache, ...]:
    """Keys and values that tell their tokens apart: those of a row are numbered on from its entry of `first`."""
    named = (first[:, None] + np.arange(size)).astype(np.float32)
    array = jnp.asarray(np.broadcast_to(named[:, None, :, None], (len(first), CONFIG.kv_heads, size, CONFIG.head_dim)))
    return (KVCache(array, -array),) * CONFIG.layers


@settings(max_examples=4, deadline=None)
@given(st.data())
def test_what_a_row_sees_is_there(data) -> None:
    """Random writes, rewinds and copies, beside a plain list of the tokens of each row; two shards of two rows."""
    cache = empty_cache(CONFIG, ROWS, CAPACITY, LAYOUT)
    row_tokens: list[list[int]] = [[] for _ in range(ROWS)]
    written = [0] * ROWS
    for round_number in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["write", "write", "write", "rewind", "copy"]))
        if action == "write":
            size = data.draw(st.sampled_from([4, MOST]))
            start = np.array([len(tokens) for tokens in row_tokens], np.int32)
            count = np.array([data.draw(st.integers(0, size)) for _ in row_tokens], np.int32)
            count = np.where(start + size > CAPACITY, 0, count)
            tokens_from = 1000 * (10 * round_number + np.arange(ROWS)) + start
            cache = jitted("write")(cache, window_of(tokens_from, size), None, start, count)
            for row, n in enumerate(count):
                row_tokens[row] += range(tokens_from[row], tokens_from[row] + n)
                written[row] = max(written[row], int(start[row]) + size) if n else written[row]
        elif action == "rewind":
            row = data.draw(st.integers(0, ROWS - 1))
            length = data.draw(st.integers(0, len(row_tokens[row])))
            if not LAYOUT.window_overwritten(written[row], length):
                del row_tokens[row][length:]
                written[row] = written[row] if length else 0
        else:
            shard, pair = data.draw(st.integers(0, 1)), data.draw(st.sampled_from([(0, 1), (1, 0)]))
            source, target = (2 * shard + row for row in pair)
            length = data.draw(st.integers(0, len(row_tokens[source])))
            if not LAYOUT.window_overwritten(written[source], length):
                rows = np.full((2, 2, 1), 2, np.int32)  # no row
                rows[:, shard, 0] = pair
                cache = jitted("copy_prefix")(cache, rows[0] % 2, rows[1], np.int32(length))
                row_tokens[target], written[target] = row_tokens[source][:length], written[source]

    # In each layer, the valid slots that the next token sees hold exactly the row's last tokens.
    start = np.array([len(tokens) for tokens in row_tokens], np.int32)
    for layer, (segment, local) in enumerate(
        zip(kv_segments(LAYOUT, cache, None, jnp.asarray(start), False), (True, False), strict=True)
    ):
        assert segment.kv.keys.shape[2] == (64 if local else CAPACITY), layer
        valid, positions, *arrays = map(np.asarray, (segment.valid, segment.positions, *segment.kv))
        for row, tokens in enumerate(row_tokens):
            first = max(0, len(tokens) - CONFIG.window + 1) if local else 0
            slots = np.flatnonzero(valid[row] & (positions[row] >= first))
            order = slots[np.argsort(positions[row][slots])]
            assert positions[row][order].tolist() == list(range(first, len(tokens)))
            for array, sign in zip(arrays, (1, -1), strict=True):
                np.testing.assert_array_equal(sign * array[row, 0, order, 0], tokens[first:])


def test_where_a_ring_pays() -> None:
    assert (LAYOUT.ring_size, LAYOUT.margin, LAYOUT.slot_count(0, CAPACITY), LAYOUT.slot_count(1, CAPACITY)) == (
        32,
        16,
        64,
        CAPACITY,
    )
    assert LAYOUT.slot_count(0, 32) == 32  # shorter than the ring: slot by slot
    assert CacheLayout.for_config(CONFIG, 64, MOST).ring_size == 0  # not shorter than what keeps all
    roomy = CacheLayout.for_config(CONFIG, 4 * CAPACITY, MOST, max_rewind=40)
    # A turn of 40 tokens may be dropped again, although its last window was written as a whole.
    for length in range(4 * CAPACITY):
        assert not roomy.window_overwritten(length + 40 + MOST - 1, length)
    assert roomy.ring_size < 80 and roomy.window_overwritten(400, 300)
    all_global = dataclasses.replace(CONFIG, layer_pattern=("global",))
    native = dataclasses.replace(CONFIG, attention="native", head_dim=16)
    assert (
        CacheLayout.for_config(all_global, CAPACITY, MOST).ring_size
        == CacheLayout.for_config(native, CAPACITY, MOST).ring_size
        == 0
    )


LONG = 256


@pytest.mark.extra
@pytest.mark.parametrize(
    ("layers", "mesh"),
    [
        (("local", "global"), (1, 1, 1)),
        pytest.param(("local", "global"), (2, 2, 2), marks=pytest.mark.slow),
        pytest.param(("local",), (1, 1, 1), marks=pytest.mark.slow),
    ],
)
def test_long_dialogues_are_those_of_one_full_pass(params, layers, mesh) -> None:
    """Contexts many times as long as the ring; turns dropped and replaced; openings of rows that have gone on."""
    model = Decoder(dataclasses.replace(CONFIG, max_length=LONG, layer_pattern=layers))
    batch_sizes = (8,) if mesh[0] == 1 else (2,)
    capacities = (16, 64, LONG)
    engine = Engine(
        model,
        8,
        LONG,
        8,
        (END,),
        chunk_sizes=(4, 8),
        capacities=capacities,
        batch_sizes=batch_sizes,
        mesh=mesh_of(*mesh),
    )
    forward = jax.jit(partial(model.apply, params))
    batch, rng = ContextBatch(engine, params, jax.random.key(0)), np.random.default_rng(0)
    opening = rng.integers(0, 14, 40).tolist()

    def check(row: int, logprobs: tuple[float, ...]) -> None:
        tokens = np.zeros((1, LONG), np.int32)
        context = batch.context(row)
        tokens[0, : len(context)] = context
        scores = np.asarray(token_logprobs(forward(tokens), jnp.asarray(tokens)))[0]
        np.testing.assert_allclose(logprobs, scores[len(context) - len(logprobs) : len(context)], atol=2e-4)

    def turn(some: list[int]) -> None:
        for row, said in zip(some, batch.sample(some, 8), strict=True):
            check(row, said.logprobs)

    # Four rows share an opening; later one starts again with it.
    for row in range(4):
        batch.start(row, row, opening)
    turn([0, 1, 2, 3])
    forwarded = batch.forwarded_tokens
    batch.start(3, 9, opening)  # from a row that has gone on by a turn
    turn([3])
    assert batch.copied_tokens and batch.forwarded_tokens - forwarded < len(opening)
    # Contexts grow over many turns.
    for _ in range(12):
        for row in (0, 1, 2):
            batch.append(row, rng.integers(0, 14, int(rng.integers(1, 13))).tolist())
        turn([0, 1, 2])
    assert min(len(batch.context(row)) for row in (0, 1, 2)) > 100
    # Rewinds: the last one is longer than a ring supports, so that the prefix runs again.
    for back in (1, 4, 60):
        length, forwarded = len(batch.context(0)) - back, batch.forwarded_tokens
        batch.replace(0, [*batch.context(0)[:length], 3, 3])
        turn([0])
        assert (batch.forwarded_tokens - forwarded > length) == (back == 60)
    copied = batch.copied_tokens
    batch.start(3, 10, opening)
    batch.start(2, 11, opening)  # rows 0 and 1 have gone on for long: one of these two goes first
    turn([2, 3])
    assert batch.copied_tokens == copied + len(opening) - 1
