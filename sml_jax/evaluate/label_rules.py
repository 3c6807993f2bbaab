"""Whether a student's turn says nothing, or declines to answer, by rules on its wording."""

from __future__ import annotations

import re

from sml_jax.evaluate.label_text import FENCE

# A word with its apostrophe, or a number.
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d[\d.,]*")
# Tags, control tokens, and escapes that were written out.
_MARKUP = re.compile(r"</?\w+/?>|<\|\w*\|>|\\[nrt](?![a-z])")
# A role's name alone is what a chat template leaves of an empty turn.
_ROLES = frozenset({"student", "teacher", "user", "assistant", "model", "system"})
_PRONOUNCEABLE = re.compile(r"[aeiouy]", re.IGNORECASE)


def is_missing(text: str) -> bool:
    """Whether a student's turn says nothing.

    It is then empty, only symbols or markup, a role's name alone, one word over and over, or letters at random.
    """
    words = _WORD.findall(_MARKUP.sub(" ", text))
    if not words or (len(words) == 1 and words[0].casefold() in _ROLES):
        return True
    # Numbers may be an answer, and words of other scripts cannot be judged by their letters.
    letters = [word for word in words if word[0].isalpha() and word.isascii()]
    if any(word[0].isdigit() for word in words) or not letters:
        return False
    # One word over and over, or hardly more than one.
    if len(words) >= 8 and len({word.casefold() for word in words}) <= max(2, len(words) // 20):
        return True
    # One or two letters over and over.
    if all(len(set(word.casefold())) <= 2 and len(word) > 8 for word in letters):
        return True
    # Letters at random: most of the words have no vowel.
    unpronounceable = [word for word in letters if not _PRONOUNCEABLE.search(word)]
    return len(words) >= 2 and len(unpronounceable) > len(words) / 2 and max(map(len, unpronounceable)) >= 4


# "cannot", "can't", "am unable to", ...
_NOT = (
    r"(?:cannot|can\s?not|can't|could\s+not|couldn't|won't|will\s+not"
    r"|am\s+(?:not\s+able|unable)\s+to|'m\s+(?:not\s+able|unable)\s+to)"
)
# In this order: cannot do it; does not know; a bare refusal or apology; gives up; the problem is to blame.
_DECLINES = re.compile(
    rf"""\bi\s*{_NOT}\s+(?:really\s+|fully\s+|possibly\s+)?
        (?:answer|help|solve|do\s+(?:this|that|it)|say|provide|determine|complete|continue|assist|give
        |write|implement|find\s+(?:the|an?|any)\s+(?:answer|solution|result)|run|compute
        |calculate|finish|tell|work\s+(?:this|it)\s+out|figure)\b
      | (?:\b(?:i|we)\s+(?:really\s+|honestly\s+)?|^\W*)(?:don'?t|do\s+not)\s+
        (?:know|have\s+(?:enough|the|any|sufficient|access|a\s+clue))\b
        (?!\s+(?:if|whether|yet|why))
      | ^\W*(?:i|we)\s*{_NOT}\W*$ | ^\W*(?:i'm\s+|i\s+am\s+)?(?:so\s+|very\s+)?sorry\W*$
      | \bnot\s+sure\s+how\s+to\b | \bno\s+way\s+to\s+(?:tell|know|determine|find|compute|calculate)\b
      | \bi(?:'ll|\s+will|\s+have\s+to|\s+must)?\s+pass\b(?!\s+(?:the|it|a)\b)
      | \bi\s+(?:(?:guess\s+i\s+)?(?:have\s+to|must|will|should|'ll)\s+)?(?:give\s+up|surrender|quit
        |must\s+decline|decline|refuse|would\s+rather\s+not|'d\s+rather\s+not)\b
      | \bno\s+(?:idea|clue)\b | \bidk\b
      | \b(?:doesn't|does\s+not|don't|do\s+not)\s+(?:give|have|provide|contain|include)\s+(?:me\s+|us\s+)?enough\b
      | (?:\bnot\s+enough|n't\s+enough|\binsufficient)\s+(?:information|data|details|context)\b
      | \b(?:impossible|not\s+possible)\s+to\s+(?:determine|answer|solve|compute|calculate|know|say|tell|find)\b
      | \b(?:question|problem|task|exercise|this|it|that)\s+(?:cannot|can\s?not|can't)\s+be\s+
        (?:answered|solved|determined|done|completed)\b
      | \bas\s+an?\s+(?:ai|language\s+model)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def declines(text: str) -> bool:
    """Whether a student's turn says that it gives no answer: "I can't", "I don't know", "not enough information"."""
    # A program's own messages decline nothing.
    return _DECLINES.search(FENCE.sub(" ", text)) is not None
