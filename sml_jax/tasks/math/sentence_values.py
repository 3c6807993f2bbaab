"""Values as sentences write them: lists and ranges, and numbers with the words that change them."""

from __future__ import annotations

import re

from sml_jax.tasks.problems.number_words import DENOMINATORS, WHOLE_PHRASE, whole_phrase_value

_COUNTED = re.compile(
    r"\b(?:january|february|march|april|may|june|july|august|september|october|november|december|day|week|month|year|"
    r"page|chapter|room|grade|level|round|floor|row) $",
    re.IGNORECASE,
)
# Words and signs behind a number that change its value.
_CHANGES = re.compile(
    r" ?(?:(?:and )?(?:a|one|two|three|four|five|six|seven|nine) (?:half|quarters?|thirds?|fifths?|sixths?|eighths?|"
    r"tenths?)\b|-?(?:hundred|thousand|million|billion|trillion|dozens?|score|halves|quarters?|thirds?|fourths?|"
    r"fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|twelfths?|hundredths?|thousandths?|factorial|squared|cubed|"
    r"percent|per cent)\b|and a half\b|(?:[a-z\u00b0]{1,12} ){0,2}below(?: zero\b|(?=\W*$))|!(?=\s|$))",
    re.IGNORECASE,
)
_SCALE = re.compile(r" (?:hundred|thousand|million|billion|trillion)\b")
_SIGN_WORD = re.compile(r"\b(?:negative|minus) $", re.IGNORECASE)
_SUBTRACTED = re.compile(
    r"(?:[0-9)]|(?<!['\u2019])\b[a-z]|one|two|three|four|five|six|seven|eight|nine|ten|dollars|eggs) minus $",
    re.IGNORECASE,
)
# Several numbers, of which none alone is the answer: brackets, lists, ranges.
_BRACKETS = re.compile(r"\\?[(\[{][^()\[\]{}]{0,100}[0-9\u221e][^()\[\]{}]{0,60}[,;][^()\[\]{}]{1,100}[)\]}]\$?$")
_LIST = re.compile(
    r"(?:(?<=is )|(?<=are )|(?<=were )|(?<=was )|(?<=be )|(?<=: )|(?<== )|(?<=get )|(?<='s )|(?<=\u2019s )|(?<=and )|"
    r"(?<=so )|(?<=have )|^)-?[$]?[0-9][0-9.]{0,20}(?:(?:, (?:and |or |& )?| and | or | & |"
    r" to )-?[$]?[0-9][0-9.]{0,20}){1,20}$",
    re.IGNORECASE,
)
NAMED_LIST = re.compile(
    r"(?:(?<=\s)|^|(?<=\$))(?:[A-Za-z]\w{0,2} ?= ?-?[0-9][0-9./]{0,20}(?:,? (?:and|or|&) |, ?|; ?)){1,10}"
    r"(?:[A-Za-z]\w{0,2} ?= ?)?-?[0-9][0-9./]{0,20}$"
)
_RATIO = re.compile(r"(?<![\w.:])[0-9]{1,4}(?:(?::| : )[0-9]{1,4}){1,4}(?: ?[ap]\.? ?m\.?)?$", re.IGNORECASE)
TWO_UNITS = re.compile(
    r"[0-9.]{1,12} ?(?:years?|months?|weeks?|days?|hours?|hrs?|h|minutes?|mins?|feet|foot|ft|yards?|pounds?|lbs?|kg|"
    r"km|met(?:er|re)s?|m|dollars?|gallons?),? (?:and )?[0-9.]{1,12} ?(?:months?|weeks?|days?|hours?|hrs?|h|minutes?|"
    r"mins?|seconds?|secs?|s|inch(?:es)?|in|ounces?|oz|grams?|g|m|met(?:er|re)s?|centimet(?:er|re)s?|cm|cents?|"
    r"quarts?)$",
    re.IGNORECASE,
)
"""An amount in two units: "3 hours and 24 minutes"."""
_PART_OF = re.compile(r"\b(negative |minus )?(?:an? |one )?(half|third|quarter)(?= of\b|\W*$)", re.IGNORECASE)
_SPELLED = re.compile(rf"(?<![\w-])(?a:{WHOLE_PHRASE})(?![\w-])", re.IGNORECASE)
_THIRD = re.compile(
    r"\b(?:and (?:a|one)[- ](?:half|third|quarter)|the third|take (?:a|one)|first|second)\b", re.IGNORECASE
)
NOT_COUNTED = re.compile(
    r" (?:more |different |other |small |quick )?(?:hints?|clues?|steps?|questions?|things?|ways?|problems?|mistakes?|"
    r"errors?|ideas?|parts?|cases?|numbers?|of (?:them|us|these|those|(?:your|my|the) (?:hints?|tips?|clues?|steps?|"
    r"questions?|tries|attempts)))\b",
    re.IGNORECASE,
)


def in_digits(sentence: str, one: bool = False) -> str | None:
    """A sentence with its last number in words written in digits; None where it has none.

    Args:
      sentence: a sentence without digits.
      one: whether "one" is a number in it, and not a pronoun or an article.
    """
    phrases = [
        phrase
        for phrase in _SPELLED.finditer(sentence[-400:])
        if one or phrase[0].lower() != "one" or _CHANGES.match(phrase.string, phrase.end())
    ]
    part = _PART_OF.search(sentence[-400:])
    if part and not _THIRD.search(sentence[-400:]) and (not phrases or phrases[-1].end() <= part.end()):
        sentence, sign = sentence[-400:], "-" if part[1] else ""
        return f"{sentence[: part.start()]}{sign}1/{DENOMINATORS[part[2].lower()]}{sentence[part.end() :]}"
    if not phrases or re.search(r"\bplease\b", sentence, re.IGNORECASE):
        return None
    phrase, sentence = phrases[-1], sentence[-400:]
    if NOT_COUNTED.match(sentence, phrase.end()):
        return None
    return f"{sentence[: phrase.start()]}{whole_phrase_value(phrase[0])}{sentence[phrase.end() :]}"


def several(sentence: str) -> str | None:
    """The brackets, list or range that a sentence ends in: its last number alone is not what it states."""
    sentence = sentence.strip(" \t*_.!")
    brackets = _BRACKETS.search(sentence[-300:])
    if brackets:
        return brackets[0].strip("$")
    sentence = sentence.rstrip("$")[-300:]
    amount = TWO_UNITS.search(sentence[-60:])
    if amount:
        return amount[0]
    listed = NAMED_LIST.search(sentence) or _RATIO.search(sentence)
    if listed:
        return listed[0]
    listed = _LIST.search(sentence)
    return listed[0] if listed and not re.search(r"\bfrom $", sentence[: -len(listed[0])][-8:]) else None


def with_words(before: str, number: str, behind: str, calculated: bool) -> str:
    """A number with the words around it that change its value; behind a calculation, "5 dozen" counts dozens."""
    if calculated:
        scale = _SCALE.match(behind)
        return number + (scale[0] if scale else "")
    if _SIGN_WORD.search(before[-12:]) and not _SUBTRACTED.search(before[-20:]):
        number = "-" + number
    counted = _COUNTED.search(before[-12:])
    number = counted[0].strip() + " " + number if counted else number
    changed = _CHANGES.match(behind)
    return number + (changed[0] if changed else "")
