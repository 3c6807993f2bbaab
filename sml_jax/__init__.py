"""sml-jax: language models that learn to learn from language feedback (social meta-learning, arXiv 2602.16488).

The names below are imported when first used: `sml-jax --help` need not load JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sml_jax.common.errors import UserError
    from sml_jax.dialogue import DialogueRules, Transcript, play, rollout
    from sml_jax.engine import Engine, Sampling
    from sml_jax.learn import discounted_returns, group_advantages, grpo_loss, sft_loss
    from sml_jax.models import Decoder, DecoderConfig
    from sml_jax.models.hf import load_model, save_model

_HOMES = {
    "Decoder": "sml_jax.models",
    "DecoderConfig": "sml_jax.models",
    "DialogueRules": "sml_jax.dialogue",
    "Engine": "sml_jax.engine",
    "Sampling": "sml_jax.engine",
    "Transcript": "sml_jax.dialogue",
    "UserError": "sml_jax.common.errors",
    "discounted_returns": "sml_jax.learn",
    "group_advantages": "sml_jax.learn",
    "grpo_loss": "sml_jax.learn",
    "load_model": "sml_jax.models.hf",
    "play": "sml_jax.dialogue",
    "rollout": "sml_jax.dialogue",
    "save_model": "sml_jax.models.hf",
    "sft_loss": "sml_jax.learn",
}
_ROOMS = ("dialogue", "engine", "evaluate", "learn", "models", "pocket", "sharding", "tasks", "text")

__all__ = [
    "Decoder",
    "DecoderConfig",
    "DialogueRules",
    "Engine",
    "Sampling",
    "Transcript",
    "UserError",
    "discounted_returns",
    "group_advantages",
    "grpo_loss",
    "load_model",
    "play",
    "rollout",
    "save_model",
    "sft_loss",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"sml_jax.{name}")
    raise AttributeError(f"module 'sml_jax' has no attribute {name!r}")
