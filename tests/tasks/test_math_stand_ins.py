"""Values that are no plain numbers: what is put in their place, and how answers in words are read."""

import time

import pytest

from sml_jax.tasks import verify_math
from sml_jax.tasks.math.extract import extract_answer
from sml_jax.tasks.math.stand_ins import StandIns, expressions
from sml_jax.tasks.math.worded_answer import in_words, kind_of, yes_or_no

# What a sentence says, read as a mathematical answer.
READ = [
    ("She has 12 - g left.", "12 - g"),
    ("The perimeter is 2w + 6.", "2w + 6"),
    ("So we get 4i + 3.", "4i + 3"),
    ("The limit is e^2.", "e^2"),
    ("So it's 1011_2.", "1011_2"),
    ("The mass is 3.2 x 10^5 kg.", "3.2 x 10^5"),
    ("So x < 1 or x > 4.", "x < 1 \\text{ or } x > 4"),
    ("The solution is $x < 1$ or $x > 4$.", "x < 1 \\text{ or } x > 4"),
    ("The diagonal is $\\sqrt{20} \\approx 4.47$ feet long.", "$\\sqrt{20} \\approx 4.47$"),
    ("The line is y = 3x - 2.", "y = 3x - 2"),
    ("The angle is \u03c0/3.", "\u03c0/3"),
    ("x = 1 \u00b1 2i", "x = 1 \u00b1 2i"),
    # Plain numbers, units and calculations stay as they are.
    ("3 x 4 = 12", "12"),
    ("The speed is 9.8 m/s.", "9.8"),
    ("It's 5 - i think", "5"),
    ("2x + 10 = 50", None),
    ("First I'd simplify x + 3.", None),
    ("Is it x + 3?", None),
    ("My first answer was x + 3.", None),
    ("We divide by x + 3.", None),
]
KINDS = [
    ("B", "choice"),
    ("(c)", "choice"),
    ("Yes", "yes or no"),
    ("false", "yes or no"),
    ("July 12", "date"),
    ("12 July", "date"),
    ("Day 5", "label"),
    ("Friday", "words"),
    ("no solution", "words"),
    ("42", None),
    ("x", None),
    ("x + 3", None),
    ("\\frac{1}{2}", None),
]
YES_OR_NO = [
    ("Yes, because 6 divides 42.", "yes"),
    ("No, 91 is not prime, since 7 * 13 = 91.", "no"),
    ("Yes! They meet at x = 2.", "yes"),
    ("The sum is odd, so no.", "no"),
    ("It's not true.", "false"),
    ("This is true for all n.", "true"),
    ("Yes and no.", None),
    ("Yes... or no, I'm not sure.", None),
    ("Yes, I understand the hint.", None),
    ("No, let me redo this.", None),
    ("No one knows.", None),
    ("False start, let me try again.", None),
    ("Yes, it is. No, it isn't.", None),
    ("Is it true?", None),
    ("Yes or no?", None),
]
PIECES = [
    *(
        "x + ",
        "3n ",
        "2(",
        "x)",
        "- i ",
        "x<1 or ",
        "$x$ or ",
        "$",
        "\\(",
        "1_2 ",
        "1e5 ",
        "1 and 1/2 ",
        "\u00b1 ",
        "\u221a",
    ),
    *(
        "A ",
        "(B) ",
        "option C, ",
        "A) ",
        "yes, ",
        "no. ",
        "true ",
        "so yes ",
        "July 12 ",
        "12th of ",
        "day 5 ",
        "5th day ",
    ),
    *("Friday ", "the Friday ", "On Friday ", "Ann ", "blue, ", "3:45 ", "3 to 4 ", "1, 2 and ", "x is 1 or ", "{1, "),
    *("not 5 but ", "> ", "six times ", "Check: 1\n", "Mon: 2, ", "minus infinity ", "[", "x is "),
]


@pytest.mark.parametrize(("sentence", "value"), READ)
def test_values_that_are_no_plain_numbers(sentence: str, value: str | None) -> None:
    assert extract_answer(sentence) == value


def test_what_stands_in_is_put_back() -> None:
    text = "The sum is 2w + 6, and 70 or 71 is not $\\frac{1}{2}$."
    read = expressions(text, "1")
    assert "2w" not in read.text and "frac" not in read.text
    assert read.put_back(read.text) == text
    # Its numbers are in the text nowhere else, or there are none.
    assert not any(f"{read.prefix}{number:03d}" in text for number in range(1000))
    full = StandIns(" ".join(f"{number:05d}" for number in range(70_000, 100_000, 100)))
    assert full.stand_in("x") == "x"


def test_times_and_lists_are_values_only_where_they_are_asked_for() -> None:
    assert verify_math("7:15", "So the movie ends at 7:15.").correct
    assert verify_math("40", "The bus has 40 seats at 7:15.").correct
    assert verify_math("7, -7", "7 and -7").correct
    assert not verify_math("7", "7 and -7").correct and not verify_math("-7", "7 and -7").correct


@pytest.mark.parametrize(("gold", "kind"), KINDS)
def test_kinds_of_gold_answers(gold: str, kind: str | None) -> None:
    assert kind_of(gold) == kind


def test_letters_that_name_no_choice() -> None:
    for text in (
        "Point B lies here.",
        "Let B be the number.",
        "B stands for boys.",
        "A triangle has 3 sides.",
        "B = 12",
    ):
        assert "0" not in in_words(text, "B", "choice").text, text
    assert "0" in in_words("Only B gives 5.", "B", "choice").text


@pytest.mark.parametrize(("text", "said"), YES_OR_NO)
def test_yes_or_no(text: str, said: str | None) -> None:
    assert yes_or_no(text) == said


GOLDS = ("18", "x+1", "1, 2", "3:45", "B", "Yes", "July 12", "Day 5", "Friday", "Ann", "no solution", "x")


@pytest.mark.parametrize("golds", [GOLDS[::4], pytest.param(GOLDS, marks=pytest.mark.extra)], ids=["some", "all"])
@pytest.mark.parametrize("piece", PIECES)
def test_long_texts_are_read_in_time(piece: str, golds: tuple[str, ...]) -> None:
    text = piece * (20_000 // len(piece))
    start = time.process_time()
    for gold in golds:
        extract_answer(text, gold=gold)
        extract_answer(f"So it is {text} 5", gold=gold)
    assert time.process_time() - start < len(golds) / 2


def test_the_words_around_a_number_may_say_the_opposite() -> None:
    assert verify_math("a gain of $5", "He gained $5.").correct
    assert not verify_math("a gain of $5", "He lost $5.").correct
    assert not verify_math("20% increase", "The price fell by 20%.").correct
    assert not verify_math("3 PM", "It ends at 3 am.").correct
    assert verify_math("3 PM", "It ends at 3 pm.").correct
