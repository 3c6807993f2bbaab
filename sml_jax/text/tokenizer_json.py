"""A tokenizer.json file as a description: read within limits, made plain, and looked at for parts that are unusual."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sml_jax.common.errors import UserError
from sml_jax.common.files import read_bytes
from sml_jax.common.json_text import parse_json
from sml_jax.text.markers import is_marker

_KINDS = ("BPE", "Unigram")
# Tokens that stand for the output of an image encoder. The embedding of Gemma 3's text models has no row for theirs,
# which is the last token of their tokenizer.json (https://github.com/huggingface/transformers/issues/37011).
_IMAGE_TOKENS = ("<image_soft_token>",)

# The largest published file, Gemma 3's, has 33 MB, 0.6 million brackets and 1.3 million texts. Each bracket and text
# takes some hundred bytes in Python and as many in the library.
_MAX_BYTES, _MAX_BRACKETS, _MAX_TEXTS = 64 << 20, 3_000_000, 3_000_000

# Regular expressions that cut a text in a time that grows with its length: those of Qwen 2 and 3, Llama 3, and GPT-2.
# https://huggingface.co/Qwen/Qwen3-8B, meta-llama/Llama-3.1-8B and openai-community/gpt2, tokenizer.json
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN_PATTERN, LLAMA3_PATTERN = _CONTRACTIONS + _WORDS % "", _CONTRACTIONS + _WORDS % "{1,3}"
_GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_USUAL_PATTERNS = frozenset({QWEN_PATTERN, LLAMA3_PATTERN, _GPT2_PATTERN})
# Parts by their `type` that can neither make a text much longer nor take long over it, whatever their settings.
_USUAL_PARTS = frozenset({"NFC", "NFD", "NFKC", "NFKD", "ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Digits"})
# Each part may make a text a few times longer, so there may not be many of them.
_MAX_USUAL_PARTS, _MAX_USUAL_CHARACTERS = 6, 4


def read_spec(path: Path) -> dict[str, Any]:
    """The JSON object of a tokenizer.json file.

    Raises:
      UserError: it cannot be read, is larger than any tokenizer, or holds something else.
    """
    spec = _read(path)
    if not isinstance(spec, dict) or not isinstance(spec.get("model"), dict):
        raise UserError(f"{path} is not a tokenizer.json file: it has no model (tokenizer_config.json is another file)")
    return spec


def has_model(path: Path) -> bool:
    """Whether a tokenizer.json file describes a tokenizer at all.

    Raises:
      UserError: it cannot be read, is larger than any tokenizer, or is no JSON.
    """
    spec = _read(path)
    return isinstance(spec, dict) and isinstance(spec.get("model"), dict)


def _read(path: Path) -> Any:
    """The JSON value in a tokenizer.json file."""
    try:
        text = read_bytes(path, _MAX_BYTES).decode("utf-8")
        # A few megabytes of brackets would become gigabytes of lists.
        if text.count("[") + text.count("{") > _MAX_BRACKETS or text.count('"') > 2 * _MAX_TEXTS:
            raise ValueError("it holds more lists and texts than any tokenizer")
        return parse_json(text)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} is not a tokenizer.json file: {one_line(error)}; fetch it again") from error


def plain(spec: dict[str, Any], path: Path) -> dict[str, Any]:
    """A tokenizer's description changed so that nothing is added to a text or cut off it, and markers are special.

    Args:
      spec: from `read_spec`. It is not changed.
      path: the file, for errors.

    Raises:
      UserError: its kind of model loses text. Any other error means that it describes no tokenizer.
    """
    kind = spec["model"].get("type") or ("BPE" if "merges" in spec["model"] else None)
    # WordPiece and WordLevel lose text: what they do not know becomes one unknown token.
    if kind not in _KINDS:
        raise UserError(f"{path} holds a tokenizer of kind {kind}: only {' and '.join(_KINDS)} can write any text")
    if kind == "Unigram" and spec["model"].get("unk_id") is None:
        raise UserError(f"{path} holds a Unigram model without unk_id: give the id of its unknown token")
    # Drop image tokens at the end that the learnt vocabulary does not hold.
    vocabulary = spec["model"].get("vocab") if kind == "BPE" else None
    added_tokens = [dict(token) for token in spec.get("added_tokens") or []]
    # Only at the end: taking out others would leave gaps between ids.
    while (
        added_tokens
        and added_tokens[-1]["content"] in _IMAGE_TOKENS
        and added_tokens[-1]["content"] not in (vocabulary or {})
    ):
        added_tokens.pop()
    for token in added_tokens:
        token["special"] = bool(token.get("special")) or is_marker(token["content"])
    return {
        **spec,
        "model": {**spec["model"], "dropout": None} if kind == "BPE" else spec["model"],
        "added_tokens": added_tokens,
        "normalizer": _without_prefix(spec.get("normalizer")),
        "pre_tokenizer": _without_prefix(spec.get("pre_tokenizer")),
        "decoder": _without_prefix(spec.get("decoder")),
        "post_processor": None,
        "truncation": None,
        "padding": None,
    }


def is_usual(spec: dict[str, Any]) -> bool:
    """Whether a tokenizer has only parts that are known to do a bounded amount of work on any text.

    The tokenizers of all families have. Regular expressions that nobody has looked at, texts that replace others by
    longer ones, and settings that are known to make the library panic are unusual.

    Args:
      spec: from `plain`.
    """
    model = spec["model"]
    # A prefix or suffix of pieces makes the library count below zero where pieces lack it.
    if model.get("type", "BPE") != "BPE" or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    parts = [part for name in ("normalizer", "pre_tokenizer", "decoder") for part in _simple_parts(spec[name])]
    return len(parts) <= 3 * _MAX_USUAL_PARTS and all(map(_is_usual_part, parts))


def patterns_of(spec: dict[str, Any]) -> list[str]:
    """The texts and regular expressions that a tokenizer looks for in a text, as texts to try it with.

    Args:
      spec: from `plain`.
    """
    parts = [part for name in ("normalizer", "pre_tokenizer", "decoder") for part in _simple_parts(spec[name])]
    patterns = [part["pattern"] for part in parts if isinstance(part.get("pattern"), dict)]
    return [text[:1000] for pattern in patterns for text in pattern.values() if isinstance(text, str)]


def _simple_parts(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A part, or the parts of a sequence, however nested."""
    if part is None:
        return []
    for children_field in ("normalizers", "pretokenizers", "decoders"):
        if children_field in part:
            return [simple for child in part[children_field] for simple in _simple_parts(child)]
    return [part]


def _is_usual_part(part: dict[str, Any]) -> bool:
    """Whether a part that is no sequence is known to do a bounded amount of work."""
    kind, pattern = part.get("type"), part.get("pattern")
    if kind in _USUAL_PARTS:
        return True
    fixed_text: str = (pattern.get("String") or "") if isinstance(pattern, dict) else ""
    # An empty text is found everywhere.
    if kind == "Replace":
        return bool(fixed_text) and len(part["content"]) <= min(len(fixed_text), _MAX_USUAL_CHARACTERS)
    if kind == "Split":
        return bool(fixed_text) or (isinstance(pattern, dict) and pattern.get("Regex") in _USUAL_PATTERNS)
    return False


def _without_prefix(part: dict[str, Any] | None) -> dict[str, Any] | None:
    """A normaliser, pre-tokenizer or decoder changed so that it adds no space in front of a text and removes none.

    None if nothing of it is left.
    """
    if part is None:
        return None
    # Parts that do nothing but add or strip the space.
    kind = part.get("type")
    if kind == "Prepend" or (kind == "Strip" and part.get("content") == " "):
        return None
    changed_part = dict(part)
    if "prepend_scheme" in part:
        changed_part["prepend_scheme"] = "never"
    if "add_prefix_space" in part:
        changed_part["add_prefix_space"] = False
    # Sequences of parts are changed part by part.
    for children_field in ("normalizers", "pretokenizers", "decoders"):
        if children_field in part:
            changed_part[children_field] = [
                child for child in map(_without_prefix, part[children_field]) if child is not None
            ]
    return changed_part


def one_line(error: BaseException) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split())
