"""verify_math: known answers, what must never pass, totality, and every gold answer of GSM8K."""

import json
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sml_jax.tasks import Verdict, extract_answer, final_answer, verify_math
from sml_jax.tasks.math.verify import verify_math_many

RIGHT = [
    ("18", "18"),
    ("18", "The answer is 18."),
    ("18", "the answer is $18 per day"),
    ("18", "Answer: 18"),
    ("18", "**Answer:** 18"),
    ("18", "Final answer:\n18.00"),
    ("18", "answer 18"),
    ("18", "The answer is 18!"),
    ("18", r"First \boxed{3}, no: \boxed{\$18.00}"),
    ("18", "so\n#### 18"),
    ("18", "So she makes $18 every day at the market."),
    ("18", "9 + 9 = 18"),
    ("18", r"\(18\)"),
    ("18", "the answer is $18$, because 9 + 9 is that"),
    ("She eats 3, so 21 - 3 = 18.\n#### 18", "18 eggs"),
    (r"hence \boxed{18}", "#### 18"),
    ("1,080", "the answer is 1080"),
    ("1080", "#### 1,080"),
    ("1080", r"\boxed{1{,}080}"),
    ("-7", "the answer is \u22127"),
    ("-7", "it is -7"),
    ("50%", "the answer is 50"),
    ("0.5", "the answer is 1/2"),
    ("2.5", "the answer is 2 1/2"),
    ("3/4", r"\boxed{\frac{3}{4}}"),
    ("0.5", ".50"),
    ("5000000", "the answer is 5 million dollars"),
    ("7", r"\boxed{7 \text{ cm}^2}"),
    ("5", "The answer to the question is 5."),
    ("Paris", "Paris"),
    ("Paris", "The answer is paris."),
    ("undefined", "The answer is undefined."),
    ("3:30 pm", "the answer is 3:30 pm"),
]
RIGHT_BY_ALGEBRA = [
    ("2", r"\boxed{\sqrt{4}}"),
    ("1/2", r"\boxed{\dfrac12}"),
    ("$10-4 n$", r"\boxed{-4n+10}"),
    ("x^2-1", "the answer is $(x-1)(x+1)$"),
    ("$(-3,3)$", r"\boxed{(-3, 3)}"),
    (r"$x=\frac{3}{2}$", "the answer is 1.5"),
]
WRONG = [
    ("18", "The answer is 17."),
    ("18", r"\boxed{17} though 18 was near"),
    ("18", "the answer is 5 or 18"),
    ("18", r"\boxed{5 \text{ or } 18}"),
    ("18", r"\boxed{5, 18}"),
    ("18", r"\boxed{1.8}"),
    ("18", "the answer is 18 million"),
    ("18", "the answer is less than 18"),
    ("18", r"\boxed{18 \pi}"),
    ("18", r"\boxed{18x}"),
    ("3", "the answer is 2, so 3"),
    ("1/2", r"\boxed{2/1}"),
    ("5", "the answer is 5/0"),
    ("x^2-1", r"\boxed{x^2+1}"),
    ("Paris", "The answer is Lyon."),
    ("", "the answer is 5"),
]
NO_ATTEMPT = [
    "",
    " \n",
    "What is the price of 18 eggs?",
    "Is it 18?",
    "Is the answer 18?",
    "Please tell me about the 18 eggs.",
    "I do not know.",
    "the answer is not 18",
    "It is no more than 18.",
    "5 or 18",
    r"\boxed{",
    r"\boxed{}",
    "My answer is wrong, I will check.",
    "What is the answer?",
    "16-9",
]


@pytest.mark.parametrize(("gold", "utterance"), RIGHT + RIGHT_BY_ALGEBRA)
def test_right(gold: str, utterance: str) -> None:
    assert verify_math(gold, utterance) == Verdict(correct=True, attempted=True, detail="correct")


@pytest.mark.parametrize(("gold", "utterance"), WRONG)
def test_wrong(gold: str, utterance: str) -> None:
    verdict = verify_math(gold, utterance)
    assert verdict.attempted and not verdict.correct


@pytest.mark.parametrize("utterance", NO_ATTEMPT)
def test_no_attempt(utterance: str) -> None:
    assert verify_math("18", utterance) == Verdict(correct=False, attempted=False, detail="no answer found")


def test_extraction_and_final_answer() -> None:
    assert extract_answer(r"\boxed{\frac{1}{\sqrt{2}}} is it") == r"\frac{1}{\sqrt{2}}"
    assert extract_answer("the answer is 3. No, the answer is 4.") == "4"
    assert final_answer("He has 2+2=<<2+2=4>>4.\n#### 4") == "4"
    assert final_answer(r"so \boxed{x + 1}") == "x + 1"
    assert final_answer(" 12 ") == "12"


def test_detail_shows_the_attempt_and_hides_the_gold_answer() -> None:
    assert verify_math("18", "the answer is 17").detail == "attempt 17; wrong"
    assert verify_math("18", "the answer is 5 or 18").detail == "wrong"
    assert verify_math("Paris", "the answer is not far, answer: old Paris").detail == "wrong"


@given(st.integers(-9999, 9999), st.text(max_size=40), st.integers(-9999, 9999))
def test_detail_never_holds_the_gold_number(gold: int, noise: str, said: int) -> None:
    for utterance in (f"the answer is {said} {noise}", f"{noise} \\boxed{{{said} or {gold}}}", f"#### {gold} {noise}"):
        verdict = verify_math(str(gold), utterance)
        assert str(abs(gold)) not in re.findall(r"[0-9]+", verdict.detail.replace(",", ""))


@given(st.text(), st.text())
def test_total_over_texts(gold: str, utterance: str) -> None:
    for said in (utterance, f"\\boxed{{{utterance}}}", f"the answer is {utterance}"):
        verdict = verify_math(gold, said)
        assert verdict.attempted or not verdict.correct


_PIECES = [
    "\\boxed{",
    "}",
    "{",
    "\\frac",
    "^",
    "9",
    "-",
    ".",
    ",",
    "/",
    "(",
    "x",
    " ",
    "answer is ",
    "#### ",
    "\\text{",
    "$",
    "=",
    "or",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=25).map("".join), st.sampled_from(["9", "x^2", "9/x", "or"]))
def test_total_over_broken_mathematics(utterance: str, gold: str) -> None:
    verify_math(gold, utterance)


@given(st.fractions(max_denominator=999), st.fractions(max_denominator=999))
def test_fractions_are_compared_exactly(left, right) -> None:
    assert verify_math(str(left), f"the answer is {right}").correct == (left == right)


@pytest.mark.parametrize(
    "attempt",
    [
        "9^{9^{9^{9}}}",
        "(x+1)^{100000}",
        "9" * 9000,
        r"\frac{1}{" * 300 + "2" + "}" * 300,
        pytest.param("(" * 900, marks=pytest.mark.slow),
        pytest.param("1 " * 900, marks=pytest.mark.slow),
    ],
)
def test_expensive_attempts_end_in_time(attempt: str) -> None:
    verify_math("2", r"\boxed{\sqrt{4}}")  # the worker runs
    start = time.monotonic()
    assert not verify_math("7", f"\\boxed{{{attempt}}}").correct
    assert time.monotonic() - start < 5
    assert verify_math("3", r"\boxed{\sqrt{9}}").correct  # and the next one is judged


def _gsm8k(real_data) -> list[str]:
    return [
        json.loads(line)["answer"]
        for split in ("train", "test")
        for line in (real_data / "gsm8k" / f"{split}.jsonl").read_text().splitlines()
    ]


def _answers(file) -> list[str]:
    return [str(json.loads(line)["answer"]) for line in file.read_text().splitlines()]


# Every gold answer of every data set: `pytest -m slow tests/tasks/test_verify_math.py`.
EACH = pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 8])


@EACH
def test_every_gsm8k_gold_answer(real_data, step: int) -> None:
    rows = _gsm8k(real_data)
    assert len(rows) == 8792
    for answer in rows[::step]:
        bare = answer.rpartition("#### ")[2]
        assert verify_math(answer, answer).correct and verify_math(answer, bare).correct, bare


def test_no_gsm8k_answer_of_another_problem(real_data) -> None:
    draw, rows = random.Random(0), _gsm8k(real_data)
    seen = 0
    while seen < 2000:
        answer, other = draw.sample(rows, 2)
        bare, wrong = (text.rpartition("#### ")[2].replace(",", "") for text in (answer, other))
        if bare != wrong:
            seen += 1
            verdict = verify_math(answer, (other, f"The answer is {wrong}.", rf"\boxed{{{wrong}}}")[seen % 3])
            assert verdict.attempted and not verdict.correct, (bare, wrong)


@EACH
@pytest.mark.parametrize(
    "way", ["%s", "The answer is %s.", "So:\n#### %s", r"Thus $\boxed{%s}$. I hope it is correct."]
)
def test_every_college_and_competition_gold_answer(real_data, way: str, step: int) -> None:
    folder = real_data / "math_eval"
    college = _answers(folder / "college_math.jsonl")
    assert len(college) == 2818
    for gold in [*college[::step], *_answers(folder / "aime24.jsonl"), *_answers(folder / "amc23.jsonl")]:
        assert verify_math(gold, way.replace("%s", gold)).correct, gold


@pytest.mark.parametrize("count", [25, pytest.param(2000, marks=pytest.mark.slow)])
def test_few_college_answers_of_another_problem(real_data, count: int) -> None:
    draw, golds = random.Random(0), sorted(set(_answers(real_data / "math_eval" / "college_math.jsonl")))
    pairs = [tuple(draw.sample(golds, 2)) for _ in range(count)]
    verdicts = verify_math_many([(gold, f"The answer is {other}") for gold, other in pairs])
    assert sum(verdict.correct for verdict in verdicts) <= count // 400


@pytest.mark.parametrize("gold", ["18", "x^2", ""])
@pytest.mark.parametrize(
    "utterance",
    ["9" * 10**6, "answer is " * 10**5, "\\boxed{" * 10**5, "\x00\ud800", "#### \x00", "$" * 10**6, "\n" * 10**6],
)
def test_long_and_odd_texts_end_in_time(gold: str, utterance: str) -> None:
    verify_math("2", r"\boxed{\sqrt{4}}")  # the worker runs
    start = time.monotonic()
    assert not verify_math(gold, utterance).correct and not verify_math(utterance, gold + " apples").correct
    assert time.monotonic() - start < 10
