"""Gemma 4 12B, the language model: Gemma 4's dense models under another `model_type`, with other defaults.

Source: `models/gemma4_unified` in transformers 5.24. The names of its weights are those of `gemma4`.
"""

from __future__ import annotations

import dataclasses

from sml_jax.families import gemma4

_DEFAULTS = {
    **gemma4.CONFIG_DEFAULTS,
    "max_position_embeddings": 262_144,
    "sliding_window": 1024,
    # These models have no per-layer embeddings.
    "hidden_size_per_layer_input": 0,
}

FAMILY = dataclasses.replace(
    gemma4.FAMILY,
    model_type="gemma4_unified_text",
    architecture="Gemma4UnifiedForCausalLM",
    config=dataclasses.replace(gemma4.FAMILY.config, defaults=_DEFAULTS),
    wrapper=gemma4.wrapper("gemma4_unified"),
)
