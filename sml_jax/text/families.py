"""Chat formats of public model families, made from the templates in `sml_jax.families`.

docs/chat_formats.md compares each with its public template.
"""

from __future__ import annotations

import re
from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present, read_json
from sml_jax.families import CHAT_TEMPLATES, ChatTemplate, chat_name_of_model_type
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import Tokenizer

# A control token in the text of a template.
_CONTROL = re.compile(r"(<\|?[a-z_]+\|?>|</think>)")


def families() -> tuple[str, ...]:
    """The names of the chat formats that `message_format` can make, sorted; they are called families in settings."""
    return tuple(sorted(CHAT_TEMPLATES))


def message_format(
    family: str, tokenizer: Tokenizer, folder: Path | None = None, thinking: bool = False
) -> MessageFormat:
    """The chat format of a model: its family's chat template, encoded with the model's tokenizer.

    Args:
      family: one of `families()`.
      tokenizer: the model's own tokenizer.
      folder: the model's folder, whose generation_config.json may name further tokens that end a message; None for no
        such file.
      thinking: whether the model may think before it answers. Only some families can (Qwen 3).

    Raises:
      UserError: the family is unknown or never thinks, or the tokenizer or the folder belongs to another family.
    """
    template = _template(family)
    if thinking and template.unthinking is None:
        raise UserError(f"models of family {family} do not think: set thinking to False")

    def encode_piece(text: str) -> tuple[int, ...]:
        # Control tokens are looked up by name, the text between them is encoded.
        return tuple(
            token
            for part in _CONTROL.split(text)
            for token in ([_control(family, tokenizer, part)] if _CONTROL.fullmatch(part) else tokenizer.encode(part))
        )

    # The closing token must exist; the others end a message only where the tokenizer has them.
    closing_token, *other_stop_tokens = template.stop_ids
    stop_ids = [_control(family, tokenizer, closing_token), *_present(tokenizer, other_stop_tokens)]
    if folder is not None:
        stop_ids += _generation_stop_ids(folder, tokenizer)
    think_markers = None
    if thinking:
        think_markers = (_control(family, tokenizer, "<think>"), _control(family, tokenizer, "</think>"))
    # A token may be named twice, by the template and by generation_config.json.
    return MessageFormat(
        tokenizer,
        begin=encode_piece(template.begin),
        open_system=None if template.system is None else encode_piece(template.system),
        open_user=encode_piece(template.user),
        open_model=encode_piece(template.model + ("" if thinking else template.unthinking or "")),
        stop_ids=tuple(dict.fromkeys(stop_ids)),
        after=encode_piece(template.after),
        think=think_markers,
    )


def default_system(family: str) -> str:
    """The system text that a family's public template adds to chats without a system message; often empty.

    `message_format` never adds it. To have it, write it as the text of the system message (Llama 3.1: in front of your
    own text).

    Raises:
      UserError: the family is unknown.
    """
    return _template(family).default_system


def family_of(folder: Path) -> str:
    """The name of the chat format of the model in a Hugging Face folder, from `model_type` in its config.json.

    `model_type` describes the weights. The result is wrong for a model with Llama's weights and another chat format:
    name the family by hand there.

    Returns:
      One of `families()`.

    Raises:
      UserError: there is no config.json, or no chat format for its `model_type`.
    """
    path = folder / "config.json"
    if not is_present(path):
        raise UserError(f"no {path} to tell the chat format from: name the family, one of {_names()}")
    # A damaged file may hold any JSON value here.
    model_type = _object(path).get("model_type")
    family = chat_name_of_model_type(model_type)
    if family is None:
        raise UserError(f"{path}: no chat format for model_type {model_type!r}: name the family, one of {_names()}")
    return family


def _names() -> str:
    """The names of the chat formats, for errors."""
    return ", ".join(families())


def _template(name: str) -> ChatTemplate:
    """The chat template of that name; a UserError if there is none."""
    if name not in CHAT_TEMPLATES:
        raise UserError(f"no chat format {name!r}: it is one of {_names()}")
    return CHAT_TEMPLATES[name]


def _control(family: str, tokenizer: Tokenizer, name: str) -> int:
    """The id of a control token that the family's format needs."""
    try:
        return tokenizer.control(name)
    except UserError as error:
        raise UserError(
            f"the {family} chat format needs {name}, but {error}: give the model's own tokenizer, or another family "
            f"({_names()})"
        ) from error


def _present(tokenizer: Tokenizer, names: list[str]) -> list[int]:
    """The ids of those control tokens that the tokenizer has; others are left out."""
    ids = []
    for name in names:
        try:
            ids.append(tokenizer.control(name))
        except UserError:
            continue
    return ids


def _generation_stop_ids(folder: Path, tokenizer: Tokenizer) -> list[int]:
    """The ids in `eos_token_id` of a folder's generation_config.json: one, several, or none."""
    path = folder / "generation_config.json"
    if not is_present(path):
        return []
    stop_ids = _object(path).get("eos_token_id")
    stop_ids = [] if stop_ids is None else stop_ids if isinstance(stop_ids, list) else [stop_ids]
    for stop_id in stop_ids:
        if not isinstance(stop_id, int) or isinstance(stop_id, bool) or stop_id not in tokenizer.control_ids():
            raise UserError(f"{path}: eos_token_id {stop_id!r} is no control token of the tokenizer: take it out")
    return stop_ids


def _object(path: Path) -> dict:
    """The JSON object in a file."""
    try:
        json_value = read_json(path)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: {error}; fetch it again") from error
    if not isinstance(json_value, dict):
        raise UserError(f"{path} is not a JSON object")
    return json_value
