"""Words that change the value of the number beside them: "negative 3", "3 dozen", "three quarters", "2 and a half"."""

from __future__ import annotations

import re
from fractions import Fraction

from sml_jax.tasks.problems.number_words import BELOW_100, TEXT_DENOMINATORS, leading_number

_DENOMINATORS = TEXT_DENOMINATORS | {"twelfth": 12, "sixteenth": 16, "twentieth": 20, "hundredth": 100}
_DENOMINATORS |= {"thousandth": 1000}
_PART = rf"(?:{'|'.join(_DENOMINATORS)})"
_DECIMAL = r"[0-9]{1,40}(?:\.[0-9]{1,40})?"
_SIGN = re.compile(r"(?:negative|minus) ?(?=[0-9.$\\(]|[a-z]{3})", re.IGNORECASE)
_ARTICLE = re.compile(r"\ban? (?=(?:hundred|thousand|million|billion|trillion|dozen)\b)", re.IGNORECASE)
_HALF = re.compile(r"^half (?:a |an )?(?=(?:hundred|thousand|million|billion|dozen)\b)", re.IGNORECASE)
_COUNT = re.compile(
    rf"({_DECIMAL}|[a-z]{{1,9}}(?:[ -][a-z]{{1,9}}){{0,4}}?)(?=[ -](?:dozens?|score|and an? |{_PART}s?\b|and ))",
    re.IGNORECASE,
)
# "6 score" is 120; "a score of 6" and "the final 6 score points" count no twenties.
_GROUP = re.compile(r"[ -](?:(dozens?)\b(?! eggs? cartons?)|score\b(?! (?:of|points?)\b))", re.IGNORECASE)
_PARTS = re.compile(rf"(?:[ -]({_PART})(s?)\b(?![a-z-]))", re.IGNORECASE)
_AND_PART = re.compile(rf"(?:[ -]and)[ -](an?|[a-z]{{3,5}})[ -]({_PART})s?\b", re.IGNORECASE)
_POWER = re.compile(rf"({_DECIMAL}) (factorial|squared|cubed)\b", re.IGNORECASE)
# A calculation in words.
_SIGNS = {"times": "\\times", "plus": "+", "minus": "-", "divided by": "/", "multiplied by": "\\times"}
_CALCULATION = re.compile(rf"(?<=[0-9)]) ({'|'.join(_SIGNS)}) (?=\(?[0-9])", re.IGNORECASE)
_UNITS = {
    "h": "hours?|hrs?|h",
    "min": "minutes?|mins?|m",
    "s": "seconds?|secs?|s",
    "ft": "feet|foot|ft|'",
    "in": "inch(?:es)?|in|''",
    "d": "days?|d",
    "lb": "pounds?|lbs?",
    "oz": "ounces?|oz",
}
_UNIT = "|".join(_UNITS.values())
_TWO_UNITS = re.compile(rf"^([0-9]{{1,9}}) ?({_UNIT}),? (?:and )?([0-9]{{1,9}}) ?({_UNIT})\.?$")
_ROOT_WORDS = re.compile(
    r"\b(?:([0-9]{1,9}) (?:times )?)?(?:the )?(?:square )?root (?:of )?(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)", re.IGNORECASE
)
# "twice 5", "the square of 6"
_MULTIPLE = re.compile(rf"^(?:(twice|double|triple|half)(?: of)?|the (square|cube) of) ({_DECIMAL})$", re.IGNORECASE)
_MULTIPLES = {"twice": Fraction(2), "double": Fraction(2), "triple": Fraction(3), "half": Fraction(1, 2)}
_ALONE = {"dozen": "12", "a pair": "2", "half a hundred": "50", "half a dozen": "6"}
_SPELLED_POWER = re.compile(
    r"^[a-z]{3,9}(?:[ -][a-z]{3,5})?(?= (?:squared|cubed|factorial|(?:degrees )?below zero)\b)", re.IGNORECASE
)
_DOLLARS_AND_CENTS = re.compile(r"^([0-9]{1,9}) dollars?,? (?:and )?([0-9]{1,2}) cents?$", re.IGNORECASE)
_BELOW_ZERO = re.compile(rf"({_DECIMAL}(?: [A-Za-z]{{1,12}}){{0,2}}) below(?: zero)?$", re.IGNORECASE)


def with_values(text: str) -> str:
    """An answer whose first number has the value that the words beside it give: "36 eggs" for "3 dozen eggs"."""
    if not re.search("[A-Za-z]{3}", text):
        return text
    text = _two_units(_ROOT_WORDS.sub(lambda root: f"{root[1] or ''}\\sqrt{{{root[2]}}}", text))
    if text.lower() in _ALONE:
        return _ALONE[text.lower()]
    text = _MULTIPLE.sub(_multiplied, _SPELLED_POWER.sub(_in_digits, text))
    sign = _SIGN.match(text)
    worded = text
    text = text[sign.end() :] if sign else text
    text = re.sub(r"^half (?:of )?(?:an?|the) (?!hundred|thousand|million|billion|dozen)(?=[a-z])", "1/2 ", text)
    text = _ARTICLE.sub("one ", _HALF.sub("0.5 ", text, count=1), count=1)
    count = _COUNT.match(text)
    value = _counted(count[1]) if count else None
    if count and value is not None:
        text = _with_part(text, count.end(), value)
    below = _BELOW_ZERO.match(text)
    text = "-" + below[1] if below else text
    text = _DOLLARS_AND_CENTS.sub(lambda amount: f"{amount[1]}.{int(amount[2]):02d}", text)
    text = _CALCULATION.sub(lambda match: f" {_SIGNS[match[1].lower()]} ", text)
    signs = {"factorial": "!", "squared": "^2", "cubed": "^3"}
    text = _POWER.sub(lambda match: match[1] + signs[match[2].lower()], text, count=1)
    if sign and not re.match(r"[0-9.$\\(]", text):
        return worded  # "minus seven" is read as it stands
    return "-" + text if sign else text


def _multiplied(phrase: re.Match[str]) -> str:
    """The value of "twice 5" or "the square of 6"."""
    number = Fraction(phrase[3])
    if phrase[1]:
        return _written(number * _MULTIPLES[phrase[1].lower()])
    return f"{phrase[3]}^{2 if phrase[2].lower() == 'square' else 3}"


def _two_units(text: str) -> str:
    """An amount in two units with one name for each: "3 h 20 min" for "3 hours and 20 minutes"."""
    amount = _TWO_UNITS.match(text)
    if amount is None:
        return text
    first, second = (
        next(short for short, unit in _UNITS.items() if re.fullmatch(unit, name)) for name in amount.group(2, 4)
    )
    return f"{amount[1]} {first} {amount[3]} {second}"


def _in_digits(spelled: re.Match[str]) -> str:
    """A number in words in digits, if it is one."""
    value = _counted(spelled[0])
    return spelled[0] if value is None else _written(value)


def _counted(text: str) -> Fraction | None:
    """A number in digits or in words."""
    if text[0].isdigit():
        return Fraction(text)
    words = re.split("[ -]", text.lower())
    if words in (["a"], ["an"]):
        return Fraction(1)
    number, used = leading_number(words)
    return Fraction(number) if used == len(words) else None


def _with_part(text: str, end: int, value: Fraction) -> str:
    """A text whose first number, which ends at `end`, is joined with the part, the dozen or the score behind it."""
    group, parts, more = _GROUP.match(text, end), _PARTS.match(text, end), _AND_PART.match(text, end)
    if group:
        return _written(value * _size(group)) + text[group.end() :]
    if more:
        count = 1 if more[1].lower() in ("a", "an") else BELOW_100.get(more[1].lower())
        if count is not None:
            value += Fraction(count, _DENOMINATORS[more[2].lower()])
            scale = _GROUP.match(text, more.end())
            return _written(value * (_size(scale) if scale else 1)) + text[(scale or more).end() :]
    # "three quarters" and "one quarter", but not "twenty fifth".
    if parts and (parts[2] or value == 1):
        return _written(value / _DENOMINATORS[parts[1].lower()]) + text[parts.end() :]
    return text


def _size(group: re.Match[str]) -> int:
    """How many a dozen or a score is."""
    return 12 if group[1] else 20


def _written(value: Fraction) -> str:
    """A number in digits; a fraction with its bar."""
    return str(value)
