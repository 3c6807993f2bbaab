"""Methods: functions from a Transcript to the learning signals of its tokens. A stage is given one.

GRPO and offline SML are here. Their single-turn baselines are the same methods in a stage with `max_turns = 1`. A
method of your own is any function that takes a Transcript and returns Signals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn.advantages import group_advantages, group_statistics
from sml_jax.learn.returns import discounted_returns
from sml_jax.learn.shapes import shape_of
from sml_jax.learn.signals import LikelihoodSignal, PolicySignal, Signals
from sml_jax.learn.weights import check_aggregation, token_weights

# A reward of one's own: a function from a Transcript to one number a dialogue, float [B].
Returns = Callable[[Transcript], Any]


@dataclass(frozen=True)
class Grpo:
    """GRPO over conversations: all student tokens of a dialogue get its group-relative advantage.

    It is called with a Transcript and returns Signals with a policy stream. A group is the dialogues of one problem in
    the transcript. How many these are is set at the rollout (`Online.group_size`), not here.

    Attributes:
      discount: the factor by which each further student turn reduces the default return; 0.7 in the paper (see
        `returns.discounted_returns`).
      normalize: divide advantages by the group's standard deviation.
      aggregation: how token losses become one number, see `weights.token_weights`.
      returns: a function from a Transcript to float [B], one return a dialogue, in place of the discounted return; None
        for the discounted return.

    Raises:
      UserError: a setting is out of range; or, when called, the groups are unequal or `returns` gave another shape.

    References:
      Online SML: arXiv 2602.16488. GRPO: section 4.1.2 of arXiv 2402.03300.
    """

    discount: float = 0.7
    normalize: bool = True
    aggregation: str = "sequence"
    returns: Returns | None = None

    min_group_size: ClassVar[int] = 2  # one dialogue alone has nothing to be compared with

    def __post_init__(self) -> None:
        if not 0 <= self.discount <= 1:
            raise UserError(f"grpo: discount is {self.discount}; give a number from 0 to 1 (0.7 in the paper)")
        check_aggregation(self.aggregation, "grpo: ")
        if isinstance(self.returns, type) or not (self.returns is None or callable(self.returns)):
            raise UserError(f"grpo: returns is {self.returns!r}; give a function from a Transcript to numbers [batch]")

    def __call__(self, transcript: Transcript) -> Signals:
        # One number a dialogue, compared with the others about the same problem.
        group_size = group_size_of(transcript)
        returns = self._returns(transcript)

        # Dropped dialogues are in no mean, no deviation and no denominator.
        valid = jnp.asarray(~np.asarray(transcript.dropped))
        advantage = group_advantages(returns, group_size, normalize=self.normalize, valid=valid)
        student_mask = np.asarray(transcript.student)
        weights = token_weights(
            jnp.asarray(student_mask),
            self.aggregation,
            transcript.max_student_tokens,
            dialogue_weight=valid.astype(jnp.float32),
        )

        # Groups without variance give no gradient, so the log must tell how many there are.
        statistics = group_statistics(returns, group_size, valid=valid)
        metrics = {name: float(value) for name, value in statistics.items()}
        metrics["return"] = float(jnp.mean(returns, where=valid))
        # Every token of a dialogue gets its dialogue's advantage.
        token_advantages = np.broadcast_to(np.asarray(advantage)[:, None], student_mask.shape)
        return Signals(policy=PolicySignal(token_advantages, np.asarray(weights), transcript.logprob), metrics=metrics)

    def _returns(self, transcript: Transcript) -> jnp.ndarray:
        if self.returns is None:
            return discounted_returns(jnp.asarray(transcript.solved_turn), self.discount)
        returns = self.returns(transcript)
        if shape_of(returns) != transcript.reward.shape:
            raise UserError(
                f"grpo: returns gave an array of shape {list(shape_of(returns))} for {len(transcript.reward)} "
                f"dialogues: give one number a dialogue, shape {list(transcript.reward.shape)}"
            )
        return jnp.asarray(returns, jnp.float32)


@dataclass(frozen=True)
class OfflineSml:
    """Offline SML: the likelihood of the student's turns in the dialogues that reached a correct answer.

    It is called with a Transcript and returns Signals with a likelihood stream.

    Attributes:
      aggregation: how token losses become one number, see `weights.token_weights`.

    References:
      Social meta-learning, arXiv 2602.16488.
    """

    aggregation: str = "token"

    def __post_init__(self) -> None:
        check_aggregation(self.aggregation, "offline_sml: ")

    def __call__(self, transcript: Transcript) -> Signals:
        # The reward is 1 for success and 0 otherwise, so it selects the dialogues to imitate.
        weights = token_weights(
            jnp.asarray(transcript.student),
            self.aggregation,
            transcript.max_student_tokens,
            dialogue_weight=jnp.asarray(transcript.reward),
        )
        return Signals(likelihood=LikelihoodSignal(np.asarray(weights)))


def group_size_of(transcript: Transcript) -> int:
    """How many dialogues each problem has in a rollout's transcript.

    Raises:
      UserError: problems have different numbers of dialogues, or the dialogues of a problem are not adjacent rows.
    """
    group = np.asarray(transcript.group)
    # Lengths of the runs of equal numbers. A problem that comes up in two runs makes more runs than problems.
    sizes = np.diff(np.flatnonzero(np.r_[True, group[1:] != group[:-1], True]))
    if len(np.unique(group)) != len(sizes) or len(set(sizes.tolist())) != 1:
        raise UserError(
            f"the transcript's groups have {sizes.tolist()} dialogues: a method that compares within groups needs the "
            "same number of each problem, side by side, as one rollout gives them"
        )
    return int(sizes[0])
