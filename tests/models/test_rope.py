"""Rotary embeddings: known frequencies, the plain rotation, and what attention relies on."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_decoder import rope, rope_frequency

from sml_jax.models.ops.rope import RopeScaling, frequencies, rotate

NONE = RopeScaling()


def test_known_frequencies() -> None:
    np.testing.assert_allclose(frequencies(4, 10_000.0, NONE), [1.0, 0.01], rtol=1e-6)
    np.testing.assert_allclose(frequencies(4, 10_000.0, RopeScaling("linear", 8.0)), [0.125, 0.00125], rtol=1e-6)


def test_llama3_keeps_fast_stretches_slow_and_blends_between() -> None:
    # base 10,000, head_dim 8: frequencies 1, 0.1, 0.01, 0.001, that is 10.19, 1.019, 0.1019, 0.01019 turns of 64.
    scaling = RopeScaling("llama3", factor=8.0, low_frequency_factor=0.5, high_frequency_factor=4.0, original_length=64)
    blend = (64 * 0.1 / (2 * math.pi) - 0.5) / 3.5
    expected = [1.0, 0.1 * (blend + (1 - blend) / 8), 0.01 / 8, 0.001 / 8]
    np.testing.assert_allclose(frequencies(8, 10_000.0, scaling), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("base", "scaling"),
    [
        (10_000.0, NONE),
        (1e6, RopeScaling("linear", 4.0)),
        (5e5, RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)),
        (5e5, RopeScaling("llama3", 32.0, 1.0, 4.0, 64)),
    ],
)
def test_rotation_is_the_plain_one(base: float, scaling: RopeScaling) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 16)).astype(np.float32)
    positions = np.array([[0, 1, 2], [40, 7, 63]], np.int32)
    np.testing.assert_allclose(
        frequencies(16, base, scaling), [rope_frequency(i, 16, base, scaling) for i in range(8)], rtol=1e-5
    )
    turned = rotate(jnp.asarray(x), jnp.asarray(positions), frequencies(16, base, scaling))
    for b, t, h in np.ndindex(2, 3, 2):
        plain = rope(x[b, t, h].astype(np.float64), int(positions[b, t]), base, scaling)
        np.testing.assert_allclose(turned[b, t, h], plain, atol=2e-5)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_a_score_depends_on_the_distance_alone(query: int, key: int, shift: int) -> None:
    x = np.random.default_rng(1).normal(size=(1, 2, 1, 8)).astype(np.float32)
    frequency = frequencies(8, 10_000.0, NONE)

    def score(at: list[int]) -> float:
        q, k = rotate(jnp.asarray(x), jnp.asarray([at], jnp.int32), frequency)[0, :, 0]
        return float(q @ k)

    assert score([query, key]) == pytest.approx(score([query + shift, key + shift]), abs=2e-3)


def test_rotation_keeps_lengths_and_position_zero_and_dtype() -> None:
    x = jnp.asarray(np.random.default_rng(2).normal(size=(1, 2, 3, 8)), jnp.float32)
    turned = rotate(x, jnp.asarray([[0, 9]], jnp.int32), frequencies(8, 10_000.0, NONE))
    np.testing.assert_array_equal(turned[:, 0], x[:, 0])
    np.testing.assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)
    assert (
        rotate(x.astype(jnp.bfloat16), jnp.asarray([[0, 9]], jnp.int32), frequencies(8, 1e4, NONE)).dtype
        == jnp.bfloat16
    )
