"""Answers that choose: "(B)", "B) 42", "yes". One that names two choices chooses none."""

from __future__ import annotations

import re

# The label of a choice: alone in the gold answer, before the words of the choice in an attempt.
_LABEL = re.compile(r"\(([A-Ja-j])\)|([A-J])")
_ATTEMPT_LABEL = re.compile(
    r"(?:the )?(?:correct |right )?(?:option|choice|letter|answer)? ?(?:is )?(?:\(([A-Ja-j])\)|([A-J])(?:[).:]|$)|"
    r"([A-J])(?: ?[-,] | \((?=[^()]{1,80}\)$))|([a-j])(?:\)|$)).*",
    re.DOTALL | re.IGNORECASE,
)
_OTHER_LABEL = re.compile(
    r"\(([A-J])\)|(?<![\w'])([A-J])\)|(?:\b(?:or|and|not|no,?|else|maybe|perhaps|then|also)|"
    r"[,/&;]) ?\(?([A-J])(?![\w'=]| ?=)|\bbut \(?([A-J])\)?(?! (?:is|seems|looks) (?:not|wrong|too|incorrect|false)|"
    r" fails|\w)"
)
_HEDGE = re.compile(r"(?:\b(?:or|maybe|perhaps|possibly|either|not)\b|/ ?\(?[A-J]\b)", re.IGNORECASE)
_FIRST_WORD = re.compile(
    r"(?:it is |that is |(?:so |thus |therefore |hence )?,? ?the [a-z]{4,10} is )?(yes|no|true|false)\b(?! [a-z])",
    re.IGNORECASE,
)
_OTHER_WORD = re.compile(
    r"(?:[,./;?!]|\bor\b|\bmaybe\b|\bno\b,)+ ?(?:or |and |maybe |but |perhaps |also )*(yes|no|true|"
    r"false)\b(?=[\s.,!?]*$)",
    re.I,
)


def same_choice(gold: str, attempt: str) -> bool | None:
    """Whether an attempt makes the choice of the gold answer; None where the gold answer is no choice.

    Args:
      gold: a canonical text.
      attempt: a canonical text.
    """
    if gold.casefold() in ("yes", "no", "true", "false"):
        first, other = _FIRST_WORD.match(attempt), _OTHER_WORD.search(attempt[:200])
        if first is None or first[1].casefold() != gold.casefold():
            return False
        hedged = re.match(r"\W*\b(?:or|maybe|perhaps|possibly)\b", attempt[first.end() :], re.IGNORECASE)
        return hedged is None and (other is None or other[1].casefold() == gold.casefold())
    label = _LABEL.fullmatch(gold)
    if label is None:
        return None
    chosen = _ATTEMPT_LABEL.fullmatch(attempt)
    if chosen is None or is_hedged_choice(attempt):
        return False
    return next(filter(None, chosen.groups())).upper() == (label[1] or label[2]).upper()


def is_yes_or_no(text: str) -> bool:
    """Whether a text says yes or no, or true or false."""
    return _FIRST_WORD.match(text.strip().casefold()) is not None


def is_hedged_choice(attempt: str) -> bool:
    """Whether an attempt begins with the label of a choice and goes on to another one."""
    chosen = re.match(r"(?:option |choice )?(?:\(([A-J])\)|([A-J])(?=[^\w'=]|$))", attempt)
    if chosen is None:
        return False
    rest = attempt[chosen.end() : chosen.end() + 200]
    label = chosen[1] or chosen[2]
    if re.fullmatch(r"[\s.,;:|/&)]*(?:\(?[A-J]\)?[\s.,;:|/&]+){1,12}\(?[A-J]?\)?[\s.]*", rest):
        return True  # "A. B. C. D."
    others = [next(filter(None, other.groups())) for other in _OTHER_LABEL.finditer(rest)]
    return any(other != label for other in others) or re.match(r"\W{0,3}(?:or|maybe|perhaps)\b", rest, re.I) is not None
