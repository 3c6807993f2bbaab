"""Batches of growing contexts: appending given tokens and sampling turns, with caches that live across turns."""

from sml_jax.engine.caches import empty_cache
from sml_jax.engine.context_batch import ContextBatch
from sml_jax.engine.engine import Engine
from sml_jax.engine.kernels import Sampled, decode, extend
from sml_jax.engine.sampling import Sampling
from sml_jax.engine.turns import Utterance

__all__ = ["ContextBatch", "Engine", "Sampled", "Sampling", "Utterance", "decode", "empty_cache", "extend"]
