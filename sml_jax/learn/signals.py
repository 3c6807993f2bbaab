"""Learning signals: what the update does with each token of a batch of dialogues.

The update knows three streams over the same rows. `policy` reinforces sampled tokens: a clipped probability ratio times
an advantage. `likelihood` imitates tokens: cross-entropy with a weight. `distill` draws the distributions that tokens
come from to those of a reference. A batch may carry any of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.struct
import jax
import numpy as np

from sml_jax.common.errors import UserError
from sml_jax.common.own_code import own_code
from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn.divergence import Divergence, reverse_kl
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
class ReferenceRows:
    """The contexts in which a reference policy sees tokens of the dialogues again: R rows of up to U tokens.

    Attributes:
      tokens: int32 [R, U], a context and, behind it or within it, tokens of a dialogue.
      length: int32 [R], tokens before the padding.
      dialogue: int32 [R], which dialogue each row is for; several rows may be for one.
      position: int32 [R, U], where in its dialogue each token stands that is seen again; -1 for all others.
    """

    tokens: np.ndarray
    length: np.ndarray
    dialogue: np.ndarray
    position: np.ndarray


@dataclass(frozen=True)
class DistillSignal:
    """The distillation stream: a divergence between the policy's distribution of each token and the reference's.

    The reference is the policy itself, without a gradient, or its running mean (`optimizers.with_ema`); what it knows
    more, it knows from the contexts of `reference`.

    Attributes:
      weights: float32 [B, T], the share of each token's divergence in the batch's loss, at least 0. Every token with a
        weight must stand in `reference` once.
      reference: the contexts of the reference.
      divergence: a function of the log-probabilities of both, see `learn.divergence`.
    """

    weights: np.ndarray
    reference: ReferenceRows
    divergence: Divergence = reverse_kl


@dataclass(frozen=True)
class Signals:
    """What a method returns for a Transcript: the learning signals of its B dialogues.

    Attributes:
      policy, likelihood, distill: the streams; None for a stream that the method does not use.
      metrics: numbers to log beside the metrics of the update, by name.
    """

    policy: PolicySignal | None = None
    likelihood: LikelihoodSignal | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    distill: DistillSignal | None = None

    def select_rows(self, chosen: np.ndarray) -> Signals:
        """The signals of the dialogues with the indices `chosen`, int [N], in that order; the metrics are unchanged.

        Weights remain shares of the loss of the batch that they were made for.
        """
        # A stream that is None is an empty tree, and stays None.
        policy, likelihood = jax.tree.map(lambda array: array[chosen], (self.policy, self.likelihood))
        distill = self.distill
        if distill is not None:
            reference = select_reference_rows(distill.reference, np.asarray(chosen))
            distill = dataclasses.replace(distill, weights=distill.weights[chosen], reference=reference)
        return Signals(policy, likelihood, self.metrics, distill)

    def trained_rows(self, *, skip_zero_advantage: bool = False) -> np.ndarray:
        """bool [B]: True for dialogues that have a token with a positive weight in some stream.

        Args:
          skip_zero_advantage: in the policy stream, count only tokens with an advantage other than 0. This is right if
            the token loss has no gradient at an advantage of 0; a KL term, for example, has one.
        """
        # A dialogue trains if any stream has a use for one of its tokens.
        trains_by_stream: list[np.ndarray] = []
        if self.policy is not None:
            token_used = np.asarray(self.policy.weights) != 0
            if skip_zero_advantage:
                token_used = token_used & (np.asarray(self.policy.advantage) != 0)
            trains_by_stream.append(token_used.any(axis=1))
        if self.likelihood is not None:
            trains_by_stream.append((np.asarray(self.likelihood.weights) != 0).any(axis=1))
        if self.distill is not None:
            trains_by_stream.append((np.asarray(self.distill.weights) != 0).any(axis=1))
        return np.logical_or.reduce(trains_by_stream)


def select_reference_rows(reference: ReferenceRows, chosen: np.ndarray) -> ReferenceRows:
    """The rows for the dialogues `chosen`, int [N]; their `dialogue` then counts within `chosen`."""
    place_of = {int(dialogue): place for place, dialogue in enumerate(chosen)}
    rows = np.array([row for row, dialogue in enumerate(reference.dialogue) if int(dialogue) in place_of], np.int32)
    places = np.array([place_of[int(dialogue)] for dialogue in reference.dialogue[rows]], np.int32)
    return ReferenceRows(reference.tokens[rows], reference.length[rows], places, reference.position[rows])


# A stage is given one of these. It may be an object with settings, and may then have an attribute `min_group_size`: the
# least number of dialogues of a problem that it can compare. If it has a true attribute `needs_answer_logprob`, the
# stage measures `Transcript.answer_logprob` for it.
Method = Callable[[Transcript], Signals]


def min_group_size_of(method: Method | None) -> int:
    """The least number of dialogues of a problem that a method can compare; 1 for one that compares none."""
    return getattr(method, "min_group_size", 1)


def reads_answer_logprob(method: Method | None) -> bool:
    """Whether a method reads `Transcript.answer_logprob`, which a stage then measures."""
    return getattr(method, "needs_answer_logprob", False)


def check_weight(where: str, weight: float) -> None:
    """Raises a UserError, whose text begins with `where`, unless `weight` is 0 or a positive number."""
    if not 0 <= weight < float("inf"):
        raise UserError(f"{where}: weight is {weight}; give 0 or a positive number")


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
    with own_code("making learning signals"):
        signals = method(transcript)
    if not isinstance(signals, Signals):
        raise UserError(f"method {method_name} returned a {type(signals).__name__}: return a learn.Signals")
    # Every array has a number for each token.
    streams: dict[str, Any] = {"policy": signals.policy, "likelihood": signals.likelihood, "distill": signals.distill}
    if all(stream is None for stream in streams.values()):
        raise UserError(
            f"method {method_name} returned Signals without a stream: give it policy or likelihood or distill"
        )
    shape = tuple(transcript.tokens.shape)
    padding = np.arange(shape[1]) >= np.asarray(transcript.length)[:, None]
    for name, stream in streams.items():
        if stream is None:
            continue
        arrays = {"weights": stream.weights} if name == "distill" else vars(stream)
        for array_name, array in arrays.items():
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
    policy, likelihood = jax.tree.map(lambda array: np.asarray(array, np.float32), (signals.policy, signals.likelihood))
    distill = signals.distill
    if distill is not None:
        distill = dataclasses.replace(distill, weights=np.asarray(distill.weights, np.float32))
        _check_reference(method_name, distill, transcript)
    metrics = {name: float(value) for name, value in signals.metrics.items()}
    return Signals(policy, likelihood, metrics, distill)


def _check_reference(method_name: str, distill: DistillSignal, transcript: Transcript) -> None:
    """Raises a UserError unless each token with a weight is in the reference's contexts exactly once, as it is."""
    reference, seen = distill.reference, np.zeros(transcript.tokens.shape, np.int32)
    rows, places = np.nonzero(reference.position >= 0)
    at = reference.dialogue[rows], reference.position[rows, places]
    np.add.at(seen, at, 1)
    same = np.asarray(transcript.tokens)[at] == reference.tokens[rows, places]
    if (seen[distill.weights > 0] != 1).any() or not same.all() or (places == 0).any():
        raise UserError(
            f"method {method_name}: distill.reference does not hold each token with a weight once, as it stands in the "
            "dialogue and behind some other token: set position to the token's index in its dialogue, and -1 elsewhere"
        )
