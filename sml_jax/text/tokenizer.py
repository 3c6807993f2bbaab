"""The protocol that all tokenizers follow, and the one for SentencePiece models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import sentencepiece

from sml_jax.common.errors import UserError
from sml_jax.common.files import is_present, read_bytes
from sml_jax.text.growth import check_token_count
from sml_jax.text.markers import is_marker
from sml_jax.text.sentencepiece_model import is_usual, rewrite_model
from sml_jax.text.trial import try_out

# How SentencePiece, and tokenizers made from it, write a space inside their pieces.
SPACE_MARK = "\u2581"

# Of a .model file: the largest published ones have some 5 MB.
_MAX_BYTES = 64 << 20

# A text with newlines, two spaces, an accent, a Chinese character, an emoji and a zero byte.
_PROBE = "Text 7?\n\n  \u00e9\u6f22\U0001f4a5\x00"


@runtime_checkable
class Tokenizer(Protocol):
    """Turns text into tokens and back. `encode` never yields a control token, whatever the text spells.

    SentencePiece writes U+2581 for a space. A text that itself contains this character is decoded with it if the
    vocabulary has tokens for its bytes, else with a space in its place.
    """

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        ...

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, which may be any string, in order; never a control token."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text that tokens stand for; control tokens are left out."""
        ...

    def control(self, name: str) -> int:
        """The id of the control token called `name`. Raises a UserError if the tokenizer has none of that name."""
        ...

    def control_names(self) -> Mapping[str, int]:
        """The ids of all control tokens that `control` finds, by name."""
        ...

    def control_ids(self) -> frozenset[int]:
        """The ids that stand for no text: control tokens, the unknown token, padding, and ids without a token."""
        ...


class SentencePieceTokenizer:
    """A SentencePiece `.model` file.

    Control tokens are the model's own and those of its user-defined symbols that are markers (Gemma's
    `<start_of_turn>`). A text that spells one is cut into ordinary pieces.

    If the model has byte fallback, decoding the tokens of a text returns that text, unless the model's own
    normalisation changes it. Otherwise characters that the model does not know are lost, and loading the model warns.

    Args:
      path: the file.
      dummy_prefix: True to put a space in front of each encoded text if the model's file asks for it (Llama 2 does,
        Gemma does not); `decode` removes it. False never does so; needed for texts that are parts of a turn.
      tried: whether the file is known to work. Otherwise one with a table of replacements that the library does not
        come with is tried out in another process first (`trial.try_out`).

    Raises:
      UserError: there is no such file, it is no SentencePiece model, or it does not work. Later calls raise it where
        the library fails, or makes far more tokens than there is text.
    """

    def __init__(self, path: str | Path, dummy_prefix: bool = True, *, tried: bool = False):
        self.path = Path(path)
        if not is_present(self.path):
            raise UserError(f"no tokenizer at {self.path}: give the path of a SentencePiece .model file")
        model = read_bytes(self.path, _MAX_BYTES)
        try:
            if not tried and not is_usual(model):
                try_out(self.path)
            # A text may be encoded in parts, of which only the first gets the dummy prefix: hence two processors.
            self._without_prefix = _processor(model, dummy_prefix=False)
            self._processor = _processor(model, dummy_prefix=True) if dummy_prefix else self._without_prefix
            # Raises a ValueError for a piece that is not valid Unicode.
            for token in range(self._processor.get_piece_size()):
                self._processor.id_to_piece(token)
        except UserError:
            raise
        except (RuntimeError, OSError, ValueError) as error:
            raise UserError(
                f"{self.path} is not a SentencePiece model ({error}): give the model's tokenizer.json if it has one"
            ) from error
        processor = self._processor
        self._controls = frozenset(
            token
            for token in range(processor.get_piece_size())
            if processor.is_control(token) or processor.is_unknown(token) or token == processor.pad_id()
        )
        self._space_mark = byte_tokens(SPACE_MARK, self._byte_token)
        warn_if_lossy(self, self.path)

    def _byte_token(self, piece: str) -> int | None:
        """The id of a byte piece ("<0x41>"), None if the model has no such piece."""
        token = self._processor.piece_to_id(piece)
        return token if self._processor.is_byte(token) else None

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return self._processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, which may be any string; never a control token."""
        # Between the parts stands a literal U+2581, which the model would take for a space: write its bytes.
        first_part, *other_parts = well_formed(text).split(SPACE_MARK) if self._space_mark else [well_formed(text)]
        tokens = self._processor.encode(first_part)
        for part in other_parts:
            tokens += self._space_mark + self._without_prefix.encode(part)
        check_token_count(self.path, len(text), len(tokens))
        return [t for t in tokens if t not in self._controls]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; control tokens are left out."""
        return self._processor.decode([int(t) for t in tokens if int(t) not in self._controls])

    def control(self, name: str) -> int:
        """The id of the control token called `name`. Raises a UserError if there is none."""
        # The library returns the unknown token for names that it does not know.
        token = self._processor.piece_to_id(name)
        if token not in self._controls or self._processor.id_to_piece(token) != name:
            raise UserError(f"tokenizer {self.path} has no control token {name!r}")
        return token

    def control_names(self) -> Mapping[str, int]:
        """The ids of all control tokens, by name."""
        return {self._processor.id_to_piece(token): token for token in sorted(self._controls)}

    def control_ids(self) -> frozenset[int]:
        """All ids that stand for no text: control tokens, unknown, padding, ids without a token."""
        return self._controls


def well_formed(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot encode, replaced by U+FFFD; other texts are unchanged."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def byte_tokens(text: str, byte_token: Callable[[str], int | None]) -> list[int]:
    """The UTF-8 bytes of a text as byte tokens.

    Args:
      text: the text.
      byte_token: a function from the name of a byte token, such as "<0x41>", to its id, or None if there is none.

    Returns:
      The id of a byte token for each byte; an empty list if the vocabulary lacks one of them.
    """
    tokens = [byte_token(f"<0x{value:02X}>") for value in text.encode()]
    return [token for token in tokens if token is not None] if None not in tokens else []


def _processor(model: bytes, dummy_prefix: bool) -> sentencepiece.SentencePieceProcessor:
    """Loads the content of a `.model` file, its markers made control tokens."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=rewrite_model(model, is_marker, dummy_prefix))
    # The library loads an empty file without complaint.
    if not processor.get_piece_size():
        raise ValueError("it holds no pieces")
    return processor


def warn_if_lossy(tokenizer: Tokenizer, path: Path) -> None:
    """Warns if a short test text changes when it is encoded and decoded. The warning names `path`."""
    decoded = tokenizer.decode(tokenizer.encode(_PROBE))
    if decoded != _PROBE:
        warnings.warn(
            f"tokenizer {path} loses text: {_PROBE!r} comes back as {decoded[:200]!r}; train it with byte fallback "
            "(SentencePiece) or with every byte in its alphabet",
            stacklevel=3,
        )
