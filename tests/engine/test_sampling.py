"""Which tokens can be sampled, how often, and that a token's key is its dialogue's and its position's alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from sml_jax.common.errors import UserError
from sml_jax.engine.sampling import Sampling, logprob_of, row_keys, sample, sampling_logits, token_uniforms

PROBABILITY = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
LOGITS = jnp.log(jnp.asarray([PROBABILITY], jnp.float32))
ALL = jnp.ones(5, bool)


def distribution(sampling: Sampling, allowed: jax.Array = ALL) -> np.ndarray:
    return np.asarray(jax.nn.softmax(sampling_logits(LOGITS, allowed, sampling)[0]))


def close(got: np.ndarray, weights: list[float]) -> None:
    np.testing.assert_allclose(got, np.array(weights) / sum(weights), atol=1e-6)


def test_known_distributions() -> None:
    close(distribution(Sampling()), [40, 30, 15, 10, 5])
    close(distribution(Sampling(temperature=0.5)), [1600, 900, 225, 100, 25])
    close(distribution(Sampling(temperature=0.0)), [1, 0, 0, 0, 0])
    close(distribution(Sampling(top_k=2)), [40, 30, 0, 0, 0])
    close(distribution(Sampling(top_k=9)), [40, 30, 15, 10, 5])
    close(distribution(Sampling(top_p=0.3)), [1, 0, 0, 0, 0])
    close(distribution(Sampling(top_p=0.5)), [40, 30, 0, 0, 0])
    close(distribution(Sampling(top_p=0.8)), [40, 30, 15, 0, 0])


def test_top_p_counts_what_top_k_and_the_temperature_leave() -> None:
    # Of the first two, 40/70 = 0.57 is less than 0.6; squared it is 16/25 = 0.64.
    close(distribution(Sampling(top_k=2, top_p=0.6)), [40, 30, 0, 0, 0])
    close(distribution(Sampling(temperature=0.5, top_k=2, top_p=0.6)), [1, 0, 0, 0, 0])


def test_forbidden_tokens_leave_the_rest_before_all_else() -> None:
    allowed = jnp.asarray([False, True, True, False, True])
    close(distribution(Sampling(), allowed), [0, 30, 15, 0, 5])
    close(distribution(Sampling(top_k=2), allowed), [0, 30, 15, 0, 0])
    close(distribution(Sampling(temperature=0.0), allowed), [0, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
    ],
)
def test_settings_that_cannot_be(settings_: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sampling(**settings_)


def sampled(keys: jax.Array, positions: jax.Array, logits: jax.Array) -> jax.Array:
    """A token for each row at its position."""
    return sample(token_uniforms(keys, positions[:, None])[:, 0], logits)[0]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7, top_k=4, top_p=0.9)])
def test_draws_follow_the_distribution(sampling: Sampling) -> None:
    n = 4000
    offered = jnp.broadcast_to(sampling_logits(LOGITS, ALL, sampling), (n, 5))
    # Half of the draws differ in their dialogue, half in their position.
    ids = np.r_[np.arange(n // 2), np.zeros(n // 2)].astype(np.uint32)
    positions = np.r_[np.zeros(n // 2), 1 + np.arange(n // 2)].astype(np.int32)
    drawn = sampled(row_keys(jax.random.key(3), jnp.asarray(ids)), jnp.asarray(positions), offered)
    expected = distribution(sampling)
    counts = np.bincount(np.asarray(drawn), minlength=5)
    assert counts[expected == 0].sum() == 0
    likely = expected > 0
    share = expected[likely].astype(np.float64)
    assert chisquare(counts[likely], n * share / share.sum()).pvalue > 1e-3


@settings(max_examples=6)
@given(st.permutations(range(6)), st.integers(0, 5))
def test_a_draw_depends_on_its_dialogue_and_position_alone(order: list[int], rows: int) -> None:
    keys = row_keys(jax.random.key(0), jnp.arange(6, dtype=jnp.uint32))
    positions = jnp.asarray([0, 1, 2, 3, 4, 5], jnp.int32)
    logits = jax.random.normal(jax.random.key(1), (6, 50))
    drawn = np.asarray(sampled(keys, positions, logits))
    shuffled = row_keys(jax.random.key(0), jnp.asarray(order, jnp.uint32))
    at = np.array(order)
    np.testing.assert_array_equal(sampled(shuffled, positions[at], logits[at]), drawn[at])


def test_other_seeds_dialogues_and_positions_draw_otherwise() -> None:
    def said(seed: int, first_id: int, position: int) -> list[int]:
        keys = row_keys(jax.random.key(seed), jnp.arange(first_id, first_id + 20, dtype=jnp.uint32))
        return np.asarray(sampled(keys, jnp.full(20, position, jnp.int32), jnp.zeros((20, 1000)))).tolist()

    one = said(0, 0, 0)
    assert len(set(one)) > 15
    for other in (said(1, 0, 0), said(0, 100, 0), said(0, 0, 1)):
        assert sum(a == b for a, b in zip(one, other, strict=True)) <= 2


def test_log_probability_of_a_token() -> None:
    logits = jnp.concatenate([LOGITS + 7, LOGITS])
    np.testing.assert_allclose(logprob_of(logits, jnp.asarray([1, 4])), np.log([0.3, 0.05]), rtol=1e-5)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.5, top_k=20), Sampling(temperature=0.0)])
def test_a_draw_comes_with_its_log_probability(sampling: Sampling) -> None:
    """Of a vocabulary that fills no whole number of blocks, with tokens that may not be said and large logits."""
    logits = 40 * jax.random.normal(jax.random.key(1), (64, 50))
    offered = sampling_logits(logits, jnp.arange(50) % 3 > 0, sampling)
    keys = row_keys(jax.random.key(0), jnp.arange(64, dtype=jnp.uint32))
    tokens, logprob = sample(token_uniforms(keys, jnp.zeros((64, 1), jnp.int32))[:, 0], offered)
    np.testing.assert_allclose(logprob, logprob_of(offered, tokens), rtol=1e-5, atol=1e-5)
    assert (np.asarray(tokens) % 3 > 0).all()
