import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sml_jax.learn import position_chunks, token_logprobs
from sml_jax.learn.logprobs import HeadLayout, hidden_logprobs
from sml_jax.sharding import AXES, make_mesh, num_row_shards, row_sharding


def test_known_answers_over_two_tokens():
    # Odds 1:3, then 1:1, then 9:1 for token 0. The last row of logits predicts nothing here.
    logits = jnp.log(jnp.array([[[1.0, 3.0], [1.0, 1.0], [9.0, 1.0]]]))
    np.testing.assert_allclose(jnp.exp(token_logprobs(logits, jnp.array([[0, 1, 0]]))), [[1.0, 0.75, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(token_logprobs(logits, jnp.array([[1, 0, 0]]))), [[1.0, 0.25, 0.5]], rtol=1e-6)


def test_the_first_token_and_a_lone_one_get_zero():
    np.testing.assert_array_equal(token_logprobs(jnp.ones((2, 1, 3)), jnp.zeros((2, 1), jnp.int32)), 0.0)


def test_forbidden_tokens_elsewhere_do_no_harm():
    logits = jnp.array([[[0.0, 0.0, -jnp.inf], [0.0, 0.0, 0.0]]])
    tokens = jnp.array([[2, 1]])
    np.testing.assert_allclose(token_logprobs(logits, tokens)[0, 1], np.log(0.5), rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: token_logprobs(x, tokens).sum())(logits)).all()


def test_half_precision_logits_are_scored_in_float32():
    logits = jnp.array(np.random.default_rng(0).normal(size=(2, 5, 300)) * 8, jnp.bfloat16)
    tokens = jnp.array(np.random.default_rng(1).integers(0, 300, (2, 5)))
    actual = token_logprobs(logits, tokens)
    assert actual.dtype == jnp.float32
    np.testing.assert_array_equal(actual, token_logprobs(logits.astype(jnp.float32), tokens))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_agrees_with_plain_loops(seed):
    rng = np.random.default_rng(seed)
    logits, tokens = rng.normal(size=(2, 4, 5)) * 10, rng.integers(0, 5, (2, 4))
    expected = np.zeros((2, 4))
    for b in range(2):
        for t in range(1, 4):
            odds = [np.exp(x) for x in logits[b, t - 1]]
            expected[b, t] = np.log(odds[tokens[b, t]] / sum(odds))
    actual = token_logprobs(jnp.array(logits, jnp.float32), jnp.array(tokens, jnp.int32))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


WIDTH, VOCABULARY = 6, 11


def scored_whole(params, hidden, tokens, mask):
    """The reference: all logits at once."""
    return jnp.where(mask, token_logprobs(output(params, hidden), tokens), 0.0)


def output(params, hidden):
    return jnp.tanh(hidden @ params["kernel"] + params["bias"]) * 3.0


def random_case(seed, rows, time, share):
    rng = np.random.default_rng(seed)
    params = {"kernel": rng.normal(size=(WIDTH, VOCABULARY)), "bias": rng.normal(size=VOCABULARY)}
    hidden, slopes = rng.normal(size=(rows, time, WIDTH)), rng.normal(size=(rows, time))
    tokens, mask = rng.integers(0, VOCABULARY, (rows, time)), rng.random((rows, time)) < share
    to_jax = lambda leaf: jnp.asarray(leaf, jnp.float32)  # noqa: E731
    return jax.tree.map(to_jax, params), to_jax(hidden), jnp.asarray(tokens), jnp.asarray(mask), to_jax(slopes)


@pytest.mark.parametrize(
    ("rows", "time", "parts", "chunk"), [(2, 1, 1, 1), (6, 9, 1, 3), (6, 9, 2, 1000), (2, 8, 2, 5)], ids=str
)
def test_chunks_score_as_whole_logits_do(rows, time, parts, chunk):
    """Values and gradients, for no tokens, a few and all of them; in chunks that do and do not divide the batch."""
    mesh = Mesh(np.array(jax.devices()[:parts]).reshape(parts, 1, 1), AXES)
    layout = HeadLayout(mesh, {"kernel": PartitionSpec(), "bias": PartitionSpec()}) if parts > 1 else None

    @jax.jit
    def both(params, hidden, tokens, mask, slopes):
        def chunked(p, h):
            return hidden_logprobs(output, p, h, tokens, mask, layout=layout, max_logits=chunk * VOCABULARY)

        actual, pull = jax.vjp(chunked, params, hidden)
        expected, pull_whole = jax.vjp(lambda p, h: scored_whole(p, h, tokens, mask), params, hidden)
        return (actual, pull(slopes)), (expected, pull_whole(slopes))

    for seed, share in enumerate([0.0, 0.2, 0.5, 1.0]):
        actual, expected = both(*random_case(seed, rows, time, share))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), actual, expected)
        assert time == 1 or share == 0 or np.asarray(expected[0]).any()


def test_what_is_not_asked_for_is_not_scored():
    """Whatever stands there, NaN included; and a slope there reaches nothing."""
    params, hidden, tokens, mask, slopes = random_case(0, 3, 7, 0.5)
    before = jnp.pad(mask[:, 1:], ((0, 0), (0, 1)))
    broken = jnp.where(before[..., None], hidden, jnp.nan)
    actual, pull = jax.vjp(lambda p, h: hidden_logprobs(output, p, h, tokens, mask), params, hidden)
    again, pull_broken = jax.vjp(
        lambda p, h: hidden_logprobs(output, p, h, tokens, mask, max_logits=VOCABULARY), params, broken
    )
    np.testing.assert_allclose(actual, again, rtol=1e-6)
    unasked = jnp.where(mask.at[:, 0].set(False), slopes, jnp.nan)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), pull(slopes), pull_broken(unasked)
    )


def test_a_head_that_is_not_trained_gets_no_gradient():
    params, hidden, tokens, mask, slopes = random_case(1, 2, 5, 0.7)
    score = partial(hidden_logprobs, output, tokens=tokens, mask=mask, max_logits=3 * VOCABULARY)
    # Optimised as users' programs are: only so are the two programs' sums the same to the last bit.
    full = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}

    def gradients(trained, params, hidden):
        return jax.vjp(partial(score, trained=trained), params, hidden)[1](slopes)

    compiled = jax.jit(gradients, static_argnums=0, compiler_options=full)
    whole, fixed = compiled(True, params, hidden), compiled(False, params, hidden)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(fixed[0]))
    np.testing.assert_array_equal(fixed[1], whole[1])


def test_no_array_of_all_logits():
    """Memory is bounded by the chunk's size: a vocabulary eight times as large needs no more for logits."""

    def held(vocabulary, whole):
        params = {
            "kernel": jax.ShapeDtypeStruct((8, vocabulary), jnp.float32),
            "bias": jax.ShapeDtypeStruct((vocabulary,), jnp.float32),
        }
        hidden = jax.ShapeDtypeStruct((4, 256, 8), jnp.float32)
        tokens = jnp.zeros((4, 256), jnp.int32)
        score = partial(hidden_logprobs, output, max_logits=2**18)
        score = scored_whole if whole else score
        step = jax.jit(jax.grad(lambda p, h: score(p, h, tokens, tokens == 0).sum(), argnums=(0, 1)))
        return step.lower(params, hidden).compile().memory_analysis().temp_size_in_bytes

    assert held(8192, whole=True) >= 2 * 4 * 1024 * 8192
    assert held(8192, whole=False) < held(8192, whole=True) / 8


@pytest.mark.parametrize(("platform", "chunk"), [("cpu", 256), ("gpu", 1024), ("tpu", 1024)])
def test_a_chunk_is_as_long_as_suits_the_platform(monkeypatch, platform, chunk):
    monkeypatch.setattr(position_chunks, "platform_of", lambda mesh: platform)
    kernel, hidden = jax.ShapeDtypeStruct((8, 2**18), jnp.float32), jax.ShapeDtypeStruct((8, 1024, 8), jnp.float32)
    tokens = jnp.zeros((8, 1024), jnp.int32)

    def score(kernel, hidden):
        return hidden_logprobs(lambda p, x: x @ p["kernel"], {"kernel": kernel}, hidden, tokens, tokens == 0)

    assert f",{chunk},{2**18}]" in str(jax.make_jaxpr(score)(kernel, hidden))


@pytest.mark.parametrize("sizes", [(2, 2, 2), (1, 1, 8), (8, 1, 1)], ids=str)
def test_a_mesh_scores_alike_and_adds_the_heads_gradient_up_once(sizes):
    """Within the loop nothing of the head's size goes between devices, and no logits do."""
    mesh = make_mesh(*sizes)
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(size=(16, 64)), jnp.float32)}
    hidden = jnp.asarray(rng.normal(size=(8, 12, 16)), jnp.float32)
    tokens, mask = jnp.asarray(rng.integers(0, 64, (8, 12))), jnp.asarray(rng.random((8, 12)) < 0.6)

    def both(p, h, layout):
        def score(p, h):
            return hidden_logprobs(lambda p, x: x @ p["kernel"], p, h, tokens, mask, layout=layout)

        return score(p, h), jax.grad(lambda p, h: (score(p, h) * (1 + tokens)).sum(), argnums=(0, 1))(p, h)

    expected = jax.jit(both, static_argnums=2)(params, hidden, None)
    rows, split = row_sharding(mesh), NamedSharding(mesh, PartitionSpec("fsdp", "tensor"))
    given = jax.device_put((params, hidden), ({"kernel": split}, rows))
    layout = HeadLayout(mesh, {"kernel": PartitionSpec(None, "tensor")})
    program = jax.jit(both, static_argnums=2, out_shardings=(rows, ({"kernel": split}, rows)))
    program = program.lower(*given, layout).compile()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), program(*given), expected)

    inside = outside = 0
    for line in program.as_text().split("\n"):
        if line and not line.startswith(" "):
            in_loop = not line.startswith("ENTRY")
        sent = re.search(r"= f32\[([\d,]*)\]\S* (all-\w+|reduce-scatter|collective-permute|all-to-all)\(", line)
        if sent:
            size = math.prod(int(n) for n in sent[1].split(","))
            inside, outside = (max(inside, size), outside) if in_loop else (inside, max(outside, size))
    chunk = -(-12 * 8 // num_row_shards(mesh) // 8)
    assert inside <= chunk * 16, "more than a chunk's hidden states goes round in the loop"
    assert (outside > 0) == (num_row_shards(mesh) > 1)
