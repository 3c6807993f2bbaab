"""Contexts that grow over turns: every token goes through the model once, and the row it is in changes no sample."""

import jax
import numpy as np
import pytest
from engine_toys import END, SUPPRESSED, mesh_of

from sml_jax.common.errors import UserError
from sml_jax.engine.context_batch import ContextBatch


@pytest.fixture
def batch(make_engine, params) -> ContextBatch:
    return ContextBatch(make_engine(), params, jax.random.key(0))


def given_turns(dialogue: int, turns: int = 4) -> list[list[int]]:
    """The tokens that are appended before each sampled turn; their number differs from dialogue to dialogue."""
    rng = np.random.default_rng(dialogue)
    return [rng.integers(0, 14, int(rng.integers(1, 9))).tolist() for _ in range(turns)]


def play(batch: ContextBatch, row_of: dict[int, int], limit: int = 6) -> tuple[dict[int, list[list[int]]], dict]:
    """Plays four turns of dialogues, each in the row that `row_of` gives it.

    Returns:
      The sampled turns of each dialogue, and the log-probs of its sampled tokens by their position in the context.
    """
    turns = {d: given_turns(d) for d in row_of}
    sampled: dict[int, list[list[int]]] = {d: [] for d in row_of}
    logprobs: dict[int, dict[int, float]] = {d: {} for d in row_of}
    for turn in range(4):
        for d, row in row_of.items():
            if turn == 0:
                batch.start(row, d, turns[d][0])
            else:
                batch.append(row, turns[d][turn])
        before = {d: len(batch.context(row)) for d, row in row_of.items()}
        for d, said in zip(row_of, batch.sample(list(row_of.values()), limit), strict=True):
            sampled[d].append(list(said.tokens))
            logprobs[d] |= {before[d] + i: lp for i, lp in enumerate(said.logprobs)}
            assert len(said.tokens) == len(said.logprobs) == len(said.sampling_logprobs) <= limit
            assert said.ended == (said.tokens[-1] == END)
            assert SUPPRESSED not in said.tokens
    return sampled, logprobs


def test_log_probs_over_turns_are_those_of_one_full_pass(batch, scores_of) -> None:
    row_of = {11: 2, 12: 0, 13: 3, 14: 1}
    sampled, logprobs = play(batch, row_of)
    contexts = [list(batch.context(row)) for row in row_of.values()]
    for d, context, scores in zip(row_of, contexts, scores_of(contexts), strict=True):
        parts = [t for turn in zip(given_turns(d), sampled[d], strict=True) for part in turn for t in part]
        assert context == parts
        for position, logprob in logprobs[d].items():
            assert logprob == pytest.approx(float(scores[position]), abs=1e-4)
    # All but each row's last token have gone through the model, and each once.
    assert batch.forwarded_tokens == sum(len(context) - 1 for context in contexts)


@pytest.mark.parametrize(
    ("size", "mesh"),
    [
        pytest.param(16, (1, 1, 1), marks=pytest.mark.extra),
        pytest.param(16, (8, 1, 1), marks=pytest.mark.slow),
        (8, (2, 2, 2)),
        pytest.param(4, (1, 1, 2), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_same_seed_says_the_same_whatever_rows_and_devices(batch, make_engine, model, params, size, mesh) -> None:
    from sml_jax.models.layout import shard_params

    engine = make_engine(size, mesh)
    sharded = shard_params(engine.mesh, model, params)
    dialogues = [21, 22, 23, 24]
    expected = play(batch, {d: row for row, d in enumerate(dialogues)})[0]
    row_of = dict(zip(dialogues, [size - 1, 0, 2, size // 2 - 1] if size > 4 else [3, 0, 2, 1], strict=True))
    assert play(ContextBatch(engine, sharded, jax.random.key(0)), row_of)[0] == expected


@pytest.mark.parametrize(
    "mesh",
    [pytest.param((4, 1, 2), marks=pytest.mark.slow), pytest.param((8, 1, 1), marks=pytest.mark.slow), (2, 2, 2)],
    ids=str,
)
def test_weights_move_from_the_updates_mesh_to_the_rollouts(batch, make_engine, model, params, mesh) -> None:
    """All meshes: `pytest -m "slow or not slow" tests/engine/test_context_batch.py -k weights_move`."""
    from sml_jax.models.layout import shard_params

    engine = make_engine(8, mesh)
    sharded = shard_params(mesh_of(1, 8, 1), model, params)
    for leaf in jax.tree.leaves(engine.prepare_params(sharded)):
        assert leaf.sharding.mesh == engine.mesh
    row_of = {d: row for row, d in enumerate([21, 22, 23, 24])}
    assert play(ContextBatch(engine, sharded, jax.random.key(0)), row_of)[0] == play(batch, row_of)[0]


@pytest.mark.extra
def test_rows_at_their_own_pace_say_what_they_say_in_step(make_engine, params) -> None:
    """Turns begun at different times, and stopped in the middle again and again, are the turns of one call."""
    engine = make_engine(4, decode_steps=3, batch_sizes=(1, 2, 4))
    in_step = play(
        ContextBatch(make_engine(4), params, jax.random.key(0)), {d: row for row, d in enumerate((41, 42, 43))}
    )
    batch, turns = ContextBatch(engine, params, jax.random.key(0)), {d: given_turns(d) for d in (41, 42, 43)}
    said: dict[int, list[list[int]]] = {d: [] for d in turns}
    logprobs: dict[int, dict[int, float]] = {d: {} for d in turns}
    waiting = [41, 42, 43]  # one more dialogue begins in each round
    for _ in range(99):
        if waiting:
            d = waiting.pop(0)
            batch.start(d - 41, d, turns[d][0])
            batch.begin_turn(d - 41, 6)
        if not batch.active_turns:
            break
        batch.dispatch(0.3)
        for row, utterance in batch.collect().items():
            d = row + 41
            said[d].append(list(utterance.tokens))
            first = len(batch.context(row)) - len(utterance.tokens)
            logprobs[d] |= {first + i: lp for i, lp in enumerate(utterance.logprobs)}
            if len(said[d]) < 4:
                batch.append(row, turns[d][len(said[d])])
                batch.begin_turn(row, 6)
    assert said == in_step[0]
    for d, by_position in logprobs.items():
        assert by_position == pytest.approx(in_step[1][d], abs=1e-5)


def test_given_tokens_go_through_in_calls_of_few_more_rows_than_wait(make_engine, params, monkeypatch) -> None:
    engine = make_engine(4, batch_sizes=(1, 2, 4))
    batch, sizes, extend = ContextBatch(engine, params, jax.random.key(0)), [], engine.extend

    def counted(weights, cache, tokens, *rest):
        sizes.append(len(tokens))
        return extend(weights, cache, tokens, *rest)

    monkeypatch.setattr(engine, "extend", counted)
    for row in range(3):
        batch.start(row, row, [3, 4, 6, 7, 1 + row])
    batch.prefill(range(3))
    assert sizes == [2, 1] and batch.forwarded_tokens == 12


def test_an_opening_is_run_once_for_all_that_share_it(make_engine, params, scores_of) -> None:
    opening = [1, 3, 4, 6, 7, 8, 1, 0, 3, 4, 6]
    batch = ContextBatch(make_engine(4, batch_sizes=(1, 2, 4)), params, jax.random.key(0))
    # Three rows with the same opening, and one whose opening is shorter and so is another one.
    for row in range(3):
        batch.start(row, row, opening)
    batch.start(3, 3, opening[:-1])
    said = batch.sample(range(4), 6)
    assert batch.copied_tokens == 2 * (len(opening) - 1)
    assert batch.forwarded_tokens == len(opening) - 1 + len(opening) - 2 + sum(len(u.tokens) for u in said)
    batch.start(1, 9, opening)  # from a row that has gone on since
    again = batch.sample([1], 6)[0]
    assert batch.copied_tokens == 3 * (len(opening) - 1)
    batch.rewind(0, 4)  # nobody else holds it now but rows 1 and 2
    batch.start(3, 10, opening)
    last = batch.sample([3], 6)[0]
    contexts = [batch.context(1), batch.context(3)]
    for utterance, scores in zip((again, last), scores_of(contexts), strict=True):
        np.testing.assert_allclose(utterance.logprobs, scores[len(opening) :], atol=1e-4)


def test_company_and_a_used_row_change_nothing(batch) -> None:
    alone = play(batch, {31: 1})[0]
    among = play(batch, {32: 1, 31: 3, 33: 0})[0]
    assert among[31] == alone[31]
    assert play(batch, {31: 0})[0] == alone


def test_another_seed_dialogue_or_salt_says_something_else(make_engine, params) -> None:
    def said(seed: int = 0, first: int = 0, salt: int = 0) -> list[tuple[int, ...]]:
        batch = ContextBatch(make_engine(), params, jax.random.key(seed))
        for row in range(4):
            batch.start(row, first + row, [1, 3, 4])
        return [u.tokens for u in batch.sample(range(4), 8, salt)]

    assert said() == said()
    assert len(set(said())) > 1
    for other in (said(seed=1), said(first=9), said(salt=1)):
        assert other != said()


def test_rows_that_are_not_sampled_stay_as_they_are(batch) -> None:
    batch.start(0, 0, [1, 2, 3])
    batch.start(1, 1, [4] * 20)
    batch.sample([0], 4)
    assert batch.context(1) == [4] * 20
    forwarded = batch.forwarded_tokens
    batch.sample([1], 1)
    assert batch.forwarded_tokens == forwarded + 20


def test_rewinding_takes_back_what_was_said(batch, scores_of) -> None:
    batch.start(0, 5, [1, 3, 4, 6])
    first = batch.sample([0], 8)[0]
    batch.rewind(0, 4)
    assert batch.context(0) == [1, 3, 4, 6]
    assert batch.sample([0], 8)[0].tokens == first.tokens
    batch.rewind(0, 2)
    batch.append(0, [8, 8, 8])
    again = batch.sample([0], 8)[0]
    np.testing.assert_allclose(again.logprobs, scores_of([batch.context(0)])[0][5:], atol=1e-4)
    batch.rewind(0, 0)
    assert batch.context(0) == []


def test_replacing_keeps_what_is_shared(batch, scores_of) -> None:
    opening = [1, 3, 4, 6, 7, 8, 1, 0]
    batch.start(0, 5, opening)
    said = list(batch.sample([0], 1)[0].tokens)
    forwarded = batch.forwarded_tokens
    batch.replace(0, [*opening, *said, 11, 12])  # a longer context
    batch.sample([0], 1)
    assert batch.forwarded_tokens == forwarded + 3
    forwarded = batch.forwarded_tokens
    batch.replace(0, [*opening[:6], 13, 13, 13])  # one that parts from the old after six tokens
    assert batch.context(0) == [*opening[:6], 13, 13, 13]
    again = batch.sample([0], 8)[0]
    np.testing.assert_allclose(again.logprobs, scores_of([batch.context(0)])[0][9:], atol=1e-4)
    assert batch.forwarded_tokens == forwarded + 3 + len(again.tokens) - 1
    batch.replace(0, opening[:3])  # a part of the old one
    assert batch.context(0) == opening[:3]


def test_room(batch) -> None:
    batch.start(0, 0, [1] * 60)
    assert batch.tokens_left(0) == 4
    said = batch.sample([0], 8)[0]
    assert len(said.tokens) <= 4 and batch.tokens_left(0) == 4 - len(said.tokens)
    batch.rewind(0, 60)
    with pytest.raises(UserError, match="a context of 65 tokens, but there is room for 64: raise max_length"):
        batch.append(0, [1] * 5)
    assert batch.context(0) == [1] * 60
    batch.append(0, [1] * 4)
    with pytest.raises(UserError, match="no room to sample a turn in a context of 64"):
        batch.sample([0], 8)


def test_a_turn_needs_a_context(batch) -> None:
    with pytest.raises(UserError, match="a context must hold a token"):
        batch.sample([0], 8)
    assert batch.sample([], 8) == []


@pytest.mark.extra
@pytest.mark.parametrize("mesh", [(1, 1, 1), pytest.param((2, 2, 2), marks=pytest.mark.slow)], ids=str)
def test_continuations_are_scored_as_in_one_full_pass_and_leave_no_trace(
    make_engine, model, params, scores_of, mesh
) -> None:
    """All meshes: `pytest -m "slow or not slow" tests/engine/test_context_batch.py -k continuations`."""
    from sml_jax.models.layout import shard_params

    engine = make_engine(4 if mesh == (1, 1, 1) else 8, mesh)
    contexts = {0: [1, 3, 4], 2: [4] * 20, 3: [7, 8, 0, 11, 6, 3, 1]}
    continuations = {0: [6], 2: [3, 1, 2, 10, 5, 8], 3: [END, 4, 4]}

    def said(scored: bool) -> tuple[list, dict]:
        batch = ContextBatch(engine, shard_params(engine.mesh, model, params), jax.random.key(0))
        turns, scores = [], {}
        for row, context in contexts.items():
            batch.start(row, row, context)
        for _ in range(2):
            # A row that waits, and rows that are scored more than once, in other company.
            if scored:
                scores = batch.score({0: continuations[0]}) | batch.score(continuations)
                full = [[*batch.context(row), *continuations[row]] for row in contexts]
                for row, whole, wanted in zip(contexts, full, scores_of(full), strict=True):
                    np.testing.assert_allclose(scores[row], wanted[-len(continuations[row]) :], atol=1e-4)
                    assert batch.context(row) == whole[: -len(continuations[row])]
            turns.append(batch.sample(list(contexts), 5))
        return turns, scores

    turns, scores = said(scored=True)
    assert turns == said(scored=False)[0] and ContextBatch(engine, params, jax.random.key(0)).score({}) == {}
    assert {row: len(logprobs) for row, logprobs in scores.items()} == {0: 1, 2: 6, 3: 3}
