"""Answers that are no sentence with a number: a list, a choice, "yes", "no solution", a day."""

from __future__ import annotations

import re

from sml_jax.tasks.math.canonical import NO_SOLUTION
from sml_jax.tasks.math.stated_choice import label_line, stated_choice

_YES_OR_NO = re.compile(
    r"(?:yes|no)(?:, (?:it|they|he|she|this|that|there|the)\b[^.!?\n0-9]{0,80})?[.!]?|(?:(?:so )?(?:it is |it's |"
    r"that is ))?(?:true|false)[.!]?|(?:so |thus |therefore |hence |then )?,? ?the (?:statement|claim|assertion|"
    r"answer|equation) is (?:true|false)[.!]?",
    re.IGNORECASE,
)
_BARE_LIST = re.compile(r"[-$]{0,2}[0-9][0-9.]{0,20}(?:; ?[-$]{0,2}[0-9][0-9.]{0,20}){1,20}[.\s]*")
_NAMED_DAY = re.compile(
    r"(?:(?:so|then|thus|therefore),? )?(?:it|that)(?: is|['\u2019]s| was| will be)(?: on| in|"
    r" a)? ([A-Z][a-z]{2,15})[.!]?",
    re.I,
)


def short_answer(whole: str) -> str | None:
    """The answer of an utterance that is no sentence with a number: a list, a choice, "yes", "no solution", a day."""
    if _BARE_LIST.fullmatch(whole[:400]):
        return whole
    chosen = stated_choice(whole) if len(whole) <= 160 and "\n" not in whole else label_line(whole)
    if chosen:
        return chosen
    if re.fullmatch(r"\(?[a-e]\)?", whole) or _YES_OR_NO.fullmatch(whole):
        return whole
    if NO_SOLUTION.fullmatch(whole.rstrip(".!").lower()):
        return whole.rstrip(".!")
    named = _NAMED_DAY.fullmatch(whole)
    return named[1] if named else None
