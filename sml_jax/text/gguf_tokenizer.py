"""The tokenizer of a GGUF file as the object of a tokenizer.json file.

A GGUF file lists tokens with their types, and merges (byte-level BPE) or scores (SentencePiece). How a text is cut
before that is a name, which llama.cpp explains in its source (https://github.com/ggml-org/llama.cpp,
src/llama-vocab.cpp). Here the parts are those of the tokenizer.json files of these models.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from sml_jax.common.gguf_file import GGUFFile
from sml_jax.text.tokenizer import SPACE_MARK
from sml_jax.text.tokenizer_json import LLAMA3_PATTERN, QWEN_PATTERN

# Types of tokens (`llama_token_type`): of the others, one is ordinary text, and six is a byte.
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 2, 3, 4, 5, 6

_KINDS = ("gpt2", "llama")
TOKENS = "tokenizer.ggml.tokens"

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
_GPT2_SPLIT = {**_BYTES, "use_regex": True}


def _split(pattern: str) -> list[dict[str, Any]]:
    """Parts that cut a text by a regular expression and then write it as bytes."""
    return [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, _BYTES]


PRE_TOKENIZERS: Mapping[str, list[dict[str, Any]]] = MappingProxyType(
    {
        "gpt-2": [_GPT2_SPLIT],
        "smollm": [{"type": "Digits", "individual_digits": True}, _GPT2_SPLIT],
        "qwen2": _split(QWEN_PATTERN),
        **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), _split(LLAMA3_PATTERN)),
    }
)
"""How text is cut by the name that a file gives (`tokenizer.ggml.pre`), for byte-level BPE."""
# Names whose models take a word that is a token as it is, whatever the merges, and begin a text with their begin token.
_LLAMA3 = ("llama-bpe", "llama3", "llama-v3")

# Ids of tokens by the names that tokenizer_config.json has for them, and settings of the file.
NAMED_TOKENS = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}


def tokenizer_spec(file: GGUFFile) -> dict[str, Any]:
    """The object of the tokenizer.json of the tokenizer in a GGUF file.

    Tokens of the type "unused" have no text and are left out; their ids stay free.

    Raises:
      UserError: there is no tokenizer in the file, or one of a kind that is not supported.
    """
    kind = file.text("tokenizer.ggml.model")
    tokens = file.texts(TOKENS)
    if kind is None or not tokens:
        raise file.error("it holds no tokenizer: give the model's tokenizer.json")
    if kind not in _KINDS:
        raise file.error(
            f"its tokenizer is of kind {kind!r}; read are {' and '.join(map(repr, _KINDS))}: give the model's "
            "tokenizer.json"
        )
    types = file.numbers("tokenizer.ggml.token_type", len(tokens))
    # Old files have no types: then all tokens are text.
    token_types = [1] * len(tokens) if types is None else types.tolist()
    spec = _byte_level(file, tokens, token_types) if kind == "gpt2" else _sentencepiece(file, tokens, token_types)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        **spec,
        "post_processor": _post_processor(file, tokens, kind),
    }


def _byte_level(file: GGUFFile, tokens: list[str], types: list[int]) -> dict[str, Any]:
    """The parts of a byte-level BPE tokenizer: its tokens spell bytes as letters, its merges are listed."""
    name = file.text("tokenizer.ggml.pre") or ""
    if name not in PRE_TOKENIZERS:
        raise file.error(
            f"it cuts texts by the rules called {name!r}; known are {', '.join(PRE_TOKENIZERS)}: give the model's "
            "tokenizer.json"
        )
    merges = [merge.split(" ") for merge in file.texts("tokenizer.ggml.merges") or []]
    if not merges or any(len(merge) != 2 for merge in merges):
        raise file.error("its tokenizer has no merges, or some that are no pairs; give the model's tokenizer.json")
    parts = PRE_TOKENIZERS[name]
    return {
        "added_tokens": _added_tokens(tokens, types),
        # Qwen's texts are put into Unicode's composed form first.
        "normalizer": {"type": "NFC"} if name == "qwen2" else None,
        "pre_tokenizer": parts[0] if len(parts) == 1 else {"type": "Sequence", "pretokenizers": parts},
        "decoder": _BYTES,
        "model": {
            "type": "BPE",
            "vocab": _vocabulary(tokens, types),
            "merges": merges,
            "ignore_merges": name in _LLAMA3,
        },
    }


def _sentencepiece(file: GGUFFile, tokens: list[str], types: list[int]) -> dict[str, Any]:
    """The parts of a SentencePiece BPE tokenizer: its tokens spell text, and their scores say what is merged first."""
    scores = file.numbers("tokenizer.ggml.scores", len(tokens))
    unknown = file.whole_number("tokenizer.ggml.unknown_token_id", len(tokens))
    if scores is None or not np.isfinite(scores).all():
        raise file.error("its tokenizer has no scores, or some that are not finite; give the model's tokenizer.json")
    # Runs of spaces that the model's makers have added are written as spaces, all others with the mark.
    tokens = [
        token.replace(" ", SPACE_MARK) if token_type == _USER_DEFINED else token
        for token, token_type in zip(tokens, types, strict=True)
    ]
    vocabulary = _vocabulary(tokens, types)
    mark_spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
    decoders = [
        {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    # A space in front of every text: older files do not say so (Llama 2), Gemma's say that there is none.
    has_prefix = file.settings.get("tokenizer.ggml.add_space_prefix", True) is True
    if has_prefix:
        normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE_MARK}, mark_spaces]}
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "added_tokens": _added_tokens(tokens, types),
        "normalizer": normalizer if has_prefix else mark_spaces,
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "unk_token": None if unknown is None else tokens[unknown],
            "fuse_unk": True,
            "byte_fallback": _BYTE in types,
            "vocab": vocabulary,
            "merges": _merges_by_score(tokens, types, scores.tolist(), vocabulary),
        },
    }


def _merges_by_score(
    tokens: list[str], types: list[int], scores: list[float], vocabulary: Mapping[str, int]
) -> list[list[str]]:
    """The merges that SentencePiece makes: any two tokens that together are a token, those of the best score first.

    The order of merges into one token is that of transformers' conversion of Gemma and Llama
    (`tokenization_utils_base.generate_merges`), whose files ours equal.

    Returns:
      A pair of tokens for each merge.
    """
    merges: list[tuple[tuple[float, int, int], str]] = []
    for token, token_type, score in zip(tokens, types, scores, strict=True):
        # Control tokens and bytes are never made of text.
        if len(token) < 2 or token_type in (_UNKNOWN, _CONTROL, _UNUSED, _BYTE):
            continue
        # SentencePiece looks for user-defined pieces before all others; a file gives them the lowest score.
        rank = 0.0 if token_type == _USER_DEFINED else score
        cuts = [
            (vocabulary[token[:cut]], vocabulary[token[cut:]], cut)
            for cut in range(1, len(token))
            if token[:cut] in vocabulary and token[cut:] in vocabulary
        ]
        merges += (((rank, cut, len(token) - cut), token) for _, _, cut in sorted(cuts))
    # Python's sort keeps the order of equals, in reverse too.
    merges.sort(key=lambda merge: merge[0], reverse=True)
    return [[token[:cut], token[cut:]] for (_, cut, _), token in merges]


def _vocabulary(tokens: list[str], types: list[int]) -> dict[str, int]:
    """The id of each token that has a text. Of tokens with the same text the first counts."""
    vocabulary: dict[str, int] = {}
    for token_id, (token, token_type) in enumerate(zip(tokens, types, strict=True)):
        if token_type != _UNUSED:
            vocabulary.setdefault(token, token_id)
    return vocabulary


def _added_tokens(tokens: list[str], types: list[int]) -> list[dict[str, Any]]:
    """The tokens that are found in a text before it is cut: control tokens, and text that the makers have added."""
    seen: set[str] = set()
    added = []
    for token_id, (token, token_type) in enumerate(zip(tokens, types, strict=True)):
        if token_type in (_UNKNOWN, _CONTROL, _USER_DEFINED) and token not in seen:
            seen.add(token)
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            added.append({"id": token_id, "content": token, **flags, "special": token_type != _USER_DEFINED})
    return added


def _post_processor(file: GGUFFile, tokens: list[str], kind: str) -> dict[str, Any] | None:
    """The part that puts the begin and end tokens around a text, if the file asks for it; None if for neither."""
    begins_by_default = kind == "llama" or file.text("tokenizer.ggml.pre") in _LLAMA3
    sides = {
        "bos_token": file.settings.get("tokenizer.ggml.add_bos_token", begins_by_default) is True,
        "eos_token": file.settings.get("tokenizer.ggml.add_eos_token", False) is True,
    }
    ids = {name: file.whole_number(NAMED_TOKENS[name], len(tokens)) for name, is_added in sides.items() if is_added}
    texts = {name: tokens[token_id] for name, token_id in ids.items() if token_id is not None}
    if not texts:
        return None

    def around(sequence: str, type_id: int) -> list[dict[str, Any]]:
        special = {name: {"SpecialToken": {"id": text, "type_id": type_id}} for name, text in texts.items()}
        middle = {"Sequence": {"id": sequence, "type_id": type_id}}
        return [part for part in (special.get("bos_token"), middle, special.get("eos_token")) if part is not None]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {text: {"id": text, "ids": [ids[name]], "tokens": [text]} for name, text in texts.items()},
    }
