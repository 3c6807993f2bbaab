"""Learning signals: what the update does with each token of a batch of dialogues.

The update knows two streams over the same rows. `policy` reinforces sampled tokens: a clipped probability ratio times
an advantage. `likelihood` imitates tokens: cross-entropy with a weight. A batch may carry either or both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.struct
import jax
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn.shapes import shape_of

AnyArray = Any  # np.ndarray on the host, jax.Array within jit


@flax.struct.dataclass
class PolicySignal:
    """The policy-gradient stream. All arrays are float32 [B, T].

    Attributes:
      advantage: how much better than expected each sampled token turned out.
      weights: the share of each token's loss in the batch's loss, at least 0 (see `weights.token_weights`). A token of
        weight 0 is not trained on.
      old_logprob: the log-prob of each token under the policy that sampled it, at temperature 1.
    """

    advantage: AnyArray
    weights: AnyArray
    old_logprob: AnyArray


@flax.struct.dataclass
class LikelihoodSignal:
    """The cross-entropy stream: on the student's tokens it is SFT, on the teacher's it is critique prediction.

    Attributes:
      weights: float32 [B, T], the share of each token's loss in the batch's loss, at least 0. A token of weight 0 is
        not trained on.
    """

    weights: AnyArray


@dataclass(frozen=True)
class Signals:
    """What a method returns for a Transcript: the learning signals of its B dialogues.

    Attributes:
      policy, likelihood: the streams; None for a stream that the method does not use.
      metrics: numbers to log beside the metrics of the update, by name.
    """

    policy: PolicySignal | None = None
    likelihood: LikelihoodSignal | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def select_rows(self, chosen: np.ndarray) -> Signals:
        """The signals of the dialogues with the indices `chosen`, int [N], in that order; the metrics are unchanged.

        Weights remain shares of the loss of the batch that they were made for.
        """
        # A stream that is None is an empty tree, and stays None.
        policy, likelihood = jax.tree.map(lambda array: array[chosen], (self.policy, self.likelihood))
        return Signals(policy, likelihood, self.metrics)

    def trained_rows(self, *, skip_zero_advantage: bool = False) -> np.ndarray:
        """bool [B]: True for dialogues that have a token with a positive weight in some stream.

        Args:
          skip_zero_advantage: in the policy stream, count only tokens with an advantage other than 0. This is right if
            the token loss has no gradient at an advantage of 0; a KL term, for example, has one.
        """
        # A dialogue trains if either stream has a use for one of its tokens.
        trains_by_stream: list[np.ndarray] = []
        if self.policy is not None:
            token_used = np.asarray(self.policy.weights) != 0
            if skip_zero_advantage:
                token_used = token_used & (np.asarray(self.policy.advantage) != 0)
            trains_by_stream.append(token_used.any(axis=1))
        if self.likelihood is not None:
            trains_by_stream.append((np.asarray(self.likelihood.weights) != 0).any(axis=1))
        return np.logical_or.reduce(trains_by_stream)


# A stage is given one of these. It may be an object with settings, and may then have an attribute `min_group_size`: the
# least number of dialogues of a problem that it can compare.
Method = Callable[[Transcript], Signals]


def signals_of(method: Method, transcript: Transcript) -> Signals:
    """Calls a method and checks what it returns.

    Args:
      method: a function from a Transcript to Signals.
      transcript: B dialogues of up to T tokens.

    Returns:
      The method's signals as float32 NumPy arrays.

    Raises:
      UserError: the method returned something else than Signals, or no stream; an array is not [B, T]; a weight is
        negative or not a number; or padding has a weight.
    """
    method_name = getattr(method, "__name__", type(method).__name__)
    signals = method(transcript)
    if not isinstance(signals, Signals):
        raise UserError(f"method {method_name} returned a {type(signals).__name__}: return a learn.Signals")
    # Every array has a number for each token.
    streams = {"policy": signals.policy, "likelihood": signals.likelihood}
    if all(stream is None for stream in streams.values()):
        raise UserError(
            f"method {method_name} returned Signals without a stream: give it policy or likelihood, or both"
        )
    shape = tuple(transcript.tokens.shape)
    padding = np.arange(shape[1]) >= np.asarray(transcript.length)[:, None]
    for name, stream in streams.items():
        if stream is None:
            continue
        for array_name, array in vars(stream).items():
            if shape_of(array) != shape:
                raise UserError(
                    f"method {method_name}: {name}.{array_name} has shape {list(shape_of(array))}, but the "
                    f"transcript's tokens have {list(shape)}: give one number a token. One number a dialogue becomes "
                    "that by np.broadcast_to(numbers[:, None], transcript.tokens.shape)"
                )
        # The update trains on tokens of positive weight, so other weights would be ignored without a word.
        weights = np.asarray(stream.weights)
        if not (weights >= 0).all():
            raise UserError(
                f"method {method_name}: {name}.weights has a negative number or NaN: a weight is a share of the loss, "
                "at least 0. To make tokens less likely, give them a negative advantage in the policy stream"
            )
        if weights[padding].any():
            raise UserError(
                f"method {method_name}: {name}.weights is not 0 past the end of a dialogue: multiply it by "
                "np.arange(T) < transcript.length[:, None]"
            )
    # On the host, where micro-batches are cut.
    policy, likelihood = jax.tree.map(lambda array: np.asarray(array, np.float32), tuple(streams.values()))
    return Signals(policy, likelihood, {name: float(value) for name, value in signals.metrics.items()})
