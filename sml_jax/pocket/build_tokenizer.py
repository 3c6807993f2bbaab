"""Makes the pocket world's SentencePiece model: `python -m sml_jax.pocket.build_tokenizer OUT.model`."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from sml_jax.pocket.language import PHRASES

CONTROLS = ("<end>", "<teacher>", "<student>", "<private>", "<ask>")
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?'\"()[]{}<>+-*/=%#$&@_\\|^~\n"


def build() -> bytes:
    """Trains the pocket world's SentencePiece model and returns the content of its `.model` file.

    Its pieces are special tokens, the world's phrases, single characters and the 256 bytes, so that every text can be
    encoded.
    """
    model_file = io.BytesIO()
    # Three pieces for padding, unknown and begin; then controls, bytes, phrases and characters.
    piece_count = 3 + len(CONTROLS) + 256 + len(PHRASES) + len(set(CHARACTERS))
    sentencepiece.SentencePieceTrainer.train(
        # The trainer needs some text; the pieces do not depend on what it says.
        sentence_iterator=iter([c * 3 for c in CHARACTERS if c.strip()] * 3 + ["a b c"]),
        model_writer=model_file,
        model_type="char",
        vocab_size=piece_count,
        hard_vocab_limit=False,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=list(PHRASES),
        control_symbols=list(CONTROLS),
        pad_id=0,
        unk_id=1,
        bos_id=2,
        bos_piece="<begin>",
        eos_id=-1,
        minloglevel=2,
    )
    return model_file.getvalue()


def main(argv: Sequence[str]) -> int:
    """Writes the SentencePiece model to the file that `argv[1]` names.

    Returns:
      The exit code: 0, or 2 with a message on the standard error if `argv` does not have exactly two elements.
    """
    if len(argv) != 2:
        print("usage: python -m sml_jax.pocket.build_tokenizer OUT.model", file=sys.stderr)
        return 2
    Path(argv[1]).write_bytes(build())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
