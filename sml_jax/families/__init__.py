"""The model families that the package supports: one file a family, data only.

A family's file says its shape, how its config.json and weights are written, and its chat template. `registry` lists
them. Nothing here imports models or text, which both read from here.
"""

from sml_jax.families.family import ChatTemplate, ConfigFormat, Family, GGUFFormat, Wrapper
from sml_jax.families.registry import (
    CHAT_TEMPLATES,
    FAMILIES,
    chat_name_of_model_type,
    family_named,
    family_of_gguf,
    wrapper_of,
)

__all__ = [
    "CHAT_TEMPLATES",
    "FAMILIES",
    "ChatTemplate",
    "ConfigFormat",
    "Family",
    "GGUFFormat",
    "Wrapper",
    "chat_name_of_model_type",
    "family_named",
    "family_of_gguf",
    "wrapper_of",
]
