r"""Answers that say a value twice, `\sqrt{2} \approx 1.41`, and numbers that name their base, `1010_2`."""

from __future__ import annotations

import re
from collections.abc import Callable

from sml_jax.tasks.math.canonical import split_parts
from sml_jax.tasks.problems.number_words import BELOW_100
from sml_jax.tasks.problems.numbers import AnswerNumber, answer_number

NAME = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?|\\bar ?\{[a-z]\}")
"""The name of a quantity, as it stands on one side of an equation."""
_MOST_PARTS = 12
_APPROX = re.compile(r"\\approx(?![A-Za-z])")
# Signs between numbers that are not the same: whoever writes them between two gives two answers.
_RELATION = re.compile(
    r"(?<![<>!\\=])=(?!=)|\\(?:approx(?:eq)?|equiv|sim(?:eq)?|cong|doteq|neq?|to|leftrightarrow|(?:R|r|Longr)ightarrow|"
    r"implies|iff|l?or|vee)(?![A-Za-z])|->|=>|:="
)
_EQUALS = re.compile(r"(?<![<>!\\=])=(?!=)")
_BASED = re.compile(
    r"\(? ?([0-9A-Fa-f]{1,60}(?:\.[0-9A-Fa-f]{1,60})?) ?\)? ?(?:_ ?(?:\{ ?\(?(?:base[ -]?)?([a-z]+|"
    r"[0-9]{1,2})\)? ?\}|([0-9]{1,2}|[a-z]+))|"
    r"\(? ?(?:in )?base[ -]?(?:([a-z]+)|\{? ?([0-9]{1,2}) ?\}?) ?\)?)"
)


def approximate_sides(text: str) -> list[str]:
    r"""The sides of an answer with `\approx`; `x \approx 5` is the one side `x = 5`."""
    pieces = [piece.strip() for piece in _APPROX.split(text)]
    if len(pieces) > 1 and NAME.fullmatch(pieces[0]) and pieces[0] not in ("\\pi", "e"):
        pieces[:2] = [f"{pieces[0]} = {pieces[1]}"]
    return [piece for piece in pieces if piece]


def is_consistent(text: str, approximates: Callable[[str, str], bool]) -> bool:
    r"""Whether an answer says one value: a chain of `\approx` has at most two sides, which agree.

    Of a chain of `=` the last side counts, so its other sides need only agree where they are plain numbers.

    Args:
      text: a canonical answer.
      approximates: whether the second of two LaTeX expressions is the first, rounded.
    """
    parts = split_parts(text)
    if len(parts) > 1:
        return all(is_consistent(part, approximates) for part in parts[:_MOST_PARTS] if part != text)
    sides = approximate_sides(text)
    if len(sides) > 2:
        return False
    ends = [_EQUALS.split(side)[-1].strip() for side in sides]
    numbers = [number for side in _RELATION.split(text) if (number := answer_number(side.strip())) is not None]
    if len(sides) < 2:
        return all(_equals(numbers[-1], number) for number in numbers)
    left, right = (answer_number(end) for end in ends)
    if left is not None and right is not None:
        return _rounds_to(left, right) or _rounds_to(right, left) or (not left.decimal and _shows(left, right, ends[1]))
    return approximates(*ends)


def _equals(left: AnswerNumber, right: AnswerNumber) -> bool:
    """Whether two numbers on the sides of a sign are the same: whole numbers exactly, others but for rounding."""
    if left.value.denominator == right.value.denominator == 1:
        return left.value == right.value
    return _rounds_to(left, right) or _rounds_to(right, left)


def _rounds_to(exact: AnswerNumber, rounded: AnswerNumber) -> bool:
    """Whether two numbers are the same but for at most half a percent, or for the rounding to a whole number."""
    gap = abs(exact.value - rounded.value)
    whole = rounded.value.denominator == 1 and exact.value.denominator != 1
    return gap * 200 <= abs(exact.value) or (whole and gap * 2 <= 1)


def _shows(exact: AnswerNumber, rounded: AnswerNumber, written: str) -> bool:
    """Whether a decimal is a fraction to as many places as it is written with: 0.33 for 1/3."""
    places = re.search(r"\.([0-9]{1,20})(?![0-9])", written)
    return places is not None and abs(exact.value - rounded.value) * 2 * 10 ** len(places[1]) <= 1


def digits_and_base(text: str) -> tuple[str, int] | None:
    r"""The digits and the base of a number such as `1010_2` or `1010_{\text{two}}`; None for anything else."""
    based = _BASED.fullmatch(text.strip())
    if based is None:
        return None
    base = next(filter(None, based.groups()[1:]))
    value = int(base) if base.isdigit() else BELOW_100.get(base, 0)
    return (based[1].upper().lstrip("0") or "0", value) if value > 1 else None
