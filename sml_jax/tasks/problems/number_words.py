"""Numbers in words: the vocabulary that both readers of `numbers` share, and what its phrases are worth."""

from __future__ import annotations

import re
from fractions import Fraction

ONES = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
TEENS = {"ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16}
TEENS |= {"seventeen": 17, "eighteen": 18, "nineteen": 19}
TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
BELOW_100 = {"zero": 0} | ONES | TEENS | TENS
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# A part's name and its denominator. An answer may be alone one of the first three; running text holds all of them.
DENOMINATORS = {"half": 2, "third": 3, "quarter": 4}
TEXT_DENOMINATORS = DENOMINATORS | {"halve": 2, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8}
TEXT_DENOMINATORS |= {"ninth": 9, "tenth": 10}


def words_of(text: str) -> list[str]:
    """The words of a text in lower case. Every sign that is no letter is a word too, except white space and hyphens."""
    return re.findall(r"[a-z]+|[^\sa-z-]", text.lower())


def leading_number(words: list[str]) -> tuple[int, int]:
    """Reads the number, up to 999 trillion, at the start of a list of words: 205 in "two hundred and five apples".

    Args:
      words: from `words_of`.

    Returns:
      (number, how many words it takes). (0, 0) if the list does not start with a number.
    """
    total = group = used = 0  # `group` is what stands before the next "thousand", "million", ...
    while used < len(words):
        word, value = words[used], BELOW_100.get(words[used], 0)
        below_100 = group % 100
        if word in BELOW_100 and (below_100 == 0 or (0 < value < 10 and below_100 >= 20 and below_100 % 10 == 0)):
            group += value
        elif word == "hundred" and used and group < 100:
            group = max(group, 1) * 100
        elif word in ("thousand", "million", "billion", "trillion") and used:
            total, group = total + max(group, 1) * SCALES[word], 0
        elif not _joins(words, used):
            break
        used += 1
    return total + group, used


def _joins(words: list[str], at: int) -> bool:
    """Whether the word is the "and" of "two hundred and five"."""
    following = words[at + 1 : at + 2]
    return words[at] == "and" and words[at - 1] in SCALES and bool(following) and following[0] in BELOW_100


def _alternatives(words: dict[str, int]) -> str:
    return "|".join(words)


# Phrases of running text, for `Mention`s: up to 999,999, dozens, and parts such as "two thirds" or "a half".
_BELOW_100_PHRASE = (
    rf"(?:(?:{_alternatives(TENS)})(?:[ -](?:{_alternatives(ONES)})\b)?|{_alternatives(TEENS)}|{_alternatives(ONES)}"
    "|zero)"
)
_BELOW_1000_PHRASE = (
    rf"(?:(?:{_alternatives(ONES)}|{_alternatives(TEENS)}|a)[ -]hundred(?:(?: and)? {_BELOW_100_PHRASE}\b)?"
    rf"|{_BELOW_100_PHRASE})"
)
WHOLE_PHRASE = (
    rf"(?:(?:{_BELOW_1000_PHRASE}|a)[ -]thousand(?:,?(?: and)? {_BELOW_1000_PHRASE}\b)?|{_BELOW_1000_PHRASE}|a dozen)"
)
PART_PHRASE = (
    rf"(?:(?:a|one)[ -](?:half|quarter)|(?:{_alternatives(ONES)})[ -](?:{_alternatives(TEXT_DENOMINATORS)})s?)"
)


def whole_phrase_value(phrase: str) -> int:
    """The value of a whole number in words: 1,200 for "a thousand two hundred". `WHOLE_PHRASE` must match `phrase`."""
    total = below_1000 = 0
    for word in re.findall("[a-z]+", phrase.lower()):
        if word == "thousand":
            total, below_1000 = max(below_1000, 1) * 1000, 0
        elif word == "hundred":
            below_1000 *= 100
        elif word == "dozen":
            below_1000 = 12
        elif word != "and":
            below_1000 += 1 if word == "a" else BELOW_100[word]
    return total + below_1000


def part_phrase_value(phrase: str) -> Fraction:
    """The value of a fraction in words: 2/3 for "two thirds". `PART_PHRASE` must match `phrase`."""
    count, part = re.split(r"[ -]", phrase.lower())
    return Fraction(1 if count == "a" else ONES[count], TEXT_DENOMINATORS[part.removesuffix("s")])
