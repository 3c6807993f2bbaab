"""Micro-batches of plain arrays, for tests of the update."""

from typing import Any

import numpy as np

from sml_jax.learn.batches import MicroBatch, micro_batches
from sml_jax.learn.signals import LikelihoodSignal, PolicySignal, Signals


def policy_of(weights: np.ndarray, old_logprob: np.ndarray, advantage: np.ndarray) -> PolicySignal:
    """The policy stream of one advantage a row [B], or of one a token [B, T]."""
    per_token = advantage if advantage.ndim == 2 else np.broadcast_to(advantage[:, None], weights.shape)
    return PolicySignal(per_token, weights, old_logprob)


def parts_of(batch: dict[str, np.ndarray], stream: str, **settings: Any) -> list[MicroBatch]:
    """Micro-batches of `batch`, a dictionary of arrays, for one stream or for "both"."""
    policy = policy_of(batch["weights"], batch["old_logprob"], batch["advantage"]) if stream != "likelihood" else None
    likelihood = LikelihoodSignal(batch["weights"]) if stream != "policy" else None
    signals = Signals(policy, likelihood)
    return micro_batches(batch["tokens"], batch["length"], signals, group=batch.get("group"), **settings)
