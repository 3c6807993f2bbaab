"""Shapes come from short lists: after the warm-up nothing is compiled, whatever the lengths and turns."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from engine_toys import CONFIG, END, mesh_of

from sml_jax.common.errors import UserError
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.engine.jitted import jit_kernels
from sml_jax.models.decoder import Decoder
from sml_jax.models.layout import shard_params


@pytest.mark.extra
@pytest.mark.parametrize(
    ("max_concurrent", "mesh", "chunk_sizes", "capacities"),
    [pytest.param(4, (1, 1, 1), (4, 8), (16, 64), marks=pytest.mark.slow), (8, (2, 2, 2), (8,), (64,))],
    ids=str,
)
def test_nothing_is_compiled_after_the_warm_up(
    make_engine, model, params, max_concurrent, mesh, chunk_sizes, capacities
) -> None:
    jit_kernels.cache_clear()  # engines of one setting share what was compiled, also by the tests before
    shards = mesh[0] * mesh[1]
    engine = make_engine(
        max_concurrent, mesh, capacities=capacities, chunk_sizes=chunk_sizes, batch_sizes=(1, max_concurrent // shards)
    )
    sharded = shard_params(engine.mesh, model, params)
    engine.warm_up(sharded)
    compiled = engine.executable_count()
    # For each cache length and each of two batch sizes: an extend and a write for each chunk size, a decode, a copy.
    # For each batch size: the keys. And one for growing from each length to the next, and one for becoming a ring,
    # where local layers did not begin as one.
    lengths = len(engine.cache_lengths)
    grown = lengths - 1 + (capacities[0] <= engine.layout.ring_size)
    assert lengths == len(capacities) + 1 and compiled == lengths * 2 * (2 * len(chunk_sizes) + 1 + 1) + 2 + grown

    # Dialogues of any length, turns of any rows.
    rng = np.random.default_rng(0)
    opening = [1, 3, 4, 6, 7, 8, 1, 0, 3]
    for seed in range(4):
        contexts = ContextBatch(engine, sharded, jax.random.key(seed))
        for row in range(max_concurrent):
            other_opening = rng.integers(0, 14, rng.integers(1, 12)).tolist()
            contexts.start(row, row, opening if rng.random() < 0.5 else other_opening)
        for _ in range(4):
            chosen = rng.permutation(max_concurrent)[: rng.integers(1, max_concurrent + 1)].tolist()
            contexts.sample(chosen, int(rng.integers(1, 9)))
            for row in chosen[::2]:
                contexts.append(row, [3] * int(rng.integers(1, 8)))
    assert engine.executable_count() == compiled


def test_the_smallest_sufficient_size_is_chosen(make_engine, params) -> None:
    engine = make_engine(capacities=(16, 64), batch_sizes=(1, 4))
    assert engine.cache_lengths == (16, 64, 80)
    assert [engine.chunk_size_for(n) for n in (1, 4, 5, 8, 50)] == [4, 4, 8, 8, 8]
    assert [engine.batch_size_for(n) for n in (1, 2, 4)] == [1, 4, 4]
    assert [engine.first_batch_size(n) for n in (1, 2, 3, 4)] == [1, 1, 1, 4]
    cache = engine.empty_cache(16)
    for needed, capacity in ((16, 16), (17, 64), (65, 80), (3, 80)):
        cache = engine.ensure_capacity(cache, needed)
        assert cache[1].keys.shape == (4, 2, capacity, 8)
        assert cache[0].keys.shape == (4, 2, min(capacity, 64), 8)  # a ring of 32 slots and two margins of 16


def test_what_is_cached_stays_when_the_cache_grows(make_engine) -> None:
    engine = make_engine(capacities=(16, 64))
    filled = jax.tree.map(lambda x: x + jax.numpy.arange(x.size).reshape(x.shape), engine.empty_cache(16))
    before = jax.device_get(filled)
    for kept, was, at in zip(engine.ensure_capacity(filled, 17), before, (engine.layout.margin, 0), strict=True):
        for new, old in zip(kept, was, strict=True):
            np.testing.assert_array_equal(new[:, :, at : at + 16], old)
            assert not np.delete(np.asarray(new), np.s_[at : at + 16], axis=2).any()


def test_lengths_double_up_to_the_longest_context() -> None:
    model = Decoder(dataclasses.replace(CONFIG, max_length=300))

    def capacities(length: int) -> tuple[int, ...]:
        return Engine(model, 1, length, 4, (END,), mesh=mesh_of(1, 1, 1)).capacities

    def batch_sizes(rows: int) -> tuple[int, ...]:
        return Engine(model, rows, 40, 4, (END,), mesh=mesh_of(1, 1, 1)).batch_sizes

    assert (batch_sizes(64), batch_sizes(32), batch_sizes(16), batch_sizes(4)) == ((4, 16, 64), (8, 32), (16,), (4,))
    assert capacities(300) == (64, 128, 256, 300)
    assert capacities(128) == (64, 128)
    assert capacities(40) == (40,)
    assert Engine(model, 1, 300, 4, (END,), mesh=mesh_of(1, 1, 1)).cache_lengths == (64, 128, 256, 320)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 65}, "contexts of 65 tokens, but the model's max_length is 64"),
        ({"max_concurrent": 6, "mesh": (2, 2, 1)}, "6 rows do not divide over 4 shards of the mesh"),
        ({"batch_sizes": (1, 2)}, "batch_sizes end at 2, but a shard has 4 rows"),
        ({"stop_ids": ()}, "an end of turn must be a token that can be sampled"),
        ({"suppressed_ids": (END,)}, "an end of turn must be a token that can be sampled"),
    ],
)
def test_settings_that_cannot_be(make_engine, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_engine(**changes)


@pytest.mark.extra
@pytest.mark.parametrize(
    "mesh",
    [pytest.param((4, 1, 1), marks=pytest.mark.slow), pytest.param((4, 1, 2), marks=pytest.mark.slow), (2, 2, 2)],
    ids=str,
)
def test_no_cache_ever_moves_between_devices(make_engine, params, mesh) -> None:
    """Rows are chosen, written and copied within their shard: what devices exchange holds no slot of a cache.

    Where only `data` splits them they exchange nothing at all, so that none waits for another.
    """
    engine = make_engine(16, mesh, batch_sizes=(2, 16 // (mesh[0] * mesh[1])))
    slots = {engine.layout.slot_count(layer, engine.cache_lengths[-1]) for layer in range(2)}
    # Of the global layer and of the local layer's ring. No other dimension has one of these sizes.
    assert slots == {80, 64}
    lowered = {
        executable.name.split()[0]: executable.jitted.lower(*executable.args)
        for executable in engine.programs(batch_size=2)
        if executable.name.split()[0] in ("copy", "extend", "decode")
    }
    moved = {}
    for name, program in lowered.items():
        text = program.compile().as_text()
        # The last layer of `extend` is global: only its output would need its cache, and nothing uses that.
        expected = slots if name != "extend" else {64}
        assert all(f",{size}," in text for size in expected), "the caches are in the text"
        moved[name] = re.findall(
            r"= (\S+) (?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)\(", text
        )
        assert not [shape for shape in moved[name] if set(map(str, slots)) & set(re.split(r"[\[\],{}]", shape))]
    assert not moved["copy"] and bool(moved["decode"]) == (mesh[1:] != (1, 1))


def outgrown_engine(make_engine, **changes) -> Engine:
    """An engine of few rows whose contexts all begin with 18 tokens or more."""
    engine = make_engine(2, chunk_sizes=(4, 8), capacities=(8, 16, 64), batch_sizes=(2,), **changes)
    engine.shortest_context = 18
    return engine


def test_capacities_that_openings_outgrow_are_warmed_up_for_reading_alone(make_engine) -> None:
    engine = outgrown_engine(make_engine, max_new_tokens=6)
    names = [executable.name for executable in engine._call_executables()]
    # Nothing is sampled or copied there, and a row with so much to read takes the largest chunks.
    assert names[:4] == ["extend by 8 behind 8", "write 8 behind 8", "extend by 8 behind 16", "write 8 behind 16"]
    # The other two capacities have a decode, a copy, two extends and three writes.
    assert len(names) == 4 + 2 * 7
    engine.shortest_context = 9  # of which 8 are read before the first turn
    assert len(engine._call_executables()) == 4 * 7


@pytest.mark.slow
def test_nothing_is_missing_where_openings_outgrow_capacities(make_engine, params) -> None:
    jit_kernels.cache_clear()
    engine = outgrown_engine(make_engine, max_new_tokens=5)
    engine.warm_up(params)
    compiled = engine.executable_count()
    for opening in ([1, 3, 4, 6, 7, 8] * 3, [1, 3] * 15):
        contexts = ContextBatch(engine, params, jax.random.key(0))
        for row in range(2):
            contexts.start(row, row, opening)
        for _ in range(2):
            contexts.sample([0], 4)
            contexts.sample([0, 1], 4)
            contexts.append(1, [3, 4])
        assert contexts.copied_tokens and engine.executable_count() == compiled
