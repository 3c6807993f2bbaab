"""Numbers in running text, however they are written: digits, fractions, percentages, powers of ten, words, LaTeX."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

# A comma belongs to a number only before three digits: "46,47" is two numbers. Without a bound on the digits, reading
# would take the square of their number, and Python makes no number of more than 4,300.
_DIGITS = r"(?:(?:[1-9]\d{0,2}(?:,\d{3}){1,50}|\d{1,400})(?:\.\d{1,400})?|\.\d{1,400})"
_STARTS = r"(?<![\w.^_])"
_ENDS = r"(?!\w|\.\d|\^)"
_NUMBER = re.compile(rf"{_STARTS}([-+]?{_DIGITS})(?: (\d+/\d+)|(/\d+))?{_ENDS}(\s?%|\s+per\s?cent\b)?")
_POWER = re.compile(rf"{_STARTS}(?:({_DIGITS})\s?[*x]\s?)?10\^\{{?(-?\d{{1,2}})(?!\d)\}}?")
_PLAIN = re.compile(rf"[-+]?{_DIGITS}(?:(?: \d+)?/\d+)?%?")

_ONES = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_TEENS = {"ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16}
_TEENS |= {"seventeen": 17, "eighteen": 18, "nineteen": 19}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_WORDS = {"zero": 0, "dozen": 12, "a": 1} | _ONES | _TEENS | _TENS
_PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}
_PARTS |= {"eighth": 8, "ninth": 9, "tenth": 10}


def _any(words: dict[str, int]) -> str:
    return "|".join(words)


_BELOW_100 = rf"(?:(?:{_any(_TENS)})(?:[ -](?:{_any(_ONES)})\b)?|{_any(_TEENS)}|{_any(_ONES)}|zero)"
_BELOW_1000 = rf"(?:(?:{_any(_ONES)}|{_any(_TEENS)}|a)[ -]hundred(?:(?: and)? {_BELOW_100}\b)?|{_BELOW_100})"
_THOUSANDS = rf"(?:(?:{_BELOW_1000}|a)[ -]thousand(?:,?(?: and)? {_BELOW_1000}\b)?|{_BELOW_1000}|a dozen)"
_PART = rf"(?:(?:a|one)[ -](?:half|quarter)|(?:{_any(_ONES)})[ -](?:{_any(_PARTS)})s?)"
# ASCII: else the long s, U+017F, is a small "S", and in no word that we know.
_SPELLED = re.compile(
    rf"(?<![\w-])(?a:(?=[a-z])(minus |negative )?(?:({_PART})|({_THOUSANDS})( and {_PART})?)(?! as\b))(?!\w)",
    re.IGNORECASE,
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_DASHES = str.maketrans(dict.fromkeys("\u2212\u2013\u2010\u2011\ufe63", "-") | dict.fromkeys("\xa0\u2009\u202f", " "))


@dataclass(frozen=True)
class Mention:
    """A number as it stands in a text.

    Attributes:
      values: what it may be worth: one value, or two for a percentage (50 % is 50 and 1/2).
      start, end: where it stands in the text.
      spelled: it is written in words.
    """

    values: tuple[Fraction, ...]
    start: int
    end: int
    spelled: bool = False


def plain_numbers(text: str) -> str:
    """Rewrites LaTeX and Unicode so that numbers are plain: `\\dfrac{1}{2}`, "½" and `\\frac12` become "1/2".

    Dollar signs, emphasis and thousands' separators of LaTeX go; "x**2" and "x²" become "x^2"; "±7" becomes "7, -7".
    """
    text = re.sub(r"[ \t]+", " ", text.translate(_DASHES))
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda m: "^" + m[0].translate(_SUPERSCRIPTS), text)
    text = re.sub(r"(\d?)([¼½¾⅐-⅞])", _vulgar, text)
    text = re.sub(r"(?<=\d)(?:\{,\}|\\[,!])(?=\d{3})", ",", text)
    text = re.sub(r"\\([%])", r"\1", text)
    text = re.sub(r"\\?\$|\\[()\[\],;:! ]", lambda m: "" if m[0].endswith("$") and _after_minus(m) else " ", text)
    text = re.sub(r"\\(?:times|cdot)\b|[\u00d7\u00b7]", "*", text)
    text = re.sub(r"(?:\\pm\b|±) ?(\d[\d.,]*(?<=\d))", r"\1, -\1", text)
    text = re.sub(r"(\d?)\\[dtc]?frac\s?(?:\{(\d+)\}|(\d))\s?(?:\{(\d+)\}|(\d))", _latex_fraction, text)
    text = re.sub(r"(?<=[\w)])\*\*(?=[\w(])", "^", text).replace("**", "")
    return re.sub(r"(?<!\S)\*(?=\w)|(?<=\w)\*(?=[\s.,;:!?]|$)", "", text) if "*" in text else text


def _after_minus(match: re.Match[str]) -> bool:
    return match.start() > 0 and match.string[match.start() - 1] == "-"


def _vulgar(match: re.Match[str]) -> str:
    fraction = unicodedata.normalize("NFKC", match[2]).replace("\u2044", "/")
    return f"{match[1]} {fraction}" if match[1] else fraction


def _latex_fraction(match: re.Match[str]) -> str:
    fraction = f"{match[2] or match[3]}/{match[4] or match[5]}"
    return f"{match[1]} {fraction}" if match[1] else fraction


def mentions(text: str) -> list[Mention]:
    """Every number that stands on its own in a text from `plain_numbers`, in order of place.

    A number inside a longer one, a word ("x47", "47th") or an exponent is none. A fraction that is worth an integer is
    a sum to be done ("48/2"), not a number.
    """
    found = [m for match in _NUMBER.finditer(text) if (m := _written(match)) is not None]
    for match in _POWER.finditer(text):
        value = Fraction((match[1] or "1").replace(",", "")) * Fraction(10) ** int(match[2])
        found.append(Mention((value,), match.start(), match.end()))
    found.extend(_spelled(match) for match in _SPELLED.finditer(text))
    return sorted(found, key=lambda mention: mention.start)


def _written(match: re.Match[str]) -> Mention | None:
    value = number(match[1] + (f" {match[2]}" if match[2] else match[3] or ""))
    if value is None or ((match[2] or match[3]) and value.denominator == 1):
        return None
    return Mention((value, value / 100) if match[4] else (value,), match.start(), match.end())


@lru_cache(maxsize=4096)
def number(text: str) -> Fraction | None:
    """The value of one plain number ("1,000", "-2 1/2", "0.5", "3/4"), None for anything else."""
    text = text.strip().rstrip(".")
    if not _PLAIN.fullmatch(text) or re.match(r"[-+]?0\d", text):
        return None  # "07" is a string of digits, not the number 7
    whole, _, part = text.rstrip("%").replace(",", "").rpartition(" ")
    try:
        value = abs(Fraction(part)) + abs(Fraction(whole or 0))
    except (ValueError, ZeroDivisionError):
        return None
    return -value if text.startswith("-") else value


def _spelled(match: re.Match[str]) -> Mention:
    sign = -1 if match[1] else 1
    part = match[2] or match[4]
    value = Fraction(_worth(match[3])) if match[3] else Fraction(0)
    if part:
        count, kind = re.split(r"[ -]", part.lower().removeprefix(" and "))
        value += Fraction(_WORDS[count], _PARTS[kind.removesuffix("s")])
    return Mention((sign * value,), match.start(), match.end(), spelled=True)


def _worth(words: str) -> int:
    total = below = 0
    for word in re.findall("[a-z]+", words.lower()):
        if word == "thousand":
            total, below = max(below, 1) * 1000, 0
        elif word == "hundred":
            below *= 100
        elif word == "dozen":
            below = 12
        elif word != "and":
            below += _WORDS[word]
    return total + below
