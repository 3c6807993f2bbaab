"""Contexts that grow over turns: every token once through the model, and the same draws wherever a row sits."""

import jax
import numpy as np
import pytest
from engine_toys import END, FORBIDDEN, mesh_of

from sml_jax.common.errors import UserError
from sml_jax.engine.context_batch import ContextBatch


@pytest.fixture
def rows(make_engine, params) -> ContextBatch:
    return ContextBatch(make_engine(), params, jax.random.key(0))


def given_turns(dialogue: int, turns: int = 4) -> list[list[int]]:
    """What is given before each sampled turn, of other lengths in each dialogue."""
    rng = np.random.default_rng(dialogue)
    return [rng.integers(0, 14, int(rng.integers(1, 9))).tolist() for _ in range(turns)]


def played(rows: ContextBatch, places: dict[int, int], limit: int = 6) -> tuple[dict[int, list[list[int]]], dict]:
    """Four turns of dialogues at their `places`: sampled turns, and (tokens, log-probs by position)."""
    turns = {d: given_turns(d) for d in places}
    sampled: dict[int, list[list[int]]] = {d: [] for d in places}
    logprobs: dict[int, dict[int, float]] = {d: {} for d in places}
    for turn in range(4):
        for d, row in places.items():
            if turn == 0:
                rows.start(row, d, turns[d][0])
            else:
                rows.append(row, turns[d][turn])
        before = {d: len(rows.context(row)) for d, row in places.items()}
        for d, said in zip(places, rows.sample(list(places.values()), limit), strict=True):
            sampled[d].append(list(said.tokens))
            logprobs[d] |= {before[d] + i: lp for i, lp in enumerate(said.logprobs)}
            assert len(said.tokens) == len(said.logprobs) == len(said.sampling_logprobs) <= limit
            assert said.ended == (said.tokens[-1] == END)
            assert FORBIDDEN not in said.tokens
    return sampled, logprobs


def test_log_probs_over_turns_are_those_of_one_full_pass(rows, scores_of) -> None:
    places = {11: 2, 12: 0, 13: 3, 14: 1}
    sampled, logprobs = played(rows, places)
    contexts = [list(rows.context(row)) for row in places.values()]
    for d, context, scores in zip(places, contexts, scores_of(contexts), strict=True):
        parts = [t for turn in zip(given_turns(d), sampled[d], strict=True) for part in turn for t in part]
        assert context == parts
        for position, logprob in logprobs[d].items():
            assert logprob == pytest.approx(float(scores[position]), abs=1e-4)
    # All but each row's last token have gone through the model, and each once.
    assert rows.forwarded_tokens == sum(len(context) - 1 for context in contexts)


@pytest.mark.parametrize(("size", "mesh"), [(16, (1, 1, 1)), (16, (8, 1, 1)), (8, (2, 2, 2)), (4, (1, 1, 2))], ids=str)
def test_the_same_seed_says_the_same_whatever_rows_and_devices(rows, make_engine, model, params, size, mesh) -> None:
    from sml_jax.models.layout import shard_params

    engine = make_engine(size, mesh)
    laid = shard_params(engine.mesh, model, params)
    dialogues = [21, 22, 23, 24]
    expected = played(rows, {d: row for row, d in enumerate(dialogues)})[0]
    places = dict(zip(dialogues, [size - 1, 0, 2, size // 2 - 1] if size > 4 else [3, 0, 2, 1], strict=True))
    assert played(ContextBatch(engine, laid, jax.random.key(0)), places)[0] == expected


@pytest.mark.parametrize(
    "mesh",
    [pytest.param((4, 1, 2), marks=pytest.mark.slow), pytest.param((8, 1, 1), marks=pytest.mark.slow), (2, 2, 2)],
    ids=str,
)
def test_weights_move_from_the_updates_mesh_to_the_rollouts(rows, make_engine, model, params, mesh) -> None:
    """All meshes: `pytest -m "slow or not slow" tests/engine/test_rows.py -k weights_move`."""
    from sml_jax.models.layout import shard_params

    engine = make_engine(8, mesh)
    laid = shard_params(mesh_of(1, 8, 1), model, params)
    for leaf in jax.tree.leaves(engine.prepare_params(laid)):
        assert leaf.sharding.mesh == engine.mesh
    places = {d: row for row, d in enumerate([21, 22, 23, 24])}
    assert played(ContextBatch(engine, laid, jax.random.key(0)), places)[0] == played(rows, places)[0]


def test_rows_at_their_own_pace_say_what_they_say_in_step(make_engine, params) -> None:
    """Turns begun at different times, and stopped in the middle again and again, are the turns of one call."""
    engine = make_engine(4, decode_steps=3, batch_sizes=(1, 2, 4))
    in_step = played(
        ContextBatch(make_engine(4), params, jax.random.key(0)), {d: row for row, d in enumerate((41, 42, 43))}
    )
    rows, turns = ContextBatch(engine, params, jax.random.key(0)), {d: given_turns(d) for d in (41, 42, 43)}
    said: dict[int, list[list[int]]] = {d: [] for d in turns}
    logprobs: dict[int, dict[int, float]] = {d: {} for d in turns}
    waiting = [41, 42, 43]  # one more begins in each round
    for _ in range(99):
        if waiting:
            d = waiting.pop(0)
            rows.start(d - 41, d, turns[d][0])
            rows.begin_turn(d - 41, 6)
        if not rows.active_turns:
            break
        rows.dispatch(0.3)
        for row, utterance in rows.collect().items():
            d = row + 41
            said[d].append(list(utterance.tokens))
            first = len(rows.context(row)) - len(utterance.tokens)
            logprobs[d] |= {first + i: lp for i, lp in enumerate(utterance.logprobs)}
            if len(said[d]) < 4:
                rows.append(row, turns[d][len(said[d])])
                rows.begin_turn(row, 6)
    assert said == in_step[0]
    for d, by_position in logprobs.items():
        assert by_position == pytest.approx(in_step[1][d], abs=1e-5)


def test_given_tokens_go_through_in_calls_of_few_more_rows_than_wait(make_engine, params, monkeypatch) -> None:
    engine = make_engine(4, batch_sizes=(1, 2, 4))
    rows, sizes, extend = ContextBatch(engine, params, jax.random.key(0)), [], engine.extend

    def counted(weights, cache, tokens, *rest):
        sizes.append(len(tokens))
        return extend(weights, cache, tokens, *rest)

    monkeypatch.setattr(engine, "extend", counted)
    for row in range(3):
        rows.start(row, row, [3, 4, 6, 7, 1 + row])
    rows.prefill(range(3))
    assert sizes == [2, 1] and rows.forwarded_tokens == 12


def test_an_opening_is_run_once_for_all_that_share_it(make_engine, params, scores_of) -> None:
    opening = [1, 3, 4, 6, 7, 8, 1, 0, 3, 4, 6]
    rows = ContextBatch(make_engine(4, batch_sizes=(1, 2, 4)), params, jax.random.key(0))
    for row in range(3):
        rows.start(row, row, opening)
    rows.start(3, 3, opening[:-1])
    said = rows.sample(range(4), 6)
    assert rows.copied_tokens == 2 * (len(opening) - 1)
    assert rows.forwarded_tokens == len(opening) - 1 + len(opening) - 2 + sum(len(u.tokens) for u in said)
    rows.start(1, 9, opening)  # from a row that has gone on since
    again = rows.sample([1], 6)[0]
    assert rows.copied_tokens == 3 * (len(opening) - 1)
    rows.rewind(0, 4)  # nobody else holds it now but rows 1 and 2
    rows.start(3, 10, opening)
    last = rows.sample([3], 6)[0]
    contexts = [rows.context(1), rows.context(3)]
    for utterance, scores in zip((again, last), scores_of(contexts), strict=True):
        np.testing.assert_allclose(utterance.logprobs, scores[len(opening) :], atol=1e-4)


def test_company_and_a_used_row_change_nothing(rows) -> None:
    alone = played(rows, {31: 1})[0]
    among = played(rows, {32: 1, 31: 3, 33: 0})[0]
    assert among[31] == alone[31]
    assert played(rows, {31: 0})[0] == alone


def test_another_seed_dialogue_or_salt_says_something_else(make_engine, params) -> None:
    def said(seed: int = 0, first: int = 0, salt: int = 0) -> list[tuple[int, ...]]:
        rows = ContextBatch(make_engine(), params, jax.random.key(seed))
        for row in range(4):
            rows.start(row, first + row, [1, 3, 4])
        return [u.tokens for u in rows.sample(range(4), 8, salt)]

    assert said() == said()
    assert len(set(said())) > 1
    for other in (said(seed=1), said(first=9), said(salt=1)):
        assert other != said()


def test_rows_that_are_not_sampled_stay_as_they_are(rows) -> None:
    rows.start(0, 0, [1, 2, 3])
    rows.start(1, 1, [4] * 20)
    rows.sample([0], 4)
    assert rows.context(1) == [4] * 20
    forwarded = rows.forwarded_tokens
    rows.sample([1], 1)
    assert rows.forwarded_tokens == forwarded + 20


def test_rewinding_takes_back_what_was_said(rows, scores_of) -> None:
    rows.start(0, 5, [1, 3, 4, 6])
    first = rows.sample([0], 8)[0]
    rows.rewind(0, 4)
    assert rows.context(0) == [1, 3, 4, 6]
    assert rows.sample([0], 8)[0].tokens == first.tokens
    rows.rewind(0, 2)
    rows.append(0, [8, 8, 8])
    again = rows.sample([0], 8)[0]
    np.testing.assert_allclose(again.logprobs, scores_of([rows.context(0)])[0][5:], atol=1e-4)
    rows.rewind(0, 0)
    assert rows.context(0) == []


def test_replacing_keeps_what_is_shared(rows, scores_of) -> None:
    opening = [1, 3, 4, 6, 7, 8, 1, 0]
    rows.start(0, 5, opening)
    said = list(rows.sample([0], 1)[0].tokens)
    forwarded = rows.forwarded_tokens
    rows.replace(0, [*opening, *said, 11, 12])  # a longer context
    rows.sample([0], 1)
    assert rows.forwarded_tokens == forwarded + 3
    forwarded = rows.forwarded_tokens
    rows.replace(0, [*opening[:6], 13, 13, 13])  # one that parts from the old after six tokens
    assert rows.context(0) == [*opening[:6], 13, 13, 13]
    again = rows.sample([0], 8)[0]
    np.testing.assert_allclose(again.logprobs, scores_of([rows.context(0)])[0][9:], atol=1e-4)
    assert rows.forwarded_tokens == forwarded + 3 + len(again.tokens) - 1
    rows.replace(0, opening[:3])  # a part of the old one
    assert rows.context(0) == opening[:3]


def test_room(rows) -> None:
    rows.start(0, 0, [1] * 60)
    assert rows.tokens_left(0) == 4
    said = rows.sample([0], 8)[0]
    assert len(said.tokens) <= 4 and rows.tokens_left(0) == 4 - len(said.tokens)
    rows.rewind(0, 60)
    with pytest.raises(UserError, match="a context of 65 tokens, but there is room for 64: raise max_length"):
        rows.append(0, [1] * 5)
    assert rows.context(0) == [1] * 60
    rows.append(0, [1] * 4)
    with pytest.raises(UserError, match="no room to sample a turn in a context of 64"):
        rows.sample([0], 8)


def test_a_turn_needs_a_context(rows) -> None:
    with pytest.raises(UserError, match="a context must hold a token"):
        rows.sample([0], 8)
    assert rows.sample([], 8) == []
