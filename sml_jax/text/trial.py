"""Trying a tokenizer out in a process of its own, before this one relies on it.

The libraries of tokenizers run what their file says: regular expressions that may take for ever, texts that replace
others by longer ones, tables that are read without a look. Nothing in the process that calls them can end such a call,
and a crash in one ends the process. So a file with unusual parts is read and used by a child first, whose memory and
computing time the system limits. The child costs half a second and the time of loading the file once more; files with
the usual parts alone (`tokenizer_json.is_usual`, `sentencepiece_model.is_usual`) need none.

What the child shows is that the file works on the texts below, not that it does on all texts.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from sml_jax.common.errors import UserError
from sml_jax.text.growth import check_decoded_length
from sml_jax.text.limited import run_limited

# Of computing time in the child.
_CPU_SECONDS = 2
_CPU_SECONDS_A_MEGABYTE = 0.1  # of the file, for reading it
_REPEATS = 600

# Words, numbers, code, white space, accents, other scripts, emoji made of several characters, and control characters.
_TEXTS = (
    "The answer is 42: 3.14 * (x + y) == f'{name}'\n\tdef solve(a, b):\r\n        return a[0] // b\n\n\n",
    "\u00e9\u00e8 na\u00efve \ufb01 \ufdfa \u1e9b\u0323 a\u0301\u0302 \u6f22\u5b57 \u3042 \ud55c \u0645 \u0915\u094d",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f4a5 \x00\x01\x1b\x7f\u200b\ufeff\u2581",
)


def try_out(path: Path, patterns: Sequence[str] = ()) -> None:
    """Loads a tokenizer in a child with limited memory and time, and encodes and decodes texts with it.

    Args:
      path: a tokenizer.json or .model file.
      patterns: texts and regular expressions that its description looks for; they are tried as texts too.

    Raises:
      UserError: the tokenizer cannot be loaded, takes too long or too much memory, crashes, or makes far more of a text
        than there is.
    """
    _try_out(str(path.absolute()), sha256(path.read_bytes()).hexdigest(), tuple(patterns))


# By its content, so that a file is tried once by a process that loads it several times.
@lru_cache(maxsize=64)
def _try_out(path: str, _content: str, patterns: tuple[str, ...]) -> None:
    """`try_out` of a file with this content."""
    cpu_seconds = _CPU_SECONDS + int(os.path.getsize(path) * _CPU_SECONDS_A_MEGABYTE / 1e6)
    run_limited(f"{__name__}:use", {"path": path, "patterns": patterns}, cpu_seconds, lambda why: _refused(path, why))


def _refused(path: str, why: str) -> UserError:
    """The error for a tokenizer that does not work."""
    return UserError(f"{path} is not a tokenizer that works: {why}; give the model's own tokenizer")


def use(path: str, patterns: Sequence[str]) -> None:
    """Loads a tokenizer, and encodes and decodes many texts with it; called in the child."""
    from sml_jax.text.huggingface import HuggingFaceTokenizer
    from sml_jax.text.tokenizer import SentencePieceTokenizer

    with warnings.catch_warnings():
        # The process that asked warns itself.
        warnings.simplefilter("ignore")
        if path.endswith(".json"):
            tokenizer: HuggingFaceTokenizer | SentencePieceTokenizer = HuggingFaceTokenizer(path, tried=True)
        else:
            tokenizer = SentencePieceTokenizer(path, tried=True)
    characters = [chr(code) for code in range(32, 127)]
    # Runs of one character, with and without another at their end, are what expressions that go back and forth take
    # longest over.
    runs = [character * _REPEATS + end for character in characters for end in ("", "\x00")]
    for text in (*_TEXTS, *(text * 50 for text in _TEXTS), *patterns, *(text * 50 for text in patterns), *runs):
        tokens = tokenizer.encode(text)
        check_decoded_length(Path(path), len(text), tokenizer.decode(tokens))
