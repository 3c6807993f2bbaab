import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.common.errors import UserError
from sml_jax.learn import (
    AGGREGATIONS,
    PolicyLoss,
    group_advantages,
    grpo_loss,
    grpo_token_loss,
    sft_loss,
    token_logprobs,
    token_weights,
)

MAX_TOKENS = 11


def reference_grpo(logprob, old, advantage, mask, low, high, kl_coef, ref, aggregation):
    """The GRPO objective in plain Python floats, token by token."""
    logprob, old, advantage, ref = (np.asarray(x, np.float64).tolist() for x in (logprob, old, advantage, ref))
    dialogues, kls, ratios, lows, highs, gaps = [], [], [], 0, 0, []
    for b in range(len(logprob)):
        dialogue = []
        for t in range(len(logprob[b])):
            if not mask[b][t]:
                continue
            ratio = math.exp(logprob[b][t] - old[b][t])
            held = max(min(ratio, 1 + high), 1 - low)
            surrogate = min(ratio * advantage[b], held * advantage[b])
            kl = math.exp(ref[b][t] - logprob[b][t]) - (ref[b][t] - logprob[b][t]) - 1
            dialogue.append(-(surrogate - kl_coef * kl))
            kls.append(kl)
            ratios.append(ratio)
            gaps.append(abs(logprob[b][t] - old[b][t]))
            if surrogate != ratio * advantage[b]:
                highs += ratio > 1
                lows += ratio < 1
        dialogues.append(dialogue)
    count = max(len(ratios), 1)
    if aggregation == "sequence":
        loss = sum(sum(d) / len(d) for d in dialogues if d) / len(dialogues)
    elif aggregation == "token":
        loss = sum(map(sum, dialogues)) / count
    else:
        loss = sum(map(sum, dialogues)) / (len(dialogues) * MAX_TOKENS)
    return {
        "loss": loss,
        "kl": sum(kls) / count,
        "ratio_mean": sum(ratios) / count,
        "ratio_max": max(ratios, default=0.0),
        "clip_fraction_low": lows / count,
        "clip_fraction_high": highs / count,
        "logprob_mismatch": sum(gaps) / count,
        "logprob_mismatch_max": max(gaps, default=0.0),
        "entropy": -sum(logprob[b][t] for b, t in zip(*np.nonzero(mask), strict=True)) / count,
        "student_tokens": len(ratios),
    }


def a_batch(seed, shape=(4, 6)):
    """Log-probs, old log-probs, reference log-probs, advantages and a mask; float32 in numpy."""
    rng = np.random.default_rng(seed)
    logprob = -rng.exponential(1.5, shape)
    old = logprob + rng.normal(0, 0.4, shape)
    ref = logprob + rng.normal(0, 0.6, shape)
    advantage = rng.choice([-1.7, -0.4, 0.0, 0.6, 2.3], shape[0])
    arrays = [x.astype(np.float32) for x in (logprob, old, ref, advantage)]
    return *arrays, rng.random(shape) < 0.5


def test_token_loss_known_answers():
    # Ratios 1, 1.1, 2, 0.5 with advantage 3, then with advantage -3; clip at 0.8 and 1.3.
    logprob = jnp.log(jnp.array([[1.0, 1.1, 2.0, 0.5]] * 2))
    loss, parts = grpo_token_loss(logprob, jnp.zeros((2, 4)), jnp.array([3.0, -3.0]), clip_low=0.2, clip_high=0.3)
    np.testing.assert_allclose(loss, [[-3.0, -3.3, -3.9, -1.5], [3.0, 3.3, 6.0, 2.4]], rtol=1e-5)
    np.testing.assert_allclose(parts["ratio"], [[1.0, 1.1, 2.0, 0.5]] * 2, rtol=1e-6)
    np.testing.assert_array_equal(parts["clipped"], [[False, False, True, False], [False, False, False, True]])
    np.testing.assert_array_equal(parts["kl"], 0.0)


def test_kl_known_answers():
    # Reference over policy 1, 2 and 1/2: k3 = x - ln x - 1.
    reference = jnp.log(jnp.array([[1.0, 2.0, 0.5]]))
    zeros = jnp.zeros((1, 3))
    loss, parts = grpo_token_loss(zeros, zeros, jnp.zeros(1), kl_coef=0.1, ref_logprob=reference)
    expected = np.array([[0.0, 1 - math.log(2), math.log(2) - 0.5]])
    np.testing.assert_allclose(parts["kl"], expected, rtol=1e-5)
    np.testing.assert_allclose(loss, 0.1 * expected, rtol=1e-5)


def test_loss_known_answer():
    # One student token of ratio 1 and advantage 1; two of ratio 1.1 and 2 (clipped to 1.2) and advantage 2.
    logprob = jnp.log(jnp.array([[0.5, 0.5, 0.5], [0.5, 0.55, 1.0]]))
    old = jnp.log(jnp.full((2, 3), 0.5))
    mask = jnp.array([[True, False, False], [False, True, True]])
    expected = {"sequence": -(1 + 2.3) / 2, "token": -(1 + 2.2 + 2.4) / 3, "constant": -(1 + 2.2 + 2.4) / 8}
    for aggregation, loss in expected.items():
        actual, metrics = grpo_loss(logprob, old, jnp.array([1.0, 2.0]), mask, aggregation=aggregation, max_tokens=4)
        np.testing.assert_allclose(actual, loss, rtol=1e-5, err_msg=aggregation)
    np.testing.assert_allclose(metrics["clip_fraction_high"], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics["clip_fraction_low"], 0.0)
    np.testing.assert_allclose(metrics["ratio_mean"], 4.1 / 3, rtol=1e-5)
    np.testing.assert_allclose(metrics["ratio_max"], 2.0, rtol=1e-5)
    np.testing.assert_allclose(metrics["logprob_mismatch_max"], math.log(2), rtol=1e-5)
    np.testing.assert_allclose(metrics["entropy"], (math.log(2) - math.log(0.55)) / 3, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 1), (4, 6)]),
    st.sampled_from(AGGREGATIONS),
    st.sampled_from([(0.2, 0.2), (0.1, 0.35), (0.0, 0.0)]),
    st.sampled_from([0.0, 0.3]),
)
def test_agrees_with_plain_loops(seed, shape, aggregation, clips, kl_coef):
    logprob, old, ref, advantage, mask = a_batch(seed, shape)
    loss, metrics = grpo_loss(
        *map(jnp.array, (logprob, old, advantage, mask)),
        clip_low=clips[0],
        clip_high=clips[1],
        kl_coef=kl_coef,
        ref_logprob=jnp.array(ref),
        aggregation=aggregation,
        max_tokens=MAX_TOKENS,
    )
    expected = reference_grpo(logprob, old, advantage, mask, *clips, kl_coef, ref, aggregation)
    np.testing.assert_allclose(loss, expected["loss"], rtol=1e-4, atol=1e-5)
    assert metrics.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from(AGGREGATIONS))
def test_the_gradient_is_the_slope_of_the_plain_loops(seed, aggregation):
    logprob, old, ref, advantage, mask = a_batch(seed, (2, 3))
    actual = jax.grad(
        lambda x: grpo_loss(
            x,
            *map(jnp.array, (old, advantage, mask)),
            kl_coef=0.3,
            ref_logprob=jnp.array(ref),
            aggregation=aggregation,
            max_tokens=MAX_TOKENS,
        )[0]
    )(jnp.array(logprob))
    step = 1e-6
    for index in np.ndindex(logprob.shape):
        sides = []
        for sign in (1, -1):
            moved = logprob.astype(np.float64)
            moved[index] += sign * step
            sides.append(reference_grpo(moved, old, advantage, mask, 0.2, 0.2, 0.3, ref, aggregation)["loss"])
        np.testing.assert_allclose(actual[index], (sides[0] - sides[1]) / (2 * step), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kl_coef", [0.0, 0.3])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_what_stands_outside_the_mask_has_no_influence(kl_coef, aggregation):
    logprob, old, ref, advantage, mask = a_batch(3)
    mask[1] = False  # a dialogue without student tokens

    @jax.jit
    def run(logprob, old, ref, advantage, weights):
        def losses(logprob, weights):
            how = {"aggregation": aggregation, "max_tokens": MAX_TOKENS, "weights": weights}
            loss, metrics = grpo_loss(logprob, old, advantage, jnp.array(mask), kl_coef=kl_coef, ref_logprob=ref, **how)
            sft, sft_metrics = sft_loss(logprob, jnp.array(mask), **how)
            return loss + 7 * sft, (metrics, sft_metrics)

        value = jax.value_and_grad(losses, has_aux=True)
        return value(logprob, None), value(logprob, weights)

    def batch_with(garbage):
        arrays = [jnp.where(mask, x, garbage) for x in (logprob, old, ref)]
        weights = jnp.where(mask, token_weights(jnp.array(mask), aggregation, MAX_TOKENS), garbage)
        return *arrays, jnp.array(advantage).at[1].set(garbage), weights

    expected = run(*batch_with(0.0))
    for _, gradient in expected:
        np.testing.assert_array_equal(gradient[~mask], 0.0)
        assert np.abs(np.asarray(gradient)[mask]).sum() > 0
    for garbage in (math.nan, -math.inf, math.inf, 1e30):
        jax.tree.map(np.testing.assert_array_equal, run(*batch_with(garbage)), expected)


def test_a_token_that_the_policy_forbids_outside_the_mask_is_harmless_through_the_logits():
    logits = jnp.zeros((1, 3, 2)).at[0, 1, 0].set(-jnp.inf)
    tokens, mask = jnp.array([[0, 1, 0]]), jnp.array([[False, True, False]])
    for loss in (
        lambda x: grpo_loss(token_logprobs(x, tokens), jnp.full((1, 3), -0.7), jnp.ones(1), mask)[0],
        lambda x: sft_loss(token_logprobs(x, tokens), mask)[0],
    ):
        gradient = jax.jit(jax.grad(loss))(logits)
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[0, 1:], 0.0)
        assert gradient[0, 0, 1] < 0


def test_groups_without_variance_give_no_gradient():
    logprob, old, _, _, _ = a_batch(5, (9, 6))
    old[0, 0] = -200.0  # a ratio beyond float32, times an advantage of 0
    advantage = group_advantages(jnp.array([0.7, 0.7, 0.7, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]), 3)
    gradient = jax.jit(jax.grad(lambda x: grpo_loss(x, jnp.array(old), advantage, jnp.ones((9, 6), bool))[0]))(
        jnp.array(logprob)
    )
    np.testing.assert_array_equal(gradient[:3], 0.0)
    np.testing.assert_array_equal(gradient[6:], 0.0)
    assert np.abs(gradient[3:6]).sum() > 0


def test_no_gradient_where_the_clip_holds_and_only_there():
    logprob = jnp.log(jnp.array([[1.0, 1.1, 2.0, 0.5]] * 2))
    mask = jnp.ones((2, 4), bool)
    gradient = jax.grad(lambda x: grpo_loss(x, jnp.zeros((2, 4)), jnp.array([3.0, -3.0]), mask)[0])(logprob)
    # -ratio * advantage, over 4 tokens and 2 dialogues.
    expected = np.array([[-3.0, -3.3, 0.0, -1.5], [3.0, 3.3, 6.0, 0.0]]) / 8
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_on_policy_the_gradient_is_reinforce():
    rng = np.random.default_rng(0)
    logits = jnp.array(rng.normal(size=(3, 5, 4)), jnp.float32)
    tokens, mask = jnp.array(rng.integers(0, 4, (3, 5))), jnp.array(rng.random((3, 5)) < 0.6)
    advantage = jnp.array([1.0, -0.5, 2.0])

    def policy_gradient(x):
        logprob = jax.nn.log_softmax(x[:, :-1])
        chosen = jnp.stack([jnp.stack([logprob[b, t - 1, tokens[b, t]] for t in range(1, 5)]) for b in range(3)])
        return -jnp.sum(advantage[:, None] * jnp.where(mask[:, 1:], chosen, 0)) / jnp.sum(mask)

    def on_policy(x):
        logprob = token_logprobs(x, tokens)
        return grpo_loss(logprob, logprob, advantage, mask, aggregation="token")[0]

    mask = mask.at[:, 0].set(False)
    actual, expected = (jax.jit(jax.grad(loss))(logits) for loss in (on_policy, policy_gradient))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("cuts", [[3], [1, 2, 5]])
def test_micro_batches_add_up_to_the_whole_batch(aggregation, cuts):
    rng = np.random.default_rng(7)
    _, old, ref, advantage, mask = (jnp.array(x) for x in a_batch(7, (6, 5)))
    mask = mask.at[2].set(False)
    tokens = jnp.array(rng.integers(0, 4, (6, 5)))
    table = jnp.array(rng.normal(size=(5, 4)), jnp.float32)  # the policy: logits by position, shared by all dialogues
    share = jnp.array([1.0, 0.0, 1.0, 2.0, 1.0, 1.0])

    @jax.jit
    def run(table, tokens, old, ref, advantage, mask, share, weights):
        def losses(table):
            logprob = token_logprobs(jnp.broadcast_to(table, (*tokens.shape, 4)), tokens)
            how = {"aggregation": aggregation, "max_tokens": 5}
            grpo, sft = {"weights": weights and weights[0]}, {"weights": weights and weights[1]}
            if weights is None:
                sft = {"dialogue_weight": share}
            loss = grpo_loss(logprob, old, advantage, mask, kl_coef=0.2, ref_logprob=ref, **how, **grpo)[0]
            return loss + 7 * sft_loss(logprob, mask, **how, **sft)[0]

        return jnp.append(jax.grad(losses)(table).ravel(), losses(table))

    batch = (tokens, old, ref, advantage, mask, share)
    expected = run(table, *batch, None)
    weights = (
        token_weights(mask, aggregation, 5),
        token_weights(mask, aggregation, 5, dialogue_weight=share),
    )
    actual = sum(
        run(table, *jax.tree.map(lambda x, rows=slice(*edges): x[rows], (*batch, weights)))
        for edges in itertools.pairwise([0, *cuts, 6])
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_sft_known_answers():
    logprob = jnp.log(jnp.array([[0.5, 0.25, 0.1], [0.5, 0.5, 0.1]]))
    mask = jnp.array([[True, True, False], [False, True, False]])
    loss, metrics = sft_loss(logprob, mask)
    np.testing.assert_allclose(loss, 4 * math.log(2) / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics["student_tokens"], 3)
    loss, _ = sft_loss(logprob, mask, aggregation="sequence")
    np.testing.assert_allclose(loss, 2.5 * math.log(2) / 2, rtol=1e-6)


def test_sft_on_the_solved_dialogues_alone_is_sft_without_the_others():
    logprob, _, _, _, mask = a_batch(11)
    logprob[2, mask[2]] = np.nan
    keep = np.array([0, 1, 3])
    share = jnp.array([1.0, 1.0, 0.0, 1.0])
    for aggregation in AGGREGATIONS:
        how = {"aggregation": aggregation, "max_tokens": MAX_TOKENS}
        actual, metrics = sft_loss(jnp.array(logprob), jnp.array(mask), dialogue_weight=share, **how)
        expected, expected_metrics = sft_loss(jnp.array(logprob[keep]), jnp.array(mask[keep]), **how)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
        for name in expected_metrics:
            np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-6, err_msg=name)


def test_half_precision_log_probs_are_reduced_in_float32():
    logprob = jnp.full((1, 4096), -0.5, jnp.bfloat16)
    mask = jnp.ones((1, 4096), bool)
    assert sft_loss(logprob, mask)[0].dtype == jnp.float32
    token_loss, _ = grpo_token_loss(logprob, logprob, jnp.ones(1, jnp.bfloat16), kl_coef=0.1, ref_logprob=logprob)
    assert token_loss.dtype == jnp.float32
    loss, metrics = grpo_loss(logprob, logprob, jnp.ones(1, jnp.bfloat16), mask)
    assert {loss.dtype, *(m.dtype for m in metrics.values())} == {jnp.dtype("float32")}
    np.testing.assert_allclose(loss, -1.0, rtol=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_log_probs_far_apart_stay_finite(sign):
    far = jnp.full((1, 2), sign * 500.0)
    loss, gradient = jax.value_and_grad(
        lambda x: grpo_loss(
            x, -far, jnp.array([-1.0]), jnp.ones((1, 2), bool), kl_coef=0.1, ref_logprob=-far, clip_high=1e9
        )[0]
    )(far)
    assert np.isfinite(loss) and np.isfinite(gradient).all()


def test_what_cannot_be_meant_is_refused():
    logprob, old, _, advantage, mask = map(jnp.array, a_batch(1))
    with pytest.raises(UserError, match=r"kl_coef is 0\.1 but there is no ref_logprob"):
        grpo_loss(logprob, old, advantage, mask, kl_coef=0.1)
    for name in ("clip_low", "clip_high", "kl_coef"):
        with pytest.raises(UserError, match=f"{name} is -1"):
            grpo_loss(logprob, old, advantage, mask, **{name: -1.0})
    with pytest.raises(UserError, match="choose one of"):
        sft_loss(logprob, mask, aggregation="mean")
    with pytest.raises(UserError, match="give dialogue_weight to token_weights"):
        sft_loss(logprob, mask, weights=token_weights(mask), dialogue_weight=advantage)


def test_mismatch_weights_by_hand():
    """The trainer finds the tokens 1.1, 1.5, 4 and 0.5 times as likely as the sampler did; none counts above double.

    A token that is pushed further to the side on which it is already more than 20 % off has no gradient.
    """
    ratio = jnp.array([[1.1, 1.5, 4.0, 0.5]])
    sampler = jnp.log(jnp.array([[0.2, 0.2, 0.1, 0.4]]))
    logprob = sampler + jnp.log(ratio)

    def losses(x, advantage, **settings):
        return grpo_token_loss(x, sampler, jnp.array([advantage]), **settings)

    def slope(advantage, **settings):
        return jax.grad(lambda x: losses(x, advantage, **settings)[0].sum())(logprob)

    # Discouraged: the third token is capped, the fourth is rarer than it was sampled already, so the clip holds.
    actual, parts = losses(logprob, -3.0, mismatch_cap=2.0)
    np.testing.assert_allclose(actual, [[3 * 1.1, 3 * 1.5, 3 * 2.0, 3 * 0.8]], rtol=1e-6)
    np.testing.assert_allclose(parts["ratio"], ratio, rtol=1e-6)
    np.testing.assert_array_equal(parts["clipped"], [[False, False, False, True]])
    np.testing.assert_allclose(slope(-3.0, mismatch_cap=2.0), [[3 * 1.1, 3 * 1.5, 3 * 2.0, 0]], rtol=1e-6)
    np.testing.assert_allclose(slope(-3.0), [[3 * 1.1, 3 * 1.5, 3 * 4.0, 0]], rtol=1e-6)
    # Encouraged: the second and third are likelier than they were sampled already.
    actual, parts = losses(logprob, 3.0, mismatch_cap=2.0)
    np.testing.assert_allclose(actual, [[-3 * 1.1, -3 * 1.2, -3 * 1.2, -3 * 0.5]], rtol=1e-6)
    np.testing.assert_array_equal(parts["clipped"], [[False, True, True, False]])
    np.testing.assert_allclose(slope(3.0, mismatch_cap=2.0), [[-3 * 1.1, 0, 0, -3 * 0.5]], rtol=1e-6)
    # A cap within the clip's range holds on both sides.
    np.testing.assert_allclose(slope(3.0, mismatch_cap=1.05), [[-3 * 1.05, 0, 0, -3 * 0.5]], rtol=1e-6)

    mask = jnp.array([[True, True, True, True]])
    _, metrics = grpo_loss(logprob, sampler, jnp.array([-3.0]), mask, mismatch_cap=2.0)
    assert metrics["mismatch_capped"] == 0.25 and metrics["ratio_max"] == pytest.approx(4.0)
    assert metrics["clip_fraction_low"] == 0.25 and metrics["clip_fraction_high"] == 0
    _, metrics = grpo_loss(logprob, sampler, jnp.array([3.0]), mask, mismatch_cap=2.0)
    assert metrics["mismatch_capped"] == 0, "a clipped token has no weight that a cap could limit"
    assert metrics["clip_fraction_low"] == 0 and metrics["clip_fraction_high"] == 0.5


def test_without_a_mismatch_the_weights_change_no_bit():
    """On the first update, where the policy is the sampler's; and wherever no ratio is above the cap."""
    logprob, old, _, advantage, _ = map(jnp.array, a_batch(3))

    @functools.partial(jax.jit, static_argnums=2)
    def loss_and_slope(x, sampler, cap):
        def total(y):
            losses = grpo_token_loss(y, sampler, advantage, mismatch_cap=cap)[0]
            return losses.sum(), losses

        return jax.grad(total, has_aux=True)(x)

    for sampler in (logprob, jnp.maximum(old, logprob - 0.5)):
        plain, weighted = (loss_and_slope(logprob, sampler, cap) for cap in (None, 2.0))
        jax.tree.map(np.testing.assert_array_equal, plain, weighted)


def test_mismatch_weights_leave_the_kl_term_and_a_matching_sampler_alone():
    logprob, reference = jnp.log(jnp.array([[0.3, 0.4]])), jnp.log(jnp.array([[0.25, 0.5]]))
    settings = {"kl_coef": 0.7, "ref_logprob": reference}

    def gradient(old, cap, advantage):
        loss = lambda x: grpo_token_loss(x, old, jnp.array([advantage]), mismatch_cap=cap, **settings)[0].sum()  # noqa: E731
        return jax.grad(loss)(logprob)

    np.testing.assert_allclose(gradient(logprob, 1.5, 2.0), gradient(logprob, None, 2.0), rtol=1e-6)
    np.testing.assert_allclose(gradient(logprob - 1.0, 1.5, 0.0), gradient(logprob, None, 0.0), rtol=1e-6)


@pytest.mark.parametrize("cap", [0.0, -1.0, float("nan")])
def test_mismatch_cap_out_of_range(cap):
    with pytest.raises(UserError, match=r"mismatch_cap is .*: give a number above 0"):
        grpo_token_loss(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones(1), mismatch_cap=cap)
    with pytest.raises(UserError, match=r"mismatch_cap is .*: give a number above 0"):
        PolicyLoss(mismatch_cap=cap)
