"""The chat formats of public model families. docs/chat_formats.md compares each with its public template."""

from __future__ import annotations

import re
from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.families import CHAT_TEMPLATES, ChatTemplate, chat_name_of_model_type
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import Tokenizer

_CONTROL = re.compile(r"(<\|?[a-z_]+\|?>|</think>)")


def families() -> tuple[str, ...]:
    """The names that `message_format` knows."""
    return tuple(sorted(CHAT_TEMPLATES))


def message_format(
    family: str, tokenizer: Tokenizer, folder: Path | None = None, thinking: bool = False
) -> MessageFormat:
    """A family's chat format in the tokens of a tokenizer.

    Args:
      family: one of `families()`.
      tokenizer: the model's own.
      folder: the model's, for the ends that its generation_config.json adds.
      thinking: whether a model that can think before it speaks (Qwen 3) does.

    Raises:
      UserError: an unknown family, one that never thinks, or a tokenizer or folder of another.
    """
    template = _template(family)
    if thinking and template.unthinking is None:
        raise UserError(f"models of family {family} do not think: set thinking to False")

    def piece(text: str) -> tuple[int, ...]:
        return tuple(
            token
            for part in _CONTROL.split(text)
            for token in ([_control(family, tokenizer, part)] if _CONTROL.fullmatch(part) else tokenizer.encode(part))
        )

    close, *others = template.stop_ids
    stop_ids = [_control(family, tokenizer, close), *_present(tokenizer, others)]
    if folder is not None:
        stop_ids += _generation_ends(folder, tokenizer)
    think = None
    if thinking:
        think = (_control(family, tokenizer, "<think>"), _control(family, tokenizer, "</think>"))
    return MessageFormat(
        tokenizer,
        begin=piece(template.begin),
        open_system=None if template.system is None else piece(template.system),
        open_user=piece(template.user),
        open_model=piece(template.model + ("" if thinking else template.unthinking or "")),
        stop_ids=tuple(dict.fromkeys(stop_ids)),
        after=piece(template.after),
        think=think,
    )


def default_system(family: str) -> str:
    """What a family's public template says as the system when the chat has no system message; often nothing.

    `message_format` never adds it: whoever wants the model's usual surroundings gives it as the system's text (Llama
    3.1: in front of it).
    """
    return _template(family).default_system


def family_of(folder: Path) -> str:
    """The family of the model in a Hugging Face folder, by `model_type` in its config.json.

    The type is that of the weights: a model of Llama's shape with a chat format of its own needs its family named.

    Raises:
      UserError: no such file, or a type without a family.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"no {path} to tell the chat format from: name the family, one of {_names()}")
    model_type = _object(path).get("model_type")
    family = chat_name_of_model_type(model_type)
    if family is None:
        raise UserError(f"{path}: no chat format for model_type {model_type!r}: name the family, one of {_names()}")
    return family


def _names() -> str:
    return ", ".join(families())


def _template(name: str) -> ChatTemplate:
    if name not in CHAT_TEMPLATES:
        raise UserError(f"no chat format {name!r}: it is one of {_names()}")
    return CHAT_TEMPLATES[name]


def _control(family: str, tokenizer: Tokenizer, name: str) -> int:
    try:
        return tokenizer.control(name)
    except UserError as error:
        raise UserError(
            f"the {family} chat format needs {name}, but {error}: give the model's own tokenizer, or another family "
            f"({_names()})"
        ) from error


def _present(tokenizer: Tokenizer, names: list[str]) -> list[int]:
    """The ids of those controls that the tokenizer has."""
    found = []
    for name in names:
        try:
            found.append(tokenizer.control(name))
        except UserError:
            continue
    return found


def _generation_ends(folder: Path, tokenizer: Tokenizer) -> list[int]:
    """The `eos_token_id` of a folder's generation_config.json: a number, a list of them, or nothing."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return []
    stop_ids = _object(path).get("eos_token_id")
    stop_ids = [] if stop_ids is None else stop_ids if isinstance(stop_ids, list) else [stop_ids]
    for end in stop_ids:
        if not isinstance(end, int) or isinstance(end, bool) or end not in tokenizer.control_ids():
            raise UserError(f"{path}: eos_token_id {end!r} is no control token of the tokenizer: take it out")
    return stop_ids


def _object(path: Path) -> dict:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a JSON file: {error}; fetch it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object")
    return content
