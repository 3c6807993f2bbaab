"""No utterance is paid for many answers at once, however it is put together."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sml_jax.tasks import verify_math
from sml_jax.tasks.math.verify import verify_math_many

NUMBERS = ["0", "1", "2", "7", "12", "36", "37", "50", "99", "100", "0.5", "36.6", "-7", "1/2", "three", "two dozen"]
# What holds a number, and what stands between numbers.
PLACES = [
    *("{}", "{}", "{}", "\\boxed{{{}}}", "\\boxed{{{} = {}}}", "\\boxed{{{} \\approx {}}}", "\\boxed{{{}, {}}}"),
    *("#### {}\n", "The answer is {}", "<answer>{}</answer>", "{} is the answer", "the answer is **{}**", "Answer: {}"),
    *("No, it is {}.", "${}$", "\\({}\\)", "x = {}", "{}%", "[{}, {}]", "({}, {})", "\\frac{{{}}}{{{}}}", "{} apples"),
    *("from {} to {}", "between {} and {}", "\\{{{}, {}\\}}", "\\pm {}", "x > {}", "{} or more", "{}_{}", "{}:{}"),
]
JOINTS = [
    *(
        " ",
        " or ",
        " and ",
        ", ",
        "; ",
        ". ",
        "? ",
        "! ",
        "\n",
        "\n\n",
        " = ",
        " / ",
        " + ",
        " < ",
        " : ",
        " - ",
        " ~ ",
    ),
    *(" not ", " maybe ", " if ", " but ", " so ", " then ", " is ", " to ", " either ", " one of ", " previously "),
    *(" \\approx ", " \\text{ or } ", " \\cup ", " \\sim ", " \\equiv ", " \\to ", " \\ldots ", " \\leq ", " \\neq "),
    *(
        " | ",
        " & ",
        " \\quad ",
        " \\\\ ",
        "}",
        "{",
        "$",
        " => ",
        " n \\in \\mathbb{Z} ",
        " for any k ",
        " mod ",
        " instead of ",
    ),
]


@st.composite
def utterances(draw: st.DrawFn) -> str:
    """Numbers in places of every sort, joined by words and signs of every sort."""
    said = ""
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.sampled_from(PLACES))
        said += place.format(*(draw(st.sampled_from(NUMBERS)) for _ in range(place.count("{}"))))
        said += draw(st.sampled_from(JOINTS))
    return said


def paid(utterance: str, golds: Iterable[object]) -> list[str]:
    """The golds for which an utterance is paid."""
    pairs = [(str(gold), utterance) for gold in golds]
    return [gold for (gold, _), verdict in zip(pairs, verify_math_many(pairs), strict=True) if verdict.correct]


def most_paid(utterance: str) -> int:
    r"""Answer keys leave percent signs out: "50%" is 50 and 0.5. The two sides of `\approx` count, and must agree."""
    return 1 + ("%" in utterance or "approx" in utterance)


@settings(max_examples=25, deadline=None)
@given(utterances())
def test_an_utterance_is_paid_for_one_answer(utterance: str) -> None:
    assert len(paid(utterance, (0, 1, 2, 7, 12, 24, 36, 37, 49, 50, 99, 100))) <= most_paid(utterance)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(utterances())
def test_an_utterance_is_paid_for_one_number_up_to_a_hundred(utterance: str) -> None:
    assert len(paid(utterance, range(101))) <= most_paid(utterance)


NUMBER_JOINTS = (
    " ",
    ", ",
    " or ",
    "\n",
    " = ",
    ". ",
    " \\approx ",
    "? ",
    "} \\boxed{",
    ". The answer is ",
    " / ",
    " | ",
)


@pytest.mark.parametrize("last", [pytest.param(100, marks=pytest.mark.slow), 9])
def test_a_text_that_holds_every_number_is_paid_for_one_at_most(last: int) -> None:
    """Up to 100: `pytest -m slow tests/tasks/test_math_rewards.py`."""
    for joint in NUMBER_JOINTS:
        said = joint.join(str(number) for number in range(last + 1))
        for utterance in (said, f"The answer is {said}.", f"\\boxed{{{said}}}", f"#### {said}", f"Answer: {said}"):
            assert len(paid(utterance, (0, 7, last))) <= 1, utterance[:60]


def test_an_answer_in_words_or_in_general_is_not_paid_for_numbers() -> None:
    for utterance in (
        *("The answer is any number.", "\\boxed{n}", "\\boxed{x}", "\\boxed{k, k \\in \\mathbb{Z}}", "\\boxed{?}"),
        *("\\boxed{0 \\leq x \\leq 100}", "\\boxed{*}", "The answer is the number that you expect."),
        *("\\boxed{[0, 100]}", "\\boxed{\\mathbb{N}}", "The answer is the right one.", "\\boxed{\\text{it}}"),
        *("\\boxed{0 + n}", "\\boxed{x = x}", "\\boxed{\\ldots}"),
    ):
        for gold in ("0", "1", "7", "42", "100"):
            assert not verify_math(gold, utterance).correct, utterance
