"""Where tokens lie in caches: a local layer's ring holds what its window sees, whatever is done to it."""

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
    """Keys and values that say which token they are: dialogue * 1000 + position; garbage is written like tokens."""
    named = (first[:, None] + np.arange(size)).astype(np.float32)
    array = jnp.asarray(np.broadcast_to(named[:, None, :, None], (len(first), CONFIG.kv_heads, size, CONFIG.head_dim)))
    return (KVCache(array, -array),) * CONFIG.layers


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_a_row_sees_is_there(data) -> None:
    """Against a plain list of what each row holds, in two shards of two rows."""
    kept = empty_cache(CONFIG, ROWS, CAPACITY, LAYOUT)
    held: list[list[int]] = [[] for _ in range(ROWS)]
    written = [0] * ROWS
    for salt in range(data.draw(st.integers(1, 40))):
        act = data.draw(st.sampled_from(["write", "write", "write", "take back", "copy"]))
        if act == "write":
            size = data.draw(st.sampled_from([4, MOST]))
            start = np.array([len(tokens) for tokens in held], np.int32)
            count = np.array([data.draw(st.integers(0, size)) for _ in held], np.int32)
            count = np.where(start + size > CAPACITY, 0, count)
            names = 1000 * (10 * salt + np.arange(ROWS)) + start
            kept = jitted("write")(kept, window_of(names, size), None, start, count)
            for row, n in enumerate(count):
                held[row] += range(names[row], names[row] + n)
                written[row] = max(written[row], int(start[row]) + size) if n else written[row]
        elif act == "take back":
            row = data.draw(st.integers(0, ROWS - 1))
            length = data.draw(st.integers(0, len(held[row])))
            if not LAYOUT.window_overwritten(written[row], length):
                del held[row][length:]
                written[row] = written[row] if length else 0
        else:
            shard, way = data.draw(st.integers(0, 1)), data.draw(st.sampled_from([(0, 1), (1, 0)]))
            source, target = (2 * shard + row for row in way)
            length = data.draw(st.integers(0, len(held[source])))
            if not LAYOUT.window_overwritten(written[source], length):
                rows = np.full((2, 2, 1), 2, np.int32)  # nobody
                rows[:, shard, 0] = way
                kept = jitted("copy_prefix")(kept, rows[0] % 2, rows[1], np.int32(length))
                held[target], written[target] = held[source][:length], written[source]
    start = np.array([len(tokens) for tokens in held], np.int32)
    for layer, (past, local) in enumerate(
        zip(kv_segments(LAYOUT, kept, None, jnp.asarray(start), False), (True, False), strict=True)
    ):
        assert past.kv.keys.shape[2] == (64 if local else CAPACITY), layer
        for row, tokens in enumerate(held):
            first = max(0, len(tokens) - CONFIG.window + 1) if local else 0  # of what the next token sees
            slots = np.flatnonzero(np.asarray(past.valid[row] & (past.positions[row] >= first)))
            order = slots[np.argsort(past.positions[row][slots])]
            assert past.positions[row][order].tolist() == list(range(first, len(tokens)))
            for array, sign in zip(past.kv, (1, -1), strict=True):
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
    for length in range(4 * CAPACITY):  # a turn of 40 that is taken back, the last window of it written whole
        assert not roomy.window_overwritten(length + 40 + MOST - 1, length)
    assert roomy.ring_size < 80 and roomy.window_overwritten(400, 300)
    everywhere = dataclasses.replace(CONFIG, layer_pattern=("global",))
    native = dataclasses.replace(CONFIG, attention="native", head_dim=16)
    assert (
        CacheLayout.for_config(everywhere, CAPACITY, MOST).ring_size
        == CacheLayout.for_config(native, CAPACITY, MOST).ring_size
        == 0
    )


LONG = 256


@pytest.mark.parametrize(
    ("layers", "mesh"), [(("local", "global"), (1, 1, 1)), (("local", "global"), (2, 2, 2)), (("local",), (1, 1, 1))]
)
def test_long_dialogues_are_those_of_one_full_pass(params, layers, mesh) -> None:
    """Contexts many times as long as the ring; turns taken back, replaced, and openings of rows that have gone on."""
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
    rows, rng = ContextBatch(engine, params, jax.random.key(0)), np.random.default_rng(0)
    opening = rng.integers(0, 14, 40).tolist()

    def check(row: int, logprobs: tuple[float, ...]) -> None:
        tokens = np.zeros((1, LONG), np.int32)
        context = rows.context(row)
        tokens[0, : len(context)] = context
        scores = np.asarray(token_logprobs(forward(tokens), jnp.asarray(tokens)))[0]
        np.testing.assert_allclose(logprobs, scores[len(context) - len(logprobs) : len(context)], atol=2e-4)

    def turn(some: list[int]) -> None:
        for row, said in zip(some, rows.sample(some, 8), strict=True):
            check(row, said.logprobs)

    for row in range(4):
        rows.start(row, row, opening)
    turn([0, 1, 2, 3])
    ran = rows.forwarded_tokens
    rows.start(3, 9, opening)  # from a row that has gone on by a turn
    turn([3])
    assert rows.copied_tokens and rows.forwarded_tokens - ran < len(opening)
    for _ in range(12):
        for row in (0, 1, 2):
            rows.append(row, rng.integers(0, 14, int(rng.integers(1, 13))).tolist())
        turn([0, 1, 2])
    assert min(len(rows.context(row)) for row in (0, 1, 2)) > 100
    for back in (1, 4, 60):  # the last is more than a ring keeps
        length, ran = len(rows.context(0)) - back, rows.forwarded_tokens
        rows.replace(0, [*rows.context(0)[:length], 3, 3])
        turn([0])
        assert (rows.forwarded_tokens - ran > length) == (back == 60)
    copied = rows.copied_tokens
    rows.start(3, 10, opening)
    rows.start(2, 11, opening)  # rows 0 and 1 have gone on for long: one of these two goes first
    turn([2, 3])
    assert rows.copied_tokens == copied + len(opening) - 1
