"""Critique prediction: the student learns to predict what its teacher says, from the public context alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from sml_jax.dialogue.transcript import Transcript
from sml_jax.learn.beside import BesideMethod
from sml_jax.learn.signals import LikelihoodSignal, Signals
from sml_jax.learn.weights import token_weights


@dataclass(frozen=True)
class CritiquePrediction(BesideMethod):
    """Adds the cross-entropy of the teacher's replies to the loss of another method:

        loss = loss of `beside` + weight * mean over the teacher's tokens of -log p(token | public conversation before)

    A student that predicts its teacher's critiques can go on without a teacher: the arm `self_critique` has it do so.
    It learns from every dialogue with a reply, also where no dialogue of a group succeeds. Its tokens are scored in
    the forward pass of `beside`, so the signal costs little.

    Attributes:
      beside: the method whose signals it adds to; None to predict critiques alone.
      weight: lambda, the weight of the cross-entropy beside the other loss. With 0 the signals are those of `beside`,
        bit for bit.

    Raises:
      UserError: a setting is out of range.

    References:
      RL2F, arXiv 2602.16066: critiques as the target. ECHO, arXiv 2605.24517: the sum with a policy gradient in one
      forward pass, and lambda.
    """

    label: ClassVar[str] = "critique_prediction"

    def __call__(self, transcript: Transcript) -> Signals:
        signals = self.signals_beside(transcript)
        if not self.weight:
            return signals
        # A dropped dialogue has no teacher token, so no weight and no part in a mean over tokens.
        weights = self.weight * np.asarray(token_weights(jnp.asarray(transcript.teacher), "token"))
        # A method that imitates the student's tokens, such as offline SML, has the stream already.
        if signals.likelihood is not None:
            weights = weights + np.asarray(signals.likelihood.weights)
        return dataclasses.replace(signals, likelihood=LikelihoodSignal(weights))
