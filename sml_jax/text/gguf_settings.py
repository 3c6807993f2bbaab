"""A tokenizer of a Hugging Face folder as the settings of a GGUF file; what `gguf_tokenizer` reads, the other way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present, read_bytes, read_json_object
from sml_jax.text.gguf_tokenizer import NAMED_TOKENS, PRE_TOKENIZERS
from sml_jax.text.tokenizer import SPACE_MARK
from sml_jax.text.tokenizer_json import read_spec

# Types of tokens, see `gguf_tokenizer`.
_TEXT, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_BYTE_NAME = re.compile(r"<0x[0-9A-F]{2}>")
# Of tokens that no merge makes.
_LOWEST_SCORE = -1e6


def gguf_tokenizer_settings(folder: Path, rows: int) -> dict[str, Any]:
    """The settings of a GGUF file for the tokenizer, the chat template and the special tokens in a folder.

    Args:
      folder: a folder with tokenizer.json and, as far as there are, tokenizer_config.json, generation_config.json and
        chat_template.jinja.
      rows: of the model's embedding; ids without a token become unused tokens.

    Returns:
      Setting by its complete name, such as "tokenizer.ggml.tokens".

    Raises:
      UserError: the tokenizer is no BPE, or cuts texts by rules that have no name in GGUF files.
    """
    path = folder / "tokenizer.json"
    spec = read_spec(path)
    model = spec["model"]
    vocabulary: dict[str, int] = model.get("vocab") if isinstance(model.get("vocab"), dict) else {}
    if model.get("type", "BPE") != "BPE" or not vocabulary:
        raise UserError(f"{path} holds no BPE tokenizer: write a Hugging Face folder in place of a GGUF file")
    merges = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
    added = {token["id"]: token for token in spec.get("added_tokens") or []}
    texts = {token_id: text for text, token_id in vocabulary.items()} | {i: t["content"] for i, t in added.items()}
    if max(texts) >= rows:
        raise UserError(f"{path} has tokens up to {max(texts)}, but the model {rows} rows: give the model's tokenizer")
    is_sentencepiece = bool(model.get("byte_fallback"))
    types = []
    for token_id in range(rows):
        text = texts.get(token_id)
        if text is None:
            types.append(_UNUSED)
        elif text == model.get("unk_token"):
            types.append(_UNKNOWN)
        elif token_id in added:
            types.append(_CONTROL if added[token_id].get("special") else _USER_DEFINED)
        else:
            types.append(_BYTE if is_sentencepiece and _BYTE_NAME.fullmatch(text) else _TEXT)
    tokens = [texts.get(token_id, f"[PAD{token_id}]") for token_id in range(rows)]
    settings: dict[str, Any] = {"tokenizer.ggml.model": "llama" if is_sentencepiece else "gpt2"}
    if is_sentencepiece:
        # Runs of spaces are written as spaces where the makers added them.
        tokens = [
            token.replace(SPACE_MARK, " ") if token_type == _USER_DEFINED else token
            for token, token_type in zip(tokens, types, strict=True)
        ]
        settings |= {
            "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.scores": _scores(vocabulary, merges, rows),
            "tokenizer.ggml.add_space_prefix": "Prepend" in str(spec.get("normalizer")),
        }
    else:
        settings |= {
            "tokenizer.ggml.pre": _pre_tokenizer(path, spec),
            "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        }
    begins = "TemplateProcessing" in str(spec.get("post_processor") or {})
    return {
        **settings,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.add_bos_token": begins,
        **_special_tokens(folder, {text: token_id for token_id, text in texts.items()}),
    }


def _pre_tokenizer(path: Path, spec: dict[str, Any]) -> str:
    """The name of the rules by which a byte-level tokenizer cuts texts."""
    # How offsets are counted has no bearing on the tokens.
    parts = spec.get("pre_tokenizer") or {}
    listed = [_comparable(part) for part in parts.get("pretokenizers", [parts])]
    normalizer = (spec.get("normalizer") or {}).get("type")
    for name, known_parts in PRE_TOKENIZERS.items():
        if listed == [_comparable(part) for part in known_parts] and normalizer == ("NFC" if name == "qwen2" else None):
            return name
    raise UserError(
        f"{path} cuts texts by rules that have no name here for GGUF files (known are {', '.join(PRE_TOKENIZERS)}): "
        "write a Hugging Face folder"
    )


def _comparable(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a pre-tokenizer without what has no bearing on tokens."""
    return {name: value for name, value in part.items() if name not in ("trim_offsets", "add_prefix_space")}


def _scores(vocabulary: dict[str, int], merges: list[list[str]], rows: int) -> list[float]:
    """A score for each id: the earlier its first merge, the higher; the lowest for those that no merge makes."""
    scores = [_LOWEST_SCORE] * rows
    for rank, (left, right) in reversed(list(enumerate(merges))):
        token_id = vocabulary.get(left + right)
        if token_id is not None:
            scores[token_id] = -float(rank)
    return scores


def _special_tokens(folder: Path, id_of_text: dict[str, int]) -> dict[str, Any]:
    """The settings for named tokens and the chat template."""
    settings: dict[str, Any] = {}
    config_path, template_path = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    config = dict(read_json_object(config_path)) if is_present(config_path) else {}
    for name, setting in NAMED_TOKENS.items():
        value = config.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str) and text in id_of_text:
            settings[setting] = id_of_text[text]
    generation_path = folder / "generation_config.json"
    ends = dict(read_json_object(generation_path)).get("eos_token_id") if is_present(generation_path) else None
    end_ids = [end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)]
    # The first ends a text; llama.cpp has one more name for what ends a turn.
    for setting, end_id in zip((NAMED_TOKENS["eos_token"], "tokenizer.ggml.eot_token_id"), end_ids, strict=False):
        settings[setting] = end_id
    template = config.get("chat_template")
    if is_present(template_path):
        template = read_bytes(template_path).decode("utf-8", "replace")
    return settings | ({"tokenizer.chat_template": template} if isinstance(template, str) else {})
