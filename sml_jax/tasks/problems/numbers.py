"""Reads numbers: the one place where verifiers and leak tests learn what a written number is worth.

There are two ways in, which differ on purpose:

- `answer_number` reads a text that is one answer and nothing else, as `math.canonical.canonical` spells it. It is
  generous, because the text is known to be an answer: units, scales ("3 million") and spelt numbers up to 999 trillion
  count. `same_number` says when two such answers agree.
- `mentions` finds every number that stands on its own in running text, as `plain_numbers` spells it, for the leak
  tests. It is cautious, because most numbers of a text are not answers. `plain_value` reads one plain number.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from sml_jax.tasks.problems.number_words import (
    BELOW_100,
    DENOMINATORS,
    PART_PHRASE,
    SCALES,
    WHOLE_PHRASE,
    leading_number,
    part_phrase_value,
    whole_phrase_value,
    words_of,
)

# One answer. Digits are bounded, since Python refuses to read integers of more than 4,300 digits.
_ANSWER_DIGITS = r"[0-9]{1,60}"
DECIMAL = rf"(?:{_ANSWER_DIGITS}(?:\.[0-9]{{0,60}})?|\.{_ANSWER_DIGITS})"
"""Pattern of an unsigned decimal number without thousands' separators."""
_ANSWER = re.compile(
    rf"(?P<sign>[-+]?) ?(?:(?P<whole>{_ANSWER_DIGITS}) (?P<over>{_ANSWER_DIGITS}) ?/ ?(?P<under>{_ANSWER_DIGITS})|"
    rf"(?P<top>{DECIMAL})(?: ?(?:\*|x|\\times|\\cdot) ?10 ?\^ ?\{{? ?(?P<power>[-+]? ?[0-9]{{1,3}}) ?\}}?|"
    rf"[eE](?P<exponent>[-+]?[0-9]{{1,3}})(?![0-9])|(?: ?/ ?(?P<bottom>{DECIMAL}))?))"
    r"(?P<scale> (?:hundred|thousand|million|billion|trillion)\b)?(?P<percent> ?%)?(?P<unit>(?: |(?=[A-Za-z(])|"
    r"(?=/ ?[A-Za-z])).*)?"
)
_LATEX_FRACTION = re.compile(r" ?\\frac ?\{ ?(-?[0-9]{1,60}) ?\} ?\{ ?([0-9]{1,60}) ?\}(?![0-9]) ?")
_UNIT = re.compile("[A-Za-z .,'\u2019/()*%-]*" + r"(?:\^ ?\{?-?[1-4]\}?[A-Za-z /.]*)*")
_SHORT_UNIT = re.compile(
    r"am|pm|[cdkm]?l|[cdkm]m|[kmunM]?[gNJWVAF]|kg|[kmgt]b|ft|hr|in|kw|lb|mi|of|oz|pt|qt|st|nd|rd|th|sq|cu|to|yd|per|"
    r"rs|hz|pa|ml",
    re.IGNORECASE,
)
# Units of area and volume, which may stand right behind the number; "times", where nothing is multiplied.
_SQUARE_UNIT = re.compile(r" ?(?:[mkcd]?m|ft|in|yd|mi)\^? ?\{?-?[23]\}?")
_HOW_OFTEN = re.compile(
    r"\btimes\b(?!\W*(?:[0-9\\]|[b-z]\b|(?:the|that|its|his|her) (?!original|initial|size|old|former|previous|same)))"
)
_LETTER_UNIT = re.compile(r"[mgshlLNJWVCFK]")
# Words after a number that change its value, or make it part of an expression.
_NO_UNIT = re.compile(
    r"or|and|plus|minus|times|over|divided|squared|cubed|factorial|hal(?:f|ves)|(?:third|fourth|fifth)s?|pi|log|exp|"
    r"sqrt|"
    r"(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|inf|infinity|mod|hundred|thousand|million|billion|trillion|not|than|ln|is"
)

# Numbers in running text. A comma belongs to a number only before three digits: "46,47" is two numbers. The bounds on
# digits keep the time to read a text linear in its length.
_DIGITS = r"(?:(?:[1-9]\d{0,2}(?:,\d{3}){1,50}|\d{1,400})(?:\.\d{1,400})?|\.\d{1,400})"
_STARTS = r"(?<![\w.^_])"
_ENDS = r"(?!\w|\.\d|\^)"
_WRITTEN = re.compile(rf"{_STARTS}([-+]?{_DIGITS})(?: (\d+/\d+)|(/\d+))?{_ENDS}(\s?%|\s+per\s?cent\b)?")
_POWER_OF_TEN = re.compile(rf"{_STARTS}(?:({_DIGITS})\s?[*x]\s?)?10\^\{{?(-?\d{{1,2}})(?!\d)\}}?")
_PLAIN = re.compile(rf"[-+]?{_DIGITS}(?:(?: \d+)?/\d+)?%?")
# The case of ASCII letters alone is ignored: else the long s, U+017F, would match "s", and `number_words` lacks it.
_SPELLED = re.compile(
    r"(?<![\w-])(?a:(?=[a-z])(minus |negative )?"
    rf"(?:({PART_PHRASE})|({WHOLE_PHRASE})( and {PART_PHRASE})?)(?! as\b))(?!\w)",
    re.IGNORECASE,
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_DASHES = str.maketrans(dict.fromkeys("\u2212\u2013\u2010\u2011\ufe63", "-") | dict.fromkeys("\xa0\u2009\u202f", " "))


@dataclass(frozen=True)
class AnswerNumber:
    """An answer that is a number, as it was written.

    Attributes:
      value: the written number, without regard to a percent sign: 50 for "50%".
      percent: whether a percent sign or the word "percent" follows it.
      decimal: whether it has a decimal point, and so may be rounded.
    """

    value: Fraction
    percent: bool = False
    decimal: bool = False


def answer_number(text: str, letter_units: bool = False) -> AnswerNumber | None:
    """Reads an answer that is a number, in digits or words, with or without a unit; None if it is anything else.

    Args:
      text: an answer, rewritten by `math.canonical.canonical`.
      letter_units: whether a single letter after a space counts as a unit, as in "5 m"; if not, it is taken for a
        variable, and the answer is no number.
    """
    if "\\frac" in text:
        text = _LATEX_FRACTION.sub(r" \1/\2 ", text).strip()
        text = re.sub(r"^([-+]) (?=[0-9])", r"\1", text)
    match = _ANSWER.fullmatch(text)
    if match is None:
        return _spelled_answer(text)
    unit = match["unit"] or ""
    if unit.strip() and not _is_unit(unit, letter_units):
        return None
    try:
        if match["whole"]:  # a mixed number, "2 1/2"
            value = int(match["whole"]) + Fraction(int(match["over"]), int(match["under"]))
        else:
            value = Fraction(match["top"]) / Fraction(match["bottom"] or 1)
    except ZeroDivisionError:
        return None
    power = (match["power"] or match["exponent"] or "0").replace(" ", "")
    value *= Fraction(10) ** int(power) * SCALES.get((match["scale"] or "").strip(), 1)
    percent = match["percent"] is not None or unit.strip().lower() in ("percent", "percentage", "pct")
    return AnswerNumber(-value if match["sign"] == "-" else value, percent, "." in (match["top"] or ""))


def same_number(gold: AnswerNumber, attempt: AnswerNumber) -> bool:
    """Whether two numbers are the same answer.

    They are if they are exactly equal. If one has a decimal point, they also are if they agree both to six decimals
    (math-verify's rule, by which 0.333333 is 1/3) and to three significant digits. If only one has a percent sign, the
    other may be either form: 50% is the same as 0.5 and as 50.
    """
    rounded = gold.decimal or attempt.decimal
    if gold.percent == attempt.percent:
        return _close(gold.value, attempt.value, rounded)
    percent, plain = (gold, attempt) if gold.percent else (attempt, gold)
    return _close(percent.value, plain.value, rounded) or _close(percent.value / 100, plain.value, rounded)


def _close(left: Fraction, right: Fraction, rounded: bool) -> bool:
    if left == right:
        return True
    gap = abs(left - right)
    return rounded and gap <= Fraction(1, 10**6) and round(left, 6) == round(right, 6) and gap * 1000 <= abs(left)


def _is_unit(unit: str, letter_units: bool) -> bool:
    """Whether the words after a number only say what is counted."""
    unit = re.sub(r"\b([ap])\. ?m\b\.?", r"\1m", unit)
    if letter_units and _SQUARE_UNIT.fullmatch(unit):
        return True
    if re.fullmatch(r" ?times ?(?:[a-z ]*)", unit):
        return _HOW_OFTEN.search(unit) is not None
    if re.match(r" ?[-*] ?[A-Za-z](?![A-Za-z])", unit):
        return False  # "12 - g" subtracts
    words = re.findall(r"[A-Za-z]+", unit)
    if not words or not _UNIT.fullmatch(unit) or any(_NO_UNIT.fullmatch(word.lower()) for word in words):
        return False
    first = words[0]
    if len(first) > 2 or (_SHORT_UNIT.fullmatch(first) and len(first) > 1):
        return True
    if re.match(r" ?[mgslLNJWVCFK][-/ ][mshgKCN]\b", unit):  # "m/s"
        return True
    return letter_units and unit.startswith(" ") and _LETTER_UNIT.fullmatch(first) is not None


def _spelled_answer(text: str) -> AnswerNumber | None:
    """A number in words, up to 999 trillion: "twenty-one", "two hundred and five apples", "a half"."""
    words = words_of(text)
    sign = -1 if words[:1] in (["minus"], ["negative"]) else 1
    words = words[1:] if sign < 0 else words
    part = re.fullmatch(r"(?:a|one)?[ -]?(half|third|quarter)", " ".join(words))
    if part:
        return AnswerNumber(sign * Fraction(1, DENOMINATORS[part[1]]))
    value, used = leading_number(words)
    # What follows must be a unit: another number would make a list or a sum of it.
    unit = " ".join(words[used:])
    if used == 0 or any(word in BELOW_100 for word in words[used:]) or (unit and not _is_unit(" " + unit, False)):
        return None
    return AnswerNumber(Fraction(sign * value))


@dataclass(frozen=True)
class Mention:
    """A number that was found in a text.

    Attributes:
      values: the values that it may mean: one, or two for a percentage (50 and 1/2 for "50 %").
      start, end: the slice of the text that holds it, `text[start:end]`.
      spelled: whether it is written in words.
    """

    values: tuple[Fraction, ...]
    start: int
    end: int
    spelled: bool = False


def plain_numbers(text: str) -> str:
    """Rewrites LaTeX and Unicode so that numbers are plain: `\\dfrac{1}{2}`, "½" and `\\frac12` become "1/2".

    Dollar signs and Markdown's emphasis are removed, LaTeX's thousands' separators become commas, "x**2" and "x²"
    become "x^2", and "±7" becomes "7, -7".
    """
    # Unicode first: dashes, exponents and one-character fractions.
    text = re.sub(r"[ \t]+", " ", text.translate(_DASHES))
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda m: "^" + m[0].translate(_SUPERSCRIPTS), text)
    text = re.sub(r"(\d?)([¼½¾⅐-⅞])", _from_unicode_fraction, text)
    # Then LaTeX: thousands' separators, spacing, operators and fractions.
    text = re.sub(r"(?<=\d)(?:\{,\}|\\[,!])(?=\d{3})", ",", text)
    text = re.sub(r"\\([%])", r"\1", text)
    text = re.sub(r"\\?\$|\\[()\[\],;:! ]", lambda m: "" if m[0].endswith("$") and _after_minus(m) else " ", text)
    text = re.sub(r"\\(?:times|cdot)\b|[\u00d7\u00b7]", "*", text)
    text = re.sub(r"(?:\\pm\b|±) ?(\d[\d.,]*(?<=\d))", r"\1, -\1", text)
    text = re.sub(r"(\d?)\\[dtc]?frac\s?(?:\{(\d+)\}|(\d))\s?(?:\{(\d+)\}|(\d))", _from_latex_fraction, text)
    # At last Markdown: "**" between two words is a power, all other asterisks at a word are emphasis.
    text = re.sub(r"(?<=[\w)])\*\*(?=[\w(])", "^", text).replace("**", "")
    return re.sub(r"(?<!\S)\*(?=\w)|(?<=\w)\*(?=[\s.,;:!?]|$)", "", text) if "*" in text else text


def _after_minus(match: re.Match[str]) -> bool:
    return match.start() > 0 and match.string[match.start() - 1] == "-"


def _from_unicode_fraction(match: re.Match[str]) -> str:
    fraction = unicodedata.normalize("NFKC", match[2]).replace("\u2044", "/")
    return f"{match[1]} {fraction}" if match[1] else fraction


def _from_latex_fraction(match: re.Match[str]) -> str:
    fraction = f"{match[2] or match[3]}/{match[4] or match[5]}"
    return f"{match[1]} {fraction}" if match[1] else fraction


def mentions(text: str) -> list[Mention]:
    """Finds every number in a running text, in the order of their places.

    A number that is part of a longer one or of a word ("x47", "47th"), or an exponent, does not count. Nor does a
    fraction whose value is an integer ("48/2"), as it is a calculation to be done.

    Args:
      text: rewritten by `plain_numbers`.
    """
    all_mentions = [mention for match in _WRITTEN.finditer(text) if (mention := _written_mention(match)) is not None]
    for match in _POWER_OF_TEN.finditer(text):
        value = Fraction((match[1] or "1").replace(",", "")) * Fraction(10) ** int(match[2])
        all_mentions.append(Mention((value,), match.start(), match.end()))
    all_mentions.extend(_spelled_mention(match) for match in _SPELLED.finditer(text))
    return sorted(all_mentions, key=lambda mention: mention.start)


def _written_mention(match: re.Match[str]) -> Mention | None:
    value = plain_value(match[1] + (f" {match[2]}" if match[2] else match[3] or ""))
    if value is None or ((match[2] or match[3]) and value.denominator == 1):
        return None
    return Mention((value, value / 100) if match[4] else (value,), match.start(), match.end())


def _spelled_mention(match: re.Match[str]) -> Mention:
    sign = -1 if match[1] else 1
    value = Fraction(whole_phrase_value(match[3])) if match[3] else Fraction(0)
    part = match[2] or match[4]
    if part:
        value += part_phrase_value(part.lower().removeprefix(" and "))
    return Mention((sign * value,), match.start(), match.end(), spelled=True)


@lru_cache(maxsize=4096)
def plain_value(text: str) -> Fraction | None:
    """The value of a text that is one number ("1,000", "-2 1/2", "0.5", "3/4"); None for any other text.

    A percent sign is ignored: "50%" is 50.
    """
    text = text.strip().rstrip(".")
    if not _PLAIN.fullmatch(text) or re.match(r"[-+]?0\d", text):
        return None  # "07" is a string of digits, not the number 7
    integer, _, fraction = text.rstrip("%").replace(",", "").rpartition(" ")
    try:
        value = abs(Fraction(fraction)) + abs(Fraction(integer or 0))
    except (ValueError, ZeroDivisionError):
        return None
    return -value if text.startswith("-") else value
