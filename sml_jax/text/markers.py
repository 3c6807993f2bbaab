"""Telling control tokens from text in public vocabularies, whose files disagree on what is special."""

from __future__ import annotations

import re

# "<...>" or "[...]" without white space inside.
_MARKER = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+\]")
# What may be an HTML tag.
_TAG = re.compile(r"</?([a-z]+[1-6]?)>")

# HTML elements whose tags are ordinary text: Gemma's vocabulary has them as pieces of their own
# (https://github.com/google-deepmind/gemma, the tokenizers of Gemma 2 and 3).
_ELEMENTS = re.compile(
    "a|b|big|blockquote|br|caption|code|d[dlt]|del|div|em|h[1-6r]|html|i|img|ins|kbd|li|mark|ol|p|pre|q|s|samp|small|span|"
    "strike|strong|su[bp]|table|tbody|t[dhrt]|tfoot|thead|title|ul?|var"
)


def is_marker(piece: str) -> bool:
    """Whether an added piece of a vocabulary is a marker, which should be a control token, and not ordinary text.

    Files disagree on what is special. Gemma's SentencePiece model calls `<start_of_turn>` user-defined, like the
    newline. Qwen's tokenizer.json calls `<think>`, `<tool_call>` and `<|fim_prefix|>` not special. All of these are
    markers, and so are Gemma's `<unused7>` and `[@BOS@]`. Runs of white space, words and HTML tags are text.

    Args:
      piece: the text of a user-defined symbol in a SentencePiece model, or of an added token in a tokenizer.json.
    """
    if not _MARKER.fullmatch(piece):
        return False
    html_tag = _TAG.fullmatch(piece)
    return html_tag is None or _ELEMENTS.fullmatch(html_tag[1]) is None
