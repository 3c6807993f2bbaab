"""Tokenizers from Hugging Face folders: `tokenizer.json`, read by the `tokenizers` library alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tokenizers

from sml_jax.common.errors import UserError
from sml_jax.common.json_text import parse_json
from sml_jax.common.paths import user_path
from sml_jax.text.markers import is_marker
from sml_jax.text.tokenizer import (
    SPACE_MARK,
    SentencePieceTokenizer,
    Tokenizer,
    byte_tokens,
    warn_if_lossy,
    well_formed,
)

_KINDS = ("BPE", "Unigram")
# Tokens that stand for the output of an image encoder. The embedding of Gemma 3's text models has no row for theirs,
# which is the last token of their tokenizer.json (https://github.com/huggingface/transformers/issues/37011).
_IMAGE_TOKENS = ("<image_soft_token>",)
# How many ids may have no token, in addition to three for each token. A mistyped id would otherwise take gigabytes.
_SPARE_IDS = 1 << 16


class HuggingFaceTokenizer:
    """A `tokenizer.json` file: BPE (byte-level, or with byte fallback) or Unigram.

    Control tokens are the added tokens that are special or markers (Qwen's `<think>`, Gemma's `<unused7>`), the unknown
    token, and ids without a token. A text that spells one is cut into ordinary pieces.

    Settings of the file that add tokens to a text (begin, end, space, padding) or cut it are ignored. Decoding the
    tokens of a text returns that text, changed only by the file's own normaliser (Qwen: NFC). If a test text is not
    returned, loading the file warns.

    Args:
      path: the file.

    Raises:
      UserError: there is no such file, it is not a tokenizer.json, or its kind of model loses text.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"no tokenizer at {self.path}: give the path of a tokenizer.json file")
        spec = _read(self.path)
        # The library raises bare exceptions, and panics, on files that are valid JSON but no tokenizer.
        with _as_user_errors(self.path):
            spec = _plain(spec, self.path)
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
            # Makes the library encode a text that spells a special token like any other text.
            self._tokenizer.encode_special_tokens = True
            self._find_controls(spec)
        warn_if_lossy(self, self.path)

    def _find_controls(self, spec: dict) -> None:
        """Finds the control tokens and the size of the vocabulary, and whether a literal U+2581 needs byte tokens."""
        used = set(self._tokenizer.get_vocab(with_added_tokens=True).values())
        if not used:
            raise UserError(f"{self.path} holds no tokens: give the tokenizer.json of a trained model")
        self._check_ids(spec["added_tokens"])
        self._names = {added["content"]: added["id"] for added in spec["added_tokens"] if added["special"]}
        self._unknown = self._unknown_id(spec["model"])
        self._size = max(used) + 1
        if self._size > 4 * len(used) + _SPARE_IDS:
            raise UserError(f"{self.path} numbers {len(used)} tokens up to {self._size - 1}: number them in one run")
        self._controls = frozenset(range(self._size)) - used | frozenset(self._names.values()) | self._unknown
        self._space_mark: list[int] = []
        if self.decode(self.encode(SPACE_MARK)) != SPACE_MARK:
            self._space_mark = byte_tokens(SPACE_MARK, self._tokenizer.token_to_id)

    def _check_ids(self, added_tokens: list[dict]) -> None:
        """Checks the ids of added tokens: the library assigns its own and is silent where the file has others."""
        for added in added_tokens:
            if self._tokenizer.token_to_id(added["content"]) != added["id"]:
                raise UserError(
                    f"{self.path}: the added token {added['content']!r} has id {added['id']}, which leaves a gap or is "
                    "taken: number added tokens in one run behind the vocabulary"
                )

    def _unknown_id(self, model: dict) -> frozenset[int]:
        """The id of the unknown token, if there is one. Unigram models give its id, BPE models its name."""
        unknown_id = model.get("unk_id")
        if unknown_id is None:
            name = model.get("unk_token")
            unknown_id = self._tokenizer.token_to_id(name) if isinstance(name, str) else None
        return frozenset() if unknown_id is None else frozenset([unknown_id])

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return self._size

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, which may be any string; never a control token."""
        # Between the parts stands a literal U+2581, which the model would take for a space: write its bytes.
        first_part, *other_parts = well_formed(text).split(SPACE_MARK) if self._space_mark else [well_formed(text)]
        tokens = self._encode(first_part)
        for part in other_parts:
            tokens += self._space_mark + self._encode(part)
        return tokens

    def _encode(self, text: str) -> list[int]:
        """The tokens of a text without literal U+2581."""
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self._controls.isdisjoint(tokens):
            return tokens
        return [piece for token in tokens for piece in self._without_controls(token)]

    def _without_controls(self, token: int) -> list[int]:
        """Replaces a control token that the merges of ordinary pieces happen to spell by the tokens of two halves."""
        if token not in self._controls:
            return [token]
        token_text = self._tokenizer.id_to_token(token) or ""
        # Nothing shorter spells it, so it is dropped.
        if token in self._unknown or len(token_text) < 2:
            return []
        return self._encode(token_text[:1]) + self._encode(token_text[1:])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; control tokens are left out."""
        return self._tokenizer.decode(
            [int(t) for t in tokens if int(t) not in self._controls], skip_special_tokens=False
        )

    def control(self, name: str) -> int:
        """The id of the control token called `name`. Raises a UserError if there is none."""
        token = self._names.get(name)
        if token is None:
            raise UserError(f"tokenizer {self.path} has no control token {name!r}")
        return token

    def control_ids(self) -> frozenset[int]:
        """All ids that stand for no text: control tokens, unknown, padding, ids without a token."""
        return self._controls


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Loads the tokenizer of a model.

    Args:
      path: a `tokenizer.json` file, a SentencePiece `.model` file, or a folder with one of them. Where a folder has
        both, the `tokenizer.json` is loaded.

    Raises:
      UserError: there is no tokenizer, or it cannot be read.
    """
    path = user_path(path)
    if not path.exists():
        raise UserError(f"no tokenizer at {path}: give a tokenizer.json, a SentencePiece .model file, or their folder")
    if path.is_dir():
        path = _tokenizer_file(path)
    return HuggingFaceTokenizer(path) if path.suffix == ".json" else SentencePieceTokenizer(path, dummy_prefix=False)


def _tokenizer_file(folder: Path) -> Path:
    """The tokenizer's file in a folder."""
    for name in ("tokenizer.json", "tokenizer.model"):
        if (folder / name).is_file():
            return folder / name
    model_files = sorted(folder.glob("*.model"))
    if len(model_files) == 1:
        return model_files[0]
    if model_files:
        names = ", ".join(model_file.name for model_file in model_files)
        raise UserError(f"{folder} holds several tokenizers ({names}): give the path of one")
    raise UserError(
        f"{folder} holds no tokenizer.json and no SentencePiece .model file: copy the model's tokenizer.json there, or "
        "let transformers write one (AutoTokenizer.from_pretrained(folder).save_pretrained(folder))"
    )


def _read(path: Path) -> dict:
    """The JSON object of a tokenizer.json file."""
    try:
        spec = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a tokenizer.json file: {_one_line(error)}; fetch it again") from error
    if not isinstance(spec, dict) or not isinstance(spec.get("model"), dict):
        raise UserError(f"{path} is not a tokenizer.json file: it has no model (tokenizer_config.json is another file)")
    return spec


def _plain(spec: dict, path: Path) -> dict:
    """A tokenizer's description changed so that nothing is added to a text or cut off it, and markers are special."""
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


def _without_prefix(part: dict | None) -> dict | None:
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


@contextmanager
def _as_user_errors(path: Path) -> Iterator[None]:
    """A context in which every error of the library becomes a UserError about the file.

    A panic of its Rust code is no `Exception` in Python, hence `BaseException`.
    """
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(
            f"{path} is not a tokenizer.json file that works: {_one_line(error)}; fetch it again"
        ) from error


def _one_line(error: BaseException) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split())
