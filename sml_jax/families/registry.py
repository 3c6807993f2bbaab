"""All families and chat templates, by name. A new family is a file beside this one and its name in `_MODULES`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sml_jax.common.errors import UserError
from sml_jax.families import gemma2, gemma3, gemma4, gemma4_unified, llama, qwen2, qwen3, qwen3_5
from sml_jax.families.chatml import CHATML
from sml_jax.families.family import ChatTemplate, Family, Wrapper

# The order is that in which a configuration is compared with the families, and that of error messages.
_MODULES = (gemma2, gemma3, gemma4, gemma4_unified, llama, qwen2, qwen3, qwen3_5)

FAMILIES: Mapping[str, Family] = MappingProxyType({module.FAMILY.model_type: module.FAMILY for module in _MODULES})
"""The families whose weights the decoder computes, by `model_type` in config.json."""

CHAT_TEMPLATES: Mapping[str, ChatTemplate] = MappingProxyType(
    {template.name: template for template in (*(family.chat for family in FAMILIES.values()), CHATML)}
)
"""The chat templates by name: those of the families, and ChatML for models of other makers."""


def family_named(model_type: str) -> Family:
    """The family with this `model_type`, as in config.json.

    Raises:
      UserError: there is none; the error lists the supported families.
    """
    if model_type not in FAMILIES:
        raise UserError(f"model family {model_type!r} is not supported; there are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[model_type]


def wrapper_of(model_type: object) -> tuple[Family, Wrapper] | None:
    """The family of the language model in a wrapper with this `model_type`, and the wrapper; None if there is none.

    Args:
      model_type: any value of that field in a config.json.
    """
    # A wrapper is rare: one pass over a handful of families is fast enough.
    for family in FAMILIES.values():
        if family.wrapper is not None and family.wrapper.model_type == model_type:
            return family, family.wrapper
    return None


def family_of_gguf(architecture: str) -> Family | None:
    """The family whose GGUF files give this `general.architecture`; None if there is none."""
    families = (family for family in FAMILIES.values() if family.gguf and family.gguf.architecture == architecture)
    return next(families, None)


def chat_name_of_model_type(model_type: object) -> str | None:
    """The name of the chat template (key of `CHAT_TEMPLATES`) of models with this `model_type`; None if unknown.

    Args:
      model_type: any value of that field in a config.json.
    """
    for family in FAMILIES.values():
        # The family itself, the model that wraps it, then models whose weights the decoder cannot read.
        family_types = (family.model_type, *([family.wrapper.model_type] if family.wrapper else []))
        if model_type in (*family_types, *family.chat.other_model_types):
            return family.chat.name
    return None
