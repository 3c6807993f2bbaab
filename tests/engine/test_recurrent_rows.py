"""Rows of a model with recurrent layers: what they say fits their tokens, whatever is appended, dropped or copied."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_toys import CONFIG, END, mesh_of
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.engine.turn_states import TurnStates
from sml_jax.learn.logprobs import token_logprobs
from sml_jax.models.config import DeltaNetConfig
from sml_jax.models.decoder import Decoder, init_params

LENGTH, ROWS = 64, 4
MODEL = Decoder(
    dataclasses.replace(
        CONFIG,
        layer_pattern=("delta", "global"),
        delta_net=DeltaNetConfig(key_heads=2, value_heads=4, key_dim=5, value_dim=3, taps=3),
        rope_local_base=None,
        window=0,
        rotary_dim=6,
        output_gate=True,
    )
)


@cache
def params() -> dict:
    return jax.tree.map(lambda leaf: leaf * 1.5, init_params(MODEL, jax.random.key(0)))


@cache
def engine(mesh: tuple[int, int, int] = (1, 1, 1), rows: int = ROWS, **changes) -> Engine:
    settings = {"chunk_sizes": (4, 8), "capacities": (LENGTH,), "decode_steps": 3, **changes}
    return Engine(MODEL, rows, LENGTH, 8, stop_ids=(END,), mesh=mesh_of(*mesh), **settings)


def new_batch(*args, **kwargs) -> ContextBatch:
    return ContextBatch(engine(*args, **kwargs), params(), jax.random.key(0))


@cache
def forward():
    return jax.jit(partial(MODEL.apply, params()))


def scores_of(contexts: list[list[int]]) -> np.ndarray:
    """The log-probability of every token of whole contexts, from full passes."""
    tokens = np.zeros((ROWS, LENGTH), np.int32)
    for row, context in enumerate(contexts):
        tokens[row, : len(context)] = context
    return np.asarray(token_logprobs(forward()(tokens), jnp.asarray(tokens)))


def check(batch: ContextBatch, said: dict) -> None:
    """Turns that were just sampled have the log-probabilities that full passes give them."""
    rows = list(said)
    for scores, row in zip(scores_of([batch.context(row) for row in rows]), rows, strict=False):
        length, logprobs = len(batch.context(row)), said[row].logprobs
        np.testing.assert_allclose(scores[length - len(logprobs) : length], logprobs, atol=1e-4, rtol=0)


def say(batch: ContextBatch, rows: list[int], limit: int = 5, salt: int = 0) -> dict:
    said = dict(zip(rows, batch.sample(rows, limit, salt), strict=True))
    check(batch, said)
    return said


@pytest.mark.extra
def test_a_turn_that_is_drawn_again_costs_no_token_twice() -> None:
    batch = new_batch()
    batch.start(0, 0, [3, 4, 6, 7, 1, 8, 3])
    say(batch, [0])
    batch.append(0, [6, 4, 4])
    context = list(batch.context(0))
    first = say(batch, [0])
    once = batch.forwarded_tokens
    for salt in (1, 2):
        batch.replace(0, context)
        again = say(batch, [0], salt=salt)
    # What was drawn again went through, and the context's last token before each draw: nothing else.
    batch.replace(0, context)
    assert say(batch, [0]) == first
    assert batch.forwarded_tokens - once <= 3 * 5 and again[0].tokens != first[0].tokens


@pytest.mark.extra
def test_a_turn_in_several_calls_is_taken_back_to_its_start() -> None:
    batch = new_batch()
    batch.start(0, 0, [3, 4, 6, 7, 1, 8, 3])
    first = say(batch, [0], limit=8)
    once = batch.forwarded_tokens
    batch.rewind(0, 7)
    assert say(batch, [0], limit=8) == first and batch.forwarded_tokens - once == len(first[0].tokens)
    # A question stands in the turn's place: the token before it goes through once more, and the question.
    batch.rewind(0, 7)
    batch.append(0, [6, 4, 4])
    before = batch.forwarded_tokens
    batch.prefill([0])
    assert batch.forwarded_tokens - before == 1 + 2


def test_what_cannot_be_taken_back_is_read_again_from_the_start() -> None:
    batch = new_batch()
    batch.start(0, 0, [3, 4, 6, 7, 1, 8, 3])
    say(batch, [0])
    batch.rewind(0, 4)
    batch.append(0, [9, 1])
    before = batch.forwarded_tokens
    batch.prefill([0])
    assert batch.forwarded_tokens - before == 5
    say(batch, [0])


def test_a_place_to_go_back_to_may_be_named() -> None:
    """As the writer of questions does, whose request stands behind what all its contexts begin with."""
    batch, shared = new_batch(), [3, 4, 6, 7, 1, 8, 3, 3, 1]
    batch.start(0, 0, shared)
    batch.replace(0, [*shared, 5, 6, 7], kept=len(shared))
    say(batch, [0])
    for longer in ([*shared, 10, 11], [*shared, 10, 12, 13]):
        before = batch.forwarded_tokens
        batch.replace(0, longer, kept=len(shared))
        batch.prefill([0])
        assert batch.forwarded_tokens - before == len(longer) - len(shared) - 1
        say(batch, [0])


def test_an_opening_is_copied_where_its_state_ends() -> None:
    batch, opening = new_batch(), [3, 4, 6, 7, 1, 8, 3, 10, 11, 12, 1, 1]
    # Two rows at once, one of which has more behind the opening; one while the donor speaks; one when it is too late.
    batch.start(0, 0, opening)
    batch.append(0, [6, 6])
    batch.start(1, 1, opening)
    say(batch, [0, 1])
    assert batch.copied_tokens == len(opening) - 1 and batch.forwarded_tokens <= 11 + 3 + 1 + 10
    batch.start(2, 2, opening)
    say(batch, [2])
    copied = batch.copied_tokens
    for row in (0, 1, 2):
        batch.append(row, [8, 9])
    say(batch, [0, 1, 2])
    batch.start(3, 3, opening)
    say(batch, [3])
    assert batch.copied_tokens == copied or copied == 2 * (len(opening) - 1)
    say(batch, [0, 1, 2])


@settings(max_examples=4, deadline=None)
@given(st.data())
def test_whatever_is_done_to_rows(data) -> None:
    batch, opening = new_batch(), [3, 4, 6, 7, 1, 8, 3, 10, 11]
    for row in range(ROWS):
        batch.start(row, row, opening)
    for _ in range(12):
        row = data.draw(st.integers(0, ROWS - 1))
        action = data.draw(st.sampled_from(["say", "say", "append", "take back", "start", "replace", "score"]))
        context = list(batch.context(row))
        if len(context) > LENGTH - 20 or action == "start":
            batch.start(row, row, [*opening, *data.draw(st.lists(st.integers(3, 13), max_size=3))])
        elif action == "say":
            before = [list(batch.context(r)) for r in range(ROWS)]
            say(batch, sorted({row, data.draw(st.integers(0, ROWS - 1))}), salt=data.draw(st.integers(0, 3)))
            if data.draw(st.booleans()):
                batch.replace(row, before[row])
        elif action == "append":
            batch.append(row, data.draw(st.lists(st.integers(3, 13), max_size=9)))
        elif action == "take back":
            batch.rewind(row, data.draw(st.integers(1, len(context))))
        elif action == "replace":
            kept = data.draw(st.integers(1, len(context)))
            batch.replace(row, [*context[:kept], 5, 6], kept=data.draw(st.sampled_from([None, kept])))
        else:
            scores = batch.score({row: [4, 5, 6]})[row]
            np.testing.assert_allclose(
                scores, scores_of([[*context, 4, 5, 6]])[0][len(context) : len(context) + 3], atol=1e-4
            )
    say(batch, list(range(ROWS)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "rows"),
    [
        ((2, 1, 2), 4),
        ((8, 1, 1), 16),
        ((2, 2, 2), 8),
    ],
    ids=str,
)
def test_rows_say_the_same_on_any_mesh(mesh: tuple[int, int, int], rows: int) -> None:
    """All meshes: `pytest -m "slow or not slow" tests/engine/test_recurrent_rows.py -k any_mesh`."""
    said = []
    for batch in (new_batch(), new_batch(mesh, rows)):
        for row in range(ROWS):
            batch.start(row, row, [3, 4, 6, 7, 1, 8, 3, 10, row // 2])
        turns = [batch.sample([0, 1, 2, 3], 6)]
        batch.rewind(1, 9)
        for row in (0, 2, 3):
            batch.append(row, [5, 6])
        turns.append(batch.sample([0, 1, 2, 3], 6, salt=1))
        said.append([[list(u.tokens) for u in turn] for turn in turns])
    assert said[0] == said[1]


def test_nothing_is_compiled_after_the_warm_up() -> None:
    engine().warm_up(params())
    count = engine().executable_count()
    batch = new_batch()
    for row in range(ROWS):
        batch.start(row, row, [3, 4, 6, 7, 1, 8, 3, 10, 11])
    batch.sample([0, 1, 2, 3], 6)
    batch.rewind(0, 9)
    batch.sample([0], 6)
    assert batch.copied_tokens and engine().executable_count() == count


def test_a_donor_that_has_gone_on_too_far_gives_nothing() -> None:
    states = TurnStates(2, used=True)
    states.advance(0, 20, kept=False)
    assert states.longest(0, 9) == 0 and states.longest(0, 20) == 20
    states.advance(0, 5, kept=True)
    assert states.longest(0, 9) == 0 and states.longest(0, 24) == 20 and states.resume(0, 22) == 20


def test_a_model_without_states_grants_every_wish() -> None:
    states = TurnStates(2, used=False)
    states.advance(0, 20, kept=True)
    assert states.resume(0, 7) == 7 and states.longest(0, 9) == 9 and states.pause(0, 5) == 5
    assert states.places(np.array([0, 1])) is None
