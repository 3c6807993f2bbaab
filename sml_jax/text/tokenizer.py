"""Tokenizers behind one small protocol, and SentencePiece models as one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import sentencepiece

from sml_jax.common.errors import UserError
from sml_jax.text.markers import is_marker
from sml_jax.text.sentencepiece_model import rewritten

# How a space is written inside the pieces of SentencePiece and of the tokenizers made from it.
SPACE_MARK = "\u2581"

_PROBE = "Text 7?\n\n  \u00e9\u6f22\U0001f4a5\x00"


@runtime_checkable
class Tokenizer(Protocol):
    """Text to tokens and back. `encode` never yields a control token, whatever the text spells.

    A literal U+2581, which is how SentencePiece writes a space, comes back as itself where the vocabulary has bytes for
    it, else as a space.
    """

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        ...

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text: of any string at all."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens; control tokens leave nothing behind."""
        ...

    def control(self, name: str) -> int:
        """The id of the control token called `name`."""
        ...

    def control_ids(self) -> frozenset[int]:
        """Every id that is no text: controls, unknown, padding."""
        ...


class SentencePieceTokenizer:
    """A SentencePiece `.model` file.

    Controls are the model's own, and those of its user-defined symbols that are markers (Gemma's `<start_of_turn>`).
    Text that spells one is cut into ordinary pieces. With byte fallback every text comes back, unless the model's own
    normalisation changes it; without, characters that the model does not know are left out, and a warning says so when
    the model is loaded.

    Args:
      path: the file.
      dummy_prefix: put a space in front of each text if the model asks for it (Llama 2 does, Gemma does not), and take
        it away in `decode`. False for texts that are pieces of a turn: each would grow a space.

    Raises:
      UserError: there is no such file, or it is of another kind.
    """

    def __init__(self, path: str | Path, dummy_prefix: bool = True):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"no tokenizer at {self.path}: give the path of a SentencePiece .model file")
        try:
            model = self.path.read_bytes()
            # Two, because a text that is encoded in parts has a front only once.
            self._inside = _processor(model, dummy_prefix=False)
            self._processor = _processor(model, dummy_prefix=True) if dummy_prefix else self._inside
            for token in range(self._processor.get_piece_size()):
                self._processor.id_to_piece(token)  # a ValueError for one that is no text
        except (RuntimeError, OSError, ValueError) as error:
            raise UserError(
                f"{self.path} is not a SentencePiece model ({error}): give the model's tokenizer.json if it has one"
            ) from error
        p = self._processor
        self._controls = frozenset(
            i for i in range(p.get_piece_size()) if p.is_control(i) or p.is_unknown(i) or i == p.pad_id()
        )
        self._space_mark = byte_tokens(SPACE_MARK, self._byte)
        warn_if_lossy(self, self.path)

    def _byte(self, piece: str) -> int | None:
        token = self._processor.piece_to_id(piece)
        return token if self._processor.is_byte(token) else None

    @property
    def vocab_size(self) -> int:
        return self._processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        first, *others = well_formed(text).split(SPACE_MARK) if self._space_mark else [well_formed(text)]
        tokens = self._processor.encode(first)
        for part in others:
            tokens += self._space_mark + self._inside.encode(part)
        return [t for t in tokens if t not in self._controls]

    def decode(self, tokens: Sequence[int]) -> str:
        return self._processor.decode([int(t) for t in tokens if int(t) not in self._controls])

    def control(self, name: str) -> int:
        token = self._processor.piece_to_id(name)
        if token not in self._controls or self._processor.id_to_piece(token) != name:
            raise UserError(f"tokenizer {self.path} has no control token {name!r}")
        return token

    def control_ids(self) -> frozenset[int]:
        return self._controls


def well_formed(text: str) -> str:
    """The text with lone surrogates, which no encoding of Unicode can hold, replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def byte_tokens(text: str, byte: Callable[[str], int | None]) -> list[int]:
    """A text's UTF-8 bytes as tokens `<0x..>`; empty where `byte`, which looks one up, does not know them all."""
    found = [byte(f"<0x{value:02X}>") for value in text.encode()]
    return [token for token in found if token is not None] if None not in found else []


def _processor(model: bytes, dummy_prefix: bool) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor(model_proto=rewritten(model, is_marker, dummy_prefix))
    if not processor.get_piece_size():
        raise ValueError("it holds no pieces")
    return processor


def warn_if_lossy(tokenizer: Tokenizer, path: Path) -> None:
    """Warns of a tokenizer that loses ordinary characters: it would lose them in silence later."""
    back = tokenizer.decode(tokenizer.encode(_PROBE))
    if back != _PROBE:
        warnings.warn(
            f"tokenizer {path} loses text: {_PROBE!r} comes back as {back!r}; train it with byte fallback "
            "(SentencePiece) or with every byte in its alphabet",
            stacklevel=3,
        )
