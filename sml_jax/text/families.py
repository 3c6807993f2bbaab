"""The chat formats of public model families. docs/chat_formats.md compares each with its public template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sml_jax.common.json_text import parse_json
from sml_jax.errors import UserError
from sml_jax.text.messages import MessageFormat
from sml_jax.text.tokenizer import Tokenizer

_CONTROL = re.compile(r"(<\|?[a-z_]+\|?>|</think>)")


@dataclass(frozen=True)
class _Family:
    """A chat template as its author writes it: control tokens by name, the rest is text.

    Attributes:
      begin, system, user, model, after: the pieces of a `MessageFormat`.
      ends: the control that closes a message, then others that may end one where the tokenizer has them.
      unthinking: goes behind `model` to keep the model from thinking; None if the family never thinks.
      default_system: what the public template says as the system if nobody else does.
    """

    user: str
    model: str
    stop_ids: tuple[str, ...]
    begin: str = ""
    system: str | None = None
    after: str = ""
    unthinking: str | None = None
    default_system: str = ""


_CHATML = {
    "system": "<|im_start|>system\n",
    "user": "<|im_start|>user\n",
    "model": "<|im_start|>assistant\n",
    "after": "\n",
}

_FAMILIES = {
    # https://huggingface.co/google/gemma-2-9b-it and gemma-3-12b-it, chat_template
    "gemma": _Family(
        begin="<bos>",
        user="<start_of_turn>user\n",
        model="<start_of_turn>model\n",
        stop_ids=("<end_of_turn>", "<eos>"),
        after="\n",
    ),
    # https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct, chat_template;
    # https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1
    "llama3": _Family(
        begin="<|begin_of_text|>",
        system="<|start_header_id|>system<|end_header_id|>\n\n",
        user="<|start_header_id|>user<|end_header_id|>\n\n",
        model="<|start_header_id|>assistant<|end_header_id|>\n\n",
        stop_ids=("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
        default_system="Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
    ),
    # https://huggingface.co/Qwen/Qwen2.5-7B-Instruct, chat_template
    "qwen2_5": _Family(
        **_CHATML,
        stop_ids=("<|im_end|>", "<|endoftext|>"),
        default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    ),
    # https://huggingface.co/Qwen/Qwen3-8B, chat_template
    "qwen3": _Family(**_CHATML, stop_ids=("<|im_end|>", "<|endoftext|>"), unthinking="<think>\n\n</think>\n\n"),
    # https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md, as most open models write it
    "chatml": _Family(**_CHATML, stop_ids=("<|im_end|>", "<|endoftext|>")),
}

_MODEL_TYPES = {
    "gemma": "gemma",
    "gemma2": "gemma",
    "gemma3": "gemma",
    "gemma3_text": "gemma",
    "llama": "llama3",
    "qwen2": "qwen2_5",
    "qwen3": "qwen3",
}


def families() -> tuple[str, ...]:
    """The names that `message_format` knows."""
    return tuple(sorted(_FAMILIES))


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
    written = _family(family)
    if thinking and written.unthinking is None:
        raise UserError(f"models of family {family} do not think: set thinking to False")

    def piece(text: str) -> tuple[int, ...]:
        return tuple(
            token
            for part in _CONTROL.split(text)
            for token in ([_control(family, tokenizer, part)] if _CONTROL.fullmatch(part) else tokenizer.encode(part))
        )

    close, *others = written.stop_ids
    stop_ids = [_control(family, tokenizer, close), *_present(tokenizer, others)]
    if folder is not None:
        stop_ids += _generation_ends(folder, tokenizer)
    think = None
    if thinking:
        think = (_control(family, tokenizer, "<think>"), _control(family, tokenizer, "</think>"))
    return MessageFormat(
        tokenizer,
        begin=piece(written.begin),
        open_system=None if written.system is None else piece(written.system),
        open_user=piece(written.user),
        open_model=piece(written.model + ("" if thinking else written.unthinking or "")),
        stop_ids=tuple(dict.fromkeys(stop_ids)),
        after=piece(written.after),
        think=think,
    )


def default_system(family: str) -> str:
    """What a family's public template says as the system when the chat has no system message; often nothing.

    `message_format` never adds it: whoever wants the model's usual surroundings gives it as the system's text (Llama
    3.1: in front of it).
    """
    return _family(family).default_system


def family_of(folder: Path) -> str:
    """The family of the model in a Hugging Face folder, by `model_type` in its config.json.

    The type is that of the weights: a model of Llama's shape with a chat format of its own needs its family named.

    Raises:
      UserError: no such file, or a type without a family.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"no {path} to tell the chat format from: name the family, one of {_names()}")
    kind = _object(path).get("model_type")
    family = _MODEL_TYPES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise UserError(f"{path}: no chat format for model_type {kind!r}: name the family, one of {_names()}")
    return family


def _names() -> str:
    return ", ".join(families())


def _family(name: str) -> _Family:
    if name not in _FAMILIES:
        raise UserError(f"no chat format {name!r}: it is one of {_names()}")
    return _FAMILIES[name]


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
