"""`extend` and `decode` against one full forward pass of the same tokens."""

import jax
import numpy as np
import pytest
from engine_toys import CONFIG, END, OTHER_END, SUPPRESSED

from sml_jax.engine.sampling import Sampling, row_keys

# Rows of 1, 4, 12 and 30 tokens: one with nothing before its last token, one within the window, two beyond it.
LENGTHS = (1, 4, 12, 30)


def contexts() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, CONFIG.vocab_size, n).tolist() for n in LENGTHS]


def keys_of(seed: int, rows: int = 4) -> jax.Array:
    return row_keys(jax.random.key(seed), jax.numpy.arange(rows, dtype=jax.numpy.uint32))


def fill_cache(engine, params, rows: list[list[int]], chunk: int, cache=None):
    """A cache with all but each row's last token, extended by `chunk` tokens at a time; and how many each row holds."""
    cache = engine.empty_cache() if cache is None else cache
    waiting = [row[:-1] for row in rows]
    start = np.zeros(len(rows), np.int32)
    while any(waiting):
        tokens, count = np.zeros((len(rows), chunk), np.int32), np.zeros(len(rows), np.int32)
        for i, row in enumerate(waiting):
            count[i] = min(len(row), chunk)
            tokens[i, : count[i]] = row[: count[i]]
        cache = engine.extend(params, cache, tokens, start, count)
        start = start + count
        waiting = [row[n:] for row, n in zip(waiting, count, strict=True)]
    return cache, start


def decode_turns(engine, params, rows: list[list[int]], limit: list[int], chunk: int = 8, seed: int = 0):
    """Samples up to `limit` tokens behind each row; the cache with all but the last of these, and the samples."""
    cache, start = fill_cache(engine, params, rows, chunk)
    last = np.array([row[-1] for row in rows], np.int32)
    new, out = engine.decode(params, cache, last, start, np.array(limit, np.int32), keys_of(seed))
    return engine.write(cache, new, start, np.asarray(out.count)), jax.device_get(out)


def sampled_tokens(out) -> list[list[int]]:
    """The tokens of each row that count."""
    return [row[:n].tolist() for row, n in zip(out.tokens, out.count, strict=True)]


@pytest.mark.parametrize(("chunk", "suppressed_ids"), [(4, (SUPPRESSED,)), (8, (SUPPRESSED,)), (8, ())])
def test_a_sampled_turns_log_probs_are_those_of_a_full_pass(
    make_engine, params, scores_of, chunk, suppressed_ids
) -> None:
    rows = contexts()
    _, out = decode_turns(make_engine(suppressed_ids=suppressed_ids), params, rows, [8, 8, 8, 8], chunk)
    scores = scores_of([row + turn for row, turn in zip(rows, sampled_tokens(out), strict=True)])
    assert out.count.sum() > 8
    for row, n, got, score in zip(rows, out.count, out.logprob, scores, strict=True):
        np.testing.assert_allclose(got[:n], score[len(row) :], atol=1e-4)


@pytest.mark.extra
def test_chunks_make_no_difference_to_what_is_kept(make_engine, params) -> None:
    small, _ = fill_cache(make_engine(), params, contexts(), 4)
    large, _ = fill_cache(make_engine(), params, contexts(), 8)
    for a, b in zip(jax.tree.leaves(small), jax.tree.leaves(large), strict=True):
        for row, length in enumerate(LENGTHS):
            np.testing.assert_allclose(a[row, :, : length - 1], b[row, :, : length - 1], atol=1e-5)


def test_a_row_with_nothing_to_append_or_to_sample_is_left_as_it_is(make_engine, params) -> None:
    engine = make_engine()
    cache, start = fill_cache(engine, params, contexts(), 8)
    before = jax.device_get(cache)
    # Rows 0 and 2 rest; row 2 with its true start and row 0 with 0, which is what an idle row is given.
    at, count = start * np.array([0, 1, 1, 1], np.int32), np.array([0, 3, 0, 8], np.int32)
    cache = engine.extend(params, cache, np.ones((4, 8), np.int32), at, count)
    idle = np.array([0, 3, 0, 30], np.int32)
    new, out = engine.decode(params, cache, np.ones(4, np.int32), idle, np.array([0, 5, 0, 5], np.int32), keys_of(0))
    cache = engine.write(cache, new, idle, np.asarray(out.count))
    assert out.count[0] == out.count[2] == 0 and not out.ended[0] and not out.ended[2]
    for kept, was in zip(jax.tree.leaves(jax.device_get(cache)), jax.tree.leaves(before), strict=True):
        for row in (0, 2):
            np.testing.assert_array_equal(kept[row], was[row])
        assert np.abs(kept[1] - was[1]).max() > 0


def test_a_full_row_keeps_its_first_tokens(make_engine, params, scores_of) -> None:
    """Writes near the end of the cache must not be moved back over what is there."""
    row = np.random.default_rng(1).integers(0, CONFIG.vocab_size, 62).tolist()
    rows = [row, row[:3], row[:61], row[:63]]
    _, out = decode_turns(make_engine(), params, rows, [2, 8, 3, 1])
    scores = scores_of([row + turn for row, turn in zip(rows, sampled_tokens(out), strict=True)])
    for row, n, got, score in zip(rows, out.count, out.logprob, scores, strict=True):
        np.testing.assert_allclose(got[:n], score[len(row) :], atol=1e-4)


def test_what_an_earlier_dialogue_left_in_the_cache_is_not_seen(make_engine, params) -> None:
    engine = make_engine()
    rows = contexts()
    # The same rows in an empty cache, and in one that holds other, longer contexts.
    _, fresh = decode_turns(engine, params, rows, [8] * 4)
    dirty, _ = fill_cache(engine, params, [row[::-1] for row in rows[::-1]], 8)
    cache, start = fill_cache(engine, params, rows, 8, dirty)
    last = np.array([row[-1] for row in rows], np.int32)
    _, out = engine.decode(params, cache, last, start, np.full(4, 8, np.int32), keys_of(0))
    assert sampled_tokens(fresh) == sampled_tokens(jax.device_get(out))


def test_limits_hold_for_each_row_and_an_end_stops_it(make_engine, params) -> None:
    # Over several seeds some turns are ended by a stop token and some by their limit.
    stopped = set()
    for seed in range(12):
        _, out = decode_turns(make_engine(), params, contexts(), [0, 1, 3, 8], seed=seed)
        stopped |= set(out.ended[1:].tolist())
        for turn, ended, limit in zip(sampled_tokens(out), out.ended, [0, 1, 3, 8], strict=True):
            assert len(turn) <= limit
            assert END not in turn[:-1]
            assert ended == (turn[-1:] == [END])
            assert ended or len(turn) == limit
            assert SUPPRESSED not in turn
    assert stopped == {True, False}


def test_the_loop_stops_when_all_turns_have_ended(make_engine, params) -> None:
    # The end of turn is all that may be sampled.
    engine = make_engine(suppressed_ids=tuple(t for t in range(CONFIG.vocab_size) if t != END))
    _, out = decode_turns(engine, params, contexts(), [8] * 4)
    assert sampled_tokens(out) == [[END]] * 4 and out.ended.all()
    assert (out.tokens[:, 1:] == 0).all() and (out.logprob[:, 1:] == 0).all()  # never written
    np.testing.assert_array_equal(out.sampling_logprob[:, 0], 0.0)
    assert (out.logprob[:, 0] < -0.1).all()


@pytest.mark.extra
def test_each_part_of_data_ends_its_call_by_itself(make_engine, params) -> None:
    """The shard of the first two rows returns with its first finished row; the other shard goes on to its limits."""
    engine, stopped = make_engine(mesh=(2, 1, 1)), 0
    cache, start = fill_cache(engine, params, contexts(), 8)
    last, limit = np.array([row[-1] for row in contexts()], np.int32), np.array([2, 8, 7, 7], np.int32)
    for seed in range(6):
        _, out = engine.decode(params, cache, last, start, limit, keys_of(seed), stop_counts=np.array([1, 2], np.int32))
        out = jax.device_get(out)
        first = min(n for n, done in zip(out.count[:2], (out.ended | (out.count == limit))[:2], strict=True) if done)
        assert (out.count[:2] == first).all() and first <= 2
        assert (out.ended | (out.count == limit))[2:].all()
        stopped += out.count[2:].max() > first and not out.ended[1]
    assert stopped


def test_the_padding_id_may_be_sampled_and_is_kept_and_seen(make_engine, params, scores_of) -> None:
    # Token 0, with which batches are padded, is all that may be sampled but for the end.
    engine = make_engine(suppressed_ids=tuple(t for t in range(CONFIG.vocab_size) if t not in (0, END)))
    rows = contexts()
    turns = []
    for seed in range(4):
        _, out = decode_turns(engine, params, rows, [8] * 4, seed=seed)
        turns += sampled_tokens(out)
        scores = scores_of([row + turn for row, turn in zip(rows, sampled_tokens(out), strict=True)])
        for row, n, got, score in zip(rows, out.count, out.logprob, scores, strict=True):
            np.testing.assert_allclose(got[:n], score[len(row) :], atol=1e-4)
    assert any(len(turn) >= 3 and set(turn[:-1]) == {0} for turn in turns)
    assert all(turn[-1] == END or turn == [0] * 8 for turn in turns)


def test_each_of_several_ends_ends_a_turn_and_is_among_its_tokens(make_engine, params) -> None:
    engine = make_engine(stop_ids=(END, OTHER_END))
    last = []
    for seed in range(12):
        _, out = decode_turns(engine, params, contexts(), [8] * 4, seed=seed)
        for turn, ended in zip(sampled_tokens(out), out.ended, strict=True):
            assert not {END, OTHER_END} & set(turn[:-1])
            assert ended == (turn[-1] in (END, OTHER_END))
            last.append(turn[-1])
    assert {END, OTHER_END} <= set(last)


def test_greedy_takes_the_likeliest_that_may_be_said(make_engine, params, logits_of) -> None:
    rows = contexts()
    _, out = decode_turns(make_engine(sampling=Sampling(temperature=0.0)), params, rows, [8] * 4)
    logits = logits_of([row + turn for row, turn in zip(rows, sampled_tokens(out), strict=True)])
    logits[:, :, SUPPRESSED] = -np.inf
    for row, turn, mine in zip(rows, sampled_tokens(out), logits, strict=True):
        assert turn == mine[len(row) - 1 : len(row) + len(turn) - 1].argmax(-1).tolist()
    assert all((row[:n] == 0).all() for row, n in zip(out.sampling_logprob, out.count, strict=True))


def plain_sampling_logprobs(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """The sampling distribution of one position, token by token from the likeliest."""
    weights = {t: float(np.exp(np.float64(v) / temperature)) for t, v in enumerate(logits) if t != SUPPRESSED}
    ranked = sorted(weights, key=lambda t: -weights[t])[: top_k or None]
    total, kept, mass = sum(weights[t] for t in ranked), [], 0.0
    for t in ranked:
        if mass >= top_p:
            break
        kept.append(t)
        mass += weights[t] / total
    out = np.full(len(logits), -np.inf)
    for t in kept:
        out[t] = np.log(weights[t] / sum(weights[k] for k in kept))
    return out


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.7, top_k=6, top_p=0.8)])
def test_sampling_log_probs_are_those_of_the_distribution_drawn_from(make_engine, params, logits_of, sampling) -> None:
    rows = contexts()
    for seed in range(3):
        _, out = decode_turns(make_engine(sampling=sampling), params, rows, [8] * 4, seed=seed)
        logits = logits_of([row + turn for row, turn in zip(rows, sampled_tokens(out), strict=True)])
        for row, turn, mine, drawn, plain in zip(
            rows, sampled_tokens(out), logits, out.sampling_logprob, out.logprob, strict=True
        ):
            for i, token in enumerate(turn):
                at = mine[len(row) - 1 + i]
                expected = plain_sampling_logprobs(at, sampling.temperature, sampling.top_k, sampling.top_p)
                assert drawn[i] == pytest.approx(expected[token], abs=1e-4)
                assert plain[i] == pytest.approx(at[token] - np.log(np.exp(at).sum()), abs=1e-4)
