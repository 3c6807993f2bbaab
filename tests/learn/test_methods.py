"""GRPO and offline SML as functions of a transcript, and a return of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_signals import transcript

from sml_jax.common.errors import UserError
from sml_jax.learn import Grpo, OfflineSml, discounted_returns, group_advantages, group_size_of, turns_to_tokens
from sml_jax.learn.signals import signals_of


def rollout(problems=2, group_size=2, **changes):
    """Dialogues about `problems` problems; the first of each is solved at turn 1, the others never."""
    rows = problems * group_size
    one = transcript()
    every = jax.tree.map(lambda array: np.resize(array, (rows, *array.shape[1:])), one)
    first = np.arange(rows) % group_size == 0
    every = every.replace(
        group=np.repeat(np.arange(problems), group_size),
        reward=first.astype(np.float32),
        solved_turn=first.astype(np.int32),
    )
    return every.replace(**changes)


def test_grpo_by_hand():
    """Returns of 1 and 0 in each group: advantages of +1 and -1, and a quarter of the loss for each dialogue."""
    signals = signals_of(Grpo(), rollout())
    np.testing.assert_allclose(signals.policy.advantage, np.repeat([[1], [-1], [1], [-1]], 3, axis=1), rtol=1e-5)
    np.testing.assert_allclose(signals.policy.weights, rollout().student / 4)
    np.testing.assert_array_equal(signals.policy.old_logprob, rollout().logprob)
    assert signals.likelihood is None
    assert signals.metrics["return"] == 0.5 and signals.metrics["groups"] == 2 and signals.metrics["zero_variance"] == 0


def test_the_group_size_is_the_rollouts():
    signals = signals_of(Grpo(normalize=False), rollout(problems=1, group_size=4))
    np.testing.assert_allclose(signals.policy.advantage[:, 0], [0.75, -0.25, -0.25, -0.25])


@pytest.mark.parametrize("group", [[0, 0, 0, 1], [0, 1, 0, 1]])
def test_groups_that_are_no_groups(group):
    with pytest.raises(UserError, match="the same number of each problem, side by side"):
        group_size_of(rollout(group=np.array(group)))


def test_a_return_of_ones_own():
    def length(dialogues):
        return np.array([0.0, 3.0, 1.0, 1.0])

    signals = signals_of(Grpo(normalize=False, returns=length), rollout())
    np.testing.assert_allclose(signals.policy.advantage[:, 0], [-1.5, 1.5, 0, 0])
    assert signals.metrics["return"] == 1.25 and signals.metrics["zero_variance"] == 1
    with pytest.raises(UserError, match=r"returns gave an array of shape \[4, 3\] for 4 dialogues"):
        signals_of(Grpo(returns=lambda dialogues: dialogues.logprob), rollout())


def test_dropped_dialogues_are_in_no_number():
    dropped = np.array([False, False, False, True])
    student = rollout().student & ~dropped[:, None]
    signals = signals_of(Grpo(), rollout(dropped=dropped, student=student))
    np.testing.assert_allclose(signals.policy.advantage[:, 0], [1, -1, 0, 0], rtol=1e-5)
    assert signals.policy.weights.sum() == pytest.approx(1) and signals.metrics["return"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("aggregation", "weight"), [("token", 1 / 2), ("sequence", 1 / 2), ("constant", 1 / 8)])
def test_offline_sml_trains_on_successes_alone(aggregation, weight):
    signals = signals_of(OfflineSml(aggregation), rollout())
    solved = np.array([1, 0, 1, 0])[:, None]
    np.testing.assert_allclose(signals.likelihood.weights, rollout().student * solved * weight)
    assert signals.policy is None and signals.trained_rows().tolist() == [True, False, True, False]


def test_credit_by_turn_can_be_written_with_what_is_public():
    """A return for each turn, the discounted one that follows it, compared within the group turn by turn."""
    turn = jnp.array([[1, 0, 2], [0, 2, 2]])
    solved_turn = jnp.array([2, 0])
    to_go = jnp.stack([discounted_returns(jnp.maximum(solved_turn - k, 0), 0.5) for k in range(2)], axis=1)
    np.testing.assert_allclose(to_go, [[0.5, 1.0], [0.0, 0.0]])
    by_turn = jnp.stack([group_advantages(to_go[:, k], 2, normalize=False) for k in range(2)], axis=1)
    np.testing.assert_allclose(turns_to_tokens(by_turn, turn), [[0.25, 0, 0.5], [0, -0.5, -0.5]])
