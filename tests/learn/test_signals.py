"""The update's two streams, worked by hand on a vocabulary of two tokens, and what a method may return."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learn_toys import parts_of
from run_toys import host

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn import LikelihoodSignal, PolicyLoss, PolicySignal, Signals
from sml_jax.learn.signals import signals_of
from sml_jax.learn.train_state import init_state
from sml_jax.learn.update import Learner
from sml_jax.models.config import DecoderConfig
from sml_jax.models.decoder import Decoder, init_params

SGD = optax.sgd(1.0)  # the step is the gradient
TOKENS = np.array([[0, 1, 1, 0], [1, 0, 1, 1]])
BATCH = {
    "tokens": TOKENS,
    "length": np.array([4, 4]),
    "weights": np.array([[0.0, 0.25, 0.0, 0.25], [0.0, 0.5, 0.125, 0.0]]),
    # Two tokens of the first row were sampled by a policy that found them as likely as this one does, and those of the
    # second row by one that found them half as likely, so that their ratio of 2 is past the clip of 1.2.
    "old_logprob": np.log([[1.0, 0.5, 1.0, 0.5], [1.0, 0.25, 0.25, 1.0]]),
    "advantage": np.array([[0.0, 3.0, 0.0, -1.0], [0.0, 2.0, -4.0, 0.0]]),
}
# The gradient of the policy loss goes by weight * ratio * advantage, but not where the clip holds.
POLICY_SLOPE = np.array([[0.0, 0.25 * 3, 0.0, 0.25 * -1], [0.0, 0.0, 0.125 * 2 * -4, 0.0]])
POLICY_LOSS = -(0.25 * 3 - 0.25 * 1 + 0.5 * 1.2 * 2 - 0.125 * 2 * 4)
LIKELIHOOD_LOSS = (0.25 + 0.25 + 0.5 + 0.125) * math.log(2)


@pytest.fixture(scope="module")
def model():
    sizes = {"vocab_size": 2, "embed_dim": 4, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 4, "mlp_dim": 4}
    return Decoder(DecoderConfig(**sizes, max_length=4, tied_embeddings=False))


@pytest.fixture(scope="module")
def params(model):
    """With an output layer of zeros, so that both tokens have a probability of one half everywhere."""
    params = init_params(model, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if "output" in jax.tree_util.keystr(path) else leaf, params
    )


@pytest.fixture(scope="module")
def learner(model):
    return Learner(model, SGD, PolicyLoss())


def step(learner, params, stream):
    """The gradient of the output layer, and metrics, of one update."""
    state, metrics = learner.update(init_state(params, SGD), parts_of(BATCH, stream, rows=2, buckets=(4,)))
    return -host(state.params["params"]["output"]["kernel"]), metrics


def by_hand(model, params, slope):
    """The gradient of the output layer where the loss falls by `slope` for each unit of a token's log-prob.

    With both tokens at one half, d logprob / d logits is +1/2 at the token and -1/2 at the other.
    """
    positions = np.broadcast_to(np.arange(4), TOKENS.shape)
    hidden = np.asarray(model.apply(params, jnp.asarray(TOKENS), jnp.asarray(positions), method="hidden_states"))
    kernel = np.zeros((4, 2))
    for row in range(2):
        for t in range(1, 4):
            to_logits = np.where(np.arange(2) == TOKENS[row, t], 0.5, -0.5)
            kernel -= slope[row, t] * np.outer(hidden[row, t - 1], to_logits)
    return kernel


def test_the_policy_stream_by_hand(model, params, learner):
    gradient, metrics = step(learner, params, "policy")
    np.testing.assert_allclose(gradient, by_hand(model, params, POLICY_SLOPE), rtol=1e-5, atol=1e-7)
    assert metrics["loss"] == pytest.approx(POLICY_LOSS)
    assert metrics["student_tokens"] == 4 and metrics["clip_fraction_high"] == 1 / 4 and metrics["ratio_max"] == 2
    assert "nll" not in metrics


def test_the_likelihood_stream_by_hand(model, params, learner):
    gradient, metrics = step(learner, params, "likelihood")
    np.testing.assert_allclose(gradient, by_hand(model, params, BATCH["weights"]), rtol=1e-5, atol=1e-7)
    assert metrics["loss"] == pytest.approx(LIKELIHOOD_LOSS)
    assert metrics["nll"] == pytest.approx(math.log(2)) and metrics["student_tokens"] == 4
    assert "ratio_max" not in metrics


def test_both_streams_are_the_sum_of_each(model, params, learner):
    gradient, metrics = step(learner, params, "both")
    np.testing.assert_allclose(gradient, by_hand(model, params, POLICY_SLOPE + BATCH["weights"]), rtol=1e-5, atol=1e-7)
    assert metrics["loss"] == pytest.approx(POLICY_LOSS + LIKELIHOOD_LOSS)
    assert metrics["policy_loss"] == pytest.approx(POLICY_LOSS)
    assert metrics["likelihood_loss"] == pytest.approx(LIKELIHOOD_LOSS)
    assert metrics["nll"] == pytest.approx(math.log(2)) and metrics["likelihood_tokens"] == 4


def test_streams_on_different_tokens_are_one_forward_pass(model, params, learner):
    """As in critique prediction: one stream on the student's tokens, the other on the teacher's."""
    (part,) = parts_of(BATCH, "policy", rows=2, buckets=(4,))
    others = np.where(BATCH["weights"] > 0, 0.0, 0.25).astype(np.float32)
    both = part.replace(likelihood=LikelihoodSignal(others))
    state, metrics = learner.update(init_state(params, SGD), [both])
    slope = POLICY_SLOPE + others
    gradient = -host(state.params["params"]["output"]["kernel"])
    np.testing.assert_allclose(gradient, by_hand(model, params, slope), rtol=1e-5, atol=1e-7)
    assert metrics["student_tokens"] == 4 and metrics["likelihood_tokens"] == 4
    # Each stream's means are over its own tokens, also when micro-batches are put together.
    halves = [jax.tree.map(lambda array, row=row: array[row : row + 1], both) for row in range(2)]
    _, apart = learner.update(init_state(params, SGD), halves)
    assert apart == pytest.approx(metrics, rel=1e-5, abs=1e-6)


def test_a_policy_stream_needs_a_loss_and_a_micro_batch_a_stream(model, params):
    (part,) = parts_of(BATCH, "policy", rows=2, buckets=(4,))
    with pytest.raises(UserError, match="give Learner a token_loss"):
        Learner(model, SGD).update(init_state(params, SGD), [part])
    with pytest.raises(UserError, match="neither a policy nor a likelihood stream"):
        Learner(model, SGD).update(init_state(params, SGD), [part.replace(policy=None)])


def transcript(length=(3, 2)):
    """Two dialogues of three and two tokens; the student said the last one of each."""
    shape, dialogues = (2, 3), len(length)
    student = np.arange(3) == np.array(length)[:, None] - 1
    return Transcript(
        tokens=np.ones(shape, np.int32),
        length=np.array(length, np.int32),
        student=student,
        injected=np.zeros(shape, bool),
        logprob=np.where(student, -1.0, 0.0).astype(np.float32),
        sampling_logprob=np.zeros(shape, np.float32),
        turn=student.astype(np.int32),
        teacher=np.zeros(shape, bool),
        reward=np.array([1, 0], np.float32),
        solved_turn=np.array([1, 0], np.int32),
        turns=np.ones(dialogues, np.int32),
        group=np.zeros(dialogues, np.int32),
        dropped=np.zeros(dialogues, bool),
        max_student_tokens=4,
    )


ONES = np.where([[1, 1, 1], [1, 1, 0]], 1.0, 0.0)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (ONES, "wrong returned a ndarray: return a learn.Signals"),
        (Signals(), "without a stream: give it policy or likelihood"),
        (Signals(PolicySignal(np.ones(2), ONES, ONES)), r"policy.advantage has shape \[2\].*np.broadcast_to"),
        (Signals(likelihood=LikelihoodSignal(ONES[:, :2])), r"likelihood.weights has shape \[2, 2\].* \[2, 3\]"),
        (Signals(likelihood=LikelihoodSignal(-ONES)), "negative number or NaN.*negative advantage"),
        (Signals(likelihood=LikelihoodSignal(ONES * np.nan)), "negative number or NaN"),
        (Signals(likelihood=LikelihoodSignal(np.ones((2, 3)))), "past the end of a dialogue: multiply it"),
    ],
)
def test_what_a_method_may_not_return(returned, message):
    def wrong(_):
        return returned

    with pytest.raises(UserError, match=message):
        signals_of(wrong, transcript())


def test_signals_become_float32_and_know_which_dialogues_train():
    advantage = np.array([[0, 0, 0], [0, 2, 0]])
    likelihood = LikelihoodSignal(jnp.zeros((2, 3)))
    signals = signals_of(lambda _: Signals(PolicySignal(advantage, ONES, ONES), likelihood, {"a": 1.0}), transcript())
    assert signals.policy.advantage.dtype == signals.likelihood.weights.dtype == np.float32
    assert signals.metrics == {"a": 1.0}
    assert signals.trained_rows().tolist() == [True, True]
    assert signals.trained_rows(skip_zero_advantage=True).tolist() == [False, True]
    chosen = signals.select_rows(np.array([1]))
    assert chosen.policy.advantage.tolist() == [[0, 2, 0]] and chosen.likelihood.weights.shape == (1, 3)
