"""Learning: from a Transcript to per-token signals (returns, advantages, methods), and from these to an update.

Methods and losses are pure functions; losses are computed in float32.
"""

from sml_jax.learn.advantages import group_advantages, group_statistics
from sml_jax.learn.batch_losses import grpo_loss, sft_loss
from sml_jax.learn.critique_prediction import CritiquePrediction
from sml_jax.learn.logprobs import token_logprobs
from sml_jax.learn.losses import PolicyLoss, TokenLoss, grpo_token_loss
from sml_jax.learn.methods import Grpo, OfflineSml, group_size_of
from sml_jax.learn.returns import discounted_returns, turns_to_tokens
from sml_jax.learn.self_distillation import SelfDistillation
from sml_jax.learn.signals import DistillSignal, LikelihoodSignal, Method, PolicySignal, ReferenceRows, Signals
from sml_jax.learn.turn_credit import InformationGain, TurnReturns, turn_advantages
from sml_jax.learn.weights import AGGREGATIONS, token_weights

__all__ = [
    "AGGREGATIONS",
    "CritiquePrediction",
    "DistillSignal",
    "Grpo",
    "InformationGain",
    "LikelihoodSignal",
    "Method",
    "OfflineSml",
    "PolicyLoss",
    "PolicySignal",
    "ReferenceRows",
    "SelfDistillation",
    "Signals",
    "TokenLoss",
    "TurnReturns",
    "discounted_returns",
    "group_advantages",
    "group_size_of",
    "group_statistics",
    "grpo_loss",
    "grpo_token_loss",
    "sft_loss",
    "token_logprobs",
    "token_weights",
    "turn_advantages",
    "turns_to_tokens",
]
