"""Credit by turn: by hand, and on a stopping problem whose gradient is known."""

import itertools

import numpy as np
import pytest
from test_methods import rollout

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn import Grpo, InformationGain, OfflineSml, PolicySignal, Signals, TurnReturns, turn_advantages
from sml_jax.learn.signals import signals_of


def dialogues(solved_turn, turns, answer_logprob=None, group_size=None, logprob=None):
    """A dialogue for each number: a given token, and then one student token for each turn."""
    solved_turn, turns = np.asarray(solved_turn, np.int32), np.asarray(turns, np.int32)
    batch, longest = len(turns), int(turns.max())
    number = np.arange(longest + 1)
    student = (number > 0) & (number <= turns[:, None])
    group = np.arange(batch, dtype=np.int32) // (group_size or batch)
    zeros = np.zeros(student.shape, np.float32)
    return Transcript(
        tokens=zeros.astype(np.int32), length=turns + 1, student=student, injected=zeros > 0,
        logprob=zeros if logprob is None else logprob, sampling_logprob=zeros,
        turn=np.where(student, number, 0).astype(np.int32), teacher=zeros > 0,
        reward=(solved_turn > 0).astype(np.float32), solved_turn=solved_turn, turns=turns, group=group,
        dropped=np.zeros(batch, bool), max_student_tokens=longest, answer_logprob=answer_logprob,
    )  # fmt: skip


def test_returns_to_go_and_the_others_mean_by_hand():
    rewards = np.array([[1.0, 2.0, 4.0], [1.0, 0.0, 0.0], [3.0, 6.0, 0.0]])
    taken = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], bool)
    # From the first turn on they have 7, 1 and 9; from the second 6 and 6; the third turn was taken by one alone.
    expected = [[7 - 5, 0, 4], [1 - 8, 0, 0], [9 - 4, 0, 0]]
    np.testing.assert_array_equal(turn_advantages(rewards, taken, 3), expected)
    # With a decay of a half the first has 3, 4, 4, the second 1, the third 6, 6.
    expected = [[3 - 3.5, 4 - 6, 4], [1 - 4.5, 0, 0], [6 - 2, 6 - 4, 0]]
    np.testing.assert_array_equal(turn_advantages(rewards, taken, 3, decay=0.5), expected)


def test_turn_returns_by_hand():
    """Solved at turn 1, at turn 3, and never; returns of 1, 0.25 and 0."""
    signals = signals_of(TurnReturns(discount=0.5), dialogues([1, 3, 0], [1, 3, 3]))
    late = 0.25 - 0.0
    expected = [[0, 1 - 0.125, 0, 0], [0, 0.25 - 0.5, late, late], [0, 0 - 0.625, -0.25, -0.25]]
    np.testing.assert_allclose(signals.policy.advantage, expected)
    np.testing.assert_allclose(signals.policy.weights.sum(axis=1), np.array([1, 3, 3]) / 9)
    assert signals.metrics["return"] == pytest.approx(1.25 / 3) and signals.metrics["zero_variance"] == 0


def test_equal_dialogues_give_no_gradient_and_dropped_ones_are_in_no_number():
    signals = signals_of(TurnReturns(), dialogues([3, 3, 3], [3, 3, 3]))
    assert not signals.policy.advantage.any() and signals.metrics["zero_variance_solved"] == 1
    dropped = np.array([False, False, False, True])
    student, turn = (np.where(dropped[:, None], 0, array) for array in (rollout().student, rollout().turn))
    script = rollout(dropped=dropped, student=student.astype(bool), turn=turn)
    signals = signals_of(TurnReturns(), script)
    np.testing.assert_array_equal(signals.policy.advantage[:, 0], 0)
    np.testing.assert_allclose(signals.policy.advantage.sum(axis=1), [1, -1, 1, 0])
    assert signals.metrics["return"] == pytest.approx(2 / 3)


ANSWER = np.array([[0, -8.0, -5.0, -1.0], [0, -8.0, -6.0, 0.0]], np.float32)


@pytest.mark.parametrize(
    ("decay", "credit"),
    [
        # From turn k on the likelihood rose by 7 and 4, and by 2; after the last turns nothing was measured.
        (1.0, [[0, 7 - 2, 4 - 0, 0], [0, 2 - 7, 0 - 4, 0]]),
        # Gains of 3 and 4, and of 2.
        (0.5, [[0, 5 - 2, 4 - 0, 0], [0, 2 - 5, 0 - 4, 0]]),
        (0.0, [[0, 3 - 2, 4 - 0, 0], [0, 2 - 3, 0 - 4, 0]]),
    ],
)
def test_information_gain_telescopes(decay, credit):
    script = dialogues([3, 0], [3, 2], ANSWER)
    plain, signals = (signals_of(method, script) for method in (Grpo(), InformationGain(weight=0.5, decay=decay)))
    added = np.where(script.student, signals.policy.advantage - plain.policy.advantage, 0)
    np.testing.assert_allclose(added, 0.5 * np.array(credit), atol=1e-6)
    assert signals.metrics["information_gain"] == pytest.approx((3 + 4 + 2) / 3)
    np.testing.assert_array_equal(signals.policy.weights, plain.policy.weights)


def test_a_weight_of_zero_is_grpo_bit_for_bit():
    script = dialogues([3, 0], [3, 2])
    plain, same = Grpo()(script), InformationGain(weight=0.0)(script)
    assert same.metrics == plain.metrics and not InformationGain(weight=0.0).needs_answer_logprob
    for name in ("advantage", "weights", "old_logprob"):
        assert np.array_equal(getattr(same.policy, name), getattr(plain.policy, name))


def test_what_information_gain_needs():
    assert InformationGain().needs_answer_logprob and InformationGain().min_group_size == 2
    with pytest.raises(UserError, match="transcript has no answer_logprob"):
        InformationGain()(dialogues([3, 0], [3, 2]))
    with pytest.raises(UserError, match="no policy stream"):
        InformationGain(OfflineSml())(dialogues([3, 0], [3, 2], ANSWER))
    for wrong, message in (({"weight": -1.0}, "weight is -1.0"), ({"decay": 2.0}, "decay is 2.0")):
        with pytest.raises(UserError, match=message):
            InformationGain(**wrong)
    with pytest.raises(UserError, match="turn_returns: discount"):
        TurnReturns(discount=2.0)


class Stopping:
    """Three turns. At each the policy may answer, which ends the dialogue, or ask, which makes the answer more likely.

    The policy asks at turn k with the probability sigmoid(logits[k]); at the last turn it cannot but answer, whatever
    it draws. An answer at turn k is correct with the probability `success[k]`; asking at turn k raises the
    log-likelihood by `gain[k]`, give or take 1.
    """

    logits = np.array([0.3, -0.2, 0.5])
    success = np.array([0.3, 0.5, 0.9])
    gain = np.array([1.0, 2.0])
    discount = 0.7
    samples, group_size = 1_000_000, 4

    @property
    def ask(self):
        return 1 / (1 + np.exp(-self.logits))

    def exact(self, value_of_end):
        """The gradient by the logits of the expected `value_of_end[k]`, k the last turn: a sum over all histories."""
        gradient = np.zeros(3)
        for asked in itertools.product([True, False], repeat=3):
            probability = np.prod(np.where(asked, self.ask, 1 - self.ask))
            last = min([k for k in range(3) if not asked[k]] + [2])
            score = np.where(np.arange(3) <= last, np.where(asked, 1 - self.ask, -self.ask), 0)
            gradient += probability * value_of_end[last] * score
        return gradient

    def sample(self):
        """A million dialogues as a Transcript, and the derivative of each token's log-probability by its logit."""
        rng = np.random.default_rng(0)
        asked = rng.random((self.samples, 3)) < self.ask
        turns = np.where(asked[:, 0], np.where(asked[:, 1], 3, 2), 1)
        solved = rng.random(self.samples) < self.success[turns - 1]
        noise = rng.choice([-1.0, 1.0], (self.samples, 2))
        answer = np.zeros((self.samples, 4), np.float32)
        answer[:, 2:] = np.cumsum(self.gain + noise, axis=1)
        script = dialogues(np.where(solved, turns, 0), turns, answer, self.group_size)
        score = np.where(script.student[:, 1:], np.where(asked, 1 - self.ask, -self.ask), 0)
        return script, score


@pytest.fixture(scope="module")
def stopping():
    return Stopping()


@pytest.fixture(scope="module")
def sampled(stopping):
    return stopping.sample()


def estimate(signals, score, group_size=Stopping.group_size):
    """The mean of the gradient estimates of the groups [3], and its standard error: groups are independent."""
    # Weights are shares of the batch's loss; times the number of dialogues and the most tokens they are 1.
    scale = signals.policy.weights.shape[0] * 3
    of_dialogues = scale * signals.policy.weights[:, 1:] * signals.policy.advantage[:, 1:] * score
    of_groups = of_dialogues.reshape(-1, group_size, 3).mean(axis=1)
    return of_groups.mean(axis=0), of_groups.std(axis=0) / np.sqrt(len(of_groups))


def per_turn_normalised(script, rewards, taken):
    """The estimator that is biased: each turn's reward less its mean over the dialogues that took the turn, added up.

    All dialogues are one group, so that the means are the expectations.
    """
    centred = np.where(taken, rewards - rewards.sum(axis=0) / taken.sum(axis=0), 0)
    to_go = np.cumsum(centred[:, ::-1], axis=1)[:, ::-1]
    advantage = np.pad(np.where(taken, to_go, 0), ((0, 0), (1, 0)))
    weights = script.student / (len(taken) * 3)
    return Signals(PolicySignal(advantage, weights, script.logprob))


def gains_of(script):
    taken = script.student[:, 1:]
    gains = np.diff(script.answer_logprob[:, 1:], axis=1, append=0)
    return np.where(np.pad(taken[:, 1:], ((0, 0), (0, 1))), gains, 0), taken


BOUND = 4.5  # standard errors: a true value is further off once in 150,000 times


def test_turn_returns_are_unbiased_where_the_policy_ends_the_dialogue(stopping, sampled):
    script, score = sampled
    exact = stopping.exact(stopping.success * stopping.discount ** np.arange(3))
    mean, error = estimate(signals_of(TurnReturns(stopping.discount), script), score)
    np.testing.assert_array_less(np.abs(mean - exact), BOUND * error + 1e-9)
    assert (np.abs(exact[:2]) > 20 * error[:2]).all() and exact[2] == pytest.approx(0), "or nothing would be shown"
    # A division by the dialogue's own length, which the policy chooses, turns the gradient away.
    mean, error = estimate(signals_of(TurnReturns(stopping.discount, "sequence"), script), score)
    slope = (mean[:2] @ exact[:2]) / (exact[:2] @ exact[:2])
    assert np.abs(mean - slope * exact)[:2].max() > 10 * error.max()


def test_information_gain_is_unbiased_where_the_policy_ends_the_dialogue(stopping, sampled):
    """Beside the turn returns, the gradient is that of the success and of the likelihood that was gained."""
    script, score = sampled
    value = stopping.success * stopping.discount ** np.arange(3) + 0.5 * np.array([0, 1, 3])
    mean, error = estimate(signals_of(InformationGain(TurnReturns(stopping.discount), 0.5), script), score)
    np.testing.assert_array_less(np.abs(mean - stopping.exact(value)), BOUND * error + 1e-9)


def test_per_turn_normalisation_is_biased_by_what_is_known_in_closed_form(stopping, sampled):
    """It takes the mean reward of turn s away from whoever takes turn s: -sum over s of mean_s * grad P(turn s)."""
    script, score = sampled
    rewards, taken = gains_of(script)
    exact = stopping.exact(np.array([0.0, 1.0, 3.0]))
    means = rewards.sum(axis=0) / taken.sum(axis=0)
    bias = -stopping.exact(np.cumsum(means))
    mean, error = estimate(per_turn_normalised(script, rewards, taken), score)
    # To the last bits, for the last two decisions are followed by no turn with a gain, and so have no noise or no bias.
    np.testing.assert_array_less(np.abs(mean - (exact + bias)), BOUND * error + 1e-9)
    # What the second turn gains on average is worth nothing to the first, which made it happen.
    assert abs(bias[0]) > 100 * error[0] and abs(mean[0] - exact[0]) > 100 * error[0]
    ours, error = estimate(
        Signals(
            PolicySignal(
                np.pad(turn_advantages(rewards, taken, stopping.group_size), ((0, 0), (1, 0))),
                script.student / (len(taken) * 3),
                script.logprob,
            )
        ),
        score,
    )
    np.testing.assert_array_less(np.abs(ours - exact), BOUND * error + 1e-9)
