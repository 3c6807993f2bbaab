r"""Sets of real numbers as answers write them: `(-\infty, 2) \cup [3, 5)`, `x < 2 \text{ or } 3 \leq x < 5`."""

from __future__ import annotations

import re

from sml_jax.tasks.math.canonical import folded
from sml_jax.tasks.problems.numbers import answer_number

Interval = tuple[str, str, str, str]
"""Opening bracket, lower end, upper end, closing bracket. The ends are canonical texts."""

_MOST_CHARACTERS = 400
_UNION = re.compile(r"\\cup(?![A-Za-z])|\bor\b|\\lor(?![A-Za-z])|\\vee(?![A-Za-z])|\bU\b")
_AND = re.compile(r"\band\b|\\land(?![A-Za-z])|\\wedge(?![A-Za-z])")
_BRACKETS = re.compile(r"([(\[])([^()\[\],;]+)[,;]([^()\[\],;]+)([)\]])")
_RELATION = re.compile(r"(\\leq?(?![A-Za-z])|\\geq?(?![A-Za-z])|<=|>=|<|>)")
_NAME = re.compile(r"[A-Za-z]|\\[a-z]{2,8}")
_MEMBER = re.compile(r"^(?:[a-z]|\\[a-z]{2,8}) ?\\in ?")


def as_intervals(text: str) -> frozenset[Interval] | None:
    """The intervals that a canonical text unites; None where it is something else.

    One interval alone is left to the algebra, which knows what its ends are worth.
    """
    if len(text) > _MOST_CHARACTERS:
        return None
    both = _as_both(text)
    if both is not None:
        return frozenset([both])
    pieces = [_MEMBER.sub("", piece.strip()) for piece in _UNION.split(text)]
    read = [_interval(piece) for piece in pieces]
    known = [interval for interval in read if interval is not None]
    names = {name for _, name in known if name}
    if len(known) != len(pieces) or len(names) > 1:
        return None
    return frozenset(interval for interval, _ in known)


def _as_both(text: str) -> Interval | None:
    r"""The interval of two inequalities that hold together: `x \geq 1 \text{ and } x \leq 3` is [1, 3]."""
    pieces = [piece.strip() for piece in _AND.split(text)]
    read = [_interval(piece) for piece in pieces]
    if len(read) != 2 or read[0] is None or read[1] is None or read[0][1] != read[1][1] != "":
        return None
    # One of them bounds from below, the other from above.
    first, second = sorted((read[0][0], read[1][0]), key=lambda interval: interval[1] == "-\\infty")
    if first[2] != "\\infty" or second[1] != "-\\infty" or "\\infty" in (first[1], second[2]):
        return None
    return first[0], first[1], second[2], second[3]


def _interval(text: str) -> tuple[Interval, str] | None:
    """One interval, and the name of its variable where it is an inequality."""
    brackets = _BRACKETS.fullmatch(text)
    if brackets:
        return (brackets[1], _end(brackets[2]), _end(brackets[3]), brackets[4]), ""
    sides = [side.strip() for side in _RELATION.split(text)]
    if len(sides) not in (3, 5) or not all(sides):
        return None
    if sides[1][0] == ">" or sides[1].startswith("\\g"):  # read from the small to the large
        sides = sides[::-1]
        sides[1::2] = [sign.replace(">", "<").replace("\\g", "\\l") for sign in sides[1::2]]
    if any(">" in sign or "\\g" in sign for sign in sides[1::2]):
        return None
    opens, closes = ("[" if "=" in sides[1] or "\\l" in sides[1] else "("), ("]" if _closed(sides[-2]) else ")")
    if len(sides) == 5:
        return ((opens, _end(sides[0]), _end(sides[4]), closes), sides[2]) if _NAME.fullmatch(sides[2]) else None
    if _NAME.fullmatch(sides[0]) and not _NAME.fullmatch(sides[2]):
        return ("(", "-\\infty", _end(sides[2]), closes), sides[0]
    if _NAME.fullmatch(sides[2]) and not _NAME.fullmatch(sides[0]):
        return (opens, _end(sides[0]), "\\infty", ")"), sides[2]
    return None


def _closed(sign: str) -> bool:
    return "=" in sign or sign.startswith("\\l")


def _end(text: str) -> str:
    """One spelling of an end."""
    number = answer_number(text.strip())
    return str(number.value) if number else folded(text).removeprefix("+")
