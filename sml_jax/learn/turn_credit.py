"""Credit by turn: each student turn is trained with what came of the dialogue from that turn on.

The numbers of turns are arrays [B, N]: B dialogues, of up to N student turns.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn.advantages import group_statistics
from sml_jax.learn.methods import Grpo, group_size_of
from sml_jax.learn.returns import discounted_returns, turns_to_tokens
from sml_jax.learn.signals import Method, PolicySignal, Signals, check_weight
from sml_jax.learn.weights import check_aggregation, token_weights


def turn_advantages(rewards: np.ndarray, taken: np.ndarray, group_size: int, decay: float = 1.0) -> np.ndarray:
    """Each turn's return-to-go, less the mean of those that the group's other dialogues have from the same turn on:

        G_k = sum over s >= k of decay^(s - k) * r_s,    A_k = G_k - mean of G_k over the others that took turn k

    Nothing that is subtracted depends on what this dialogue does at turn k or later, so with `decay` 1 the expected
    gradient is that of the expected sum of rewards. Two estimators that look alike are biased where the policy decides
    when a dialogue ends: one that subtracts a mean from each turn's own reward and then adds up (a dialogue that goes
    on has more subtracted), and one whose mean holds the dialogue itself (it shrinks turns that few take more).

    Args:
      rewards: [B, N], the reward at each turn; 0 for turns that were not taken.
      taken: bool [B, N]. group_size: dialogues of a problem, side by side.
      decay: the weight of the next turn's return in this one's, from 0 to 1.

    Returns:
      float32 [B, N]; 0 for turns that were not taken. A dialogue that alone took a turn has G_k.

    References:
      The bias: https://github.com/verl-project/verl/issues/7244.
    """
    to_go = np.zeros(rewards.shape, np.float32)
    following = np.zeros(len(rewards), np.float32)
    for k in range(rewards.shape[1])[::-1]:
        following = to_go[:, k] = rewards[:, k] + decay * following
    # Sums over a group's dialogues, each without the dialogue itself: [groups, group_size, N].
    grouped = (-1, group_size, rewards.shape[1])
    own = np.where(taken, to_go, 0).reshape(grouped)
    counted = taken.reshape(grouped)
    others = counted.sum(axis=1, keepdims=True) - counted
    mean = (own.sum(axis=1, keepdims=True) - own) / np.maximum(others, 1)
    # Where all are equal the difference is exactly 0, and no rounding error.
    highest = np.where(counted, own, -np.inf).max(axis=1, keepdims=True)
    lowest = np.where(counted, own, np.inf).min(axis=1, keepdims=True)
    differ = (highest > lowest) | (others == 0)
    return np.where(counted & differ, own - mean, 0).reshape(rewards.shape).astype(np.float32)


def turns_taken(transcript: Transcript) -> np.ndarray:
    """bool [B, N]: whether the student took each turn, N the most turns of a dialogue; False in dropped dialogues."""
    turn = np.asarray(transcript.turn)
    most_turns = max(int(turn.max(initial=0)), 1)
    return np.stack([(turn == k).any(axis=1) for k in range(1, most_turns + 1)], axis=1)


def at_turns(values: np.ndarray, transcript: Transcript) -> np.ndarray:
    """The values that tokens [B, T] have at the first token of each student turn, [B, N]; 0 for turns not taken."""
    taken, turn = turns_taken(transcript), np.asarray(transcript.turn)
    first = np.stack([(turn == k).argmax(axis=1) for k in range(1, taken.shape[1] + 1)], axis=1)
    return np.where(taken, np.take_along_axis(values, first, axis=1), 0)


@dataclass(frozen=True)
class TurnReturns:
    """A policy gradient in which a dialogue is compared, at each turn, with those of its group that took that turn.

    The reward is the paper's, `discount ** (t - 1)` at the first correct turn t, and each turn has the advantage of
    `turn_advantages`. So a dialogue that needs a third turn is not held against those that were solved in the first,
    once it is there.

    Attributes:
      discount: the factor by which each further student turn reduces the reward.
      aggregation: how token losses become one number, see `weights.token_weights`. With "constant" the gradient is an
        unbiased estimate of that of the expected reward, up to one constant factor. "sequence" divides by the tokens
        of the dialogue, which the policy chooses, and "token" by those of the batch.

    Raises:
      UserError: a setting is out of range; or, when called, the groups are unequal.

    References:
      Return-to-go: REINFORCE with baselines, section 13.4 of Sutton and Barto, Reinforcement Learning, 2nd edition.
      Dr. GRPO, arXiv 2503.20783: no division by own length or deviation.
    """

    discount: float = 0.7
    aggregation: str = "constant"

    min_group_size: ClassVar[int] = 2  # one dialogue alone has nothing to be compared with

    def __post_init__(self) -> None:
        if not 0 <= self.discount <= 1:
            raise UserError(f"turn_returns: discount is {self.discount}; give a number from 0 to 1 (0.7 in the paper)")
        check_aggregation(self.aggregation, "turn_returns: ")

    def __call__(self, transcript: Transcript) -> Signals:
        group_size, taken = group_size_of(transcript), turns_taken(transcript)
        returns = np.asarray(discounted_returns(jnp.asarray(transcript.solved_turn), self.discount))
        # The reward comes at the correct turn, and is as much as the dialogue's return.
        solves = np.asarray(transcript.solved_turn)[:, None] == np.arange(1, taken.shape[1] + 1)
        advantages = turn_advantages(np.where(solves, returns[:, None], 0), taken, group_size)
        valid = ~np.asarray(transcript.dropped)
        weights = token_weights(
            jnp.asarray(transcript.student),
            self.aggregation,
            transcript.max_student_tokens,
            dialogue_weight=jnp.asarray(valid, jnp.float32),
        )
        statistics = group_statistics(jnp.asarray(returns), group_size, valid=jnp.asarray(valid))
        metrics = {name: float(value) for name, value in statistics.items()}
        metrics["return"] = float(returns[valid].mean()) if valid.any() else 0.0
        return Signals(_policy_by_turn(advantages, np.asarray(weights), transcript), metrics=metrics)


@dataclass(frozen=True)
class InformationGain:
    """Adds to another method's advantages what each turn did for the likelihood of the gold answer:

        gain_k = log p(answer | conversation before turn k + 1) - log p(answer | conversation before turn k)
        A = A of `beside` + weight * turn_advantages(gain, decay)

    With `decay` 1 the gains of the turns from k on telescope to the change from turn k to the last; a smaller decay
    credits a turn more with its own gain than with later ones. The last turn, after which nothing was measured, has no
    gain. A question that makes the teacher tell more is worth something by this, also in a dialogue that fails.

    Attributes:
      beside: the method whose policy stream it adds to.
      weight: of the gains, which are in nats. With 0 the signals are those of `beside`, bit for bit.
      decay: the weight of the next turn's gains in this one's credit, from 0 to 1.

    Raises:
      UserError: a setting is out of range; or, when called, `beside` has no policy stream, or the transcript has no
        `answer_logprob`, which the stages measure for a method with `needs_answer_logprob`.

    References:
      IGPO, arXiv 2510.14967: the gain as the reward of a turn. Differences of scores with a decay over turns:
      `turn_credit` of https://github.com/PrimeIntellect-ai/prime-rl, pull request 3282.
    """

    beside: Method = field(default_factory=Grpo)
    weight: float = 0.1
    decay: float = 1.0

    min_group_size: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_weight("information_gain", self.weight)
        if not 0 <= self.decay <= 1:
            raise UserError(f"information_gain: decay is {self.decay}; give a number from 0 to 1")

    @property
    def needs_answer_logprob(self) -> bool:
        """Whether the method reads `Transcript.answer_logprob`."""
        return self.weight > 0

    def __call__(self, transcript: Transcript) -> Signals:
        signals = self.beside(transcript)
        if not self.weight:
            return signals
        if signals.policy is None:
            raise UserError("information_gain: the method beside it has no policy stream: give one that has, as Grpo")
        if transcript.answer_logprob is None:
            raise UserError(
                "information_gain: the transcript has no answer_logprob: take a stage that measures it, as Online does"
            )
        taken = turns_taken(transcript)
        before = at_turns(np.asarray(transcript.answer_logprob), transcript)
        # A gain is known where another turn follows.
        gains = np.zeros_like(before)
        gains[:, :-1] = np.where(taken[:, 1:], before[:, 1:] - before[:, :-1], 0)
        credit = turn_advantages(gains, taken, group_size_of(transcript), self.decay)
        policy = _policy_by_turn(self.weight * credit, np.asarray(signals.policy.weights), transcript)
        policy = policy.replace(advantage=policy.advantage + np.asarray(signals.policy.advantage))  # type: ignore[attr-defined]
        measured = taken[:, 1:].sum()
        metrics = {**signals.metrics, "information_gain": float(gains.sum() / max(measured, 1))}
        return dataclasses.replace(signals, policy=policy, metrics=metrics)


def _policy_by_turn(advantages: np.ndarray, weights: np.ndarray, transcript: Transcript) -> PolicySignal:
    """The policy stream in which all tokens of a turn have that turn's advantage [B, N]."""
    of_tokens = turns_to_tokens(jnp.asarray(advantages), jnp.asarray(transcript.turn))
    return PolicySignal(np.asarray(of_tokens), weights, transcript.logprob)
