"""The gated delta rule in chunks, by single steps, and the short convolution, beside plain loops over tokens."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.models.ops.causal_conv import causal_conv
from sml_jax.models.ops.delta_rule import delta_rule, delta_step, inverse_unit_lower, reference_delta_rule

BATCH, HEADS, KEY, VALUE, CHUNK = 2, 3, 4, 5, 4
TIME = 9  # two chunks and one token


def inputs(seed: int, time: int = TIME, decay: float = 1.0) -> list[np.ndarray]:
    """A state, and q, k, v, g, beta as a model makes them: keys of length one, decays from none to nearly all."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(BATCH, HEADS, KEY, VALUE))
    q, k, v = (rng.normal(size=(BATCH, time, HEADS, size)) for size in (KEY, KEY, VALUE))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    g = -decay * rng.exponential(size=(BATCH, time, HEADS))
    beta = rng.uniform(size=(BATCH, time, HEADS))
    return [array.astype(np.float32) for array in (state, q, k, v, g, beta)]


def by_tokens(state, q, k, v, g, beta) -> tuple[np.ndarray, np.ndarray]:
    """The rule as the paper writes it, for one token and one head after the other, in float64."""
    state, out = state.astype(np.float64), np.zeros(v.shape)
    for b, t, h in np.ndindex(v.shape[:3]):
        key, decayed = k[b, t, h].astype(np.float64), np.exp(g[b, t, h].astype(np.float64)) * state[b, h]
        state[b, h] = decayed + np.outer(key, beta[b, t, h] * (v[b, t, h] - decayed.T @ key))
        out[b, t, h] = state[b, h].T @ q[b, t, h]
    return out, state


@cache
def jitted(name: str):
    return jax.jit(
        {"chunks": partial(delta_rule, chunk=CHUNK), "steps": reference_delta_rule, "step": delta_step}[name]
    )


def check_close(ours, theirs, tolerance: float = 1e-5) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=0)


def test_a_key_that_is_written_again_answers_with_its_new_value_alone() -> None:
    """By hand: two keys at right angles, the first written twice, no decay, all of the old value replaced."""
    k = np.array([[1.0, 0], [0, 1], [1, 0]], np.float32)[None, :, None]
    v = np.array([[2.0, 3], [5, 7], [11, 13]], np.float32)[None, :, None]
    ones, zeros = np.ones((1, 3, 1), np.float32), np.zeros((1, 3, 1), np.float32)
    for rule in (jitted("chunks"), jitted("steps"), by_tokens):
        out, state = rule(np.zeros((1, 1, 2, 2), np.float32), k, k, v, zeros, ones)
        np.testing.assert_array_equal(out[0, :, 0], v[0, :, 0])
        np.testing.assert_array_equal(state[0, 0], [[11, 13], [5, 7]])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 4, TIME]), st.sampled_from([0.0, 0.1, 1.0, 100.0]))
def test_chunks_are_the_steps(seed: int, time: int, decay: float) -> None:
    """Less than a chunk, one, and more; without decay, and with one whose exponential is zero within a chunk."""
    arrays = inputs(seed, time, decay)
    expected = by_tokens(*arrays)
    check_close(jitted("chunks")(*arrays), expected)
    check_close(jitted("steps")(*arrays), expected)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 64])
def test_the_inverse_of_a_unit_triangular_matrix(size: int) -> None:
    """Beside float64, with entries as a chunk has them; what stands on and above the diagonal is never read."""
    rng = np.random.default_rng(size)
    k = rng.normal(size=(2, 3, size, 8))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    below = np.tril(rng.uniform(size=(2, 3, size, 1)) * k @ k.swapaxes(-1, -2), -1)
    ours = jax.jit(inverse_unit_lower)((below + np.triu(rng.normal(size=(2, 3, size, size)))).astype(np.float32))
    expected = np.linalg.inv(np.eye(size) + below)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


def test_chunks_call_nothing_that_waits_for_the_threads_it_runs_on() -> None:
    """A library's solver did, and all devices of a process stood still: no custom call is in the compiled program."""
    arrays = inputs(0, CHUNK)
    text = jitted("chunks").lower(*arrays).compile().as_text()
    assert "dot" in text and "custom_call_target" not in text


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.lists(st.booleans(), min_size=TIME, max_size=TIME), min_size=2, max_size=2))
def test_padding_anywhere_leaves_the_state_as_it_was(seed: int, valid: list[list[bool]]) -> None:
    """Left, right or between: a row's outputs and state are those of its real tokens alone."""
    state, q, k, v, g, beta = inputs(seed)
    real = np.array(valid)
    out, end = jitted("chunks")(state, q, k, v, *(np.where(real[..., None], array, 0) for array in (g, beta)))
    for row in range(BATCH):
        expected_out, expected_end = by_tokens(
            state[row : row + 1], *(array[row : row + 1, real[row]] for array in (q, k, v, g, beta))
        )
        check_close((out[row][real[row]], end[row]), (expected_out[0], expected_end[0]))
        if not real[row].any():
            np.testing.assert_array_equal(end[row], state[row])


def test_cut_anywhere_the_state_goes_on() -> None:
    """Calls of several sizes, single steps among them, give what one pass gives."""
    state, *tokens = inputs(0)
    whole = by_tokens(state, *tokens)
    for sizes in ((4, 4, 1), (1, 4, 4)):
        now, outs, at = state, [], 0
        for size in sizes:
            out, now = jitted("chunks")(now, *(array[:, at : at + size] for array in tokens))
            outs, at = [*outs, out], at + size
        check_close((jnp.concatenate(outs, axis=1), now), whole)
    now, outs = state, []
    for at in range(TIME):
        out, now = jitted("step")(now, *(array[:, at] for array in tokens))
        outs.append(out)
    check_close((jnp.stack(outs, axis=1), now), whole)


def test_gradients_are_those_of_the_steps() -> None:
    """Of every input, by automatic differentiation of both; finite also where decays vanish."""
    weights = np.random.default_rng(5).normal(size=(BATCH, TIME, HEADS, VALUE)).astype(np.float32)

    def loss(rule, *arrays):
        out, state = rule(*arrays)
        return jnp.sum(out * weights) + jnp.sum(jnp.sin(state))

    ours, theirs = (
        jax.jit(jax.grad(partial(loss, rule), argnums=tuple(range(6))))
        for rule in (partial(delta_rule, chunk=CHUNK), reference_delta_rule)
    )
    for decay in (1.0, 1000.0):
        check_close(ours(*inputs(1, decay=decay)), theirs(*inputs(1, decay=decay)), 2e-5)


def test_repeated_keys_do_not_blow_up() -> None:
    """All keys equal and fully replaced: an inverse by powers of the system would lose all digits here."""
    k = jnp.broadcast_to(jnp.asarray([1.0, 0, 0, 0]), (1, 64, 1, 4))
    v = jax.random.normal(jax.random.key(0), (1, 64, 1, 3))
    out, _ = delta_rule(jnp.zeros((1, 1, 4, 3)), k, k, v, jnp.zeros((1, 64, 1)), jnp.ones((1, 64, 1)))
    np.testing.assert_allclose(out, v, atol=1e-5)


TAPS, CHANNELS = 4, (2, 3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=4))
def test_the_convolution_goes_on_over_any_padding(seed: int, windows: list[tuple[int, int]]) -> None:
    """Windows with padding in front and behind, one after the other, give what a row's tokens give at once."""
    rng = np.random.default_rng(seed)
    weight = jnp.asarray(rng.normal(size=(*CHANNELS, TAPS)), jnp.float32)
    history, seen, sums = jnp.zeros((1, TAPS - 1, *CHANNELS)), [np.zeros((0, *CHANNELS))], [np.zeros((0, *CHANNELS))]
    for padding, count in windows:
        x, valid = rng.normal(size=(1, 8, *CHANNELS)).astype(np.float32), np.zeros((1, 8), bool)
        valid[0, padding : padding + count] = True
        out, history = convolve()(history, x, weight, valid)
        seen.append(x[0, padding : padding + count])
        sums.append(out[0, padding : padding + count])
    expected, end = plain_convolution(np.concatenate(seen), weight)
    np.testing.assert_allclose(np.concatenate(sums), expected, atol=1e-5)
    np.testing.assert_array_equal(history[0], end)


def test_the_convolution_of_complete_rows() -> None:
    x, weight = (
        jax.random.normal(jax.random.key(i), (*shape,)) for i, shape in enumerate([(1, 6, 2, 3), (2, 3, TAPS)])
    )
    out, history = causal_conv(jnp.zeros((1, TAPS - 1, *CHANNELS)), x, weight)
    expected, end = plain_convolution(np.asarray(x[0]), weight)
    np.testing.assert_allclose(out[0], expected, atol=1e-5)
    np.testing.assert_array_equal(history[0], end)


def plain_convolution(tokens: np.ndarray, weight: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """The sums at each token of a row, and its last tokens, as the definition says."""
    padded = np.concatenate([np.zeros((TAPS - 1, *CHANNELS)), tokens])
    sums = [(padded[t : t + TAPS] * np.moveaxis(np.asarray(weight), -1, 0)).sum(0) for t in range(len(tokens))]
    return np.array(sums).reshape(-1, *CHANNELS), padded[len(tokens) :].astype(np.float32)


@cache
def convolve():
    return jax.jit(causal_conv)
