"""The chat format of a model: its own chat template if it brings one, else that of its family."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sml_jax.families import CHAT_TEMPLATES
from sml_jax.text.derive import derive_limited, derive_pieces
from sml_jax.text.families import family_of, message_format
from sml_jax.text.jinja_template import PublicTemplate
from sml_jax.text.messages import MessageFormat
from sml_jax.text.model_texts import generation_stop_ids, public_template
from sml_jax.text.pieces import ChatPieces, thinking_markers
from sml_jax.text.tokenizer import Tokenizer


def model_format(
    folder: Path,
    tokenizer: Tokenizer,
    family: str | None = None,
    thinking: bool = False,
    take_back: bool = False,
) -> MessageFormat:
    """The chat format of the model in a folder.

    Args:
      folder: the model's Hugging Face folder. Its chat template (chat_template.jinja, or `chat_template` in
        tokenizer_config.json) is taken. Without one, the format is that of the family that config.json names.
      tokenizer: the model's own tokenizer.
      family: the name of a format that ships with the package, to be taken in place of all that; None for the model's.
      thinking: whether the model may think before it answers.
      take_back: see `MessageFormat`.

    Raises:
      UserError: the format is unknown, cannot be written as pieces that are only appended, never thinks though
        `thinking` is true, or does not fit the tokenizer.
    """
    template = public_template(folder) if family is None else None
    if template is None:
        chat = message_format(family or family_of(folder), tokenizer, folder, thinking)
    else:
        pieces = derive_limited(template, tokenizer.control_names(), thinking)
        chat = template_format(template, tokenizer, folder, thinking, pieces)
    return dataclasses.replace(chat, take_back=take_back)


def template_format(
    template: PublicTemplate,
    tokenizer: Tokenizer,
    folder: Path | None = None,
    thinking: bool = False,
    pieces: ChatPieces | None = None,
) -> MessageFormat:
    """The chat format that a model's chat template writes.

    Args:
      template: the model's.
      tokenizer: the model's own tokenizer.
      folder: the model's folder, whose generation_config.json may name further tokens that end a message; None for no
        such file.
      thinking: whether the model may think before it answers.
      pieces: those of the template, where they are known; None to derive them in this process.

    Raises:
      UserError: see `derive_pieces`; or generation_config.json is damaged.
    """
    controls = tokenizer.control_names()
    pieces = pieces or derive_pieces(template, controls, thinking)
    # Besides the token that ends a message, those that end a whole text may be sampled.
    end_of_text = [template.special_tokens.get("eos_token", ""), *_known_ends()]
    stop_ids = [controls[name] for name in (pieces.stop, *end_of_text) if name in controls]
    stop_ids += [] if folder is None else generation_stop_ids(folder, tokenizer)
    markers = thinking_markers(controls) if thinking else None
    think = None if markers is None else (controls[markers[0]], controls[markers[1]])
    return MessageFormat(tokenizer, pieces, tuple(dict.fromkeys(stop_ids)), think)


def _known_ends() -> list[str]:
    """The names of all tokens that end a message or a text in the shipped formats."""
    return [name for template in CHAT_TEMPLATES.values() for name in template.stop_ids]
