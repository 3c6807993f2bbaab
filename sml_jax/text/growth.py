"""How much longer a tokenizer may make things: the parts of its file may replace a text by a longer one."""

from __future__ import annotations

from pathlib import Path

from sml_jax.common.errors import UserError

# A character has at most four bytes, and a byte at most one token. One character becomes up to 18 in Unicode's own
# normal forms (U+FDFA).
_TOKENS_A_CHARACTER = 72
_SPARE = 256


def check_token_count(path: Path, characters: int, tokens: int) -> None:
    """Checks that a text has not become far more tokens than it can be.

    Args:
      path: the tokenizer's file, for the error.
      characters: of the text.
      tokens: that it became.

    Raises:
      UserError: there are too many.
    """
    if tokens > _TOKENS_A_CHARACTER * characters + _SPARE:
        raise UserError(
            f"{path} is not a tokenizer that works: it makes {tokens:,} tokens of a text of {characters:,} "
            "characters; give the model's own tokenizer"
        )


def check_decoded_length(path: Path, characters: int, decoded: str) -> None:
    """Checks that a text that was encoded and decoded has not become far longer.

    Args:
      path: the tokenizer's file, for the error.
      characters: of the text.
      decoded: what its tokens were decoded to.

    Raises:
      UserError: it is too long.
    """
    if len(decoded) > _TOKENS_A_CHARACTER * characters + _SPARE:
        raise UserError(
            f"{path} is not a tokenizer that works: a text of {characters:,} characters comes back with "
            f"{len(decoded):,}; give the model's own tokenizer"
        )
