"""The values of texts that are one number, and when two of them agree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_DIGITS = r"[0-9]{1,60}"
DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]{{0,60}})?|\.{_DIGITS})"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?) ?(?:(?P<whole>{_DIGITS}) (?P<over>{_DIGITS}) ?/ ?(?P<under>{_DIGITS})|"
    rf"(?P<top>{DECIMAL})(?: ?(?:\*|x|\\times|\\cdot) ?10 ?\^ ?\{{? ?(?P<power>[-+]? ?[0-9]{{1,2}}) ?\}}?|"
    rf"[eE](?P<exponent>[-+]?[0-9]{{1,2}})(?![0-9])|(?: ?/ ?(?P<bottom>{DECIMAL}))?))"
    r"(?P<scale> (?:hundred|thousand|million|billion|trillion)\b)?(?P<percent> ?%)?(?P<unit>(?: |(?=[A-Za-z(])).*)?"
)
_FRACTION = re.compile(r" ?\\frac ?\{ ?(-?[0-9]{1,60}) ?\} ?\{ ?([0-9]{1,60}) ?\}(?![0-9]) ?")
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_UNIT = re.compile("[A-Za-z .,'\u2019/()*%-]*" + r"(?:\^ ?\{?-?[1-4]\}?[A-Za-z /.]*)*")
_SHORT_UNIT = re.compile(
    r"am|pm|[cdkm]?l|[cdkm]m|[kmunM]?[gNJWVAF]|kg|[kmgt]b|ft|hr|in|kw|lb|mi|of|oz|pt|qt|st|nd|rd|th|sq|cu|to|yd|per|"
    r"rs|hz|pa|ml",
    re.IGNORECASE,
)
_LETTER_UNIT = re.compile(r"[mgshlLNJWVCFK]")
_NO_UNIT = re.compile(
    r"or|and|plus|minus|times|over|divided|squared|cubed|factorial|hal(?:f|ves)|(?:third|fourth|fifth)s?|pi|log|exp|sqrt|"
    r"(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|inf|infinity|mod|hundred|thousand|million|billion|trillion|not|than|ln|is"
)
_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
)
_SPELLED = {word: at if at < 20 else 10 * at - 180 for at, word in enumerate(_WORDS.split())}
_PARTS = {"half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4)}


@dataclass(frozen=True)
class Number:
    """A number as it was written.

    Attributes:
      value: what stands there; 50 for "50%".
      percent: it is followed by a percent sign.
      decimal: it is written with a decimal point, and so perhaps rounded.
    """

    value: Fraction
    percent: bool = False
    decimal: bool = False


def number(text: str, letter_units: bool = False) -> Number | None:
    """The number that a canonical text is, perhaps followed by a unit; else None.

    Args:
      text: as `math_canonical.canonical` gives it.
      letter_units: whether one letter after a space is a unit ("5 m"), which it may not be in a gold answer.
    """
    if "\\frac" in text:
        text = _FRACTION.sub(r" \1/\2 ", text).strip()
        text = re.sub(r"^([-+]) (?=[0-9])", r"\1", text)
    found = _NUMBER.fullmatch(text)
    if found is None:
        return _spelled(text)
    unit = found["unit"] or ""
    if unit.strip() and not _is_unit(unit, letter_units):
        return None
    try:
        if found["whole"]:
            value = int(found["whole"]) + Fraction(int(found["over"]), int(found["under"]))
        else:
            value = Fraction(found["top"]) / Fraction(found["bottom"] or 1)
    except ZeroDivisionError:
        return None
    power = (found["power"] or found["exponent"] or "0").replace(" ", "")
    value *= Fraction(10) ** int(power) * _SCALES.get((found["scale"] or "").strip(), 1)
    percent = found["percent"] is not None or unit.strip().lower() in ("percent", "percentage", "pct")
    return Number(-value if found["sign"] == "-" else value, percent, "." in (found["top"] or ""))


def agree(gold: Number, said: Number) -> bool:
    """Whether two numbers are the same answer.

    Exactly equal; or, where one is written as a decimal, equal to six decimals (math-verify's rule, so that 0.333333
    is 1/3) and to three significant digits. A percent sign on one side only may be meant either way: 50% is 0.5 and 50.
    """
    if gold.percent == said.percent:
        return _close(gold.value, said.value, gold.decimal or said.decimal)
    sign, plain = (gold, said) if gold.percent else (said, gold)
    return _close(sign.value, plain.value, sign.decimal or plain.decimal) or _close(
        sign.value / 100, plain.value, sign.decimal or plain.decimal
    )


def _close(left: Fraction, right: Fraction, decimal: bool) -> bool:
    if left == right:
        return True
    apart = abs(left - right)
    return decimal and apart <= Fraction(1, 10**6) and round(left, 6) == round(right, 6) and apart * 1000 <= abs(left)


def _is_unit(unit: str, letter_units: bool) -> bool:
    """Whether words after a number only say of what it is so many."""
    unit = re.sub(r"\b([ap])\. ?m\b\.?", r"\1m", unit)
    words = re.findall(r"[A-Za-z]+", unit)
    if not words or not _UNIT.fullmatch(unit) or any(_NO_UNIT.fullmatch(word.lower()) for word in words):
        return False
    first = words[0]
    if len(first) > 2 or (_SHORT_UNIT.fullmatch(first) and len(first) > 1):
        return True
    if re.match(r" ?[mgslLNJWVCFK][-/ ][mshgKCN]\b", unit):
        return True
    return letter_units and unit.startswith(" ") and _LETTER_UNIT.fullmatch(first) is not None


def _spelled(text: str) -> Number | None:
    """A number in words, up to 999 trillion: "twenty-one", "two hundred and five apples", "a half"."""
    words = re.findall(r"[a-z]+|[^\sa-z-]", text.lower())
    sign = -1 if words[:1] in (["minus"], ["negative"]) else 1
    words = words[1:] if sign < 0 else words
    fraction = re.fullmatch(r"(?:a|one)?[ -]?(half|third|quarter)", " ".join(words))
    if fraction:
        return Number(sign * _PARTS[fraction[1]])
    total = group = at = 0
    while at < len(words):
        word, value = words[at], _SPELLED.get(words[at], 0)
        below = group % 100
        if word in _SPELLED and (below == 0 or (0 < value < 10 and below >= 20 and below % 10 == 0)):
            group += value
        elif word == "hundred" and at and group < 100:
            group = max(group, 1) * 100
        elif word in ("thousand", "million", "billion", "trillion") and at:
            total, group = total + max(group, 1) * _SCALES[word], 0
        elif not (word == "and" and words[at - 1] in _SCALES and words[at + 1 : at + 2] and words[at + 1] in _SPELLED):
            break
        at += 1
    rest = " ".join(words[at:])
    if at == 0 or any(word in _SPELLED for word in words[at:]) or (rest and not _is_unit(" " + rest, False)):
        return None
    return Number(Fraction(sign * (total + group)))
