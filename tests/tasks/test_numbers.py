"""Numbers as texts: values, units, percent, and when two agree."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.tasks.problems.numbers import AnswerNumber, answer_number, same_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("-2.50", Fraction(-5, 2)),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("2 1/2", Fraction(5, 2)),
        (r"-2\frac{1}{2}", Fraction(-5, 2)),
        ("1.2e3", 1200),
        (r"1.2 \times 10^{-2}", Fraction(12, 1000)),
        ("5 million dollars", 5_000_000),
        ("5kg", 5),
        ("12cm^2", 12),
        ("60 miles per hour", 60),
        ("3:30", None),
        ("5x", None),
        ("5 x", None),
        ("5 m", None),
        ("5/0", None),
        ("5 or 6", None),
        ("5 plus 6", None),
        ("5 squared", None),
        ("twenty-one", 21),
        ("two hundred and five apples", 205),
        ("three thousand two hundred", 3200),
        ("minus a half", Fraction(-1, 2)),
        ("five ten", None),
        ("five and ten", None),
        ("hundred", None),
        ("one of them", 1),
        ("apples", None),
        ("", None),
    ],
)
def test_values(text: str, value: int | Fraction | None) -> None:
    number = answer_number(text)
    assert (number and number.value) == value


def test_a_letter_after_a_space_is_a_unit_where_asked_for() -> None:
    assert answer_number("5 m", letter_units=True) == AnswerNumber(Fraction(5))
    assert answer_number("5m", letter_units=True) is None


def test_percent_may_be_meant_either_way() -> None:
    half, fifty, signed = (
        AnswerNumber(Fraction(1, 2)),
        AnswerNumber(Fraction(50)),
        AnswerNumber(Fraction(50), percent=True),
    )
    assert same_number(signed, half) and same_number(half, signed) and same_number(signed, fifty)
    assert not same_number(signed, AnswerNumber(Fraction(1, 2), percent=True)) and not same_number(half, fifty)


@given(st.fractions(min_value=-100, max_value=100, max_denominator=50))
def test_rounding_to_six_decimals_agrees_and_to_two_does_not(value: Fraction) -> None:
    exact = AnswerNumber(value)
    for digits in (2, 6):
        rounded = round(value, digits)
        said = AnswerNumber(rounded, decimal=True)
        close = rounded == value or (digits == 6 and abs(rounded - value) * 1000 <= abs(value))
        assert same_number(exact, said) == close
    assert same_number(exact, AnswerNumber(round(value, 6))) == (round(value, 6) == value)


def test_small_numbers_are_not_rounded_away() -> None:
    assert not same_number(
        AnswerNumber(Fraction(2, 10**7), decimal=True), AnswerNumber(Fraction(3, 10**7), decimal=True)
    )
    assert not same_number(AnswerNumber(Fraction(0)), AnswerNumber(Fraction(1, 10**8), decimal=True))
