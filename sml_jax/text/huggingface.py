"""Tokenizers from Hugging Face folders and GGUF files, which the `tokenizers` library alone reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import tokenizers

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present
from sml_jax.common.gguf_file import is_gguf
from sml_jax.common.gguf_header import read_gguf
from sml_jax.common.paths import user_path
from sml_jax.text.gguf_tokenizer import tokenizer_spec
from sml_jax.text.growth import check_token_count
from sml_jax.text.tokenizer import (
    SPACE_MARK,
    SentencePieceTokenizer,
    Tokenizer,
    byte_tokens,
    warn_if_lossy,
    well_formed,
)
from sml_jax.text.tokenizer_json import is_usual, one_line, patterns_of, plain, read_spec
from sml_jax.text.trial import try_out

# How many ids may have no token, in addition to three for each token. A mistyped id would otherwise take gigabytes.
_SPARE_IDS = 1 << 16
# How often a control token is cut in two, of which a part is a control token again. Names are shorter than this.
_MAX_CUTS = 256
# Tokens that are decoded to see whether any of them stands for text.
_DECODED_TOKENS = 4096


class HuggingFaceTokenizer:
    """A `tokenizer.json` file, or the tokenizer of a GGUF file: BPE (byte-level, or with byte fallback) or Unigram.

    Control tokens are the added tokens that are special or markers (Qwen's `<think>`, Gemma's `<unused7>`), the unknown
    token, and ids without a token. A text that spells one is cut into ordinary pieces.

    Settings of the file that add tokens to a text (begin, end, space, padding) or cut it are ignored. Decoding the
    tokens of a text returns that text, changed only by the file's own normaliser (Qwen: NFC). If a test text is not
    returned, loading the file warns.

    Args:
      path: the file.
      tried: whether the file is known to work. Otherwise one with unusual parts is tried out in another process first
        (`trial.try_out`).

    Raises:
      UserError: there is no such file, it is not a tokenizer.json, it does not work, or its kind of model loses text.
        Later calls raise it where the library fails, or makes far more tokens than there is text.
    """

    def __init__(self, path: str | Path, *, tried: bool = False):
        self.path = Path(path)
        if not is_present(self.path):
            raise UserError(f"no tokenizer at {self.path}: give the path of a tokenizer.json file")
        spec = tokenizer_spec(read_gguf(self.path)) if is_gguf(self.path) else read_spec(self.path)
        # The library raises bare exceptions, and panics, on files that are valid JSON but no tokenizer.
        with self._as_user_errors():
            spec = plain(spec, self.path)
            if not tried and not is_usual(spec):
                try_out(self.path, patterns_of(spec))
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
            # Makes the library encode a text that spells a special token like any other text.
            self._tokenizer.encode_special_tokens = True
            self._find_controls(spec)
            self._check_speaks()
            warn_if_lossy(self, self.path)

    def _find_controls(self, spec: dict) -> None:
        """Finds the control tokens and the size of the vocabulary, and whether a literal U+2581 needs byte tokens."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        used = set(vocabulary.values())
        if not used:
            raise UserError(f"{self.path} holds no tokens: give the tokenizer.json of a trained model")
        if len(used) < len(vocabulary):
            raise UserError(
                f"{self.path} gives {len(vocabulary) - len(used)} of its tokens the id of another: number them in one "
                "run"
            )
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

    def _check_speaks(self) -> None:
        """Raises UserError if no token stands for text. Of a large vocabulary some thousand are decoded."""
        texts = [token for token in range(self._size) if token not in self._controls]
        step = max(len(texts) // _DECODED_TOKENS, 1)
        if not self.decode(texts[::step]):
            raise UserError(
                f"{self.path} is not a tokenizer that works: its tokens decode to nothing; give the model's own "
                "tokenizer"
            )

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

    def _encode(self, text: str, cuts: int = 0) -> list[int]:
        """The tokens of a text without literal U+2581, which is a part of a control token that was cut `cuts` times."""
        with self._as_user_errors():
            tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        check_token_count(self.path, len(text), len(tokens))
        if self._controls.isdisjoint(tokens):
            return tokens
        # A normaliser that makes a control token of its own part would have it cut for ever.
        if cuts > _MAX_CUTS:
            raise UserError(
                f"{self.path} is not a tokenizer that works: it makes a control token of {text[:20]!r}, which is a "
                "part of that token's name; give the model's own tokenizer"
            )
        return [piece for token in tokens for piece in self._without_controls(token, cuts)]

    def _without_controls(self, token: int, cuts: int) -> list[int]:
        """Replaces a control token that the merges of ordinary pieces happen to spell by the tokens of two halves."""
        if token not in self._controls:
            return [token]
        token_text = self._tokenizer.id_to_token(token) or ""
        # Nothing shorter spells it, so it is dropped.
        if token in self._unknown or len(token_text) < 2:
            return []
        return self._encode(token_text[:1], cuts + 1) + self._encode(token_text[1:], cuts + 1)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; control tokens are left out."""
        text_tokens = [int(t) for t in tokens if int(t) not in self._controls]
        with self._as_user_errors():
            return self._tokenizer.decode(text_tokens, skip_special_tokens=False)

    def control(self, name: str) -> int:
        """The id of the control token called `name`. Raises a UserError if there is none."""
        token = self._names.get(name)
        if token is None:
            raise UserError(f"tokenizer {self.path} has no control token {name!r}")
        return token

    def control_names(self) -> Mapping[str, int]:
        """The ids of all control tokens, by name."""
        return self._names

    def control_ids(self) -> frozenset[int]:
        """All ids that stand for no text: control tokens, unknown, padding, ids without a token."""
        return self._controls

    @contextmanager
    def _as_user_errors(self) -> Iterator[None]:
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
                f"{self.path} is not a tokenizer.json file that works: {one_line(error)}; fetch it again"
            ) from error


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Loads the tokenizer of a model.

    Args:
      path: a `tokenizer.json` file, a SentencePiece `.model` file, a GGUF file, or a folder with one of the first two.
        Where a folder has both, the `tokenizer.json` is loaded.

    Raises:
      UserError: there is no tokenizer, or it cannot be read.
    """
    path = user_path(path)
    if not path.exists():
        raise UserError(f"no tokenizer at {path}: give a tokenizer.json, a SentencePiece .model file, or their folder")
    if path.is_dir():
        path = _tokenizer_file(path)
    is_described = path.suffix == ".json" or is_gguf(path)
    return HuggingFaceTokenizer(path) if is_described else SentencePieceTokenizer(path, dummy_prefix=False)


def _tokenizer_file(folder: Path) -> Path:
    """The tokenizer's file in a folder."""
    for name in ("tokenizer.json", "tokenizer.model"):
        if is_present(folder / name):
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
