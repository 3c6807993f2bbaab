"""The chat formats that ship with the package, by name, for models that bring no chat template of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present
from sml_jax.families import CHAT_TEMPLATES, ChatTemplate, chat_name_of_model_type
from sml_jax.text.messages import MessageFormat
from sml_jax.text.model_texts import generation_stop_ids, json_object
from sml_jax.text.pieces import family_pieces, thinking_markers
from sml_jax.text.tokenizer import Tokenizer

# A control token in the text of a template.
_CONTROL = re.compile(r"<\|?[a-z_]+\|?>|</think>")


def families() -> tuple[str, ...]:
    """The names of the chat formats that `message_format` can make, sorted; they are called families in settings."""
    return tuple(sorted(CHAT_TEMPLATES))


def message_format(
    family: str, tokenizer: Tokenizer, folder: Path | None = None, thinking: bool = False
) -> MessageFormat:
    """A chat format that ships with the package, for models that bring no template of their own.

    Args:
      family: one of `families()`.
      tokenizer: the model's own tokenizer.
      folder: the model's folder, whose generation_config.json may name further tokens that end a message; None for no
        such file.
      thinking: whether the model may think before it answers. Only some families can (Qwen 3 and 3.5, Gemma 4).

    Raises:
      UserError: the family is unknown or never thinks, or the tokenizer or the folder belongs to another family.
    """
    if family not in CHAT_TEMPLATES:
        raise UserError(f"no chat format {family!r}: FamilyChat.family is one of {_names()}")
    template = CHAT_TEMPLATES[family]
    if thinking and template.unthinking is None and not template.thinking_system:
        raise UserError(f"models of family {family} do not think: set FamilyChat.thinking to False")
    controls = tokenizer.control_names()
    markers = thinking_markers(controls)
    # A tokenizer without any markers of thinking is asked for the commonest, for the error.
    _check_controls(template, tokenizer, (markers or ("<think>", "</think>")) if thinking else ())
    # The closing token must exist; the others end a message only where the tokenizer has them.
    stop_ids = [controls[name] for name in template.stop_ids if name in controls]
    stop_ids += [] if folder is None else generation_stop_ids(folder, tokenizer)
    think = (controls[markers[0]], controls[markers[1]]) if thinking and markers else None
    # A token may be named twice, by the template and by generation_config.json.
    return MessageFormat(tokenizer, family_pieces(template, thinking), tuple(dict.fromkeys(stop_ids)), think)


def family_of(folder: Path) -> str:
    """The name of the chat format of the model in a Hugging Face folder, from `model_type` in its config.json.

    `model_type` describes the weights. The result is wrong for a model with Llama's weights and another chat format,
    so it is asked for only where the folder has no chat template.

    Returns:
      One of `families()`.

    Raises:
      UserError: there is no config.json, or no chat format for its `model_type`.
    """
    path = folder / "config.json"
    cure = (
        "copy the model's tokenizer_config.json or chat_template.jinja there, or set FamilyChat.family to one of "
        f"{_names()}"
    )
    if not is_present(path):
        raise UserError(f"{folder} holds no chat template, and no config.json to tell the chat format from: {cure}")
    # A damaged file may hold any JSON value here.
    model_type = json_object(path).get("model_type")
    family = chat_name_of_model_type(model_type)
    if family is None:
        raise UserError(f"{path}: no chat template beside it, and no chat format for model_type {model_type!r}: {cure}")
    return family


def _check_controls(template: ChatTemplate, tokenizer: Tokenizer, thinking: Sequence[str]) -> None:
    """Checks that the tokenizer has the control tokens that a family's format needs, and those of thinking."""
    texts = [template.begin, template.user, template.model, template.system or "", template.unthinking or ""]
    texts += [template.thinking_system, template.thinking] if thinking else []
    used = [name for text in texts for name in _CONTROL.findall(text)]
    for name in (template.stop_ids[0], *used, *thinking):
        try:
            tokenizer.control(name)
        except UserError as error:
            raise UserError(
                f"the {template.name} chat format needs {name}, but {error}: give the model's own tokenizer, or set "
                f"FamilyChat.family to another format ({_names()})"
            ) from error


def _names() -> str:
    """The names of the chat formats, for errors."""
    return ", ".join(families())
